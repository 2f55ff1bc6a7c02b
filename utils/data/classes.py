"""The target of a row with one label: class id, row of probabilities, one probability, or a number."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from transformers import PreTrainedConfig

from utils.arguments import UserError, shorten
from utils.data.files import PLACE, columns
from utils.data.labels import UNKNOWN, as_list, saved_label_names, saved_setting
from utils.data.loading import require_columns

ROUNDING = 0.02  # how far from 1 the sum of a row of probabilities may be


@dataclass(frozen=True)
class ClassFormat:
    """How the one label of a row is written, and which head and targets it becomes.

    problem is "binary", "multi" or "regression". form is the target of a row: "two_logits" or "class_ids" (a class id),
    "one_logit" (the probability of the second class), "one_hot" (a probability for each class) or "number".
    """

    problem: str
    form: str
    column: str
    names: list[str]
    ids: bool = False  # whole numbers in the column are positions in `names`
    independent: bool = False  # each logit of one_hot is a yes/no question of its own

    @property
    def regression(self) -> bool:
        return self.form == "number"

    @property
    def problem_type(self) -> str:
        """What transformers calls it in the model's config, where it makes `pipeline()` take the sigmoid or the softmax."""
        if self.regression:
            return "regression"
        return "multi_label_classification" if self.width == 1 or self.independent else "single_label_classification"

    @property
    def width(self) -> int:
        """Logits of the head."""
        return 1 if self.form in ("one_logit", "number") else len(self.names)

    @property
    def unknown(self) -> float:
        """What stands for an unknown target: `UNKNOWN` among ids, NaN among floats."""
        return math.nan if self.form in ("one_logit", "one_hot", "number") else UNKNOWN

    @property
    def head_names(self) -> list[str]:
        """What each logit stands for, the `id2label` of the model's config."""
        return [self.column] if self.regression else self.names[-1:] if self.form == "one_logit" else self.names

    @property
    def settings(self) -> dict[str, Any]:
        """What a saved model's config says of it, for `saved_format`."""
        return {"binary_form": self.form, "label_names": self.names, "label_column_name": self.column}

    def targets(self, dataset: Dataset) -> np.ndarray:
        """Return class ids [rows], or floats: [rows, 1] for one_logit, [rows, classes] for one_hot, [rows] for numbers.

        Where the label is unknown (missing or -1) an id is `UNKNOWN`, a float is NaN.

        Raises:
            UserError: a cell that this format cannot hold, or a label not among `names`; names file, row and column.
        """
        require_columns(dataset, [self.column], "--label_column_name")
        cells = enumerate(written_labels(dataset, self.column))
        if self.regression:
            return np.array([self._number(value, dataset, row) for row, value in cells], np.float32)
        shares = np.array([self._shares(value, dataset, row) for row, value in cells], np.float32)
        if self.form == "one_hot":
            return shares
        if self.form == "one_logit":
            return shares[:, 1:]
        return np.where(np.isnan(shares[:, 0]), UNKNOWN, shares.argmax(axis=1)).astype(np.int64)

    def labelled(self, dataset: Dataset) -> bool:
        """Whether `dataset` has the label column, and a label in it."""
        missing = (lambda value: read_number(value) in (None, -1)) if self.regression else is_missing  # -1: as GLUE has it
        return self.column in columns(dataset) and not all(missing(value) for value in dataset[self.column][:])

    def _number(self, value: Any, dataset: Dataset, row: int) -> float:
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return math.nan
        number = read_number(value)
        if number is None:
            raise UserError(f"{dataset[row][PLACE]}, column {self.column!r}: found {value!r}, expected a number (regression)")
        if abs(number) > float(np.finfo(np.float32).max):
            raise UserError(f"{dataset[row][PLACE]}, column {self.column!r}: found {value!r}, too large a number for float32")
        return number

    def _shares(self, value: Any, dataset: Dataset, row: int) -> list[float]:
        """Return the probability of each class that a cell stands for: a class, a row, or a probability of the second."""
        if is_missing(value):
            return [math.nan] * len(self.names)
        where = f"{dataset[row][PLACE]}, column {self.column!r}"
        cells = read_row(value)
        if cells is not None:
            if len(cells) == 1 and len(self.names) == 2:
                cells = [1 - cells[0], cells[0]]
            if len(cells) != len(self.names):
                raise UserError(
                    f"{where}: a row of width {len(cells)} for {len(self.names)} labels ({shorten(self.names)}): expected "
                    f"width {len(self.names)}" + (", or 1 with --binary_form one_logit" if len(self.names) == 2 else "")
                )
            if min(cells) < 0 or abs(sum(cells) - 1) > ROUNDING:
                raise UserError(f"{where}: found {value}, expected shares from 0 to 1 that sum to 1")
            return [cell / sum(cells) for cell in cells]
        name = class_name(value)
        if name not in self.names and name.lower() in ("true", "false"):  # as JSON, CSV and Python write it
            name = next((own for own in self.names if own.lower() == name.lower()), name)
        if name in self.names:
            position = self.names.index(name)
        elif self.ids and name.isdecimal() and not any(own.isdecimal() for own in self.names):
            position = int(name)
        else:
            number = read_number(value)
            if self.form in ("one_logit", "one_hot") and len(self.names) == 2 and number is not None and 0 <= number <= 1:
                return [1 - number, number]
            position = len(self.names)
        if position >= len(self.names):
            raise UserError(
                f"{where}: the label {name!r} is not among the labels of the training data or model "
                f"({shorten(self.names)}); add it there, or correct it here"
            )
        return [float(position == index) for index in range(len(self.names))]

    def __str__(self):
        if self.regression:
            return f"label: column {self.column!r}, numbers: regression, one logit"
        target = {
            "one_logit": "one logit, one target a row",
            "one_hot": f"{len(self.names)} logits, rows of {len(self.names)} probabilities",
        }.get(self.form, f"{len(self.names)} logits, class ids")
        kind = "binary" if len(self.names) == 2 else "multi-class"
        return f"label: column {self.column!r}, {kind}: {target}; {len(self.names)} labels: {shorten(self.names)}"


def written_labels(dataset: Dataset, column: str) -> list:
    """Return the cells of a label column, those of a `ClassLabel` by name: ids of another file may be in another order."""
    feature = dataset.features[column]
    if not isinstance(feature, ClassLabel):
        return dataset[column][:]
    return [value if is_missing(value) else feature.int2str(value) for value in dataset[column][:]]


def read_number(value: Any) -> float | None:
    """Return a finite number, written as such or as text; None for anything else, booleans among it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_row(value: Any) -> list[float] | None:
    """Return a list of numbers, written as such or as text ("[0, 1]"); None for anything else."""
    if isinstance(value, str) and not value.strip().startswith("["):
        return None
    try:
        cells = [read_number(cell) for cell in as_list(value, None) or []]
    except (ValueError, SyntaxError):
        return None
    return cells if isinstance(value, (list, str)) and cells and None not in cells else None


def is_missing(value: Any) -> bool:
    """Whether a class label is unknown: nothing, NaN or -1."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value)) or read_number(value) == -1


def class_name(value: Any) -> str:
    """Return the name of a class as it is written, but 1.0 as "1"."""
    number = read_number(value)
    return str(int(number)) if number is not None and "." in str(value) and number.is_integer() else str(value)


def saved_format(config: PreTrainedConfig | None, training: bool) -> ClassFormat | None:
    """Return the format of the labels that a saved model was trained for; None for a bare encoder, or several labels a text."""
    names = saved_label_names(config, training)
    form, several = saved_setting(config, "binary_form"), config and config.problem_type == "multi_label_classification"
    if names is None or (several and form is None and len(names) > 1):
        return None
    column = saved_setting(config, "label_column_name") or "label"
    if config.problem_type == "regression":
        return ClassFormat("regression", "number", column, names)
    names = saved_setting(config, "label_names") or (names if len(names) > 1 else [f"not {names[0]}", names[0]])
    form = form or ("one_logit" if config.num_labels == 1 else "two_logits" if len(names) == 2 else "class_ids")
    problem = "binary" if len(names) == 2 else "multi"
    return ClassFormat(problem, form, column, names, independent=several and config.num_labels > 1)


def unknown_rows(targets: np.ndarray) -> np.ndarray:
    """Return which rows [rows] of any form of `ClassFormat.targets` have no known label."""
    return targets == UNKNOWN if targets.dtype.kind == "i" else np.isnan(targets.reshape(len(targets), -1)).any(axis=1)


def class_ids(targets: np.ndarray) -> np.ndarray:
    """Return the class [rows] of any form of targets but numbers; `UNKNOWN` where it is."""
    if targets.dtype.kind == "i":
        return targets
    ids = targets[:, 0] >= 0.5 if targets.shape[1] == 1 else targets.argmax(axis=1)
    return np.where(unknown_rows(targets), UNKNOWN, ids).astype(np.int64)


def describe_targets(targets: np.ndarray, class_format: ClassFormat) -> dict[str, Any]:
    """Return what `--check_data` says of any form of targets."""
    unknown = unknown_rows(targets)
    if class_format.regression:
        quartiles = np.quantile(targets[~unknown], [0, 0.25, 0.5, 0.75, 1]).tolist()
        return {"minimum_quartiles_maximum": [round(value, 3) for value in quartiles], "rows_without_label": int(unknown.sum())}
    counts = np.bincount(class_ids(targets)[~unknown], minlength=len(class_format.names)).tolist()
    return {"labels": dict(zip(class_format.names, counts, strict=True)), "rows_without_label": int(unknown.sum())}
