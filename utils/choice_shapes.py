"""Recognise the shape of multiple-choice data, and name the script that other shapes belong to."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import ClassLabel, Dataset

from utils.arguments import DataArguments, TextArguments, UserError, shorten
from utils.choices import ChoiceFormat, answer_kind
from utils.classes import class_name, is_missing
from utils.data import find_text_columns, require_columns, split_validation
from utils.files import PLACE, columns
from utils.labels import UNKNOWN, natural_order
from utils.shapes import CHOICE_COLUMN, LABEL_NAMES, is_cell_column

logger = logging.getLogger(__name__)

CONTEXT_NAMES = ("context", "sent1", "ctx", "article", "passage", "premise", "goal", "paragraph", "support", "sentence", "text")
CONTEXT_NAMES += ("flores_passage", "prompt")
QUESTION_NAMES = ("question", "question_stem", "stem", "sent2", "query")
CHOICE_LISTS = ("choices", "choices_text", "question_choices", "question_choices_text", "endings", "options", "candidates")
CHOICE_LISTS += ("options_text", "candidates_text")
LETTER = re.compile(r"^()([A-Z])$")  # columns A, B, C…
ANSWER_NAMES = ("label", "labels", "answerKey", "answer_key", "answer", "correct_answer", "correct", "gold", "target")
ANSWER_NAMES += ("correct_option", "correct_answer_num", "cop")


def flatten(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """Return the splits with a nested column such as `question: {stem, choices}` as `question_stem` and `question_choices`.

    (`Dataset.flatten` of datasets 5.2 loses the new columns when rows are iterated.)
    """
    result = {}
    for split_name, split in splits.items():
        while nested := [name for name in columns(split) if isinstance(split.features[name], dict)]:
            values = list(split[nested[0]])
            parts = split.features[nested[0]]
            split = split.remove_columns(nested[0])
            for part in parts:
                split = split.add_column(f"{nested[0]}_{part}", [value and value.get(part) for value in values])
        result[split_name] = split
    return result


def find_choices(splits: dict[str, Dataset], args: DataArguments, saved: ChoiceFormat | None) -> ChoiceFormat:
    """Return where the parts of a row stand: as the options name them, as the saved model was trained, or as found.

    `args` has context_column_name, question_column_name, choice_column_names, label_column_name, label_descriptions and
    allow_equal_candidates.

    Raises:
        UserError: no candidates or no text, or the shape of another script's data.
    """
    first = next(iter(splits.values()))
    if args.label_descriptions or (saved and saved.descriptions and "train" not in splits):
        return _find_described(splits, args, saved)
    choices = _named(first, args.choice_column_names, "--choice_column_names") or _find_candidates(first, saved)
    question = _one(first, args.question_column_name, "--question_column_name")
    context = _one(first, args.context_column_name, "--context_column_name")
    free = [name for name in columns(first) if name not in choices]
    if context is None and question is None:
        context = _first(CONTEXT_NAMES, free, saved and saved.context)
        question = _first(QUESTION_NAMES, free, saved and saved.question)
    elif context is None:
        context = _first(CONTEXT_NAMES, [name for name in free if name != question], saved and saved.context)
    elif question is None and not args.context_column_name:
        question = _first(QUESTION_NAMES, [name for name in free if name != context], saved and saved.question)
    context, question = (context, question) if context else (question, None)
    if context is None:
        raise UserError(
            f"no context or question among {', '.join(columns(first))}: name the column with --context_column_name, and a "
            f"second one with --question_column_name"
        )
    named = args.label_column_name
    taken = {context, question, *choices}
    answer = named or _first(ANSWER_NAMES, [n for split in splits.values() for n in columns(split) if n not in taken])
    found = ChoiceFormat(context, question, choices, answer)
    for name, split in splits.items():
        require_columns(split, [context, *([question] if question else [])], "--context_column_name and --question_column_name")
        require_columns(split, choices, "--choice_column_names")
        for column in filter(None, (context, question)):
            _require_texts(split, column)
        if name != "test":
            require_columns(split, [answer or "label"], "--label_column_name")
    if "train" in splits:
        _refuse_fixed_candidates(splits["train"], found)
    known = next((split for split in splits.values() if found.labelled(split)), None)
    if known is None:
        if set(splits) != {"test"}:
            raise UserError(f"{first[0][PLACE]} and all other rows: no answer in column {answer!r}")
        return replace(found, answer=None)
    kind = answer_kind(list(known[answer]), *found.candidates(known), usual=saved.answer_kind if saved else None)
    return replace(found, answer_kind=kind)


def _named(dataset: Dataset, option: str | None, name: str) -> list[str]:
    """Return the columns of an option; of a nested one the part that holds the texts."""
    wanted = [part.strip() for part in option.split(",")] if option else []
    available = columns(dataset)
    found = []
    for column in wanted:
        nested = [f"{column}{part}" for part in ("_text", "_stem", "_choices_text", "_choices")]
        found.append(next((candidate for candidate in (column, *nested) if candidate in available), column))
    require_columns(dataset, found, name)
    return found


def _one(dataset: Dataset, option: str | None, name: str) -> str | None:
    found = _named(dataset, option, name)
    if len(found) > 1:
        raise UserError(f"{name} {option}: expected one column; a second text is named with --question_column_name")
    return found[0] if found else None


def _first(names: tuple[str, ...], available: list[str], saved: str | None = None) -> str | None:
    return next((name for name in (saved, *names) if name in available), None)


def _find_candidates(dataset: Dataset, saved: ChoiceFormat | None) -> list[str]:
    """Return the column of lists, or the numbered columns, that hold the candidates."""
    available = columns(dataset)
    if saved and saved.choices and set(saved.choices) <= set(available):
        return saved.choices
    lists = [name for name in CHOICE_LISTS if name in available]
    if lists:
        return lists[:1]
    stems: dict[str, list[str]] = {}
    for name in available:
        if match := CHOICE_COLUMN.match(name) or LETTER.match(name):
            stems.setdefault(match[1], []).append(name)
    numbered = max(stems.values(), key=len, default=[])
    if len(numbered) > 1:
        return natural_order(set(numbered))
    cells = [name for name in available if is_cell_column(dataset, name) and name not in ("id", "index", "idx", *ANSWER_NAMES)]
    if len(cells) > 1:
        raise UserError(
            f"no candidates among {shorten(available)}, but {len(cells)} columns of 0 and 1: any number of labels a text; use "
            f"run_multilabel.py --label_column_names {','.join(cells[:20])}"
        )
    label = next((name for name in (*LABEL_NAMES, *ANSWER_NAMES) if name in available), None)
    if label:
        script = "run_multilabel.py --label_column_names" if isinstance(dataset[0][label], list) else "run_classification.py "
        script += f" {label}" if "multilabel" in script else f"--label_column_name {label}"
        raise UserError(
            f"no candidates among {', '.join(available)}: a text and a label from a fixed set is no multiple choice; use "
            f"{script} (candidates are named with --choice_column_names; labels told in sentences with --label_descriptions)"
        )
    raise UserError(
        f"no candidates among {', '.join(available)}: name the column of lists, or one column a candidate joined by commas, "
        f"with --choice_column_names"
    )


def _require_texts(split: Dataset, column: str) -> None:
    for row, value in enumerate(split[column]):
        if value is None or value == "" or isinstance(value, (list, dict)):
            found = "the text is missing; fill or drop the row" if not value else f"found {str(value)[:60]}, expected a text"
            raise UserError(f"{split[row][PLACE]}, column {column!r}: {found}")


def _refuse_fixed_candidates(train: Dataset, found: ChoiceFormat) -> None:
    """Raise a `UserError` naming run_classification.py if every row has the same candidates."""
    candidates, _ = found.candidates(train)
    kinds = {tuple(sorted(row)) for row in candidates}
    if len(kinds) == 1 and len(candidates) > 1:
        texts = ",".join(filter(None, (found.context, found.question)))
        raise UserError(
            f"every row has the same {len(candidates[0])} candidates ({shorten(candidates[0])}): a text and one label from a "
            f"fixed set is sequence classification, which reads each text once instead of {len(candidates[0])} times; use "
            f"run_classification.py --text_column_names {texts} --label_column_name {found.answer} "
            f"(to tell the labels in sentences instead: --label_descriptions)"
        )


def _find_described(splits: dict[str, Dataset], args: DataArguments, saved: ChoiceFormat | None) -> ChoiceFormat:
    """Return the format of single-label data whose labels are told in sentences."""
    first = next(iter(splits.values()))
    descriptions = read_descriptions(args.label_descriptions) if args.label_descriptions else saved.descriptions
    label = args.label_column_name or _first((*LABEL_NAMES, *ANSWER_NAMES), columns(first), saved and saved.answer)
    if label is None and set(splits) != {"test"}:
        raise UserError(f"no label column among {', '.join(columns(first))}: name it with --label_column_name")
    if args.context_column_name or not (saved and saved.descriptions):
        text_args = TextArguments(text_column_names=args.context_column_name)
        texts = find_text_columns(splits, text_args, [label] if label else [])
    else:
        texts = [saved.context, *([saved.question] if saved.question else [])]
        for split in splits.values():
            require_columns(split, texts, "--context_column_name")
    context, question = (*texts, args.question_column_name)[:2]
    for name, split in splits.items():
        if label and name != "test":
            require_columns(split, [label], "--label_column_name")
    return ChoiceFormat(context, question, [], label, "key", descriptions)


def read_descriptions(path: str) -> dict[str, str]:
    """Return a sentence for each label from a YAML or JSON file.

    Raises:
        UserError: the file cannot be read, or does not map at least two labels to different sentences.
    """
    try:
        content: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read --label_descriptions {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--label_descriptions {path} is not valid YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or len(content) < 2 or not all(isinstance(v, str) and v.strip() for v in content.values()):
        raise UserError(f"--label_descriptions {path}: expected a line a label, such as `refund: The customer wants money`")
    if len(set(content.values())) < len(content):
        raise UserError(f"--label_descriptions {path}: two labels have the same sentence")
    return {class_name(label): text for label, text in content.items()}


def add_candidates(splits: dict[str, Dataset], found: ChoiceFormat, args: DataArguments, seed: int) -> dict[str, Dataset]:
    """Return the splits with the columns context, question ("" for none), candidates, and labels, the right position.

    A test split may have no labels. Rows of training and validation data whose answer is unknown are set aside. Splits
    validation data off the training data where it is wanted and there is none.
    """
    logger.info("%s", found)
    result = {}
    for name, split in splits.items():
        if found.descriptions and isinstance(split.features.get(found.answer), ClassLabel):
            names = [None if is_missing(value) else split.features[found.answer].int2str(value) for value in split[found.answer]]
            split = split.remove_columns(found.answer).add_column(found.answer, names)
        labels = found.targets(split, args.allow_equal_candidates) if name != "test" or found.labelled(split) else None
        candidates, _ = found.candidates(split)
        parts = {
            "context": [str(text) for text in split[found.context]],
            "question": [str(text) for text in split[found.question]] if found.question else [""] * len(split),
            "candidates": candidates,
        }
        if labels is not None:
            parts["labels"] = labels.tolist()
        split = split.remove_columns([column for column in split.column_names if column in (*parts, "labels")])
        for column, values in parts.items():
            split = split.add_column(column, values)
        if labels is not None and name != "test" and (labels == UNKNOWN).any():
            logger.info("%s: %s rows without a sure answer are set aside", name, f"{(labels == UNKNOWN).sum():,}")
            split = split.select(np.flatnonzero(labels != UNKNOWN))
            if not len(split):
                raise UserError(f"{splits[name][0][PLACE]} and all other rows of the {name} data: no answer is known")
        result[name] = split
        if name == "train" and args.validation_fraction and "validation" not in splits:
            result["train"], result["validation"] = split_validation(split, args, np.array(split["labels"]), seed)
    if args.shuffle_choices and "train" in result:
        result["train"] = result["train"].map(_shuffle, with_indices=True, fn_kwargs={"seed": seed}, desc="Shuffling candidates")
    return result


def _shuffle(row: dict, index: int, seed: int) -> dict:
    order = np.random.default_rng((seed, index)).permutation(len(row["candidates"])).tolist()
    return {"candidates": [row["candidates"][i] for i in order], "labels": order.index(row["labels"])}


def describe_targets(targets: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Return what `--check_data` says of the positions [rows] of right candidates, each under its name."""
    counts = np.bincount(targets[targets != UNKNOWN], minlength=len(names)).tolist()
    return {"labels": dict(zip(names, counts, strict=True)), "rows_without_label": int((targets == UNKNOWN).sum())}
