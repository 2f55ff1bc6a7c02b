"""Rows in JSON, whatever stands around them."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from datasets import Dataset

from utils.arguments import DataArguments, UserError, shorten
from utils.files.exports import is_export, read_export
from utils.files.rows import ROWS_AT_ONCE, NotPlain, rows_to_dataset, rows_to_table, to_dataset

TOO_DEEP = "lists or objects are nested too deeply"
# What the splits of a dataset may be called.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "validation_matched", "valid", "val", "dev"),
    "test": ("test", "testing", "test_matched"),
}
SPLITS = {name for names in SPLIT_NAMES.values() for name in names}


def read_json(path: str, text: str, part: str | None, options: DataArguments) -> Dataset | dict[str, Dataset]:
    """Read rows from JSON, or from JSON lines named .json; from a file that holds splits, all of them by name.

    `part` names the key that holds the rows, as `path` does at its end. Without it they are found: see `_find_rows`.

    Raises:
        UserError: the JSON is not valid, holds no rows, or several lists of them.
    """
    try:
        content = json.loads(text, object_pairs_hook=_as_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return read_json_lines(path, text, options)
        raise UserError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    except RecursionError:
        raise UserError(f"{path}: {TOO_DEEP}; expected a list of objects") from None
    if part is not None:
        if not isinstance(content, dict) or part not in content:
            raise UserError(f"{path}: there is no such key" + (f"; its keys: {shorten(list(content))}" if content else ""))
        return _to_dataset(path, content[part], options)
    splits = _find_splits(content)
    if splits:
        return {name: _to_dataset(f"{path}:{name}", rows, options) for name, rows in splits.items()}
    return _to_dataset(path, content, options)


def _to_dataset(path: str, content: Any, options: DataArguments) -> Dataset:
    rows = _find_rows(path, content)
    return _rows_to_dataset(path, rows, [f"{path}, row {row}" for row in range(1, len(rows) + 1)], options)


def read_json_lines(path: str, text: str, options: DataArguments) -> Dataset:
    """Read an object from each line that is not blank. Raises a `UserError` that names the line of what is none.

    A part at a time becomes a table, as Python's objects take several times its memory. What is more than plain rows is read
    whole: an export, lists, columns of several types.
    """
    with contextlib.suppress(NotPlain, pa.ArrowInvalid, pa.ArrowTypeError):  # the latter if parts differ in type
        return to_dataset(pa.concat_tables(tables_of_json_lines(path, _lines(text)), promote_options="permissive"))
    return _rows_to_dataset(path, *next(_parse_lines(path, _lines(text), len(text))), options)


def tables_of_json_lines(path: str, lines: Iterable[str]) -> Iterator[pa.Table]:
    """Yield a table of so many lines as are read at once, and then of the next. Raises `NotPlain` if it takes more than that."""
    for rows, places in _parse_lines(path, lines, ROWS_AT_ONCE):
        table = None if is_export(rows) else rows_to_table(rows, places)
        if table is None:
            where = places[0].rsplit(", ", 1)[1]
            raise NotPlain(f"from {where} on there is an export, a list, or a column of several types")
        yield table


def _parse_lines(path: str, lines: Iterable[str], at_once: int) -> Iterator[tuple[list, list[str]]]:
    """Yield the rows and the places of `at_once` lines after the other."""
    rows, places = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            places.append(f"{path}, line {number}")
            try:
                rows.append(json.loads(line, object_pairs_hook=_as_object))
            except (ValueError, RecursionError) as error:
                problem = TOO_DEEP if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
                problem = problem.removesuffix(" starting at")  # Python goes on with a position
                raise UserError(f"{places[-1]}: not valid JSON: {problem}") from error
        if len(rows) == at_once:
            yield rows, places
            rows, places = [], []
    if rows:
        yield rows, places


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text, which a list would hold a second time."""
    start = 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _rows_to_dataset(path: str, rows: list, places: list[str], options: DataArguments) -> Dataset:
    rows, places = read_export(path, rows, places)
    if len(rows) > 1 and all(isinstance(row, list) for row in rows):
        rows = _name_values(path, rows, places, options)
    return rows_to_dataset(rows, places)


def _name_values(path: str, rows: list[list], places: list[str], options: DataArguments) -> list[dict]:
    """Return lists of values as rows with the names of --column_names."""
    if not options.column_names:
        raise UserError(
            f"{path}: found lists of values such as {json.dumps(rows[0])[:80]}, expected objects: name the values with "
            f"--no_header --column_names, such as {','.join(f'column{n}' for n in range(1, len(rows[0]) + 1))}"
        )
    names = [name.strip() for name in options.column_names.split(",")]
    for row, place in zip(rows, places, strict=True):
        if len(row) != len(names):
            raise UserError(f"{place}: found {len(row)} values, expected {len(names)} as in --column_names")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_lists(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) for row in value)


def _is_columns(value: Any) -> bool:
    """Return whether an object holds columns, {"text": ["a", "b"], "label": [0, 1]}."""
    return isinstance(value, dict) and len(value) > 1 and all(isinstance(v, list) and not _is_rows(v) for v in value.values())


def _find_splits(content: Any) -> dict[str, Any]:
    """Return the rows of each split by name if all the rows in `content` are under the names of splits."""
    if not isinstance(content, dict):
        return {}
    holding = {name: value for name, value in content.items() if _is_rows(value) or _is_columns(value) or _is_lists(value)}
    return holding if len(holding) > 1 and holding.keys() <= SPLITS else {}


def _find_rows(path: str, content: Any) -> list:
    """Return the rows in JSON: a list of objects, alone or under any one key, or a table as pandas writes it.

    Of pandas' forms (https://pandas.pydata.org/docs/reference/api/pandas.DataFrame.to_json.html) all are read but a table whose
    rows and columns cannot be told apart. An object of anything else is one row.
    """
    if isinstance(content, list):
        return content
    if isinstance(content, dict):
        if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list) and content.keys() <= SPLIT_FORM:
            return _from_columns(path, content["columns"], [list(values) for values in zip(*content["data"], strict=True)])
        holding = [name for name, value in content.items() if _is_rows(value)]
        if _is_columns(content):
            if not all(map(_is_lists, content.values())) or len(set(map(len, content.values()))) == 1:
                return _from_columns(path, list(content), list(content.values()))
            holding = list(content)  # rows whose values are lists, and not columns of lists: each key has its own number of them
        if len(holding) > 1:
            raise UserError(f"{path} has rows under the keys {shorten(holding)}: name one, such as {path}:{holding[0]}")
        if holding:
            return content[holding[0]]
        if content and all(isinstance(value, dict) and value for value in content.values()):
            return _from_objects(path, content)
        if "data" not in content:
            return [content]
        content = content["data"]
    if isinstance(content, list):
        return content
    raise UserError(
        f'{path}: found {type(content).__name__} where the rows should be; expected a list of objects: [{{"text": …}}, …]'
    )


SPLIT_FORM = {"columns", "index", "data"}  # of pandas' orient="split"


def _from_columns(path: str, names: list[str], columns: list[list]) -> list[dict]:
    lengths = {name: len(values) for name, values in zip(names, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        found = shorten([f"{name!r} {length}" for name, length in lengths.items()])
        raise UserError(f"{path}: the columns have different lengths ({found}); expected a value for each row in each of them")
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _from_objects(path: str, content: dict[str, dict]) -> list[dict]:
    """Return the rows in an object of columns, {"text": {"0": "a"}}, or of rows, {"0": {"text": "a"}}."""
    inner = list(dict.fromkeys(name for value in content.values() for name in value))
    outer_counts, inner_counts = all(map(str.isdecimal, content)), all(map(str.isdecimal, inner))
    if inner_counts and not outer_counts:
        return [{name: values.get(index) for name, values in content.items()} for index in inner]
    if outer_counts and not inner_counts:
        return list(content.values())
    if not outer_counts and len(content) > len(inner):
        return [{"id": name, **row} for name, row in content.items()]
    raise UserError(f"{path}: rows and columns cannot be told apart; write a list of objects: in pandas orient='records'")


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    found = dict(pairs)
    if len(found) < len(names):
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice in an object")
    return found
