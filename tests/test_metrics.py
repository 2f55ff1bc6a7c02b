"""Metrics, thresholds and the selection metric on data small enough to compute by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

from utils.arguments import UserError
from utils.labels import UNKNOWN
from utils.metrics import MultilabelMetrics, sigmoid
from utils.thresholds import RARE, best_f1_threshold, choose_thresholds, parse_threshold

NAMES = ["a", "b", "c"]


def compute(probabilities, targets, thresholds=(0.5, 0.5, 0.5), names=NAMES):
    return MultilabelMetrics(keep_in_memory=True).compute(
        predictions=probabilities, references=targets, label_names=names, thresholds=np.array(thresholds), per_label=True
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


def test_sigmoid_tells_large_logits_apart():
    assert len(np.unique(sigmoid(np.array([17.0, 18.0, 19.0, 30.0], np.float32)))) == 4


def test_best_threshold_is_found_by_brute_force():
    draw = np.random.default_rng(1)
    for _ in range(20):
        truth = draw.random(60) < 0.3
        probabilities = np.round(np.clip(truth * 0.3 + draw.random(60) * 0.7, 0, 1), 2)
        best = max(f1_score(truth, probabilities >= t) for t in np.unique(probabilities))
        assert f1_score(truth, probabilities >= best_f1_threshold(truth, probabilities)) == pytest.approx(best)


def test_rare_labels_take_the_common_threshold():
    draw = np.random.default_rng(2)
    targets = (draw.random((300, 3)) < (0.3, 0.2, 0.0)).astype(float)
    targets[: RARE - 1, 2] = 1
    probabilities = np.clip(targets * 0.3 + draw.random((300, 3)) * 0.5, 0, 1)
    single, own = (choose_thresholds(mode, probabilities, targets) for mode in ("single", "per_label"))
    assert len(set(single)) == 1 and own[2] == single[0] and len(set(own)) == 3
    targets[RARE - 1 : RARE + 1, 2] = 1
    assert choose_thresholds("per_label", probabilities, targets)[2] != single[0]


@pytest.mark.parametrize("text", ["0", "1", "1.5", "best", "", "nan"])
def test_thresholds_that_are_none(text):
    with pytest.raises(UserError, match="expected per_label, single, or a number"):
        parse_threshold(text)
