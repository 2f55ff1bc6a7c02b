"""The files of predictions: predictions.csv, thresholds.json, and Kaggle's submission.csv."""

import csv
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from utils.arguments import DataArguments, UserError
from utils.files.reading import read_files
from utils.files.rows import columns, whole_file

logger = logging.getLogger(__name__)


def write_predictions(
    path: Path,
    id_name: str,
    ids: list,
    names: list[str],
    probabilities: np.ndarray,
    decided: dict[str, list],
    of_row: dict[str, list],
) -> None:
    """Write one line a row, in the order given: its id, a probability for each name (none where it is NaN), the rest by column.

    A column of `of_row`, what the test data itself says of a row, begins with `test_` where another has its name.
    """
    taken = {id_name, *decided}
    header = [id_name, *(f"label {name}" if name in taken else name for name in names), *decided]
    for name in of_row:
        header.append(name if name not in header else f"test_{name}")
    columns = [map(_six_digits, values) for values in (*decided.values(), *of_row.values())]
    shown = ([*("" if math.isnan(value) else _six_digits(value) for value in row)] for row in probabilities.tolist())
    _write_csv(path, header, ([row_id, *row, *rest] for row_id, row, *rest in zip(ids, shown, *columns, strict=True)))
    logger.info("wrote %s (%s rows)", path, f"{len(ids):,}")


def _write_csv(path: Path, header: list[str], rows: Iterable[list]) -> None:
    with whole_file(path) as file:
        plain, quoted = (csv.writer(file, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
        for row in chain([header], rows):  # Python before 3.13 would leave a carriage return without quotes
            (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)


def _six_digits(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def save_thresholds(thresholds: np.ndarray, names: list[str], output_dir: Path) -> None:
    """Write the decision threshold of each label to thresholds.json."""
    text = json.dumps({name: float(value) for name, value in zip(names, thresholds, strict=True)}, indent=2, ensure_ascii=False)
    Path(output_dir, "thresholds.json").write_text(text + "\n", encoding="utf-8")


def find_submission(args: DataArguments, splits: dict, ids: list, id_column: str, names: list[str]) -> "Submission | None":
    """Return what --sample_submission asks for, if it does. Raises a `UserError` if there is nothing to predict."""
    if args.sample_submission and "test" not in splits:
        raise UserError("--sample_submission needs rows to predict: give --test_file")
    if not args.sample_submission or args.smoke_test:
        return None
    return Submission(args.sample_submission, ids, id_column, names)


class Submission:
    """Kaggle's submission file: the header and the order of rows of its sample."""

    def __init__(self, sample_file: str, ids: list, id_column: str, names: list[str]):
        """Check the sample against the test rows and the labels.

        Raises:
            UserError: a column that is no label, or an id that the test data lacks.
        """
        sample = read_files(sample_file)
        id_name, *labels = columns(sample)
        unknown = [label for label in labels if label not in names]
        if unknown:
            raise UserError(f"{sample_file}, column {unknown[0]!r}: not one of the labels {', '.join(names)}")
        rows = {str(value): row for row, value in enumerate(ids)}
        repeated = next(
            (value for values in (sample[id_name][:], map(str, ids)) for value, n in Counter(values).items() if n > 1), None
        )
        if repeated is not None:
            raise UserError(f"--sample_submission {sample_file}: the id {repeated!r} occurs twice, there or in the test data")
        for what, count in (("test rows", len(rows) - len(sample)), ("labels", len(names) - len(labels))):
            if count > 0:
                logger.info("%s lacks %d %s, and so will submission.csv", sample_file, count, what)
        for line, value in enumerate(sample[id_name][:], start=2):
            if str(value) not in rows:
                raise UserError(
                    f"{sample_file}, row {line}: the id {value!r} is not in column {id_column!r} of the test data; "
                    f"see --id_column_name"
                )
        self.header, self.ids = [id_name, *labels], sample[id_name][:]
        self.rows, self.columns = [rows[str(value)] for value in self.ids], [names.index(label) for label in labels]

    def write(self, path: Path, probabilities: np.ndarray) -> None:
        """Write the `probabilities` [test rows, labels] as the sample has them."""
        found = probabilities[self.rows][:, self.columns].tolist()
        _write_csv(path, self.header, ([row_id, *row] for row_id, row in zip(self.ids, found, strict=True)))
        logger.info("wrote %s (%s rows)", path, f"{len(self.ids):,}")
