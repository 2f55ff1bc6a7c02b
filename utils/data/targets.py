"""From label columns to a target a row, and from the other columns that a row has to numbers."""

import contextlib
import logging
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset

from utils.arguments import DataArguments, number_of, shorten
from utils.columns.naming import require_columns
from utils.files.rows import add_array, cell_error, columns, distinct_cells, file_of
from utils.splits.folds import as_labels, split_fold
from utils.splits.taking_part import known_rows
from utils.splits.validation import split_validation

logger = logging.getLogger(__name__)


def add_targets(
    splits: dict[str, Dataset],
    found: Any,
    args: DataArguments,
    seed: int,
    check: Callable[[np.ndarray, DataArguments], None] | None = None,
    texts: list[str] | None = None,
) -> dict[str, Dataset]:
    """Replace the label columns of each split by the column `labels`: a target a row. A test split may have none.

    Training and validation rows whose label is unknown are set aside. Validation data is split off the training data if it
    is wanted and not given; with --num_folds it is the fold of --fold.

    Args:
        found: the `LabelFormat`, `ClassFormat` or `ChoiceFormat` of the splits.
        check: is told the targets of the training data, all of them, and may refuse them.
        texts: the columns of texts, of which equal ones stay together in a fold.

    Raises:
        UserError: a cell cannot be read, or no row has a label.
    """
    logger.info("%s", found)
    if found.unknown_label and "train" in splits:
        warn_of_unused_mark(splits, found.label_columns, found.unknown_label)
    result = {}
    for name, split in splits.items():
        targets = found.targets(split) if name != "test" or found.labelled(split) else None
        if targets is None and found.label_columns:
            there = set(found.label_columns) <= set(columns(split))
            lacks = "no labels under" if there else f"{file_of(split)} has no column"
            logger.info("test: %s %s, so nothing is scored", lacks, shorten(found.label_columns))
        split = split.remove_columns([column for column in split.column_names if column in (*found.label_columns, "labels")])
        if targets is not None:
            if name == "train" and check:
                check(targets, args)
            unknown = found.unknown_rows(targets)
            if name == "test" and unknown.any():
                logger.info("test: %s without a known label not scored", number_of(unknown.sum(), "row"))
            split = add_array(split, "labels", targets)
            split = split if name == "test" else known_rows(name, split, unknown)
            targets = targets[~unknown] if unknown.any() else targets  # a copy is large where labels are many
        result[name] = split
        if name == "train" and args.num_folds and args.fold:
            labels = as_labels(targets if found.evaluated_as == "labels" else found.strata(targets))
            result["train"], result["validation"] = split_fold(split, args, labels, texts, args.num_folds, args.fold - 1, seed)
        elif name == "train" and args.validation_fraction and "validation" not in splits and not args.num_folds:
            result["train"], result["validation"] = split_validation(split, args, found.strata(targets), seed, texts)
    return result


def warn_of_unused_mark(splits: dict[str, Dataset], label_columns: list[str], marks: str) -> None:
    """Warn of a mark of --unknown_label that no cell of the label columns holds: it may be misspelt."""
    held = [distinct_cells(split, name)[0] for split in splits.values() for name in label_columns if name in columns(split)]
    cells = {str(value) for different in held for value in different.values()}
    for mark in filter(None, marks.split(",") if held else ()):
        if any(re.search(rf"(?<!\w){re.escape(mark)}(?!\w)", cell) for cell in cells):  # also in a list
            continue
        logger.warning("--unknown_label %r stands in no cell of %s", mark, shorten(label_columns))


def read_row_columns(splits: dict[str, Dataset], names: tuple[str, ...]) -> dict[str, Dataset]:
    """Return the splits with the columns `names` as numbers. A split without labels may lack them.

    Raises:
        UserError: a column is missing, or a cell in it is no number; names file, row and column.
    """
    result = {}
    for split_name, split in splits.items():
        present = [name for name in names if "labels" in split.column_names or name in columns(split)]
        require_columns(split, present, "ROW_COLUMNS in the script")
        for name in present:
            values = [_as_number(value) for value in split[name][:]]
            if None in values:
                row = values.index(None)
                raise cell_error(split, row, name, f"found {split[row][name]!r}, expected a number")
            split = add_array(split.remove_columns(name), name, np.array(values, np.float32))
        result[split_name] = split
    return result


def _as_number(value: Any) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        if math.isfinite(float(value)):
            return float(value)
    return None
