"""Which columns hold the texts: the rules that read the profiles of a table. What fits one way is taken and said, else asked."""

import logging
from itertools import combinations, permutations

import pyarrow as pa
from datasets import Dataset

from utils.arguments import TextArguments, UserError, shorten
from utils.columns.naming import ask, named_columns, quoted, require_columns
from utils.columns.profile import FREE_TEXT, Profile, describe_columns, same_name
from utils.files.rows import cell_error, columns, file_of

logger = logging.getLogger(__name__)

# Names are compared by their key, which has no capitals, spaces or punctuation: see `name_key`.
TEXTS = {"text", "sentence", "comment", "commenttext", "content", "body", "review", "reviewtext", "tweet", "message", "question"}
TEXTS |= {"document", "utterance", "post"}
PARTS = {"title", "subject", "headline", "heading", "summary"}  # of a text in another column
PAIRS = (("premise", "hypothesis"), ("question", "sentence"), ("question", "passage"), ("question", "context"))
PAIRS += (("question", "paragraph"), ("text", "textpair"), ("claim", "evidence"))
SIDES = {("1", "2"), ("0", "1"), ("a", "b"), ("left", "right"), ("first", "second")}  # the words that tell two names apart


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
    for key, split in splits.items():
        rename = "" if split is first else ", or rename the column: all files need the same names"
        require_columns(split, names, f"--text_column_names{rename}")
        splits[key] = join_parts(split, names)
    return names


def join_parts(split: Dataset, names: list[str]) -> Dataset:
    """Return a split whose columns of texts hold no lists: the parts of a text, such as paragraphs, are joined by a space.

    Raises a `UserError` if a list holds anything but texts.
    """
    for name in names:
        kind = split.data.schema.field(name).type
        if not pa.types.is_nested(kind):
            continue
        if not (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)):
            row = next((row for row, value in enumerate(split[name][:]) if value is not None), 0)
            expected = 'a text, or a list of its parts: ["…", "…"]'
            raise cell_error(split, row, name, f"found {str(split[row][name])[:60]}, expected {expected}")
        logger.info("%s, column %r: the parts of each text are joined by a space", file_of(split), name)
        texts = [parts and " ".join(filter(None, parts)) for parts in split[name][:]]
        split = split.remove_columns(name).add_column(name, texts)
    return split


def _choose_texts(dataset: Dataset, taken: list[str]) -> list[str]:
    """Return the only column that can be the text, or two that are named as a pair."""
    free = [profile for profile in describe_columns(dataset) if profile.name not in taken]
    usual = [p for p in free if p.key in TEXTS and p.kind not in {"id", "url", "date", "empty", "list", "object"}]
    parts = [p for p in free if p.key in PARTS and p.kind in ("text", "short")]
    texts = [p for p in free if p.kind in ("text", "texts") or p in usual or p in parts]
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
