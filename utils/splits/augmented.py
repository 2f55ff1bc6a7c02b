"""Changed copies of training texts, such as back-translations."""

import logging

import numpy as np
from datasets import Dataset, concatenate_datasets

from utils.arguments import DataArguments, UserError
from utils.files.reading import read_files
from utils.files.rows import PLACE, columns, file_of, with_places

logger = logging.getLogger(__name__)

WEIGHT = "augmentation_weight"  # hidden column: what a row of training data counts in the loss


def add_copies(train: Dataset, args: DataArguments, id_column: str, every: list) -> Dataset:
    """Return the training data with the copies of its rows that --augmented_files hold. A copy has the label of its original.

    Copies of other rows of the data, such as those that validate, are left out. Where copies count less than originals, the
    column `WEIGHT` says how much; priors and class weights count them as rows.

    Args:
        id_column: the column of ids in both, by which they are joined.
        every: the ids of the data from which `train` was taken.

    Raises:
        UserError: there are no ids, an id is not unique or not in the data, or the copies have no text.
    """
    name = args.augmented_files
    copies = with_places(read_files(name), f"{name}, row")
    if id_column not in columns(train) or id_column not in columns(copies):
        lacking = "the training data" if id_column not in columns(train) else file_of(copies)
        raise UserError(
            f"--augmented_files {name}: copies are joined to their originals by id, and {lacking} has no column "
            f"{'of ids' if id_column == 'row' else repr(id_column)}; see --id_column_name"
        )
    originals = {str(value): row for row, value in enumerate(train[id_column][:])}
    known = {str(value) for value in every}
    if len(known) < len(every):
        raise UserError(f"{file_of(train)}, column {id_column!r}: an id occurs twice, and --augmented_files needs different ones")
    ids = [str(value) for value in copies[id_column][:]]
    strangers = [row for row, value in enumerate(ids) if value not in known]
    if strangers:
        first, count = strangers[0], len(strangers)
        raise UserError(
            f"{copies[first][PLACE]}: no row of the training data has the id {ids[first]!r} ({count:,} in all); give each copy "
            f"the id of its original, or delete it"
        )
    shared = [column for column in columns(copies) if column in columns(train) and column not in (id_column, "labels")]
    if not shared:
        texts = [column for column in columns(train) if column not in (id_column, "labels")]
        raise UserError(
            f"{file_of(copies)}: expected a column of changed texts, named as in the training data, whose columns are "
            f"{', '.join(texts)}"
        )
    kept = copies.select([row for row, value in enumerate(ids) if value in originals])
    added = train.select([originals[value] for value in ids if value in originals])
    for column in (*shared, PLACE):
        added = added.remove_columns(column).add_column(column, kept[column][:])
    logger.info(
        "train: %s copies of %s from %s; %s copies of rows that do not train are left out",
        f"{len(added):,}", ", ".join(shared), name, f"{len(copies) - len(kept):,}",
    )  # fmt: skip
    together = concatenate_datasets([train, added.select_columns(train.column_names).cast(train.features)])
    if args.augmentation_weight == 1:
        return together
    weights = np.repeat([1.0, args.augmentation_weight], [len(train), len(added)]).astype(np.float32)
    return together.add_column(WEIGHT, weights)
