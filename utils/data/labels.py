"""Multi-label targets: however the labels are written, they become an array [rows, labels]."""

import ast
import logging
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from transformers import PreTrainedConfig

from utils.arguments import shorten
from utils.data.files import cell_error, columns
from utils.data.loading import require_columns

logger = logging.getLogger(__name__)

UNKNOWN = -100.0  # an unknown label, PyTorch's usual value: it counts neither in the loss nor in the metrics
DELIMITERS = {",": "comma", ";": "semicolon", "|": "bar", " ": "space"}


@dataclass(frozen=True)
class LabelFormat:
    """How a dataset writes the labels of a row.

    kind is "one 0/1 column per label", "0/1 vector", "list of names", "list of ids" or "delimited string".
    """

    kind: str
    columns: list[str]
    names: list[str]
    delimiter: str | None = None

    def targets(self, dataset: Dataset) -> np.ndarray:
        """Return targets [rows, labels] in float32: 0, 1, a fraction between them, or `UNKNOWN`.

        Raises:
            UserError: a cell does not have this format, or a label is not among `names`.
        """
        require_columns(dataset, self.columns, "--label_column_names")
        if self.kind == "one 0/1 column per label":
            cells = [[_cell(value, dataset, row, name) for row, value in enumerate(dataset[name][:])] for name in self.columns]
            return np.array(cells, np.float32).T
        column = self.columns[0]
        positions = {name: position for position, name in enumerate(self.names)}
        id_names = class_names(dataset.features[column])
        targets = np.zeros((len(dataset), len(self.names)), np.float32)
        for row, value in enumerate(dataset[column][:]):
            try:
                items = as_list(value, self.delimiter)
            except (ValueError, SyntaxError):
                raise cell_error(dataset, row, column, f"found {value!r}, expected a list such as ['a', 'b']") from None
            if items is None or (self.kind == "0/1 vector" and not items):
                targets[row] = UNKNOWN
                continue
            if self.kind == "0/1 vector":
                if len(items) != len(self.names):
                    problem = f"found {len(items)} values, expected {len(self.names)}, one for each label"
                    raise cell_error(dataset, row, column, problem)
                targets[row] = [_cell(item, dataset, row, column) for item in items]
                continue
            for item in items:
                if item is None:
                    advice = "drop it, or write null instead of the list if the labels are unknown"
                    raise cell_error(dataset, row, column, f"found null in {value}; {advice}")
                name = id_names[item] if id_names else str(item)
                if name not in positions:
                    raise cell_error(dataset, row, column, unknown_label(name, self.names))
                targets[row, positions[name]] = 1
        return targets

    def labelled(self, dataset: Dataset) -> bool:
        """Return whether `dataset` has the label columns, with a label in at least one cell."""
        present = [name for name in self.columns if name in columns(dataset)]
        if present and len(present) < len(self.columns):
            require_columns(dataset, self.columns, "--label_column_names")
        return any(value not in (None, "", [], "-1", "-1.0", -1) for name in present for value in dataset[name][:])

    def describe(self, targets: np.ndarray) -> dict[str, Any]:
        """Return what `--check_data` reports about targets [rows, labels]."""
        known = targets != UNKNOWN
        positive = known & (targets >= 0.5)
        sizes = Counter(positive.sum(axis=1).tolist())
        return {
            "labels": {label: int(count) for label, count in zip(self.names, positive.sum(axis=0), strict=True)},
            "rows_without_label": int((~positive.any(axis=1) & known.any(axis=1)).sum()),
            "unknown_cells": int((~known).sum()),
            "soft_cells": int((known & (targets > 0) & (targets < 1)).sum()),
            "labels_per_row": {str(size): sizes[size] for size in sorted(sizes)},
        }

    def __str__(self):
        shown = f"{self.kind} ({DELIMITERS.get(self.delimiter, self.delimiter)})" if self.delimiter else self.kind
        where = f"column {self.columns[0]!r}" if len(self.columns) == 1 else f"columns {shorten(self.columns)}"
        return f"labels: {shown}, {where}; {len(self.names)} labels: {shorten(self.names)}"


def unknown_label(name: str, names: list[str]) -> str:
    """Return what is wrong with a label that is not among `names`."""
    return (
        f"the label {name!r} is not among the labels of the training data or model ({shorten(names)}); "
        f"add it there, or correct it here"
    )


def _cell(value: Any, dataset: Dataset, row: int, column: str) -> float:
    cell = parse_cell(value)
    if cell is None:
        problem = (
            f"found {value!r}, expected 0 or 1, a fraction between them, or -1 or nothing if the label is unknown; correct the "
            f"cell, or name the label columns with --label_column_names"
        )
        raise cell_error(dataset, row, column, problem)
    return cell


def parse_cell(value: Any) -> float | None:
    """Return a 0/1 cell as 0, 1, a fraction between them, or `UNKNOWN` (for -1, empty, NaN). Return None for anything else."""
    text = str(value).strip().lower()
    if value is None or text == "":
        return UNKNOWN
    if text in ("true", "false"):
        return float(text == "true")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if math.isnan(number):
        return None if isinstance(value, str) else UNKNOWN  # the text "nan" is no empty cell
    if number == -1:
        return UNKNOWN
    return number if 0 <= number <= 1 else None


def class_names(feature: Any) -> list[str] | None:
    """Return the names of the ids in a column if the dataset knows them: a `ClassLabel`, or a list of them."""
    return next((f.names for f in (feature, getattr(feature, "feature", None)) if isinstance(f, ClassLabel)), None)


def as_list(value: Any, delimiter: str | None) -> list | None:
    """Return the items in a cell, or None if the labels of the row are unknown (missing, or -1)."""
    if value is None or value == -1 or value == "-1":
        return None
    if isinstance(value, str):
        if not delimiter and value.strip().startswith(("[", "(")):
            return list(ast.literal_eval(value.strip()))  # ValueError or SyntaxError if it is not a list
        items = value.split(delimiter) if delimiter else [value]
        return [item.strip() for item in items if item.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def natural_order(names: set[str]) -> list[str]:
    """Return names in sorted order, but with "2" before "10"."""

    def key(name: str) -> list:
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]

    return sorted(names, key=key)


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """Return the rarest label of each row in targets [rows, labels], or -1 for none. The validation split is stratified by it."""
    positive = targets >= 0.5
    ranked = np.argsort(positive.sum(axis=0))
    return np.where(positive.any(axis=1), ranked[positive[:, ranked].argmax(axis=1)], -1)


def saved_label_names(config: PreTrainedConfig | None, training: bool) -> list[str] | None:
    """Return the labels of a trained model in the order of its head, or None for a bare encoder.

    transformers names unnamed labels LABEL_0 and so on. They count if a trained head predicts, but not if it is to be trained.
    """
    if config is None:
        return None
    names = [config.id2label[index] for index in range(config.num_labels)]
    known = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    has_head = known or saved_setting(config, "trained_by")  # a class of the script's own has any name
    unnamed = names == [f"LABEL_{index}" for index in range(len(names))]
    return None if unnamed and (training or not has_head) else names


def saved_setting(config: PreTrainedConfig | None, name: str):
    """Return what our scripts saved in the model's config as `name`, or None."""
    return None if config is None else config.to_dict().get(name)
