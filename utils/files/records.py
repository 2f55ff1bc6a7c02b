"""Rows in JSON, whatever stands around them."""

import json
from typing import Any

from datasets import Dataset

from utils.arguments import UserError
from utils.files.rows import rows_to_dataset

TOO_DEEP = "lists or objects are nested too deeply"


def read_json(path: str, text: str) -> Dataset:
    """Read a list of objects, an object that holds such a list under "data", or JSON lines named .json."""
    try:
        content = json.loads(text, object_pairs_hook=_as_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return read_json_lines(path, text)
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


def read_json_lines(path: str, text: str) -> Dataset:
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
