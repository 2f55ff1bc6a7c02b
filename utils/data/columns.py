"""Which columns hold what: the rules that read the profiles of a table. What fits one way is taken and said, else asked."""

import difflib
import logging
import shlex
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from utils.arguments import DataArguments, TextArguments, UserError, shorten
from utils.data.profile import FREE_TEXT, Profile, describe_columns, same_name
from utils.files.rows import PLACE, arrow_cells, cell_error, cell_parts, columns, file_of

logger = logging.getLogger(__name__)

# Names are compared by their key, which has no capitals, spaces or punctuation: see `name_key`.
TEXTS = {"text", "sentence", "comment", "commenttext", "content", "body", "review", "reviewtext", "tweet", "message", "question"}
TEXTS |= {"document", "utterance", "post"}
PARTS = {"title", "subject", "headline", "heading", "summary"}  # of a text in another column
PAIRS = (("premise", "hypothesis"), ("question", "sentence"), ("question", "passage"), ("question", "context"))
PAIRS += (("question", "paragraph"), ("text", "textpair"), ("claim", "evidence"))
SIDES = {("1", "2"), ("0", "1"), ("a", "b"), ("left", "right"), ("first", "second")}  # the words that tell two names apart


def require_columns(dataset: Dataset, names: list[str], advice: str) -> None:
    """Raise a `UserError` that lists the columns of `dataset` if one of `names` is missing; `advice` is an option to see."""
    for name in names:
        if name not in columns(dataset):
            near = difflib.get_close_matches(name, columns(dataset), n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                f"{file_of(dataset)} has no column {name!r}{meant}; its columns: {', '.join(columns(dataset))}; see {advice}"
            )


def named_columns(dataset: Dataset, option: str | None) -> list[str]:
    """Return the columns that the value of an option names, joined by commas; a name may differ in case and punctuation."""
    wanted = [name.strip() for name in option.split(",")] if option else []
    if option and option.strip() in columns(dataset):  # a name with a comma in it
        return [option.strip()]
    return [same_name([name], columns(dataset)) or name for name in wanted]


def ask(dataset: Dataset, what: str, candidates: list[Profile], answers: list[str]) -> UserError:
    """Return the question which of the `candidates` is `what`, with the options to copy as `answers`."""
    shown = "; ".join(map(str, candidates[:8])) + (f" … ({len(candidates)} in all)" if len(candidates) > 8 else "")
    return UserError(f"{file_of(dataset)}: {what} may be in more than one way: {shown}. Say how: {', or '.join(answers)}")


def quoted(names: list[str]) -> str:
    """Return names joined by commas, as one argument of a command line."""
    return shlex.quote(",".join(names))


def find_text_columns(
    splits: dict[str, Dataset], args: TextArguments, taken: list[str], saved: list[str] | None = None
) -> list[str]:
    """Return the one or two text columns: the named ones, those `saved` with the model, or those found among the not `taken`.

    Raises:
        UserError: a split lacks a named column, no column holds texts, or several may.
    """
    first = next(iter(splits.values()))
    if args.text_column_names:
        names = named_columns(first, args.text_column_names)
        if len(names) > 2 and args.text_column_delimiter is None:
            raise UserError(
                f"--text_column_names {args.text_column_names}: expected one column, or two for a pair; to join several into one "
                f"text, add --text_column_delimiter ' '"
            )
    elif saved and (len(saved) > 1 or same_name(saved, columns(first))):
        names = [same_name([name], columns(first)) or name for name in saved]
        logger.info("text: %s (as the model was trained; --text_column_names to change)", ", ".join(names))
    else:
        names = _choose_texts(first, taken)
        kind = "pair of text columns" if len(names) > 1 else "text column"
        logger.info("%s: %s (found; --text_column_names to change)", kind, ", ".join(names))
    for name in names:
        if name in taken:
            raise UserError(f"--text_column_names {','.join(names)}: {name!r} is a label column")
    for split in splits.values():
        rename = "" if split is first else ", or rename the column: all files need the same names"
        require_columns(split, names, f"--text_column_names{rename}")
        require_texts(split, names)
    return names


def require_texts(split: Dataset, names: list[str]) -> None:
    """Raise a `UserError` for a column of lists among the columns of texts."""
    for name in names:
        if pa.types.is_nested(split.data.schema.field(name).type):
            row = next((row for row, value in enumerate(split[name][:]) if value is not None), 0)
            raise cell_error(split, row, name, f"found {str(split[row][name])[:60]}, expected a text")


def _choose_texts(dataset: Dataset, taken: list[str]) -> list[str]:
    """Return the only column that can be the text, or two that are named as a pair."""
    free = [profile for profile in describe_columns(dataset) if profile.name not in taken]
    usual = [p for p in free if p.key in TEXTS and p.kind not in {"id", "url", "date", "empty", "list", "object"}]
    parts = [p for p in free if p.key in PARTS and p.kind in ("text", "short")]
    texts = [p for p in free if p.kind == "text" or p in usual or p in parts]
    if not set(texts) - set(parts):  # nothing but a title, or not even that
        kinds = ("short", "name", "delimited") if taken else ("short",)  # without labels a name may be one
        texts = parts or [p for p in free if p.kind in kinds and p.distinct > 1]
    if not texts:
        raise UserError(
            f"no column of texts among {shorten(columns(dataset), 30)}: name one with --text_column_names (numbers become text)"
        )
    pair = _named_pair(texts)
    if pair and not set(texts) - set(pair) - set(parts):
        return [profile.name for profile in pair]
    for profile in texts:
        if len(profile.name.split()) > FREE_TEXT and not profile.name.endswith(("?", ":")):
            raise UserError(
                f"{file_of(dataset)}: the name {profile.name!r} looks like a text: if the first line is a row, add --no_header "
                f"--column_names with a name for each column; if it is a name, add --text_column_names {quoted([profile.name])}"
            )
    if len(texts) == 1:
        texts += _second_texts(dataset, texts[0], [p for p in free if p.kind in ("text", "short", "name")], taken)
    if len(texts) == 1:
        return [texts[0].name]
    names = [profile.name for profile in texts]
    pairs = combinations(names, 2) if len(names) <= 3 else []
    answers = [f"--text_column_names {quoted(list(pair))} (a pair of texts)" for pair in pairs]
    answers += [f"--text_column_names {quoted([name])}" for name in names]
    answers += [f"--text_column_names {quoted(names)} --text_column_delimiter ' ' (joined into one text)"]
    raise ask(dataset, "the text", texts, answers)


def _second_texts(dataset: Dataset, text: Profile, others: list[Profile], taken: list[str]) -> list[Profile]:
    """Return which of `others` tell apart equal texts that have different labels, as the aspect that a sentence is about."""
    if not taken or 10 * text.distinct > 9 * text.filled:
        return []

    def contradictions(*names: str) -> int:
        """Return in how many rows a label contradicts that of an earlier row with the same cells in the columns `names`."""
        first: dict[tuple, list] = {}
        rows = zip(zip(*(dataset[name][:] for name in names), strict=True), labels, strict=True)
        return sum(first.setdefault(cells, label) != label for cells, label in rows)

    labels = list(zip(*(map(str, dataset[name][:]) for name in taken), strict=True))
    alone = contradictions(text.name)
    if 20 * alone < len(dataset):
        return []
    return [other for other in others if other is not text and 4 * contradictions(text.name, other.name) < alone]


def _named_pair(texts: list[Profile]) -> list[Profile]:
    """Return the two texts that are named as a pair, such as premise and hypothesis, or text_a and text_b; else none."""
    for first, second in permutations(texts, 2):
        apart = [pair for pair in zip(first.words, second.words, strict=False) if pair[0] != pair[1]]
        if (first.key, second.key) in PAIRS:
            return [first, second]
        if len(first.words) == len(second.words) and len(apart) == 1 and apart[0] in SIDES:
            return [first, second]
    return []


def settle_empty_texts(name: str, split: Dataset, texts: list[str], joined: bool, args: DataArguments) -> Dataset:
    """Return a split with a text in each row. Rows without one are predicted as an empty text, but left out of the others.

    Of a pair no part may be empty; of `joined` texts one must be there.

    Raises:
        UserError: a cell holds no text, or no row has one; or with --strict_data a row has none.
    """
    empty = []
    for column in texts:
        cells = arrow_cells(split, column)
        cells = cells if pa.types.is_string(cells.type) else cells.cast(pa.string())
        empty.append(pc.fill_null(pc.equal(cells, ""), True))
    missing = empty[0]
    for other in empty[1:]:
        missing = pc.and_(missing, other) if joined else pc.or_(missing, other)
    rows = pc.indices_nonzero(missing).to_pylist()
    if rows and (args.strict_data or len(rows) == len(split)):
        raise cell_error(split, rows[0], texts[0], "the text is missing; fill or drop the row")
    if rows:
        what = "is predicted as an empty text" if name == "test" else "is left out"
        first = split[rows[0]][PLACE]
        logger.warning("%s: %d of %d rows have no text; each %s (the first: %s)", name, len(rows), len(split), what, first)
    if rows and name != "test":
        split = split.select(pc.indices_nonzero(pc.invert(missing)).to_pylist())
    for column in texts:
        if arrow_cells(split, column).null_count:
            values = ["" if value is None else str(value) for value in split[column][:]]
            split = split.remove_columns(column).add_column(column, values)
    return split


def texts_of(split: Dataset, columns: list[str]) -> list[tuple[str, ...]]:
    """Return the texts of each row."""
    return [tuple(map(str, parts)) for parts in zip(*(arrow_cells(split, column).to_pylist() for column in columns), strict=True)]


def warn_of_shared_texts(splits: dict[str, Dataset], columns: list[str]) -> None:
    """Warn of validation and test rows whose texts stand in the training data: their scores say little of new texts."""
    for name in ("validation", "test") if "train" in splits else ():
        if name not in splits:
            continue
        alike = _rows_among(splits["train"], splits[name], columns[0])  # few rows share one text without sharing all
        known = {texts for texts in texts_of(alike, columns) if set(texts) - {"", "None"}}
        shared = sum(map(known.__contains__, texts_of(_rows_among(splits[name], alike, columns[0]), columns)))
        if shared:
            logger.warning("%s: the texts of %d of %d rows stand in the training data too", name, shared, len(splits[name]))


def _rows_among(rows: Dataset, others: Dataset, column: str) -> Dataset:
    """Return the rows whose cell in a column is that of some of the `others`, too."""
    known = arrow_cells(others, column).cast(rows.data.schema.field(column).type).combine_chunks()
    among = [pc.is_in(cells, known).to_numpy() for cells in cell_parts(rows, column)]
    return rows.select(np.flatnonzero(np.concatenate(among)))


def find_ids(splits: dict[str, Dataset], args: DataArguments) -> tuple[str, list]:
    """Return the name and the values of what identifies the test rows: a column that is named so, or row numbers.

    Without test rows it is the name of that column in the others, and no values.
    """
    test = splits.get("test", splits.get("validation", splits.get("train")))
    if args.id_column_name and "test" not in splits:
        return args.id_column_name, []
    if args.id_column_name:
        names = named_columns(test, args.id_column_name)
        require_columns(test, names, "--id_column_name")
    else:
        found = [profile for profile in describe_columns(test) if profile.key == "id" or (profile.kind == "id" and profile.words)]
        names = [profile.name for profile in found if profile.key == "id"] or [profile.name for profile in found]
        if len(names) > 1:
            logger.info("ids: %s; rows are numbered instead (--id_column_name to choose)", ", ".join(names))
        if len(names) == 1:
            logger.info("id column: %s (found; --id_column_name to change)", names[0])
    if "test" not in splits:
        return names[0] if len(names) == 1 else "row", []
    if len(names) != 1:
        return "row", list(range(len(test)))
    ids = test[names[0]][:]
    value, count = Counter(ids).most_common(1)[0]
    if count > 1:
        logger.warning("ids: %r stands in %d rows of %s, and in as many predictions", value, count, file_of(test))
    return names[0], ids
