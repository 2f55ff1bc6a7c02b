"""Read single cells: numbers, lists, 0 and 1, and what stands for nothing."""

import ast
import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from datasets import ClassLabel

LISTS = ("[", "(", "{", "<", "array(")  # how a written list begins
CODE = re.compile(r"0\d")  # how a number does not begin: 007 and 0901.21 are names
UNKNOWN = -100.0  # an unknown label, PyTorch's usual value: it counts neither in the loss nor in the metrics
PLACEHOLDERS = {"none", "-", "?", "k.a.", "n.a.", "s.d."}  # a label of few rows that is written so may be none
MISSING = {"na", "nan", "null", "n/a", "#n/a", "<na>", "\\n"}  # of any number of rows


# How yes and no are written, or a mark for yes alone.
YES_NO = (
    ("true", "false"),
    ("yes", "no"),
    ("y", "n"),
    ("ja", "nein"),
    ("oui", "non"),
    ("sí", "no"),
    ("si", "no"),
    ("sim", "não"),
)
YES_NO += (("x",), ("✓",), ("✔",))
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def parse_cell(value: Any) -> float | None:
    """Return a 0/1 cell as 0, 1, a fraction between them, or `UNKNOWN` (for -1, empty, NaN). Return None for anything else."""
    text = str(value).strip().lower()
    if value is None or text == "":
        return UNKNOWN
    pair = next((pair for pair in YES_NO if text in pair), None)
    if pair:
        return float(text == pair[0])
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if math.isnan(number):
        return None if isinstance(value, str) else UNKNOWN  # the text "nan" is no empty cell
    if number == -1:
        return UNKNOWN
    return number if 0 <= number <= 1 else None


def class_names(feature: Any) -> list[str] | None:
    """Return the names of the ids in a column if the dataset knows them: a `ClassLabel`, or a list of them."""
    return next((f.names for f in (feature, getattr(feature, "feature", None)) if isinstance(f, ClassLabel)), None)


def as_list(value: Any, delimiter: str | None) -> list | None:
    """Return the items in a cell, or None if the labels of the row are unknown (missing, or -1).

    Raises:
        ValueError: a text in brackets is no list.
    """
    if value is None or value == -1 or value == "-1":
        return None
    if isinstance(value, str):
        if not delimiter and value.strip().startswith(LISTS):
            return _names_in(read_list(value))
        items = value.split(delimiter) if delimiter else [value]
        return [item.strip() for item in items if item.strip()]
    return _names_in(value) if isinstance(value, (list, tuple)) else [value]


def _names_in(items: Iterable) -> list:
    """Return the names of objects that have no more than an id beside, as TMDB's genres, [{"id": 18, "name": "Drama"}]."""
    return [item["name"] if isinstance(item, dict) and {"name"} <= item.keys() <= {"id", "name"} else item for item in items]


@lru_cache(maxsize=10_000)  # many rows have the same labels
def read_list(text: str) -> list:
    """Return the list that a cell holds: in JSON; as Python, NumPy or PostgreSQL print one; Label Studio's `choices`; <a><b>.

    Raises:
        ValueError: it holds anything else; also texts that follow each other with no comma, but only here and there.
    """
    text = re.sub(r"^array\((.*?)(, dtype=\w+)?\)$", r"\1", text.strip(), flags=re.DOTALL)
    gaps = QUOTED.split(text)
    if any(not gap.strip() for gap in gaps[1:-1]):  # ['a' 'b']: Python would read it as one text, ab
        if any(gap.strip() for gap in gaps[1:-1]):
            raise ValueError("a comma is missing")
        text = "[" + ", ".join(QUOTED.findall(text)) + "]"
    elif re.fullmatch(r"\[\s*[-\d.e+]+(\s+[-\d.e+]+)+\s*\]", text):  # [0 1 0]
        text = "[" + ", ".join(text.strip("[] \n").split()) + "]"
    if re.fullmatch(r"(<[^<>]+>)+", text):  # as StackOverflow's tags
        return re.findall(r"<([^<>]+)>", text)
    if re.fullmatch(r"\[\s*[^\W\d][^\[\]{}'\"]*\]|\{\s*[^\W\d][^\[\]{}:'\"]*\}", text):  # [a, b] or {a,b} without quotation marks
        return [item.strip() for item in text[1:-1].split(",")]
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = ast.literal_eval(text)
        except (SyntaxError, MemoryError, RecursionError, TypeError) as error:
            raise ValueError(f"not a list: {error}") from error
    if isinstance(found, dict) and list(found) == ["choices"]:
        found = found["choices"]
    if not isinstance(found, (list, tuple, set)):
        raise ValueError("not a list")
    return sorted(found, key=str) if isinstance(found, set) else list(found)


def natural_order(names: set[str]) -> list[str]:
    """Return names in sorted order, but numbers by their size: "-1" before "0", and "2" before "10"."""
    if all(read_number(name) is not None for name in names):
        return sorted(names, key=lambda name: (float(name), name))

    def key(name: str) -> list:
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]

    return sorted(names, key=key)


def read_number(value: Any) -> float | None:
    """Return a finite number, or a text that is one, as a float. Return None for anything else, including booleans."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_row(value: Any) -> list[float] | None:
    """Return a list of numbers, or a text such as "[0, 1]", as a list of floats. Return None for anything else."""
    if not isinstance(value, list) and not (isinstance(value, str) and value.strip().startswith("[")):
        return None
    try:
        cells = [read_number(cell) for cell in as_list(value, None)]
    except (ValueError, SyntaxError):
        return None
    return cells if cells and None not in cells else None


def is_empty(value: Any) -> bool:
    """Return whether a cell holds nothing: no value, no text, or NaN."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def is_nothing(value: Any) -> bool:
    """Return whether a text is what tools write for nothing, such as NA. Na is sodium."""
    text = str(value).strip()
    return text != "Na" and text.casefold() in MISSING


def may_be_nothing(value: Any) -> bool:
    """Return whether a text may stand for nothing, as a dash may."""
    return is_nothing(value) or str(value).strip().casefold() in PLACEHOLDERS


def is_missing(value: Any) -> bool:
    """Return whether a label is unknown: empty or -1."""
    return is_empty(value) or read_number(value) == -1


def is_marked(value: Any, marks: str | None) -> bool:
    """Return whether a cell holds one of the `marks` of --unknown_label, which commas join; None is no mark."""
    return marks is not None and class_name(value).strip() in marks.split(",")


def class_name(value: Any) -> str:
    """Return the name of a class as written, except that 1.0 becomes "1"."""
    number = read_number(value)
    whole = number is not None and "." in str(value) and number.is_integer() and not CODE.match(str(value))
    return str(int(number)) if whole else str(value)
