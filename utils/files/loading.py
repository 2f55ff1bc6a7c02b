"""From files to splits: what trains, what validates, what is predicted."""

import hashlib
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, IterableDataset, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from utils.arguments import DataArguments, UserError, number_of
from utils.files.reading import EXAMPLE_FILE, is_folder_of_labels, is_saved_dataset, read_files, read_splits
from utils.files.records import SPLIT_NAMES
from utils.files.rows import (
    ROWS_AT_ONCE,
    NotPlain,
    align_columns,
    column_hash,
    columns,
    first_of,
    keep_on_disk,
    name_key,
    numbered,
    one_line,
    rows_to_dataset,
    with_places,
)
from utils.runtime import quiet
from utils.texts import read_texts

logger = logging.getLogger(__name__)

# What columns are called, as `name_key` spells it, that say the split of a row by name, and by yes or no.
SPLIT_COLUMNS = {"split", "datasplit", "set", "subset", "partition"}
SPLIT_FLAGS = {"istrain", "istraining", "istest", "isval", "isvalid", "isvalidation", "isdev"}

CANNOT_LOAD = (DatasetGenerationError, OSError, RuntimeError, ValueError)  # what `datasets` raises


def load_splits(args: DataArguments, read: Callable[[str], Dataset] | None = None) -> dict[str, Dataset]:
    """Load the train, validation and test data that the options name. Every row gets the hidden column `PLACE`.

    Args:
        read: turns the value of --train_file, --validation_file or --test_file into a dataset. To read something other than
            files, write your own with `rows_to_dataset`. None reads files as the options say. The example rows of a smoke test
            are always read as a file.

    Raises:
        UserError: there is no data, or a file is missing, empty, unreadable or malformed.
    """
    if args.text:
        rows = [{"text": text} for text in read_texts(args.text)]
        return {"test": rows_to_dataset(rows, [f"--text, text {number}" for number in range(1, len(rows) + 1)])}
    splits = _load_named(args) if args.dataset_name else _load_files(args, read or partial(read_splits, options=args))
    return align_columns(splits)


def _load_files(args: DataArguments, read: Callable[[str], Dataset | dict[str, Dataset]]) -> dict[str, Dataset]:
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    splits = {}
    for name, file in files.items():
        if not file:
            continue
        is_example = args.smoke_test and Path(file).name == EXAMPLE_FILE
        found = read_files(file) if is_example else read(file)
        if name == "train" and not is_example and isinstance(found, Dataset):
            found = _divide(found, file, args)
        if isinstance(found, dict):
            for split, source in _sources(found, file, args).items():
                if split == name or (name == "train" and not files[split]):
                    splits[split] = _checked(split, found[source], f"{file}:{source}", f"{file}:{source}, row")
            if name not in splits:
                raise UserError(f"{file} holds no {name} data; its splits: {', '.join(found)}")
        else:
            splits[name] = _checked(name, found, file, f"{file}, row")
    if not splits:
        raise UserError(
            "no data: give --train_file, --test_file or --dataset_name, or try --smoke_test (without any options the sample "
            "runs; to change its options, start from its file in configs/)"
        )
    return {name: splits[name] for name in files if name in splits}


def _divide(train: Dataset, file: str, args: DataArguments) -> Dataset | dict[str, Dataset]:
    """Return the splits by name if a column of the training file says which one each row belongs to, without that column.

    Raises:
        UserError: other splits are given as files, too, or two columns say it.
    """
    counts = {name: values for name, values in _possible_counts(train, file, args).items() if _says_the_split(values)}
    if not counts:
        return train
    name, values = next(iter(counts.items()))
    found = ", ".join(f"{count:,} {value!r}" for value, count in values.most_common())
    given = [] if args.smoke_test else [f"--{split}_file" for split in ("validation", "test") if getattr(args, f"{split}_file")]
    if given:
        raise UserError(
            f"{file}, column {name!r}: it says which split a row belongs to ({found}), but {' and '.join(given)} "
            f"{'is' if len(given) == 1 else 'are'} given, too: leave {' and '.join(given)} out to use the column, or delete the "
            f"column to train on all rows"
        )
    if len(counts) > 1:
        both = " and ".join(map(repr, counts))
        raise UserError(f"{file}: the columns {both} all say which split a row belongs to: delete all but one")
    logger.info("%s: column %r divides the rows: %s", file, name, found)
    rows = [_split_of(value) for value in train[name][:]]
    train = train.remove_columns(name)
    numbers = {split: [row for row, other in enumerate(rows) if other == split] for split in SPLIT_NAMES if split in rows}
    with quiet():  # datasets would show a bar for copying the rows
        return {split: train.select(own).flatten_indices() for split, own in numbers.items()}


def _possible_counts(train: Dataset, file: str, args: DataArguments) -> dict[str, Counter]:
    """Return how often each value occurs in the columns that are called like one of splits and are not used otherwise."""
    options = {name: value for name, value in vars(args).items() if name.endswith(("_column_name", "_column_names"))}
    used = {part.strip() for value in options.values() if value for part in value.split(",")}  # a label may be called "set"
    counts = {}
    for name in columns(train):
        if name_key(name) in SPLIT_COLUMNS and name not in used and getattr(train.features[name], "dtype", None) == "string":
            counts[name] = Counter(train[name][:])
        elif name_key(name) in SPLIT_FLAGS and name not in used and len({str(value) for value in train[name][:]}) == 2:
            told = "%s, column %r seems to say which rows are training data, but all are read as such: "
            logger.warning(f"{told}write a column split instead, with values such as train and test", file, name)
    return counts


def _says_the_split(values: Collection[str | None]) -> bool:
    kinds = set(map(_split_of, values))
    return len(kinds) > 1 and "train" in kinds and None not in kinds


def _split_of(value: str | None) -> str | None:
    """Return the split that a cell means, in any case: "dev" is validation data."""
    return next((split for split, names in SPLIT_NAMES.items() if (value or "").strip().lower() in names), None)


def _sources(loaded: dict[str, Dataset], origin: str, args: DataArguments) -> dict[str, str]:
    """Return what the splits are called in what was loaded from `origin`, without --remove_splits."""
    removed = (args.remove_splits or "").split(",")
    sources = {name: first_of(candidates, loaded) for name, candidates in SPLIT_NAMES.items()}
    found = {name: source for name, source in sources.items() if source and source not in removed}
    if not found:
        raise UserError(f"{origin} has no train, validation or test split; its splits: {', '.join(loaded)}")
    return found


def _load_named(args: DataArguments) -> dict[str, Dataset]:
    name = args.dataset_name
    _check_dataset_name(name)
    try:
        if is_saved_dataset(name):
            loaded = load_from_disk(name)
        else:
            loaded = load_dataset(name, args.dataset_config_name, streaming=args.streaming)
    except DatasetNotFoundError as error:
        raise UserError(
            f"--dataset_name {name}: neither a folder here (looked in {Path.cwd()}) nor a dataset on the Hub that can be read"
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"--dataset_name {name}: no folder here has this name (looked in {Path.cwd()}), and the Hub cannot be reached: "
            f"{one_line(error)}"
        ) from error
    except CANNOT_LOAD as error:
        raise _not_loaded(name, error) from error
    loaded = loaded if isinstance(loaded, dict) else {"train": loaded}
    sources, limits, splits = _sources(loaded, name, args), dict(args.limits), {}
    held_out = 1 / args.num_folds if args.num_folds else 0 if "validation" in sources else args.validation_fraction
    if limits["train"] and held_out:
        limits["train"] = math.ceil(limits["train"] / (1 - held_out)) + 1
    for split, source in sources.items():
        origin, rows = f"{name}[{source}]", loaded[source]
        if args.streaming:
            try:
                rows = _fetch(rows, f"{origin}, index", limits[split])
            except (NotPlain, *CANNOT_LOAD) as error:
                raise _not_loaded(name, error, source) from error
        only = "the first " if args.streaming and len(rows) == limits[split] else ""
        splits[split] = _checked(split, rows, origin, f"{origin}, index", first=0, only=only)
    return splits


def _not_loaded(name: str, error: Exception, split: str | None = None) -> UserError:
    """Return the error for a dataset that cannot be loaded, with the cause, which `datasets` leaves to the traceback."""
    cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    part = f", split {split}" if split else ""
    hint = f"; --train_file {Path(name, '…')} reads its files itself, and says where one is wrong" if Path(name).is_dir() else ""
    return UserError(f"cannot load --dataset_name {name}{part}: {one_line(cause)[:300]}{hint}")


def _fetch(rows: Dataset | IterableDataset, unit: str, limit: int | None) -> Dataset:
    """Return the first `limit` rows, or all, as a dataset that stays on disk. No others are loaded."""
    parts = _first_rows(rows.with_format("arrow").iter(min(limit or ROWS_AT_ONCE, ROWS_AT_ONCE)), limit)
    return keep_on_disk(numbered(parts, unit, first=0))


def _first_rows(tables: Iterator[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    """Yield tables until they have `limit` rows. (`take` of datasets 5.2 reads one part more than it needs, or one file.)"""
    for table in tables:
        yield table.slice(0, limit)
        limit = limit and max(limit - len(table), 0)
        if limit == 0:
            return


def _check_dataset_name(name: str) -> None:
    """Raise a `UserError` for the name of a folder that is not there, or of data that --train_file reads."""
    path = Path(name)
    if path.is_file():
        raise UserError(f"--dataset_name {name} is a file: give it as --train_file {name}")
    if path.is_dir():
        if not is_saved_dataset(name) and is_folder_of_labels(path):  # `datasets` would make a row of each line, without labels
            raise UserError(f"--dataset_name {name} is a folder with a folder for each label: give it as --train_file {name}")
    elif name.startswith((".", "/", "~")) or name.count("/") > 1 or os.sep in name.replace("/", "") or name.endswith("/"):
        raise UserError(f"--dataset_name {name}: there is no such folder (looked in {Path.cwd()})")


def _checked(name: str, split: Dataset, origin: str, unit: str, first: int = 1, only: str = "") -> Dataset:
    """Return a split with places, and log what it holds, `only` before the number of rows. No rows are a `UserError`."""
    if not len(split):
        raise UserError(f"{origin} has no rows")
    logger.info("%s: %s%s from %s; columns: %s", name, only, number_of(len(split), "row"), origin, ", ".join(columns(split)))
    return with_places(split, unit, first)


def describe_data(split: Dataset) -> str:
    """Return the number of rows and a hash of their content, so that a resumed run can tell whether its data changed."""
    hashes = [column_hash(split, name) for name in sorted(columns(split))]
    return f"{len(split):,} rows {hashlib.sha256(''.join(hashes).encode()).hexdigest()[:8]}"
