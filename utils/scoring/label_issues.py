"""Rows whose label looks wrong, by confident learning, from predictions on rows that were not trained on.

Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels, https://arxiv.org/abs/1911.00068
"""

from typing import NamedTuple

import numpy as np

from utils.scoring.evaluation import Evaluation

BLOCK = 2**20  # cells at a time


class LabelIssue(NamedTuple):
    """A label that looks wrong.

    `position` is the row in the evaluation, `label` the one in question of several labels, else None. `given` and `suggested`
    are names, of several labels "yes" or "no". `probability` is what was predicted for what is given.
    """

    position: int
    label: str | None
    given: str
    suggested: str
    probability: float


def find_label_issues(evaluation: Evaluation) -> list[LabelIssue]:
    """Return the labels that look wrong, the most suspicious first. Of numbers there are none.

    Probabilities are first corrected to the shares of the given classes, because class weights make rare ones look probable.
    A row is suspected if another class than the given one is predicted with at least the mean probability of that class in
    the rows that are given it. Of several labels each is judged as two classes, yes and no, and a row can be suspected for more
    than one; candidates count as one class, because their position means nothing. They are ranked by the odds of the given
    class against the suggested one, divided by the given one's own mean: a label that the model never predicts with much
    confidence is no mistake for that.
    """
    if evaluation.kind == "numbers":
        return []
    names, truth, probabilities = evaluation.names, evaluation.truth, evaluation.probabilities
    if evaluation.kind != "labels":
        predicted = np.nan_to_num(probabilities, nan=-1.0)
        _, rows, given, suggested, trusts = _suspects(predicted[None], truth[None], alike=evaluation.kind == "choices")
        answers, labels, of_given = names, [None] * len(rows), predicted[rows, given]
    else:
        found, width = [], max(1, BLOCK // max(len(truth), 1))
        for start in range(0, len(names), width):
            yes, given = probabilities[:, start : start + width].T, truth[:, start : start + width].T
            given = np.where(np.isnan(given), -1, given).astype(int)
            columns, *others = _suspects(np.stack([1 - yes, yes], axis=2), given, alike=False)
            found.append((columns + start, *others))
        columns, rows, given, suggested, trusts = map(np.concatenate, zip(*found, strict=True))
        answers, labels = ["no", "yes"], [names[column] for column in columns.tolist()]
        of_given = np.where(given, probabilities[rows, columns], 1 - probabilities[rows, columns])
    ranked = zip(rows.tolist(), labels, given.tolist(), suggested.tolist(), of_given.tolist(), strict=True)
    issues = [LabelIssue(row, label, answers[own], answers[other], value) for row, label, own, other, value in ranked]
    return [issues[place] for place in np.argsort(trusts, kind="stable").tolist()]


def _suspects(predicted: np.ndarray, given: np.ndarray, alike: bool) -> tuple[np.ndarray, ...]:
    """Return of each suspected cell its question, its row, the given class, the suggested one, and how far to trust the first.

    Args:
        predicted: probabilities [questions, rows, classes], -1 for what a row does not have.
        given: ids [questions, rows], -1 where unknown.
        alike: all classes have the same threshold.
    """
    is_given = given[:, :, None] == np.arange(predicted.shape[2])
    counts, known = is_given.sum(axis=1), given >= 0
    rows = np.maximum(known.sum(axis=1), 1)[:, None]
    if not alike:  # as if no class had been weighted: each is predicted as often as it is given
        weights = counts / rows / np.maximum((predicted * known[:, :, None]).sum(axis=1) / rows, 1e-12)
        predicted = predicted * weights[:, None]
        predicted /= np.maximum(predicted.sum(axis=2, keepdims=True), 1e-12)
    of_given = np.take_along_axis(predicted, np.maximum(given, 0)[:, :, None], axis=2)[:, :, 0]
    if alike:
        means = np.repeat(np.maximum((of_given * known).sum(axis=1) / rows[:, 0], 1e-12)[:, None], predicted.shape[2], axis=1)
        thresholds = np.where(known.any(axis=1)[:, None], means, np.inf)
    else:
        means = np.maximum((predicted * is_given).sum(axis=1) / np.maximum(counts, 1), 1e-12)
        thresholds = np.where(counts > 0, means, np.inf)  # a class that no row is given is never suggested
    confident = np.where(predicted >= thresholds[:, None], predicted, -1.0)
    suggested, most = confident.argmax(axis=2), confident.max(axis=2)
    question, row = found = np.nonzero(known & (suggested != given) & (most >= 0))
    return question, row, given[found], suggested[found], of_given[found] / most[found] / means[question, given[found]]
