"""The metrics of an evaluation whose rows have weights, for many vectors of weights at once.

Decisions are counted by products of matrices. A ranking is sorted once.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse

from utils.scoring.evaluation import Evaluation

Scores = dict[str, np.ndarray]  # each metric [samples], NaN where it is undefined
Scorer = Callable[[np.ndarray], Scores]  # of the weights [rows, samples]

TRIANGLE = np.tri(32, dtype=np.float32)
MANY = 20_000  # rows, which scipy sorts faster than numpy does
CHUNK = 1024  # steps of a ranking at a time, which the caches of a processor hold


def point_scores(evaluation: Evaluation) -> dict[str, float]:
    """Return the metrics of a task as a whole, as `utils.scoring.metrics` defines them, and the F1 of each label or class.

    Undefined ones are left out.
    """
    return defined(weighted_scores(evaluation, np.ones((len(evaluation), 1))))


def defined(scores: Scores) -> dict[str, float]:
    """Return the metrics of a single vector of weights that are defined."""
    return {name: float(score[0]) for name, score in scores.items() if not np.isnan(score[0])}


def weighted_scores(evaluation: Evaluation, weights: np.ndarray) -> Scores:
    """Return what the metrics [samples] would be if each row stood there `weights` [rows, samples] times; NaN: undefined."""
    return weighted_scorer(evaluation)(weights)


def weighted_scorer(evaluation: Evaluation) -> Scorer:
    """Return what `weighted_scores` does for weights, having sorted the scores once."""
    scorers = {"labels": _of_labels, "classes": _of_classes, "choices": _of_choices, "numbers": _of_numbers}
    return scorers[evaluation.kind](evaluation)


def _of_labels(evaluation: Evaluation) -> Scorer:
    truth, probabilities, known = evaluation.truth == 1, evaluation.probabilities, ~np.isnan(evaluation.truth)
    decided = known & evaluation.decided
    hit, rows = truth & decided, known.any(axis=1)
    of_rows = np.stack([rows & (truth == decided).all(axis=1), rows, *(x.sum(axis=1) for x in (hit, truth, decided, known))])
    of_labels = [sparse.csr_array(x.T, dtype=np.float32) for x in (hit, truth, decided, ~known)]
    ranked = np.flatnonzero(truth.any(axis=0) & (known & ~truth).any(axis=0))
    rankings = []
    for c in ranked:
        rows_of = known[:, c].nonzero()[0]
        rankings.append(_Ranking(probabilities[rows_of, c], truth[rows_of, c], rows_of, len(truth)))
    rows_of = np.repeat(np.arange(len(truth), dtype=np.int32), known.sum(axis=1))
    together = _Ranking(probabilities[known], truth[known], rows_of, len(truth))

    def score(weights: np.ndarray) -> Scores:
        exact, answered, hits, positives, yes, cells = of_rows.astype(weights.dtype) @ weights
        scores = {"accuracy": _ratio(exact, answered), "f1_micro": _ratio(2 * hits, positives + yes, 0.0)}
        micro = together.scores(weights, positives, cells - positives)
        scores["roc_auc_micro"], scores["average_precision_micro"] = micro
        hits, positives, yes, unknown = (each @ weights for each in of_labels)
        negatives = weights.sum(axis=0) - unknown - positives
        f1 = _ratio(2 * hits, positives + yes, 0.0)
        each = [ranking.scores(weights, positives[c], negatives[c]) for ranking, c in zip(rankings, ranked, strict=True)]
        areas, precisions = np.reshape(each, (len(ranked), 2, weights.shape[1])).swapaxes(0, 1)
        defined = (positives > 0) & (negatives > 0)
        scores["f1_macro"] = _mean(f1, defined)
        scores["roc_auc_macro"] = _mean(areas, defined[ranked])
        scores["average_precision_macro"] = _mean(precisions, defined[ranked])
        return scores | {f"{name}_f1": own for name, own in zip(evaluation.names, f1, strict=True)}

    return score


def _of_classes(evaluation: Evaluation) -> Scorer:
    truth, decided, probabilities = evaluation.truth, evaluation.decided, evaluation.probabilities
    each_row, count = np.arange(len(evaluation)), len(evaluation.names)
    normalized = probabilities / probabilities.sum(axis=1, keepdims=True)
    tiny = np.finfo(np.float64).eps
    losses = -np.log(np.clip(normalized[each_row, truth], tiny, 1 - tiny))
    correct, confidence = truth == decided, normalized.max(axis=1)
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = sparse.csr_array((confidence - (normalized.argmax(axis=1) == truth), (bins, each_row)), shape=(15, len(truth)))
    counted = (truth, each_row), (decided, each_row), (truth[correct], each_row[correct])
    of_classes = [_groups(own, rows, count, len(truth)) for own, rows in counted]
    occurring = [c for c in range(count) if 0 < (truth == c).sum() < len(truth)]
    rankings = [_Ranking(probabilities[:, c], truth == c, each_row, len(truth)) for c in occurring]

    def score(weights: np.ndarray) -> Scores:
        rows = weights.sum(axis=0, dtype=np.float64)
        positives, yes, hits = ((each @ weights).astype(np.float64) for each in of_classes)
        f1 = _ratio(2 * hits, positives + yes, 0.0)
        right = hits.sum(axis=0)
        varied = rows**2 - (positives**2).sum(axis=0)
        spread = varied * (rows**2 - (yes**2).sum(axis=0))
        covaried = right * rows - (positives * yes).sum(axis=0)
        scores = {
            "accuracy": right / rows,
            "balanced_accuracy": _mean(_ratio(hits, positives), positives > 0),
            "f1_macro": _mean(f1, positives + yes > 0),
            "matthews_corrcoef": np.where(varied > 0, _ratio(covaried, np.sqrt(spread), 0.0), np.nan),  # undefined for one class
            "log_loss": losses @ weights / rows,
            "expected_calibration_error": np.abs(gaps @ weights).sum(axis=0) / rows,
        }
        negatives = rows - positives
        each = [ranking.scores(weights, positives[c], negatives[c]) for ranking, c in zip(rankings, occurring, strict=True)]
        areas, precisions = np.reshape(each, (len(occurring), 2, weights.shape[1])).swapaxes(0, 1)
        defined = (positives > 0) & (negatives > 0)
        scores["roc_auc_macro"] = _mean(areas, defined[occurring])
        if count == 2:
            scores["f1"] = f1[1]
            if occurring:
                scores["roc_auc"], scores["average_precision"] = areas[1], precisions[1]
        return scores | {f"{name}_f1": own for name, own in zip(evaluation.names, f1, strict=True)}

    return score


def _of_choices(evaluation: Evaluation) -> Scorer:
    ranked = np.nan_to_num(evaluation.probabilities, nan=-1.0)
    right = np.take_along_axis(ranked, evaluation.truth[:, None], axis=1)
    of_rows = np.stack([evaluation.decided == evaluation.truth, 1 / (ranked >= right).sum(axis=1)])

    def score(weights: np.ndarray) -> Scores:
        return dict(zip(("accuracy", "mean_reciprocal_rank"), of_rows @ weights / weights.sum(axis=0), strict=True))

    return score


def _of_numbers(evaluation: Evaluation) -> Scorer:
    truth, predicted = evaluation.truth - evaluation.truth.mean(), evaluation.decided - evaluation.decided.mean()
    errors = (evaluation.truth - evaluation.decided) ** 2
    moments = np.stack([truth, predicted, truth**2, predicted**2, truth * predicted, errors])
    orders = [np.unique(values, return_inverse=True)[1] for values in (truth, predicted)]
    values = [_groups(order, np.arange(len(order)), _padded(len(order)), len(order)) for order in orders]

    def ranks(weights: np.ndarray) -> Iterator[np.ndarray]:
        for order, value in zip(orders, values, strict=True):
            tied = value @ weights
            yield ((_cumulative(tied, 0 * tied[0]) - tied / 2) / weights.sum(axis=0) - 0.5)[order]

    def score(weights: np.ndarray) -> Scores:
        mean, predicted_mean, square, predicted_square, product, error = moments @ weights / weights.sum(axis=0)
        spread, predicted_spread = square - mean**2, predicted_square - predicted_mean**2
        spread = np.where(spread > 1e-12 * square, spread, 0.0)  # of equal numbers only rounding is left
        predicted_spread = np.where(predicted_spread > 1e-12 * predicted_square, predicted_spread, 0.0)
        varied = np.sqrt(spread * predicted_spread)
        first, second = ranks(weights)
        pairs = (first, second), (first, first), (second, second)
        both, alone, other = ((weights * one * another).sum(axis=0) for one, another in pairs)
        return {
            "mse": error,
            "r2": 1 - _ratio(error, spread),
            "pearson": _ratio(product - mean * predicted_mean, varied),
            "spearman": np.where(varied > 0, _ratio(both, np.sqrt(alone * other)), np.nan),
        }

    return score


class _Ranking:
    """The ranking of the cells of a label, or of all of them, by their score.

    It is told by the scores that positive cells have, highest first: the weight of the positives at each, and of the negatives
    between it and the one before. Negatives below all positives count for nothing but their number.

    Args:
        scores, positive: of each known cell [cells].
        rows: the row [cells] whose weight it has.
        count: the number of rows.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray, rows: np.ndarray, count: int):
        steps = np.unique(scores[positive])
        below = np.searchsorted(steps, scores, side="right").astype(np.int32) - 1  # the highest step no higher than the cell
        step = len(steps) - 1 - below
        size = _padded(len(steps))
        beaten = ~positive & (below >= 0)
        tied = beaten.copy()
        tied[beaten] = steps[below[beaten]] == scores[beaten]
        sums = [_groups(step[cells], rows[cells], size, count) for cells in (positive, beaten, tied)]
        chunks = [sums] if 0 < size <= CHUNK else [[x[i : i + CHUNK] for x in sums] for i in range(0, size, CHUNK)]
        self.chunks = [(hits, beaten, np.flatnonzero(np.diff(tied.indptr)), tied) for hits, beaten, tied in chunks]

    def scores(self, weights: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ROC-AUC and average precision [samples], given the weight of all positives and all negatives [samples]."""
        found, false_alarms, lost, precision = np.zeros((4, weights.shape[1]), weights.dtype)
        for positive, beaten, tied_steps, tied in self.chunks:
            hits, false = positive @ weights, _cumulative(beaten @ weights, false_alarms)
            lost += np.einsum("gs,gs->s", hits, false)
            if len(tied_steps):
                lost -= np.einsum("gs,gs->s", hits[tied_steps], tied[tied_steps] @ weights) / 2
            true = _cumulative(hits, found)
            found, false_alarms = true[-1].copy(), false[-1].copy()
            hits *= true
            false += true
            hits /= np.maximum(false, 1, out=false)
            precision += hits.sum(axis=0)
        ranked = np.where((positives > 0) & (negatives > 0), positives, 0)
        return 1 - _ratio(lost, ranked * negatives), _ratio(precision, ranked)


def _cumulative(values: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the cumulative sums [32 n, samples] over the first axis, as products of matrices, which are several times faster."""
    sums = TRIANGLE.astype(values.dtype, copy=False) @ values.reshape(-1, len(TRIANGLE), values.shape[1])
    sums += np.cumsum(np.vstack([before, sums[:-1, -1]]), axis=0)[:, None]
    return sums.reshape(values.shape)


def _padded(size: int) -> int:
    return -(-size // len(TRIANGLE)) * len(TRIANGLE)


def _groups(group: np.ndarray, rows: np.ndarray, size: int, count: int) -> sparse.csr_array:
    """Return the matrix [size, count] that adds up the weights of `rows` by their `group`."""
    ones = np.ones(len(rows), np.float32)
    if len(rows) > MANY:
        return sparse.csr_array((ones, (group, rows)), shape=(size, count))
    ends = np.zeros(size + 1, np.int32)  # scipy takes three times as long to sort the few rows of a rare label
    np.cumsum(np.bincount(group, minlength=size), out=ends[1:])
    return sparse.csr_array((ones, rows[np.argsort(group, kind="stable")], ends), shape=(size, count))


def _ratio(above: np.ndarray, below: np.ndarray, undefined: float = np.nan) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, undefined), where=below > 0)


def _mean(values: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Return the means over the first axis of those that are defined."""
    return _ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))
