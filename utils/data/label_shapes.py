"""Recognise how the labels of several a row are written."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np
from datasets import Dataset

from utils.arguments import DataArguments, UserError, shorten
from utils.columns.label_columns import find_label_columns, is_cell_column
from utils.columns.naming import named_columns, quoted, require_columns
from utils.columns.profile import is_written_list, same_name
from utils.data.label_names import RARE_DELIMITERS, ask_about_placeholder, warn_of_alike, warn_of_misspelt
from utils.data.labels import LabelFormat, labels_in
from utils.files.cells import LISTS, class_name, class_names, is_empty, is_marked, is_nothing, natural_order, parse_cell
from utils.files.rows import cell_error, column_error, columns, distinct_cells

logger = logging.getLogger(__name__)

MARKED = ({"x", ""}, {"✓", ""}, {"✔", ""})


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
        own, usual = _own_columns(saved, available), same_name(("labels", "label"), available)
        named = own or ([usual] if usual else [])
    as_named = LabelFormat("", named, saved, unknown_label=args.unknown_label)
    present = named and set(named) <= set(available) and as_named.labelled(source)
    if present or "validation" in splits:
        return recognize_labels(source, named, args.label_delimiter, saved, args.unknown_label)
    some = [name for name in saved if same_name([name], available)]
    if named and set(named) <= set(available):
        logger.info("test: no labels under %s, so nothing is scored", shorten(named))
    elif some:
        logger.info("the labels of the test data are not used: it has %d of the model's %d columns", len(some), len(saved))
    return LabelFormat("unlabelled", [], saved)


def _own_columns(labels: list[str], available: list[str]) -> list[str]:
    """Return the columns of the `labels`, each of which may be written otherwise; none if one lacks its own."""
    own = list(filter(None, (same_name([label], available) for label in labels)))
    return own if len(set(own)) == len(labels) else []


def _cell_format(dataset: Dataset, columns: list[str], names: list[str], unknown_label: str | None) -> LabelFormat:
    """Return the format of 0/1 columns. Where none of them holds a 0, -1 or else an empty cell says no."""
    cells = [value for name in columns for value in distinct_cells(dataset, name)[0].values()]
    found = {class_name("" if is_empty(value) else value).strip() for value in cells if not is_marked(value, unknown_label)}
    no = any(text not in ("", "-1") and (parse_cell(text) or 0) < 1 for text in found)
    absent = None if no else next((text for text in ("-1", "") if text in found), None)
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
        ordered = _own_columns(names, found) if names else found
        if len(ordered) != len(found):
            raise UserError(f"the model's labels are {shorten(names)}, the label columns are {shorten(found)}: expected the same")
        return _cell_format(dataset, ordered, names or found, unknown_label)
    distinct, distinct_of_row = distinct_cells(dataset, found[0])
    if named and {str(value or "").strip().lower() for value in distinct.values()} in MARKED:  # a mark, or nothing
        return _cell_format(dataset, found, names or found, unknown_label)
    column, settled = found[0], {"unknown_label": unknown_label}
    if class_names(dataset.features[column]):
        return LabelFormat("list of ids", found, names or class_names(dataset.features[column]), **settled)
    values = {row: None if is_marked(value, unknown_label) else value for row, value in distinct.items()}
    counts = dict(zip(values, np.bincount(distinct_of_row).tolist(), strict=True))
    texts = Counter({value: counts[row] for row, value in values.items() if isinstance(value, str) and value.strip()})
    begin_so = [value for value in texts if value.strip().startswith(LISTS)]
    written = len(begin_so) == len(texts) or any(map(is_written_list, begin_so))
    if not delimiter and not written and not all(value.strip() in (names or []) for value in texts):
        delimiter = find_delimiter(dataset, column, texts)
    rows: dict[int, list] = {}
    for row, value in values.items():
        try:
            rows[row] = labels_in(value, delimiter, unknown_label) or []
        except ValueError:
            problem = f"found {value!r}, but other cells are lists such as ['a', 'b']; see --label_delimiter"
            raise cell_error(dataset, row, column, problem) from None
    items = [item for row in rows.values() for item in row if item is not None]  # `targets` refuses None
    if not items:
        raise column_error(dataset, column, "no row has a label; expected a positive row for at least one label")
    if delimiter or any(isinstance(item, str) for item in items):
        if not names:
            of_row = {row: dict.fromkeys(map(str, cells)) for row, cells in rows.items() if cells}
            _check_names(dataset, column, of_row, counts, unknown_label)
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


def _check_names(
    dataset: Dataset, column: str, labels: dict[int, dict], counts: dict[int, int], unknown_label: str | None
) -> None:
    """Raise a `UserError` for names that may stand for nothing; warn of misspelt ones.

    `labels` are those in different cells, by the row where each first occurs, and `counts` says how many rows have each cell.
    """

    def row_of(label: str) -> int:
        return next(row for row, own in labels.items() if label in own)

    for row, own in labels.items():
        nothing = next(filter(is_nothing, own), None)
        if nothing and len(own) > 1 and unknown_label != "":
            advice = "drop it, or leave the cell empty if the labels are unknown; if it is a label, add --unknown_label ''"
            raise cell_error(dataset, row, column, f"found {nothing!r} among other labels: {advice}")
    counted = _count_rows(labels, counts)
    ask_about_placeholder(dataset, column, counted, sum(map(counts.get, labels)), row_of, unknown_label)
    warn_of_misspelt(counted)


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
    for delimiter in (*RARE_DELIMITERS, " "):
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
