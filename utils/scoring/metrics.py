"""Metrics of scikit-learn as `evaluate.Metric` subclasses. They work offline, because no metric script is downloaded."""

import datasets
import evaluate
import numpy as np
from scipy import special, stats
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    label_ranking_average_precision_score,
    matthews_corrcoef,
    mean_squared_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
)

from utils.data.classes import class_ids, unknown_rows
from utils.files.cells import UNKNOWN
from utils.scoring.evaluation import Kind


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities in float64. In float32 all logits above 17 become 1.0, and ties distort a ranking."""
    return special.expit(np.asarray(logits, np.float64))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits [rows, classes] in float64."""
    return special.softmax(np.asarray(logits, np.float64), axis=1)


class ArrayMetric(evaluate.Metric):
    """`evaluate.Metric` whose `compute` uses arrays directly. evaluate itself would write them to Arrow first, row by row."""

    predicted, true = datasets.Sequence(datasets.Value("float64")), datasets.Value("int64")  # the types of a row

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="https://jmlr.org/papers/v12/pedregosa11a.html",
            inputs_description=self.__doc__,
            features=datasets.Features({"predictions": self.predicted, "references": self.true}),
        )

    def compute(self, **arguments):
        """Return the scores of the arguments of `_compute`."""
        return self._compute(**arguments) if "predictions" in arguments else super().compute(**arguments)


class MultilabelMetrics(ArrayMetric):
    """Scores of independent labels.

    `compute(predictions, references, label_names, thresholds, per_label=False)`:
        predictions: probabilities [rows, labels].
        references: targets [rows, labels]. 0.5 and above is positive; `UNKNOWN` cells are ignored.
        label_names: names of the columns.
        thresholds: decision thresholds [labels]. A probability at or above its threshold is a positive decision.
        per_label: whether to add each label's scores as `<label>_<score>`.

    A label without positives or without negatives is left out of the macro means, and counted in `labels_left_out`. A mean
    over nothing is left out of the result. `log_loss` and `expected_calibration_error` are over all cells.
    """

    true = ArrayMetric.predicted

    def _compute(self, predictions, references, label_names, thresholds, per_label=False):
        probabilities, targets = np.array(predictions), np.array(references)
        known = targets != UNKNOWN
        if not known.any():
            return {"labels_left_out": float(len(label_names))}
        truth, decided = known & (targets >= 0.5), known & (probabilities >= thresholds)
        present = np.arange(len(label_names)) if len(label_names) > 1 else [1]  # one column is a binary target to scikit-learn
        options = {"labels": present, "average": None, "zero_division": 0.0}
        decisions = np.stack(precision_recall_fscore_support(truth, decided, **options), axis=1)
        scores = {}
        for column, name in enumerate(label_names):
            scores[name] = dict(zip(("precision", "recall", "f1", "support"), decisions[column], strict=True))
            scores[name] |= ranking_scores(truth[known[:, column], column], probabilities[known[:, column], column])
        ranked = [score for score in scores.values() if "roc_auc" in score]
        result = {f"{name}_macro": mean([score[name] for score in ranked]) for name in ("f1", "roc_auc", "average_precision")}
        result["f1_micro"] = f1_score(truth[known], decided[known], zero_division=0.0)
        support = [score["support"] for score in scores.values()]
        result["f1_weighted"] = np.average([s["f1"] for s in scores.values()], weights=support) if sum(support) else None
        if len(np.unique(truth[known])) == 2:
            result["roc_auc_micro"] = roc_auc_score(truth[known], probabilities[known])
            result["average_precision_micro"] = average_precision_score(truth[known], probabilities[known])
        rows = known.any(axis=1)
        result["accuracy"] = np.mean((truth == decided).all(axis=1)[rows])
        result["accuracy_elementwise"] = np.mean((truth == decided)[known])
        result["hamming_loss"] = 1 - result["accuracy_elementwise"]
        result |= calibration_scores("labels", probabilities, np.where(known, truth, np.nan))
        both, either = (truth & decided).sum(axis=1), (truth | decided).sum(axis=1)
        result["jaccard_samples"] = np.where(either > 0, both / np.maximum(either, 1), 1.0)[rows].mean()
        at_half = known & (probabilities >= 0.5)
        result["f1_micro_at_0.5"] = f1_score(truth[known], at_half[known], zero_division=0.0)
        defined = [column for column, score in enumerate(scores.values()) if "roc_auc" in score]
        result["f1_macro_at_0.5"] = mean(f1_score(truth, at_half, **options)[defined].tolist())
        result["labels_left_out"] = len(scores) - len(ranked)
        if per_label:  # a label called "average" must not replace the average precision
            result = {f"{name}_{key}": value for name, score in scores.items() for key, value in score.items()} | result
        return {name: float(value) for name, value in result.items() if value is not None}


def ranking_scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return one label's scores that need no decisions, given arrays [rows]. There are none if all rows are of one class."""
    if not 0 < truth.sum() < len(truth):
        return {}
    roc_auc, average_precision = roc_auc_score(truth, probabilities), average_precision_score(truth, probabilities)
    return {"roc_auc": roc_auc, "average_precision": average_precision}


def mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


class ClassificationMetrics(ArrayMetric):
    """Scores of one class per row.

    `compute(predictions, references, label_names, decided, per_label=False)`:
        predictions: probabilities [rows, classes]. A row need not sum to 1.
        references: targets of any form of `ClassFormat.targets`. Rows whose target is unknown are left out.
        decided: class ids [rows].
        label_names: names of the classes.
        per_label: whether to add each class's scores as `<label>_<score>`.

    Of two classes the second is the positive one: `f1`, `roc_auc` and `average_precision` are its scores. `roc_auc_macro` is
    the mean of each class against the rest, over the classes that occur.
    """

    def _compute(self, predictions, references, label_names, decided, per_label=False):
        known = ~unknown_rows(np.array(references))
        truth, probabilities, decided = (np.array(each)[known] for each in (class_ids(references), predictions, decided))
        classes = np.arange(len(label_names))
        correct = truth == decided
        precision, recall, f1, support = precision_recall_fscore_support(truth, decided, labels=classes, zero_division=0.0)
        occurs = support > 0
        result = {
            "accuracy": correct.mean(),
            "balanced_accuracy": recall[occurs].mean(),
            "f1_macro": f1[occurs | np.isin(classes, decided)].mean(),
            "f1_weighted": np.average(f1, weights=support),
            "matthews_corrcoef": matthews_corrcoef(truth, decided) if len(np.unique([truth, decided])) > 1 else 0.0,
            **calibration_scores("classes", probabilities, truth),
        }
        areas = {c: roc_auc_score(truth == c, probabilities[:, c]) for c in classes if 0 < support[c] < len(truth)}
        if areas:
            result["roc_auc_macro"] = np.mean(list(areas.values()))
        if len(classes) == 2:
            result["f1"] = f1[1]
            if areas:
                result["roc_auc"] = areas[1]
                result["average_precision"] = average_precision_score(truth, probabilities[:, 1])
        if per_label:
            scores = {"precision": precision, "recall": recall, "f1": f1, "support": support}
            for c, name in enumerate(label_names):
                own = {key: values[c] for key, values in scores.items()} | ({"roc_auc": areas[c]} if c in areas else {})
                result = {f"{name}_{key}": value for key, value in own.items()} | result
        return {name: float(value) for name, value in result.items()}


class RegressionMetrics(ArrayMetric):
    """Scores of predicted numbers [rows] against true ones [rows].

    There are no correlations if all true numbers are equal. If all predicted numbers are equal, the correlations are NaN.
    """

    predicted = true = datasets.Value("float64")

    def _compute(self, predictions, references):
        known = ~unknown_rows(np.array(references))
        predicted, truth = np.array(predictions)[known], np.array(references)[known]
        result = {"mse": mean_squared_error(truth, predicted)}
        if len(np.unique(truth)) > 1:
            result["r2"] = r2_score(truth, predicted)
            constant = len(np.unique(predicted)) == 1
            result["pearson"] = np.nan if constant else stats.pearsonr(truth, predicted).statistic
            result["spearman"] = np.nan if constant else stats.spearmanr(truth, predicted).statistic
        return {name: float(value) for name, value in result.items()}


class MultipleChoiceMetrics(ArrayMetric):
    """Scores of one right candidate per row.

    `compute(predictions, references, details=False)`:
        predictions: probabilities [rows, candidates], NaN if a row has fewer.
        references: position of the right candidate [rows].
        details: whether to add the accuracy by number of candidates and by position of the right one.

    Compare the accuracy with `accuracy_of_chance`, the mean of 1 / candidates, and with
    `accuracy_of_most_frequent_position`, which always takes the position that is most often right in these very rows.
    `mean_reciprocal_rank` counts a tie as lost.
    """

    def _compute(self, predictions, references, details=False):
        probabilities, truth = np.array(predictions, np.float64), np.array(references)
        counts = (~np.isnan(probabilities)).sum(axis=1)
        ranked = np.where(np.isnan(probabilities), -1.0, probabilities)
        decided = ranked.argmax(axis=1)
        correct = decided == truth
        positions = np.arange(ranked.shape[1])
        by_count = {count: correct[counts == count].mean() for count in np.unique(counts)}
        result = {
            "accuracy": correct.mean(),
            # with one relevant candidate per row, this is the mean reciprocal rank
            "mean_reciprocal_rank": label_ranking_average_precision_score(truth[:, None] == positions, ranked),
            "accuracy_macro_by_candidates": mean(list(by_count.values())),
            **calibration_scores("choices", probabilities, truth),
            "accuracy_of_chance": (1 / counts).mean(),
            "accuracy_of_most_frequent_position": np.bincount(truth).max() / len(truth),
        }
        if details:
            for count, accuracy in by_count.items():
                result |= {f"candidates_{count}_accuracy": accuracy, f"candidates_{count}_support": (counts == count).sum()}
            for position in positions:
                here = truth == position
                result[f"position_{position}_support"] = here.sum()
                result[f"position_{position}_predicted"] = (decided == position).sum()
                if here.any():
                    result[f"position_{position}_accuracy"] = correct[here].mean()
        return {name: float(value) for name, value in result.items()}


def calibration_scores(kind: Kind, probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return how far probabilities can be believed, given those and the truth of an `Evaluation`.

    `log_loss` is the mean over rows, of labels over known cells. `expected_calibration_error` is the mean gap between
    confidence and accuracy over 15 bins of equal width, weighted by their rows (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599). The confidence of a row is its highest probability. That of a known cell is the
    probability of the label, compared with how often the label is there.
    """
    if kind == "labels":
        known = ~np.isnan(truth)
        confidence, correct = probabilities[known], truth[known]
        of_truth = np.where(correct, confidence, 1 - confidence)
    else:
        shares = np.nan_to_num(probabilities)
        shares = shares / shares.sum(axis=1, keepdims=True)
        confidence, correct = shares.max(axis=1), shares.argmax(axis=1) == truth
        of_truth = shares[np.arange(len(truth)), truth]
    return {
        "log_loss": -np.log(of_truth.clip(np.finfo(float).eps)).mean(),  # scikit-learn's takes a second for a million cells
        "expected_calibration_error": calibration_error(confidence, correct),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the mean gap between `confidence` and `correct` [rows] over bins of equal width, weighted by their rows."""
    gaps = np.bincount(np.minimum((confidence * bins).astype(int), bins - 1), confidence - correct)
    return np.abs(gaps).sum() / len(confidence)
