"""How far the metrics of an evaluation would move with other rows: bootstrap intervals, and a paired comparison.

Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 16. A resample of the rows is a weight for each: how
often it was drawn. All metrics are computed for many such weights at once.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from utils.arguments import UserError
from utils.scoring.evaluation import Evaluation
from utils.scoring.weighted import Scores, defined, point_scores, weighted_scorer, weighted_scores

__all__ = ["Difference", "compare", "intervals", "point_scores", "weighted_scores"]


class Difference(NamedTuple):
    """A metric of two evaluations of the same rows. `low` and `high` bound the 95 % interval of `second - first`."""

    name: str
    first: float
    second: float
    low: float
    high: float
    p_value: float


def intervals(evaluation: Evaluation, samples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return low and high of the 95 % interval of each of `point_scores`: percentiles of the bootstrap.

    Rows occur twice in a resample, so its average precision is too high, and its F1 is a little too low. A sample is to its
    population as a resample is to the sample, so these percentiles are moved by twice the difference of the resamples' mean,
    those of average precision, in log-odds, by that of their median.

    Left out: intervals without width (all answers are right), those that do not hold the score itself (it is too biased for the
    width), and `NO_INTERVAL`. benchmarks/intervals.md has the coverage of the others. That of proportions near 0 or 1, with less
    than ten rows on one side, and of F1 of labels with as few positives is nearer to 90 %.

    Args:
        samples: how often the rows are drawn. Where rows x labels x samples would be more than `COST`, it is less often, but at
            least `FEWEST_SAMPLES` times.
    """
    ((points, resampled),), found = resample([evaluation], samples, seed), {}
    for name, point in points.items():
        values, tie = resampled[name][~np.isnan(resampled[name])], ROUNDING * abs(point)
        if name not in NO_INTERVAL and len(values):
            low, high = np.quantile(values, (0.025, 0.975), method="weibull")
            if "average_precision" in name and 0 < point < 1:  # never 0, and skewed near 1: log-odds
                median = np.median(values)
                center = median if median < 1 else values.mean()  # with few rows most resamples may be perfect
                low, high = expit(logit((low, high)) - 2 * (logit(center) - logit(point)))
            elif "f1" in name:
                low, high = np.clip((low, high) - 2 * (values.mean() - point), 0, 1)
            if high - low > tie and low - tie <= point <= high + tie:
                found[name] = (float(low), float(high))
    return found


def compare(first: Evaluation, second: Evaluation, samples: int = 1000, seed: int = 0) -> list[Difference]:
    """Return how the metrics of two evaluations of the same rows differ, but for `NO_INTERVAL` and the F1 of each label.

    Both are computed on the same resampled rows, so what is hard about these rows falls out. The interval is between percentiles
    of the difference, and `p_value` is twice the share of resamples on the other side of 0: it is below 0.05 if the interval
    holds no 0. It is 1 where both answer the same.

    Raises:
        UserError: they are not of the same rows.
    """
    same = first.kind == second.kind and first.names == second.names and len(first) == len(second)
    if not same or not np.array_equal(first.truth, second.truth, equal_nan=True):
        raise UserError("these are predictions for different rows or labels: expected two runs with the same labelled rows")
    (points, resampled), (other_points, other_resampled) = resample([first, second], samples, seed)
    differences = []
    for name in points:
        if name in NO_INTERVAL or name not in other_points or name in {f"{label}_f1" for label in first.names}:
            continue
        values = other_resampled[name] - resampled[name]
        values = values[~np.isnan(values)]
        if len(values):
            low, high = np.quantile(values, (0.025, 0.975), method="weibull")
            tie = ROUNDING * abs(points[name])
            beyond = min((values <= tie).sum(), (values >= -tie).sum())
            p_value = min(1.0, 2 * (beyond + 1) / (len(values) + 1))
            differences.append(Difference(name, points[name], other_points[name], float(low), float(high), float(p_value)))
    return differences


# Resamples are less well calibrated than the sample, as the sample is less well calibrated than the population: no percentile
# bounds this error, and of well-calibrated models it bounds the difference badly too.
NO_INTERVAL = ("expected_calibration_error",)
ROUNDING = 1e-6  # of float32: what differs by a smaller share is a tie
COST = 1e9  # known cells times samples, ten to twenty seconds
FEWEST_SAMPLES = 200
BLOCK = 2**20  # weights at a time, which the caches of a processor hold


def resample(evaluations: list[Evaluation], samples: int, seed: int) -> list[tuple[dict[str, float], Scores]]:
    """Return for each evaluation its `point_scores`, and the metrics [samples] on resampled rows that are the same for all."""
    cells = evaluations[0].probabilities.size
    samples = min(samples, max(FEWEST_SAMPLES, int(COST / cells)))
    exact = np.float32 if cells < 2**24 else np.float64  # whole numbers up to the number of cells
    scorers = [weighted_scorer(evaluation) for evaluation in evaluations]
    rows = len(evaluations[0])
    parts = [[scorer(weights) for scorer in scorers] for weights in _weights(rows, samples, seed, exact)]
    resampled = [{name: np.concatenate([part[name] for part in own]) for name in own[0]} for own in zip(*parts, strict=True)]
    return [(defined(scorer(np.ones((rows, 1)))), scores) for scorer, scores in zip(scorers, resampled, strict=True)]


def _weights(rows: int, samples: int, seed: int, dtype: type) -> Iterator[np.ndarray]:
    """Yield how often each row is drawn, in blocks [rows, some of the samples]."""
    draw, size = np.random.default_rng(seed), min(max(16, BLOCK // rows), 256)
    for start in range(0, samples, size):
        counts = [np.bincount(draw.integers(rows, size=rows), minlength=rows) for _ in range(min(size, samples - start))]
        yield np.array(counts, dtype).T.copy()
