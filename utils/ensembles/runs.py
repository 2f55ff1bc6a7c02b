"""A blend of finished runs."""

import json
import logging
from pathlib import Path

import numpy as np

from utils.arguments import UserError, shorten
from utils.ensembles.blending import Method, align, blend, fit_weights, honest_blend
from utils.ensembles.writing import FILES, rank_thresholds, tune_thresholds, write_ensemble
from utils.files.rows import whole_file
from utils.results.finished import Predictions, Run
from utils.results.score_tables import print_table
from utils.scoring.intervals import point_scores

logger = logging.getLogger(__name__)


def blend_runs(runs: list[Run], folder: Path, method: Method, sample: str | None, report: bool) -> dict[str, float]:
    """Blend finished runs, write what comes out to `folder`, print what each run adds, and return the metrics.

    The validation rows choose the weights and the thresholds. Their scores are then those of weights fitted on other rows.

    Args:
        sample: Kaggle's sample file, to write a submission like it.
        report: whether to write report.html.

    Raises:
        UserError: the runs do not predict the same rows, or the method does not fit.
    """
    names, kind = [str(run.folder) for run in runs], runs[0].kind
    _check(runs, names, folder, method)
    members = _aligned(runs, names, method)
    evaluations = [each.evaluation(np.empty(0)) for each in members.get("validation", [])]
    weights = np.full(len(runs), 1 / len(runs))
    if method == "weights":
        weights = fit_weights(kind, np.stack([each.probabilities for each in evaluations]), evaluations[0].truth)
    found = {split: blend(each, weights, method) for split, each in members.items()}
    if method == "weights":
        found["validation"] = honest_blend(members["validation"], evaluations)
    mode = runs[0].options.get("threshold")
    thresholds = tune_thresholds(mode, found.get("validation", found["test"]), runs, tune="validation" in found)
    if method == "rank" and "validation" not in found:
        thresholds = rank_thresholds(found["test"], members["test"], runs)
    _print_members(runs, names, members, found, weights, method, mode)
    facts = runs[0].facts | {"rows": {split: len(each.ids) for split, each in found.items()}}
    facts["rows_by_length"] = {split: runs[0].facts["rows_by_length"][split] for split in found}
    run = write_ensemble(folder, FILES, found, thresholds, facts, {}, sample, report)
    content = {"method": method, "weights": dict(zip(names, weights.tolist(), strict=True))}
    with whole_file(folder / "blend.json") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
    logger.info("\nin %s: %s", folder, ", ".join(sorted(path.name for path in folder.iterdir())))
    return run.metrics


def _check(runs: list[Run], names: list[str], folder: Path, method: Method) -> None:
    for run, name in zip(runs, names, strict=True):
        if run.kind != runs[0].kind or set(run.names) != set(runs[0].names):
            own, others = (f"{each.kind} ({shorten(each.names, 4)})" for each in (runs[0], run))
            raise UserError(f"{name} predicts {others}, and {names[0]} {own}: expected runs of the same task and labels")
    resolved = [run.folder.resolve() for run in runs]
    if len(set(resolved)) < 2 or len(set(resolved)) < len(resolved):
        raise UserError("a blend takes two runs or more, each once: name their folders")
    if folder.resolve() in resolved:
        raise UserError(f"--output_dir {folder} is one of the runs: name a folder of its own")
    if (folder / "config.json").is_file():
        raise UserError(f"--output_dir {folder} holds a model: name another folder")
    if method == "rank" and runs[0].kind != "labels":
        raise UserError(f"--method rank ranks the rows of each label, and {names[0]} predicts {runs[0].kind}: leave it out")


def _aligned(runs: list[Run], names: list[str], method: Method) -> dict[str, list[Predictions]]:
    """Return the predictions of all runs by split, with their rows in one order."""
    members = {}
    for split in ("validation", "test"):
        lacking = [name for run, name in zip(runs, names, strict=True) if split not in run.predictions]
        try:
            if lacking:
                raise UserError(f"{lacking[0]} has no {split} predictions")
            members[split] = align([run.predictions[split] for run in runs], names)
        except UserError as error:
            if split == "test" and ("validation" not in members or len(lacking) < len(runs)):
                raise
            if split == "validation" and method == "weights":
                raise UserError(f"--method weights needs the same validation rows in all runs: {error}") from error
            if split == "validation" and len(lacking) < len(runs):
                logger.info("no common validation rows (%s): the thresholds are the mean of the runs' own", error)
    if method == "weights" and not len(members["validation"][0].evaluation(np.empty(0))):
        raise UserError("--method weights needs validation rows with labels")
    return members


def _print_members(
    runs: list[Run],
    names: list[str],
    members: dict[str, list[Predictions]],
    found: dict[str, Predictions],
    weights: np.ndarray,
    method: Method,
    mode: str | None,
) -> None:
    """Print how good each run is, and how good the blend is without it, on the first split that has labels."""
    split = next((split for split, each in members.items() if len(each[0].evaluation(np.empty(0)))), None)
    if split is None:
        return

    def scores(rows: Predictions, own: list[Run]) -> dict[str, float]:
        return point_scores(rows.evaluation(tune_thresholds(mode, rows, own, tune=split == "validation")))

    def of_runs(chosen: list[int]) -> float:
        shares = weights[chosen] if weights[chosen].any() else None
        rows = blend([members[split][run] for run in chosen], shares, method if len(chosen) > 1 else "mean")
        return scores(rows, [runs[run] for run in chosen])[metric]

    whole, every = scores(found[split], runs), range(len(runs))
    metric = runs[0].facts["metric_for_best_model"].removeprefix("eval_")
    metric = metric if metric in whole else next(iter(whole))
    table = [["run", "weight", f"{split} {metric}", "blend without it"]]
    for own in every:
        alone, without = of_runs([own]), of_runs([other for other in every if other != own])
        table.append([names[own], f"{weights[own]:.3f}", f"{alone:.4f}", f"{without:.4f}"])
    table.append(["blend", "", f"{whole[metric]:.4f}", ""])
    logger.info("")
    print_table(table)
