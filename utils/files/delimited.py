"""Tables of delimited text: CSV, TSV and their relatives."""

import csv
import io
import logging
import sys
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from utils.arguments import UserError
from utils.files.rows import PLACE

logger = logging.getLogger(__name__)

csv.field_size_limit(sys.maxsize)


def read_delimited(path: str, text: str) -> Dataset:
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
