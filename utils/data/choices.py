"""Multiple choice: where the context, question, candidates and answer of a row are, and how the answer is written."""

import logging
import math
import re
import string
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedConfig

from utils.arguments import shorten
from utils.columns.label_columns import CHOICE_COLUMN, as_unknown, unknown_option
from utils.columns.naming import quoted
from utils.columns.profile import is_number
from utils.data.classes import written_labels
from utils.data.label_names import saved_setting
from utils.files.cells import (
    UNKNOWN,
    class_name,
    is_empty,
    is_marked,
    is_missing,
    may_be_nothing,
    natural_order,
    read_list,
    read_row,
)
from utils.files.rows import cell_error, column_error, columns, name_key

logger = logging.getLogger(__name__)

LETTERS = list(string.ascii_uppercase)
ANSWERS = {
    "key": "the key of a candidate",
    "text": "the text of a candidate",
    "index": "a position from 0",
    "number": "a position from 1",
    "letter": "a letter from A",
    "flags": "a list with 1 for the right candidate, and 0 for the others",
}
BY_NAME = "the name of a candidate's column"  # its key where there is a column for each


@dataclass(frozen=True)
class ChoiceFormat:
    """Where the parts of a row are. Parts of nested data have names such as `question_stem`.

    choices is one column of lists, or several columns of texts. answer_kind is a key of `ANSWERS`, or None if no answer is
    known. descriptions are pairs [label, sentence]: then the sentences are the candidates, and `answer` is a label column.
    """

    evaluated_as = "choices"
    context: str
    question: str | None
    choices: list[str]
    answer: str | None
    answer_kind: str | None = None
    descriptions: list[list[str]] | None = None
    allow_equal: bool = False  # whether the right candidate may occur twice; its row is then unknown
    unknown_label: str | None = None  # what stands for an unknown answer besides an empty cell and -1

    @property
    def settings(self) -> dict[str, Any]:
        """What a saved model's config says of it, for `saved_choices`."""
        return {"choice_format": {name: value for name, value in asdict(self).items() if name != "unknown_label"}}

    @property
    def columns_by_option(self) -> dict[str, list[str]]:
        """The columns of a row's parts, by the option that names them."""
        parts = {"context_column_name": [self.context], "choice_column_names": self.choices}
        parts["question_column_name"] = [self.question] if self.question else []
        return parts | {"label_column_name": [self.answer] if self.answer else []}

    def candidates(self, dataset: Dataset) -> tuple[list[list[str]], list[list[str]]]:
        """Return the candidates of each row, and their keys (A, B…): an empty list where the data has none.

        Of candidates in several columns, their names are the keys.

        Raises:
            UserError: a row has an empty candidate, or fewer than two.
        """
        if self.descriptions:
            labels, sentences = (list(column) for column in zip(*self.descriptions, strict=True))
            return [sentences] * len(dataset), [labels] * len(dataset)
        several = len(self.choices) > 1
        texts, keys = [], []
        for row, (cells, own_keys) in enumerate(zip(self._cells(dataset), self._keys(dataset), strict=True)):
            while cells and (is_empty(cells[-1]) if several else cells[-1] is None):  # the row has fewer candidates than others
                cells = cells[:-1]
            own_keys = self.choices[: len(cells)] if several else own_keys
            if cells and all(isinstance(cell, dict) and "text" in cell for cell in cells):
                own_keys = [str(cell["label"]) for cell in cells if "label" in cell]
                cells = [cell["text"] for cell in cells]
            for position, cell in enumerate(cells):
                column = self.choices[position] if several else self.choices[0]
                if is_empty(cell) or (isinstance(cell, str) and not cell.strip()):
                    raise cell_error(dataset, row, column, f"candidate {position + 1} is empty; fill or drop it")
                if isinstance(cell, (list, dict)):
                    raise cell_error(dataset, row, column, f"found {str(cell)[:60]} as candidate, expected a text")
            if len(cells) < 2:
                found = f"found 1 candidate ({cells[0]!r})" if cells else "found 0 candidates"
                raise cell_error(dataset, row, ", ".join(self.choices), f"{found}, expected at least two to choose from")
            texts.append([str(cell) for cell in cells])
            keys.append([str(key) for key in own_keys] if isinstance(own_keys, list) and len(own_keys) == len(cells) else [])
        return texts, keys

    def _cells(self, dataset: Dataset) -> list[list]:
        if len(self.choices) > 1:
            present = [dataset[name][:] if name in columns(dataset) else [None] * len(dataset) for name in self.choices]
            return [list(cells) for cells in zip(*present, strict=True)]
        column = self.choices[0]
        result = []
        for row, value in enumerate(dataset[column][:]):
            try:
                items = read_list(value) if isinstance(value, str) else value
            except ValueError:
                items = value
            if not isinstance(items, list):
                problem = (
                    f"found {str(value)[:60]!r}, expected a list of candidates such as ['a', 'b']; if there is one column per "
                    f"candidate, name them all: --choice_column_names a,b,c"
                )
                raise cell_error(dataset, row, column, problem)
            result.append(items)
        return result

    def _keys(self, dataset: Dataset) -> list:
        """Return the cells of the column of keys: of candidates {text, label}, the labels."""
        beside = re.sub("_text$", "_label", self.choices[0])
        return dataset[beside][:] if beside != self.choices[0] and beside in columns(dataset) else [[]] * len(dataset)

    def answers(self, dataset: Dataset) -> list:
        """Return the cells of the column of answers, None where a mark of `unknown_label` stands."""
        return [None if is_marked(value, self.unknown_label) else value for value in dataset[self.answer][:]]

    def labelled(self, dataset: Dataset) -> bool:
        """Return whether `dataset` has the column of answers, with an answer in at least one row."""
        return self.answer in columns(dataset) and not all(map(is_missing, self.answers(dataset)))

    @property
    def label_columns(self) -> list[str]:
        return [self.answer] if self.answer and self.answer not in self.choices else []

    def words(self, target: np.ndarray) -> str:
        """Return the position of a row's right candidate, "" if it is unknown."""
        return "" if target == UNKNOWN else str(target)

    def unknown_rows(self, targets: np.ndarray) -> np.ndarray:
        """Return which rows [rows] of `targets` have no known answer."""
        return targets == UNKNOWN

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return by what the validation split is stratified: the position of the right candidate."""
        return targets

    def targets(self, dataset: Dataset) -> np.ndarray:
        """Return the position [rows] of each row's right candidate, or `UNKNOWN` if the answer is missing or -1.

        Raises:
            UserError: an answer fits no candidate, or it fits two equal ones. With `allow_equal` the latter is `UNKNOWN`.
        """
        candidates, keys = self.candidates(dataset)
        result = np.full(len(dataset), int(UNKNOWN), np.int64)
        answers = self.answers(dataset)
        for row, value in enumerate(written_labels(dataset.features[self.answer], answers) if self.descriptions else answers):
            position = read_answer(value, candidates[row], keys[row], self.answer_kind)
            if position is None:
                continue
            if math.isnan(position):
                expected = self._expected(candidates[row], keys[row])
                placeholder = may_be_nothing(value) or class_name(value) == "0"
                letter = len(str(value).strip()) == 1 and str(value).isalpha()
                text = not math.isnan(read_answer(value, candidates[row], keys[row], "text"))
                if text and self.answer_kind != "text":
                    expected += "; it is the text of a candidate: write all answers in one way"
                elif placeholder or (self.answer_kind != "text" and not (is_number(value) or letter)):
                    expected += f", or {as_unknown(value, self.unknown_label)}"
                raise cell_error(dataset, row, self.answer, f"found {value!r}, expected {expected}")
            right = candidates[row][position]
            equal = [i for i, text in enumerate(candidates[row]) if text.strip() == right.strip()]
            if len(equal) == 1:
                result[row] = position
            elif not self.allow_equal:
                problem = (
                    f"the right candidate {right!r} occurs {len(equal)} times (candidates "
                    f"{' and '.join(str(i + 1) for i in equal)}); correct the row, or set such rows aside with "
                    f"--allow_equal_candidates"
                )
                raise cell_error(dataset, row, self.answer, problem)
        return result

    def _expected(self, candidates: list[str], keys: list[str]) -> str:
        count = len(candidates)
        if self.descriptions:
            return f"one of the labels that --label_descriptions describes: {', '.join(keys)}"
        return {
            "key": f"one of {'the columns' if len(self.choices) > 1 else 'the keys'} {', '.join(keys) or '(none in this row)'}",
            "text": f"the text of one of the {count} candidates: {'; '.join(text[:40] for text in candidates)}",
            "index": f"a position from 0 to {count - 1}, as the row has {count} candidates",
            "number": f"a position from 1 to {count}, as the row has {count} candidates",
            "letter": f"a letter from A to {LETTERS[min(count, 26) - 1]}, as the row has {count} candidates",
            "flags": f"a list of {count}, 1 for the right candidate and 0 for the others",
        }[self.answer_kind]

    def __str__(self):
        if self.descriptions:
            labels = f"labels of column {self.answer!r}" if self.answer else "labels"
            return f"multiple choice among {len(self.descriptions)} sentences that describe the {labels} (--label_descriptions)"
        parts = [f"context: {self.context}"]
        if self.question:
            parts.append(f"question: {self.question}, read before each candidate")
        parts.append(f"candidates: {', '.join(self.choices)}")
        if self.answer_kind:
            by_name = self.answer_kind == "key" and len(self.choices) > 1
            parts.append(f"answer: {self.answer}, {BY_NAME if by_name else ANSWERS[self.answer_kind]}")
        return "; ".join(parts)


def saved_choices(config: PreTrainedConfig | None) -> ChoiceFormat | None:
    """Return the format of the data that a model was trained on. Return None for a bare encoder and for models of other tasks."""
    saved = saved_setting(config, "choice_format")
    return ChoiceFormat(**saved) if saved else None


def read_answer(value: Any, candidates: list[str], keys: list[str], kind: str) -> int | float | None:
    """Return the position of the right candidate, NaN if `value` fits none, or None if it is missing (empty or -1)."""
    if is_empty(value):
        return None
    written, position = str(value).strip(), class_name(value).strip()
    if kind == "key":
        found = _places(_bare(written), map(_bare, keys)) or _places(position, keys)
        found = found or _places(name_key(written), map(name_key, keys))
    elif kind == "text":
        found = _places(written, (text.strip() for text in candidates))[:1]  # the first of equal ones; see `targets`
        found = found or _places(written.casefold(), (text.strip().casefold() for text in candidates))
    elif kind == "letter":
        found = _places(_bare(written), map(str.casefold, LETTERS[: len(candidates)]))
    elif kind == "flags":
        flags = read_row(value) or []
        found = _places("1", map(class_name, flags)) if len(flags) == len(candidates) and {*flags} <= {0, 1} else []
    else:
        found = _places(_bare(position), (str(place + (kind == "number")) for place in range(len(candidates))))
    if is_missing(value) and not (found and kind in ("key", "text")):
        return None
    return found[0] if len(found) == 1 else math.nan


def _places(text: str, among: Iterable[str]) -> list[int]:
    return [place for place, other in enumerate(among) if other == text]


def _bare(key: str) -> str:
    return key.strip("().: ").casefold()


def find_answer_kind(dataset: Dataset, found: ChoiceFormat, usual: str | None, first_position: int | None) -> str:
    """Return how the answers are written: `usual`, as with the saved model, or else the way that reads the most of them.

    Positions count from `first_position`. If it is None, from 0 where 0 occurs, from 1 where the number of candidates does, or
    as the columns of the candidates are numbered.

    Raises:
        UserError: none of the answers can be read, or positions may count from 0 or from 1.
    """
    candidates, keys = found.candidates(dataset)
    values = found.answers(dataset)
    unreadable = {}
    for kind in ANSWERS:
        positions = [read_answer(*row, kind) for row in zip(values, candidates, keys, strict=True)]
        unreadable[kind] = sum(position is not None and math.isnan(position) for position in positions)
    known = [row for row, value in enumerate(values) if not is_missing(value)]
    if usual and 2 * unreadable[usual] <= len(known):
        return usual
    kinds = list(ANSWERS)
    if not any(isinstance(value, str) for value in values):  # prefer to read numbers as positions
        kinds = ["key", "index", "number", "text", "flags"]
    from_zero = any(class_name(value) == "0" for value in values)
    impossible = {"key" if not any(keys) else "letter" if len(found.choices) == 1 else None}
    impossible.add("number" if from_zero and first_position is None else None)
    impossible.add({0: "number", 1: "index"}.get(first_position))
    kind = min((kind for kind in kinds if kind not in impossible), key=lambda kind: unreadable[kind])
    if unreadable[kind] == len(known):
        row = known[0]
        key = ", its column" if len(found.choices) > 1 else ", its key" * any(keys)
        problem = (
            f"found {values[row]!r}, expected the position of the right candidate (from 0 or from 1), its letter{key} or its "
            f"text: {'; '.join(candidates[row])[:120]}"
        )
        if may_be_nothing(values[row]):
            problem += f"; or {as_unknown(values[row], found.unknown_label)}"
        raise cell_error(dataset, row, found.answer, problem)
    if kind in ("index", "number", "letter"):
        _check_places(dataset, found, kind, candidates, {row: values[row] for row in known})
    if kind == "index" and not from_zero and first_position is None and unreadable["number"] == unreadable["index"]:
        if len(found.choices) > 1 and found.choices[0][-1:] in ("0", "1"):
            return "index" if found.choices[0].endswith("0") else "number"
        written = ", ".join(sorted({class_name(values[row]) for row in known})[:5])
        problem = f"the positions {written} may count from 0 or from 1: add --first_position 0, or --first_position 1"
        raise column_error(dataset, found.answer, problem)
    return kind


def _check_places(dataset: Dataset, found: ChoiceFormat, kind: str, candidates: list[list[str]], answers: dict[int, Any]) -> None:
    """Raise a `UserError` if some `answers`, by row, are written in another way, or may mean another place than `kind` says."""
    letter = next((row for row, value in answers.items() if len(_bare(str(value))) == 1 and _bare(str(value)).isalpha()), None)
    if kind != "letter" and letter is not None:
        problem = f"found the letter {answers[letter]!r} among positions: write all answers in one way"
        raise cell_error(dataset, letter, found.answer, problem)
    zeros = [row for row, value in answers.items() if class_name(value) == "0"]
    last = next((row for row, value in answers.items() if class_name(value) == str(len(candidates[row]))), None)
    if kind == "index" and last is not None and 5 * len(zeros) <= len(answers):
        expected = f"expected a position from 0 to {len(candidates[last]) - 1}, as other rows have 0; if that stands for"
        problem = f"found {answers[last]!r}, {expected} an unknown answer, add {unknown_option(found.unknown_label, '0')}"
        raise cell_error(dataset, last, found.answer, problem)
    own = [match and match[2] for match in map(CHOICE_COLUMN.fullmatch, map(name_key, found.choices))]
    if len(own) > 1 and None not in own and own != natural_order({*own}):
        ordered = quoted(natural_order({*found.choices}))
        problem = (
            f"{next(iter(answers.values()))!r} may say which column is right, or its place among {shorten(found.choices)}: name "
            f"the columns in their own order, --choice_column_names {ordered}, or write their names as answers"
        )
        raise column_error(dataset, found.answer, problem)
