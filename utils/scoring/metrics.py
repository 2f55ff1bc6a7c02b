"""Metrics of scikit-learn as `evaluate.Metric` subclasses. They work offline, because no metric script is downloaded."""

import datasets
import evaluate
import numpy as np
from scipy import special, stats
from sklearn.metrics import (
    label_ranking_average_precision_score,
    matthews_corrcoef,
    mean_squared_error,
    precision_recall_fscore_support,
    r2_score,
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

    `compute(predictions, references, label_names, decided, per_label=False)`:
        predictions: probabilities [rows, labels].
        references: targets [rows, labels]. 0.5 and above is positive; `UNKNOWN` cells are ignored.
        label_names: names of the columns.
        decided: whether a row has a label [rows, labels].
        per_label: whether to add each label's scores as `<label>_<score>`.

    A label without positives or without negatives is left out of the macro means, and counted in `labels_left_out`. A mean
    over nothing is left out of the result. `log_loss` and `expected_calibration_error` are over all cells.
    """

    true = ArrayMetric.predicted

    def _compute(self, predictions, references, label_names, decided, per_label=False):
        probabilities, targets = np.asarray(predictions), np.asarray(references)
        known = targets != UNKNOWN
        if not known.any():
            return {"labels_left_out": float(len(label_names))}
        truth, decided = known & (targets >= 0.5), known & decided
        decisions = decision_scores(truth, decided)
        defined = np.flatnonzero(truth.any(axis=0) & (known & ~truth).any(axis=0)).tolist()
        cells = ((label, known[:, label]) for label in defined)
        rankings = {label: ranking_scores(truth[rows, label], probabilities[rows, label]) for label, rows in cells}
        result = {"f1_macro": mean(decisions["f1"][defined].tolist())}
        for name in ("roc_auc", "average_precision"):
            result[f"{name}_macro"] = mean([scores[name] for scores in rankings.values()])
        result["f1_micro"] = decision_scores(truth[known], decided[known])["f1"]
        support = decisions["support"]
        result["f1_weighted"] = np.average(decisions["f1"], weights=support) if support.any() else None
        result |= {f"{name}_micro": score for name, score in ranking_scores(truth[known], probabilities[known]).items()}
        rows = known.any(axis=1)
        result["accuracy"] = np.mean((truth == decided).all(axis=1)[rows])
        result["accuracy_elementwise"] = np.mean((truth == decided)[known])
        result["hamming_loss"] = 1 - result["accuracy_elementwise"]
        result |= calibration_scores("labels", probabilities, np.where(known, truth, np.float32("nan")))
        both, either = (truth & decided).sum(axis=1), (truth | decided).sum(axis=1)
        result["jaccard_samples"] = np.where(either > 0, both / np.maximum(either, 1), 1.0)[rows].mean()
        at_half = known & (probabilities >= 0.5)
        result["f1_micro_at_0.5"] = decision_scores(truth[known], at_half[known])["f1"]
        result["f1_macro_at_0.5"] = mean(decision_scores(truth, at_half)["f1"][defined].tolist())
        result["labels_left_out"] = len(label_names) - len(defined)
        if per_label:
            own = {}
            for label, name in enumerate(label_names):
                scores = {key: values[label] for key, values in decisions.items()} | rankings.get(label, {})
                own |= {f"{name}_{key}": value for key, value in scores.items()}
            result = own | result  # a label called "average" must not replace the average precision
        return {name: float(value) for name, value in result.items() if value is not None}


def decision_scores(truth: np.ndarray, decided: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, F1 and support, given yes or no [rows] or [rows, labels]; 0 where one is undefined.

    scikit-learn has the same, but takes forty times as long for a thousand labels.
    """
    hits, yes, positives = (each.sum(axis=0) for each in (truth & decided, decided, truth))
    parts = {"precision": (hits, yes), "recall": (hits, positives), "f1": (2 * hits, yes + positives)}
    return {name: above / np.maximum(below, 1) for name, (above, below) in parts.items()} | {"support": positives}


def ranking_scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return one label's scores that need no decisions, given arrays [rows]. There are none if all rows are of one class.

    They are scikit-learn's `roc_auc_score` and `average_precision_score`, which take a hundred times as long for a rare label.
    """
    positives, rows = int(truth.sum()), len(truth)
    if not 0 < positives < rows:
        return {}
    every, own = np.sort(probabilities), np.sort(probabilities[truth])
    above, hits_above = (len(each) - np.searchsorted(each, own, side="right") for each in (every, own))
    upto, hits = (len(each) - np.searchsorted(each, own, side="left") for each in (every, own))  # and as probable
    lost = (above - hits_above + upto - hits).sum() / 2  # to negatives; to one that is as probable half
    return {"roc_auc": 1 - lost / positives / (rows - positives), "average_precision": (hits / upto).mean()}


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
        ranked = {c: found for c in classes if (found := ranking_scores(truth == c, probabilities[:, c]))}
        if ranked:
            result["roc_auc_macro"] = np.mean([found["roc_auc"] for found in ranked.values()])
        if len(classes) == 2:
            result |= {"f1": f1[1], **ranked.get(1, {})}
        if per_label:
            scores = {"precision": precision, "recall": recall, "f1": f1, "support": support}
            own = {f"{name}_{key}": values[c] for c, name in enumerate(label_names) for key, values in scores.items()}
            result = own | {f"{label_names[c]}_roc_auc": found["roc_auc"] for c, found in ranked.items()} | result
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
        of_truth = np.abs(confidence - (correct == 0))
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
    gaps = np.bincount(np.minimum((confidence * bins).astype(np.int32), bins - 1), confidence - correct)
    return np.abs(gaps).sum() / len(confidence)
