"""Bootstrap intervals: weighted metrics are those of scikit-learn on rows that are repeated, and intervals hold the truth."""

import numpy as np
import pytest

from utils.arguments import UserError
from utils.files.cells import UNKNOWN
from utils.scoring.evaluation import Evaluation
from utils.scoring.intervals import compare, intervals, point_scores, weighted_scores
from utils.scoring.metrics import ClassificationMetrics, MultilabelMetrics, MultipleChoiceMetrics, RegressionMetrics, softmax


def labels(rows=120, seed=0, noise=0.25):
    """Ties, unknown cells, a row that is unknown, a rare label, one without positives, and one that is unknown."""
    draw = np.random.default_rng(seed)
    truth = (draw.random((rows, 5)) < (0.5, 0.2, 0.03, 0.0, 0.3)).astype(float)
    probabilities = np.clip(0.3 + 0.3 * truth + np.random.default_rng(seed + 1000).normal(0, noise, truth.shape), 0.01, 0.99)
    truth[draw.random(truth.shape) < 0.1] = np.nan
    truth[7], truth[:, 4] = np.nan, np.nan
    return Evaluation("labels", list("abcde"), probabilities.round(1), truth, np.array([0.5, 0.4, 0.4, 0.5, 0.5]))


def classes(count=4, rows=120, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.integers(count, size=rows) if count < 4 else draw.choice(count, rows, p=[0.5, 0.48, 0.02, 0.0])
    probabilities = softmax(draw.normal(size=(rows, count)) + 2 * (truth[:, None] == np.arange(count))).round(1) + 0.05
    return Evaluation("classes", list("abcd")[:count], probabilities, truth, np.full(int(count == 2), 0.4))


def choices(rows=120, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.integers(3, size=rows)
    probabilities = (draw.random((rows, 5)) + 0.5 * (truth[:, None] == np.arange(5))).round(1)
    probabilities[np.arange(5) >= draw.integers(3, 6, rows)[:, None]] = np.nan
    return Evaluation("choices", list("01234"), probabilities, truth)


def numbers(rows=120, seed=0):
    draw = np.random.default_rng(seed)
    truth = 100 + draw.normal(size=rows).round(1)
    return Evaluation("numbers", [], (truth + draw.normal(size=rows)).round(1)[:, None], truth)


def expected(evaluation, rows):
    """The scores of `utils.scoring.metrics` on these rows."""
    probabilities, truth, decided = evaluation.probabilities[rows], evaluation.truth[rows], evaluation.decided[rows]
    names = {"label_names": evaluation.names, "per_label": True}
    if evaluation.kind == "labels":
        targets = np.nan_to_num(truth, nan=UNKNOWN)
        return MultilabelMetrics().compute(predictions=probabilities, references=targets, decided=decided, **names)
    if evaluation.kind == "classes":
        return ClassificationMetrics().compute(predictions=probabilities, references=truth, decided=decided, **names)
    metric = RegressionMetrics() if evaluation.kind == "numbers" else MultipleChoiceMetrics()
    return metric.compute(predictions=decided if evaluation.kind == "numbers" else probabilities, references=truth)


EXPECTED = {
    "labels": {"accuracy"} | {f"{s}_{m}" for s in ("roc_auc", "average_precision", "f1") for m in ("macro", "micro")},
    "classes": {"accuracy", "balanced_accuracy", "roc_auc_macro", "f1_macro", "matthews_corrcoef", "log_loss"},
    "choices": {"accuracy", "mean_reciprocal_rank"},
    "numbers": {"mse", "r2", "pearson", "spearman"},
}
EXPECTED["classes"] |= {"expected_calibration_error"}
CASES = [labels(), labels(seed=3), classes(), classes(2), classes(3), choices(), numbers()]


@pytest.mark.parametrize("evaluation", CASES, ids=lambda evaluation: f"{evaluation.kind} {len(evaluation.names)}")
def test_weighted_scores_are_those_of_repeated_rows(evaluation):
    names = EXPECTED[evaluation.kind] | {f"{name}_f1" for name in evaluation.names if evaluation.kind in ("labels", "classes")}
    if evaluation.kind == "classes" and len(evaluation.names) == 2:
        names |= {"f1", "roc_auc", "average_precision"}
    found, whole = point_scores(evaluation), expected(evaluation, np.arange(len(evaluation)))
    assert set(found) == names and found == pytest.approx({name: whole[name] for name in names}, rel=1e-9)
    counts = np.random.default_rng(1).multinomial(len(evaluation), np.full(len(evaluation), 1 / len(evaluation)), size=8).T
    counts[:, 0] = np.arange(len(evaluation)) == 8  # one row: most metrics are undefined
    scores = weighted_scores(evaluation, counts.astype(np.float32))
    for sample in range(1, counts.shape[1]):
        drawn = expected(evaluation, np.repeat(np.arange(len(evaluation)), counts[:, sample]))
        for name in scores:
            assert scores[name][sample] == pytest.approx(drawn.get(name, np.nan), rel=1e-5, abs=1e-6, nan_ok=True), name
    assert {"roc_auc_macro", "r2", "pearson", "f1_micro", "mean_reciprocal_rank"} & set(scores)
    for name in ("roc_auc_macro", "average_precision_macro", "matthews_corrcoef", "r2", "pearson", "spearman"):
        assert np.isnan(scores.get(name, np.full(1, np.nan))[0]), name


def test_long_rankings_are_summed_in_pieces():
    draw = np.random.default_rng(0)
    truth = (draw.random((3000, 1)) < 0.7).astype(float)
    evaluation = Evaluation("labels", ["a"], (draw.random((3000, 1)) + 0.2 * truth).round(4), truth, np.array([0.5]))
    whole = expected(evaluation, np.arange(3000))
    assert point_scores(evaluation) == pytest.approx({name: whole[name] for name in EXPECTED["labels"] | {"a_f1"}})


@pytest.mark.parametrize("evaluation", CASES[2:], ids=lambda evaluation: f"{evaluation.kind} {len(evaluation.names)}")
def test_intervals_hold_the_scores_and_are_the_same_each_time(evaluation):
    found, points = intervals(evaluation, samples=200), point_scores(evaluation)
    assert found == intervals(evaluation, samples=200) != intervals(evaluation, samples=200, seed=1)
    assert all(low <= points[name] <= high and low < high for name, (low, high) in found.items())
    assert set(points) - set(found) <= {"expected_calibration_error", "c_f1", "d_f1"}  # classes that are rare or missing


def test_few_rows_of_which_some_resamples_are_perfect_have_an_interval_of_average_precision():
    truth, probabilities = np.zeros((20, 1)), np.linspace(0, 1, 20)[:, None]
    truth[[12, 14, 15, 16, 17, 18, 19]] = 1
    found = intervals(Evaluation("labels", ["a"], probabilities, truth, np.array([0.5])))
    assert 0.75 < found["average_precision_micro"][0] < 0.96 < found["average_precision_micro"][1] <= 1


def test_what_has_no_interval():
    found = intervals(labels(), samples=200)
    assert {"accuracy", "f1_micro", "roc_auc_macro", "a_f1"} <= set(found) and not {"d_f1", "e_f1"} & set(found)
    right = Evaluation("classes", ["a", "b"], np.eye(2)[[0, 1] * 20], np.array([0, 1] * 20), np.array([0.5]))
    assert point_scores(right)["accuracy"] == 1 and not intervals(right, samples=200)
    empty = Evaluation("labels", ["a"], np.array([[0.2], [0.3]]), np.zeros((2, 1)), np.array([0.5]))
    assert point_scores(empty) == {"accuracy": 1.0, "f1_micro": 0.0, "a_f1": 0.0} and not intervals(empty, samples=200)
    constant = Evaluation("numbers", [], np.full((9, 1), 0.3), np.arange(9.0))
    assert set(point_scores(constant)) == {"mse", "r2"} == set(intervals(constant, samples=200)) | {"r2"}


def test_accuracy_is_bounded_as_a_proportion():
    truth = np.arange(1000) < 800
    evaluation = Evaluation("classes", ["a", "b"], np.tile([0.2, 0.8], (1000, 1)), truth.astype(int), np.array([0.5]))
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert intervals(evaluation)["accuracy"] == pytest.approx((0.8 - half, 0.8 + half), abs=0.004)


def test_comparison():
    good, bad = labels(rows=400, noise=0.1), labels(rows=400, noise=0.5)
    found = {each.name: each for each in compare(bad, good, samples=300)}
    assert set(found) == EXPECTED["labels"] and compare(bad, good, samples=300) == list(found.values())
    better = found["roc_auc_macro"]
    assert better.first == point_scores(bad)["roc_auc_macro"] and better.second == point_scores(good)["roc_auc_macro"]
    assert 0 < better.low < better.second - better.first < better.high and better.p_value < 0.01
    back = {each.name: each for each in compare(good, bad, samples=300)}["roc_auc_macro"]
    assert back.p_value == better.p_value and back.low == pytest.approx(-better.high, abs=1e-6)
    assert all(each.low == each.high == 0 and each.p_value == 1 for each in compare(good, good, samples=200))
    assert all(0 < each.p_value <= 1 for each in compare(bad, good, samples=200))


def test_only_the_same_rows_can_be_compared():
    for other in (labels(rows=121), labels(seed=3), choices()):
        with pytest.raises(UserError, match="the same labelled rows"):
            compare(labels(), other)
