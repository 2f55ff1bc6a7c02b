"""Decision thresholds: fixed, one tuned for all labels, or one tuned for each label."""

import json
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from utils.command_line import TUNED, parse_threshold
from utils.data.labels import UNKNOWN

RESAMPLES = 30
MANY_ROWS = 100_000
WEIGHT_OF_COMMON = 2  # the common threshold counts as much as so many positives


def known_thresholds(mode: str | None, saved: list[float] | None, labels: int) -> np.ndarray:
    """Return thresholds [labels] without tuning: `mode` if it is a number, else those `saved` with the model, else 0.5."""
    fixed = parse_threshold(mode, (*TUNED, "tuned")) if mode else None
    if fixed is None and saved is not None:
        return np.array(saved)
    return np.full(labels, fixed or 0.5)


def choose_thresholds(
    mode: str | None, probabilities: np.ndarray, targets: np.ndarray, saved: list[float] | None = None
) -> np.ndarray:
    """Return thresholds [labels]: tuned for F1 on `probabilities` and `targets` if `mode` is in `TUNED`, else the known ones.

    Both arrays are [rows, labels]. `UNKNOWN` cells are ignored.
    """
    if mode not in TUNED:
        return known_thresholds(mode, saved, targets.shape[1])
    known, truth = targets != UNKNOWN, targets >= 0.5
    common = best_f1_threshold(truth[known], probabilities[known])
    if mode == "single":
        return np.full(targets.shape[1], common)
    columns = zip(truth.T, probabilities.T, known.T, strict=True)
    return np.array([best_f1_threshold(label[rows], column[rows], common) for label, column, rows in columns])


def best_f1_threshold(truth: np.ndarray, probabilities: np.ndarray, common: float | None = None) -> float:
    """Return a robust threshold for the highest F1, given `truth` and `probabilities`, both [rows].

    The best threshold of a single sample is noisy. So this is the mean, in log-odds, over `RESAMPLES` bootstrap samples
    (bagging: Breiman 1996, https://doi.org/10.1007/BF00058655). It is then pulled towards `common`, the threshold of all
    labels together, as if `WEIGHT_OF_COMMON` more positives had voted for that, which matters only for rare labels.
    Without positives it is `common`, or 0.5 if there is none.
    """
    values, row_value = np.unique(probabilities, return_inverse=True)
    positives, rows = int(truth.sum()), len(truth)
    order = np.lexsort((truth, probabilities))  # so that the samples do not depend on the order of the rows
    row_value, truth = row_value[order], truth[order]
    draw, found = np.random.default_rng(0), []
    samples = RESAMPLES if rows <= MANY_ROWS else RESAMPLES // 6  # with many rows, chance matters less and time more
    for _ in range(samples if positives else 0):
        counts = draw.multinomial(rows, np.full(rows, 1 / rows))
        drawn = np.bincount(row_value, counts, len(values))  # rows of the sample with each probability
        right = np.bincount(row_value, counts * truth, len(values))[::-1].cumsum()[::-1]  # true positives at each threshold
        if right[0]:
            seen = np.flatnonzero(drawn)
            decided = drawn[::-1].cumsum()[::-1]
            precision, recall = right[seen] / decided[seen], right[seen] / right[0]
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            best = int(np.argmax(f1))
            found.append((values[seen[best]] + values[seen[max(best - 1, 0)]]) / 2)  # halfway to the next lower probability
    if not found:
        return 0.5 if common is None else common
    own = logit(np.clip(found, 1e-6, 1 - 1e-6)).mean()
    if common is None:
        return float(expit(own))
    return float(expit((own * positives + logit(common) * WEIGHT_OF_COMMON) / (positives + WEIGHT_OF_COMMON)))


def save_thresholds(thresholds: np.ndarray, names: list[str], output_dir: str) -> None:
    text = json.dumps({name: float(value) for name, value in zip(names, thresholds, strict=True)}, indent=2, ensure_ascii=False)
    Path(output_dir, "thresholds.json").write_text(text + "\n", encoding="utf-8")
