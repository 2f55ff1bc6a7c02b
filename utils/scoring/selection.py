"""What the validation data chooses: the weights that are kept, by a metric, and the decision thresholds.

A threshold is fixed, one is tuned for all labels, or one for each label.
"""

import logging
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import expit, logit
from transformers.trainer_utils import IntervalStrategy

from utils.arguments import FineTuningArguments, UserError
from utils.command_line import TUNED, parse_threshold
from utils.data.classes import class_ids
from utils.files.cells import UNKNOWN

logger = logging.getLogger(__name__)

HIGHER = ("accuracy", "accuracy_elementwise", "accuracy_macro_by_candidates", "balanced_accuracy", "mean_reciprocal_rank")
HIGHER += ("roc_auc", "roc_auc_macro", "roc_auc_micro", "average_precision", "average_precision_macro")
HIGHER += ("average_precision_micro", "f1", "f1_macro", "f1_micro", "f1_weighted", "f1_macro_at_0.5", "f1_micro_at_0.5")
HIGHER += ("jaccard_samples", "matthews_corrcoef", "pearson", "spearman", "r2")
LOWER = ("loss", "log_loss", "hamming_loss", "mse", "expected_calibration_error")
DIRECTIONS = dict.fromkeys(HIGHER, "higher") | dict.fromkeys(LOWER, "lower")
NO_AIM = ("labels_left_out", "accuracy_of_chance", "accuracy_of_most_frequent_position")  # nothing that a model can be better at
# These are missing from the scores of a split that has too few rows for them.
MAY_BE_UNDEFINED = ("_macro", "_micro", "_weighted", "roc_auc", "average_precision", "pearson", "spearman", "r2")


def settle_evaluation(args: FineTuningArguments, defined: dict[str, float], directions: dict[str, str]) -> None:
    """Settle what happens during training, from the metrics `defined` on the validation data, none if there is no such data.

    Args:
        directions: for each metric of the script's own whether "higher" or "lower" is better.

    Raises:
        UserError: `metric_for_best_model` is no metric, nobody has said whether higher or lower is better, or a metric of the
            script's own is no number.
    """
    for name, value in defined.items():
        if not isinstance(value, Real):
            raise UserError(f"`scores` in the script: the metric {name!r} is of type {type(value).__name__}, expected a number")
    for name, better in directions.items():
        if better not in ("higher", "lower"):
            raise UserError(f"METRIC_DIRECTIONS in the script: {name!r} is {better!r}, expected 'higher' or 'lower'")
    if args.early_stopping_patience and (not defined or args.eval_strategy == IntervalStrategy.NO):
        missing = "leave out --eval_strategy no" if defined else "give validation data, or leave it out"
        raise UserError(f"--early_stopping_patience: nothing is evaluated during the training; {missing}")
    if not defined:
        args.eval_strategy, args.load_best_model_at_end, args.do_eval = IntervalStrategy.NO, False, False
        return
    chosen = args.metric_for_best_model.removeprefix("eval_")
    if chosen not in defined and f"{chosen}_macro" in defined:
        chosen = args.metric_for_best_model = f"{chosen}_macro"
    if chosen not in ("loss", *defined):
        if not chosen.endswith(MAY_BE_UNDEFINED):
            raise UserError(f"--metric_for_best_model {chosen}: no such metric; there are loss, {', '.join(defined)}")
        logger.info("%s is not defined on the validation data (too few rows): its loss chooses the best weights", chosen)
        chosen = args.metric_for_best_model = "loss"
        args.greater_is_better = False
    elif not args.direction_given:
        better = (DIRECTIONS | directions).get(chosen)
        if better is None:
            raise UserError(
                f"--metric_for_best_model {chosen}: is a higher or a lower value better? add --greater_is_better True or "
                f"--greater_is_better False, or name it in METRIC_DIRECTIONS in the script"
            )
        args.greater_is_better = better == "higher"


RESAMPLES = 30
MANY_ROWS = 100_000
WEIGHT_OF_COMMON = 2  # the common threshold counts as much as so many positives


def settle_threshold(
    args: Any, splits: dict[str, Dataset], saved: list[float] | None, labels: int, default: str | None = None
) -> np.ndarray:
    """Return the thresholds [labels] that are known without tuning: the number given, those `saved` with the model, or 0.5.

    Where a model is trained and there is validation data to tune on, `args.threshold` becomes `default` unless it is given.

    Raises:
        UserError: thresholds are to be tuned, and there is no validation data.
    """
    if args.threshold in (*TUNED, "tuned") and "validation" not in splits:
        raise UserError(f"--threshold {args.threshold} is tuned on validation data, and there is none: give --validation_file")
    if args.threshold is None and default and "train" in splits:
        if "validation" in splits:
            args.threshold = default
        else:
            logger.info("no validation data to tune thresholds on: 0.5")
    fixed = parse_threshold(args.threshold, (*TUNED, "tuned")) if args.threshold else None
    return np.array(saved) if fixed is None and saved is not None else np.full(labels, fixed or 0.5)


def depends_on_threshold(metric: str) -> bool:
    """Return whether a metric judges decisions, rather than probabilities or decisions at 0.5."""
    name = metric.removeprefix("eval_")
    return not name.startswith(("loss", "log_loss", "roc_auc", "average_precision")) and not name.endswith("_at_0.5")


def choose_thresholds(
    mode: str | None, probabilities: np.ndarray, targets: np.ndarray, known: np.ndarray | None = None, metric: str = "f1"
) -> np.ndarray:
    """Return thresholds [labels]: if `mode` says so, tuned for F1 on `probabilities` and `targets`; else those `known`.

    Both arrays are [rows, labels]. `UNKNOWN` cells are ignored. Nothing is tuned for a `metric` that judges no decisions.
    """
    if mode not in TUNED or not depends_on_threshold(metric):
        return known
    is_known, truth = targets != UNKNOWN, targets >= 0.5
    common = best_f1_threshold(truth[is_known], probabilities[is_known])
    if mode == "single":
        return np.full(targets.shape[1], common)
    columns = zip(truth.T, probabilities.T, is_known.T, strict=True)
    return np.array([best_f1_threshold(label[rows], column[rows], common) for label, column, rows in columns])


def choose_threshold(
    mode: str | None, probabilities: np.ndarray, targets: np.ndarray, known: np.ndarray, metric: str = "f1"
) -> np.ndarray:
    """Return the threshold [1] between two classes: tuned for F1 of the second one, or the `known` one.

    `probabilities` are [rows, 2], `targets` any form of `ClassFormat.targets`; see `choose_thresholds`.
    """
    if mode != "tuned" or not depends_on_threshold(metric):
        return known
    return np.array([best_f1_threshold(class_ids(targets) == 1, probabilities[:, 1] / probabilities.sum(axis=1))])


def best_f1_threshold(truth: np.ndarray, probabilities: np.ndarray, common: float | None = None) -> float:
    """Return a robust threshold for the highest F1, given `truth` and `probabilities`, both [rows].

    The best threshold of a single sample is noisy. So this is the mean, in log-odds, over `RESAMPLES` bootstrap samples
    (bagging: Breiman 1996, https://doi.org/10.1007/BF00058655). It is then pulled towards `common`, the threshold of all
    labels together, as if `WEIGHT_OF_COMMON` more positives had voted for that, which matters only for rare labels.
    Without positives it is `common`, or 0.5 if there is none.
    """
    positives = int(truth.sum())
    if not positives:
        return 0.5 if common is None else common
    found = (_best_of_resamples if len(truth) <= MANY_ROWS else _best_of_grouped_resamples)(truth, probabilities)
    own = logit(np.clip(found, 1e-6, 1 - 1e-6)).mean()
    if common is None:
        return float(expit(own))
    return float(expit((own * positives + logit(common) * WEIGHT_OF_COMMON) / (positives + WEIGHT_OF_COMMON)))


def _best_of_resamples(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the best threshold of each bootstrap sample, halfway to the next lower row that is drawn."""
    order = np.lexsort((truth, probabilities))  # so that the samples do not depend on the order of the rows
    ranked, of_positives = probabilities[order], np.flatnonzero(truth[order])  # the best threshold is at one of them
    lowest = np.searchsorted(ranked, ranked[of_positives])  # the first row as probable
    own_first = np.searchsorted(lowest, lowest)
    counts, decided, before = _resamples(len(truth))
    drawn = counts[:, of_positives]
    hits = drawn[:, ::-1].cumsum(axis=1)[:, ::-1]
    f1 = np.where(drawn > 0, 2 * hits[:, own_first] / np.maximum(decided[:, lowest] + hits[:, :1], 1), -1.0)
    samples = np.flatnonzero(drawn.any(axis=1))
    best = lowest[f1[samples].argmax(axis=1)]
    below = before[samples, best]
    return (ranked[best] + ranked[np.where(below < 0, best, below)]) / 2


@lru_cache(maxsize=2)  # most labels have as many known rows
def _resamples(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bootstrap samples of ranked rows, the same every time, as three arrays [samples, rows].

    They tell how often a row is drawn, how many of the drawn rows are no lower, and which row below it is the next that is drawn,
    -1 for none.
    """
    counts = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES).astype(np.int32)
    decided = counts[:, ::-1].cumsum(axis=1, dtype=np.int32)[:, ::-1]
    drawn = np.maximum.accumulate(np.where(counts > 0, np.arange(rows, dtype=np.int32), -1), axis=1)
    return counts, decided, np.hstack([np.full((len(counts), 1), -1, np.int32), drawn[:, :-1]])


def _best_of_grouped_resamples(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the best threshold of each bootstrap sample of many rows, halfway to the next lower row.

    How often a row between two positives is drawn matters only as a sum. So the positives are drawn, and these sums.
    """
    ranked = np.sort(probabilities)
    steps, positives = np.unique(probabilities[truth], return_counts=True)
    first = np.searchsorted(ranked, steps)
    groups = np.diff([0, *first, len(ranked)])  # the rows below all positives, and from each step to the next
    negatives = groups - [0, *positives]
    shares = np.concatenate([positives, negatives]) / len(ranked)
    samples = RESAMPLES if len(steps) <= MANY_ROWS else RESAMPLES // 6  # chance then matters less, and time more
    drawn = np.random.default_rng(0).multinomial(len(ranked), shares, size=samples)
    drawn, others = drawn[:, : len(steps)], drawn[:, len(steps) + 1 :]
    with_positives = drawn.any(axis=1)
    drawn, others = drawn[with_positives], others[with_positives]
    hits, decided = (each[:, ::-1].cumsum(axis=1)[:, ::-1] for each in (drawn, drawn + others))
    best = np.where(drawn > 0, 2 * hits / np.maximum(decided + hits[:, :1], 1), -1.0).argmax(axis=1)
    return (steps[best] + ranked[np.maximum(first[best] - 1, 0)]) / 2
