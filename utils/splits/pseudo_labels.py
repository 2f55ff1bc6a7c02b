"""Test rows as training rows, with the labels that a finished run has decided on."""

import csv
import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
from datasets import Dataset, concatenate_datasets

from utils.arguments import DataArguments, UserError, shorten
from utils.files.rows import add_array, columns, read_array
from utils.splits.augmented import WEIGHT

logger = logging.getLogger(__name__)


def add_pseudo_labelled(splits: dict[str, Dataset], args: DataArguments, id_column: str, kind: str, names: list[str]) -> Dataset:
    """Return the training data with the test rows, labelled as the run in the folder --pseudo_labels has decided.

    The idea is that of Lee 2013, "Pseudo-Label". In a fold the labels are those of the model of that fold: one that has not seen
    the rows that validate here.

    Args:
        splits: with their targets, as the column `labels`.
        id_column: the column of ids of the test rows, by which they are joined.
        kind: see `Evaluation`; `names`: those of the labels.

    Raises:
        UserError: there are no test rows, they have no ids, or the run has predicted others, has other labels or other folds.
    """
    option, train, test = f"--pseudo_labels {args.pseudo_labels}", splits.get("train"), splits.get("test")
    if train is None or test is None:
        raise UserError(f"{option} adds test rows to the training data: give --train_file and --test_file")
    folder = Path(args.pseudo_labels)
    if args.fold:
        folder = _same_fold(folder, args.fold, splits["validation"], id_column, option)
    for name in ("predictions.csv", "report.json"):
        if not (folder / name).is_file():
            raise UserError(f"{option}: {folder} holds no {name}; expected the --output_dir of a run with --test_file")
    decided = _read(folder / "predictions.csv")
    _check_labels(folder / "report.json", kind, names, option)
    if id_column not in test.column_names:
        raise UserError(f"{option}: rows are joined by id, and the test data has no column of ids; see --id_column_name")
    ids = list(map(str, test[id_column][:]))
    twice = next((name for name, count in Counter(ids).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{option}: the id {twice!r} occurs twice in the test data, and each row needs its own")
    strangers = [name for name in ids if name not in decided]
    if strangers:
        raise UserError(f"{option} has not predicted {len(strangers):,} of the test rows, such as {id_column} {strangers[0]}")
    targets = _targets([decided[name] for name in ids], kind, names, read_array(train, "labels"))
    shared = [name for name in train.column_names if name in test.column_names and name != "labels"]
    added = test.select_columns(shared).cast(train.select_columns(shared).features)
    if WEIGHT in train.column_names:
        added = add_array(added, WEIGHT, np.ones(len(added), np.float32))
    logger.info("train: %s test rows more, labelled by %s", f"{len(added):,}", folder)
    return concatenate_datasets([train, add_array(added, "labels", targets).cast_column("labels", train.features["labels"])])


def _same_fold(folder: Path, fold: int, validation: Dataset, id_column: str, option: str) -> Path:
    """Return the folder of the model that has not seen this fold. Raises a `UserError` if there is none."""
    own = folder / f"fold-{fold}"
    path = own / "validation_predictions.csv"
    held_out = _read(path) if path.is_file() else {}
    ids = validation[id_column][:] if id_column in columns(validation) else None
    if ids is None or set(map(str, ids)) != held_out.keys():
        raise UserError(
            f"{option}: the rows of fold {fold} have to be labelled by a model that has not seen the rows it validates on; name "
            f"the --output_dir of a run with the same data, --num_folds and --seed, whose rows have ids"
        )
    return own


def _read(path: Path) -> dict[str, str]:
    """Return what a file of predictions has decided, by id."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return {row[rows.fieldnames[0]]: row["prediction"] for row in rows}


def _check_labels(path: Path, kind: str, names: list[str], option: str) -> None:
    """Raise a `UserError` if the run whose facts are in `path` was not about these labels."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    if facts["kind"] != kind:
        raise UserError(f"{option} is a run that predicts {facts['kind']}: expected {kind}, as this one does")
    if kind in ("labels", "classes") and set(facts["labels"]) != set(names):
        raise UserError(f"{option} knows other labels, {shorten(facts['labels'])}: expected {shorten(names)}")


def _targets(decided: list[str], kind: str, names: list[str], train: np.ndarray) -> np.ndarray:
    """Return the targets of rows, in the form of those in `train`."""
    if kind in ("choices", "numbers"):
        return np.array(decided, float).astype(train.dtype)
    cells = [set(cell.split(";") if kind == "labels" else [cell]) for cell in decided]
    matrix = np.array([[name in found for name in names] for found in cells])
    as_rows = train.ndim == 2 and train.shape[1] == len(names)
    return (matrix if as_rows else matrix.argmax(axis=1).reshape(-1, *train.shape[1:])).astype(train.dtype)
