"""Rows that remember where they came from, and the errors that say so."""

import bisect
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from datasets.fingerprint import Hasher, generate_random_fingerprint
from datasets.table import MemoryMappedTable

from utils.arguments import UserError

logger = logging.getLogger(__name__)

PLACE = "__place__"  # hidden column that says where a row came from: "train.csv, line 17"
GROUP = "__group__"  # hidden column of the training data: the value of --group_column_name
ROWS_AT_ONCE = 20_000
KINDS = {str: "texts", int: "numbers", float: "numbers", bool: "true or false", list: "lists", dict: "objects"}


def columns(dataset: Dataset) -> list[str]:
    """Return the names of the user's columns, without the hidden ones."""
    return [name for name in dataset.column_names if name not in (PLACE, GROUP)]


def first_of(names: Iterable[str], available: Collection[str]) -> str | None:
    """Return the first of `names` that is available, or None."""
    return next((name for name in names if name in available), None)


def file_of(dataset: Dataset) -> str:
    """Return the file that a dataset's first row came from, for messages."""
    return dataset[0][PLACE].rsplit(", ", 1)[0]


def files_of(dataset: Dataset) -> list[str]:
    """Return all the files that a dataset's rows came from."""
    files: dict[str, None] = {}
    for places in cell_parts(dataset, PLACE):
        parted = pc.split_pattern(places, ", ", max_splits=1, reverse=True)
        files |= dict.fromkeys(pc.unique(pc.list_element(parted, 0)).to_pylist())
    return list(files)


def content_hash(table: pa.Table) -> str:
    """Return a hash of the cells of a table, and of the names and types of its columns."""
    digest = hashlib.sha256(table.schema.remove_metadata().serialize())
    for batch in table.replace_schema_metadata(None).to_batches(max_chunksize=ROWS_AT_ONCE):
        digest.update(batch.serialize())
    return digest.hexdigest()


def column_hash(dataset: Dataset, name: str) -> str:
    """Return a hash of the cells of a column, however they lie in memory."""
    parts = (pa.table({name: cells.combine_chunks()}) for cells in cell_parts(dataset, name))
    return hashlib.sha256("".join(map(content_hash, parts)).encode()).hexdigest()


def to_dataset(table: pa.Table) -> Dataset:
    """Return a table as a dataset. For its fingerprint `datasets` would copy the whole table."""
    return Dataset(table, fingerprint=content_hash(table)[:16])


class NotPlain(Exception):
    """Says why a file cannot be read a part at a time."""


def cache_folder(name: str) -> Path | None:
    """Return the folder `name` in the cache of datasets; None where nothing can be written."""
    folder = Path(datasets.config.HF_DATASETS_CACHE, name)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK) else None


def keep_on_disk(tables: Iterable[pa.Table]) -> Dataset:
    """Return the rows of tables as a dataset that stays on disk, in the cache of datasets, and takes next to no memory.

    Raises:
        NotPlain: a table has columns that the first has not, or the type of one is unknown.
        OSError: they cannot be written.
    """
    folder, digest, schema, rows = cache_folder("rows"), hashlib.sha256(), None, 0
    if folder is None:
        raise OSError("the cache of datasets cannot be written to")
    part = folder / f"{generate_random_fingerprint()}.unfinished"
    try:
        with contextlib.ExitStack() as opened:
            for table in tables:
                if schema is None:
                    schema = table.schema
                    writer = opened.enter_context(pa.ipc.new_stream(str(part), schema))
                    digest.update(schema.serialize())
                else:
                    table = pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
                if table.schema != schema:
                    raise NotPlain(f"after the first {rows:,} rows there are other columns, or other types")
                for batch in table.to_batches():
                    digest.update(batch.serialize())
                    writer.write_batch(batch)
                rows += len(table)
        if schema is None:
            raise NotPlain("there are no rows")
        kept = part.replace(folder / f"{digest.hexdigest()}.arrow")
    except pa.ArrowException as error:
        raise NotPlain(one_line(error)) from error
    finally:
        part.unlink(missing_ok=True)
    try:
        return Dataset(MemoryMappedTable.from_file(str(kept)), fingerprint=digest.hexdigest()[:16])
    except ValueError as error:  # a type that datasets does not know
        raise NotPlain(one_line(error)) from error


def arrow_cells(dataset: Dataset, name: str) -> pa.ChunkedArray:
    """Return the cells of a column without making Python objects of them.

    `datasets` 5.2 would make a table of each row that was selected, which takes seconds and much memory for a million.
    """
    cells, selected = dataset.data.column(name), dataset._indices
    return cells if selected is None else _take(cells, selected.column(0).to_numpy().astype(np.int64))


def _take(cells: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Return the cells of some rows. Arrow's own `take` would first copy the whole column."""
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        return _take(cells, rows[order]).take(np.argsort(order))
    ends = np.cumsum([0, *map(len, cells.chunks)])
    bounds = np.searchsorted(rows, ends)
    parts = zip(cells.chunks, ends[:-1], bounds[:-1], bounds[1:], strict=True)
    taken = [chunk.take(pa.array(rows[first:last] - start)) for chunk, start, first, last in parts if last > first]
    return pa.chunked_array(taken, cells.type)


def cell_parts(dataset: Dataset, name: str) -> Iterator[pa.ChunkedArray]:
    """Yield the cells of a column, so many rows at a time that they take little memory."""
    wide = len(dataset) and pa.types.is_list(dataset.data.column(name).type)
    width = len(arrow_cells(dataset.select([0]), name)[0].as_py() or ()) if wide else 1
    step = ROWS_AT_ONCE * 100 // max(width, 100)
    for start in range(0, len(dataset), step):
        yield arrow_cells(dataset.select(range(start, min(start + step, len(dataset)))), name)


def distinct_cells(dataset: Dataset, name: str) -> tuple[dict[int, Any], np.ndarray]:
    """Return the different cells of a column by the row in which each first occurs, and the number of each row's cell [rows].

    Millions of rows have few different labels. As lists of Python they would take more memory than all the rest of a run.
    """
    numbers: dict[Any, int] = {}
    first, of_row = {}, np.empty(len(dataset), np.int64)
    for row, value in enumerate(value for cells in cell_parts(dataset, name) for value in cells.to_pylist()):
        of_row[row] = numbers.setdefault(repr(value) if isinstance(value, (list, dict)) else value, len(first))
        if of_row[row] == len(first):
            first[row] = value
    return first, of_row


def cell_error(dataset: Dataset, row: int, column: str, problem: str) -> UserError:
    """Return the error for one cell: "train.csv, line 17, column 'label': <problem>"."""
    return UserError(f"{dataset[row][PLACE]}, column {column!r}: {problem}")


def column_error(dataset: Dataset, column: str, problem: str) -> UserError:
    """Return the error for a whole column: "train.csv, column 'label': <problem>"."""
    return UserError(f"{file_of(dataset)}, column {column!r}: {problem}")


@lru_cache(maxsize=10_000)
def name_key(name: str) -> str:
    """Return what two spellings of a column's name have in common: its letters and digits, in lower case."""
    return "".join(character for character in name.casefold() if character.isalnum())


def align_columns(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """Return the splits with the column names of the first where they differ only in case, spaces or punctuation.

    Where one has a list of `labels` and another only a `label`, as two exports of one tool may, the label becomes a list.
    """
    if not splits:
        return splits
    first, aligned = columns(next(iter(splits.values()))), {}
    for name, split in splits.items():
        present, renamed = set(columns(split)), {}
        for other in present - set(first):
            same = [column for column in first if name_key(column) == name_key(other)]
            if len(same) == 1 and same[0] not in present and same[0] not in renamed.values() and name_key(other):
                renamed[other] = same[0]
        if renamed:
            told = ", ".join(f"{other!r} is {column!r}" for other, column in renamed.items())
            logger.info("%s: columns are named as in %s: %s", name, next(iter(splits)), told)
        aligned[name] = split.rename_columns(renamed) if renamed else split
    if any(_is_list(split, "labels") for split in aligned.values()):
        for name, split in aligned.items():
            if (
                "label" in columns(split)
                and "labels" not in columns(split)
                and getattr(split.features["label"], "dtype", None) == "string"
            ):
                logger.info("%s: each label is read as a list of one, as other data has lists of labels", name)
                lists = [None if label is None else [label] if label else [] for label in split["label"][:]]
                aligned[name] = split.remove_columns("label").add_column("labels", lists)
    return aligned


def _is_list(dataset: Dataset, column: str) -> bool:
    return column in dataset.column_names and pa.types.is_list(dataset.features.arrow_schema.field(column).type)


def one_line(error: Exception) -> str:
    """Return a library's error message without its line breaks."""
    return " ".join(str(error).split())


def with_places(dataset: Dataset, unit: str, first: int = 1) -> Dataset:
    """Return `dataset` with the hidden column of places. If it has none yet, number the rows: "train.parquet, row 17"."""
    if PLACE in dataset.column_names:
        return dataset
    numbers = pa.array(np.arange(first, first + len(dataset))).cast(pa.string())
    places = pc.binary_join_element_wise(unit, numbers, " ")
    return dataset.add_column(PLACE, places, new_fingerprint=Hasher.hash((dataset._fingerprint, unit, first)))


def numbered(tables: Iterable[pa.Table], unit: str, first: int = 1) -> Iterator[pa.Table]:
    """Yield tables of successive rows with the column of places that `with_places` makes."""
    for table in tables:
        places = [f"{unit} {number}" for number in range(first, first + len(table))]
        yield table.append_column(PLACE, pa.array(places))
        first += len(table)


def flatten(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """Return the splits with nested columns taken apart: `question: {stem}` becomes the column `question_stem`.

    (`Dataset.flatten` of datasets 5.2 loses the new columns when rows are iterated.)
    """
    result = {}
    for split_name, split in splits.items():
        while nested := [name for name in columns(split) if isinstance(split.features[name], dict)]:
            values, parts = split[nested[0]][:], split.features[nested[0]]
            split = split.remove_columns(nested[0])
            for part in parts:
                split = split.add_column(f"{nested[0]}_{part}", [value and value.get(part) for value in values])
        result[split_name] = split
    return result


def rows_to_dataset(rows: list[dict], places: list[str] | None = None) -> Dataset:
    """Build a dataset from rows. A key that a row lacks becomes a missing value.

    Use it to read data from anywhere else, here from SQLite:

        def read_sqlite(path: str) -> Dataset:
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.row_factory = sqlite3.Row
                rows = [dict(row) for row in database.execute("SELECT id, text, label FROM tickets")]
            return rows_to_dataset(rows, [f"{path}, id {row['id']}" for row in rows])

        splits = load_splits(args.data, read=read_sqlite)

    `places` say where each row came from, for error messages: the source, a comma, the row. If None, `load_splits` adds
    places such as "tickets.db, row 17". A column of several types becomes text, and a line says so. A row that is not a dict,
    or a column of single values beside lists or objects, is a `UserError`.
    """
    plain = rows_to_table(rows, places)
    if plain is not None:
        return to_dataset(plain)
    where = places or [f"row {number}" for number in range(1, len(rows) + 1)]
    for place, row in zip(where, rows, strict=True):
        if not isinstance(row, dict):
            raise UserError(f'{place}: found {type(row).__name__}, expected an object such as {{"text": …}}')
    table = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if "\0" in name:
            raise UserError(f"{where[0].rsplit(', ', 1)[0]}: the key {name!r} contains a NUL character; rename it")
        values = [row.get(name) for row in rows]
        table[name] = _to_arrow(values)
        if table[name] is None:
            row, problem = _find_misfit(values)
            table[name] = _to_json(values)
            if table[name] is None:
                raise UserError(f"{where[row]}, column {name!r}: {problem}: one column needs one type, in all rows")
            logger.info("%s, column %r: %s; the column is read as text, as JSON writes it", where[row], name, problem)
    if places:
        table[PLACE] = pa.array(places, pa.string())
    return to_dataset(pa.table(table))


def rows_to_table(rows: list, places: list[str] | None) -> pa.Table | None:
    """Return rows as a table, with their `places` if there are any; None if a row is no dict, or a column has several types."""
    if not all(isinstance(row, dict) for row in rows):
        return None
    table = {name: _to_arrow([row.get(name) for row in rows]) for name in dict.fromkeys(name for row in rows for name in row)}
    if any(cells is None or "\0" in name for name, cells in table.items()):  # Arrow would cut the name there
        return None
    return pa.table(table | ({PLACE: pa.array(places, pa.string())} if places else {}))


def _to_arrow(values: list) -> pa.Array | None:
    """Return a column of values, or None if they do not fit one type."""
    try:
        try:
            return pa.array(values)
        except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot hold: keep the escape that JSON writes
            return pa.array([_escape(value) for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None


def _to_json(values: list) -> pa.Array | None:
    """Return a column of texts as they are, and of other values as JSON writes them.

    A single value beside lists or objects is more likely an error than a value of its own: then return None.
    """
    kinds = {type(value) for value in values if value is not None}
    if not (kinds <= {str, int, float, bool} or kinds in ({list}, {dict})):
        return None
    try:
        return _to_arrow([v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values])
    except (TypeError, ValueError):  # a list may hold anything if another reader than that of JSON made it
        return None


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return {_escape(name): _escape(item) for name, item in value.items()} if isinstance(value, dict) else value


def _find_misfit(values: list) -> tuple[int, str]:
    """Return the first row whose value does not fit the values above it, and what is wrong with it."""
    shapes = [type(value) if isinstance(value, (list, dict)) else None if value is None else str for value in values]
    first = next(filter(None, shapes))
    row = next((row for row, shape in enumerate(shapes) if shape not in (None, first)), None)
    if row is None:
        row = bisect.bisect_left(range(1, len(values) + 1), True, key=lambda count: _to_arrow(values[:count]) is None)
    value = values[row]
    earlier = next((type(other) for other in values[:row] if other is not None), type(value))
    if isinstance(value, int) and abs(value) >= 2**63:
        expected = "whole numbers have at most 64 bits"
    elif earlier is not type(value):
        expected = f"earlier rows hold {KINDS.get(earlier, earlier.__name__)}"
    else:
        expected = f"its parts {'differ in type' if _to_arrow([value]) is None else 'have other types than above'}"
    return row, f"found {json.dumps(value, default=str)[:80]}, but {expected}"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing. It appears under its name once it is complete, or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def add_array(dataset: Dataset, name: str, values: np.ndarray) -> Dataset:
    """Return `dataset` with a new column: `values` [rows], or [rows, width] as one list per row.

    `add_column` alone would hash the values one by one, which is slow, and a hash of the array would copy it.
    """
    column = pa.array(values.ravel())
    if values.ndim == 2:
        column = pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1], column)
    own = name, values.shape, hashlib.sha256(np.ascontiguousarray(values)).hexdigest()
    return dataset.add_column(name, column, new_fingerprint=Hasher.hash((dataset._fingerprint, own)))


def read_array(dataset: Dataset, name: str) -> np.ndarray:
    """Return a column of numbers, or of number lists of equal length, without making Python objects of them."""
    cells, selected = dataset.data.column(name), dataset._indices
    if not pa.types.is_list(cells.type):
        return arrow_cells(dataset, name).combine_chunks().to_numpy()
    parts = [chunk.flatten().to_numpy().reshape(len(chunk), -1) for chunk in cells.chunks]
    if selected is None:
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    rows, start = selected.column(0).to_numpy().astype(np.int64), 0
    found = np.empty((len(rows), parts[0].shape[1]), parts[0].dtype)  # Arrow's `take` of lists reserves up to four times as much
    for part in parts:
        here = (rows >= start) & (rows < start + len(part))
        found[here] = part[rows[here] - start]
        start += len(part)
    return found
