"""Texts that change a little from epoch to epoch."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from utils.arguments import UserError


def draw_for(content: bytes, *seeds: int) -> np.random.Generator:
    """Return a generator that follows from the seeds, such as the epoch, and a row's own content.

    So what it draws depends neither on the batch nor on the number of processes, and a resumed run draws it again. (A collator
    cannot use the global one: batches are made ahead, so a checkpoint does not have its state.)
    """
    return np.random.default_rng([*seeds, zlib.crc32(content)])


class TokenDropout:
    """A collator that replaces a share of the tokens of each training row, but no special ones, by the mask token.

    Without a mask token it is the unknown one: word dropout (Iyyer et al. 2015, https://aclanthology.org/P15-1162).

    Args:
        collate: makes a batch of rows, each a dict with `input_ids`, a list of tokens, or of multiple choice one a candidate.
        epoch: returns the current epoch.
    """

    def __init__(self, collate: Callable, share: float, tokenizer: PreTrainedTokenizerBase, seed: int, epoch: Callable[[], int]):
        self.collate, self.share, self.seed, self.epoch = collate, share, seed, epoch
        self.special = list(tokenizer.all_special_ids)
        self.blank = tokenizer.unk_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
        if self.blank is None:
            raise UserError("--token_dropout: the tokenizer has neither a mask token nor an unknown one; leave it out")

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        return self.collate([row | {"input_ids": self._changed(row["input_ids"])} for row in rows])

    def _changed(self, tokens: list) -> list:
        draw = draw_for(str(tokens).encode(), self.seed, self.epoch())
        texts = tokens if isinstance(tokens[0], list) else [tokens]
        changed = []
        for text in map(np.array, texts):
            dropped = (draw.random(len(text)) < self.share) & ~np.isin(text, self.special)
            changed.append(np.where(dropped, self.blank, text).tolist())
        return changed if isinstance(tokens[0], list) else changed[0]
