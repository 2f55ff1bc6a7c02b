"""A finished run as its folder holds it: what the report and the comparison are made of. No model is loaded."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from utils.arguments import UserError
from utils.results.predictions import MOST_PROBABLE_COLUMN, array_of, unguard
from utils.scoring.evaluation import Evaluation, Kind

# Those of them that a script computes are shown in this order, and then its own.
OVERALL = ("accuracy", "mean_reciprocal_rank", "accuracy_macro_by_candidates", "balanced_accuracy", "roc_auc", "roc_auc_macro")
OVERALL += ("roc_auc_micro", "average_precision_macro", "average_precision_micro", "f1", "f1_macro", "f1_micro")
OVERALL += ("f1_macro_at_0.5", "matthews_corrcoef")
OVERALL += ("log_loss", "expected_calibration_error", "pearson", "spearman", "mse", "r2")
OVERALL += ("accuracy_of_chance", "accuracy_of_most_frequent_position")
PREFIXES = {"train": "train", "validation": "eval", "test": "predict"}
FACTS, ISSUES, REPORT = "report.json", "label_issues.csv", "report.html"
# Of a run of folds the validation rows are those of all folds.
PREDICTIONS = {"validation": ("validation_predictions.csv", "oof_predictions.csv"), "test": ("predictions.csv",)}


class Score(NamedTuple):
    """A metric of a split as a whole; None where it was not computed.

    `low` and `high` bound its 95 % interval. `baseline` is the metric of TF-IDF with a linear model on the same rows,
    `majority` that of answering without reading.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    baseline: float | None
    majority: float | None


UNREAD = {"choices": "chance", "numbers": "the mean"}  # how one answers without reading; else by the majority


@dataclass
class Predictions:
    """A file of predictions, row by row.

    Attributes:
        kind, names, probabilities: see `Evaluation`, but for all rows, labelled or not.
        id_name, ids: what identifies the rows.
        labels: the true label of each row as the file has it; None if it has none.
        texts: the beginning of each row's text; none if the file has none.
        decisions: what is decided of each row, in words; none where the thresholds say it, as of a blend.
        chosen: what is decided of each row, and the text of that candidate; none if the file has no such texts.
    """

    kind: Kind
    names: list[str]
    probabilities: np.ndarray
    id_name: str
    ids: list[str]
    labels: list[str] | None
    texts: list[str]
    decisions: list[str]
    chosen: list[tuple[str, str]]

    def evaluation(self, thresholds: np.ndarray) -> Evaluation:
        """Return the labelled rows with what the script has decided, or where that is no label, what `thresholds` say.

        Raises a `ValueError` for a true label that is none.
        """
        read = _reader(self.kind, self.names)
        truths = [None if self.labels is None else read(self.labels[row]) for row in range(len(self.ids))]
        rows = np.array([row for row, truth in enumerate(truths) if truth is not None], int)
        known, truth = self.of_rows(rows), np.array([truths[row] for row in rows])
        return Evaluation(
            self.kind, self.names, known.probabilities, truth, thresholds, rows, known.ids, known.texts, known.read_decisions()
        )

    def read_decisions(self) -> np.ndarray | None:
        """Return the decisions as `Evaluation.decided` has them; None if there are none, or one is no label."""
        if self.kind == "numbers" or not self.decisions:
            return None
        try:
            read = list(map(_reader(self.kind, self.names), self.decisions))
        except ValueError:
            return None
        if any(decision is None for decision in read):
            return None
        if self.kind == "labels":
            whole = [";".join(name for name, yes in zip(self.names, row, strict=True) if yes) for row in read]
            return np.array(read) == 1 if whole == self.decisions else None
        return None if min(read) < 0 else np.array(read)

    def of_rows(self, rows: Sequence[int]) -> "Predictions":
        """Return those of some rows, in the order of their positions `rows`."""
        columns = {name: getattr(self, name) for name in ("ids", "labels", "texts", "decisions", "chosen")}
        taken = {name: [column[row] for row in rows] if column else column for name, column in columns.items()}
        return replace(self, probabilities=self.probabilities[rows], **taken)


@dataclass
class Run:
    """What a run has written.

    Attributes:
        kind, names: see `Evaluation`.
        predictions, evaluations: by split, validation before test: all rows; and the labelled ones, where there are any.
        metrics: all_results.json.
        history: what was logged during training: dicts with step, epoch, and loss or eval_….
        facts: report.json, see `write_facts`.
        options: args.yaml.
        issues: label_issues.csv, a dict a row.
    """

    folder: Path
    kind: Kind
    names: list[str]
    predictions: dict[str, Predictions]
    evaluations: dict[str, Evaluation]
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    facts: dict[str, Any]
    options: dict[str, Any]
    issues: list[dict[str, str]]

    def thresholds(self, names: list[str]) -> np.ndarray:
        """Return the decision thresholds for the labels in the order of `names`; of two classes that of the second [1]."""
        own = self.facts["thresholds"]
        if own and self.names != names:
            own = own if len(own) == len(names) else [1 - own[0], own[0]]
            own = [own[self.names.index(name)] for name in names[-len(self.facts["thresholds"]) :]]
        return np.array(own, float)

    def headline(self, split: str) -> list[Score]:
        """Return the scores of a split as a whole, in the order of `OVERALL`."""
        return headline(self.metrics, split)


def headline(metrics: dict[str, float], split: str, own: tuple[str, ...] = ()) -> list[Score]:
    """Return the scores of a split as a whole, in the order of `OVERALL`, and then the script's `own`."""
    get, prefix, names = metrics.get, PREFIXES[split], (*OVERALL, *own)
    forms = ("{}_{}", "{}_{}_low", "{}_{}_high", "{}_baseline_{}", "{}_majority_{}")
    return [Score(name, *(get(form.format(prefix, name)) for form in forms)) for name in names if f"{prefix}_{name}" in metrics]


def read_run(folder: Path) -> Run:
    """Read what a run has written to `folder`.

    Raises:
        UserError: there is no such run, or a file of it cannot be read.
    """
    if not (folder / FACTS).is_file():
        raise UserError(f"{folder} holds no {FACTS}: expected the --output_dir of a run that has evaluated or predicted")
    facts = _read(folder, FACTS, json.loads, {})
    found = {}
    for split, names in PREDICTIONS.items():  # of a split that this run does not have, the files are of another run
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path and split in facts["rows"]:
            found[split] = read_predictions(path, facts)
    evaluations = {split: each.evaluation(np.array(facts["thresholds"], float)) for split, each in found.items()}
    issues = folder / ISSUES
    return Run(
        folder,
        facts["kind"],
        facts["labels"],
        found,
        {split: evaluation for split, evaluation in evaluations.items() if len(evaluation)},
        _read(folder, "all_results.json", json.loads, {}),
        _read(folder, "trainer_state.json", json.loads, {}).get("log_history", []) if "train" in facts["rows"] else [],
        facts,
        _read(folder, "args.yaml", yaml.safe_load, {}),
        _rows_of(issues) if issues.is_file() else [],
    )


def read_predictions(path: Path, facts: dict[str, Any]) -> Predictions:
    """Return a file of predictions.

    Raises:
        UserError: the file is not as a run writes it.
    """
    kind, names, array = facts["kind"], facts["labels"], array_of(path)
    with path.open(newline="", encoding="utf-8") as file:
        written = unguard if facts.get("safe_csv") else str
        header, *cells = ([written(cell) for cell in row] for row in csv.reader(file))
    compact = array.is_file()  # the file has the most probable names only
    width = 2 if compact else len(names) + 1

    def column(*wanted: str) -> list[str] | None:
        place = next((header.index(name, width) for name in wanted if name in header[width:]), None)
        return None if place is None else [row[place] for row in cells]

    try:
        if header[1:2] == [MOST_PROBABLE_COLUMN] != names[:1] and not compact:
            raise UserError(f"{path} has the most probable labels only: {array.name}, which has all, must lie beside it")
        if compact:
            values = _read_array(array)
        else:
            shown = slice(1, width) if kind != "numbers" else slice(header.index("prediction"), header.index("prediction") + 1)
            values = np.array([[float(cell or "nan") for cell in row[shown]] for row in cells], float)
        labels, texts = column("test_label", "label"), column("test_text", "text")
        decisions = column("prediction") or []
        chosen = list(zip(decisions, column("prediction_text") or [], strict=False))
        probabilities = values.reshape(len(cells), max(len(names), 1))
        ids = [row[0] for row in cells]
        found = Predictions(kind, names, probabilities, header[0], ids, labels, texts or [], decisions, chosen)
        found.evaluation(np.empty(0))
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is not as the run has written it ({error}): run it again") from error
    return found


def _read_array(path: Path) -> np.ndarray:
    try:
        return np.load(path).astype(float)
    except (EOFError, ValueError) as error:
        raise UserError(f"{path} is not whole: run it again") from error


def _reader(kind: Kind, names: list[str]) -> Callable[[str], Any]:
    """Return what reads a cell of the column `label`: its truth, None where it is unknown."""
    if kind == "labels":
        longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        pattern, column = re.compile(rf"(\??)({longest_first})(?:;|$)"), {name: i for i, name in enumerate(names)}

        def read_labels(cell: str) -> np.ndarray | None:
            if cell == "?":
                return None
            truth = np.zeros(len(names))
            for unknown, name in pattern.findall(cell):
                truth[column[name]] = np.nan if unknown else 1.0
            return truth

        return read_labels
    read = {name: i for i, name in enumerate(names)}.__getitem__ if kind == "classes" else int if kind == "choices" else float

    def read_one(cell: str) -> Any:
        try:
            return read(cell) if cell else None
        except KeyError:
            raise ValueError(f"{cell!r} is not one of its labels") from None

    return read_one


def _read(folder: Path, name: str, read: Callable[[str], Any], missing: Any) -> Any:
    """Return what `read` makes of a file in `folder`; `missing` where there is none."""
    path = folder / name
    if not path.is_file():
        return missing
    try:
        return read(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())[:100]}): run it again") from error


def _rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
