"""What the columns of a table look like: each is described once, and the rules of the other modules read the descriptions."""

import datetime
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from utils.files.cells import UNKNOWN, YES_NO, is_empty, parse_cell, read_list, read_number
from utils.files.rows import arrow_cells, cell_parts, columns, name_key

ID_WORDS = {"id", "ids", "idx", "index", "uuid", "guid", "nr", "no", "number", "key"}
DATE = re.compile(
    r"\d{4}-\d\d?-\d\d?([T ].*)?|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}([ ,].*)?|\d{1,2}:\d\d(:\d\d)?"
    r"|(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? .*\d{4}.*|\d{1,2} [a-z]{3,9} \d{4}.*",
    re.IGNORECASE,
)
URL = re.compile(r"(https?://|www\.)\S+", re.IGNORECASE)
CODE = re.compile(r"[(\[{<].*[)\]}>]", re.DOTALL)  # a written list, a parse tree, markup
FREE_TEXT = 4  # words on average: names have fewer
ENOUGH = 500  # so many different values show what a column is
_described: WeakKeyDictionary = WeakKeyDictionary()  # the columns of a dataset are looked at once


@dataclass(frozen=True, eq=False)
class Profile:
    """What one column looks like.

    Attributes:
        name: as the file writes it; `key` and `words` are what names are compared by.
        kind: "text" (free text), "short" (short texts, most of them different), "name" (short texts that occur again),
            "delimited" (several such names in a cell), "cell" (0/1, true/false, yes/no, or a mark), "share" (from 0 to 1),
            "whole" and "number" (whole and other numbers), "list", "texts" (lists of the parts of a text), "object", "code"
            (written lists, trees or markup), "id", "date", "url", or "empty".
        rows, filled, distinct: how many rows, filled cells and different values there are.
        examples: the first values.
        words_in_cell: the mean number of words.
    """

    name: str
    kind: str
    rows: int
    filled: int
    distinct: int
    examples: list
    words_in_cell: float = 0.0

    @property
    def key(self) -> str:
        return name_key(self.name)

    @property
    def words(self) -> list[str]:
        return words(self.name)

    def __str__(self):
        shown = [json.dumps(value, ensure_ascii=False, default=str) for value in self.examples[:2]]
        return f"{self.name} ({', '.join(text if len(text) <= 40 else f'{text[:38]}…' for text in shown)})"


def words(name: str) -> list[str]:
    """Return the words and numbers in a column's name: "PhraseId" has "phrase" and "id", "sentence_A" "sentence" and "a"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"\d+|[^\W\d_]+", spaced.casefold())


def same_name(names: Iterable[str], available: Iterable[str]) -> str | None:
    """Return the column of `available` that the first possible of `names` means: that very one, or one of the same key."""
    exact, by_key = set(available), {name_key(name): name for name in reversed(list(available))}
    for name in names:
        if name in exact or name_key(name) in by_key:
            return name if name in exact else by_key[name_key(name)]
    return None


def describe_columns(dataset: Dataset) -> list[Profile]:
    """Return a `Profile` of each column of `dataset`, in its order."""
    if dataset not in _described:
        _described[dataset] = [_describe(dataset, name) for name in columns(dataset)]
    return _described[dataset]


def _describe(dataset: Dataset, name: str) -> Profile:
    feature = dataset.features[name]
    if pa.types.is_nested(dataset.data.schema.field(name).type):
        cells = arrow_cells(dataset, name)
        kind = "empty" if cells.null_count == len(cells) else "object" if pa.types.is_struct(cells.type) else "list"
        if kind == "list" and pa.types.is_string(cells.type.value_type) and _are_parts(cells[:ENOUGH].to_pylist()):
            kind = "texts"
        return Profile(name, kind, len(cells), len(cells) - cells.null_count, len(cells), cells[:2].to_pylist())
    some, filled, distinct = _values(dataset, name)
    texts = all(isinstance(value, str) for value in some)
    if isinstance(feature, ClassLabel):
        some = [feature.int2str(value) for value in some if value >= 0]
    found = {"rows": len(dataset), "filled": filled, "distinct": distinct, "examples": some[:2]}
    if not some or isinstance(feature, ClassLabel):
        return Profile(name, "name" if some else "empty", **found)
    if not texts:
        return Profile(name, _kind_of_values(name, some, found), **found)
    length = float(np.mean([len(value.split()) for value in some]))
    return Profile(name, _kind_of_texts(name, some, length, found), **found, words_in_cell=length)


def _are_parts(lists: list[list[str | None] | None]) -> bool:
    """Return whether lists hold the parts of a text, as its paragraphs: some words each, of which each row has its own number.

    Candidates are equally many in each row, and the names of labels occur again.
    """
    parts = [part for cell in lists for part in cell or () if part]
    numbers = {len(cell) for cell in lists if cell}
    return len(numbers) > 1 and 2 * len({*parts}) > len(parts) and np.mean([len(p.split()) for p in parts]) >= FREE_TEXT


def _values(dataset: Dataset, name: str) -> tuple[list, int, int]:
    """Return the first `ENOUGH` different values of a column, how many cells are filled, and how many different values there are.

    These are counted by their hashes: a set of all of them would take more memory than the rest of a run.
    """
    some: dict[Any, None] = {}
    hashes, filled = [np.empty(0, np.int64)], 0
    for cells in cell_parts(dataset, name):
        values = [value for value in cells.filter(pc.invert(pc.is_null(cells, nan_is_null=True))).to_pylist() if value != ""]
        if len(some) < ENOUGH:
            some |= dict.fromkeys(values)
        filled += len(values)
        hashes.append(np.unique(np.fromiter(map(hash, map(str, values)), np.int64, len(values))))  # -1 and -2 have one hash
    return list(some)[:ENOUGH], filled, len(np.unique(np.concatenate(hashes)))


def _kind_of_texts(name: str, some: list[str], length: float, found: dict[str, Any]) -> str:
    """Return the kind of a column of texts by `some` of its different values, of `length` words on average."""
    for kind, pattern in (("url", URL), ("date", DATE)):
        if all(pattern.fullmatch(value.strip()) for value in some):
            return kind
    if all(CODE.fullmatch(value.strip()) for value in some):
        return "list" if all(map(is_written_list, some)) else "code"
    if all(is_number(value) or is_yes_no(value) for value in some):
        return _kind_of_values(name, some, found)
    if _is_id(name, found) and not any(" " in value for value in some):
        return "id"
    unspaced = length < FREE_TEXT and np.mean([len(value) for value in some]) >= 20  # Chinese, Japanese or Thai
    again = found["distinct"] * 3 <= found["filled"] and length < 2 * FREE_TEXT  # such as names of classes in five words
    if (length >= FREE_TEXT or (unspaced and not all(value.isascii() for value in some))) and not again:
        return "delimited" if _is_delimited(some) else "text"
    return "delimited" if _is_delimited(some) else "name" if 2 * found["distinct"] <= found["filled"] else "short"


def _kind_of_values(name: str, values: list, found: dict[str, Any]) -> str:
    """Return the kind of a column of numbers, or of texts that are numbers, marks, or answers to yes or no."""
    if isinstance(values[0], (datetime.date, datetime.time)):
        return "date"
    if isinstance(values[0], (bytes, datetime.timedelta)):
        return "code"
    if is_cell_vocabulary(values):
        return "cell"
    numbers = [read_number(value) for value in values]
    if None in numbers:
        return "number" if all(is_number(value) for value in values) else "name"
    if all(0 <= number <= 1 or number == -1 for number in numbers):
        return "share"
    if all(number.is_integer() for number in numbers):
        return "id" if _is_id(name, found) else "whole"
    return "number"


def _is_id(name: str, found: dict[str, Any]) -> bool:
    """Return whether a column identifies its rows: it is filled, never the same twice, and named so (or not named at all)."""
    named = set(words(name)) & ID_WORDS or name_key(name) in ("", "unnamed0") or name_key(name).endswith("id")
    return bool(named) and found["distinct"] == found["rows"]


def is_number(value: Any) -> bool:
    """Return whether a value is a number, or a text that is one, also with a percent sign."""
    return read_number(value.rstrip(" %") if isinstance(value, str) else value) is not None


def is_yes_no(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and not is_number(value) and parse_cell(value) is not None)


def is_cell_vocabulary(values: Iterable[Any]) -> bool:
    """Return whether the values of a column are answers to one yes/no question, written in one way."""
    found = {str(value).strip().lower() for value in values if not is_empty(value)}
    numbers = {parse_cell(text) for text in found} if all(map(is_number, found)) else {None}
    in_words = bool(found) and any(found <= set(pair) for pair in YES_NO)
    return in_words or (numbers <= {0.0, 1.0, UNKNOWN} and bool(numbers - {UNKNOWN}))


def is_written_list(value: str) -> bool:
    try:
        return isinstance(read_list(value), list)
    except (ValueError, SyntaxError):
        return False


def _is_delimited(values: list[str]) -> bool:
    """Return whether cells hold several names each, joined by a mark: the parts occur again and again."""
    for mark in ";|,":
        parts = [part.strip() for value in values for part in value.split(mark)]
        several = sum(mark in value for value in values)
        if 3 * several >= len(values) and 2 * len(set(parts)) <= len(parts) and np.mean([len(p.split()) for p in parts]) <= 3:
            return True
    return False
