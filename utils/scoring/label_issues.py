"""Rows whose label looks wrong, by confident learning, from predictions on rows that were not trained on.

Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels, https://arxiv.org/abs/1911.00068
"""

from typing import NamedTuple

import numpy as np

from utils.scoring.evaluation import Evaluation


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
    if evaluation.kind == "labels":
        questions = [(name, known, ["no", "yes"]) for name, known in zip(names, ~np.isnan(truth).T, strict=True)]
    else:
        questions = [(None, np.ones(len(truth), bool), names)]
    ranked = []
    for column, (label, known, answers) in enumerate(questions):
        rows = np.flatnonzero(known)
        if label is None:
            given, predicted = truth, np.nan_to_num(probabilities, nan=-1.0)
        else:
            given, yes = truth[rows, column].astype(int), probabilities[rows, column]
            predicted = np.stack([1 - yes, yes], axis=1)
        positions, suggested, trusts = _suspects(predicted, given, alike=evaluation.kind == "choices")
        ranked += [
            (trust, LabelIssue(int(rows[i]), label, answers[given[i]], answers[other], float(predicted[i, given[i]])))
            for i, other, trust in zip(positions, suggested, trusts, strict=True)
        ]
    return [issue for _, issue in sorted(ranked, key=lambda pair: pair[0])]


def _suspects(predicted: np.ndarray, given: np.ndarray, alike: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which rows are suspected, the class that is suggested for each, and how far the given one is to be trusted.

    Args:
        predicted: probabilities [rows, classes], -1 for what a row does not have.
        given: ids [rows].
        alike: all classes have the same threshold.
    """
    if not alike:  # as if no class had been weighted: each is predicted as often as it is given
        shares = np.bincount(given, minlength=predicted.shape[1]) / max(len(given), 1)
        predicted = predicted * shares / np.maximum(predicted.sum(axis=0) / max(len(given), 1), 1e-12)
        predicted = predicted / np.maximum(predicted.sum(axis=1, keepdims=True), 1e-12)
    of_given = np.take_along_axis(predicted, given[:, None], axis=1)[:, 0]
    group = np.zeros_like(given) if alike else given
    groups = np.zeros(predicted.shape[1], int) if alike else np.arange(predicted.shape[1])
    sums, counts = (np.bincount(group, weights, minlength=predicted.shape[1]) for weights in (of_given, None))
    means = np.maximum(sums / np.maximum(counts, 1), 1e-12)
    thresholds = np.where(counts > 0, means, np.inf)[groups]  # a class that no row is given is never suggested
    confident = np.where(predicted >= thresholds, predicted, -1.0)
    suggested, most = confident.argmax(axis=1), confident.max(axis=1)
    suspected = np.flatnonzero((suggested != given) & (most >= 0))
    trust = of_given[suspected] / most[suspected] / means[group[suspected]]
    return suspected, suggested[suspected], trust
