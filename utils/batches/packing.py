"""Texts joined into rows of equal length."""

import numpy as np
from datasets import Dataset

from utils.batches.masking import NO_WORD, flat
from utils.files.rows import PLACE


def pack(encoded: Dataset, block: int) -> Dataset:
    """Return encoded texts joined, with their special tokens between them, and cut into rows of `block` tokens.

    The last row may be shorter. A row comes from where its first text does.
    """
    lengths = np.array(encoded["length"][:])
    names = [name for name in encoded.column_names if name not in (PLACE, "length", "cut")]
    joined = {name: flat(encoded, name) for name in names}
    ends, words = lengths.cumsum(), joined["labels"]
    text = np.repeat(np.arange(len(lengths)), lengths)
    joined["labels"] = np.where(words == NO_WORD, NO_WORD, words + text * lengths.max())  # the words of other texts are others
    starts = np.arange(0, ends[-1], block)
    first = np.searchsorted(ends, starts, side="right")
    rows = {name: np.split(values, starts[1:]) for name, values in joined.items()}
    places = encoded[PLACE][:]
    return Dataset.from_dict(
        {**rows, PLACE: [places[row] for row in first], "length": list(map(len, rows["labels"])), "cut": [False] * len(starts)}
    )
