"""Batches: the order of the rows, how a large batch is cut, and how much goes through the model."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch import Generator, nn, randperm
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # a row of them is a text; of multiple choice, a candidate


def longest_first(dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    """Return `dataset` sorted by its column `length`, and that order. Batches of similar length need little padding."""
    order = np.argsort(dataset["length"][:], kind="stable")[::-1]
    return dataset.select(order), order


def complete_last_batch(dataset: Dataset, args: TrainingArguments, unknown: float = -100) -> Dataset:
    """Append rows of `length` 0 whose labels are all `unknown`, until all processes have equally many batches.

    accelerate would repeat rows from the start of the epoch instead, and the loss would count them twice.
    """
    missing = -len(dataset) % (args.train_batch_size * args.world_size) if args.world_size > 1 else 0
    if missing == 0:
        return dataset
    labels = np.full_like(dataset[0]["labels"], unknown).tolist()
    filler = dataset.select([0] * missing).map(lambda _: {"labels": labels, "length": 0}, features=dataset.features)
    return concatenate_datasets([dataset, filler])


class EpochSampler(Sampler):
    """Draw every row once an epoch, in an order that follows from the seed and the epoch alone.

    Every process draws the same order, and a resumed run draws what the uninterrupted run would have drawn. transformers'
    `LengthGroupedSampler` does not. Rows of length 0 (`complete_last_batch`) come last.

    Args:
        lengths: tokens of each row.
        strategy: group_by_length (batches of similar length, in random order), random or sequential.
        rows_a_step: rows of one optimizer step, over all micro-batches and processes.
        epoch: returns the current epoch. (`set_epoch` is not called when several processes resume within an epoch.)
    """

    def __init__(self, lengths: list[int], strategy: str, rows_a_step: int, seed: int, epoch: Callable[[], int]):
        self.lengths = [length for length in lengths if length]
        self.fillers = range(len(self.lengths), len(lengths))
        self.strategy, self.rows_a_step, self.seed, self.epoch = strategy, rows_a_step, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths) + len(self.fillers)

    def __iter__(self) -> Iterator[int]:
        generator = Generator().manual_seed(self.seed + self.epoch())
        if self.strategy == "group_by_length":
            grouped = get_length_grouped_indices(self.lengths, self.rows_a_step, generator=generator)
            steps = [grouped[start : start + self.rows_a_step] for start in range(0, len(grouped), self.rows_a_step)]
            # The grouping sorts long runs of steps by length, so training would end on short texts: shuffle the steps. The
            # longest stays first, so that memory runs out at once or never. The step that is not full stays last.
            shuffled = 1 + randperm(max(len(steps) - 2, 0), generator=generator)
            order = [row for step in (0, *shuffled.tolist(), len(steps) - 1)[: len(steps)] for row in steps[step]]
        elif self.strategy == "random":
            order = randperm(len(self.lengths), generator=generator).tolist()
        else:
            order = range(len(self.lengths))
        return iter([*order, *self.fillers])


def train_sampler(dataset: Dataset, args: TrainingArguments, epoch: Callable[[], int]) -> EpochSampler:
    """Return the sampler that `args.train_sampling_strategy` names. `dataset` has a column `length`."""
    rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    seed = args.seed if args.data_seed is None else args.data_seed
    return EpochSampler(dataset["length"][:], args.train_sampling_strategy, rows_a_step, seed, epoch)


def token_mask(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return which cells of a batch hold a token, [texts, tokens]."""
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
    return mask.reshape(-1, mask.shape[-1])


def cut_batch(
    inputs: dict[str, torch.Tensor], max_tokens: int | None, multiple: int = 1, by_token: tuple[str, ...] = TOKEN_INPUTS
) -> list[dict[str, torch.Tensor]]:
    """Cut a batch into parts of at most `max_tokens`, with padding. Each part is padded to its own longest text only.

    Texts of similar length share a part, and a part has at least one row.

    Args:
        inputs: the tensors named in `by_token` are [texts, …, tokens]; all others have one line a row. A row is a text, or in
            multiple choice the candidates that `present` [rows, candidates] counts.
        multiple: the width of a part is a multiple of this, up to the width of the batch.
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
        cut.append({n: tensor[texts][..., columns] if n in by_token else tensor[rows] for n, tensor in inputs.items()})
    return cut


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
