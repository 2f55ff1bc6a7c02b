"""Tables of delimited text: CSV, TSV and their relatives."""

import csv
import io
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import pyarrow as pa
from datasets import Dataset

from utils.arguments import DataArguments, UserError
from utils.files.content import unknown_format
from utils.files.exports import read_export_columns
from utils.files.rows import PLACE, ROWS_AT_ONCE, NotPlain, to_dataset
from utils.files.tables import name_columns, rows_to_skip, use_decimal_points, without_rows

logger = logging.getLogger(__name__)

csv.field_size_limit(sys.maxsize)

DELIMITERS = {",": "commas", ";": '";"', "\t": "tabs", "|": '"|"'}
USUAL = {".csv": ",", ".tsv": "\t"}  # by the ending of the file
SAMPLE_ROWS, SAMPLE_LENGTH = 500, 1_000_000  # what shows the delimiter
REGULAR = 0.9  # share of rows with as many fields as the header that shows it, too
FASTTEXT_LABEL = re.compile(r"(?:^|(?<=[\s,]))__label__(\S*?)(?:\s*,(?=\s|__label__)\s*|\s+|$)")
BAD_ROWS = 0.1  # share of rows that --skip_bad_rows may leave out


def read_fasttext(path: str, text: str) -> Dataset:
    """Read the lines of fastText, `__label__one __label__other the text`: https://fasttext.cc/docs/en/supervised-tutorial.html.

    A comma may stand behind a label. Raises a `UserError` for a label without a name.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    labels = [list(dict.fromkeys(FASTTEXT_LABEL.findall(line))) for _, line in lines]
    for (number, _), own in zip(lines, labels, strict=True):
        if "" in own:
            raise UserError(f"{path}, line {number}: found __label__ without a name; write one behind it, without a space")
    single = all(len(own) <= 1 for own in labels)
    logger.info("%s: lines of fastText, with %s", path, "one label each" if single else "any number of labels")
    columns = {
        "text": [FASTTEXT_LABEL.sub("", line).strip() for _, line in lines],
        "label" if single else "labels": [own[0] if own else None for own in labels] if single else labels,
        PLACE: [f"{path}, line {number}" for number, _ in lines],
    }
    return Dataset.from_dict(columns)


def read_delimited(path: str, text: str, ending: str, options: DataArguments) -> Dataset:
    """Read CSV or TSV. Every cell stays text: "NA" is not missing, and "007" is not 7.

    Raises:
        UserError: two delimiters fit, or none in a file whose `ending` does not say that it is a table; a row has more or fewer
            fields than the header.
    """
    if options.no_header and options.column_names and "," not in options.column_names and ending not in USUAL:
        rows = text.rstrip("\r\n").splitlines()
        logger.info("%s: each line is a text", path)
        return Dataset.from_dict({options.column_names: rows, PLACE: [f"{path}, line {line + 1}" for line in range(len(rows))]})
    told = re.match(r"sep=(.)\r?\n", text)  # for Excel
    text, above = (text[told.end() :], 1) if told else (text, 0)
    delimiter = told.group(1) if told else find_delimiter(path, text, ending)
    if delimiter != USUAL.get(ending):
        logger.info("%s: columns are separated by %s", path, DELIMITERS.get(delimiter, f'"{delimiter}"'))
    # Many TSV files do not quote: a quotation mark is part of the text. Read as quoting, it would swallow whole lines.
    try:
        lines, widths, cells = _parse(path, text, delimiter, csv.QUOTE_MINIMAL, above)
        unquoted = delimiter == "\t" and any("\t" in cell and "\n" in cell for cell in cells)
    except UserError:
        unquoted = delimiter == "\t"
        if not unquoted:
            raise
    if unquoted:
        lines, widths, cells = _parse(path, text, delimiter, csv.QUOTE_NONE, above)
    width = _drop_bad_rows(path, lines, widths, cells, options)
    columns = [cells[position::width] for position in range(width)]
    if delimiter == "|" and _is_markdown(columns):
        lines, columns = _from_markdown(path, lines, columns)
    skipped = rows_to_skip(path, columns, options)
    lines, columns = without_rows(lines, skipped), [without_rows(cells, skipped) for cells in columns]
    names, is_header = name_columns(path, lines[0], columns, options)
    table = {name: column[is_header:] for name, column in zip(names, columns, strict=True)}
    lists = getattr(options, "label_delimiter", None) == ","  # of run_multilabel.py
    if delimiter == ";" and not lists and not hasattr(options, "choice_column_names"):  # a candidate is a text
        use_decimal_points(path, table, "; for lists, add --label_delimiter ," if hasattr(options, "label_delimiter") else "")
    places = [f"{path}, line {line}" for line in lines[is_header:]]
    plain, places = read_export_columns(path, table, places) if places else (table, places)
    kind = pa.string() if plain is table else None  # to find out what a column holds takes longer
    return to_dataset(pa.table({name: pa.array(column, kind) for name, column in {**plain, PLACE: places}.items()}))


def tables_of_delimited(path: str, lines: Iterable[str], ending: str, options: DataArguments) -> Iterator[pa.Table]:
    """Yield a table of so many rows as are read at once, and then of the next.

    Raises:
        NotPlain: the delimiter is not the usual one, the first row does not name each column, another row has more or fewer
            cells, or `read_delimited` would leave rows out or read labels from an export.
        csv.Error: quotation marks do not match.
    """
    lines, sample, length = iter(lines), [], 0
    while length <= SAMPLE_LENGTH and (line := next(lines, None)) is not None:
        sample.append(line)
        length += len(line)
    delimiter = find_delimiter(path, "".join(sample), ending)
    rows = _numbered(csv.reader(chain(sample, lines), delimiter=delimiter, strict=True))
    start, header = next(rows, (1, []))
    if delimiter != USUAL[ending] or len(header) < 2 or not all(header):
        raise NotPlain(f"columns are not separated by {DELIMITERS[USUAL[ending]]}, or the first row does not name them all")
    names = None
    while part := list(islice(rows, ROWS_AT_ONCE)):
        for line, row in part:
            if len(row) != len(header) or row == header:
                raise NotPlain(f"line {line} repeats the header, or has more or fewer fields")
            if delimiter == "\t" and any("\t" in cell and "\n" in cell for cell in row):  # see `read_delimited`
                raise NotPlain(f"in line {line} a quotation mark is part of the text")
        columns = [[name, *cells] for name, cells in zip(header, zip(*(row for _, row in part), strict=True), strict=True)]
        if names is None:
            if rows_to_skip(path, columns, options):
                raise NotPlain("some of the first rows are left out")
            names, _ = name_columns(path, start, columns, options)
        table = {name: cells[1:] for name, cells in zip(names, columns, strict=True)}
        places = [f"{path}, line {line}" for line, _ in part]
        if read_export_columns(path, table, places)[0] is not table:
            raise NotPlain("it is an export")
        yield pa.table({name: pa.array(cells, pa.string()) for name, cells in {**table, PLACE: places}.items()})


def _numbered(reader: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the line that it starts on."""
    start = 1
    for row in reader:
        if row:
            yield start, row
        start = reader.line_num + 1


def find_delimiter(path: str, text: str, ending: str) -> str:
    """Return the character that separates the columns: the one that gives the rows as many fields as the header.

    Raises:
        UserError: two characters fit, or none does in a file that need not be a table.
    """
    header = re.match(r"[\r\n]*(.*)", text).group(1)
    if ending == ".tsv" and "\t" in header:
        return "\t"
    shares = {delimiter: _regularity(text, delimiter) for delimiter in DELIMITERS if delimiter in header}
    fitting = [delimiter for delimiter, share in shares.items() if share == 1]
    if not fitting:
        fitting = [delimiter for delimiter, share in shares.items() if share >= REGULAR and share == max(shares.values())]
    if ending not in USUAL and "\t" in fitting:  # nobody writes tabs into prose
        return "\t"
    if len(fitting) > 1:
        found = " and by ".join(DELIMITERS[delimiter] for delimiter in fitting)
        lines = "" if ending in USUAL else "; or, if each line is a text, add --no_header --column_names text"
        raise UserError(
            f"{path}, line 1: the columns may be separated by {found}: add a first line that says which, "
            f"{' or '.join(f'sep={delimiter}' for delimiter in fitting)}{lines}"
        )
    if fitting:
        return fitting[0]
    if ending not in (*USUAL, ".txt"):
        raise unknown_format(path, ending)
    if ending == ".txt":
        raise UserError(
            f"{path} is no table: no comma, semicolon, tab or | gives its lines equally many fields; if each line is a text, add "
            f"--no_header --column_names text; with labels, save it as .csv with a header such as text,label"
        )
    others = [delimiter for delimiter in ";\t" if delimiter in header]
    return others[0] if others and "," not in header else USUAL[ending]


def _regularity(text: str, delimiter: str) -> float:
    """Return the share of rows with as many fields as the header; 0 if it has a single field, or no row is below it."""
    shares = []
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE) if delimiter == "\t" else (csv.QUOTE_MINIMAL,):
        sample = io.StringIO(text[:SAMPLE_LENGTH], newline="")
        widths = []
        try:
            for row in islice(csv.reader(sample, delimiter=delimiter, quoting=quoting, strict=True), SAMPLE_ROWS):
                if row:
                    widths.append(len(row))
        except csv.Error:  # but for a sample that ends within quotation marks
            widths = widths if len(text) > SAMPLE_LENGTH else []
        below = widths[1:-1] if len(text) > SAMPLE_LENGTH and len(widths) > 2 else widths[1:]
        shares.append(below.count(widths[0]) / len(below) if below and widths[0] > 1 else 0)
    return max(shares)


def _parse(path: str, text: str, delimiter: str, quoting: int, above: int) -> tuple[list[int], list[int], list[str]]:
    """Return the line that each row starts on, its number of cells, and the cells of all rows in one list.

    A list per row would keep Python's garbage collector busy for longer than the reading takes.
    """
    lines, widths, cells = [], [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    start = above + 1
    try:
        for row in reader:
            if row or widths[:1] == [1]:  # in a single column an empty line is an empty text
                lines.append(start)
                widths.append(len(row) or 1)
                cells += row or [""]
            start = reader.line_num + above + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error} in the row that starts here; is a quotation mark left open?") from error
    while widths[:1] == [1] and cells and cells[-1] == "":
        del lines[-1], widths[-1], cells[-1]
    if not lines:
        raise UserError(f"{path} is empty: expected rows with a text and its labels")
    return lines, widths, cells


def _is_markdown(columns: list[list[str]]) -> bool:
    """Return whether the second row separates the header from the others: |---|:---:|."""
    separators = list(filter(None, (cells[1].strip() for cells in columns if len(cells) > 1)))
    return bool(separators) and all(re.fullmatch(":?-{2,}:?|:-:?|-:", cell) for cell in separators)


def _from_markdown(path: str, lines: list[int], columns: list[list[str]]) -> tuple[list[int], list[list[str]]]:
    """Return a table without what Markdown draws it with: the row of dashes, outer delimiters, spaces around the cells."""
    logger.info("%s: table in Markdown; the dashes in line %d and the spaces around cells are left out", path, lines[1])
    columns = [list(map(str.strip, without_rows(cells, {1}))) for cells in columns]
    first, last = (any(columns[position]) for position in (0, -1))
    return without_rows(lines, {1}), columns[not first : len(columns) - (not last)]


def _drop_bad_rows(path: str, lines: list[int], widths: list[int], cells: list[str], options: DataArguments) -> int:
    """Return the number of fields in a row, and take the rows that have another one out of the lists.

    Raises:
        UserError: there is such a row without --skip_bad_rows, or too many of them.
    """
    asked = options.no_header and options.column_names
    width, expected = widths[0], "in the header"
    if asked and options.column_names.count(",") + 1 in widths:
        width, expected = options.column_names.count(",") + 1, "in --column_names"
    elif options.no_header:
        expected = "in the first row"
    if not options.no_header and len(widths) > 1 and all(found == width + 1 for found in widths[1:]):
        # R leaves out the name of the row names in front; other programs end each row, but not the header, with a delimiter.
        row_names, ends = cells[width :: width + 1], cells[2 * width :: width + 1]
        if not any(ends) or len(set(row_names)) == len(row_names):
            cells.insert(width if not any(ends) else 0, "")
            return width + 1
    bad = [row for row, found in enumerate(widths) if found != width]
    if not bad:
        return width
    first = f"{path}, line {lines[bad[0]]}: found {widths[bad[0]]} fields, expected {width} as {expected}"
    rows, are, them = len(lines) - (not options.no_header), *(("is", "it") if len(bad) == 1 else ("are", "them"))
    counted, many = f"{len(bad):,} of {rows:,} rows {are} like that", len(bad) > BAD_ROWS * len(lines)
    if many:
        told = "too many for --skip_bad_rows; put" if options.skip_bad_rows else f"correct {them}, or put"
        raise UserError(f"{first}; {counted}: {told} quotation marks around texts that hold the delimiter")
    if not options.skip_bad_rows:
        raise UserError(f"{first}; {counted}: correct {them}, or leave {them} out with --skip_bad_rows")
    logger.info("%s; %s, and %s left out (--skip_bad_rows)", first, counted, are)
    kept, position = [], 0
    for found in widths:
        if found == width:
            kept += cells[position : position + found]
        position += found
    cells[:] = kept
    lines[:] = [line for line, found in zip(lines, widths, strict=True) if found == width]
    return width
