"""One label per row: its target is a class id, a row of probabilities, one probability, or a number."""

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from transformers import PreTrainedConfig

from utils.arguments import shorten
from utils.columns.label_columns import as_unknown, unknown_option
from utils.columns.naming import require_columns
from utils.data.label_names import DECIMAL_COMMA, saved_label_names, saved_setting, unknown_label
from utils.files.cells import UNKNOWN, class_name, is_empty, is_marked, is_missing, read_list, read_number, read_row
from utils.files.rows import cell_error, columns, distinct_cells

ROUNDING = 0.02  # how far the sum of a row of probabilities may be from 1


@dataclass(frozen=True)
class ClassFormat:
    """How a dataset writes the label of a row, and what the head and its targets look like.

    problem is "binary", "multi" or "regression". form is the target of a row: "two_logits" or "class_ids" (a class id),
    "one_logit" (the probability of the second class), "one_hot" (a probability for each class) or "number".
    """

    problem: str
    form: str
    column: str
    names: list[str]
    ids: bool = False  # whole numbers in the column are positions in `names`
    independent: bool = False  # each logit of one_hot is a separate yes/no question
    unknown_label: str | None = None  # what stands for an unknown label besides an empty cell; None: -1, unless it is a class

    @property
    def regression(self) -> bool:
        return self.form == "number"

    @property
    def evaluated_as(self) -> str:
        return "numbers" if self.regression else "classes"

    @property
    def problem_type(self) -> str:
        """The problem type in the model's config. It tells `pipeline()` whether to apply the sigmoid or the softmax."""
        if self.regression:
            return "regression"
        return "multi_label_classification" if self.width == 1 or self.independent else "single_label_classification"

    @property
    def width(self) -> int:
        """The number of logits."""
        return 1 if self.form in ("one_logit", "number") else len(self.names)

    @property
    def unknown(self) -> float:
        """The target of an unknown label: `UNKNOWN` among ids, NaN among floats."""
        return math.nan if self.form in ("one_logit", "one_hot", "number") else UNKNOWN

    @property
    def head_names(self) -> list[str]:
        """The name of each logit, `id2label` in the model's config."""
        return [self.column] if self.regression else self.names[-1:] if self.form == "one_logit" else self.names

    @property
    def settings(self) -> dict[str, Any]:
        """What a saved model's config says of it, for `saved_format`."""
        return {"binary_form": self.form, "label_names": self.names, "label_column_name": self.column}

    @property
    def columns_by_option(self) -> dict[str, list[str]]:
        """The column of the label, by the option that names it."""
        return {"label_column_name": [self.column]}

    def is_unknown(self, value: Any) -> bool:
        """Return whether a cell holds no label. -1 is none unless it is a class, or the labels are numbers."""
        marked = is_marked(value, self.unknown_label) or (not self.regression and is_marked(value, "-1"))
        return is_empty(value) or (marked and class_name(value) not in self.names)

    def words(self, target: np.ndarray) -> str:
        """Return the label of a row in words, "" if it is unknown."""
        if unknown_rows(np.asarray(target)[None])[0]:
            return ""
        if self.regression:
            return f"{float(target):g}"
        return self.names[int(class_ids(np.asarray(target)[None])[0])]

    def targets(self, dataset: Dataset) -> np.ndarray:
        """Return class ids [rows], or floats: [rows, 1] for one_logit, [rows, classes] for one_hot, [rows] for numbers.

        An unknown label (missing or -1) becomes `UNKNOWN` among ids, and NaN among floats.

        Raises:
            UserError: a cell does not have this format, or a label is not among `names`.
        """
        require_columns(dataset, [self.column], "--label_column_name")
        different, cell_of_row = distinct_cells(dataset, self.column)
        cells = zip(different, written_labels(dataset.features[self.column], different.values()), strict=True)
        if self.regression:
            return np.array([self._number(value, dataset, row) for row, value in cells], np.float32)[cell_of_row]
        shares = np.array([self._shares(value, dataset, row) for row, value in cells], np.float32)
        if self.form == "one_hot":
            return shares[cell_of_row]
        if self.form == "one_logit":
            return shares[cell_of_row, 1:]
        return np.where(np.isnan(shares[:, 0]), UNKNOWN, shares.argmax(axis=1)).astype(np.int64)[cell_of_row]

    def labelled(self, dataset: Dataset) -> bool:
        """Return whether `dataset` has the label column, with a label in at least one cell."""
        missing = self._no_number if self.regression else self.is_unknown
        return self.column in columns(dataset) and not all(map(missing, distinct_cells(dataset, self.column)[0].values()))

    def _no_number(self, value: Any) -> bool:
        """Return whether a cell of test data holds no number, or -1, as in GLUE. One with a decimal comma does hold one."""
        comma = isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip())
        return read_number(value) == -1 or (read_number(value) is None and not comma)

    def _number(self, value: Any, dataset: Dataset, row: int) -> float:
        if self.is_unknown(value):
            return math.nan
        number = read_number(value)
        if number is None:
            raise cell_error(dataset, row, self.column, no_number(value, self.unknown_label))
        if abs(number) > float(np.finfo(np.float32).max):
            raise cell_error(dataset, row, self.column, f"found {value!r}, which is too large for float32")
        return number

    def _shares(self, value: Any, dataset: Dataset, row: int) -> list[float]:
        """Return the probability of each class: a cell holds a class, a row of probabilities, or that of the second class."""
        if self.is_unknown(value):
            return [math.nan] * len(self.names)
        cells = read_row(value)
        if cells is not None:
            if len(cells) == 1 and len(self.names) == 2:
                cells = [1 - cells[0], cells[0]]
            if len(cells) != len(self.names):
                width = f"width {len(self.names)}" + (", or 1 with --binary_form one_logit" if len(self.names) == 2 else "")
                labels = f"{len(self.names)} labels ({shorten(self.names)})"
                raise cell_error(dataset, row, self.column, f"a row of width {len(cells)} for {labels}: expected {width}")
            if min(cells) < 0 or abs(sum(cells) - 1) > ROUNDING:
                raise cell_error(dataset, row, self.column, f"found {value}, expected shares from 0 to 1 that sum to 1")
            return [cell / sum(cells) for cell in cells]
        name = class_name(value)
        if name not in self.names and name.lower() in ("true", "false"):  # JSON, CSV and Python write them differently
            name = next((own for own in self.names if own.lower() == name.lower()), name)
        position = self.names.index(name) if name in self.names else None
        if position is None and self.ids and name.isdecimal() and not any(own.isdecimal() for own in self.names):
            position = int(name)
        number = read_number(value)
        if position is None and self.form in ("one_logit", "one_hot") and len(self.names) == 2:
            if number is not None and 0 <= number <= 1:
                return [1 - number, number]
        if isinstance(value, list) and len(value) > 1:
            several = "run_multilabel.py --problem_type multi_label_classification"
            problem = f"found {len(value)} labels, {value}, where other rows have one: keep one of them, or use {several}"
            raise cell_error(dataset, row, self.column, problem)
        if position is None or position >= len(self.names):
            unscored = f"leave such rows out of the scores with {unknown_option(self.unknown_label, name)}"
            others = () if "," in name else (unscored,)
            raise cell_error(dataset, row, self.column, unknown_label(name, self.names, *others))
        return [float(index == position) for index in range(len(self.names))]

    def unknown_rows(self, targets: np.ndarray) -> np.ndarray:
        """Return which rows [rows] of `targets` have no known label."""
        return unknown_rows(targets)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return by what the validation split is stratified: the class of each row, or the tenth of the range it is in."""
        if self.regression:
            return np.searchsorted(np.quantile(targets, np.linspace(0.1, 0.9, 9)), targets)
        return class_ids(targets)

    @property
    def label_columns(self) -> list[str]:
        return [self.column]

    def describe(self, targets: np.ndarray) -> dict[str, Any]:
        """Return what `--check_data` reports about targets in any form."""
        unknown = unknown_rows(targets)
        if self.regression:
            quartiles = np.quantile(targets[~unknown], [0, 0.25, 0.5, 0.75, 1]).tolist()
            return {
                "minimum_quartiles_maximum": [round(value, 3) for value in quartiles],
                "rows_without_label": int(unknown.sum()),
            }
        counts = np.bincount(class_ids(targets)[~unknown], minlength=len(self.names)).tolist()
        return {"labels": dict(zip(self.names, counts, strict=True)), "rows_without_label": int(unknown.sum())}

    def __str__(self):
        if self.regression:
            return f"label: column {self.column!r}, numbers: regression, one logit"
        target = {
            "one_logit": "one logit, one target per row",
            "one_hot": f"{len(self.names)} logits, rows of {len(self.names)} probabilities",
        }.get(self.form, f"{len(self.names)} logits, class ids")
        kind = "binary" if len(self.names) == 2 else "multi-class"
        return f"label: column {self.column!r}, {kind}: {target}; {len(self.names)} labels: {shorten(self.names)}"


def no_number(value: Any, marks: str | None) -> str:
    """Return what is wrong with a cell among numbers, and what can be done; `marks` are those of --unknown_label."""
    comma = isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip())
    advice = f"write a point, {value.strip().replace(',', '.')}" if comma else f"correct the cell, or {as_unknown(value, marks)}"
    return f"found {value!r}, expected a number (regression), such as 1250.5; {advice}"


def written_labels(feature: Any, cells: Iterable) -> list:
    """Return cells of a label column as they are meant: of a list with one name the name.

    A `ClassLabel`, the column's `feature`, gives names, because ids may be in another order in another file.
    """
    if not isinstance(feature, ClassLabel):
        return list(map(only_name, cells))
    return [value if is_missing(value) else feature.int2str(value) for value in cells]


def only_name(value: Any) -> Any:
    """Return the name in a list of one, such as ["spam"], also if it is written as text. Return anything else as it is."""
    items = value
    if isinstance(value, str) and value[:1] == "[":
        with contextlib.suppress(ValueError):
            items = read_list(value)
    return items[0] if isinstance(items, list) and len(items) == 1 and isinstance(items[0], str) else value


def saved_format(config: PreTrainedConfig | None, training: bool) -> ClassFormat | None:
    """Return the label format of a trained model. Return None for a bare encoder and for a multi-label model."""
    names, form = saved_label_names(config, training), saved_setting(config, "binary_form")
    several = config and config.problem_type == "multi_label_classification"
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
    """Return which rows [rows] of `ClassFormat.targets`, in any form, have no known label."""
    return targets == UNKNOWN if targets.dtype.kind == "i" else np.isnan(targets.reshape(len(targets), -1)).any(axis=1)


def class_ids(targets: np.ndarray) -> np.ndarray:
    """Return the class ids [rows] of targets in any form but numbers. An unknown label is `UNKNOWN`."""
    if targets.dtype.kind == "i":
        return targets
    ids = targets[:, 0] >= 0.5 if targets.shape[1] == 1 else targets.argmax(axis=1)
    return np.where(unknown_rows(targets), UNKNOWN, ids).astype(np.int64)
