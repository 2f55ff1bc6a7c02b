"""The texts of the rows: which are empty, and which stand in several splits."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from utils.arguments import DataArguments
from utils.files.rows import PLACE, arrow_cells, cell_error, cell_parts

logger = logging.getLogger(__name__)


def settle_empty_texts(name: str, split: Dataset, texts: list[str], joined: bool, args: DataArguments) -> Dataset:
    """Return a split with a text in each row. Rows without one are predicted as an empty text, but left out of the others.

    Of a pair no part may be empty; of `joined` texts one must be there.

    Raises:
        UserError: a cell holds no text, or no row has one; or with --strict_data a row has none.
    """
    empty = []
    for column in texts:
        cells = arrow_cells(split, column)
        cells = cells if pa.types.is_string(cells.type) else cells.cast(pa.string())
        empty.append(pc.fill_null(pc.equal(cells, ""), True))
    missing = empty[0]
    for other in empty[1:]:
        missing = pc.and_(missing, other) if joined else pc.or_(missing, other)
    rows = pc.indices_nonzero(missing).to_pylist()
    if rows and (args.strict_data or len(rows) == len(split)):
        raise cell_error(split, rows[0], texts[0], "the text is missing; fill or drop the row")
    if rows:
        what = "is predicted as an empty text" if name == "test" else "is left out"
        first = split[rows[0]][PLACE]
        logger.warning("%s: %d of %d rows have no text; each %s (the first: %s)", name, len(rows), len(split), what, first)
    if rows and name != "test":
        split = split.select(pc.indices_nonzero(pc.invert(missing)).to_pylist())
    for column in texts:
        if arrow_cells(split, column).null_count:
            values = ["" if value is None else str(value) for value in split[column][:]]
            split = split.remove_columns(column).add_column(column, values)
    return split


def texts_of(split: Dataset, columns: list[str]) -> list[tuple[str, ...]]:
    """Return the texts of each row."""
    return [tuple(map(str, parts)) for parts in zip(*(arrow_cells(split, column).to_pylist() for column in columns), strict=True)]


def warn_of_shared_texts(splits: dict[str, Dataset], columns: list[str]) -> None:
    """Warn of validation and test rows whose texts stand in the training data: their scores say little of new texts."""
    for name in ("validation", "test") if "train" in splits else ():
        if name not in splits:
            continue
        alike = _rows_among(splits["train"], splits[name], columns[0])  # few rows share one text without sharing all
        known = {texts for texts in texts_of(alike, columns) if set(texts) - {"", "None"}}
        shared = sum(map(known.__contains__, texts_of(_rows_among(splits[name], alike, columns[0]), columns)))
        if shared:
            logger.warning("%s: the texts of %d of %d rows stand in the training data too", name, shared, len(splits[name]))


def _rows_among(rows: Dataset, others: Dataset, column: str) -> Dataset:
    """Return the rows whose cell in a column is that of some of the `others`, too."""
    known = arrow_cells(others, column).cast(rows.data.schema.field(column).type).combine_chunks()
    among = [pc.is_in(cells, known).to_numpy() for cells in cell_parts(rows, column)]
    return rows.select(np.flatnonzero(np.concatenate(among)))
