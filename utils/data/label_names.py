"""The names of labels: those of a trained model, and what may be wrong with those in the data."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection
from difflib import get_close_matches

from datasets import Dataset
from transformers import PreTrainedConfig

from utils.arguments import DataArguments, number_of, shorten
from utils.columns.label_columns import unknown_option
from utils.columns.naming import quoted
from utils.files.cells import is_marked, is_nothing, may_be_nothing, parse_cell, read_number
from utils.files.rows import cell_error, column_error, name_key

logger = logging.getLogger(__name__)

RARE_DELIMITERS = "#/+&\n"  # that separate labels if each part also stands alone
MANY_ROWS, MOST_MISSPELT = 10, 100  # rows of a label that another may be a misspelling of; how many others are looked at
FEW_NUMBERS = 20  # so many different whole numbers may be classes, beside which a fraction is odd
QUANTITIES = {"score", "similarity", "quality", "grade", "rating", "age", "year", "price", "count"}  # names of numbers
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
DIGITS = re.compile(r"[-+]?\d[\d.,' ]*")
MEASURE = re.compile(r"[-+]?\d[\d.,' ]*(%|/ ?\d+|[^\W\d]{1,3}|[€$£])?|[€$£] ?\d[\d.,']*")  # a number with its unit: 42/100, 7,995


def saved_label_names(config: PreTrainedConfig | None, training: bool) -> list[str] | None:
    """Return the labels of a trained model in the order of its head, or None for a bare encoder.

    transformers names unnamed labels LABEL_0 and so on. They count if a trained head predicts, but not if it is to be trained.
    """
    if config is None:
        return None
    names = [config.id2label[index] for index in range(config.num_labels)]
    known = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    has_head = known or saved_setting(config, "trained_by")  # a class of the script's own has any name
    unnamed = names == [f"LABEL_{index}" for index in range(len(names))]
    return None if unnamed and (training or not has_head) else names


def saved_setting(config: PreTrainedConfig | None, name: str):
    """Return what our scripts saved in the model's config as `name`, or None."""
    return None if config is None else config.to_dict().get(name)


def unknown_label(name: str, names: list[str], *others: str) -> str:
    """Return what is wrong with a label that is not among `names`, and what can be done; `others` are further ways."""
    alike = next((own for own in names if own.strip().casefold() == name.strip().casefold()), None)
    meant = f"did you mean {alike!r}?" if alike else f"{', '.join(['add it there', *others])}, or correct it here"
    return f"the label {name!r} is not among the labels of the training data or model ({shorten(names)}); {meant}"


def ask_about_placeholder(
    dataset: Dataset, column: str, counts: Counter[str], rows: int, row_of: Callable[[str], int], unknown_label: str | None
) -> None:
    """Raise a `UserError` if a few rows have a label such as N/A, and there is no --unknown_label; warn if it has other marks.

    `counts` says how many of so many `rows` have each label, and `row_of` where one first occurs. Few are clearly fewer than
    have other labels; beside numbers, any. What tools write for nothing is asked about in any case.
    """
    counts = counts.copy()
    named = {value: counts.pop(value) for value in list(counts) if may_be_nothing(value)}
    numbers = list(map(read_number, counts))
    usual = counts.total() / len(counts) if None in numbers else rows
    few = {value for value, count in named.items() if 5 * count <= rows and 3 * count < 2 * usual}
    asked = [value for value in named if value in few or is_nothing(value)]
    asked = [value for value in asked if not is_marked(value, unknown_label)]
    if not asked or unknown_label == "":
        return
    marks = unknown_option(unknown_label, *asked)
    first, *others = (f"{value!r} is the label of {named[value]} of {rows} rows" for value in asked)
    if unknown_label:
        logger.warning("%s: if that stands for an unknown label, too, add %s", ", ".join([first, *others]), marks)
        return
    stands, own = ("they stand", "they are labels of their own") if others else ("it stands", "it is a label of its own")
    kept = f"if {own}, add --unknown_label ''"
    if None not in numbers and not all(map(float.is_integer, numbers)):
        kept = "if not, correct the cells"
    problem = f"{', '.join([first, *others])}: if {stands} for an unknown label, add {marks}; {kept}"
    raise cell_error(dataset, row_of(asked[0]), column, problem)


def warn_of_alike(names: list[str]) -> None:
    """Warn of labels that may be one, written in two ways."""
    alike: dict[str, str] = {}
    for name in names:
        if alike.setdefault(name.strip().casefold(), name) != name:
            told = "labels %r and %r differ only in case or spaces: write them alike if they are one"
            logger.warning(told, alike[name.strip().casefold()], name)


def warn_of_misspelt(counts: Counter[str]) -> None:
    """Warn of a label in one or two rows, as `counts` tells, that is spelt almost like one of many rows."""
    usual = [name for name, count in counts.items() if count >= MANY_ROWS]
    for name in [name for name, count in counts.items() if count <= 2 and not any(map(str.isdigit, name))][:MOST_MISSPELT]:
        near = next(iter(get_close_matches(name, usual, n=1, cutoff=0.8)), None)
        alike = near and near.casefold() == name.casefold()  # which `warn_of_alike` tells
        if near and not (alike or near.endswith(name) or name.endswith(near)):  # as legal and illegal
            told = "label %r (%s) is spelt almost like %r (%d rows): correct it if it is the same"
            logger.warning(told, name, number_of(counts[name], "row"), near, counts[near])


def joined_parts(names: Collection[str], delimiter: str) -> tuple[list[str], set[str], set[str]]:
    """Return the names that a delimiter joins, their parts, and those of them that another name has, or is, too."""
    joined = [name for name in names if delimiter in name.strip()]
    parts = {part.strip() for name in joined for part in name.split(delimiter)}
    counts = Counter(part.strip() for name in names for part in set(name.split(delimiter)))
    return joined, parts, {part for part in parts if counts[part] > 1}


def check_class_names(dataset: Dataset, column: str, args: DataArguments, names: list[str], rows: int, numeric: bool) -> None:
    """Raise a `UserError` for labels that are no classes: only one, ids with a gap, one per row, or several in one."""
    if len(names) < 2:
        problem = f"every row has the label {names[0]!r}; expected at least two labels"
        if rows < len(dataset):
            problem = (
                f"the {number_of(rows, 'row')} with a label all have {names[0]!r}, and {len(dataset) - rows} have none; expected "
                f"at least two labels: if an empty cell means one, such as no, write that into it"
            )
        raise column_error(dataset, column, problem)
    warn_of_alike(names)
    if args.problem_type:
        return
    if len(names) > 2 and all(parse_cell(name) in (0, 1) for name in names):
        problem = (
            f"the labels {shorten(names)} say yes and no in more than one way: write them in one, or insist: --problem_type multi"
        )
        raise column_error(dataset, column, problem)
    if numeric:
        _check_ids(dataset, column, names, rows)
    else:
        _check_texts(dataset, column, names, rows)


def _check_ids(dataset: Dataset, column: str, names: list[str], rows: int) -> None:
    """Raise a `UserError` for whole numbers that leave one out, or are so many that they may be no ids of classes."""
    if len(names) > FEW_NUMBERS and (5 * len(names) > rows or name_key(column) in QUANTITIES):
        problem = (
            f"found {len(names)} different whole numbers in {rows} rows: add --problem_type regression if they are numbers to be "
            f"predicted as such, or --problem_type multi if each is a class"
        )
        raise column_error(dataset, column, problem)
    ids = sorted({int(float(name)) for name in names})
    missing = next((value for value in range(ids[0], ids[-1]) if value not in ids), None)
    if missing is not None and ids != [-1, 1]:
        kind = "binary" if len(names) == 2 else "multi"
        problem = (
            f"the labels {shorten(names)} leave out {missing}, so class ids would not fit a head of {len(names)} logits; "
            f"write names or ids without a gap, or insist: --problem_type {kind} for classes, regression for numbers"
        )
        raise column_error(dataset, column, problem)


def _check_texts(dataset: Dataset, column: str, names: list[str], rows: int) -> None:
    """Raise a `UserError` for texts that are numbers in other writing, one of each row, or several labels in one."""
    insist = "or insist on classes with --problem_type multi"
    plain = f"write plain numbers such as 42 or 4.2 for regression, {insist}"
    with_comma = [name for name in names if DECIMAL_COMMA.fullmatch(name)]
    if with_comma and all(name in with_comma or read_number(name) is not None for name in names):
        advice = f"write a point if that is a number; use run_multilabel.py if it is a list; {insist}"
        raise column_error(dataset, column, f"{with_comma[0]!r} may be a number or a list: {advice}")
    if len(names) > 10 and all(DIGITS.fullmatch(name) for name in names):
        raise column_error(dataset, column, f"labels such as {names[0]!r} and {names[-1]!r} look like numbers; {plain}")
    if len(names) > 10 and all(MEASURE.fullmatch(name) for name in names):
        raise column_error(dataset, column, f"labels such as {names[0]!r} and {names[-1]!r} look like numbers or dates; {plain}")
    if rows > 20 and 5 * len(names) > 4 * rows:
        advice = "name the column of classes with --label_column_name, or insist with --problem_type multi"
        raise column_error(dataset, column, f"the {rows} rows have {len(names)} different labels; {advice}")
    for delimiter in ";|,":
        joined, parts, again = joined_parts(names, delimiter)
        if 2 * len(again) > len(parts) or (again and delimiter != ","):  # names of classes may hold a comma
            advice = f"use run_multilabel.py --label_column_names {quoted([column])} (or insist with --problem_type multi)"
            raise column_error(dataset, column, f"{joined[0]!r} holds several labels, as parts of it occur again; {advice}")
