"""What goes through the model: batches cut to a number of tokens, and how many rows, tokens and operations a second."""

import time

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback

BY_ROW = ("labels", "present")  # all other tensors of a batch are by text: a row of multiple choice has several


def token_mask(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return which cells of a batch hold a token, [texts, tokens]."""
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
    return mask.reshape(-1, mask.shape[-1])


def cut_batch(inputs: dict[str, torch.Tensor], max_tokens: int | None, multiple: int = 1) -> list[dict[str, torch.Tensor]]:
    """Return the rows of a batch in parts of at most `max_tokens`, padding included, each padded to its own longest text.

    The length of a part is a `multiple`, up to that of the batch. A part has at least one row. Texts of similar length share a
    part.
    """
    if not max_tokens or inputs["input_ids"].numel() <= max_tokens:
        return [inputs]
    mask = token_mask(inputs)
    counts = inputs["present"].sum(dim=1).cpu() if "present" in inputs else torch.ones(len(mask), dtype=torch.int64)
    first_text = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    lengths = [-(-part.max().item() // multiple) * multiple for part in mask.sum(dim=1).cpu().split(counts.tolist())]
    parts: list[list[int]] = []
    texts = 0
    for row in sorted(range(len(counts)), key=lambda row: -lengths[row]):
        if not parts or (texts + counts[row]) * lengths[parts[-1][0]] > max_tokens:
            parts, texts = [*parts, []], 0
        parts[-1].append(row)
        texts += counts[row]
    cut = []
    for rows in parts:
        texts = torch.cat([torch.arange(first_text[row], first_text[row + 1]) for row in rows]).to(mask.device)
        columns = mask[texts].any(dim=0)
        columns = columns | (~columns & ((~columns).cumsum(0) <= -columns.sum() % multiple))  # the first of the empty ones
        rows = torch.tensor(rows, device=mask.device)
        cut.append({n: tensor[rows] if n in BY_ROW else tensor[texts][..., columns] for n, tensor in inputs.items()})
    return cut


class Throughput(TrainerCallback):
    """Counts what goes through the model, and the seconds of the training steps, without evaluations and checkpoints.

    `flops_per_second` is useful arithmetic: no padding, no recomputation. A token takes 2 operations for each weight of the
    encoder's matrices, and 4 for each unit of each layer and each token of its text (attention); training takes three times as
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

    on_epoch_begin = on_evaluate = on_save = begin  # what came before is no training step
    on_step_end = stop

    def rates(self, prefix: str, trainer: Trainer) -> dict[str, float]:
        """Return the rates of all processes together, each name with `prefix` before it."""
        self.counts = self.counts.to(trainer.args.device)
        rows, cells, tokens, squares = trainer.accelerator.reduce(self.counts, "sum").tolist()
        weights, width, layers = encoder_size(trainer.model)
        operations = (2 * weights * tokens + 4 * width * layers * squares) * (3 if prefix == "train" else 1)
        seconds = max(self.seconds, 1e-9)
        return {
            f"{prefix}_rows_per_second": rows / seconds,
            f"{prefix}_tokens_per_second": tokens / seconds,
            f"{prefix}_flops_per_second": operations / seconds,
            f"{prefix}_padding_share": 1 - tokens / max(cells, 1),
        }


def encoder_size(model: PreTrainedModel) -> tuple[int, int, int]:
    """Return the number of weights in the encoder's matrices, its width and its number of layers."""
    layers = [
        module for name, module in model.base_model.named_modules() if isinstance(module, nn.Linear) and "pooler" not in name
    ]
    return sum(layer.weight.numel() for layer in layers), model.config.hidden_size, model.config.num_hidden_layers
