"""The rows of multiple choice: where context, question, candidates and answer stand, and how the answer is written."""

import json
import logging
import math
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from utils.arguments import UserError
from utils.data.classes import class_name, is_missing
from utils.data.files import PLACE, columns
from utils.data.labels import UNKNOWN, as_list

logger = logging.getLogger(__name__)

LETTERS = list(string.ascii_uppercase)
ANSWERS = {
    "key": "the key of a candidate",
    "text": "the text of a candidate",
    "index": "a position from 0",
    "number": "a position from 1",
    "letter": "a letter from A",
}


@dataclass(frozen=True)
class ChoiceFormat:
    """Where the parts of a row stand; those of nested data are named `question_stem`.

    choices is one column of lists or several of texts; answer_kind is one of `ANSWERS`, None where no answer is known.
    With `descriptions`, pairs [label, sentence], the candidates are the sentences, one for each label of the column `answer`.
    """

    context: str
    question: str | None
    choices: list[str]
    answer: str | None
    answer_kind: str | None = None
    descriptions: list[list[str]] | None = None

    def candidates(self, dataset: Dataset) -> tuple[list[list[str]], list[list[str]]]:
        """Return the candidates of each row, and their keys (A, B…) where the data has such, else empty lists.

        Raises:
            UserError: a row without at least two candidates, or with an empty one; names file, row and column.
        """
        if self.descriptions:
            labels, sentences = (list(column) for column in zip(*self.descriptions, strict=True))
            return [sentences] * len(dataset), [labels] * len(dataset)
        texts, keys = [], []
        beside = re.sub("_text$", "_label", self.choices[0])  # of {text, label}
        key_cells = dataset[beside][:] if beside != self.choices[0] and beside in columns(dataset) else [[]] * len(dataset)
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
            keys.append([str(key) for key in own_keys] if isinstance(own_keys, list) and len(own_keys) == len(cells) else [])
        return texts, keys

    def _cells(self, dataset: Dataset) -> list[list]:
        if len(self.choices) > 1:
            present = [dataset[name][:] if name in columns(dataset) else [None] * len(dataset) for name in self.choices]
            return [list(cells) for cells in zip(*present, strict=True)]
        result = []
        for row, value in enumerate(dataset[self.choices[0]][:]):
            items = _list_in(value) if isinstance(value, str) else value
            if not isinstance(items, list):
                raise UserError(
                    f"{dataset[row][PLACE]}, column {self.choices[0]!r}: found {str(value)[:60]!r}, expected a list of "
                    f"candidates such as ['a', 'b']; for one column a candidate join their names: --choice_column_names a,b,c"
                )
            result.append(items)
        return result

    def labelled(self, dataset: Dataset) -> bool:
        """Whether `dataset` has the column of answers, and an answer in it."""
        return self.answer in columns(dataset) and not all(is_missing(value) for value in dataset[self.answer][:])

    def targets(self, dataset: Dataset, allow_equal: bool) -> np.ndarray:
        """Return the position [rows] of each row's right candidate, `UNKNOWN` where the answer is missing or -1.

        Raises:
            UserError: an answer that fits no candidate, or (unless `allow_equal`, which makes it `UNKNOWN`) two equal ones.
        """
        candidates, keys = self.candidates(dataset)
        result = np.full(len(dataset), int(UNKNOWN), np.int64)
        for row, value in enumerate(dataset[self.answer][:]):
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
        return {
            "key": f"one of the keys {', '.join(keys) or '(none in this row)'}",
            "text": f"the text of one of the {count} candidates: {'; '.join(text[:40] for text in candidates)}",
            "index": f"a position from 0 to {count - 1}, as the row has {count} candidates",
            "number": f"a position from 1 to {count}, as the row has {count} candidates",
            "letter": f"a letter from A to {LETTERS[min(count, 26) - 1]}, as the row has {count} candidates",
        }[self.answer_kind]

    def __str__(self):
        if self.descriptions:
            column = f" of column {self.answer!r}" if self.answer else ""
            return (
                f"each of the {len(self.descriptions)} labels{column} is told in a sentence (--label_descriptions): multiple "
                f"choice among these sentences"
            )
        parts = [f"context: {self.context}"]
        if self.question:
            parts.append(f"question: {self.question}, read before each candidate")
        parts.append(f"candidates: {', '.join(self.choices)}")
        if self.answer_kind:
            parts.append(f"answer: {self.answer}, {ANSWERS[self.answer_kind]}")
        return "; ".join(parts)


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _list_in(text: str) -> list | str:
    """Return the list that is written in a cell, as JSON or Python writes it; anything else as it is."""
    if re.search(r"""['"]\s+['"]""", text):  # a NumPy array as pandas prints it: Python would join its texts
        return text
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return as_list(text, None) if text.strip().startswith(("[", "(")) else text
    except (ValueError, SyntaxError):
        return text


def read_answer(value: Any, candidates: list[str], keys: list[str], kind: str) -> int | float | None:
    """Return the position of the right candidate, NaN if `value` fits none, None if it is missing (nothing, or -1)."""
    written, position = str(value).strip(), class_name(value).strip()
    if kind == "key":
        found = _places(_bare(written), map(_bare, keys)) or _places(position, keys)
    elif kind == "text":
        found = _places(written, (text.strip() for text in candidates))[:1]  # of equal ones the first: see `targets`
    elif kind == "letter":
        found = _places(_bare(written), map(str.casefold, LETTERS[: len(candidates)]))
    else:
        found = _places(position, (str(place + (kind == "number")) for place in range(len(candidates))))
    if is_missing(value) and not (found and kind in ("key", "text")):
        return None
    return found[0] if len(found) == 1 else math.nan


def _places(text: str, among: Iterable[str]) -> list[int]:
    return [place for place, other in enumerate(among) if other == text]


def _bare(key: str) -> str:
    return key.strip("().: ").casefold()


def find_answer_kind(dataset: Dataset, found: ChoiceFormat, usual: str | None) -> str:
    """Return how the answers of `dataset` are written: as a saved model knows them (`usual`), else as most can be read.

    A position from 0 goes before one from 1, which takes a file in which 0 never occurs and the number of candidates does.

    Raises:
        UserError: not one of them can be read.
    """
    candidates, keys = found.candidates(dataset)
    values = dataset[found.answer][:]
    unreadable = {}
    for kind in ANSWERS:
        positions = [read_answer(*row, kind) for row in zip(values, candidates, keys, strict=True)]
        unreadable[kind] = sum(position is not None and math.isnan(position) for position in positions)
    known = sum(not is_missing(value) for value in values)
    if usual and 2 * unreadable[usual] <= known:
        return usual
    kinds = list(ANSWERS)
    if not any(isinstance(value, str) for value in values):  # a number is a position, if it can be one
        kinds = ["key", "index", "number", "text"]
    impossible = {"letter"} if any(keys) else {"key"}
    if any(class_name(value) == "0" for value in values):
        impossible.add("number")
    kind = min((kind for kind in kinds if kind not in impossible), key=lambda kind: unreadable[kind])
    if unreadable[kind] == known:
        row = next(row for row, value in enumerate(values) if not is_missing(value))
        raise UserError(
            f"{dataset[row][PLACE]}, column {found.answer!r}: found {values[row]!r}, expected the position of the right "
            f"candidate (from 0 or from 1), its letter{', its key' if any(keys) else ''} or its text: "
            f"{'; '.join(candidates[row])[:120]}"
        )
    if kind == "index" and not any(class_name(value) == "0" for value in values):
        logger.info("0 never occurs among the answers in column %r; they are read as positions from 0", found.answer)
    return kind


def encode_candidates(
    tokenizer: PreTrainedTokenizerBase, contexts: list[str], candidates: list[list[str]], max_length: int, places: list[str]
) -> dict[str, list]:
    """Return the tokens of each candidate, a list a row, with its context before it; `cut` says where the context was shortened.

    Raises:
        UserError: a candidate leaves its context nothing of `max_length`; names its place.
    """
    counts = [len(row) for row in candidates]
    seconds = [text for row in candidates for text in row]
    firsts = [text for text, count in zip(contexts, counts, strict=True) for _ in range(count)]
    try:
        encoded = tokenizer(firsts, seconds, truncation="only_first", max_length=max_length)
    except Exception as error:  # the tokenizers library has no class of its own for this
        lengths = [len(ids) for ids in tokenizer(seconds, add_special_tokens=False)["input_ids"]]
        longest = int(np.argmax(lengths))
        if lengths[longest] + tokenizer.num_special_tokens_to_add(pair=True) < max_length:
            raise
        place = places[int(np.searchsorted(np.cumsum(counts), longest, side="right"))]
        raise UserError(
            f"{place}: the candidate {seconds[longest][:60]!r} (with its question) has {lengths[longest]} tokens, which leaves "
            f"the context nothing of --max_seq_length {max_length}; candidates are never cut: raise it, or shorten the row"
        ) from error
    bounds = [0, *np.cumsum(counts).tolist()]
    rows = {name: [values[start:end] for start, end in pairwise(bounds)] for name, values in encoded.items()}
    overflow = [bool(text.overflowing) for text in encoded.encodings or []] or [False] * len(seconds)
    return {**rows, "cut": [any(overflow[start:end]) for start, end in pairwise(bounds)]}
