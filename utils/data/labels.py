"""Multi-label targets: however the labels are written, they become an array [rows, labels]."""

import logging
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedConfig

from utils.arguments import DataArguments, UserError, number_of, shorten
from utils.data.columns import named_columns, quoted, require_columns
from utils.data.label_columns import as_unknown, find_label_columns, is_cell_column, unknown_option
from utils.data.profile import is_number, is_written_list, same_name
from utils.files.cells import (
    LISTS,
    UNKNOWN,
    as_list,
    class_name,
    class_names,
    is_empty,
    is_marked,
    natural_order,
    parse_cell,
    read_number,
)
from utils.files.rows import PLACE, cell_error, column_error, columns, distinct_cells, file_of

logger = logging.getLogger(__name__)

PLACEHOLDERS = {"none", "-", "?"}  # a label of few rows may be one
MANY_ROWS, MOST_MISSPELT = 10, 100  # rows of a label that another may be a misspelling of; how many others are looked at
MARKED = ({"x", ""}, {"✓", ""}, {"✔", ""})
MISSING = {"na", "nan", "null", "n/a", "#n/a", "<na>", "\\n"}  # of any number of rows
MARKS = "#/+&\n"  # that separate labels if each part also stands alone
DELIMITERS = {",": "comma", ";": "semicolon", "|": "bar", " ": "space"}


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
                items = None if is_marked(value, self.unknown_label) else as_list(value, self.delimiter)
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
                name = id_names[item] if id_names else str(item)
                if name not in positions:
                    option = f"leave such rows out of the scores with {unknown_option(self.unknown_label, name)}"
                    others = [option] if str(value) == name and "," not in name else []
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
        return any(value not in (None, "", [], "-1", "-1.0", -1) for name in present for value in dataset[name][:])

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


def unknown_label(name: str, names: list[str], *others: str) -> str:
    """Return what is wrong with a label that is not among `names`, and what can be done; `others` are further ways."""
    alike = next((own for own in names if own.strip().casefold() == name.strip().casefold()), None)
    meant = f"did you mean {alike!r}?" if alike else f"{', '.join(['add it there', *others])}, or correct it here"
    return f"the label {name!r} is not among the labels of the training data or model ({shorten(names)}); {meant}"


def _cell(value: Any, dataset: Dataset, row: int, column: str, marks: str | None) -> float:
    cell, number = parse_cell(value), read_number(str(value).rstrip(" %"))
    if cell is None and re.fullmatch(r"[01],\d+", str(value).strip()):
        raise cell_error(dataset, row, column, f"found {value!r}: write a fraction with a point, {value.replace(',', '.')}")
    if cell is None and number is not None and number > 1:
        problem = (
            f"found {value!r}, perhaps a count or a percentage: write shares from 0 to 1 (divide by the largest), or 0 and 1"
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


def find_labels(splits: dict[str, Dataset], args: DataArguments, saved: list[str] | None) -> LabelFormat:
    """Find the labels and how they are written. If unlabelled rows are to be predicted, the format has no columns.

    The training data decides the labels and their order. The labels `saved` with the model do so instead if there is no
    training data, or if it has no other labels than the model's.
    """
    source = next(iter(splits.values()))
    named = named_columns(source, args.label_column_names)
    if "train" in splits:
        if args.problem_type and len(named) == 1 and named[0] in columns(source) and is_cell_column(source, named[0]):
            return _cell_format(source, named, named, args.unknown_label)
        label_format = recognize_labels(source, named, args.label_delimiter, None, args.unknown_label)
        warn_of_alike(label_format.names)
        known, found = set(saved or []), set(label_format.names)
        if label_format.columns == label_format.names:
            return replace(label_format, names=saved, columns=saved) if known == found else label_format
        return replace(label_format, names=saved) if found <= known else label_format
    if saved is None:
        raise UserError("nothing to train on, and the model has no labels of its own: give --train_file, or a trained model")
    available = columns(source)
    if not named:
        usual = same_name(("labels", "label"), available)
        named = saved if set(saved) <= set(available) else [usual] if usual else []
    present = named and set(named) <= set(available) and LabelFormat("", named, saved).labelled(source)
    if present or "validation" in splits:
        return recognize_labels(source, named, args.label_delimiter, saved, args.unknown_label)
    some = [name for name in saved if name in available]
    if some:
        logger.info("the labels of the test data are not used: it has %d of the model's %d columns", len(some), len(saved))
    return LabelFormat("unlabelled", [], saved)


def _cell_format(dataset: Dataset, columns: list[str], names: list[str], unknown_label: str | None) -> LabelFormat:
    """Return the format of 0/1 columns. Where none of them holds a 0, -1 or else an empty cell says no."""
    found = {class_name("" if is_empty(value) else value).strip() for name in columns for value in set(dataset[name][:])}
    no = any(text not in ("", "-1") and (parse_cell(text) or 0) < 1 for text in found)
    absent = None if no else next((text for text in ("-1", "") if text in found and not is_marked(text, unknown_label)), None)
    return LabelFormat("one 0/1 column per label", columns, names, absent=absent, unknown_label=unknown_label)


def recognize_labels(
    dataset: Dataset, named: list[str], delimiter: str | None, names: list[str] | None, unknown_label: str | None = None
) -> LabelFormat:
    """Recognise how the labels of `dataset` are written.

    Args:
        dataset: the training split, or the only split there is.
        named: the columns given with --label_column_names; empty to find them.
        delimiter: --label_delimiter, or None to find it.
        names: the labels and their order if a saved model decides them, else None.
        unknown_label: what stands for an unknown label besides an empty cell and -1.

    Raises:
        UserError: there is no label column, a cell cannot be read, or the data has the shape of another script's.
    """
    found = named or find_label_columns(dataset, unknown_label)
    require_columns(dataset, found, "--label_column_names")
    if len(found) > 1:
        if names and set(names) != set(found):
            raise UserError(f"the model's labels are {shorten(names)}, the label columns are {shorten(found)}: expected the same")
        return _cell_format(dataset, names or found, names or found, unknown_label)
    distinct, distinct_of_row = distinct_cells(dataset, found[0])
    if named and {str(value or "").strip().lower() for value in distinct.values()} in MARKED:  # a mark, or nothing
        return _cell_format(dataset, found, names or found, unknown_label)
    column, settled = found[0], {"unknown_label": unknown_label}
    if class_names(dataset.features[column]):
        return LabelFormat("list of ids", found, names or class_names(dataset.features[column]), **settled)
    values = {row: None if is_marked(value, unknown_label) else value for row, value in distinct.items()}
    counts = dict(zip(values, np.bincount(distinct_of_row).tolist(), strict=True))
    texts = Counter({value: counts[row] for row, value in values.items() if isinstance(value, str) and value.strip()})
    if not names:
        ask_about_placeholder(dataset, column, texts, unknown_label)
    begin_so = [value for value in texts if value.strip().startswith(LISTS)]
    written = len(begin_so) == len(texts) or any(map(is_written_list, begin_so))
    if not delimiter and not written and not all(value.strip() in (names or []) for value in texts):
        delimiter = find_delimiter(dataset, column, texts)
    rows: dict[int, list] = {}
    for row, value in values.items():
        try:
            rows[row] = as_list(value, delimiter) or []
        except ValueError:
            problem = f"found {value!r}, but other cells are lists such as ['a', 'b']; see --label_delimiter"
            raise cell_error(dataset, row, column, problem) from None
    items = [item for row in rows.values() for item in row if item is not None]  # `targets` refuses None
    if not items:
        raise column_error(dataset, column, "no row has a label; expected a positive row for at least one label")
    if delimiter or any(isinstance(item, str) for item in items):
        if not names:
            warn_of_misspelt(_count_rows({row: dict.fromkeys(map(str, cells)) for row, cells in rows.items()}, counts))
        kind = "delimited string" if delimiter else "list of names"
        return LabelFormat(kind, found, names or natural_order({str(item) for item in items}), delimiter, **settled)
    width = _width_of_vectors(dataset, column, rows, counts)
    if width:
        return LabelFormat("0/1 vector", found, names or [f"label_{i}" for i in range(width)], **settled)
    for row, cells in rows.items():
        for item in cells:
            if item is not None and (not isinstance(item, int) or item < 0):
                problem = "expected label names, label ids (whole numbers from 0), or 0/1 vectors of one length"
                raise cell_error(dataset, row, column, f"found {item!r}; {problem}")
    return LabelFormat("list of ids", found, names or natural_order({str(item) for item in items}), **settled)


def _count_rows(values: dict[int, Iterable], counts: dict[int, int]) -> Counter:
    """Return how many rows have each of the `values` of different cells; `counts` says how many rows have each cell."""
    counted: Counter = Counter()
    for row, of_cell in values.items():
        for value in of_cell:
            counted[value] += counts[row]
    return counted


def _width_of_vectors(dataset: Dataset, column: str, rows: dict[int, list], counts: dict[int, int]) -> int | None:
    """Return how many labels the 0/1 vectors of a column have; None if its lists are no such vectors.

    Raises:
        UserError: nearly all lists are of one length, and some of another, with numbers that repeat, as ids do not.
    """
    if any(parse_cell(item) is None for cells in rows.values() for item in cells if item is not None):
        return None
    widths = _count_rows({row: [len(cells)] for row, cells in rows.items() if cells}, counts)
    usual = widths.most_common(1)[0][0]
    if len(widths) == 1 and usual > 1:
        return usual
    if any(len(cells) > len(set(cells)) for cells in rows.values()):
        row = next(row for row, cells in rows.items() if cells and len(cells) != usual)
        problem = f"found {rows[row]}, but most rows are 0/1 vectors of {usual} values; expected one length"
        raise cell_error(dataset, row, column, problem)
    return None


def find_delimiter(dataset: Dataset, column: str, texts: Collection[str]) -> str | None:
    """Return the only delimiter in `texts`, or None if each text is one label.

    A comma, semicolon or bar is one. A space and other marks are only if each part also occurs alone.

    Raises:
        UserError: there are several delimiters, or a space may be part of a label.
    """
    used = [delimiter for delimiter in ",;|" if any(delimiter in text for text in texts)]
    if len(used) > 1:
        shown = " and ".join(map(repr, used))
        raise column_error(dataset, column, f"cells contain {shown}; say which one separates labels with --label_delimiter")
    if used:
        return used[0]
    for delimiter in (*MARKS, " "):
        joined = {text.strip() for text in texts if delimiter in text.strip()}
        alone = {text.strip() for text in texts} - joined
        if joined and all(part.strip() in alone for text in joined for part in text.split(delimiter) if part.strip()):
            return delimiter
    if not joined:
        return None
    advice = (
        f"if spaces separate labels, add --label_delimiter ' '; if every row holds one label, use run_classification.py "
        f"--label_column_name {quoted([column])}"
    )
    raise column_error(dataset, column, f"{min(joined)!r} may be one label or several; {advice}")


def joined_parts(names: Collection[str], delimiter: str) -> tuple[list[str], set[str], set[str]]:
    """Return the names that a delimiter joins, their parts, and those of them that another name has, or is, too."""
    joined = [name for name in names if delimiter in name.strip()]
    parts = {part.strip() for name in joined for part in name.split(delimiter)}
    counts = Counter(part.strip() for name in names for part in set(name.split(delimiter)))
    return joined, parts, {part for part in parts if counts[part] > 1}


def ask_about_placeholder(dataset: Dataset, column: str, counts: Counter[str], unknown_label: str | None) -> None:
    """Raise a `UserError` if a few rows have a label such as N/A, and there is no --unknown_label; warn if it has other marks.

    `counts` tells how many rows have each label. Few are clearly fewer than other labels have; beside numbers, any. What tools
    write for nothing is asked about in any case.
    """
    counts, rows = counts.copy(), counts.total()
    named = {value: counts.pop(value) for value in list(counts) if value.strip().casefold() in PLACEHOLDERS | MISSING}
    usual = rows if all(read_number(value) is not None for value in counts) else counts.total() / len(counts)
    few = {value for value, count in named.items() if 5 * count <= rows and 3 * count < 2 * usual}
    asked = [value for value in named if value in few or value.strip().casefold() in MISSING]
    if not asked or unknown_label == "":
        return
    marks = unknown_option(unknown_label, *asked)
    first, *others = (f"{value!r} is the label of {named[value]} of {rows} rows" for value in asked)
    if unknown_label:
        logger.warning("%s: if that stands for an unknown label, too, add %s", ", ".join([first, *others]), marks)
        return
    row = next(row for row, cell in enumerate(dataset[column][:]) if str(cell) == asked[0])
    stands, own = ("they stand", "they are labels of their own") if others else ("it stands", "it is a label of its own")
    problem = f"{', '.join([first, *others])}: if {stands} for an unknown label, add {marks}; if {own}, add --unknown_label ''"
    raise cell_error(dataset, row, column, problem)


def warn_of_alike(names: list[str]) -> None:
    """Warn of labels that may be one, written in two ways."""
    alike: dict[str, str] = {}
    for name in names:
        if alike.setdefault(name.strip().casefold(), name) != name:
            told = "labels %r and %r differ only in case or spaces: write them alike if they are one"
            logger.warning(told, alike[name.strip().casefold()], name)


def warn_of_misspelt(counts: Counter[str]) -> None:
    """Warn of a label in one or two rows, as `counts` tells, that is spelt almost like one of many rows."""
    usual = [name for name, count in counts.items() if count >= MANY_ROWS]
    for name in [name for name, count in counts.items() if count <= 2 and not any(map(str.isdigit, name))][:MOST_MISSPELT]:
        near = next(iter(get_close_matches(name, usual, n=1, cutoff=0.8)), None)
        alike = near and near.casefold() == name.casefold()  # which `warn_of_alike` tells
        if near and not (alike or near.endswith(name) or name.endswith(near)):  # as legal and illegal
            told = "label %r (%s) is spelt almost like %r (%d rows): correct it if it is the same"
            logger.warning(told, name, number_of(counts[name], "row"), near, counts[near])


def refuse_single_label(targets: np.ndarray, label_format: LabelFormat) -> None:
    """Raise a `UserError` that names run_classification.py if every row of `targets` [rows, labels] has exactly one label."""
    targets = targets[~label_format.unknown_rows(targets)]
    if len(targets) and np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all():
        if len(label_format.columns) == 1:
            found = f"every labelled row of column {label_format.columns[0]!r} has exactly one label"
        else:
            found = f"in every labelled row exactly one of the columns {shorten(label_format.columns)} is 1"
        column = quoted(label_format.columns)
        inside = [mark for mark in MARKS if joined_parts(label_format.names, mark)[2]]
        written = "".join("$'\\n'" if mark == "\n" else shlex.quote(mark) for mark in inside[:1])  # for the shell
        several = f"; if {inside[0]!r} separates labels, add --label_delimiter {written}" if inside else ""
        raise UserError(
            f"{found}: that is sequence classification; use run_classification.py --label_column_name {column} "
            f"(or another column; or insist with --problem_type multi_label_classification){several}"
        )
