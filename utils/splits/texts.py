"""Texts without labels: files of any columns, files with a text a line, and each text once."""

import logging

import numpy as np
from datasets import Dataset, concatenate_datasets

from utils.arguments import TextArguments, UserError, shorten
from utils.files.content import decode, read_content
from utils.files.reading import matching, read_splits
from utils.files.rows import PLACE, align_columns, columns, flatten, rows_to_dataset, with_places
from utils.splits.taking_part import first_rows
from utils.splits.validation import split_validation

logger = logging.getLogger(__name__)


def read_texts(pattern: str, options: TextArguments) -> Dataset | dict[str, Dataset]:
    """Read files for `load_splits`, of which only the texts count: of several the columns that all have.

    A .txt file has a text in each line that is not blank, in a column `text`, or as --text_column_names says; with
    --no_header it is a table.

    Raises:
        UserError: no file matches, one cannot be read, or they have no column in common.
    """
    paths = matching(pattern)
    parts = [_read_lines(path, options) if _has_lines(path, options) else read_splits(path, options) for path in paths]
    if len(parts) == 1:
        return parts[0]
    for path, part in zip(paths, parts, strict=True):
        if isinstance(part, dict):
            raise UserError(f"{path} holds the splits {', '.join(part)}: give it alone")
    parts = [with_places(part, f"{path}, row") for path, part in zip(paths, parts, strict=True)]
    parts = list(align_columns(dict(zip(paths, parts, strict=True))).values())
    shared = [name for name, kind in parts[0].features.items() if all(part.features.get(name) == kind for part in parts)]
    if shared == [PLACE]:
        found = "; ".join(f"{path}: {', '.join(columns(part))}" for path, part in zip(paths, parts, strict=True))
        raise UserError(
            f"the files have no column in common ({found}): rename that of the texts (a .txt file takes the name in "
            f"--text_column_names)"
        )
    left = {name for part in parts for name in columns(part)} - set(shared)
    if left:
        logger.info("columns that not all files have are left out: %s", shorten(sorted(left)))
    logger.info("texts: %s", ", ".join(f"{len(part):,} in {path}" for path, part in zip(paths, parts, strict=True)))
    return concatenate_datasets([part.select_columns(shared) for part in parts])


def _has_lines(path: str, options: TextArguments) -> bool:
    name = path.lower().removesuffix(".gz").removesuffix(".zip")
    return name.endswith(".txt") and not options.no_header


def _read_lines(path: str, options: TextArguments) -> Dataset:
    path, _, _, content = read_content(path)
    lines = enumerate(decode(path, content, options.encoding).split("\n"), 1)
    filled = [(number, line.removesuffix("\r")) for number, line in lines if line.strip()]
    column = options.text_column_names or "text"
    return rows_to_dataset([{column: line} for _, line in filled], [f"{path}, line {number}" for number, _ in filled])


def without_test(splits: dict[str, Dataset], args: TextArguments) -> dict[str, Dataset]:
    """Return the splits to train on and to hold back. Raises a `UserError` if there are none.

    Test texts are left alone unless --train_file lists their file.
    """
    if "test" in splits and not args.smoke_test:
        logger.info("test: not used%s", "; to train on its texts list the file in --train_file, too" if args.test_file else "")
    splits = flatten({name: split for name, split in splits.items() if name != "test"})
    if not splits:
        raise UserError("nothing to train on: give --train_file, which may list the test file, too")
    return splits


def only_columns(splits: dict[str, Dataset], names: list[str]) -> dict[str, Dataset]:
    """Return the splits with the columns `names` alone, and the places of the rows."""
    return {name: split.select_columns([*names, PLACE]) for name, split in splits.items()}


def drop_repeated(name: str, split: Dataset, texts: list[str]) -> Dataset:
    """Return a split with the first of all rows that agree in the columns `texts`."""
    table = split.select_columns(texts).with_format("arrow")[:]
    rows = table.append_column("row", [list(range(len(split)))]).group_by(texts, use_threads=False).aggregate([("row", "min")])
    if len(rows) == len(split):
        return split
    logger.info("%s: %s of %s texts occur again and are left out", name, f"{len(split) - len(rows):,}", f"{len(split):,}")
    return split.select(sorted(rows["row_min"].to_pylist()))


def settle_texts(splits: dict[str, Dataset], texts: list[str], args: TextArguments, seed: int) -> dict[str, Dataset]:
    """Return the splits with each text once, and validation texts held back if they are wanted and not given.

    They are cut to --max_train_samples and --max_eval_samples. --check_data counts the repeated texts, so they stay.
    """
    if not args.check_data:
        splits = {name: drop_repeated(name, split, texts) for name, split in splits.items()}
    if "train" in splits and args.validation_fraction and "validation" not in splits:
        alike = np.zeros(len(splits["train"]))
        splits["train"], splits["validation"] = split_validation(splits["train"], args, alike, seed)
    return first_rows(splits, args, seed)
