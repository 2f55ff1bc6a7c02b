"""How much goes through the model, and how fast."""

import time

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback

from utils.batches.cutting import token_mask


class Throughput(TrainerCallback):
    """Count what goes through the model, and the seconds of the training steps, without evaluations and checkpoints.

    `flops_per_second` is useful arithmetic: no padding, no recomputation. A token takes 2 operations for each weight of the
    encoder's matrices, and 4 for each unit of each layer and each token of its text (attention). Training takes three times as
    many (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, appendix B).
    """

    def __init__(self):
        self.began, self.seconds = time.perf_counter(), 0.0
        self.counts = torch.zeros(4, dtype=torch.int64)  # rows, cells, tokens, squares of the texts' lengths

    def count(self, *batches: dict[str, torch.Tensor]) -> None:
        for inputs in batches:
            mask = token_mask(inputs)
            lengths = mask.sum(dim=1)
            seen = torch.stack([lengths.sum(), (lengths * lengths).sum()])  # stays on a GPU, so that nothing waits for it
            sizes = torch.tensor([len(inputs.get("present", mask)), mask.numel()])
            self.counts = self.counts.to(mask.device) + torch.cat([sizes.to(mask.device), seen])

    def begin(self, *args, **kwargs) -> None:
        self.began = time.perf_counter()

    def stop(self, *args, **kwargs) -> None:
        now = time.perf_counter()
        self.seconds, self.began = self.seconds + now - self.began, now

    on_epoch_begin = on_evaluate = on_save = begin  # the time before these is no training step
    on_step_end = stop

    def rates(self, prefix: str, trainer: Trainer) -> dict[str, float]:
        """Return the rates of all processes together, each name with `prefix` before it; none where no row was counted."""
        self.counts = self.counts.to(trainer.args.device)
        rows, cells, tokens, squares = trainer.accelerator.reduce(self.counts, "sum").tolist()
        if not rows:
            return {}
        weights, width, layers = encoder_size(trainer.model)
        operations = (2 * weights * tokens + 4 * width * layers * squares) * (3 if prefix == "train" else 1)
        seconds = max(self.seconds, 1e-9)
        return {
            f"{prefix}_rows_per_second": rows / seconds,
            f"{prefix}_tokens_per_second": tokens / seconds,
            f"{prefix}_flops_per_second": operations / seconds,
            f"{prefix}_padding_share": 1 - tokens / cells,
        }


def encoder_size(model: PreTrainedModel) -> tuple[int, int, int]:
    """Return the number of weights in the encoder's matrices, its width and its number of layers."""
    layers = [
        module for name, module in model.base_model.named_modules() if isinstance(module, nn.Linear) and "pooler" not in name
    ]
    return sum(layer.weight.numel() for layer in layers), model.config.hidden_size, model.config.num_hidden_layers
