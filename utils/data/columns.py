"""Which columns hold the texts and the ids."""

import logging

from datasets import Dataset

from utils.arguments import DataArguments, TextArguments, UserError
from utils.files.rows import cell_error, columns, file_of, first_of

logger = logging.getLogger(__name__)

TEXT_NAMES = ("text", "comment_text", "sentence", "comment", "content", "body", "review", "tweet", "message", "question")
PAIR_NAMES = (("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"), ("question", "sentence"))
PAIR_NAMES += (("text1", "text2"), ("text_a", "text_b"), ("sentence_1", "sentence_2"), ("text", "text_pair"))


def require_columns(dataset: Dataset, names: list[str], option: str) -> None:
    """Raise a `UserError` that lists the columns of `dataset` if one of `names` is missing."""
    for name in names:
        if name not in columns(dataset):
            raise UserError(
                f"{file_of(dataset)} has no column {name!r}; its columns: {', '.join(columns(dataset))}; see {option}"
            )


def require_texts(split: Dataset, column: str, may_be_missing: bool) -> None:
    """Raise a `UserError` for the first row of `column` that holds no text."""
    for row, value in enumerate(split[column][:]):
        if value in (None, "") and not may_be_missing:
            raise cell_error(split, row, column, "the text is missing; fill or drop the row")
        if isinstance(value, (list, dict)):
            raise cell_error(split, row, column, f"found {str(value)[:60]}, expected a text")


def find_text_columns(
    splits: dict[str, Dataset], args: TextArguments, taken: list[str], saved: list[str] | None = None
) -> list[str]:
    """Return the one or two text columns: the named ones, those `saved` with the model, or the most likely ones not `taken`.

    Raises:
        UserError: a split lacks a named column, no column holds texts, or a row has no text.
    """
    first = next(iter(splits.values()))
    if args.text_column_names:
        names = [name.strip() for name in args.text_column_names.split(",")]
        if len(names) > 2 and args.text_column_delimiter is None:
            raise UserError(
                f"--text_column_names {args.text_column_names}: expected one column, or two for a pair; to join several into one "
                f"text, add --text_column_delimiter ' '"
            )
    elif saved and (len(saved) > 1 or set(saved) <= set(columns(first))):
        names = saved
        logger.info("text columns: %s (as the model was trained; --text_column_names to change)", ", ".join(names))
    else:
        names = _guess_text_columns(first, taken)
    for name in names:
        if name in taken:
            raise UserError(f"--text_column_names {','.join(names)}: {name!r} is a label column")
    for split in splits.values():
        require_columns(split, names, "--text_column_names")
        for name in names:
            require_texts(split, name, may_be_missing=args.check_data)  # the report counts missing texts
    return names


def _guess_text_columns(dataset: Dataset, taken: list[str]) -> list[str]:
    """Return a usual pair of text columns, else one with a usual name, else the column with the longest texts."""
    texts = [n for n in columns(dataset) if getattr(dataset.features[n], "dtype", None) in ("string", "large_string")]
    free = [name for name in texts if name not in taken]
    if not free:
        raise UserError(
            f"no column of texts among {', '.join(columns(dataset))}: name one with --text_column_names (numbers in it are read "
            f"as text)"
        )
    for pair in PAIR_NAMES:
        if set(pair) <= set(free):
            logger.info("pair of text columns: %s (found; --text_column_names to change)", ", ".join(pair))
            return list(pair)
    sample = dataset.select(range(min(100, len(dataset))))
    name = first_of(TEXT_NAMES, free) or max(free, key=lambda name: sum(len(value or "") for value in sample[name]))
    logger.info("text column: %s (found; --text_column_names to change)", name)
    return [name]


def find_ids(splits: dict[str, Dataset], args: DataArguments) -> tuple[str, list]:
    """Return the name and the values of what identifies the test rows: a column (that named, or `id`), or row numbers."""
    if "test" not in splits:
        return "row", []
    test = splits["test"]
    if args.id_column_name:
        require_columns(test, [args.id_column_name], "--id_column_name")
    elif "id" not in columns(test):
        return "row", list(range(len(test)))
    elif not args.id_column_name:
        logger.info("id column: id (found; --id_column_name to change)")
    name = args.id_column_name or "id"
    return name, test[name][:]
