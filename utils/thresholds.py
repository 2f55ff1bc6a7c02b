"""Decision thresholds: fixed, one tuned for all labels, or one tuned for each label."""

import json
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from sklearn.metrics import precision_recall_curve

from utils.labels import UNKNOWN
from utils.parsing import TUNED, parse_threshold

RESAMPLES = 30
WEIGHT_OF_COMMON = 2  # positives


def known_thresholds(mode: str | None, saved: list[float] | None, labels: int) -> np.ndarray:
    """Return thresholds [labels] without tuning: the number that `mode` is, else those `saved` with the model, else 0.5."""
    fixed = parse_threshold(mode, (*TUNED, "tuned")) if mode else None
    if fixed is None and saved is not None:
        return np.array(saved)
    return np.full(labels, fixed or 0.5)


def choose_thresholds(
    mode: str | None, probabilities: np.ndarray, targets: np.ndarray, saved: list[float] | None = None
) -> np.ndarray:
    """Return thresholds [labels]: for a `mode` of `TUNED` tuned for F1 on these `probabilities` and `targets`, or those known.

    Both arrays are [rows, labels]; `UNKNOWN` cells count nowhere.
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
    """Return the threshold for the highest F1, guarded against the chance of a small sample; `truth`, `probabilities`: [rows].

    The best threshold of one sample jumps from row to row; the mean, in log-odds, of those of `RESAMPLES` bootstrap samples
    does not (bagging: Breiman 1996, https://doi.org/10.1007/BF00058655). It is drawn towards `common`, the threshold of all
    labels together, as if `WEIGHT_OF_COMMON` more positives spoke for that, which tells for rare labels only. Without
    positives it is `common`, 0.5 if there is none.
    """
    order = np.lexsort((truth, probabilities))  # the samples must not depend on the order of the rows
    truth, probabilities = truth[order], probabilities[order]
    draw, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES if truth.any() else 0):
        counts = draw.multinomial(len(truth), np.full(len(truth), 1 / len(truth)))
        if (truth * counts).any():
            precision, recall, thresholds = precision_recall_curve(truth, probabilities, sample_weight=counts)
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            best = int(np.argmax(f1[:-1]))
            found.append((thresholds[best] + thresholds[max(best - 1, 0)]) / 2)  # halfway to the next lower probability
    if not found:
        return 0.5 if common is None else common
    own = logit(np.clip(found, 1e-6, 1 - 1e-6)).mean()
    if common is None:
        return float(expit(own))
    positives = truth.sum()
    return float(expit((own * positives + logit(common) * WEIGHT_OF_COMMON) / (positives + WEIGHT_OF_COMMON)))


def save_thresholds(thresholds: np.ndarray, names: list[str], output_dir: str) -> None:
    text = json.dumps({name: float(value) for name, value in zip(names, thresholds, strict=True)}, indent=2, ensure_ascii=False)
    Path(output_dir, "thresholds.json").write_text(text + "\n", encoding="utf-8")
