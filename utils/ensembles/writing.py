"""What an ensemble writes: the same files as a run, but no model."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.files.cells import UNKNOWN
from utils.files.rows import whole_file
from utils.results.assessment import interval_metrics
from utils.results.comparison import in_words
from utils.results.finished import FACTS, ISSUES, PREDICTIONS, PREFIXES, REPORT, Predictions, Run, headline, read_run
from utils.results.page import write_page
from utils.results.predictions import Submission, save_thresholds, write_predictions
from utils.results.report import a_report_costs_no_run
from utils.results.score_tables import choice_table, overall_table, print_table, score_table
from utils.scoring.evaluation import Evaluation
from utils.scoring.metrics import ClassificationMetrics, MultilabelMetrics, MultipleChoiceMetrics, RegressionMetrics
from utils.scoring.selection import choose_threshold, choose_thresholds

logger = logging.getLogger(__name__)

Decide = Callable[..., list]  # a script's `decide`
FILES = {split: names[0] for split, names in PREDICTIONS.items()}  # but for folds
HEADINGS = {"oof_predictions.csv": "Out-of-fold", "validation_predictions.csv": "Validation", "predictions.csv": "Test"}


def tune_thresholds(mode: str | None, found: Predictions, members: list[Run], tune: bool = True) -> np.ndarray:
    """Return the decision thresholds of an ensemble, as `mode` (--threshold) says: tuned, or the mean of the members' own.

    Args:
        found: what the ensemble predicts for the validation rows, or for others that tune nothing.
    """
    known = np.mean([run.thresholds(found.names) for run in members], axis=0)
    evaluation = found.evaluation(known)
    if tune and len(evaluation) and found.kind == "labels":
        truth = np.nan_to_num(evaluation.truth, nan=UNKNOWN)
        return choose_thresholds(mode or "per_label", evaluation.probabilities, truth, known)
    if tune and len(evaluation) and found.kind == "classes" and len(found.names) == 2:
        return choose_threshold(mode, evaluation.probabilities, evaluation.truth, known)
    return known


def rank_thresholds(found: Predictions, members: list[Predictions], runs: list[Run]) -> np.ndarray:
    """Return thresholds [labels] by which as many rows of a blend of ranks are decided as by its `members` on average."""
    pairs = zip(members, runs, strict=True)
    share = np.mean([(rows.probabilities >= run.thresholds(rows.names)).mean(axis=0) for rows, run in pairs], axis=0)
    return np.array([np.quantile(ranks, 1 - part) for ranks, part in zip(found.probabilities.T, share, strict=True)])


def all_scores(evaluation: Evaluation) -> dict[str, float]:
    """Return all metrics that the script of an evaluation's kind reports, also those of each label."""
    found = {"predictions": evaluation.probabilities, "references": evaluation.truth}
    if evaluation.kind == "labels":
        found["references"] = np.nan_to_num(evaluation.truth, nan=UNKNOWN)
        options = {"label_names": evaluation.names, "decided": evaluation.decided, "per_label": True}
        return MultilabelMetrics(keep_in_memory=True).compute(**found, **options)
    if evaluation.kind == "classes":
        options = {"label_names": evaluation.names, "decided": evaluation.decided, "per_label": True}
        return ClassificationMetrics(keep_in_memory=True).compute(**found, **options)
    if evaluation.kind == "choices":
        return MultipleChoiceMetrics(keep_in_memory=True).compute(**found, details=True)
    return RegressionMetrics(keep_in_memory=True).compute(**found | {"predictions": evaluation.probabilities[:, 0]})


def write_ensemble(
    folder: Path,
    files: dict[str, str],
    found: dict[str, Predictions],
    thresholds: np.ndarray,
    facts: dict[str, Any],
    metrics: dict[str, float],
    sample: str | None,
    report: bool,
    decide: Decide | None = None,
) -> Run:
    """Write what an ensemble predicts by split, its scores and report.html to `folder`, and print the scores.

    Args:
        files: the file of each split's predictions.
        facts: of a member, or of all: see report.json.
        metrics: further metrics of the ensemble, for all_results.json.
        sample: Kaggle's sample file, to write a submission like it, of the test rows.
        report: whether to write report.html with intervals.
        decide: the script's; without one it is decided at the thresholds.

    Raises:
        UserError: the sample does not fit the test rows or the labels.
    """
    test = found.get("test")
    submission = Submission(sample, test.ids, test.id_name, test.names) if sample and test else None
    folder.mkdir(parents=True, exist_ok=True)
    written = (*files.values(), *(f"{prefix}_results.json" for prefix in PREFIXES.values()), "submission.csv", ISSUES, REPORT)
    for name in written:  # by an earlier run, perhaps of other rows
        (folder / name).unlink(missing_ok=True)
    facts = {name: value for name, value in facts.items() if name not in ("run", "test_data")}
    facts["thresholds"] = thresholds.tolist()
    safe, every = facts["safe_csv"], facts.get("all_probabilities", False)
    evaluations, scores = {}, {}
    for split, rows in found.items():
        decided = {"prediction": decisions(rows, thresholds, decide)}
        rows = replace(rows, decisions=list(map(str, decided["prediction"])))
        evaluations[split] = rows.evaluation(thresholds)
        if rows.chosen:
            pairs = zip(rows.decisions, rows.chosen, strict=True)
            decided["prediction_text"] = [text if place == decision else "" for decision, (place, text) in pairs]
        of_row = {"label": rows.labels or [], "text": rows.texts}
        of_row = {name: values for name, values in of_row.items() if values}
        names = [] if rows.kind == "numbers" else rows.names
        shown = rows.probabilities[:, : len(names)]
        write_predictions(folder / files[split], rows.id_name, rows.ids, names, shown, decided, of_row, safe, every)
    if submission:
        submission.write(folder / "submission.csv", test.probabilities, safe)
    if len(thresholds):
        save_thresholds(thresholds, facts["labels"][-len(thresholds) :], folder)
    for split, evaluation in evaluations.items():
        if len(evaluation):
            scores[split] = all_scores(evaluation)
            metrics = metrics | {f"{PREFIXES[split]}_{name}": value for name, value in scores[split].items()}
    _write_json(folder / FACTS, facts)
    _write_scores(folder, metrics)
    run = read_run(folder)
    if report:
        with a_report_costs_no_run():
            run.metrics |= interval_metrics(run)
            _write_scores(folder, run.metrics)
            write_page(run, folder / REPORT)
    for split in run.evaluations:
        logger.info("\n%s scores", HEADINGS[files[split]])
        table = choice_table if run.kind == "choices" else score_table
        if run.names:
            print_table(table(scores[split], run.names, thresholds if run.kind == "labels" else None))
        print_table(overall_table(headline(run.metrics, split), run.kind))
    return run


def decisions(rows: Predictions, thresholds: np.ndarray, decide: Decide | None = None) -> list[Any]:
    """Return what is decided of each row, as a run writes it."""
    if decide is not None:
        return decide(rows.probabilities) if rows.kind == "choices" else decide(rows.probabilities, thresholds, rows.names)
    every = np.arange(len(rows.ids))
    evaluation = replace(Evaluation(rows.kind, rows.names, rows.probabilities, every), thresholds=thresholds)
    return evaluation.decided.tolist() if rows.kind in ("choices", "numbers") else in_words(evaluation, evaluation.decided)


def _write_scores(folder: Path, metrics: dict[str, float]) -> None:
    _write_json(folder / "all_results.json", metrics)
    for prefix in PREFIXES.values():
        own = {name: value for name, value in metrics.items() if name.startswith(f"{prefix}_")}
        if own:
            _write_json(folder / f"{prefix}_results.json", own)


def _write_json(path: Path, content: Any) -> None:
    with whole_file(path) as file:
        json.dump(content, file, indent=4, ensure_ascii=False, sort_keys=path.name != FACTS)
