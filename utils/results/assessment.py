"""How far to trust a run's scores: their intervals, what a baseline reaches, and rows whose label looks wrong."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset
from transformers.integrations import TensorBoardCallback, TrackioCallback

from utils.files.cells import UNKNOWN
from utils.files.rows import arrow_cells
from utils.results.finished import ISSUES, OVERALL, PREFIXES, Run
from utils.results.predictions import write_csv
from utils.scoring.baseline import MOST_ROWS as TFIDF_ROWS
from utils.scoring.baseline import fit_tfidf, majority
from utils.scoring.evaluation import known_truth
from utils.scoring.intervals import intervals, point_scores
from utils.scoring.label_issues import find_label_issues
from utils.scoring.selection import choose_thresholds
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

logger = logging.getLogger(__name__)

MOST_LABELS = 1_000  # each is a model of its own
MOST_ROWS = 50_000  # more would take more memory and time than the rest of a run


def interval_metrics(run: Run) -> dict[str, float]:
    """Return the bounds of the 95 % interval of each score, as `predict_accuracy_low` and `predict_accuracy_high`."""
    metrics = {}
    for split, evaluation in run.evaluations.items():
        for name, (low, high) in intervals(evaluation).items():
            metrics |= {f"{PREFIXES[split]}_{name}_low": low, f"{PREFIXES[split]}_{name}_high": high}
    return metrics


def baseline_metrics(run: Run, task: Task) -> dict[str, float]:
    """Return what TF-IDF with a linear model, and answering without reading, reach on the rows of `run`.

    They know the training rows of `task`, of more than `MOST_ROWS` so many at equal distances. The labels' thresholds are tuned
    on the validation data, as the model's are. TF-IDF is left out where there are more than `MOST_LABELS`.
    """
    began, kind, names, train = time.perf_counter(), run.kind, run.names, task.read["train"]
    rows = np.linspace(0, len(train) - 1, min(len(train), MOST_ROWS)).astype(int)
    targets = task.targets("train")
    targets = targets if len(rows) == len(targets) else targets[rows]
    unread = {split: majority(kind, names, targets, each.probabilities) for split, each in run.evaluations.items()}
    metrics, thresholds, predict = {}, np.full(len(names), 0.5), None
    if len(names) <= MOST_LABELS:
        known, truth = known_truth(kind, targets)
        predict = fit_tfidf(kind, names, texts_of(train.select(rows[known]), task), truth)
    del targets  # of many labels they are large
    for split, evaluation in run.evaluations.items():
        baselines = {"majority": unread[split]}
        if predict:
            baselines["baseline"] = predict(texts_of(task.read[split].select(evaluation.rows), task))
        if predict and split == "validation" and kind == "labels":
            thresholds = choose_thresholds("per_label", baselines["baseline"], np.nan_to_num(evaluation.truth, nan=UNKNOWN))
        for baseline, probabilities in baselines.items():
            half = np.full(len(evaluation.thresholds), 0.5)
            at = thresholds if kind == "labels" and baseline == "baseline" else half
            scores = point_scores(replace(evaluation, probabilities=probabilities, thresholds=at, own=None))
            if kind == "choices" and baseline == "majority":
                scores = chance(probabilities)
            metrics |= {f"{PREFIXES[split]}_{baseline}_{name}": value for name, value in scores.items() if name in OVERALL}
    if predict:
        some = f" on {TFIDF_ROWS:,} training rows" if len(rows) > TFIDF_ROWS else ""
        logger.info("baseline: TF-IDF with a linear model%s took %.1f s (--no_baseline)", some, time.perf_counter() - began)
    else:
        logger.info("no TF-IDF: it would be fitted for each of %s labels; at most %s are", f"{len(names):,}", f"{MOST_LABELS:,}")
    return metrics


def chance(probabilities: np.ndarray) -> dict[str, float]:
    """Return what is expected of a random order of the candidates of each row [rows, candidates], NaN where there is none."""
    counts = (~np.isnan(probabilities)).sum(axis=1)
    return {"accuracy": (1 / counts).mean(), "mean_reciprocal_rank": np.mean([(1 / np.arange(1, n + 1)).mean() for n in counts])}


def texts_of(split: Dataset, task: Task) -> list[Any]:
    """Return the text of each row; in multiple choice its context with the question, and its candidates."""
    if task.text_columns:
        cells = zip(*(arrow_cells(split, name).to_pylist() for name in task.text_columns), strict=True)
        return [" ".join(task.texts_of(dict(zip(task.text_columns, row, strict=True)))) for row in cells]
    parts = zip(split["context"], split["question"], split["candidates"], strict=True)
    return [(f"{context} {question or ''}", candidates) for context, question, candidates in parts]


def write_issues(run: Run, places: dict[str, list[str]]) -> int:
    """Write label_issues.csv, the rows whose label looks wrong, the most suspicious first. Return how many there are.

    Only rows that the model was not trained on are judged, and only those for which it decides as is suggested. `places` say
    where the rows of each split came from.
    """
    each = list(run.evaluations.values())
    rows = [(split, position) for split, evaluation in run.evaluations.items() for position in range(len(evaluation))]
    columns = {name: column for column, name in enumerate(run.names)}
    probabilities, truth, decided = (
        np.concatenate([getattr(one, name) for one in each]) for name in ("probabilities", "truth", "decided")
    )
    pooled, found = replace(each[0], probabilities=probabilities, truth=truth, own=decided), []
    for issue in find_label_issues(pooled):
        answer = decided[issue.position]
        if issue.suggested != (run.names[answer] if issue.label is None else "yes" if answer[columns[issue.label]] else "no"):
            continue
        split, position = rows[issue.position]
        evaluation = run.evaluations[split]
        place = places[split][evaluation.rows[position]]
        text = evaluation.texts[position] if evaluation.texts else ""
        told = (issue.label or "", issue.given, f"{issue.probability:.6g}", issue.suggested, text)
        found.append([split, place, evaluation.ids[position], *told])
    header = ["split", "place", "id", "label", "given", "probability_of_given", "suggested", "text"]
    write_csv(run.folder / ISSUES, header, found, run.facts["safe_csv"])
    return len(found)


def tell_trackers(trainer: FineTuningTrainer, metrics: dict[str, float], draw: Callable[[], list]) -> None:
    """Show TensorBoard and Trackio, where --report_to names them, the final metrics and the figures that `draw` returns."""
    for callback in trainer.callback_handler.callbacks:
        if not isinstance(callback, TensorBoardCallback | TrackioCallback):
            continue
        state = trainer.args, trainer.state, trainer.control
        callback.on_train_begin(*state, model=trainer.model)  # training has closed it
        # they show test_ and eval_ as groups, and what remains as that of the training
        shown = {re.sub("^predict_", "test_", name).removeprefix("train_"): value for name, value in metrics.items()}
        callback.on_log(*state, logs=shown, model=trainer.model)
        for figure in draw():
            if isinstance(callback, TensorBoardCallback):
                callback.tb_writer.add_figure(figure.title, figure.figure, trainer.state.global_step)
            else:
                callback._trackio.log({figure.title: callback._trackio.Image(figure.figure)})
        callback.on_train_end(*state, model=trainer.model)
