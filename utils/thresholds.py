"""Decision thresholds: fixed, one tuned for all labels, or one tuned for each label."""

import json
import logging
from pathlib import Path

import numpy as np
from sklearn.metrics import precision_recall_curve

from utils.arguments import UserError
from utils.labels import UNKNOWN

logger = logging.getLogger(__name__)

TUNED = ("per_label", "single")
RARE = 10  # positives below which a label's own best threshold is mostly chance


def parse_threshold(text: str) -> float | None:
    """Return a fixed threshold as a number, None for a mode that tunes.

    Raises:
        UserError: neither a mode nor a number above 0 and below 1.
    """
    if text in TUNED:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UserError(f"--threshold {text}: expected {', '.join(TUNED)}, or a number above 0 and below 1 such as 0.5")
    return value


def known_thresholds(mode: str | None, saved: list[float] | None, labels: int) -> np.ndarray:
    """Return thresholds [labels] without tuning: the number that `mode` is, else those `saved` with the model, else 0.5."""
    fixed = parse_threshold(mode) if mode else None
    if fixed is None and saved is not None:
        return np.array(saved)
    return np.full(labels, fixed or 0.5)


def choose_thresholds(mode: str, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return thresholds [labels] for a `mode` of `TUNED`, tuned for F1 on validation `probabilities` and `targets`.

    A label with fewer than `RARE` known positives takes the one threshold tuned over all labels together: its own
    would fit the few rows there happen to be. Both arrays are [rows, labels].
    """
    labels = probabilities.shape[1]
    known = targets != UNKNOWN
    truth = targets >= 0.5
    thresholds = np.full(labels, best_f1_threshold(truth[known], probabilities[known]))
    if mode == "per_label":
        common = (truth & known).sum(axis=0) >= RARE
        for label in np.flatnonzero(common):
            rows = known[:, label]
            thresholds[label] = best_f1_threshold(truth[rows, label], probabilities[rows, label])
        if not common.all():
            logger.info(
                "thresholds: %d of %d labels have under %d positives in the validation data and take the common one",
                (~common).sum(), labels, RARE,
            )  # fmt: skip
    return thresholds


def best_f1_threshold(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the threshold with the highest F1, halfway to the next lower probability; 0.5 without positives."""
    if not truth.any():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(truth, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1[:-1]))
    return float((thresholds[best] + thresholds[max(best - 1, 0)]) / 2)


def save_thresholds(thresholds: np.ndarray, names: list[str], output_dir: str) -> None:
    text = json.dumps({name: float(value) for name, value in zip(names, thresholds, strict=True)}, indent=2, ensure_ascii=False)
    Path(output_dir, "thresholds.json").write_text(text + "\n", encoding="utf-8")
