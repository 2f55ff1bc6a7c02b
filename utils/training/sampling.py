"""The order of rows: batches of similar length, alike in every process, and back in the file's order afterwards."""

from collections.abc import Callable, Iterator

import numpy as np
from datasets import Dataset, concatenate_datasets
from torch import Generator, randperm
from torch.utils.data import Sampler
from transformers import TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices


def longest_first(dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    """Return `dataset` ordered by its column `length`, and that order: batches of similar length are padded little."""
    order = np.argsort(dataset["length"][:], kind="stable")[::-1]
    return dataset.select(order), order


def complete_last_batch(dataset: Dataset, args: TrainingArguments, unknown: float = -100) -> Dataset:
    """Append rows whose labels are all `unknown`, of `length` 0, until every process has as many batches as the others.

    accelerate would repeat rows of the epoch's start instead, which then count twice in the loss.
    """
    missing = -len(dataset) % (args.train_batch_size * args.world_size) if args.world_size > 1 else 0
    if missing == 0:
        return dataset
    labels = np.full_like(dataset[0]["labels"], unknown).tolist()
    filler = dataset.select([0] * missing).map(lambda _: {"labels": labels, "length": 0}, features=dataset.features)
    return concatenate_datasets([dataset, filler])


class EpochSampler(Sampler):
    """Draw every row once an epoch, in an order that follows from seed and epoch alone.

    Every process draws the same order, and a resumed run draws what the uninterrupted one would have drawn, which does
    not hold for transformers' `LengthGroupedSampler`. Rows of length 0 (`complete_last_batch`) come last.

    Args:
        lengths: tokens of each row.
        strategy: group_by_length (batches of similar length, in random order), random or sequential.
        rows_a_step: rows of one optimizer step, over all micro-batches and processes.
        epoch: says which epoch it is. (The way of `set_epoch` is lost where several processes resume within an epoch.)
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
            # The grouping sorts long runs of steps by length, and training would end on short texts: shuffle the steps, but
            # keep the longest first (memory runs out at once or never) and the one that is not full last.
            shuffled = 1 + randperm(max(len(steps) - 2, 0), generator=generator)
            order = [row for step in (0, *shuffled.tolist(), len(steps) - 1)[: len(steps)] for row in steps[step]]
        elif self.strategy == "random":
            order = randperm(len(self.lengths), generator=generator).tolist()
        else:
            order = range(len(self.lengths))
        return iter([*order, *self.fillers])


def train_sampler(dataset: Dataset, args: TrainingArguments, epoch: Callable[[], int]) -> EpochSampler:
    """Return the sampler that `args.train_sampling_strategy` names; `dataset` has a column `length`."""
    rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    seed = args.seed if args.data_seed is None else args.data_seed
    return EpochSampler(dataset["length"][:], args.train_sampling_strategy, rows_a_step, seed, epoch)
