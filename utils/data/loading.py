"""Load the splits, find their columns, and check that every row has a text."""

import contextlib
import hashlib
import logging
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from datasets.fingerprint import Hasher, generate_random_fingerprint
from sklearn.model_selection import train_test_split

from utils.arguments import DataArguments, TextArguments, UserError
from utils.data.files import (
    EXAMPLE_FILE,
    PLACE,
    add_array,
    cell_error,
    columns,
    file_of,
    first_of,
    matching,
    one_line,
    read_files,
    with_places,
)

logger = logging.getLogger(__name__)

TEXT_NAMES = ("text", "comment_text", "sentence", "comment", "content", "body", "review", "tweet", "message", "question")
PAIR_NAMES = (("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"), ("question", "sentence"))
PAIR_NAMES += (("text1", "text2"), ("text_a", "text_b"), ("sentence_1", "sentence_2"), ("text", "text_pair"))
# What the splits of a dataset from the Hub may be called.
SPLIT_NAMES = {"train": ("train",), "test": ("test", "test_matched")}
SPLIT_NAMES |= {"validation": ("validation", "validation_matched", "valid", "val", "dev")}
ROWS_WORTH_KEEPING = 5000


def load_splits(args: DataArguments, read: Callable[[str], Dataset] = read_files) -> dict[str, Dataset]:
    """Load the train, validation and test data that the options name. Every row gets the hidden column `PLACE`.

    Args:
        read: turns the value of --train_file, --validation_file or --test_file into a dataset. To read something other than
            files, write your own with `rows_to_dataset`. The example rows of a smoke test are always read as a file.

    Raises:
        UserError: there is no data, or a file is missing, empty, unreadable or malformed.
    """
    if args.dataset_name:
        return _load_named(args)
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    splits = {}
    for name, file in files.items():
        if file:
            is_example = args.smoke_test and Path(file).name == EXAMPLE_FILE
            splits[name] = _checked(name, (read_files if is_example else read)(file), file, f"{file}, row")
    if not splits:
        raise UserError(
            "no data: give --train_file, --test_file or --dataset_name, or try --smoke_test (without any options the sample "
            "runs; to change its options, start from its file in configs/)"
        )
    return splits


def _load_named(args: DataArguments) -> dict[str, Dataset]:
    try:
        if any(Path(args.dataset_name, name).is_file() for name in ("state.json", "dataset_dict.json")):
            loaded = load_from_disk(args.dataset_name)  # a folder written by `save_to_disk`
        else:
            loaded = load_dataset(args.dataset_name, args.dataset_config_name)
    except (DatasetNotFoundError, DatasetGenerationError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"cannot load --dataset_name {args.dataset_name}: {one_line(error)}") from error
    loaded = loaded if isinstance(loaded, DatasetDict) else {"train": loaded}
    splits, removed = {}, (args.remove_splits or "").split(",")
    for name, candidates in SPLIT_NAMES.items():
        source = first_of(candidates, loaded)
        if source and source not in removed:
            origin = f"{args.dataset_name}[{source}]"
            splits[name] = _checked(name, loaded[source], origin, f"{origin}, index", first=0)
    if not splits:
        raise UserError(f"{args.dataset_name} has no train, validation or test split; its splits: {', '.join(loaded)}")
    return splits


def _checked(name: str, split: Dataset, origin: str, unit: str, first: int = 1) -> Dataset:
    """Return a split with places, and log what it holds. A split without rows is a `UserError`."""
    if not len(split):
        raise UserError(f"{origin} has no rows")
    logger.info("%s: %s rows from %s; columns: %s", name, f"{len(split):,}", origin, ", ".join(columns(split)))
    return with_places(split, unit, first)


def splits_to_use(splits: dict[str, Dataset], asked: list[str], args: DataArguments) -> dict[str, Dataset]:
    """Return the splits that take part: all, or those `asked` for with --do_train, --do_eval, --do_predict.

    Where evaluation is not asked for, no validation data is split off either.

    Raises:
        UserError: a split is asked for that there is no data for; a file is training and test data.
    """
    if not asked:
        _check_same_files(splits, args)
        return splits
    for name, option in (("train", "--do_train"), ("test", "--do_predict")):
        if name in asked and name not in splits:
            raise UserError(f"{option} needs {name} data: give --{name}_file, or a dataset with that split")
    if "validation" not in asked:
        args.validation_fraction = 0.0
    if "validation" in asked and "train" not in asked and "validation" not in splits:
        raise UserError("--do_eval needs validation data: give --validation_file, or a dataset with that split")
    used = {name: split for name, split in splits.items() if name in asked}
    _check_same_files(used, args)
    return used


def _check_same_files(splits: dict[str, Dataset], args: DataArguments) -> None:
    """Warn of a file that is training and validation data. Raises a `UserError` for one that is training and test data."""
    if "train" not in splits or args.smoke_test or args.dataset_name:
        return
    training = set(map(os.path.realpath, matching(args.train_file)))
    both = {
        name: [path for path in matching(pattern) if os.path.realpath(path) in training]
        for name, pattern in (("validation", args.validation_file), ("test", args.test_file))
        if name in splits and pattern
    }
    if args.validation_file and args.test_file and {"validation", "test"} <= splits.keys():
        shared = set(map(os.path.realpath, matching(args.validation_file))) & set(map(os.path.realpath, matching(args.test_file)))
        if shared:
            logger.warning("%s is validation and test data: what is chosen by its scores is judged by them", shared.pop())
    if both.get("validation"):
        logger.warning("%s is training and validation data: its scores say nothing of other texts", both["validation"][0])
    if both.get("test"):
        raise UserError(
            f"{both['test'][0]} is training and test data, whose scores would say nothing: name another --test_file; to predict "
            f"training rows run again with the trained model as --model_name_or_path and --test_file alone"
        )


def first_rows(splits: dict[str, Dataset], args: DataArguments, seed: int) -> dict[str, Dataset]:
    """Return the splits cut to --max_train_samples, --max_eval_samples and --max_predict_samples."""
    if args.shuffle_train_dataset and "train" in splits:
        splits = {**splits, "train": splits["train"].shuffle(seed=seed)}
    limits = {"train": args.max_train_samples, "validation": args.max_eval_samples, "test": args.max_predict_samples}
    return {name: split.select(range(min(len(split), limits[name] or len(split)))) for name, split in splits.items()}


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


def split_validation(train: Dataset, args: DataArguments, strata: np.ndarray, seed: int) -> tuple[Dataset, Dataset]:
    """Split validation rows off the training data, each of the `strata` [rows] in proportion. Return what is left, and these."""
    if len(train) < 2:
        raise UserError("the training data has one row with a label: too few to split validation data off; see --validation_file")
    kinds, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    codes = np.where(counts[codes] < 2, -1, codes)  # a stratum of one row cannot be split: put all such rows into one
    size = max(round(len(train) * args.validation_fraction), 1)
    possible = min(size, len(train) - size) >= len(kinds) and (codes == -1).sum() != 1
    kept, held_out = train_test_split(
        np.arange(len(train)), test_size=size, random_state=seed, stratify=codes if possible else None
    )
    logger.info("validation: %d rows split off the training data (--validation_fraction %g)", size, args.validation_fraction)
    return train.select(np.sort(kept)), train.select(np.sort(held_out))


def known_rows(name: str, split: Dataset, unknown: np.ndarray, label: str = "a label") -> Dataset:
    """Return a training or validation split without its `unknown` rows [rows], which can neither be learned nor scored."""
    if unknown.all():
        raise UserError(f"{file_of(split)}: no row of the {name} data has {label}")
    if not unknown.any():
        return split
    logger.info("%s: %s rows without %s are set aside", name, f"{unknown.sum():,}", label)
    return split.select(np.flatnonzero(~unknown))


def describe_data(split: Dataset) -> str:
    """Return the number of rows and a hash of their content, so that a resumed run can tell whether its data changed."""
    table = split.select_columns(sorted(columns(split))).with_format("arrow")[:].replace_schema_metadata(None).combine_chunks()
    digest = hashlib.sha256(table.schema.serialize())
    for batch in table.to_batches(max_chunksize=10_000):
        digest.update(batch.serialize())
    return f"{len(split):,} rows {digest.hexdigest()[:8]}"


def read_row_columns(splits: dict[str, Dataset], names: tuple[str, ...]) -> dict[str, Dataset]:
    """Return the splits with the columns `names` as numbers. A split without labels may lack them.

    Raises:
        UserError: a column is missing, or a cell in it is no number; names file, row and column.
    """
    result = {}
    for split_name, split in splits.items():
        present = [name for name in names if "labels" in split.column_names or name in columns(split)]
        require_columns(split, present, "ROW_COLUMNS in the script")
        for name in present:
            values = [_as_number(value) for value in split[name][:]]
            if None in values:
                row = values.index(None)
                raise cell_error(split, row, name, f"found {split[row][name]!r}, expected a number")
            split = add_array(split.remove_columns(name), name, np.array(values, np.float32))
        result[split_name] = split
    return result


def _as_number(value: Any) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        if math.isfinite(float(value)):
            return float(value)
    return None


def encode_joined(rows: dict, encode: Callable[[dict], dict], columns: list[str], delimiter: str) -> dict:
    """Return `encode` of rows whose first of `columns` holds the texts of all of them, joined by `delimiter`."""
    joined = [delimiter.join(map(str, texts)) for texts in zip(*(rows[name] for name in columns), strict=True)]
    return encode({**rows, columns[0]: joined})


def add_length(rows: dict, encode: Callable[[dict], dict]) -> dict:
    """Return `encode` of rows, with `length`, the tokens of a row's longest text, and `cut`, whether a text was too long."""
    encoded = encode(rows)
    longest = [max(map(len, ids)) if isinstance(ids[0], list) else len(ids) for ids in encoded["input_ids"]]
    texts = getattr(encoded, "encodings", None) or []  # a slow tokenizer does not say what it has cut
    cut = encoded["cut"] if "cut" in encoded else [bool(text.overflowing) for text in texts] or [False] * len(longest)
    return {**encoded, "length": longest, "cut": cut}


def encode_split(
    name: str, split: Dataset, encode: Callable[[dict], dict], args: DataArguments, keep: tuple[str, ...] = ()
) -> Dataset:
    """Return the tokens of a split, a batch of rows at a time, with `length` and `cut`; labels and the columns to `keep` stay.

    The tokens of many rows go into the cache of datasets. The next run with the same rows, `encode` and tokenizer reads them
    there.

    Raises:
        UserError: `encode` reads a column that is not there.
    """
    file, fingerprint = None, generate_random_fingerprint()  # hashing a tokenizer takes longer than encoding a few rows
    if len(split) >= ROWS_WORTH_KEEPING:
        fingerprint = Hasher.hash((split._fingerprint, encode, keep))
        folder = Path(datasets.config.HF_DATASETS_CACHE, "encoded")
        with contextlib.suppress(OSError):  # without a cache that can be written to, nothing is kept
            folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            file = str(folder / f"{fingerprint}.arrow")
    mapped = partial(
        split.map,
        partial(add_length, encode=encode),
        batched=True,
        num_proc=args.preprocessing_num_workers,
        remove_columns=[column for column in split.column_names if column not in ("labels", PLACE, *keep)],
        cache_file_name=file,
        keep_in_memory=file is None,
        new_fingerprint=fingerprint,
        desc=f"Tokenizing {name}",
    )
    try:
        encoded = mapped(load_from_cache_file=not args.overwrite_cache)
    except KeyError as error:
        if error.args[0] in split.column_names:
            raise
        present = ", ".join(columns(split))
        problem = f"has no column {error.args[0]!r}, which `encode` in the script reads; its columns: {present}"
        raise UserError(f"{file_of(split)} {problem}") from error
    except (pa.ArrowException, OSError) as error:
        if file is None or not Path(file).is_file():
            raise
        logger.warning("%s: the cache %s cannot be read (%s): tokenizing again", name, file, " ".join(str(error).split()))
        encoded = mapped(load_from_cache_file=False)
    if any(encoded["cut"][:]):
        share, length = 100 * np.mean(encoded["cut"][:]), max(encoded["length"][:])
        logger.info("%s: %.1f %% of the rows are cut to %d tokens (--max_seq_length)", name, share, length)
    return encoded
