"""The order of the rows, the same in every process and after a resume."""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from datasets import Dataset, List, concatenate_datasets
from torch import Generator, randperm
from torch.utils.data import Sampler
from transformers import TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices


def longest_first(dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    """Return `dataset` sorted by its column `length`, and that order. Batches of similar length need little padding."""
    order = np.argsort(dataset["length"][:], kind="stable")[::-1]
    return with_arrays(dataset.select(order)), order


def with_arrays(dataset: Dataset) -> Dataset:
    """Return `dataset`, whose rows hold labels of several cells as an array: thousands of Python's numbers would be slow."""
    several = "labels" in dataset.column_names and isinstance(dataset.features["labels"], List)
    return dataset.with_format("numpy", columns=["labels"], output_all_columns=True) if several else dataset


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
            grouped = np.array(get_length_grouped_indices(self.lengths, self.rows_a_step, generator=generator))
            steps = np.split(grouped, range(self.rows_a_step, len(grouped), self.rows_a_step))
            # The grouping sorts long runs of steps by length, so training would end on short texts: shuffle the steps. The
            # longest stays first, so that memory runs out at once or never. The step that is not full stays last.
            shuffled = 1 + randperm(max(len(steps) - 2, 0), generator=generator)
            order = np.concatenate([steps[step] for step in (0, *shuffled.tolist(), len(steps) - 1)[: len(steps)]])
        elif self.strategy == "random":
            order = randperm(len(self.lengths), generator=generator).numpy()
        else:
            order = range(len(self.lengths))
        return map(int, chain(order, self.fillers))  # a list of a million of Python's numbers takes 40 MB


def train_sampler(dataset: Dataset, args: TrainingArguments, epoch: Callable[[], int]) -> EpochSampler:
    """Return the sampler that `args.train_sampling_strategy` names. `dataset` has a column `length`."""
    rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    seed = args.seed if args.data_seed is None else args.data_seed
    return EpochSampler(dataset["length"][:], args.train_sampling_strategy, rows_a_step, seed, epoch)
