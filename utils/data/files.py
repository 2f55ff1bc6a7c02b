"""Read files of every format as they are: text stays text, and each row knows where it stands."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets
from datasets.fingerprint import Hasher

from utils.arguments import UserError

logger = logging.getLogger(__name__)

PLACE = "__place__"  # hidden column: where a row stands, for messages: "train.csv, line 17"
FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
# How files begin that are no text, and what they are.
BINARY = {
    b"\x1f\x8b": "is compressed by gzip: give it the ending .gz",
    b"PK\x03\x04": "is a zip archive or an Excel workbook: unpack it, or save it as .csv",
    b"PAR1": "is a Parquet file: give it the ending .parquet",
}
KINDS = {"str": "texts", "int": "numbers", "float": "numbers", "bool": "true or false", "list": "lists", "dict": "objects"}

csv.field_size_limit(sys.maxsize)


def columns(dataset: Dataset) -> list[str]:
    """Return the user's columns: all but the hidden one."""
    return [name for name in dataset.column_names if name != PLACE]


def file_of(dataset: Dataset) -> str:
    """Return where a dataset comes from, for messages: the file of its first row."""
    return dataset[0][PLACE].rsplit(", ", 1)[0]


def with_places(dataset: Dataset, unit: str, first: int = 1) -> Dataset:
    """Return `dataset` with the hidden column of places: its own, or the rows counted as "train.parquet, row 17"."""
    if PLACE in dataset.column_names:
        return dataset
    return dataset.add_column(PLACE, [f"{unit} {number}" for number in range(first, first + len(dataset))])


def matching(pattern: str) -> list[str]:
    """Return the files of one name, a comma-separated list or a glob. Raises a `UserError` if a glob matches none."""
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
        UserError: nothing matches, the files' columns differ, or one of them cannot be read.
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
        raise UserError(f"the files of {pattern} do not fit together: {' '.join(str(error).split())}") from error


def _read_file(path: str) -> Dataset:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path} is a folder: name a file in it, or several by a pattern such as {file / '*.csv'}")
    endings = [ending.lower() for ending in file.suffixes] or [""]
    packed = endings[-1] == ".gz"
    suffix = endings[-2] if packed and len(endings) > 1 else endings[-1]
    if suffix not in FORMATS:
        raise UserError(f"{path}: unknown format {suffix or 'without an ending'}; expected {' '.join(FORMATS)}, or .gz of one")
    try:
        content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist (looked in {Path.cwd()})") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged ({error}): fetch or pack it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.strip():
        raise UserError(f"{path} is empty: expected rows with a text and its labels")
    if suffix == ".parquet":
        dataset = _read_parquet(path, content)
    else:
        kind = next((told for begin, told in BINARY.items() if content.startswith(begin)), None)
        if kind:
            raise UserError(f"{path} {kind}")
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
                f"{path}, line {line}: found a NUL byte; the file is damaged, or its encoding is UTF-16: write it as UTF-8"
            )
        reader = {".csv": _read_delimited, ".tsv": _read_delimited, ".json": _read_json, ".jsonl": _read_json_lines}
        dataset = reader[suffix](path, text)
    if len(dataset) == 0:
        raise UserError(f"{path} has a header but no rows")
    return dataset


def _read_delimited(path: str, text: str) -> Dataset:
    """Read CSV or TSV. Every cell stays the text it is: "NA" is not missing and "007" is not 7."""
    first_line = text.split("\n", 1)[0]
    if ".tsv" in map(str.lower, Path(path).suffixes):
        delimiter = "\t"
    elif "," not in first_line and (";" in first_line or "\t" in first_line):
        delimiter = ";" if ";" in first_line else "\t"
        logger.info("%s: columns are separated by %s", path, "`;`" if delimiter == ";" else "tabs")
    else:
        delimiter = ","
    try:
        rows = list(_parse_delimited(path, text, delimiter, csv.QUOTE_MINIMAL))
        unquoted = delimiter == "\t" and any("\t" in cell and "\n" in cell for _, row in rows for cell in row)
    except UserError:
        unquoted = delimiter == "\t"
        if not unquoted:
            raise
    if unquoted:  # quotation marks are part of the text in this TSV: read as quotes they would swallow lines
        rows = list(_parse_delimited(path, text, delimiter, csv.QUOTE_NONE))
    (_, header), *rows = rows
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: found {len(row)} fields, expected {len(header)} as in the header")
    cells = list(zip(*(row for _, row in rows), strict=True)) if rows else [()] * len(header)
    for name in _values_in_header(header, cells):
        raise UserError(
            f"{path}, line 1: {name!r} looks like a value, not like the name of a column, as rows below have the like: add a "
            f"first line with names, such as text,label, or rename that column"
        )
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise UserError(f"{path}, line 1: the column name {repeated[0]!r} occurs {header.count(repeated[0])} times")
    places = [f"{path}, line {line}" for line, _ in rows]
    table = {name: pa.array(values, pa.string()) for name, values in zip([*header, PLACE], [*cells, places], strict=True)}
    return Dataset(pa.table(table))


def _values_in_header(header: list[str], cells: list[tuple[str, ...]]) -> list[str]:
    """Return the names in a header that look like values of a first row: a number above numbers, what two rows hold below it.

    Numbers that go on by one are names: pandas writes them, and label ids are.
    """
    numbers = [int(name) for name in header if name.isdecimal()]
    counted = len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    found = []
    for name, column in zip(header, cells, strict=True):
        if _is_number(name) and not counted:
            filled = [cell for cell in column if cell]
            is_value = bool(filled) and all(map(_is_number, filled))
        else:
            is_value = bool(name) and column.count(name) > 1
        if is_value:
            found.append(name)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_delimited(path: str, text: str, delimiter: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row starts, its cells)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error} in the row that starts here; is a quotation mark left open?") from error


def _read_json(path: str, text: str) -> Dataset:
    """Read a list of objects, an object with that list under "data", or JSON lines under the ending .json."""
    try:
        content = json.loads(text, object_pairs_hook=_as_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _read_json_lines(path, text)
        raise UserError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    except RecursionError:
        raise UserError(f"{path}: lists or objects lie too deep in each other; expected a list of objects") from None
    rows = content.get("data", [content]) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(
            f'{path}: found {type(rows).__name__} where the rows should be; expected a list of objects: [{{"text": …}}, …]'
        )
    return rows_to_dataset(rows, [f"{path}, row {row}" for row in range(1, len(rows) + 1)])


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice in an object")
    return found


def _read_json_lines(path: str, text: str) -> Dataset:
    rows, places = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            places.append(f"{path}, line {number}")
            try:
                rows.append(json.loads(line, object_pairs_hook=_as_object))
            except (ValueError, RecursionError) as error:
                too_deep = isinstance(error, RecursionError)
                told = "lists or objects lie too deep in each other" if too_deep else getattr(error, "msg", error)
                raise UserError(f"{places[-1]}: not valid JSON: {told}") from error
    return rows_to_dataset(rows, places)


def rows_to_dataset(rows: list[dict], places: list[str] | None = None) -> Dataset:
    """Build a dataset from rows. A key that a row lacks is a missing value there.

    With it, a script reads whatever Python can read:

        def read_sqlite(path: str) -> Dataset:
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.row_factory = sqlite3.Row
                rows = [dict(row) for row in database.execute("SELECT id, text, label FROM tickets")]
            return rows_to_dataset(rows, [f"{path}, id {row['id']}" for row in rows])

        splits = load_splits(args.data, read_sqlite)

    Args:
        rows: one dict per row, from column names to values.
        places: where each row stands, for error messages: the source, a comma, the row. Without places, rows are counted
            from 1, and `load_splits` names the file.

    Raises:
        UserError: a row that is not a dict, or a column of mixed types.
    """
    where = places or [f"row {number}" for number in range(1, len(rows) + 1)]
    for place, row in zip(where, rows, strict=True):
        if not isinstance(row, dict):
            raise UserError(f'{place}: found {type(row).__name__}, expected an object such as {{"text": …}}')
    table = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if "\0" in name:  # Arrow would cut it there
            raise UserError(f"{where[0].rsplit(', ', 1)[0]}: the key {name!r} holds a NUL character; name it otherwise")
        values = [row.get(name) for row in rows]
        try:
            table[name] = _to_arrow(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            odd = bisect.bisect_left(range(1, len(values) + 1), True, key=lambda count: not _fits(values[:count]))
            known = next((type(value).__name__ for value in values[:odd] if value is not None), None)
            if isinstance(values[odd], int) and abs(values[odd]) >= 2**63:
                expected = "whole numbers have 64 bits at most: write it as text"
            elif known is None or known == type(values[odd]).__name__:
                expected = "the parts of a list or object need one type in all rows"
            else:
                expected = f"earlier rows hold {KINDS.get(known, known)}: one column needs one type"
            found = json.dumps(values[odd], default=str)[:80]
            raise UserError(f"{where[odd]}, column {name!r}: found {found}, but {expected}") from None
    if places:
        table[PLACE] = pa.array(places, pa.string())
    return Dataset(pa.table(table))


def _to_arrow(values: list) -> pa.Array:
    """Return a column of what JSON holds. Half of a surrogate pair, which UTF-8 has not, stays the escape that JSON writes."""
    try:
        return pa.array(values)
    except UnicodeEncodeError:
        return pa.array([_escape(value) for value in values])


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return {_escape(name): _escape(item) for name, item in value.items()} if isinstance(value, dict) else value


def _fits(values: list) -> bool:
    try:
        _to_arrow(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False
    return True


def _read_parquet(path: str, content: bytes) -> Dataset:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a Parquet file: {' '.join(str(error).split())}") from error
    for position, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type) or pa.types.is_string_view(field.type):
            try:
                table = table.set_column(position, field.name, table[field.name].cast(pa.string()))  # many tools write texts so
            except pa.ArrowInvalid as error:
                raise UserError(f"{path}, column {field.name!r}: bytes that are no UTF-8 text: {error}") from error
    try:
        dataset = Dataset(table)
    except ValueError as error:
        raise UserError(f"{path}: a column is of a type that cannot be read: {' '.join(str(error).split())}") from error
    return with_places(dataset, f"{path}, row")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a text file to write, which appears under its name when all is written, or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def add_array(dataset: Dataset, name: str, values: np.ndarray) -> Dataset:
    """Return `dataset` with a column of the `values` [rows] or [rows, width], a list a row; `add_column` hashes cell by cell."""
    column = pa.array(values.ravel())
    if values.ndim == 2:
        column = pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1], column)
    return dataset.add_column(name, column, new_fingerprint=Hasher.hash((dataset._fingerprint, name, values)))


def read_array(dataset: Dataset, name: str) -> np.ndarray:
    """Return a column of numbers, or of lists of numbers that are equally long, without making Python objects of them."""
    column = dataset.select_columns(name).with_format("arrow")[:][name].combine_chunks()
    if isinstance(column, pa.ListArray):
        return column.flatten().to_numpy().reshape(len(dataset), -1)
    return column.to_numpy()


def used_tokens(encoded: Dataset) -> np.ndarray:
    """Return the different tokens in the column `input_ids`."""
    column = encoded.select_columns("input_ids").with_format("arrow")[:]["input_ids"].combine_chunks()
    while hasattr(column, "values"):
        column = column.flatten()
    return column.unique().to_numpy()
