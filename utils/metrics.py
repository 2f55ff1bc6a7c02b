"""`evaluate.Metric` subclasses over scikit-learn: no script is fetched, so they work offline."""

import datasets
import evaluate
import numpy as np
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support, roc_auc_score

from utils.labels import UNKNOWN


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities in float64: in float32 all logits above 17 become the same 1.0, and ties spoil a ranking."""
    return expit(np.asarray(logits, np.float64))


class MultilabelMetrics(evaluate.Metric):
    """Scores of independent labels.

    `compute(predictions, references, label_names, thresholds, per_label=False)`:
        predictions: probabilities [rows, labels].
        references: targets [rows, labels]; 0.5 and above counts as positive, `UNKNOWN` cells count nowhere.
        label_names: names of the columns.
        thresholds: decision thresholds [labels]; a probability at or above its threshold is a positive decision.
        per_label: whether to add each label's scores under `<label>_<score>`.

    A label without positives or without negatives is left out of the macro means; `labels_left_out` counts them. A mean
    over nothing is left out of the result.
    """

    def _info(self):
        row = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description="Multi-label classification scores of scikit-learn, with unknown cells masked.",
            citation="https://jmlr.org/papers/v12/pedregosa11a.html",
            inputs_description="predictions: probabilities [rows, labels]; references: targets [rows, labels]",
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(self, predictions, references, label_names, thresholds, per_label=False):
        probabilities, targets = np.array(predictions), np.array(references)
        known = targets != UNKNOWN
        if not known.any():
            return {"labels_left_out": float(len(label_names))}
        truth, decided = known & (targets >= 0.5), known & (probabilities >= thresholds)
        scores = {name: label_scores(*columns) for name, *columns in zip(
            label_names, truth.T, decided.T, probabilities.T, known.T, strict=True)}  # fmt: skip
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
        both, either = (truth & decided).sum(axis=1), (truth | decided).sum(axis=1)
        result["jaccard_samples"] = np.where(either > 0, both / np.maximum(either, 1), 1.0)[rows].mean()
        at_half = known & (probabilities >= 0.5)
        result["f1_micro_at_0.5"] = f1_score(truth[known], at_half[known], zero_division=0.0)
        defined = [column for column, score in enumerate(scores.values()) if "roc_auc" in score]
        result["f1_macro_at_0.5"] = mean([f1_score(truth[:, c], at_half[:, c], zero_division=0.0) for c in defined])
        result["labels_left_out"] = len(scores) - len(ranked)
        if per_label:
            result |= {f"{name}_{key}": value for name, score in scores.items() for key, value in score.items()}
        return {name: float(value) for name, value in result.items() if value is not None}


def label_scores(truth: np.ndarray, decided: np.ndarray, probabilities: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Return one label's scores over its known rows, all arguments [rows]; the ranking ones only where both classes occur."""
    if not known.any():
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    truth, decided, probabilities = truth[known], decided[known], probabilities[known]
    precision, recall, f1, _ = precision_recall_fscore_support(truth, decided, average="binary", zero_division=0.0)
    scores = {"precision": precision, "recall": recall, "f1": f1, "support": truth.sum()}
    if 0 < truth.sum() < len(truth):
        scores["roc_auc"] = roc_auc_score(truth, probabilities)
        scores["average_precision"] = average_precision_score(truth, probabilities)
    return scores


def mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
