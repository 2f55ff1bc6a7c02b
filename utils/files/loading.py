"""From files to splits: what trains, what validates, what is predicted."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from sklearn.model_selection import train_test_split

from utils.arguments import DataArguments, UserError
from utils.files.reading import EXAMPLE_FILE, matching, read_files
from utils.files.rows import columns, file_of, first_of, one_line, with_places

logger = logging.getLogger(__name__)

# What the splits of a dataset from the Hub may be called.
SPLIT_NAMES = {"train": ("train",), "test": ("test", "test_matched")}
SPLIT_NAMES |= {"validation": ("validation", "validation_matched", "valid", "val", "dev")}


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


def known_rows(name: str, split: Dataset, unknown: np.ndarray) -> Dataset:
    """Return a training or validation split without its `unknown` rows [rows], which can neither be learned nor scored."""
    if unknown.all():
        raise UserError(f"{file_of(split)}: no row of the {name} data has a known label")
    if not unknown.any():
        return split
    logger.info("%s: %s rows without a known label are set aside", name, f"{unknown.sum():,}")
    return split.select(np.flatnonzero(~unknown))


def describe_data(split: Dataset) -> str:
    """Return the number of rows and a hash of their content, so that a resumed run can tell whether its data changed."""
    table = split.select_columns(sorted(columns(split))).with_format("arrow")[:].replace_schema_metadata(None).combine_chunks()
    digest = hashlib.sha256(table.schema.serialize())
    for batch in table.to_batches(max_chunksize=10_000):
        digest.update(batch.serialize())
    return f"{len(split):,} rows {digest.hexdigest()[:8]}"
