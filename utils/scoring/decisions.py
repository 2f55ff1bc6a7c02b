"""What became of the decisions at the thresholds, and what would at others: what the report draws and lists."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats
from sklearn.metrics import precision_recall_curve, roc_curve

from utils.scoring.evaluation import Evaluation

MOST_CURVES = 200


class Curve(NamedTuple):
    """A curve of a label, `x` and `y` [points], with the score that it is known by, and the threshold in use."""

    name: str
    x: np.ndarray
    y: np.ndarray
    score: float
    threshold: float


def counted(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of every decision the probability, whether what it is of is true, and whether the decision is right.

    The decisions are those on every known label of every row, or one a row, whose probability is that of what was decided.
    """
    if evaluation.kind == "labels":
        known = ~np.isnan(evaluation.truth)
        truth = evaluation.truth[known] == 1
        return evaluation.probabilities[known], truth, evaluation.decided[known] == truth
    decided, right = evaluation.decided, evaluation.decided == evaluation.truth
    return evaluation.probabilities[np.arange(len(right)), decided] / np.nansum(evaluation.probabilities, axis=1), right, right


def confusions(evaluation: Evaluation) -> sparse.csr_array:
    """Return how many rows of what is true [names] were taken for what [names]. Of many names most pairs have none.

    Of several labels a row counts for each of its missed labels with each that was given in error; the last row and column
    [labels + 1] are those where no label was missed, or given in error.
    """
    if evaluation.kind == "classes":
        pairs, shape = (evaluation.truth, evaluation.decided), (len(evaluation.names),) * 2
        return sparse.csr_array((np.ones(len(evaluation), int), pairs), shape=shape)  # equal pairs are added up
    true, given = evaluation.truth == 1, evaluation.decided & ~np.isnan(evaluation.truth)
    missed, in_error = (
        sparse.csr_array(np.column_stack([cells, ~cells.any(axis=1)]), dtype=np.int32) for cells in (true & ~given, given & ~true)
    )
    return sparse.csr_array(_off_diagonal(missed.T @ in_error) + sparse.diags_array([*(true & given).sum(axis=0), 0], dtype=int))


def most_confused(counts: sparse.csr_array, names: int) -> list[tuple[int, int, int]]:
    """Return what was taken for what, and in how many rows: up to ten pairs, the most frequent first."""
    wrong = _off_diagonal(counts[:names, :names])
    most = np.lexsort((wrong.col, wrong.row, -wrong.data))[:10]
    return list(zip(*(part[most].tolist() for part in (wrong.row, wrong.col, wrong.data)), strict=True))


def fold(counts: sparse.csr_array, totals: np.ndarray, names: int, kept: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Return which names are confused most with one other, and `counts` and `totals` [kept + 1] with the others as one."""
    wrong = _off_diagonal(counts[:names, :names])
    most = np.zeros(names, int)
    for side in (wrong.row, wrong.col):
        np.maximum.at(most, side, wrong.data)
    shown = np.sort(np.argsort(-most, kind="stable")[:kept])
    group = np.full(counts.shape[0], kept)
    group[shown] = range(kept)
    to_group = sparse.csr_array((np.ones(len(group), int), (np.arange(len(group)), group)))
    folded = (to_group.T @ counts @ to_group).toarray()
    folded[kept, kept] = 0  # right ones and wrong ones
    return shown.tolist(), folded, totals @ to_group


def _off_diagonal(counts: sparse.sparray) -> sparse.coo_array:
    """Return the counts of the pairs of different names."""
    pairs = counts.tocoo()
    other = (pairs.row != pairs.col) & (pairs.data > 0)
    return sparse.coo_array((pairs.data[other], (pairs.row[other], pairs.col[other])), shape=counts.shape)


def reliability(scores: np.ndarray, truth: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the decisions in each of the `bins` of equal width, and of those with any the share of truth and the mean score."""
    index = np.minimum((scores * bins).astype(int), bins - 1)
    rows, true, sums = (np.bincount(index, weights, bins) for weights in (None, truth, scores))
    filled = rows > 0
    return rows, true[filled] / rows[filled], sums[filled] / rows[filled]


def interval(hits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the ends [2, shares] of Jeffreys' 95 % interval of the shares hits / rows."""
    return stats.beta.ppf([[0.025], [0.975]], hits + 0.5, rows - hits + 0.5)


def worst_rows(evaluation: Evaluation, limit: int = 20, alike: int = 3) -> list[int]:
    """Return the rows of the mistakes that the model was most certain of, of each kind `alike` at most.

    Certain means a high probability of what was decided; of a label one far from its threshold, as a share of how far it could
    be; of numbers a large error.
    """
    decided, truth = evaluation.decided, evaluation.truth
    if evaluation.kind == "numbers":
        return np.argsort(-np.abs(decided - truth), kind="stable")[:limit].tolist()
    if evaluation.kind == "labels":
        room = np.where(decided, 1 - evaluation.thresholds, evaluation.thresholds)
        certainty = np.abs(evaluation.probabilities - evaluation.thresholds) / np.maximum(room, 1e-12)
        wrong = ~np.isnan(truth) & (decided != (truth == 1))
    else:
        certainty, _, right = counted(evaluation)
        wrong = ~right
    cells = np.argwhere(wrong)
    found: dict[int, None] = {}
    kinds: Counter = Counter()
    for cell in map(tuple, cells[np.argsort(-certainty[wrong], kind="stable")].tolist()):
        kind = (cell[1], decided[cell]) if evaluation.kind == "labels" else (truth[cell], decided[cell])
        kinds[kind] += 1
        if kinds[kind] <= alike:
            found[cell[0]] = None
        if len(found) == limit:
            break
    return list(found)


def label_curves(evaluation: Evaluation, order: list[int]) -> dict[str, list[Curve]]:
    """Return the curves "roc", "precision_recall" and "thresholds" of labels or classes in the `order` of their positions.

    Their scores are the area, the average precision and the F1 at the threshold in use. A label that all or no rows have has
    no curves; of two classes the second has them. F1 against threshold is there where thresholds are. Of more than `MOST_CURVES`
    the first ten are kept, and others at equal distances.
    """
    found: dict[str, list[Curve]] = {"roc": [], "precision_recall": [], "thresholds": []}
    labels, thresholds = evaluation.kind == "labels", evaluation.thresholds
    grid = np.linspace(0, min(1, 1.02 * np.nanmax(evaluation.probabilities)), 201)
    yes = (evaluation.truth == 1).sum(axis=0) if labels else np.bincount(evaluation.truth, minlength=len(evaluation.names))
    no = (evaluation.truth == 0).sum(axis=0) if labels else len(evaluation) - yes
    order = [i for i in ([1] if not labels and len(order) == 2 else order) if yes[i] and no[i]]
    if len(order) > MOST_CURVES:
        order = order[:10] + [order[i] for i in np.linspace(10, len(order) - 1, MOST_CURVES - 10).astype(int)]
    for i in order:
        truth = evaluation.truth[:, i] if labels else (evaluation.truth == i).astype(float)
        known = ~np.isnan(truth)
        truth, scores, name = truth[known] == 1, evaluation.probabilities[known, i], evaluation.names[i]
        threshold = thresholds[i if labels else 0] if len(thresholds) else np.nan
        alarms, hits, _ = roc_curve(truth, scores)
        precision, recall, _ = precision_recall_curve(truth, scores)
        found["roc"].append(Curve(name, alarms, hits, np.trapezoid(hits, alarms), threshold))
        average = -np.sum(np.diff(recall) * precision[:-1])
        found["precision_recall"].append(Curve(name, recall[::-1], precision[::-1], average, threshold))
        if len(thresholds):
            at_or_above = [len(s) - np.searchsorted(np.sort(s), [*grid, threshold]) for s in (scores[truth], scores)]
            f1 = 2 * at_or_above[0] / (truth.sum() + at_or_above[1])
            found["thresholds"].append(Curve(name, grid, f1[:-1], f1[-1], threshold))
    return found
