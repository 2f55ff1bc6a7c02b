"""Recognise the shape in which labels come, and name the script that a shape belongs to."""

import logging
import re
from collections import Counter
from dataclasses import replace

import numpy as np
from datasets import Dataset, LargeList, List

from utils.arguments import DataArguments, UserError, shorten
from utils.data.files import PLACE, add_array, columns, file_of
from utils.data.labels import UNKNOWN, LabelFormat, as_list, class_names, natural_order, parse_cell, rarest_label
from utils.data.loading import require_columns, split_validation

logger = logging.getLogger(__name__)

LABEL_NAMES = ("labels", "label", "topics", "tags", "categories", "emotions", "genres", "classes")
LABEL_NAMES += ("topic", "tag", "category", "emotion", "genre", "class", "intent", "target")
CHOICE_COLUMN = re.compile(
    r"^(ending|choice|option|op|answer|mc_answer|ans|candidate|alternative|solution|sol)_?([0-9]+|[a-zA-Z])$"
)
CHOICE_LISTS = ("endings", "choices", "options", "candidates")


def find_labels(splits: dict[str, Dataset], args: DataArguments, saved: list[str] | None) -> LabelFormat:
    """Return which labels there are and how they are written; without columns where unlabelled rows are to be predicted.

    Labels and their order come from the training data, or from the saved model: where there is no training data, and
    where the training data has no labels but the model's.
    """
    named = [name.strip() for name in args.label_column_names.split(",")] if args.label_column_names else []
    if "train" in splits:
        train = splits["train"]
        if args.problem_type and len(named) == 1 and named[0] in columns(train) and is_cell_column(train, named[0]):
            return LabelFormat("one 0/1 column per label", named, named)
        label_format = recognize_labels(train, named, args.label_delimiter, None)
        known, found = set(saved or []), set(label_format.names)
        if label_format.columns == label_format.names:
            return replace(label_format, names=saved, columns=saved) if known == found else label_format
        return replace(label_format, names=saved) if found <= known else label_format
    if saved is None:
        raise UserError("nothing to train on, and the model has no labels of its own: give --train_file, or a trained model")
    source = next(iter(splits.values()))
    available = columns(source)
    named = named or (saved if set(saved) <= set(available) else [name for name in LABEL_NAMES[:2] if name in available][:1])
    present = named and set(named) <= set(available) and LabelFormat("", named, saved).labelled(source)
    if not present and "validation" not in splits:
        some = [name for name in saved if name in available]
        if some:
            logger.info("labels of the test data are not used: it has %d of the model's %d columns", len(some), len(saved))
        return LabelFormat("unlabelled", [], saved)
    return recognize_labels(source, named, args.label_delimiter, saved)


def add_targets(splits: dict[str, Dataset], label_format: LabelFormat, args: DataArguments, seed: int) -> dict[str, Dataset]:
    """Return the splits with the targets, a list of floats a row, as column `labels`; a test split may have none.

    Splits validation data off the training data where it is wanted and there is none.
    """
    if label_format.columns:
        logger.info("%s", label_format)
    result = {}
    for name, split in splits.items():
        if name != "test" or label_format.labelled(split):
            targets = label_format.targets(split)
            if name != "test" and (targets == UNKNOWN).all():
                raise UserError(f"{split[0][PLACE]} and all other rows of the {name} data: no label is known")
            split = add_array(_without_labels(split, label_format), "labels", targets)
        else:
            split = _without_labels(split, label_format)
        result[name] = split
        if name == "train":
            if not args.problem_type:
                refuse_single_label(targets, label_format)
            positives = (targets > 0).sum(axis=0)
            if not positives.any():
                raise UserError(f"{args.train_file or args.dataset_name}: no row is positive for any label; nothing to learn")
            for label, count in zip(label_format.names, positives, strict=True):
                if count == 0:
                    logger.warning("label %r has no positive row in the training data", label)
            if args.validation_fraction and "validation" not in splits:
                result["train"], result["validation"] = split_validation(split, args, rarest_label(targets), seed)
    return result


def _without_labels(split: Dataset, label_format: LabelFormat) -> Dataset:
    return split.remove_columns(sorted({*label_format.columns, "labels"} & set(split.column_names)))


def recognize_labels(dataset: Dataset, named: list[str], delimiter: str | None, names: list[str] | None) -> LabelFormat:
    """Recognise how the labels of `dataset` are written.

    Args:
        dataset: the training split, or the only one there is.
        named: the columns of --label_column_names; empty to find them.
        delimiter: --label_delimiter, or None to find it.
        names: the label names where they are known already, from a saved model; they fix labels and order.

    Raises:
        UserError: no label column, a cell that cannot be read, or the shape of another script's data.
    """
    found = named or find_label_columns(dataset)
    if not found:
        raise UserError(
            f"no label columns among {', '.join(columns(dataset))}: name the column of lists, the delimited column, "
            f"or the 0/1 columns with --label_column_names"
        )
    require_columns(dataset, found, "--label_column_names")
    if len(found) > 1:
        if names and set(names) != set(found):
            raise UserError(f"the model's labels are {shorten(names)}, the label columns are {shorten(found)}: expected the same")
        return LabelFormat("one 0/1 column per label", names or found, names or found)
    column = found[0]
    feature, values = dataset.features[column], dataset[column][:]
    if class_names(feature):
        return LabelFormat("list of ids", found, names or class_names(feature))
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if not delimiter and not all(value.strip().startswith(("[", "(")) or value.strip() in (names or []) for value in texts):
        delimiter = find_delimiter(f"{file_of(dataset)}, column {column!r}", column, texts)
    try:
        rows = [items for value in values if (items := as_list(value, delimiter)) is not None]
    except (ValueError, SyntaxError):
        odd = next(row for row, value in enumerate(values) if isinstance(value, str) and not _is_literal(value))
        raise UserError(
            f"{dataset[odd][PLACE]}, column {column!r}: found {values[odd]!r}, but other cells are lists such as ['a', 'b']; see "
            f"--label_delimiter"
        ) from None
    items = [item for row in rows for item in row if item is not None]  # which `targets` refuses
    if not items:
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: no row has a label; expected a positive row for at least one label"
        )
    if delimiter or any(isinstance(item, str) for item in items):
        kind = "delimited string" if delimiter else "list of names"
        return LabelFormat(kind, found, names or natural_order({str(item) for item in items}), delimiter)
    widths = {len(row) for row in rows if row}
    if len(widths) == 1 and widths != {1} and all(parse_cell(item) is not None for item in items):
        return LabelFormat("0/1 vector", found, names or [f"label_{i}" for i in range(max(widths))])
    if all(parse_cell(item) is not None for item in items) and any(len(row) > len(set(row)) for row in rows):
        widths = Counter(len(row) for row in rows if row)
        usual = widths.most_common(1)[0][0]
        row = next(i for i, value in enumerate(values) if value and len(as_list(value, delimiter) or []) not in (0, usual))
        raise UserError(
            f"{dataset[row][PLACE]}, column {column!r}: found {values[row]}, but most rows are 0/1 vectors of {usual} values; "
            f"expected one length"
        )
    odd = [item for item in items if not isinstance(item, int) or item < 0]
    if odd:
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: found {odd[0]!r}; expected label names, label ids (whole numbers from 0), "
            f"or 0/1 vectors of one length"
        )
    return LabelFormat("list of ids", found, names or natural_order({str(item) for item in items}))


def _is_literal(text: str) -> bool:
    try:
        as_list(text, None)
    except (ValueError, SyntaxError):
        return False
    return True


def find_label_columns(dataset: Dataset) -> list[str]:
    """Return the label columns: `labels` or `label`, one list-like column, all 0/1 columns, one of a usual name, or none."""
    available = columns(dataset)
    refuse_candidates(dataset, "--label_column_names")
    named = [name for name in LABEL_NAMES if name in available]
    lists = [name for name in available if isinstance(dataset.features[name], (List, LargeList))]
    cells = [name for name in available if is_cell_column(dataset, name)]
    if named and named[0] in LABEL_NAMES[:2] and named[0] not in cells:
        return named[:1]
    if lists:
        return [name for name in named if name in lists][:1] or (lists if len(lists) == 1 else [])
    if len(cells) > 1:
        _refuse_odd_cells(dataset, [name for name in available if name not in cells])
        return cells
    return named[:1] or cells


def _refuse_odd_cells(dataset: Dataset, others: list[str]) -> None:
    """Raise a `UserError` for a column beside 0/1 columns that is one of them but for a few cells."""
    for name in others:
        cells = [parse_cell(value) for value in dataset[name][:]]
        odd = [row for row, cell in enumerate(cells) if cell is None]
        if odd and 20 * len(odd) <= sum(cell not in (None, UNKNOWN) for cell in cells):
            raise UserError(
                f"{dataset[odd[0]][PLACE]}, column {name!r}: found {dataset[name][odd[0]]!r} in a column of 0 and 1; correct the "
                f"cell, or name the label columns with --label_column_names"
            )


def is_cell_column(dataset: Dataset, name: str) -> bool:
    """Whether a column holds 0/1 cells: all of them readable, at least one of them known."""
    cells = [parse_cell(value) for value in dataset[name][:]]
    return None not in cells and any(cell != UNKNOWN for cell in cells)


def refuse_candidates(dataset: Dataset, option: str) -> None:
    """Raise a `UserError` naming run_multiple_choice.py if columns look like candidates: ending0, ending1…, a list `choices`."""
    numbered = [name for name in columns(dataset) if CHOICE_COLUMN.match(name) and not is_cell_column(dataset, name)]
    first = dataset[0]
    lists = [name for name in columns(dataset) if name in CHOICE_LISTS and isinstance(first[name], (list, dict))]
    lists += [name for name in columns(dataset) if isinstance(first[name], dict) and "choices" in first[name]]
    choices = lists or (numbered if len(numbered) > 1 else [])
    if choices:
        raise UserError(
            f"{file_of(dataset)}"
            f", {', '.join(choices)}: several candidate texts in each row, one of them right, are multiple choice: use "
            f"run_multiple_choice.py --choice_column_names {','.join(choices)} (or name the label with {option} to train here)"
        )


def find_delimiter(where: str, column: str, texts: list[str]) -> str | None:
    """Return the one delimiter that `texts` use, None if each holds one label.

    A space counts as a delimiter only where each word is seen as a label of its own too.

    Raises:
        UserError: several delimiters occur, or a space may be part of a label.
    """
    used = [delimiter for delimiter in ",;|" if any(delimiter in text for text in texts)]
    if len(used) > 1:
        shown = " and ".join(repr(delimiter) for delimiter in used)
        raise UserError(f"{where}: cells contain {shown}; say which one separates labels with --label_delimiter")
    spaced = [text for text in texts if " " in text.strip()]
    alone = {text.strip() for text in texts} - {text.strip() for text in spaced}
    if used or not spaced:
        return used[0] if used else None
    if all(word in alone for text in spaced for word in text.split()):
        return " "
    raise UserError(
        f"{where}: {spaced[0]!r} may be one label or several; if spaces separate labels, add "
        f"--label_delimiter ' '; if every row holds one label, use run_classification.py --label_column_name {column}"
    )


def refuse_single_label(targets: np.ndarray, label_format: LabelFormat) -> None:
    """Raise a `UserError` naming run_classification.py if every row of `targets` [rows, labels] has exactly one label."""
    if np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all():
        if len(label_format.columns) == 1:
            found, column = f"every row of column {label_format.columns[0]!r} has exactly one label", label_format.columns[0]
        else:
            found, column = f"in every row exactly one of the columns {shorten(label_format.columns)} is 1", "<a column of names>"
        raise UserError(
            f"{found}: that is sequence classification; use run_classification.py --label_column_name {column} "
            f"(or insist with --problem_type multi_label_classification)"
        )
