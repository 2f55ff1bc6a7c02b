"""Folds of the training data, for cross-validation: balanced by label, and nothing that belongs together is torn apart."""

import logging
from collections import Counter

import numpy as np
from datasets import Dataset
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from utils.arguments import DataArguments, UserError
from utils.files.rows import GROUP, columns, file_of, name_key

logger = logging.getLogger(__name__)


def assign_folds(units: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold [rows] of each row, from 0: every label is spread evenly, and the rows of a unit share a fold.

    Iterative stratification (Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10): the label with the fewest rows
    left is dealt out first, each of its units to the fold that lacks it most.

    Args:
        units: what a row belongs to [rows], from 0.
        labels: whether a row has a label [rows, labels]; of single labels one-hot.
    """
    draw, sizes = np.random.default_rng(seed), np.bincount(units)
    counts = np.zeros((len(sizes), labels.shape[1]))
    np.add.at(counts, units, labels)
    order = np.lexsort((draw.permutation(len(sizes)), -sizes))  # large units first, while there is room
    lacking, room = np.tile(counts.sum(axis=0) / folds, (folds, 1)), np.full(folds, sizes.sum() / folds)
    chosen, left = np.full(len(sizes), -1), counts.sum(axis=0)

    def put(unit: int, label: int | None) -> None:
        keys = (draw.random(folds), room) if label is None else (draw.random(folds), room, lacking[:, label], room > 0)
        fold = chosen[unit] = np.lexsort(keys)[-1]
        lacking[fold] -= counts[unit]
        room[fold] -= sizes[unit]
        left[:] -= counts[unit]

    while (left > 0).any():
        label = int(np.where(left > 0, left, np.inf).argmin())
        for unit in order[(counts[order, label] > 0) & (chosen[order] < 0)]:
            put(unit, label)
    for unit in order[chosen[order] < 0]:
        put(unit, None)
    return chosen[units]


def find_units(rows: Dataset, texts: list[str]) -> np.ndarray:
    """Return the unit [rows] of each row, from 0: rows of one group, or with the same text but for case and punctuation.

    Args:
        texts: the columns that the model reads. The column `GROUP` has the groups, if --group_column_name names them.
    """
    keys = [[name_key(str(cell)) for cell in rows[name][:]] for name in texts]
    same = [list(zip(*keys, strict=True))] + ([rows[GROUP][:]] if GROUP in rows.column_names else [])
    ends = [np.arange(len(rows)), np.arange(len(rows))]
    for values in same:
        first: dict = {}
        known = [row for row, value in enumerate(values) if value and any(value)]  # a group, or a text with letters or digits
        ends = np.concatenate([ends, [known, [first.setdefault(values[row], row) for row in known]]], axis=1).astype(int)
    links = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(len(rows), len(rows)))
    return connected_components(links, directed=False)[1]


def split_fold(
    rows: Dataset, args: DataArguments, labels: np.ndarray, texts: list[str], folds: int, held_out: int, seed: int
) -> tuple[Dataset, Dataset]:
    """Return the training data without the fold `held_out`, from 0, and that fold as validation data.

    Raises:
        UserError: there are fewer texts, or groups, than folds.
    """
    units = find_units(rows, texts)
    if len(np.unique(units)) < folds:
        count, what = len(np.unique(units)), "groups" if GROUP in rows.column_names else "different texts"
        if args.num_folds:
            raise UserError(f"--num_folds {folds}: the training data has {count} {what}, too few for {folds} folds")
        raise UserError(
            f"--validation_fraction {args.validation_fraction:g} holds back one of {folds} parts without dividing a group, and "
            f"there are {count} groups: raise it, or give --validation_file"
        )
    found = assign_folds(units, labels, folds, seed)
    if args.num_folds:
        sizes = int((found != held_out).sum()), int((found == held_out).sum())
        logger.info("fold %d of %d: %d training rows, %d validation rows", held_out + 1, folds, *sizes)
    return rows.select(np.flatnonzero(found != held_out)), rows.select(np.flatnonzero(found == held_out))


def as_labels(strata: np.ndarray) -> np.ndarray:
    """Return strata [rows], or targets of several labels [rows, labels], as whether a row has each of them."""
    return strata >= 0.5 if strata.ndim == 2 else np.equal.outer(strata, np.unique(strata))


def take_groups(splits: dict[str, Dataset], args: DataArguments) -> dict[str, Dataset]:
    """Return the splits without the column --group_column_name. The training data keeps its values, as text, in `GROUP`.

    Raises:
        UserError: there is no training data to group, or it has no such column, or an empty one.
    """
    name, result = args.group_column_name, dict(splits)
    if name is None:
        return splits
    if "train" not in splits:
        raise UserError(f"--group_column_name {name}: it divides training data, and there is none; leave it out")
    if name not in columns(splits["train"]):
        present = ", ".join(map(repr, columns(splits["train"])))
        raise UserError(f"--group_column_name {name}: {file_of(splits['train'])} has no such column; its columns: {present}")
    groups = [None if value in (None, "") else str(value) for value in splits["train"][name][:]]
    if not any(groups):
        raise UserError(f"{file_of(splits['train'])}, column {name!r}: no row has a group; name another --group_column_name")
    options = {option: value for option, value in vars(args).items() if option.endswith(("column_name", "column_names"))}
    used = [part for option, value in options.items() if value and option != "group_column_name" for part in value.split(",")]
    for split, rows in splits.items():
        if name in rows.column_names and name not in used:
            result[split] = rows.remove_columns(name)
    result["train"] = result["train"].add_column(GROUP, groups)
    sizes = Counter(filter(None, groups))
    told = "column %r groups the training rows: %s groups of up to %s rows"
    logger.info(told, name, f"{len(sizes):,}", f"{max(sizes.values()):,}")
    return result
