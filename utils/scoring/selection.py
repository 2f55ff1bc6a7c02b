"""Which evaluation chooses the weights that are kept: the metric, and whether higher or lower is better."""

import logging
from numbers import Real

from transformers.trainer_utils import IntervalStrategy

from utils.arguments import FineTuningArguments, UserError

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
