"""Rare labels: weights for the loss, and the prior at which a new head starts. Both come from the training split only."""

import numpy as np
import torch

from utils.arguments import UserError
from utils.command_line import parse_weights
from utils.data.labels import UNKNOWN


def positive_weights(text: str, targets: np.ndarray) -> torch.Tensor | None:
    """Return `--pos_weight` as [labels], given the training targets [rows, labels]. None means weights of 1."""
    positives, negatives = _count(targets)
    balanced = np.where(positives > 0, negatives / np.maximum(positives, 1e-9), 1.0).clip(min=1e-3)
    return _read_weights(text, "--pos_weight", balanced, one_for_all=True)


def class_weights(text: str, shares: np.ndarray) -> torch.Tensor | None:
    """Return `--class_weights` as [classes], given the training rows' shares [rows, classes]. None means weights of 1.

    "balanced" is defined as in scikit-learn: rows / (classes x rows of the class).
    """
    counts = shares.sum(axis=0)
    balanced = np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1e-9)), 1.0)
    return _read_weights(text, "--class_weights", balanced, one_for_all=False)


def _read_weights(text: str, option: str, balanced: np.ndarray, one_for_all: bool) -> torch.Tensor | None:
    choice, labels = parse_weights(text, option), len(balanced)
    if choice == "none":
        return None
    if isinstance(choice, list):
        if len(choice) != labels and not (one_for_all and len(choice) == 1):
            expected = f"{'1, or ' if one_for_all else ''}one for each of {labels} labels"
            raise UserError(f"{option} has {len(choice)} numbers; expected {expected}")
        return torch.tensor(choice * (labels // len(choice)))
    return torch.tensor(np.sqrt(balanced) if choice == "sqrt" else balanced, dtype=torch.float32)


def prior_log_odds(targets: np.ndarray, pos_weight: torch.Tensor | None) -> torch.Tensor:
    """Return the bias [labels] that minimises the binary cross-entropy of a head that ignores its input.

    It is the log-odds of each label in the training targets [rows, labels], with half a row added to each side, plus the log
    of the label's weight. The idea is the prior in section 3.3 of Lin et al. 2017, https://arxiv.org/abs/1708.02002.
    """
    positives, negatives = _count(targets)
    bias = torch.tensor(np.log((positives + 0.5) / (negatives + 0.5)), dtype=torch.float32)
    return bias if pos_weight is None else bias + pos_weight.log()


def _count(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive and the negative rows of each label [labels]; a fraction counts towards both."""
    known = targets != UNKNOWN
    positives = np.where(known, targets, 0.0).sum(axis=0)
    return positives, known.sum(axis=0) - positives


def class_prior(shares: np.ndarray, weights: torch.Tensor | None, one_logit: bool, independent: bool) -> torch.Tensor:
    """Return the bias that minimises the loss of a head that ignores its input, given shares [rows, classes].

    These are log-frequencies [classes], or log-odds [classes] if the logits are `independent` questions. For `one_logit` it
    is the log-odds [1] of the second class. Half a row is added to each class, and `weights` [classes] multiply its rows.
    """
    counts = torch.tensor(shares.sum(axis=0) + 0.5, dtype=torch.float32) * (1.0 if weights is None else weights)
    if one_logit:
        return (counts[1:] / counts[:1]).log()
    frequencies = counts / counts.sum()
    return torch.logit(frequencies) if independent else frequencies.log()
