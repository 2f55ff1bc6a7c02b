"""What a hyperparameter search prints and writes: a line per trial, a table of the best, search.json, and figures."""

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.arguments import number_of
from utils.search.study import SharedStudy, was_interrupted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

MOST_SHOWN = 10


def print_trial(shared: SharedStudy, trial: "FrozenTrial", objective: str, trials: int, order: list[str]) -> None:
    """Print one line for a trial that has ended. `trials` is how many were asked for, `order` the order of its values."""
    attributes, best = trial.user_attrs, shared.best()
    ended = f"failed: {attributes['error']}" if "error" in attributes else f"{objective} {trial.value:.4f}"
    if trial.state.name == "PRUNED":
        ended += f", pruned at epoch {attributes['pruned_at_epoch']:g}"
    if "same_as" in attributes:
        ended += f", same values as trial {attributes['same_as']}"
    if best:
        ended += f" (best {best[0].value:.4f}, trial {best[0].number})"
    values = ", ".join(f"{name} {show(trial.params[name])}" for name in order)
    seconds, finished = trial.duration.total_seconds(), len(shared.finished())
    logger.info("[%d/%d] trial %d: %s, %.0f s: %s", finished, trials, trial.number, ended, seconds, values)


def print_best(shared: SharedStudy, objective: str, order: list[str]) -> None:
    """Print how the trials ended, and a table of the best ones."""
    best, states = shared.best(), [trial.state.name for trial in shared.finished()]
    interrupted = sum(map(was_interrupted, shared.trials()))
    logger.info(
        "\n%s: %d completed, %d pruned, %d failed%s",
        number_of(len(states), "trial"), len(best), states.count("PRUNED"), states.count("FAIL"),
        f"; and {interrupted} interrupted" if interrupted else "",
    )  # fmt: skip
    if not best:
        return
    rows = [["trial", *dict.fromkeys([objective, "loss"]), "seconds", *order]]
    for trial in best[:MOST_SHOWN]:
        scores = {objective: trial.value, "loss": trial.user_attrs["loss"]}
        numbers = [str(trial.number), *(f"{score:.4f}" for score in scores.values()), f"{trial.duration.total_seconds():.0f}"]
        rows.append(numbers + [show(trial.params[name]) for name in order])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        logger.info("  %s", "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def write_search(shared: SharedStudy, objective: str, output_dir: str | Path) -> None:
    """Write every trial that has ended to search.json."""
    best = shared.best()
    report = {
        "objective": objective,
        "direction": shared.study.direction.name.lower(),
        "search_space": shared.study.user_attrs["begun_with"]["search_space"],
        "best_trial": best[0].number if best else None,
        "trials": [describe(trial) for trial in shared.trials() if trial.state.is_finished()],
    }
    Path(output_dir, "search.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(trial: "FrozenTrial") -> dict[str, Any]:
    """Return the entry of a trial in search.json."""
    entry = {
        "number": trial.number,
        "state": "interrupted" if was_interrupted(trial) else trial.state.name.lower(),
        "value": trial.value,
        "params": trial.params,
        "seconds": round(trial.duration.total_seconds(), 1),
        "evaluations": {f"epoch {step / 100:g}": value for step, value in trial.intermediate_values.items()},
    }
    return entry | {name: trial.user_attrs[name] for name in ("loss", "error", "same_as") if name in trial.user_attrs}


def draw_figures(shared: SharedStudy, objective: str, output_dir: Path) -> None:
    """Draw the history of the search, all trials in parallel coordinates, and the importance of each option."""
    completed = len(shared.best())
    try:
        import matplotlib
    except ImportError:
        logger.info("no figures of the search, because matplotlib is not installed")
        return
    from optuna.visualization import matplotlib as plots

    matplotlib.use("agg")
    figures = {"history": plots.plot_optimization_history} if completed else {}
    if completed > 1:
        figures |= {"parallel_coordinates": plots.plot_parallel_coordinate, "importances": plots.plot_param_importances}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plots are experimental, or all scores are equal
        for name, plot in figures.items():
            figure = plot(shared.study, target_name=objective).figure
            figure.savefig(output_dir / f"search_{name}.png", dpi=150, bbox_inches="tight")
            matplotlib.pyplot.close(figure)


def show(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
