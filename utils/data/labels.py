"""Multi-label targets: however the labels are written, they become an array [rows, labels]."""

import contextlib
import logging
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from utils.arguments import DataArguments, UserError, shorten
from utils.columns.label_columns import as_unknown, unknown_option
from utils.columns.naming import quoted, require_columns
from utils.columns.profile import is_number
from utils.data.label_names import RARE_DELIMITERS, joined_parts, unknown_label
from utils.files.cells import UNKNOWN, as_list, class_name, class_names, is_empty, is_marked, is_missing, parse_cell, read_number
from utils.files.rows import PLACE, cell_error, columns, distinct_cells, file_of

logger = logging.getLogger(__name__)
DELIMITERS = {",": "comma", ";": "semicolon", "|": "bar", " ": "space", "\n": "line break"}


@dataclass(frozen=True)
class LabelFormat:
    """How a dataset writes the labels of a row.

    kind is "one 0/1 column per label", "0/1 vector", "list of names", "list of ids" or "delimited string".
    """

    evaluated_as = "labels"
    kind: str
    columns: list[str]
    names: list[str]
    delimiter: str | None = None
    absent: str | None = None  # what says no in 0/1 columns without a 0: "-1", or "" for an empty cell
    unknown_label: str | None = None  # what stands for an unknown label besides an empty cell and -1

    def targets(self, dataset: Dataset) -> np.ndarray:
        """Return targets [rows, labels] in float32: 0, 1, a fraction between them, or `UNKNOWN`.

        Raises:
            UserError: a cell does not have this format, or a label is not among `names`.
        """
        require_columns(dataset, self.columns, "--label_column_names")
        if self.kind == "one 0/1 column per label":
            return np.array([self._cells(dataset, name) for name in self.columns]).T
        column = self.columns[0]
        positions = {name: position for position, name in enumerate(self.names)}
        id_names = class_names(dataset.features[column])
        cells, cell_of_row = distinct_cells(dataset, column)
        targets = np.zeros((len(cells), len(self.names)), np.float32)
        for cell, (row, value) in enumerate(cells.items()):
            try:
                items = labels_in(value, self.delimiter, self.unknown_label)
            except ValueError:
                raise cell_error(dataset, row, column, f"found {value!r}, expected a list such as ['a', 'b']") from None
            if items is None or (self.kind == "0/1 vector" and not items):
                targets[cell] = UNKNOWN
                continue
            if self.kind == "0/1 vector":
                if len(items) != len(self.names):
                    problem = f"found {len(items)} values, expected {len(self.names)}, one for each label"
                    raise cell_error(dataset, row, column, problem)
                targets[cell] = [_cell(item, dataset, row, column, self.unknown_label) for item in items]
                continue
            for item in items:
                if item is None:
                    advice = "drop it, or write null instead of the list if the labels are unknown"
                    raise cell_error(dataset, row, column, f"found null in {value}; {advice}")
                if is_marked(item, self.unknown_label):
                    advice = "drop it, or leave the cell empty if the labels are unknown"
                    raise cell_error(dataset, row, column, f"found {item!r} among other labels; {advice}")
                name = id_names[item] if id_names else str(item)
                if name not in positions:
                    others = []
                    if str(value) == name and "," not in name:
                        others = [f"leave such rows out of the scores with {unknown_option(self.unknown_label, name)}"]
                    raise cell_error(dataset, row, column, unknown_label(name, self.names, *others))
                targets[cell, positions[name]] = 1
        return targets if len(targets) == len(cell_of_row) else targets[cell_of_row]

    def _cells(self, dataset: Dataset, name: str) -> np.ndarray:
        """Return the targets [rows] in a 0/1 column."""
        unknown, read = {*(self.unknown_label or "").split(","), "", "-1"} - {self.absent}, []
        in_words, in_numbers = [], []
        cells, cell_of_row = distinct_cells(dataset, name)
        for row, value in cells.items():
            text = class_name("" if is_empty(value) else value).strip()
            if text in unknown:
                read.append(UNKNOWN)
            elif text == self.absent:
                read.append(0.0)
            else:
                read.append(_cell(value, dataset, row, name, self.unknown_label))
                (in_numbers if is_number(value) else in_words).append((row, value, read[-1]))
        if in_words and in_numbers:
            row, value, cell = in_words[0]
            logger.warning("%s, column %r: %r counts as %g, in a column of numbers", dataset[row][PLACE], name, value, cell)
        return np.array(read, np.float32)[cell_of_row]

    @property
    def columns_by_option(self) -> dict[str, list[str]]:
        """The columns of the labels, by the option that names them."""
        return {"label_column_names": self.columns}

    def words(self, target: np.ndarray) -> str:
        """Return the labels of a row [labels] in words, as predictions.csv has them; `?name` and a lone `?` are unknown."""
        unknown = target == UNKNOWN
        if unknown.all():
            return "?"
        shown = np.flatnonzero(unknown | (target >= 0.5)).tolist()
        return ";".join(f"?{self.names[place]}" if unknown[place] else self.names[place] for place in shown)

    def labelled(self, dataset: Dataset) -> bool:
        """Return whether `dataset` has the label columns, with a label in at least one cell."""
        present = [name for name in self.columns if name in columns(dataset)]
        if present and len(present) < len(self.columns):
            missing = [name for name in self.columns if name not in present]
            raise UserError(
                f"{file_of(dataset)} has the label columns {shorten(present)}, but not {shorten(missing)}: add what is "
                f"missing; or leave all of them out, as rows to be predicted need no labels"
            )
        cells = [value for name in present for value in distinct_cells(dataset, name)[0].values()]
        return not all(is_missing(value) or self._is_unknown(value) for value in cells)

    def _is_unknown(self, value: Any) -> bool:
        with contextlib.suppress(ValueError):  # a text in brackets is no list
            return not labels_in(value, self.delimiter, self.unknown_label)
        return False

    def check(self, targets: np.ndarray, args: DataArguments) -> None:
        """Raise a `UserError` if the `targets` [rows, labels] of the training data teach nothing, or one label only a row."""
        if not args.problem_type:
            refuse_single_label(targets, self)
        positives, known = (targets > 0).sum(axis=0), (targets != UNKNOWN).sum(axis=0)
        if not positives.any():
            raise UserError(f"{args.train_file or args.dataset_name}: no row is positive for any label; nothing to learn")
        if self.kind == "one 0/1 column per label":
            written = "empty cells" if self.absent == "" else "cells of -1"
            reason = "" if self.absent is None else f"{written} mean no, because no label's column holds a 0; "
            counts = []
            for name, cells in zip(self.names, targets.T, strict=True):
                yes, no, unknown = (int((cells == value).sum()) for value in (1, 0, UNKNOWN))
                others = {"between": len(cells) - yes - no - unknown, "unknown": unknown}
                told = " and ".join(f"{count} {kind}" for kind, count in others.items() if count)
                counts.append(f"{name} {yes} yes and {no} no" + (f" ({told})" if told else ""))
            logger.info("training data: %s%s", reason, shorten(counts))
        for label, count, sure in zip(self.names, (targets == 1).sum(axis=0), known, strict=True):
            if count == sure > 0 and len(targets) > 1 and not args.problem_type:
                where = f"all {sure} rows" if sure == len(targets) else f"all {sure} rows where it is known, of {len(targets)}"
                raise UserError(
                    f"{args.train_file or args.dataset_name}: the label {label!r} is there in {where}, which teaches nothing: "
                    f"write 0 where it is absent, or leave it out"
                )
        never = [label for label, count in zip(self.names, positives, strict=True) if count == 0]
        if never:
            logger.warning("labels without a positive row in the training data: %s", shorten(never))

    def unknown_rows(self, targets: np.ndarray) -> np.ndarray:
        """Return which rows [rows] of targets [rows, labels] have no known label."""
        return (targets == UNKNOWN).all(axis=1)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return by what the validation split is stratified: the rarest label of each row."""
        return rarest_label(targets)

    @property
    def label_columns(self) -> list[str]:
        return self.columns

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
        if not self.columns:
            return f"labels: the model's {len(self.names)}: {shorten(self.names)}"
        shown = f"{self.kind} ({DELIMITERS.get(self.delimiter, self.delimiter)})" if self.delimiter else self.kind
        where = f"column {self.columns[0]!r}" if len(self.columns) == 1 else f"columns {shorten(self.columns)}"
        return f"labels: {shown}, {where}; {len(self.names)} labels: {shorten(self.names)}"


def labels_in(value: Any, delimiter: str | None, marks: str | None) -> list | None:
    """Return the labels in a cell; None where they are unknown, as is one of the `marks` of --unknown_label alone.

    Raises:
        ValueError: a text in brackets is no list.
    """
    items = None if is_marked(value, marks) else as_list(value, delimiter)
    return None if items and len(items) == 1 and is_marked(items[0], marks) else items


def _cell(value: Any, dataset: Dataset, row: int, column: str, marks: str | None) -> float:
    cell, number = parse_cell(value), read_number(str(value).rstrip(" %"))
    if cell is None and re.fullmatch(r"[01],\d+", str(value).strip()):
        raise cell_error(dataset, row, column, f"found {value!r}: write a fraction with a point, {value.replace(',', '.')}")
    if cell is None and number is not None and number > 1:
        problem = (
            f"found {value!r}, perhaps a count or a percentage: write shares from 0 to 1 (divide by the largest), or 0 and 1; or "
            f"{as_unknown(value, marks)}"
        )
        raise cell_error(dataset, row, column, problem)
    if cell is None:
        problem = (
            f"found {value!r}, expected 0 or 1, a fraction between them, or -1 or nothing if the label is unknown; correct the "
            f"cell, leave this column out of --label_column_names, or {as_unknown(value, marks)}"
        )
        raise cell_error(dataset, row, column, problem)
    return cell


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """Return the rarest label of each row in targets [rows, labels], or -1 for none. The validation split is stratified by it."""
    positive = targets >= 0.5
    ranked = np.argsort(positive.sum(axis=0))
    return np.where(positive.any(axis=1), ranked[positive[:, ranked].argmax(axis=1)], -1)


def refuse_single_label(targets: np.ndarray, label_format: LabelFormat) -> None:
    """Raise a `UserError` that names run_classification.py if every row of `targets` [rows, labels] has exactly one label."""
    targets = targets[~label_format.unknown_rows(targets)]
    if len(targets) and np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all():
        if len(label_format.columns) == 1:
            found = f"every labelled row of column {label_format.columns[0]!r} has exactly one label"
        else:
            found = f"in every labelled row exactly one of the columns {shorten(label_format.columns)} is 1"
        column = quoted(label_format.columns)
        inside = [mark for mark in RARE_DELIMITERS if joined_parts(label_format.names, mark)[2]]
        written = "".join("$'\\n'" if mark == "\n" else shlex.quote(mark) for mark in inside[:1])  # for the shell
        several = f"; if {inside[0]!r} separates labels, add --label_delimiter {written}" if inside else ""
        raise UserError(
            f"{found}: that is sequence classification; use run_classification.py --label_column_name {column} "
            f"(or another column; or insist with --problem_type multi_label_classification){several}"
        )
