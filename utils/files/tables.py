"""Tables without types: what their columns are called, and how workbooks are read."""

import datetime
import io
import logging
import re
import shlex
import string
from itertools import islice
from typing import Any

from datasets import Dataset

from utils.arguments import DataArguments, UserError, shorten
from utils.files.cells import may_be_nothing, read_number
from utils.files.rows import name_key, rows_to_dataset

logger = logging.getLogger(__name__)

LETTERS = list(string.ascii_uppercase)
SURE_NAMES = 3  # names that show that a row is a header, although another one occurs below
LEADING = 20  # rows that may stand above the header
SAMPLE = 1000  # rows that show what a column without a name holds
WITH_COMMA = re.compile(r"\s*([+−-]?\d+)(?:,(\d+))?\s*", re.ASCII)  # a number, perhaps with a decimal comma
SHARE = re.compile(r"\s*(0(,\d+)?|1(,0+)?)?\s*", re.ASCII)
LIST_OF_IDS = re.compile(r"\s*\d+(,\s*\d+){2,}\s*", re.ASCII)
THOUSANDS = re.compile(r"[1-9]\d{0,2}\.\d{3}")  # 1.250, which may be 1250
USUAL_NAMES = {"id", "text", "sentence", "label", "labels", "class", "category"}


def name_columns(path: str, line: int, columns: list[list[str]], options: DataArguments) -> tuple[list[str], bool]:
    """Return a name for each of the `columns` [columns, rows], and whether their first cells are these names.

    Raises:
        UserError: the header looks like a row of values, a name occurs twice, or --column_names do not fit.
    """
    first = [cells[0] for cells in columns]
    if options.no_header:
        return _name_as_asked(path, line, columns, options)
    for name, cells in zip(first, columns, strict=True):
        if _is_value(name, cells, first) and (read_number(name) is not None or sum(map(_is_surely_name, columns)) < SURE_NAMES):
            raise UserError(
                f"{path}, line {line}: {name!r} looks like a value, not like the name of a column, because rows below hold "
                f"similar values: add {_name_options(columns)}, or rename that column if this is a header"
            )
    names = [name.strip() for name in first]
    for name in names:
        if name and names.count(name) > 1:
            raise UserError(f"{path}, line {line}: the column name {name!r} occurs {names.count(name)} times: rename one of them")
    for position, name in enumerate(names):
        if not name:
            names[position] = next(new for new in (f"column{n}" for n in range(position + 1, 10**6)) if new not in names)
            logger.info("%s: column %d has no name: it is called %s", path, position + 1, names[position])
    return names, True


def rows_to_skip(path: str, columns: list[list[str]], options: DataArguments) -> set[int]:
    """Return which rows of the `columns` [columns, rows] are neither the header nor data, and say so."""
    if options.no_header or len(columns) < 2:
        return set()
    above = _count_above(columns)
    if above:
        logger.info("%s: %d line%s above the header %s skipped", path, above, "s"[: above > 1], "are" if above > 1 else "is")
    skipped = set(range(above)) | _find_questions(path, columns, above)
    repeated = _find_repeated(columns, above)
    if repeated:
        told = "row that repeats the header is" if len(repeated) == 1 else "rows that repeat the header are"
        logger.info("%s: %d %s left out", path, len(repeated), told)
    return skipped | repeated


def _count_above(columns: list[list[str]]) -> int:
    """Return how many rows stand above the header: empty ones, and titles such as "Exported on 12/03/2024".

    A title is alone in its row, in front, and a row of names follows: they fill all columns but one, and do not occur below.
    """
    rows = len(columns[0])
    above = blank = 0
    while above < rows - 1 and above < LEADING:
        filled = [position for position, cells in enumerate(columns) if cells[above].strip()]
        if len(filled) > 1:
            break
        blank += not filled and blank == above
        above += 1
    if above == blank:
        return blank
    used = [position for position, cells in enumerate(columns) if any(map(str.strip, cells[above:]))]
    in_front = all(not columns[position][row].strip() for position in used[1:] for row in range(above))
    names = [columns[position][above].strip() for position in used]
    named = [(name, columns[position]) for name, position in zip(names, used, strict=True) if name]
    is_header = len(set(names)) == len(names) > 2 and len(named) >= len(names) - 1
    is_header = is_header and not any(name in cells[above + 1 :] for name, cells in named)
    return above if in_front and is_header else blank


def _find_questions(path: str, columns: list[list[str]], header: int) -> set[int]:
    """Return the rows below the `header` in which Qualtrics writes what it has asked, and the ids of the questions."""
    for row in range(header + 1, min(header + 3, len(columns[0]))):
        if all(re.match(r'\{\s*"ImportId"', cells[row]) for cells in columns if cells[row]) and any(c[row] for c in columns):
            logger.info("%s: export of Qualtrics; the rows of questions and ids below the header are left out", path)
            return set(range(header + 1, row + 1))
    return set()


def _find_repeated(columns: list[list[str]], header: int) -> set[int]:
    """Return the rows that repeat the `header`, as where files were joined line by line.

    A row of values may be repeated, too, but then some of its values stand in other rows as well.
    """
    names = [cells[header] for cells in columns]
    filled = [position for position, name in enumerate(names) if name]
    if len(filled) < 2 or any(read_number(names[position]) is not None or _is_long(names[position]) for position in filled):
        return set()
    name, cells = names[filled[0]], columns[filled[0]]
    if name not in cells[header + 1 :]:  # much faster than to compare the rows
        return set()
    below = (row for row, cell in enumerate(cells) if cell == name and row > header)
    repeated = {row for row in below if all(cells[row] == name for name, cells in zip(names, columns, strict=True))}
    only_there = all(columns[position].count(names[position]) == len(repeated) + 1 for position in filled)
    return repeated if only_there else set()


def without_rows(cells: list, skipped: set[int]) -> list:
    return [cell for row, cell in enumerate(cells) if row not in skipped] if skipped else cells


def _name_as_asked(path: str, line: int, columns: list[list[str]], options: DataArguments) -> tuple[list[str], bool]:
    first = [cells[0] for cells in columns]
    if not options.column_names:
        raise UserError(f"{path}: --no_header needs names for {len(columns)} columns: add {_name_options(columns)}")
    names = [name.strip() for name in options.column_names.split(",")]
    known = {name_key(name): name for name in names}
    if len(set(first)) == len(first) and all(name_key(cell) in known for cell in first):
        logger.info("%s: line %d holds names of --column_names, so it is a header", path, line)
        return [known[name_key(cell)] for cell in first], True
    usual = [cells[0] for cells in columns if cells[0].lower() in USUAL_NAMES and cells.count(cells[0]) == 1]
    if len(usual) > 1:
        found = f"{' and '.join(usual)} look like the names of columns"
        raise UserError(f"{path}, line {line}: {found}: leave out --no_header and --column_names")
    if len(names) != len(columns):
        raise UserError(
            f"{path}, line {line}: found {len(columns)} fields, expected {len(names)} as in --column_names "
            f"{options.column_names}: name all of them, or if other files have these columns, add a first line with names here, "
            f"such as {','.join(suggest_names(columns))}"
        )
    return names, False


def _is_value(name: str, cells: list[str], header: list[str]) -> bool:
    """Return whether a name in a header, the first of `cells`, looks like those below it.

    A number looks like a value if all cells below it are numbers, and a text if it occurs below itself at least twice.
    Consecutive numbers are names: pandas writes such headers, and label ids look like this.
    """
    numbers = [int(other) for other in header if other.isdecimal()]
    consecutive = len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if read_number(name) is not None and not consecutive:
        filled = [cell for cell in cells if cell]
        return len(filled) > 1 and all(read_number(cell) is not None for cell in filled)
    return bool(name) and cells.count(name) > 2


def _is_surely_name(cells: list[str]) -> bool:
    """Return whether the first of `cells` is a name: it is short, without digits, and unlike what is below it.

    A first value would be like those below it, which have digits, are long, or occur again.
    """
    name, below = cells[0], list(filter(None, islice(cells, 1, SAMPLE)))
    if not name or _is_long(name) or _has_digit(name) or not below or name in cells[1:]:
        return False
    with_digits, long = (sum(map(test, below)) for test in (_has_digit, _is_long))
    return with_digits == len(below) or long > len(below) / 2 or len(set(below)) <= len(below) / 2


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))


def _is_long(cell: str) -> bool:
    return cell.count(" ") > 2


def _name_options(columns: list[list[str]]) -> str:
    """Return the options that name columns without a header, and what the first row holds under these names."""
    names = suggest_names(columns)
    values = (f"{name} is {cells[0][:40]!r}" for name, cells in zip(names, columns, strict=True))
    return f"--no_header --column_names {shlex.quote(','.join(names))} (in the first row {shorten(list(values))})"


def suggest_names(columns: list[list[str]]) -> list[str]:
    """Return a name for each of the `columns` [columns, rows] by its looks: the longest are the text, few values the label.

    Another column of free text is a title, or if its texts are about as long the other of a pair. A last column of letters
    answers a question that has candidates A, B and so on.
    """
    sample = [cells[:SAMPLE] for cells in columns]
    letters = LETTERS[: len(columns) - 2]
    if len(letters) > 1 and 1 < len(set(sample[-1])) and set(sample[-1]) <= set(letters):
        return ["question", *letters, "answer"]
    names = [f"column{number}" for number in range(1, len(columns) + 1)]
    lengths = [sum(map(len, cells)) for cells in sample]
    text = lengths.index(max(lengths))
    names[text] = "text"
    kinds = {n: len(set(cells)) for n, cells in enumerate(sample) if n != text and all(cells)}
    few = [n for n, kind in kinds.items() if 1 < kind <= len(sample[n]) / 2]
    if few:
        names[min(few, key=kinds.get)] = "label"
    various = [n for n, kind in kinds.items() if kind > len(sample[n]) / 2 and names[n] != "label"]
    free = [n for n in various if sum(map(_is_prose, sample[n])) > len(sample[n]) / 2]
    if len(free) == 1 and lengths[free[0]] > lengths[text] / 2:
        for number, column in enumerate(sorted((text, free[0])), start=1):
            names[column] = f"sentence{number}"
    elif free:
        names[free[0]] = "title"
    for column in various:
        if kinds[column] == len(sample[column]) > 1 and not any(" " in cell for cell in sample[column]):
            names[column] = "id"
            break
    return names


def _is_prose(cell: str) -> bool:
    """Return whether a cell holds several words, rather than a name, a number or a date."""
    return " " in cell.strip() and sum(map(str.isalpha, cell)) > len(cell) / 2


def use_decimal_points(path: str, table: dict[str, list[str]], advice: str) -> None:
    """Replace decimal commas, `3,5`, by points in the columns of `table` that hold numbers; say so, with `advice`.

    Several columns of shares such as `0,3`, any of which alone may hold lists of ids, are numbers, too.

    Such a table may have points that separate thousands, which are decimal points here: that is said, too.
    """
    shares = {name for name, cells in table.items() if any("," in cell for cell in cells) and all(map(SHARE.fullmatch, cells))}
    for name, cells in table.items():
        if _has_decimal_commas(cells) or (name in shares and len(shares) > 1):
            shown = next(cell for cell in cells if "," in cell and WITH_COMMA.fullmatch(cell))
            table[name] = [cell.replace(",", ".").replace("−", "-") if WITH_COMMA.fullmatch(cell) else cell for cell in cells]
            logger.info("%s: decimal commas are read as points in %s: %s is a number%s", path, name, shown.strip(), advice)
        elif any(map(THOUSANDS.fullmatch, cells)) and all(
            THOUSANDS.fullmatch(cell) or cell.isdecimal() for cell in cells if cell
        ):
            shown = next(filter(THOUSANDS.fullmatch, cells))
            told = "%s: points are decimal points in %s: %s is %g; if they separate thousands, leave them out"
            logger.warning(told, path, name, shown, float(shown))


def _has_decimal_commas(cells: list[str]) -> bool:
    """Return whether the cells are numbers, some with a comma, and these are no lists of ids in order such as `0,3` and `2,27`.

    Only numbers have three decimals, 0 before another one, a part behind the comma that is not the greater one, or all two
    decimals or none but 0 and 5. One cell in ten may be no number nor list, and any that is a usual mark for nothing.
    """
    behind = set()
    surely = False
    filled = [cell for cell in cells if cell and not may_be_nothing(cell)]
    odd = len(filled) // 10  # so many more cells may be no numbers
    for cell in filled:
        number = WITH_COMMA.fullmatch(cell)
        if not number:
            odd -= 1
            if odd < 0 or LIST_OF_IDS.fullmatch(cell):
                return False
            continue
        before, after = number.groups()
        if after:
            behind.add(after)
            surely = surely or len(after) > 2 or (len(after) == 2 and after[0] == "0") or int(after) <= int(before.strip("+−-"))
    return surely or (bool(behind) and (behind <= {"0", "5"} or {len(after) for after in behind} == {2}))


def read_workbook(path: str, content: bytes, sheet: str | None, options: DataArguments) -> Dataset:
    """Read a sheet of an Excel workbook: the one that is named, or the only one that holds rows.

    Raises:
        UserError: openpyxl is not installed, the file is no workbook, or several sheets hold rows.
    """
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise UserError(f"{path}: reading workbooks needs another package: pip install openpyxl, or save it as .csv") from None
    try:
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = {each.title: list(each.iter_rows(values_only=True)) for each in book.worksheets}
    except Exception as error:  # openpyxl passes on whatever its parsers of zip and XML raise
        raise UserError(f"{path} is not an Excel workbook ({type(error).__name__}): save it as .xlsx or .csv") from error
    filled = {title: rows for title, rows in sheets.items() if any(cell is not None for row in rows for cell in row)}
    if sheet is not None and sheet not in sheets:
        raise UserError(f"{path} has no sheet {sheet!r}; its sheets: {', '.join(sheets)}")
    if not filled:
        raise UserError(f"{path} is empty: expected rows with a text and its labels")
    if sheet is None and len(filled) > 1:
        raise UserError(f"{path} has rows in the sheets {', '.join(filled)}: name one, such as {path}:{next(iter(filled))}")
    sheet = sheet or next(iter(filled))
    if len(sheets) > 1:
        logger.info("%s: sheet %s is read", path, sheet)
        path = f"{path}:{sheet}"
    return _read_sheet(path, sheets[sheet], options)


def _read_sheet(path: str, sheet: list[tuple], options: DataArguments) -> Dataset:
    rows = [(number, row) for number, row in enumerate(sheet, start=1) if any(cell is not None for cell in row)]
    if not rows:
        raise UserError(f"{path} is empty: expected rows with a text and its labels")
    width = max(len(row) for _, row in rows)
    columns = [[row[n] if n < len(row) else None for _, row in rows] for n in range(width)]
    columns = [cells for cells in columns if any(cell is not None for cell in cells)]
    texts = [[_as_text(cell) or "" for cell in cells] for cells in columns]
    skipped = rows_to_skip(path, texts, options)
    rows = without_rows(rows, skipped)
    columns, texts = ([without_rows(cells, skipped) for cells in table] for table in (columns, texts))
    names, is_header = name_columns(path, rows[0][0], texts, options)
    below = [_of_one_type(cells[is_header:]) for cells in columns]
    return rows_to_dataset(
        [dict(zip(names, row, strict=True)) for row in zip(*below, strict=True)],
        [f"{path}, row {number}" for number, _ in rows[is_header:]],
    )


def _of_one_type(cells: list[Any]) -> list[Any]:
    """Return the cells of a column as numbers if all of them are, whole ones where they are, or else as texts."""
    filled = [cell for cell in cells if cell is not None]
    if all(type(cell) is bool for cell in filled):
        return cells
    if all(type(cell) in (int, float) for cell in filled):
        kind = int if all(float(cell).is_integer() for cell in filled) else float
        return [None if cell is None else kind(cell) for cell in cells]
    return list(map(_as_text, cells))


def _as_text(cell: Any) -> str | None:
    """Return a cell as text: 3.0 as "3", a date as 2026-11-25, nothing as None."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    return None if cell is None else str(cell)
