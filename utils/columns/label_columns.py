"""Which columns hold the labels: the rules that read the profiles of a table. What fits one way is taken and said, else asked."""

import logging
import math
import re
import shlex
from collections.abc import Collection
from typing import Any

import numpy as np
from datasets import Dataset

from utils.arguments import UserError, shorten
from utils.columns.naming import ask, quoted
from utils.columns.profile import Profile, describe_columns, is_cell_vocabulary, is_number
from utils.columns.text_columns import TEXTS
from utils.files.cells import UNKNOWN, is_marked, may_be_nothing, parse_cell
from utils.files.rows import cell_error, columns, distinct_cells, file_of

logger = logging.getLogger(__name__)

# Names are compared by their key, which has no capitals, spaces or punctuation: see `name_key`.
LABELS = {"label", "labels", "goldlabel"}  # before all others
OTHER_LABELS = {"class", "classes", "target", "targets", "topic", "topics", "tag", "tags", "category", "categories", "genre"}
OTHER_LABELS |= {"genres", "emotion", "emotions", "sentiment", "intent", "stance", "polarity", "stars", "rating"}
SCORES = OTHER_LABELS | {"score", "similarity", "quality", "grade"}  # numbers with such a name may be one
FACTS = {"is", "has", "had", "was", "contains", "done", "resolved", "closed", "verified", "edited", "deleted"}
COUNTS = {"num", "count", "counts", "likes", "votes", "upvotes", "downvotes", "replies", "retweets", "views", "clicks"}  # 0 or 1
CHOICE_COLUMN = re.compile(r"(ending|choice|options?|op|answer|mcanswer|ans|candidate|alternative|solution|sol)([0-9]+|[a-z])")
WRONG_CHOICE = re.compile(r"(distractor|wrong|incorrect|wronganswer|incorrectanswer)s?([0-9]+|[a-z])")  # beside the right one
CHOICE_LISTS = {"endings", "choices", "options", "candidates"}
CERTAINTY = {"confidence", "agreement", "probability", "score"}  # of a label, in a column of shares
NUMBERS = {"whole", "number", "share"}
NO_LABEL = {"id", "url", "date", "empty", "object", "code", "texts"}


def find_label_column(dataset: Dataset, unknown_label: str | None = None) -> list[str]:
    """Return the column of one label a row: that with a usual name, or the only one that can be it.

    Several columns of 0 and 1 are the label too, if exactly one of them is 1 in each row; in these, `unknown_label` may stand
    for nothing.

    Raises:
        UserError: no column can be it, or several; or the data has the shape of another script's.
    """
    refuse_candidates(dataset, "--label_column_name")
    profiles = describe_columns(dataset)
    possible = usual_labels(profiles)
    if not possible:
        cells, odd = _cell_columns(dataset, profiles, unknown_label, "--label_column_name")
        marked = [p for p in profiles if (p.kind == "name" or p in cells) and (p.distinct > 1 or p.filled < p.rows)]
        possible = [p for p in marked if p.key not in TEXTS and not _identifies(p)]
        possible += [p for p in profiles if p.kind in NUMBERS and "confidence" not in p.words and set(p.words) & SCORES]
        possible += [p for p in profiles if p.words[-1:] == ["label"] and p.kind == "whole" and p.distinct > 1]
        possible = possible or other_column(profiles)
        doubtful = [odd[profile] for profile in possible if profile in odd]
        if len(possible) > 1 and doubtful and {*cells, *odd}.issuperset(possible):
            raise doubtful[0]
        several = [profile.name for profile in possible if profile in cells and not set(profile.words) & COUNTS]
        if len(several) == len(possible) > 1:
            rows = list(zip(*(_read_cells(dataset, name, unknown_label) for name in several), strict=True))
            says_no = any(0 in row for row in rows)  # or an empty cell does, and a row of them has no class
            if all(row.count(1) == 1 for row in rows if not (says_no and set(row) == {UNKNOWN})):
                logger.info("label: the column that is 1, among %s (found; --label_column_name to change)", shorten(several))
                return several
            raise UserError(
                f"the columns {shorten(several)} hold 0 and 1: several labels per text; use run_multilabel.py "
                f"--label_column_names {quoted(several)} (or name one of them with --label_column_name)"
            )
    if not possible:
        raise UserError(
            f"no label column among {shorten(columns(dataset), 30)}: name it with --label_column_name; for any number of labels "
            f"a text use run_multilabel.py"
        )
    if len(possible) > 1:
        raise ask(dataset, "the label", possible, [f"--label_column_name {quoted([profile.name])}" for profile in possible])
    logger.info("label column: %s (found; --label_column_name to change)", possible[0].name)
    return [possible[0].name]


def usual_labels(profiles: list[Profile]) -> list[Profile]:
    """Return the columns whose names say that they are the label: those named `label`, else others, else `movie_genre`."""
    free = [p for p in profiles if p.kind in ("text", "short") and p.filled > 5 and 10 * p.distinct > 9 * p.filled]
    possible = [
        p for p in profiles if p.kind not in NO_LABEL and p.distinct > 1 and p not in free and 10 * p.filled >= 9 * p.rows
    ]
    ends = [p for p in possible if p.words and p.words[-1] in LABELS | OTHER_LABELS and p.kind not in ("text", "short")]
    by_rank = [[p for p in profiles if p.key in LABELS], [p for p in possible if p.key in OTHER_LABELS]]
    by_rank += [[p for p in ends if p.kind not in NUMBERS]]
    return next((found for found in by_rank if found), [])


def other_column(profiles: list[Profile]) -> list[Profile]:
    """Return the column beside the text in a table of two."""
    if len(profiles) != 2:
        return []
    text, other = sorted(profiles, key=lambda p: (p.key in TEXTS, p.kind in ("text", "texts"), p.words_in_cell), reverse=True)
    another_text = other.kind == "text" and other.distinct == other.filled > 5
    return [] if other.kind in NO_LABEL or text.kind in NUMBERS or another_text or _identifies(other) else [other]


def _identifies(profile: Profile) -> bool:
    """Return whether a column is called like the id of something, and not of a class."""
    return profile.words[-1:] == ["id"] and not set(profile.words) & (LABELS | OTHER_LABELS)


def find_label_columns(dataset: Dataset, unknown_label: str | None = None) -> list[str]:
    """Return the column of several labels a row, or all columns of 0 and 1; in these, `unknown_label` may stand for nothing.

    Raises:
        UserError: no column can be it, or several ways are possible; or the data has the shape of another script's.
    """
    refuse_candidates(dataset, "--label_column_names")
    profiles = describe_columns(dataset)
    usual = usual_labels(profiles)
    lists = [p for p in profiles if p.kind in ("list", "delimited")]
    cells, problems = _cell_columns(dataset, profiles, unknown_label, "--label_column_names")
    odd = next(iter(problems.values()), None)
    if cells and odd:
        raise odd
    if len(usual) == 1 and usual[0].key in LABELS and usual[0] not in cells:
        return [usual[0].name]
    named = [p for p in usual if p not in cells and p.kind not in NUMBERS]
    ways = [[p] for p in named if p in lists] or [[p] for p in dict.fromkeys([*lists, *named])]
    facts = [p for p in cells if set(p.words) & (FACTS | COUNTS)]
    in_words = [p for p in cells if not any(map(is_number, p.examples))]
    facts += [p for p in in_words if p not in facts and 2 * len(in_words) < len(cells)]  # written unlike the other columns
    labels = [p for p in cells if p not in facts]
    if len(cells) > 1 or not ways:
        if labels and facts:
            ways += [labels, cells]
        elif labels or (cells and not ways):
            soft = [p for p in profiles if p in cells or (p.kind == "share" and not set(p.words) & CERTAINTY)]
            ways += [cells, soft] if any(p.kind != "share" for p in cells) and soft != cells else [soft]
    ways = ways or [[p] for p in other_column(profiles)]
    if not ways:
        if odd:
            raise odd
        counts = [p.name for p in profiles if p.kind in NUMBERS]
        hint = f" ({shorten(counts)}: numbers are no labels; write 0 and 1, or shares from 0 to 1)" if len(counts) > 1 else ""
        shares = [p.name for p in profiles if p.kind == "share"]
        hint = f", such as --label_column_names {quoted(shares)} for these shares" if len(shares) > 1 else hint
        raise UserError(
            f"no label columns among {shorten(columns(dataset), 30)}: name the column of lists, the delimited column, "
            f"or the 0/1 columns with --label_column_names{hint}; for one label a text use run_classification.py"
        )
    if len(ways) > 1:
        candidates = list(dict.fromkeys(profile for way in ways for profile in way))
        raise ask(dataset, "the labels", candidates, [f"--label_column_names {quoted([p.name for p in way])}" for way in ways])
    return [profile.name for profile in ways[0]]


def unknown_option(marks: str | None, *more: str) -> str:
    """Return the option which says that `more` cells, too, stand for an unknown label, beside the `marks` that were given."""
    every = sorted(filter(None, [*(marks or "").split(","), *more]), key=lambda mark: mark.startswith("-"))
    sign = "=" if every[0].startswith("-") and len(every) > 1 else " "  # or argparse takes the value for an option
    return f"--unknown_label{sign}{shlex.quote(','.join(every))}"


def as_unknown(value: Any, marks: str | None) -> str:
    """Return what to do if a cell stands for an unknown label, as the `marks` do that were given."""
    if "," in str(value):  # which joins marks
        return "leave the cell empty if the label is unknown"
    return f"add {unknown_option(marks, str(value))} if that stands for an unknown label"


def _read_cells(dataset: Dataset, name: str, unknown_label: str | None) -> list[float | None]:
    """Return the cells of a column as `parse_cell` reads them, but `UNKNOWN` for the marks of `unknown_label`."""
    return [UNKNOWN if is_marked(value, unknown_label) else parse_cell(value) for value in dataset[name][:]]


def _cell_columns(
    dataset: Dataset, profiles: list[Profile], unknown_label: str | None, option: str
) -> tuple[list[Profile], dict[Profile, UserError]]:
    """Return the columns of 0 and 1 that can be labels, and errors by column of those that would be, but for a few cells."""
    problems, cells = {}, [p for p in profiles if p.kind == "cell"]
    for profile in profiles:
        many = 3 * (profile.distinct - 2) > 2 * profile.rows  # different cells: they cannot be 0 and 1
        if profile.kind not in ("share", "name", "short", "whole", "number") or many:
            continue
        different, cell_of_row = distinct_cells(dataset, profile.name)
        values = {row: None if is_marked(value, unknown_label) else value for row, value in different.items()}
        read = {row: parse_cell(value) for row, value in values.items()}
        counts = dict(zip(values, np.bincount(cell_of_row).tolist(), strict=True))
        sure = sum(counts[row] for row, cell in read.items() if cell in (0, 1))
        known = sum(counts[row] for row, cell in read.items() if cell not in (None, UNKNOWN))
        odd = {row: values[row] for row, cell in read.items() if cell is None}
        shares = not odd and 3 * sure >= len(dataset) and 0 in read.values()  # among 0 and 1: soft labels
        if shares or (None in values.values() and is_cell_vocabulary(values.values())):
            cells.append(profile)
        elif odd and sum(map(counts.get, odd)) <= _most_odd(sure, known, odd.values()):
            others = [p.name for p in profiles if p.kind == "cell"]
            without = f", leave this column out with {option} {quoted(others)}" if len(others) > 1 else ""
            row, value = next(iter(odd.items()))
            advice = f"correct the cell{without}, or {as_unknown(value, unknown_label)}"
            problems[profile] = cell_error(dataset, row, profile.name, f"found {value!r} in a column of 0 and 1; {advice}")
    return [p for p in profiles if p in cells], problems


def _most_odd(sure: int, known: int, odd: Collection) -> float:
    """Return how many `odd` cells a column of 0 and 1 may have: fewer of numbers than of words, as it may hold counts.

    What usually stands for nothing may fill any of them. `sure` are the cells of 0 or 1, `known` also those between.
    """
    if sure > 1 and all(map(may_be_nothing, odd)):
        return math.inf
    if not any(map(is_number, odd)):
        return sure / 2
    return max(known / 10, 1 if sure > 2 else 0)


def is_cell_column(dataset: Dataset, name: str) -> bool:
    """Return whether all cells of a column are 0/1 cells, and at least one of them is known."""
    cells = [parse_cell(value) for value in dataset[name][:]]
    return None not in cells and any(cell != UNKNOWN for cell in cells)


def refuse_candidates(dataset: Dataset, option: str) -> None:
    """Raise a `UserError` that names run_multiple_choice.py if there are columns such as ending0 and ending1, or `choices`."""
    numbered = [profile.name for profile in describe_columns(dataset) if CHOICE_COLUMN.fullmatch(profile.key)]
    profiles = [profile for profile in describe_columns(dataset) if profile.kind not in ("cell", "empty")]
    of_texts = [profile for profile in profiles if profile.name in numbered]
    lists = [profile.name for profile in profiles if profile.kind in ("list", "texts") and set(profile.words) & CHOICE_LISTS]
    wrong = [profile.name for profile in profiles if WRONG_CHOICE.fullmatch(profile.key)]
    choices = lists or (numbered if len(of_texts) > 1 else [])
    if wrong:
        raise UserError(
            f"{file_of(dataset)}, {', '.join(wrong)}: wrong answers beside the right one: that is multiple choice; use "
            f"run_multiple_choice.py (or name the label with {option} to train here)"
        )
    if choices:
        raise UserError(
            f"{file_of(dataset)}, {', '.join(choices)}: several candidates in each row, one of them right: that is multiple "
            f"choice; use run_multiple_choice.py --choice_column_names {quoted(choices)} (or name the label with {option} to "
            f"train here)"
        )
