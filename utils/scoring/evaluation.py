"""What a model predicted for the labelled rows of a split, and what is true."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from utils.data.classes import class_ids, unknown_rows
from utils.files.cells import UNKNOWN

# What a row has: any number of labels, one class of a set, a winner among candidates, or a number.
Kind = Literal["labels", "classes", "choices", "numbers"]


@dataclass
class Evaluation:
    """The predictions for rows whose target is known.

    Attributes:
        kind: what a row has.
        names: the labels or classes; of choices their positions; of numbers none.
        probabilities: [rows, names] in float64, NaN where a row has fewer candidates; of numbers what is predicted [rows, 1].
        truth: of labels [rows, names] with 1, 0 or NaN for unknown; of classes and choices ids [rows]; of numbers [rows].
        thresholds: of labels [names]; of two classes the second's [1]; else empty.
        rows: the position [rows] of each row in the file of predictions, which has unlabelled rows too.
        ids, texts: of each row, as in the file of predictions; no texts with --no_text.
        own: what the script has decided of each row, as `decided`; None where the thresholds say it.
    """

    kind: Kind
    names: list[str]
    probabilities: np.ndarray
    truth: np.ndarray
    thresholds: np.ndarray = field(default_factory=lambda: np.empty(0))
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    own: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def decided(self) -> np.ndarray:
        """What is decided: of labels yes or no [rows, names], of numbers themselves, else ids [rows]."""
        if self.own is not None:
            return self.own
        if self.kind == "labels":
            return self.probabilities >= self.thresholds
        if self.kind == "numbers":
            return self.probabilities[:, 0]
        if self.kind == "classes" and len(self.names) == 2:
            return (self.probabilities[:, 1] / self.probabilities.sum(axis=1) >= self.thresholds).astype(int)
        return np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=1)


def known_truth(kind: Kind, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows [rows] of a script's `targets` are known, and what is true of those, as `Evaluation.truth` has it.

    A soft target counts as what it is nearest to.
    """
    if kind == "labels":
        truth = np.where(targets == UNKNOWN, np.nan, targets >= 0.5)
        known = ~np.isnan(truth).all(axis=1)
        return known, truth[known]
    known = targets != UNKNOWN if kind == "choices" else ~unknown_rows(targets)
    return known, class_ids(targets[known]) if kind == "classes" else targets[known]
