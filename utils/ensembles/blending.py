"""Predictions of several runs for the same rows, put together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata
from sklearn.model_selection import KFold

from utils.results.comparison import in_order_of
from utils.results.finished import Predictions
from utils.scoring.evaluation import Evaluation, Kind

Method = Literal["mean", "rank", "weights"]
METHODS = get_args(Method)
PARTS = 5  # of the rows; weights are judged on the part that they were not fitted on


def align(members: Sequence[Predictions], names: Sequence[str]) -> list[Predictions]:
    """Return the predictions of all members in the order of the first, with the true labels that any of them has.

    `names` are for messages; see `in_order_of`.
    """
    pairs = zip(members[1:], names[1:], strict=True)
    aligned = [members[0], *(in_order_of(members[0], other, (names[0], name)) for other, name in pairs)]
    labels = next((each.labels for each in aligned if each.labels), None)
    return [replace(each, labels=labels) for each in aligned]


def blend(members: Sequence[Predictions], weights: np.ndarray | None = None, method: Method = "mean") -> Predictions:
    """Return the mean of aligned predictions, by `weights` [members] if they are given; by rank that of their ranks."""
    values = np.stack([each.probabilities for each in members])
    if method == "rank":  # the share of rows below, of ties the middle: the ranking of each member counts, not how sure it is
        values = (rankdata(values, axis=1) - 0.5) / values.shape[1]
    found = replace(members[0], probabilities=np.average(values, axis=0, weights=weights), decisions=[])
    if found.chosen:  # the text of a candidate that no member has chosen is not in their files
        best = np.nanargmax(found.probabilities, axis=1)
        own = zip(*(each.chosen for each in members), strict=True)
        found.chosen = [(str(place), dict(pairs).get(str(place), "")) for place, pairs in zip(best, own, strict=True)]
    return found


def fit_weights(kind: Kind, members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the weights [members], none below 0 and 1 in all, with which the mean has the lowest log loss; of numbers the
    lowest squared error.

    That is a convex problem. The method is that of stacking with such weights (Breiman 1996, https://doi.org/10.1007/BF00117832).

    Args:
        members: the predictions [members, rows, names] for labelled rows.
        truth: see `Evaluation`.
    """
    if kind == "numbers":
        values = members[:, :, 0]

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            errors = weights @ values - truth
            return (errors**2).mean(), 2 * values @ errors / len(errors)

    else:
        if kind == "labels":  # a label is given the probability of what is true
            values = np.where(truth == 1, members, 1 - members)[:, ~np.isnan(truth)]
        else:
            values = np.take_along_axis(members, truth[None, :, None].astype(int), axis=2)[:, :, 0]
        values = values.clip(1e-12)

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            mixed = weights @ values
            return -np.log(mixed).mean(), -(values / mixed).mean(axis=1)

    count = len(members)
    whole = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like}
    found = minimize(loss, np.full(count, 1 / count), jac=True, method="SLSQP", bounds=[(0, 1)] * count, constraints=[whole])
    weights = found.x.clip(0) * (found.x > 1e-3)
    return weights / weights.sum()


def honest_blend(members: Sequence[Predictions], evaluations: Sequence[Evaluation], seed: int = 0) -> Predictions:
    """Return the blend of labelled rows by weights that were fitted on other rows, so that its scores promise nothing false.

    `evaluations` are those of the aligned `members`. Rows without a label get the plain mean.
    """
    found, rows = blend(members), evaluations[0].rows
    values, truth = np.stack([each.probabilities for each in evaluations]), evaluations[0].truth
    for others, part in KFold(PARTS, shuffle=True, random_state=seed).split(rows):
        weights = fit_weights(evaluations[0].kind, values[:, others], truth[others])
        found.probabilities[rows[part]] = np.average(values[:, part], axis=0, weights=weights)
    return found
