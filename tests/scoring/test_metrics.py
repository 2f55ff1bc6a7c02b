"""Metrics, thresholds and the selection metric on data small enough to compute by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

from utils.arguments import UserError
from utils.files.cells import UNKNOWN
from utils.scoring import selection
from utils.scoring.metrics import MultilabelMetrics, sigmoid
from utils.scoring.selection import TUNED, best_f1_threshold, choose_thresholds, parse_threshold

NAMES = ["a", "b", "c"]


def compute(probabilities, targets, thresholds=(0.5, 0.5, 0.5), names=NAMES):
    return MultilabelMetrics(keep_in_memory=True).compute(
        predictions=probabilities,
        references=targets,
        label_names=names,
        decided=probabilities >= np.array(thresholds),
        per_label=True,
    )


def test_without_unknown_cells_they_are_scikit_learns():
    draw = np.random.default_rng(0)
    targets = (draw.random((200, 3)) < (0.1, 0.3, 0.6)).astype(float)
    probabilities = np.clip(targets * 0.3 + draw.random((200, 3)) * 0.7, 0, 1)
    found, decided = compute(probabilities, targets), probabilities >= 0.5
    for average in ("micro", "macro", "weighted"):
        assert found[f"f1_{average}"] == pytest.approx(f1_score(targets, decided, average=average))
    for average in ("micro", "macro"):
        assert found[f"roc_auc_{average}"] == pytest.approx(roc_auc_score(targets, probabilities, average=average))
    assert found["average_precision_macro"] == pytest.approx(average_precision_score(targets, probabilities, average="macro"))
    assert found["accuracy"] == pytest.approx((targets == decided).all(axis=1).mean())
    assert found["accuracy_elementwise"] == pytest.approx((targets == decided).mean()) == 1 - found["hamming_loss"]
    expected = jaccard_score(targets, decided, average="samples", zero_division=1.0)
    assert found["jaccard_samples"] == pytest.approx(expected)
    assert found["b_roc_auc"] == pytest.approx(roc_auc_score(targets[:, 1], probabilities[:, 1]))
    assert found["a_support"] == targets[:, 0].sum() and found["labels_left_out"] == 0


def test_unknown_cells_count_nowhere():
    targets = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]], float)
    probabilities = np.array([[0.9, 0.2, 0.4], [0.1, 0.8, 0.3], [0.7, 0.6, 0.6], [0.2, 0.3, 0.8]])
    masked, padded = targets.copy(), np.vstack([probabilities, [0.99, 0.99, 0.99]])
    masked = np.vstack([masked, [UNKNOWN] * 3])
    assert compute(padded, masked) == compute(probabilities, targets)


def test_a_label_of_one_class_is_left_out_of_the_macro_means_and_counted():
    targets = np.array([[1, 0, 1], [0, 0, 0], [1, 0, UNKNOWN], [0, 0, UNKNOWN]], float)
    probabilities = np.array([[0.9, 0.2, 0.8], [0.8, 0.8, 0.3], [0.7, 0.6, 0.6], [0.2, 0.3, 0.8]])
    found = compute(probabilities, targets)
    assert found["labels_left_out"] == 1 and "b_roc_auc" not in found
    assert found["roc_auc_macro"] == pytest.approx((0.75 + 1) / 2) and found["f1_macro"] == pytest.approx((0.8 + 1) / 2)
    nothing = compute(probabilities[:, 1:2], targets[:, 1:2], (0.5,), ["b"])
    assert "roc_auc_macro" not in nothing and "f1_macro" not in nothing and np.isfinite(list(nothing.values())).all()


def test_a_label_that_is_unknown_everywhere():
    targets = np.array([[1, UNKNOWN], [0, UNKNOWN], [1, UNKNOWN]], float)
    probabilities = np.array([[0.9, 0.2], [0.1, 0.3], [0.8, 0.4]])
    found = compute(probabilities, targets, (0.5, 0.5), ["a", "b"])
    assert found["labels_left_out"] == 1 and found["roc_auc_macro"] == 1 and found["b_support"] == 0
    single, per_label = (choose_thresholds(mode, probabilities, targets)[1] for mode in ("single", "per_label"))
    assert per_label == single


def test_sigmoid_tells_large_logits_apart():
    assert len(np.unique(sigmoid(np.array([17.0, 18.0, 19.0, 30.0], np.float32)))) == 4


def test_tuned_thresholds_hold_on_other_rows():
    """Labels of known log-odds: F1 at the tuned threshold is that at the best one of all the rows, and above that at 0.5."""
    draw = np.random.default_rng(1)
    truth = draw.random((20_000, 3)) < (0.5, 0.1, 0.03)
    probabilities = sigmoid(draw.normal(truth * 2.0, 1.0) - (1.0, 3.2, 4.5))
    for mode in ("per_label", "single"):
        thresholds = choose_thresholds(mode, probabilities[:2000], truth[:2000].astype(float))
        tuned, half = (f1_score(truth, probabilities >= t, average="macro") for t in (thresholds, 0.5))
        assert tuned > half + 0.03
    per_label = choose_thresholds("per_label", probabilities[:2000], truth[:2000].astype(float))
    for label in range(3):
        best = max(f1_score(truth[:, label], probabilities[:, label] >= t) for t in np.linspace(0.01, 0.99, 99))
        assert f1_score(truth[:, label], probabilities[:, label] >= per_label[label]) > best - 0.03


def test_many_rows_have_the_threshold_of_few(monkeypatch):
    draw = np.random.default_rng(3)
    truth = draw.random(20_000) < 0.1
    probabilities = sigmoid(draw.normal(truth * 2.0, 1.0) - 3.2).round(3)  # with ties
    each, order = best_f1_threshold(truth, probabilities), draw.permutation(20_000)
    monkeypatch.setattr(selection, "MANY_ROWS", 1000)
    grouped = best_f1_threshold(truth, probabilities)
    assert grouped == best_f1_threshold(truth[order], probabilities[order]) == pytest.approx(each, abs=0.02)
    best = max(f1_score(truth, probabilities >= t) for t in np.linspace(0.01, 0.99, 99))
    assert f1_score(truth, probabilities >= grouped) > best - 0.002
    assert best_f1_threshold(np.full(2000, True), np.full(2000, 0.3)) == pytest.approx(0.3)
    rare = np.arange(2000) >= 1998  # samples without either of the two say nothing
    below, highest = (np.log(p / (1 - p)) for p in (0.7, 0.85))
    samples = np.random.default_rng(0).multinomial(2000, np.array([1, 1, 1998, 0, 0]) / 2000, size=30)[:, :2]
    best = [below if low else highest for low, high in samples if low or high]
    threshold = best_f1_threshold(rare, np.where(rare, np.arange(2000) / 10 - 199.0, 0.6))
    assert 0 < len(best) < 30 and threshold == pytest.approx(sigmoid(np.mean(best)), abs=1e-6)


def test_rare_labels_are_drawn_towards_the_common_threshold_and_unknown_cells_ignored():
    draw = np.random.default_rng(2)
    truth = draw.random((3000, 3)) < (0.4, 0.0, 0.4)
    truth[7, 1] = True
    probabilities = np.where(truth, 0.7, 0.1) + draw.uniform(-0.05, 0.05, truth.shape)
    probabilities[:, 1] = np.where(truth[:, 1], 0.2, 0.02)
    targets = truth.astype(float)
    common = choose_thresholds("single", probabilities, targets)
    thresholds = choose_thresholds("per_label", probabilities, targets)
    assert len(set(common)) == 1 and 0.15 < common[0] < 0.65
    assert 0.11 < thresholds[1] < common[0]  # its own would be halfway between 0.02 and 0.2
    targets[:, 1] = 0
    assert choose_thresholds("per_label", probabilities, targets)[1] == choose_thresholds("single", probabilities, targets)[1]
    targets[:1000, 2], probabilities[:1000, 2] = UNKNOWN, 0.99
    assert choose_thresholds("per_label", probabilities, targets)[2] == pytest.approx(thresholds[2], abs=0.05)


@pytest.mark.parametrize("text", ["0", "1", "1.5", "best", "", "nan"])
def test_thresholds_that_are_none(text):
    with pytest.raises(UserError, match="expected per_label, single, or a number"):
        parse_threshold(text, TUNED)
