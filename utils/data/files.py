"""Read data files. Text stays exactly as written, and every row remembers where it came from."""

import bisect
import contextlib
import csv
import glob
import gzip
import io
import json
import logging
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets
from datasets.fingerprint import Hasher

from utils.arguments import UserError

logger = logging.getLogger(__name__)

PLACE = "__place__"  # hidden column that says where a row came from: "train.csv, line 17"
EXAMPLE_FILE = "example_rows.jsonl"  # where a smoke test without data keeps the script's example rows
FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
# The first bytes of files that are not text, and what to do about such a file.
BINARY = {
    b"\x1f\x8b": "is compressed with gzip: give it the ending .gz",
    b"PK\x03\x04": "is a zip archive or an Excel workbook: unpack it, or save it as .csv",
    b"PAR1": "is a Parquet file: give it the ending .parquet",
}
KINDS = {str: "texts", int: "numbers", float: "numbers", bool: "true or false", list: "lists", dict: "objects"}
TOO_DEEP = "lists or objects are nested too deeply"

csv.field_size_limit(sys.maxsize)


def columns(dataset: Dataset) -> list[str]:
    """Return the names of the user's columns, without the hidden one."""
    return [name for name in dataset.column_names if name != PLACE]


def first_of(names: Iterable[str], available: Collection[str]) -> str | None:
    """Return the first of `names` that is available, or None."""
    return next((name for name in names if name in available), None)


def file_of(dataset: Dataset) -> str:
    """Return the file that a dataset's first row came from, for messages."""
    return dataset[0][PLACE].rsplit(", ", 1)[0]


def cell_error(dataset: Dataset, row: int, column: str, problem: str) -> UserError:
    """Return the error for one cell: "train.csv, line 17, column 'label': <problem>"."""
    return UserError(f"{dataset[row][PLACE]}, column {column!r}: {problem}")


def column_error(dataset: Dataset, column: str, problem: str) -> UserError:
    """Return the error for a whole column: "train.csv, column 'label': <problem>"."""
    return UserError(f"{file_of(dataset)}, column {column!r}: {problem}")


def one_line(error: Exception) -> str:
    """Return a library's error message without its line breaks."""
    return " ".join(str(error).split())


def with_places(dataset: Dataset, unit: str, first: int = 1) -> Dataset:
    """Return `dataset` with the hidden column of places. If it has none yet, number the rows: "train.parquet, row 17"."""
    places = [f"{unit} {number}" for number in range(first, first + len(dataset))]
    return dataset if PLACE in dataset.column_names else dataset.add_column(PLACE, places)


def matching(pattern: str) -> list[str]:
    """Return the files meant by a name, a comma-separated list or a glob. A glob that matches nothing is a `UserError`."""
    paths = []
    for part in (part.strip() for part in pattern.split(",")):
        matches = sorted(glob.glob(part)) if glob.has_magic(part) and not Path(part).exists() else [part]
        if not matches:
            raise UserError(f"no file matches {part}")
        paths += matches
    return paths


def read_files(pattern: str) -> Dataset:
    """Read one file, a comma-separated list or a glob into one dataset.

    Raises:
        UserError: no file matches, one cannot be read, or their columns differ.
    """
    paths = matching(pattern)
    datasets = [_read_file(path) for path in paths]
    for path, dataset in zip(paths, datasets, strict=True):
        if set(dataset.column_names) != set(datasets[0].column_names):
            raise UserError(
                f"{path} has the columns {', '.join(columns(dataset))}, but {paths[0]} has "
                f"{', '.join(columns(datasets[0]))}: files of one split need the same columns"
            )
    try:
        return concatenate_datasets(datasets)
    except (ValueError, pa.ArrowInvalid) as error:
        raise UserError(f"the files of {pattern} do not fit together: {one_line(error)}") from error


def _read_file(path: str) -> Dataset:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path} is a folder: name a file in it, or several with a pattern such as {file / '*.csv'}")
    packed = file.suffix.lower() == ".gz"
    suffix = Path(file.stem if packed else file).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path}: unknown format {suffix or 'without an ending'}; expected {' '.join(FORMATS)}, or .gz of one")
    try:
        content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist (looked in {Path.cwd()})") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or damaged ({error}): download or compress it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.removeprefix(b"\xef\xbb\xbf").strip():
        raise UserError(f"{path} is empty: expected rows with a text and its labels")
    if suffix == ".parquet":
        dataset = _read_parquet(path, content)
    else:
        read = {".json": _read_json, ".jsonl": _read_json_lines}.get(suffix, _read_delimited)
        dataset = read(path, _decode(path, content))
    if len(dataset) == 0:
        raise UserError(f"{path} has a header but no rows")
    return dataset


def _decode(path: str, content: bytes) -> str:
    for start, problem in BINARY.items():
        if content.startswith(start):
            raise UserError(f"{path} {problem}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        raise UserError(
            f"{path}, line {line}: byte {content[error.start]:#x} is not UTF-8; "
            f"convert the file, for example with: iconv -f {encoding} -t utf-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"{path}, line {line}: found a NUL byte; either the file is damaged, or it is UTF-16 and must be converted to UTF-8"
        )
    return text


def _read_delimited(path: str, text: str) -> Dataset:
    """Read CSV or TSV. Every cell stays text: "NA" is not missing, and "007" is not 7."""
    first_line = text.split("\n", 1)[0]
    if ".tsv" in map(str.lower, Path(path).suffixes):
        delimiter = "\t"
    elif "," not in first_line and (";" in first_line or "\t" in first_line):
        delimiter = ";" if ";" in first_line else "\t"
        logger.info("%s: columns are separated by %s", path, "`;`" if delimiter == ";" else "tabs")
    else:
        delimiter = ","
    # Many TSV files do not quote: a quotation mark is part of the text. Read as quoting, it would swallow whole lines.
    try:
        lines, widths, cells = _parse_delimited(path, text, delimiter, csv.QUOTE_MINIMAL)
        unquoted = delimiter == "\t" and any("\t" in cell and "\n" in cell for cell in cells)
    except UserError:
        unquoted = delimiter == "\t"
        if not unquoted:
            raise
    if unquoted:
        lines, widths, cells = _parse_delimited(path, text, delimiter, csv.QUOTE_NONE)
    width = widths[0]
    for line, found in zip(lines, widths, strict=True):
        if found != width:
            raise UserError(f"{path}, line {line}: found {found} fields, expected {width} as in the header")
    header, cells = cells[:width], cells[width:]
    table = [(name, cells[position::width]) for position, name in enumerate(header)]
    _check_header(path, table)
    table.append((PLACE, [f"{path}, line {line}" for line in lines[1:]]))
    return Dataset(pa.table({name: pa.array(values, pa.string()) for name, values in table}))


def _parse_delimited(path: str, text: str, delimiter: str, quoting: int) -> tuple[list[int], list[int], list[str]]:
    """Return the line that each row starts on, its number of cells, and the cells of all rows in one list.

    A list per row would keep Python's garbage collector busy for longer than the reading takes.
    """
    lines, widths, cells = [], [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                lines.append(start)
                widths.append(len(row))
                cells += row
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error} in the row that starts here; is a quotation mark left open?") from error
    return lines, widths, cells


def _check_header(path: str, table: list[tuple[str, list[str]]]) -> None:
    """Raise a `UserError` if a name occurs twice, or if the header looks like a first row of values.

    A number looks like a value if all cells below it are numbers, and a text if it occurs below itself at least twice.
    Consecutive numbers are names: pandas writes such headers, and label ids look like this.
    """
    header = [name for name, _ in table]
    numbers = [int(name) for name in header if name.isdecimal()]
    consecutive = len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for name, cells in table:
        if _is_number(name) and not consecutive:
            filled = [cell for cell in cells if cell]
            is_value = bool(filled) and all(map(_is_number, filled))
        else:
            is_value = bool(name) and cells.count(name) > 1
        if is_value:
            raise UserError(
                f"{path}, line 1: {name!r} looks like a value, not like the name of a column, because rows below hold similar "
                f"values: add a first line with names, such as text,label, or rename that column"
            )
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path}, line 1: the column name {name!r} occurs {header.count(name)} times")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_json(path: str, text: str) -> Dataset:
    """Read a list of objects, an object that holds such a list under "data", or JSON lines named .json."""
    try:
        content = json.loads(text, object_pairs_hook=_as_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _read_json_lines(path, text)
        raise UserError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    except RecursionError:
        raise UserError(f"{path}: {TOO_DEEP}; expected a list of objects") from None
    rows = content.get("data", [content]) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(
            f'{path}: found {type(rows).__name__} where the rows should be; expected a list of objects: [{{"text": …}}, …]'
        )
    return rows_to_dataset(rows, [f"{path}, row {row}" for row in range(1, len(rows) + 1)])


def _read_json_lines(path: str, text: str) -> Dataset:
    rows, places = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            places.append(f"{path}, line {number}")
            try:
                rows.append(json.loads(line, object_pairs_hook=_as_object))
            except (ValueError, RecursionError) as error:
                problem = TOO_DEEP if isinstance(error, RecursionError) else getattr(error, "msg", error)
                raise UserError(f"{places[-1]}: not valid JSON: {problem}") from error
    return rows_to_dataset(rows, places)


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    found = dict(pairs)
    if len(found) < len(names):
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice in an object")
    return found


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
    places such as "tickets.db, row 17". A row that is not a dict, or a column that mixes types, is a `UserError`.
    """
    where = places or [f"row {number}" for number in range(1, len(rows) + 1)]
    for place, row in zip(where, rows, strict=True):
        if not isinstance(row, dict):
            raise UserError(f'{place}: found {type(row).__name__}, expected an object such as {{"text": …}}')
    table = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if "\0" in name:  # Arrow would cut the name there
            raise UserError(f"{where[0].rsplit(', ', 1)[0]}: the key {name!r} contains a NUL character; rename it")
        values = [row.get(name) for row in rows]
        table[name] = _to_arrow(values)
        if table[name] is None:
            row, problem = _find_misfit(values)
            raise UserError(f"{where[row]}, column {name!r}: {problem}")
    if places:
        table[PLACE] = pa.array(places, pa.string())
    return Dataset(pa.table(table))


def _to_arrow(values: list) -> pa.Array | None:
    """Return a column of values, or None if they do not fit one type."""
    try:
        try:
            return pa.array(values)
        except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot hold: keep the escape that JSON writes
            return pa.array([_escape(value) for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return {_escape(name): _escape(item) for name, item in value.items()} if isinstance(value, dict) else value


def _find_misfit(values: list) -> tuple[int, str]:
    """Return the first row whose value does not fit the values above it, and what is wrong with it."""
    row = bisect.bisect_left(range(1, len(values) + 1), True, key=lambda count: _to_arrow(values[:count]) is None)
    value = values[row]
    earlier = next((type(other) for other in values[:row] if other is not None), type(value))
    if isinstance(value, int) and abs(value) >= 2**63:
        expected = "whole numbers have at most 64 bits: write it as text"
    elif earlier is type(value):
        expected = "the parts of a list or object need one type in all rows"
    else:
        expected = f"earlier rows hold {KINDS.get(earlier, earlier.__name__)}: one column needs one type"
    return row, f"found {json.dumps(value, default=str)[:80]}, but {expected}"


def _read_parquet(path: str, content: bytes) -> Dataset:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a Parquet file: {one_line(error)}") from error
    for position, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type) or pa.types.is_string_view(field.type):
            try:
                table = table.set_column(position, field.name, table[field.name].cast(pa.string()))  # many tools write text so
            except pa.ArrowInvalid as error:
                raise UserError(f"{path}, column {field.name!r}: the bytes are not UTF-8 text: {error}") from error
    try:
        return with_places(Dataset(table), f"{path}, row")
    except ValueError as error:
        raise UserError(f"{path}: a column has a type that cannot be read: {one_line(error)}") from error


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

    `add_column` alone would hash the values one by one, which is slow.
    """
    column = pa.array(values.ravel())
    if values.ndim == 2:
        column = pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1], column)
    return dataset.add_column(name, column, new_fingerprint=Hasher.hash((dataset._fingerprint, name, values)))


def read_array(dataset: Dataset, name: str) -> np.ndarray:
    """Return a column of numbers, or of number lists of equal length, without making Python objects of them."""
    column = dataset.select_columns(name).with_format("arrow")[:][name].combine_chunks()
    if isinstance(column, pa.ListArray):
        return column.flatten().to_numpy().reshape(len(dataset), -1)
    return column.to_numpy()


def used_tokens(encoded: Dataset) -> np.ndarray:
    """Return the distinct tokens in the column `input_ids`."""
    column = encoded.select_columns("input_ids").with_format("arrow")[:]["input_ids"].combine_chunks()
    while hasattr(column, "values"):
        column = column.flatten()
    return column.unique().to_numpy()
