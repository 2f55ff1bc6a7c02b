"""Rare labels: weights of the loss, and the prior at which a new head starts; both from the training split alone."""

import numpy as np
import torch

from utils.arguments import UserError
from utils.command_line import parse_weights
from utils.data.classes import ClassFormat
from utils.data.labels import UNKNOWN


def positive_weights(text: str, targets: np.ndarray) -> torch.Tensor | None:
    """Return `--pos_weight` as [labels], from the training targets [rows, labels]; None for weights of 1."""
    choice = parse_weights(text, "--pos_weight")
    if choice == "none":
        return None
    if isinstance(choice, list):
        if len(choice) not in (1, targets.shape[1]):
            raise UserError(f"--pos_weight has {len(choice)} numbers; expected 1, or one for each of {targets.shape[1]} labels")
        return torch.tensor(choice * (targets.shape[1] // len(choice)))
    known = targets != UNKNOWN
    positives = np.where(known, targets, 0.0).sum(axis=0)
    ratio = np.where(positives > 0, (known.sum(axis=0) - positives) / np.maximum(positives, 1e-9), 1.0).clip(min=1e-3)
    return torch.tensor(np.sqrt(ratio) if choice == "sqrt" else ratio, dtype=torch.float32)


def prior_log_odds(targets: np.ndarray, pos_weight: torch.Tensor | None) -> torch.Tensor:
    """Return the bias [labels] at which a head that ignores its input has the smallest binary cross-entropy.

    The log-odds of each label in the training targets [rows, labels], half a row added to either side, plus the log of
    its weight. The idea is the prior of section 3.3 of Lin et al. 2017, https://arxiv.org/abs/1708.02002.
    """
    known = targets != UNKNOWN
    positives = np.where(known, targets, 0.0).sum(axis=0)
    log_odds = np.log((positives + 0.5) / (known.sum(axis=0) - positives + 0.5))
    bias = torch.tensor(log_odds, dtype=torch.float32)
    return bias if pos_weight is None else bias + pos_weight.log()


def class_weights(text: str, shares: np.ndarray) -> torch.Tensor | None:
    """Return `--class_weights` as [classes], from the training rows' shares [rows, classes]; None for weights of 1.

    balanced is scikit-learn's: rows / (classes x rows of the class).
    """
    choice = parse_weights(text, "--class_weights")
    if choice == "none":
        return None
    if isinstance(choice, list):
        if len(choice) != shares.shape[1]:
            raise UserError(f"--class_weights has {len(choice)} numbers; expected one for each of {shares.shape[1]} labels")
        return torch.tensor(choice)
    counts = shares.sum(axis=0)
    balanced = np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1e-9)), 1.0)
    return torch.tensor(np.sqrt(balanced) if choice == "sqrt" else balanced, dtype=torch.float32)


def class_prior(shares: np.ndarray, weights: torch.Tensor | None, form: ClassFormat) -> torch.Tensor:
    """Return the bias at which a head that ignores its input has the smallest loss, from shares [rows, classes].

    [classes] log-frequencies, or log-odds where the logits are independent questions; [1] log-odds of the second class for one
    logit. Half a row is added to each class; `weights` [classes] count as rows.
    """
    counts = torch.tensor(shares.sum(axis=0) + 0.5, dtype=torch.float32) * (1.0 if weights is None else weights)
    if form.width == 1:
        return (counts[1:] / counts[:1]).log()
    frequencies = counts / counts.sum()
    return torch.logit(frequencies) if form.independent else frequencies.log()
