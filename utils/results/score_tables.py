"""The tables of scores that a run prints: of each label, of the whole, and of multiple choice."""

import logging

import numpy as np

from utils.results.finished import UNREAD, Score
from utils.scoring.evaluation import Kind

logger = logging.getLogger(__name__)

PER_LABEL = ("support", "accuracy", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision")


def score_table(
    scores: dict[str, float],
    names: list[str],
    thresholds: np.ndarray | None = None,
    limit: int = 30,
    heading: str = "label",
) -> list[list[str]]:
    """Return the table of each label's scores, the header first; of many labels, those with the largest support."""
    keys = [key for key in PER_LABEL if any(f"{name}_{key}" in scores for name in names)]

    def score(name: str, key: str) -> str:
        value = scores.get(f"{name}_{key}")
        if key not in ("support", "predicted") and scores.get(f"{name}_support") == 0:  # no row has the label
            return "–"
        return "–" if value is None else f"{value:.0f}" if key in ("support", "predicted") else f"{value:.3f}"

    order = list(range(len(names)))
    if len(names) > limit:
        order = sorted(order, key=lambda i: -scores[f"{names[i]}_support"])
    rows = [[names[i], *(score(names[i], key) for key in keys)] for i in order[:limit]]
    table = [[heading, *keys], *rows]
    if thresholds is not None:
        column = ["threshold", *(f"{thresholds[i]:.3f}" for i in order[:limit])]
        table = [[first, value, *rest] for (first, *rest), value in zip(table, column, strict=True)]
    if len(names) > limit:
        table.append([f"… {len(names) - limit} more labels", *[""] * (len(table[0]) - 1)])
    return table if keys else []


def choice_table(scores: dict[str, float], names: list[str], thresholds: None = None) -> list[list[str]]:
    """Return the table of scores by number of candidates, and by position of the right one, whose name is in `names`."""
    counts = [count for count in range(2, len(names) + 1) if f"candidates_{count}_support" in scores]
    keys = [*(f"candidates_{count}" for count in counts), *(f"position_{position}" for position in range(len(names)))]
    heading, *rows = score_table(scores, keys, limit=len(keys), heading="right candidate")
    shown = [*(f"any of {count}" for count in counts), *names]
    return [heading, *([name, *row[1:]] for name, row in zip(shown, rows, strict=True))]


def overall_table(scores: list[Score], kind: Kind) -> list[list[str]]:
    """Return the table of scores as a whole, the header first; without the columns that are empty."""

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    columns = {
        "metric": [score.name for score in scores],
        "value": [shown(score.value) for score in scores],
        "95 % interval": ["–" if score.low is None else f"{score.low:.3f} to {score.high:.3f}" for score in scores],
        "TF-IDF": [shown(score.baseline) for score in scores],
        UNREAD.get(kind, "majority"): [shown(score.majority) for score in scores],
    }
    columns = {name: cells for name, cells in columns.items() if set(cells) != {"–"}}
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def print_table(table: list[list[str]]) -> None:
    """Print a table, its first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *rest in table:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        logger.info("  %s", "  ".join([first.ljust(widths[0]), *cells]))
