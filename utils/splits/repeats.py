"""Texts that are nearly the same: in training data and in what judges it they make scores too good."""

import zlib

import numpy as np

WORDS = 3  # of a shingle
# These find 98 % of the pairs that share 80 % of their shingles, and nearly all closer ones.
BANDS, ROWS_OF_BAND = 8, 4
PRIME = 2**31 - 1


def near_repeats(texts: list[str], share: float = 0.8) -> list[tuple[int, int]]:
    """Return pairs of rows, the earlier one first, whose texts share at least `share` of their runs of three words.

    Each row is in at most one pair as the later one. Pairs are found by MinHash (Broder 1997,
    https://doi.org/10.1109/SEQUEN.1997.666900) and locality-sensitive hashing, so some are missed; those returned are checked.
    """
    runs = [_shingles(text) for text in texts]
    starts = np.cumsum([0, *map(len, runs)])[: len(runs)]
    every = np.concatenate([np.empty(0, np.int64), *(np.fromiter(run, np.int64, len(run)) for run in runs)])
    draw, earlier = np.random.default_rng(0), {}
    for _ in range(BANDS):
        factors, shifts = draw.integers(1, PRIME, (2, ROWS_OF_BAND))
        band = [np.minimum.reduceat((every * a + b) % PRIME, starts) for a, b in zip(factors, shifts, strict=True)]
        first: dict[tuple, int] = {}
        for row, key in enumerate(zip(*map(np.ndarray.tolist, band), strict=True)):
            other = first.setdefault(key, row)
            if other != row and row not in earlier and len(runs[row] & runs[other]) >= share * len(runs[row] | runs[other]):
                earlier[row] = other
    return sorted((other, row) for row, other in earlier.items())


def _shingles(text: str) -> set[int]:
    words = text.casefold().split()
    return {zlib.crc32(" ".join(words[i : i + WORDS]).encode()) % PRIME for i in range(max(len(words) - WORDS + 1, 1))}
