"""Recognise the shape of multiple-choice data. Name the right script for data of another shape."""

import logging
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset

from utils.arguments import DataArguments, TextArguments, UserError, number_of, shorten
from utils.columns.label_columns import CHOICE_COLUMN, WRONG_CHOICE, usual_labels
from utils.columns.naming import ask, quoted, require_columns
from utils.columns.profile import describe_columns, same_name
from utils.columns.text_columns import find_text_columns, join_parts
from utils.data.choices import ChoiceFormat, find_answer_kind
from utils.files.cells import UNKNOWN, is_missing, is_nothing, natural_order
from utils.files.rows import column_error, columns, file_of, name_key, one_line

logger = logging.getLogger(__name__)

CONTEXT_NAMES = ("context", "sent1", "ctx", "article", "passage", "premise", "goal", "paragraph", "support", "sentence", "text")
CONTEXT_NAMES += ("flores_passage", "prompt", "dialogue", "dialog", "conversation")
QUESTION_NAMES = ("question", "question_stem", "stem", "sent2", "query")
CHOICE_LISTS = ("choices", "choices_text", "question_choices", "question_choices_text", "endings", "options", "candidates")
CHOICE_LISTS += ("options_text", "candidates_text", "answers", "choice")
ANSWER_NAMES = ("label", "labels", "answer_key", "answer", "correct_answer", "correct_answers", "correct", "gold", "target")
ANSWER_NAMES += ("correct_option", "correct_answer_num", "cop")
# Beside a column of those names these say the same, if anything.
OTHER_ANSWER_NAMES = ("correct_answer_id", "answer_id", "answer_idx", "answer_index", "correct_index", "correct_idx")
OTHER_ANSWER_NAMES += ("gold_label",)


def find_choices(splits: dict[str, Dataset], args: DataArguments, saved: ChoiceFormat | None) -> ChoiceFormat:
    """Find the parts of a row: the columns that the options name, those the saved model was trained on, or the usual ones.

    `args` has context_column_name, question_column_name, choice_column_names, label_column_name, label_descriptions,
    allow_equal_candidates and unknown_label.

    Raises:
        UserError: there are no candidates or no text, or the data has the shape of another script's.
    """
    if args.label_descriptions or (saved and saved.descriptions and "train" not in splits):
        return _find_described(splits, args, saved)
    first = next(iter(splits.values()))
    every = list(dict.fromkeys(name for split in splits.values() for name in columns(split)))
    choices = _named(first, args.choice_column_names, "--choice_column_names") or _find_candidates(first, every, saved)
    context, question = _find_context(first, args, choices, saved)
    if args.label_column_name or (saved and saved.answer and same_name([saved.answer], every)):
        answer = same_name([args.label_column_name or saved.answer], every) or args.label_column_name
    elif saved and set(splits) == {"test"}:
        answer = None  # no other column is taken for the answers of this model
    else:
        answer = _only_answer(first, [name for name in every if name not in (context, question, *choices[1:])])
    settled = {"allow_equal": args.allow_equal_candidates, "unknown_label": args.unknown_label}
    found = ChoiceFormat(context, question, choices, answer, **settled)
    for name, split in splits.items():
        require_columns(split, [context, *([question] if question else [])], "--context_column_name and --question_column_name")
        splits[name] = join_parts(split, [context, *([question] if question else [])])
        if len(choices) == 1:
            require_columns(split, choices, "--choice_column_names")
        usual = saved.choices if saved and set(choices) < set(saved.choices) else choices
        if missing := [each for each in usual if each not in columns(split)]:
            logger.warning("%s has no column %s: its rows have fewer candidates than others", file_of(split), shorten(missing))
        if name != "test":
            if answer is None:
                raise UserError(f"no answer among {shorten(columns(split), 30)}: name its column with --label_column_name")
            require_columns(split, [answer], "--label_column_name")
    if "train" in splits:
        candidates, _ = found.candidates(splits["train"])
        _refuse_fixed_candidates(splits["train"], found, candidates)
        _warn_of_empty_candidates(splits["train"], candidates)
    known = next((split for split in splits.values() if found.labelled(split)), None)
    if known is None:
        if set(splits) != {"test"}:
            raise column_error(first, answer, "no row has an answer")
        if answer in columns(first):
            logger.info("test: no answers under %s, so nothing is scored", answer)
        return replace(found, answer=None)
    found = replace(found, answer_kind=find_answer_kind(known, found, saved and saved.answer_kind, args.first_position))
    if not (args.label_column_name or saved):
        _ask_about_other_answers(known, found, args.first_position)
    return found


def _ask_about_other_answers(dataset: Dataset, found: ChoiceFormat, first_position: int | None) -> None:
    """Raise a `UserError` if another column is called like one of answers, too, and names other candidates."""
    usual, taken = set(map(name_key, ANSWER_NAMES)), {found.answer, found.context, found.question, *found.choices}
    for name in [name for name in columns(dataset) if name_key(name) in usual and name not in taken]:
        other = replace(found, answer=name)
        if not other.labelled(dataset):
            continue
        try:
            other = replace(other, answer_kind=find_answer_kind(dataset, other, None, first_position))
            places = np.stack([found.targets(dataset), other.targets(dataset)])
        except UserError:  # it holds something else, such as an explanation
            continue
        if (places[0] != places[1])[(places != UNKNOWN).all(axis=0)].any():
            profiles = [profile for profile in describe_columns(dataset) if profile.name in (found.answer, name)]
            raise ask(dataset, "the answer", profiles, [f"--label_column_name {quoted([each.name])}" for each in profiles])


def _find_context(
    dataset: Dataset, args: DataArguments, choices: list[str], saved: ChoiceFormat | None
) -> tuple[str, str | None]:
    """Return the columns of the context and of the question. If there is only one text, the question is None."""
    free = [name for name in columns(dataset) if name not in choices]
    context = _one(dataset, args.context_column_name, "--context_column_name")
    question = _one(dataset, args.question_column_name, "--question_column_name")
    unnamed = args.context_column_name is None and args.question_column_name is None
    if unnamed and saved and {saved.context, saved.question} <= {*free, None}:
        return saved.context, saved.question
    if context is None:
        context = _only_context(dataset, [name for name in free if name != question], args.question_column_name is None)
    if args.question_column_name is None:
        question = same_name(QUESTION_NAMES, [name for name in free if name != context])
    context, question = (context, question) if context else (question, None)
    if context is None:
        raise UserError(
            f"no context or question among {', '.join(columns(dataset))}: name the column with --context_column_name; if there "
            f"are two, name the second one with --question_column_name"
        )
    if context == question or {context, question} & set(choices):
        raise UserError(f"context {context!r}, question {question!r} and candidates {', '.join(choices)}: name different columns")
    return context, question


def _only_answer(dataset: Dataset, free: list[str]) -> str | None:
    """Return the column named `label`, or the only one with a usual name of an answer; None if there is none."""
    found = [name for name in free if name_key(name) in ("label", "labels")][:1]
    for usual in (ANSWER_NAMES, OTHER_ANSWER_NAMES):
        found = found or [name for name in free if name_key(name) in set(map(name_key, usual))]
    if len(found) > 1:
        profiles = [profile for profile in describe_columns(dataset) if profile.name in found]
        raise ask(dataset, "the answer", profiles, [f"--label_column_name {quoted([name])}" for name in found])
    return found[0] if found else None


def _only_context(dataset: Dataset, free: list[str], question_is_free: bool) -> str | None:
    """Return the only column with a usual name of a context, None if there is none. Raises a `UserError` for several."""
    usual = {name_key(name) for name in CONTEXT_NAMES}
    found = [
        p for p in describe_columns(dataset) if p.name in free and p.key in usual and p.kind in ("text", "texts", "short", "name")
    ]
    if len(found) > 1:
        names = [quoted([profile.name]) for profile in found]
        answers = [f"--context_column_name {name}" for name in names]
        if question_is_free and not same_name(QUESTION_NAMES, free):
            answers += [f"--context_column_name {a} --question_column_name {b}" for a, b in permutations(names, 2)][:6]
        raise ask(dataset, "the context", found, answers)
    return found[0].name if found else same_name(CONTEXT_NAMES, free)


def _named(dataset: Dataset, option: str | None, name: str) -> list[str]:
    """Return the columns that an option names. Of a nested one, `question` or `question.stem`, take the part with texts."""
    wanted = [part.strip() for part in option.split(",")] if option else []
    found = []
    for column in wanted:
        nested = [column.replace(".", "_")] + [f"{column}{part}" for part in ("_text", "_stem", "_choices_text", "_choices")]
        found.append(same_name((column, *nested), columns(dataset)) or column)
    require_columns(dataset, found, name)
    return found


def _one(dataset: Dataset, option: str | None, name: str) -> str | None:
    found = _named(dataset, option, name)
    if len(found) > 1:
        raise UserError(f"{name} {option}: expected one column; name a second text with --question_column_name")
    return found[0] if found else None


def _find_candidates(dataset: Dataset, every: list[str], saved: ChoiceFormat | None) -> list[str]:
    """Return the columns of the candidates: one column of lists; numbered columns, which any split may have (`every`); or that
    of the right answer and those of wrong ones.
    """
    right = same_name(("correct_answer", "correct", "answer"), every)
    wrong = [name for name in every if WRONG_CHOICE.fullmatch(name_key(name))]
    if right and wrong and not saved:
        return [right, *wrong]
    stems: dict[str, list[str]] = {}
    by_key = {name_key(name): name for name in every}
    for name in map(by_key.get, natural_order(set(by_key))):
        if match := CHOICE_COLUMN.fullmatch(name_key(name)) or re.fullmatch("()([a-z])", name_key(name)):  # also columns A, B, C…
            stems.setdefault(match[1], []).append(name)
    if "a" not in map(name_key, stems.get("", ["a"])):
        del stems[""]
    available = columns(dataset)
    if saved and saved.choices and set(saved.choices) <= set(available):
        more = next((names for names in stems.values() if set(saved.choices) <= set(names)), saved.choices)
        return more if len(more) > len(saved.choices) else saved.choices
    column = same_name(CHOICE_LISTS, available)
    if column:
        return [column]
    numbered = max(stems.values(), key=len, default=[])
    if len(numbered) > 1:
        return numbered
    profiles = describe_columns(dataset)
    cells = [profile.name for profile in profiles if profile.kind == "cell" and profile.name not in ANSWER_NAMES]
    if len(cells) > 1:
        raise UserError(
            f"no candidates among {shorten(available)}, but {len(cells)} columns of 0 and 1: any number of labels per text; use "
            f"run_multilabel.py --label_column_names {quoted(cells)}"
        )
    advice = "; for one label a text use run_classification.py, for any number of them run_multilabel.py"
    label = next((profile.name for profile in usual_labels(profiles)), None) or same_name(ANSWER_NAMES, available)
    if label in [profile.name for profile in profiles if profile.kind in ("list", "delimited")]:
        advice = f"; for a text and any number of labels, use run_multilabel.py --label_column_names {quoted([label])}"
    elif label:
        advice = (
            f"; a text and a label from a fixed set is sequence classification: use run_classification.py --label_column_name "
            f"{quoted([label])} (or describe each label in a sentence: --label_descriptions)"
        )
    raise UserError(
        f"no candidates among {', '.join(available)}: if each row has candidates of its own, name the column of lists, or one "
        f"column per candidate, joined by commas, with --choice_column_names{advice}"
    )


def _warn_of_empty_candidates(train: Dataset, candidates: list[list[str]]) -> None:
    """Warn of rows whose last candidate is what tools write for nothing."""
    if empty := [row[-1] for row in candidates if is_nothing(row[-1])]:
        told = "%s: %r is the last candidate of %s: leave the cell empty where there are fewer candidates"
        logger.warning(told, file_of(train), empty[0], number_of(len(empty), "row"))


def _refuse_fixed_candidates(train: Dataset, found: ChoiceFormat, candidates: list[list[str]]) -> None:
    """Raise a `UserError` that names run_classification.py if every row has the same candidates."""
    if len(candidates) == 1 or len({tuple(sorted(row)) for row in candidates}) > 1:
        return
    count, texts = len(candidates[0]), list(filter(None, (found.context, found.question)))
    shuffled, names = len(set(map(tuple, candidates))) > 1, set(map(str.strip, candidates[0]))
    if shuffled and not {str(value).strip() for value in found.answers(train) if not is_missing(value)} <= names:
        raise UserError(
            f"{file_of(train)}: every row has the same {count} candidates ({shorten(candidates[0])}), in changing order: a text "
            f"and one label from a fixed set is sequence classification; write the right candidate itself into a column label, "
            f"and use run_classification.py --text_column_names {quoted(texts)} --label_column_name label"
        )
    raise UserError(
        f"{file_of(train)}: every row has the same {count} candidates ({shorten(candidates[0])}): a text and one label from a "
        f"fixed set is sequence classification, which reads each text once instead of {count} times; use run_classification.py "
        f"--text_column_names {quoted(texts)} --label_column_name {quoted([found.answer])} (or describe the labels in sentences: "
        f"--label_descriptions)"
    )


def _find_described(splits: dict[str, Dataset], args: DataArguments, saved: ChoiceFormat | None) -> ChoiceFormat:
    """Return the format of single-label data whose labels are described in sentences."""
    first = next(iter(splits.values()))
    descriptions = read_descriptions(args.label_descriptions) if args.label_descriptions else saved.descriptions
    usual = [*([saved.answer] if saved and saved.answer else []), *(p.name for p in usual_labels(describe_columns(first)))]
    label = same_name([args.label_column_name or "", *usual, *ANSWER_NAMES], columns(first)) or args.label_column_name
    if label is None and set(splits) != {"test"}:
        raise UserError(f"no label column among {', '.join(columns(first))}: name it with --label_column_name")
    if args.context_column_name or not (saved and saved.descriptions):
        text_args = TextArguments(text_column_names=args.context_column_name)
        texts = find_text_columns(splits, text_args, [label] if label else [])
    else:
        texts = [saved.context, *([saved.question] if saved.question else [])]
    for name, split in splits.items():
        require_columns(split, texts, "--context_column_name")
        if label and name != "test":
            require_columns(split, [label], "--label_column_name")
    context, question = (*texts, args.question_column_name)[:2]
    return ChoiceFormat(context, question, [], label, "key", descriptions, args.allow_equal_candidates, args.unknown_label)


def read_descriptions(path: str) -> list[list[str]]:
    """Return [label, sentence] pairs from a YAML or JSON file, in the order of the file. Labels are read as text.

    Raises:
        UserError: the file cannot be read, or does not map at least two labels to different sentences.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # `yes` and `007` stay text
    except OSError as error:
        raise UserError(f"cannot read --label_descriptions {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--label_descriptions {path} is not valid YAML or JSON: {one_line(error)}") from error
    if not isinstance(content, dict) or len(content) < 2 or not all(isinstance(v, str) and v.strip() for v in content.values()):
        raise UserError(f"--label_descriptions {path}: expected one line per label, such as `refund: The customer wants money`")
    if len(set(content.values())) < len(content):
        raise UserError(f"--label_descriptions {path}: two labels have the same sentence")
    return [[label, text] for label, text in content.items()]


def add_candidates(split: Dataset, found: ChoiceFormat) -> Dataset:
    """Return a split with the columns context, question ("" for none) and candidates, a list a row."""
    parts = {
        "context": ["" if text is None else str(text) for text in split[found.context][:]],
        "question": [str(text or "") for text in split[found.question][:]] if found.question else [""] * len(split),
        "candidates": found.candidates(split)[0],
    }
    split = split.remove_columns([column for column in split.column_names if column in parts])
    for column, values in parts.items():
        split = split.add_column(column, values)
    return split


def shuffle_candidates(split: Dataset, seed: int) -> Dataset:
    """Return a split with the candidates of each row, and the position of the right one, in an order drawn by `seed`."""
    return split.map(_shuffle, with_indices=True, fn_kwargs={"seed": seed}, desc="Shuffling candidates")


def _shuffle(row: dict, index: int, seed: int) -> dict:
    order = np.random.default_rng((seed, index)).permutation(len(row["candidates"])).tolist()
    return {"candidates": [row["candidates"][i] for i in order], "labels": order.index(row["labels"])}


def describe_targets(targets: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Return what `--check_data` reports about the positions [rows] of right candidates, each under its name."""
    counts = np.bincount(targets[targets != UNKNOWN], minlength=len(names)).tolist()
    return {"labels": dict(zip(names, counts, strict=True)), "rows_without_label": int((targets == UNKNOWN).sum())}
