"""Validation data that is split off the training data."""

import logging

import numpy as np
from datasets import Dataset
from sklearn.model_selection import train_test_split

from utils.arguments import DataArguments, UserError, number_of
from utils.splits.folds import as_labels, split_fold

logger = logging.getLogger(__name__)


def split_validation(
    train: Dataset, args: DataArguments, strata: np.ndarray, seed: int, texts: list[str] | None = None
) -> tuple[Dataset, Dataset]:
    """Split validation rows off the training data, each of the `strata` [rows] in proportion. Return what is left, and these.

    The only row of a stratum stays in the training data, or nothing could be learnt of it. Where the validation rows are fewer
    than the strata, a line says so, and they are drawn at random.
    With --group_column_name they are a fold of rows that share no group, and no text, with the others; see `split_fold`.
    """
    if args.group_column_name:
        folds = max(round(1 / args.validation_fraction), 2)
        return split_fold(train, args, as_labels(strata), texts, folds, 0, seed)
    if len(train) < 2:
        raise UserError("the training data has one usable row: too few to split validation data off; see --validation_file")
    kinds, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    size, rows, alone = max(round(len(train) * args.validation_fraction), 1), np.arange(len(train)), counts[codes] == 1
    if size < (~alone).sum():
        rows, kinds = rows[~alone], kinds[counts > 1]
    possible = min(size, len(rows) - size) >= len(kinds)
    _, held_out = train_test_split(rows, test_size=size, random_state=seed, stratify=codes[rows] if possible else None)
    how = "" if possible else ", at random, as they are too few to keep the shares of the labels"
    told = "validation: %s split off the training data (--validation_fraction %g)%s"
    logger.info(told, number_of(size, "row"), args.validation_fraction, how)
    return train.select(np.setdiff1d(np.arange(len(train)), held_out)), train.select(np.sort(held_out))
