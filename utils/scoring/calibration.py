"""Temperature scaling: probabilities that are as sure as they are right (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from utils.files.cells import UNKNOWN
from utils.scoring.evaluation import known_truth
from utils.scoring.metrics import calibration_scores
from utils.training.head import linear_layers
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer, Prediction

logger = logging.getLogger(__name__)

BOUNDS = np.log([0.05, 20.0])


def calibrate(
    trainer: FineTuningTrainer, task: Task, prediction: Prediction, to_probabilities: Callable[[np.ndarray], np.ndarray]
) -> Prediction:
    """Divide the logits of a trained model by their temperature, in its output layer, and return its new `prediction`.

    `prediction` is that of the validation data, on which the temperature is fitted. The metrics tell it, and what it changed.
    A model whose logits are not simply those of its last linear layer stays as it is, with a warning.
    """
    kind = task.format.evaluated_as
    logits, targets, _ = prediction
    known, truth = known_truth(kind, targets)
    layer = linear_layers(trainer.model, lambda: trainer.model_outputs(trainer.model, trainer.example))[-1]
    if kind == "labels":
        temperatures = fit_label_temperatures(logits, targets)
        if len(layer.weight) != len(temperatures):
            return _uncalibrated(prediction, f"the last linear layer has {len(layer.weight)} outputs, and not one for each label")
    else:
        width, expected = to_probabilities(logits[:1]).shape[1], len(task.format.names if kind == "classes" else task.labels)
        if width != expected:
            return _uncalibrated(prediction, f"the script has {width} probabilities, and not one for each of {expected} {kind}")
        temperatures = np.array([fit_temperature(logits[known], targets[known], to_probabilities)])
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    divide(layer, temperatures)
    trainer.evaluations.clear()  # they are those of other weights
    calibrated = trainer.predict_in_order(task.splits["validation"], "eval")
    if not np.allclose(calibrated.logits, logits / temperatures, rtol=1e-3, atol=1e-3):
        with torch.no_grad():
            for parameter, values in zip(layer.parameters(), before, strict=True):
                parameter.copy_(values)
        return _uncalibrated(prediction, "the model scales what its last linear layer gives")
    old, new = (calibration_scores(kind, to_probabilities(each)[known], truth) for each in (logits, calibrated.logits))
    told = f"{temperatures.min():.2f}" + (f" to {temperatures.max():.2f} by label" if len(temperatures) > 1 else "")
    changes = [f"{name.replace('_', ' ')} {old[name]:.3f} -> {new[name]:.3f}" for name in sorted(old)]
    logger.info("calibrated: temperature %s; %s on the validation data (which chose it)", told, ", ".join(changes))
    names = [f"eval_{name}_temperature" for name in task.labels] if kind == "labels" else ["eval_temperature"]
    found = {f"eval_{name}_before_calibration": float(value) for name, value in old.items()}
    return calibrated._replace(metrics=calibrated.metrics | found | dict(zip(names, temperatures.tolist(), strict=True)))


def _uncalibrated(prediction: Prediction, reason: str) -> Prediction:
    logger.warning("--calibrate: the probabilities stay as they are, because %s", reason)
    return prediction


def divide(layer: torch.nn.Linear, temperatures: np.ndarray) -> None:
    """Divide the weight and the bias of `layer` by the temperature of each of its outputs [outputs], or of all [1]."""
    with torch.no_grad():
        for parameter in layer.parameters():
            divisors = torch.tensor(temperatures, dtype=parameter.dtype, device=parameter.device)
            parameter.div_(divisors.reshape(-1, *[1] * (parameter.dim() - 1)))


def fit_temperature(logits: np.ndarray, targets: np.ndarray, to_probabilities: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the temperature with the lowest log loss of rows that have one class or candidate, all of them known.

    Args:
        logits: [rows, …]; divided by the temperature, they are what `to_probabilities` makes [rows, classes] of. These are
            scaled to sum to 1, as in the log loss that is reported; so it is that of independent logits, too.
        targets: ids [rows], or shares [rows, classes] or [rows, 1] (of the second of two classes).
    """
    logits = logits.astype(np.float64)
    if targets.ndim == 1:
        targets = targets[:, None] == np.arange(to_probabilities(logits[:1]).shape[1])
    elif targets.shape[1] == 1:
        targets = np.concatenate([1 - targets, targets], axis=1)

    def loss(temperature: float) -> float:
        probabilities = np.nan_to_num(to_probabilities(logits / temperature))
        shares = probabilities / probabilities.sum(axis=1, keepdims=True)
        return -(targets * np.log(np.maximum(shares, np.finfo(float).tiny))).sum()

    return _minimize(loss)


def fit_label_temperatures(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the temperature [labels] with the lowest binary cross-entropy of each label, given two arrays [rows, labels].

    Cells that are `UNKNOWN` do not count. A label that is in all rows, or in none, keeps 1.
    """
    temperatures = np.ones(logits.shape[1])
    for label, (values, wanted) in enumerate(zip(logits.T.astype(np.float64), targets.T, strict=True)):
        known = wanted != UNKNOWN
        values, wanted = values[known], wanted[known]
        if 0 < wanted.sum() < len(wanted):
            temperatures[label] = _minimize(lambda t, z=values, y=wanted: (np.logaddexp(0, z / t) - y * z / t).sum())
    return temperatures


def _minimize(loss: Callable[[float], float]) -> float:
    """Return the temperature for which `loss`, a sum over rows, is lowest.

    Few rows may all be on the right side, and then no temperature is too low. So its logarithm has a standard normal prior,
    which a few dozen rows outweigh.
    """
    found = minimize_scalar(lambda log: loss(np.exp(log)) + log**2 / 2, bounds=BOUNDS, method="bounded")
    return float(np.exp(found.x)) if loss(np.exp(found.x)) < loss(1.0) else 1.0
