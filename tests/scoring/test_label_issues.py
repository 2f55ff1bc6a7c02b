"""Labels that look wrong, on simulated predictions whose wrong labels are known."""

import numpy as np
import pytest

from utils.scoring.evaluation import Evaluation
from utils.scoring.label_issues import LabelIssue, find_label_issues
from utils.scoring.metrics import sigmoid, softmax

NAMES = ["a", "b", "c"]


def simulated(kind, rows=2000, seed=0):
    """Return an evaluation of which 5 % of the labels are wrong, and which: [rows], of several labels [rows, labels]."""
    draw = np.random.default_rng(seed)
    shares = (0.6, 0.3, 0.1)
    if kind == "labels":
        true = draw.random((rows, 3)) < shares
        flipped = draw.random((rows, 3)) < 0.05
        return Evaluation(kind, NAMES, sigmoid(draw.normal(6.0 * true - 3, 1.0)), (true != flipped).astype(float)), flipped
    true = draw.choice(3, rows, p=shares)
    flipped = draw.random(rows) < 0.05
    given = (true + flipped * draw.integers(1, 3, rows)) % 3
    return Evaluation(kind, NAMES, softmax(draw.normal(4.0 * (true[:, None] == np.arange(3)), 1.0)), given), flipped


@pytest.mark.parametrize("kind", ["classes", "choices", "labels"])
def test_the_first_suspects_were_flipped(kind):
    evaluation, flipped = simulated(kind)
    issues = find_label_issues(evaluation)
    assert len(issues) > 50 and issues == find_label_issues(evaluation)
    where = [(i.position, NAMES.index(i.label)) if kind == "labels" else i.position for i in issues]
    assert np.mean([flipped[each] for each in where[:50]]) > 0.95 and len(set(where)) == len(where)
    for issue in issues:
        assert issue.given != issue.suggested
        if kind == "labels":
            column = NAMES.index(issue.label)
            assert issue.given == ("yes" if evaluation.truth[issue.position, column] else "no")
            probability = abs((issue.given == "no") - evaluation.probabilities[issue.position, column])
        else:
            assert issue.label is None and issue.given == NAMES[evaluation.truth[issue.position]]
            probability = evaluation.probabilities[issue.position, evaluation.truth[issue.position]]
        assert issue.probability == pytest.approx(probability)


def test_unknown_cells_and_missing_candidates_never_appear():
    evaluation, _ = simulated("labels")
    before = find_label_issues(evaluation)
    hidden = {(issue.position, issue.label) for issue in before[:20]}
    for position, label in hidden:
        evaluation.truth[position, NAMES.index(label)] = np.nan
    after = find_label_issues(evaluation)
    assert after and not hidden & {(issue.position, issue.label) for issue in after}
    probabilities = np.array([[0.9, 0.1, np.nan], [0.1, 0.9, np.nan], [0.05, 0.95, np.nan], [0.2, 0.1, 0.7]])
    found = find_label_issues(Evaluation("choices", NAMES, probabilities, np.array([0, 1, 0, 2])))
    assert found == [LabelIssue(2, None, "a", "b", 0.05)]


def test_a_class_that_is_predicted_cautiously_is_suggested_at_its_own_mean():
    """The mean of the rows that are given b is 0.4, so 0.45 is confident, although a has more."""
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.55, 0.45]])
    found = find_label_issues(Evaluation("classes", ["a", "b"], probabilities, np.array([0, 0, 1, 1, 0])))
    assert found == [LabelIssue(4, None, "a", "b", 0.55)]


@pytest.mark.parametrize(
    "evaluation",
    [
        Evaluation("numbers", [], np.ones((3, 1)), np.array([1.0, 2.0, 9.0])),
        Evaluation("classes", NAMES, np.empty((0, 3)), np.empty(0, int)),
        Evaluation("classes", ["a"], np.ones((3, 1)), np.zeros(3, int)),
        Evaluation("classes", NAMES, np.array([[0.1, 0.1, 0.8]] * 3), np.zeros(3, int)),
        Evaluation("choices", NAMES, np.array([[1.0, np.nan, np.nan]] * 2), np.zeros(2, int)),
        Evaluation("labels", NAMES, np.full((2, 3), 0.9), np.zeros((2, 3))),
        Evaluation("labels", NAMES, np.full((2, 3), 0.9), np.full((2, 3), np.nan)),
        Evaluation("labels", NAMES, np.empty((0, 3)), np.empty((0, 3))),
    ],
)
def test_nothing_to_compare_with_is_no_issue(evaluation):
    assert find_label_issues(evaluation) == []
