"""The targets of multi-label data: every way to write them becomes an array [rows, labels]."""

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

from utils.arguments import UserError, shorten
from utils.data.files import PLACE, columns
from utils.data.loading import require_columns

logger = logging.getLogger(__name__)

UNKNOWN = -100.0  # a cell without a known label, as everywhere in PyTorch: no part of loss or metrics
DELIMITERS = {",": "comma", ";": "semicolon", "|": "bar", " ": "space"}


@dataclass(frozen=True)
class LabelFormat:
    """How the labels of a multi-label dataset are written.

    kind is one of "one 0/1 column per label", "0/1 vector", "list of names", "list of ids", "delimited string".
    """

    kind: str
    columns: list[str]
    names: list[str]
    delimiter: str | None = None

    def targets(self, dataset: Dataset) -> np.ndarray:
        """Return targets [rows, labels], float32: 0, 1, a fraction between, or `UNKNOWN`.

        Raises:
            UserError: a cell that this format cannot hold, or a label not among `names`; names file, row and column.
        """
        require_columns(dataset, self.columns, "--label_column_names")
        if self.kind == "one 0/1 column per label":
            cells = [[_cell(value, dataset, row, name) for row, value in enumerate(dataset[name][:])] for name in self.columns]
            return np.array(cells, np.float32).T
        name = self.columns[0]
        index = {label: position for position, label in enumerate(self.names)}
        id_names = class_names(dataset.features[name])
        targets = np.zeros((len(dataset), len(self.names)), np.float32)
        for row, value in enumerate(dataset[name][:]):
            try:
                items = as_list(value, self.delimiter)
            except (ValueError, SyntaxError):
                raise UserError(
                    f"{dataset[row][PLACE]}, column {name!r}: found {value!r}, expected a list such as ['a', 'b']"
                ) from None
            if items is None or (self.kind == "0/1 vector" and not items):
                targets[row] = UNKNOWN
            elif self.kind == "0/1 vector":
                if len(items) != len(self.names):
                    raise UserError(
                        f"{dataset[row][PLACE]}, column {name!r}: found {len(items)} values, "
                        f"expected {len(self.names)}, one for each label"
                    )
                targets[row] = [_cell(item, dataset, row, name) for item in items]
            else:
                for item in items:
                    if item is None:
                        raise UserError(
                            f"{dataset[row][PLACE]}, column {name!r}: found null in {value}; drop it, or write null for the "
                            f"whole list where the labels are unknown"
                        )
                    label = id_names[item] if id_names else str(item)
                    if label not in index:
                        raise UserError(
                            f"{dataset[row][PLACE]}, column {name!r}: the label {label!r} is not among the labels of the "
                            f"training data or model ({shorten(self.names)}); add it there, or correct it here"
                        )
                    targets[row, index[label]] = 1
        return targets

    def labelled(self, dataset: Dataset) -> bool:
        """Whether `dataset` has the label columns, and something in one of them."""
        present = [name for name in self.columns if name in columns(dataset)]
        if present and len(present) < len(self.columns):
            require_columns(dataset, self.columns, "--label_column_names")
        return any(value not in (None, "", [], "-1", "-1.0", -1) for name in present for value in dataset[name][:])

    def __str__(self):
        shown = f"{self.kind} ({DELIMITERS.get(self.delimiter, self.delimiter)})" if self.delimiter else self.kind
        where = f"column {self.columns[0]!r}" if len(self.columns) == 1 else f"columns {shorten(self.columns)}"
        return f"labels: {shown}, {where}; {len(self.names)} labels: {shorten(self.names)}"


def _cell(value: Any, dataset: Dataset, row: int, name: str) -> float:
    cell = parse_cell(value)
    if cell is None:
        raise UserError(
            f"{dataset[row][PLACE]}, column {name!r}: found {value!r}, expected 0 or 1, a fraction between them, or -1 or "
            f"nothing where the label is unknown; correct the cell, or name the label columns with --label_column_names"
        )
    return cell


def parse_cell(value: Any) -> float | None:
    """Return a 0/1 cell as 0, 1, a fraction between them or `UNKNOWN` (-1, empty, NaN); None if it is none of these."""
    if value is None or (isinstance(value, str) and value.strip() == ""):
        return UNKNOWN
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if number == -1 or math.isnan(number):
        return None if isinstance(value, str) and math.isnan(number) else UNKNOWN
    return number if 0 <= number <= 1 else None


def class_names(feature: Any) -> list[str] | None:
    """Return what the ids of a column stand for where the dataset says so, a `ClassLabel` or a list of them."""
    return next((f.names for f in (feature, getattr(feature, "feature", None)) if isinstance(f, ClassLabel)), None)


def as_list(value: Any, delimiter: str | None) -> list | None:
    """Return the items of a cell; None if the row's labels are unknown (a missing value, or -1)."""
    if value is None or value == -1 or value == "-1":
        return None
    if isinstance(value, str):
        if not delimiter and value.strip().startswith(("[", "(")):
            return list(ast.literal_eval(value.strip()))  # ValueError or SyntaxError if it is no list
        items = value.split(delimiter) if delimiter else [value]
        return [item.strip() for item in items if item.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def natural_order(names: set[str]) -> list[str]:
    """Return names sorted with "2" before "10"."""

    def key(name: str) -> list:
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]

    return sorted(names, key=key)


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """Return the rarest label of each row of targets [rows, labels], -1 for none: what the validation split keeps even."""
    positive = targets >= 0.5
    ranked = np.argsort(positive.sum(axis=0))
    return np.where(positive.any(axis=1), ranked[positive[:, ranked].argmax(axis=1)], -1)


def describe_targets(targets: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Return what `--check_data` says of targets [rows, labels]."""
    known = targets != UNKNOWN
    positive = known & (targets >= 0.5)
    sizes = Counter(positive.sum(axis=1).tolist())
    return {
        "labels": {label: int(count) for label, count in zip(names, positive.sum(axis=0), strict=True)},
        "rows_without_label": int((~positive.any(axis=1) & known.any(axis=1)).sum()),
        "unknown_cells": int((~known).sum()),
        "soft_cells": int((known & (targets > 0) & (targets < 1)).sum()),
        "labels_per_row": {str(size): sizes[size] for size in sorted(sizes)},
    }


def saved_label_names(config: PreTrainedConfig | None, training: bool) -> list[str] | None:
    """Return the labels of a model that was trained for some, in the order of its head; None for a bare encoder.

    The names that transformers gives, LABEL_0 and so on, are those of a trained head that predicts, of none to be trained.
    """
    if config is None:
        return None
    names = [config.id2label[index] for index in range(config.num_labels)]
    known = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    has_head = known or saved_setting(config, "trained_by")  # a class of the script's own has any name
    unnamed = names == [f"LABEL_{index}" for index in range(len(names))]
    return None if unnamed and (training or not has_head) else names


def saved_setting(config: PreTrainedConfig | None, name: str):
    """Return what our scripts saved under `name` in the model's config, or None."""
    return None if config is None else config.to_dict().get(name)
