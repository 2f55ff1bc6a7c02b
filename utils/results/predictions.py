"""What is predicted: predictions.csv, thresholds.json, Kaggle's submission.csv, and the lines that --text prints."""

import csv
import json
import logging
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from utils.arguments import DataArguments, UserError, number_of, shorten
from utils.files.reading import read_files
from utils.files.rows import cell_error, columns, whole_file

logger = logging.getLogger(__name__)

# What a spreadsheet runs, https://owasp.org/www-community/attacks/CSV_Injection, and what `guard` has made of it.
FORMULA = re.compile(r"(?![+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\Z)'*[=+\-@\t\r]", re.IGNORECASE)
GUARDED = re.compile(r"''*[=+\-@\t\r]")
MOST_COLUMNS, MOST_PROBABLE = 1_000, 10  # of probabilities in predictions.csv, and what it has of a row with more
MOST_PROBABLE_COLUMN = "most_probable"


def guard(cell: Any) -> Any:
    """Return a cell that a spreadsheet does not run: with an apostrophe in front of what begins like a formula, except numbers.

    What begins with apostrophes before such a beginning gets one more, so that `unguard` finds it as it was.
    """
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def unguard(cell: str) -> str:
    """Return the cell that `guard` was given."""
    return cell[1:] if GUARDED.match(cell) else cell


def write_predictions(
    path: Path,
    id_name: str,
    ids: list,
    names: list[str],
    probabilities: np.ndarray,
    decided: dict[str, list],
    of_row: dict[str, list],
    safe: bool = False,
    all_probabilities: bool = False,
) -> None:
    """Write one line a row, in the order given: its id, a probability for each name (none where it is NaN), the rest by column.

    Of more than `MOST_COLUMNS` names a row has the `MOST_PROBABLE` instead, in one column, unless `all_probabilities` are asked
    for. All of them are then in the file of NumPy beside it, [rows, names] in float32.

    A column of `of_row`, what the test data itself says of a row, begins with `test_` where another has its name. `safe` cells
    go through `guard`.
    """
    array, told = array_of(path), ""
    if len(names) > MOST_COLUMNS and not all_probabilities:
        np.save(array, probabilities.astype(np.float32))
        told = f"; the {MOST_PROBABLE} most probable of {len(names):,} labels, all in {array.name}"
        shown, names = _most_probable(names, probabilities), [MOST_PROBABLE_COLUMN]
    else:
        array.unlink(missing_ok=True)  # of an earlier run
        shown = (["" if math.isnan(value) else _six_digits(value) for value in row.tolist()] for row in probabilities)
    taken = {id_name, *decided}
    header = [id_name, *(f"label {name}" if name in taken else name for name in names), *decided]
    for name in of_row:
        header.append(name if name not in header else f"test_{name}")
    columns = [map(_six_digits, values) for values in (*decided.values(), *of_row.values())]
    rows = ([row_id, *row, *rest] for row_id, row, *rest in zip(ids, shown, *columns, strict=True))
    write_csv(path, header, rows, safe)
    logger.info("wrote %s (%s%s)", path, number_of(len(ids), "row"), told)


def array_of(path: Path) -> Path:
    """Return where all probabilities are if a file of predictions has only the highest."""
    return path.with_suffix(".npy")


def _most_probable(names: list[str], probabilities: np.ndarray) -> Iterator[list[str]]:
    for row in probabilities:
        highest = np.argpartition(-row, MOST_PROBABLE)[:MOST_PROBABLE]
        highest = highest[np.lexsort((highest, -row[highest]))]
        yield [";".join(f"{names[place]} {row[place]:.6g}" for place in highest.tolist())]


def write_csv(path: Path, header: list[str], rows: Iterable[list], safe: bool = False) -> None:
    with whole_file(path) as file:
        plain, quoted = (csv.writer(file, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
        for row in chain([header], rows):
            row = list(map(guard, row)) if safe else row
            # Python before 3.13 would leave a carriage return without quotes
            (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)


def _six_digits(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def print_predictions(decided: list, names: list[str], probabilities: np.ndarray, texts: list[str], most: int = 3) -> None:
    """Print a line a row on stdout: what is decided, its `most` highest probabilities by name, and the beginning of its text.

    In a pipe the three are separated by tabs; on a terminal they are aligned, and a line fits its width. Nothing decided is
    (none). NaN is no probability. Without names there are no probabilities, without texts no texts.
    """
    lines = []
    for row, answer in enumerate(decided):
        values = np.nan_to_num(probabilities[row, : len(names)], nan=-1.0)
        highest = [column for column in np.argsort(-values, kind="stable")[:most] if values[column] >= 0]
        cells = [f"{names[column]} {values[column]:.2f}" for column in highest]
        lines.append([str(_six_digits(answer)) or "(none)", *cells, *[""] * (min(most, len(names)) - len(cells))])
    shown = [" ".join(text.split()) for text in texts or [""] * len(lines)]
    if not sys.stdout.isatty():
        rows = zip(lines, shown, strict=True)
        parts = (
            [answer, *["  ".join(filter(None, cells))] * bool(names), *[text] * bool(texts)] for (answer, *cells), text in rows
        )
        try:
            print("\n".join(map("\t".join, parts)), flush=True)
        except BrokenPipeError:  # `head` has read enough; Python would fail to write the rest when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    widths, room = [max(map(len, column)) for column in zip(*lines, strict=True)], shutil.get_terminal_size().columns
    for line, text in zip(lines, shown, strict=True):
        answer, *cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        told = "    ".join([answer, *["  ".join(cells)] * bool(names), ""])
        left = max(room - len(told), 20)
        print(told + (text if len(text) <= left else f"{text[: left - 1]}…"))


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
        lacking = [number_of(len(rows) - len(sample), "test row")] if len(rows) > len(sample) else []
        lacking += [f"the label {name}" for name in names if name not in labels]
        if lacking:
            logger.info("%s lacks %s, and so will submission.csv", sample_file, shorten(lacking))
        for row, value in enumerate(sample[id_name][:]):
            if str(value) not in rows:
                problem = f"the id {value!r} is not in column {id_column!r} of the test data; see --id_column_name"
                raise cell_error(sample, row, id_name, problem)
        self.header, self.ids = [id_name, *labels], sample[id_name][:]
        self.rows, self.columns = [rows[str(value)] for value in self.ids], [names.index(label) for label in labels]

    def write(self, path: Path, probabilities: np.ndarray, safe: bool = False) -> None:
        """Write the `probabilities` [test rows, labels] as the sample has them; `safe`: see `write_predictions`."""
        found = probabilities[self.rows][:, self.columns].tolist()
        write_csv(path, self.header, ([row_id, *row] for row_id, row in zip(self.ids, found, strict=True)), safe)
        logger.info("wrote %s (%s)", path, number_of(len(self.ids), "row"))
