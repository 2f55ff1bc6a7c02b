"""The rows of multiple choice: where context, question, candidates and answer stand, and how the answer is written."""

import logging
import math
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from utils.arguments import UserError
from utils.classes import class_name, is_missing
from utils.files import PLACE, columns
from utils.labels import UNKNOWN, as_list

logger = logging.getLogger(__name__)

LETTERS = list(string.ascii_uppercase)
# How an answer may be written, and the position that it stands for: (its text, the row's candidates and their keys).
ANSWERS: dict[str, tuple[str, Callable[[str, list[str], list[str]], int]]] = {
    "key": ("the key of a candidate", lambda text, candidates, keys: keys.index(text)),
    "text": ("the text of a candidate", lambda text, candidates, keys: candidates.index(text)),
    "index": ("a position from 0", lambda text, candidates, keys: int(text)),
    "number": ("a position from 1", lambda text, candidates, keys: int(text) - 1),
    "letter": ("a letter from A", lambda text, candidates, keys: LETTERS.index(text.strip("().").upper())),
}


@dataclass(frozen=True)
class ChoiceFormat:
    """Where the parts of a row stand; those of nested data are named `question_stem`.

    choices is one column of lists or several of texts; answer_kind is one of `ANSWERS`, None where no answer is known.
    With `descriptions` the candidates are these sentences, one for each label of the column `answer`.
    """

    context: str
    question: str | None
    choices: list[str]
    answer: str | None
    answer_kind: str | None = None
    descriptions: dict[str, str] | None = None

    def candidates(self, dataset: Dataset) -> tuple[list[list[str]], list[list[str]]]:
        """Return the candidates of each row, and their keys (A, B…) where the data has such, else empty lists.

        Raises:
            UserError: a row without at least two candidates, or with an empty one; names file, row and column.
        """
        if self.descriptions:
            return [list(self.descriptions.values())] * len(dataset), [list(self.descriptions)] * len(dataset)
        texts, keys = [], []
        beside = re.sub("_text$", "_label", self.choices[0])  # of {text, label}
        key_cells = dataset[beside] if beside != self.choices[0] and beside in columns(dataset) else [[]] * len(dataset)
        for row, (cells, own_keys) in enumerate(zip(self._cells(dataset), key_cells, strict=True)):
            while cells and (_is_absent(cells[-1]) if len(self.choices) > 1 else cells[-1] is None):  # fewer than others have
                cells = cells[:-1]
            if cells and all(isinstance(cell, dict) and "text" in cell for cell in cells):
                own_keys = [str(cell["label"]) for cell in cells if "label" in cell]
                cells = [cell["text"] for cell in cells]
            for position, cell in enumerate(cells):
                if _is_absent(cell) or (isinstance(cell, str) and not cell.strip()):
                    column = self.choices[position] if len(self.choices) > 1 else self.choices[0]
                    raise UserError(
                        f"{dataset[row][PLACE]}, column {column!r}: candidate {position + 1} is empty; fill or drop it"
                    )
                if isinstance(cell, (list, dict)):
                    raise UserError(
                        f"{dataset[row][PLACE]}, column {self.choices[0]!r}: found {str(cell)[:60]} as candidate, expected a text"
                    )
            if len(cells) < 2:
                raise UserError(
                    f"{dataset[row][PLACE]}, column {', '.join(self.choices)}: found {len(cells)} candidate"
                    f"{f' ({cells[0]!r})' if cells else 's'}, expected at least two to choose from"
                )
            texts.append([str(cell) for cell in cells])
            keys.append([str(key) for key in own_keys or []])
        return texts, keys

    def _cells(self, dataset: Dataset) -> list[list]:
        if len(self.choices) > 1:
            return [list(cells) for cells in zip(*(dataset[name] for name in self.choices), strict=True)]
        result = []
        for row, value in enumerate(dataset[self.choices[0]]):
            try:
                items = as_list(value, None) if isinstance(value, str) and value.strip().startswith(("[", "(")) else value
            except (ValueError, SyntaxError):
                items = value
            if not isinstance(items, list):
                raise UserError(
                    f"{dataset[row][PLACE]}, column {self.choices[0]!r}: found {str(value)[:60]!r}, expected a list of "
                    f"candidates such as ['a', 'b']; for one column a candidate join their names: --choice_column_names a,b,c"
                )
            result.append(items)
        return result

    def labelled(self, dataset: Dataset) -> bool:
        """Whether `dataset` has the column of answers, and an answer in it."""
        return self.answer in columns(dataset) and not all(is_missing(value) for value in dataset[self.answer])

    def targets(self, dataset: Dataset, allow_equal: bool) -> np.ndarray:
        """Return the position [rows] of each row's right candidate, `UNKNOWN` where the answer is missing or -1.

        Raises:
            UserError: an answer that fits no candidate, or (unless `allow_equal`, which makes it `UNKNOWN`) two equal ones.
        """
        candidates, keys = self.candidates(dataset)
        result = np.full(len(dataset), int(UNKNOWN), np.int64)
        for row, value in enumerate(dataset[self.answer]):
            position = read_answer(value, candidates[row], keys[row], self.answer_kind)
            if position is None:
                continue
            where = f"{dataset[row][PLACE]}, column {self.answer!r}"
            if math.isnan(position):
                raise UserError(f"{where}: found {value!r}, expected {self._expected(candidates[row], keys[row])}")
            equal = [i for i, text in enumerate(candidates[row]) if text.strip() == candidates[row][position].strip()]
            if len(equal) == 1:
                result[row] = position
            elif not allow_equal:
                raise UserError(
                    f"{where}: the right candidate {candidates[row][position]!r} stands in the row {len(equal)} times "
                    f"(candidates {' and '.join(str(i + 1) for i in equal)}); correct the row, or set such rows aside with "
                    f"--allow_equal_candidates"
                )
        return result

    def _expected(self, candidates: list[str], keys: list[str]) -> str:
        count = len(candidates)
        if self.descriptions:
            return f"one of the labels that --label_descriptions describes: {', '.join(keys)}"
        allowed = {
            "key": f"one of the keys {', '.join(keys) or '(none in this row)'}",
            "text": f"the text of one of the {count} candidates: {'; '.join(text[:40] for text in candidates)}",
            "index": f"a position from 0 to {count - 1}",
            "number": f"a position from 1 to {count}",
            "letter": f"a letter from A to {LETTERS[min(count, 26) - 1]}",
        }
        return f"{allowed[self.answer_kind]}, as the row has {count} candidates"

    def __str__(self):
        if self.descriptions:
            return (
                f"each of the {len(self.descriptions)} labels of column {self.answer!r} is told in a sentence "
                f"(--label_descriptions): multiple choice among these sentences"
            )
        parts = [f"context: {self.context}"]
        if self.question:
            parts.append(f"question: {self.question}, read before each candidate")
        parts.append(f"candidates: {', '.join(self.choices)}")
        if self.answer_kind:
            parts.append(f"answer: {self.answer}, {ANSWERS[self.answer_kind][0]}")
        return "; ".join(parts)


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def read_answer(value: Any, candidates: list[str], keys: list[str], kind: str) -> int | float | None:
    """Return the position of the right candidate, NaN if `value` fits none, None if it is missing (nothing, or -1)."""
    text = class_name(value).strip()
    if is_missing(value) and text not in candidates:
        return None
    try:
        position = ANSWERS[kind][1](text, [candidate.strip() for candidate in candidates], keys)
    except ValueError:
        return math.nan
    return position if 0 <= position < len(candidates) else math.nan


def answer_kind(values: list, candidates: list[list[str]], keys: list[list[str]], usual: str | None = None) -> str:
    """Return how the answers are written: the way in which most of `values` [rows] can be read, `usual` if that is among them.

    A position from 0 goes before one from 1: that takes a file in which 0 never occurs and the number of candidates does.
    """
    written = any(isinstance(value, str) for value in values)  # a number is a position, never the text of a candidate
    kinds = [kind for kind in ANSWERS if (kind != "text" or written) and (kind != "key" or any(keys))]
    kinds.sort(key=lambda kind: kind != usual)

    def unreadable(kind: str) -> int:
        positions = (read_answer(*row, kind) for row in zip(values, candidates, keys, strict=True))
        return sum(position is not None and math.isnan(position) for position in positions)

    return min(kinds, key=unreadable)
