"""Masked tokens: which are drawn, and how only they reach the head."""

import contextlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from utils.files.cells import UNKNOWN
from utils.files.rows import arrow_cells

NO_WORD = int(UNKNOWN)


def number_words(encoded: BatchEncoding, tokenizer: PreTrainedTokenizerBase, whole_words: bool) -> list[list[int]]:
    """Return for each token of some texts [texts, tokens] the number of its word in the text, `NO_WORD` for special tokens.

    A word is what the tokenizer splits a text into before it makes tokens of it. Where it does not, or not `whole_words` are
    asked for, each token is a word.
    """
    whole_words = whole_words and splits_words(tokenizer)
    numbered = []
    for text, tokens in enumerate(encoded["input_ids"]):
        special = None if tokenizer.is_fast else set(tokenizer.all_special_ids)
        parts = encoded.sequence_ids(text) if special is None else [None if token in special else 0 for token in tokens]
        words = encoded.word_ids(text) if whole_words else range(len(tokens))  # counted anew in the second text of a pair
        numbers: dict[tuple, int] = {}
        rows = zip(parts, words, strict=True)
        numbered.append([NO_WORD if key[0] is None else numbers.setdefault(key, len(numbers)) for key in rows])
    return numbered


def splits_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer says which tokens are of one word."""
    return tokenizer.is_fast and len(set(tokenizer("one two", add_special_tokens=False).word_ids())) == 2


def draw_for(content: bytes, *seeds: int) -> np.random.Generator:
    """Return a generator that follows from the seeds, such as the epoch, and a row's own content.

    So what it draws depends neither on the batch nor on the number of processes, and a resumed run draws it again. (A collator
    cannot use the global one: batches are made ahead, so a checkpoint does not have its state.)
    """
    return np.random.default_rng([*seeds, zlib.crc32(content)])


@dataclass
class MaskWords:
    """Collates rows, and masks some words of each.

    The masks of a text follow from `seeds` and its tokens alone: they depend neither on the batch nor on the processes, and a
    resumed run draws them again. Of the masked tokens 80 % become the mask token, 10 % any token, and 10 % stay (Devlin et al.
    2019, https://arxiv.org/abs/1810.04805, section 3.1).

    Attributes:
        probability: the share of a text's tokens, to half a word; at least one word is masked.
        mask: the mask token.
        ordinary: the tokens [tokens] that may stand for a masked one.
    """

    probability: float
    mask: int
    ordinary: np.ndarray

    def __call__(
        self,
        rows: list[dict[str, Any]],
        pad: Callable[[list[dict]], dict[str, torch.Tensor]],
        seeds: Callable[[], tuple[int, ...]] = lambda: (0, 0),
    ) -> dict[str, torch.Tensor]:
        """Return the batch of `rows`, whose `labels` number the words. Those of the batch [rows, tokens] are the tokens masked.

        `seeds` returns what the masks follow from; by default they are always the same.
        """
        masked = [self.draw(np.array(row["input_ids"]), np.array(row["labels"]), seeds()) for row in rows]
        others = [{name: values for name, values in row.items() if name != "labels"} for row in rows]
        batch = pad([{**row, "input_ids": tokens.tolist()} for row, (tokens, _) in zip(others, masked, strict=True)])
        batch["labels"] = torch.full_like(batch["input_ids"], NO_WORD)
        batch["labels"][batch["attention_mask"].bool()] = torch.from_numpy(np.concatenate([targets for _, targets in masked]))
        return batch

    def draw(self, tokens: np.ndarray, words: np.ndarray, seeds: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens [tokens] of a text, some masked, and what those were: `NO_WORD` for all others."""
        targets, maskable = np.full_like(tokens, NO_WORD), np.flatnonzero(words != NO_WORD)
        if not len(maskable):
            return tokens, targets
        draw = draw_for(tokens.tobytes(), *seeds)
        _, word, sizes = np.unique(words[maskable], return_inverse=True, return_counts=True)
        order = draw.permutation(len(sizes))
        middles = sizes[order].cumsum() - sizes[order] / 2
        count = max(int((middles <= self.probability * len(maskable)).sum()), 1)
        masked = maskable[np.isin(word, order[:count])]
        targets[masked] = tokens[masked]
        kind, other = draw.random(len(masked)), draw.choice(self.ordinary, len(masked))
        tokens[masked] = np.where(kind < 0.8, self.mask, np.where(kind < 0.9, other, tokens[masked]))
        return tokens, targets


def mask_words(probability: float, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> MaskWords:
    """Return the collator for a model that knows `vocabulary` tokens."""
    ordinary = np.setdiff1d(np.arange(min(len(tokenizer), vocabulary)), tokenizer.all_special_ids)
    return MaskWords(probability, tokenizer.mask_token_id, ordinary)


@contextlib.contextmanager
def only_masked(model: PreTrainedModel, masked: torch.Tensor) -> Iterator[None]:
    """Let the head of `model` see the `masked` tokens [rows, tokens] only: its logits are [1, masked, vocabulary].

    The head of a small encoder takes more time than its layers, if it computes the logits of all tokens.
    """

    def keep(module, inputs, output):
        output["last_hidden_state"] = output[0][masked][None]
        return output

    hook = model.base_model.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def only_masked_works(
    model: PreTrainedModel, inputs: dict[str, torch.Tensor], forward: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> bool:
    """Return whether `only_masked` leaves the logits of the masked tokens as they are, in a `forward` pass on a batch."""
    masked = inputs["labels"] != NO_WORD
    try:
        with torch.no_grad():
            expected = forward(inputs)["logits"][masked]
            with only_masked(model, masked):
                found = forward(inputs)["logits"][0]
    except (IndexError, KeyError, TypeError, RuntimeError):  # the model is built in another way
        return False
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def flat(encoded: Dataset, name: str) -> np.ndarray:
    return arrow_cells(encoded, name).combine_chunks().flatten().to_numpy()


def log_frequencies(encoded: Dataset, vocabulary: int) -> torch.Tensor:
    """Return the logarithm of each token's share [vocabulary] in encoded texts. A tenth of a token is added to each count."""
    counts = np.bincount(flat(encoded, "input_ids")[flat(encoded, "labels") != NO_WORD], minlength=vocabulary) + 0.1
    return torch.tensor(np.log(counts / counts.sum()), dtype=torch.float32)
