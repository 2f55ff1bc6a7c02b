"""Which splits take part in a run, and which of their rows."""

import logging
import os

import numpy as np
from datasets import Dataset

from utils.arguments import DataArguments, UserError, number_of
from utils.files.rows import file_of, files_of

logger = logging.getLogger(__name__)


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
    if "train" not in splits or args.smoke_test or not (args.validation_file or args.test_file):  # one source with splits
        return
    files = {name: {os.path.realpath(file): file for file in files_of(split)} for name, split in splits.items()}

    def shared(one: str, other: str) -> str | None:
        return next((file for path, file in files.get(other, {}).items() if path in files.get(one, {})), None)

    if file := shared("validation", "test"):
        logger.warning("%s is validation and test data: what is chosen by its scores is judged by them", file)
    if file := shared("train", "validation"):
        logger.warning("%s is training and validation data: its scores say nothing of other texts", file)
    if file := shared("train", "test"):
        raise UserError(
            f"{file} is training and test data, whose scores would say nothing: name another --test_file; to predict "
            f"training rows run again with the trained model as --model_name_or_path and --test_file alone"
        )


def first_rows(splits: dict[str, Dataset], args: DataArguments, seed: int) -> dict[str, Dataset]:
    """Return the splits cut to --max_train_samples, --max_eval_samples and --max_predict_samples."""
    if args.shuffle_train_dataset and "train" in splits:
        splits = {**splits, "train": splits["train"].shuffle(seed=seed)}
    return {name: split.select(range(min(len(split), args.limits[name] or len(split)))) for name, split in splits.items()}


def known_rows(name: str, split: Dataset, unknown: np.ndarray) -> Dataset:
    """Return a training or validation split without its `unknown` rows [rows], which can neither be learned nor scored."""
    if unknown.all():
        raise UserError(f"{file_of(split)}: no row of the {name} data has a known label")
    if not unknown.any():
        return split
    logger.info("%s: %s without a known label set aside", name, number_of(unknown.sum(), "row"))
    return split.select(np.flatnonzero(~unknown))
