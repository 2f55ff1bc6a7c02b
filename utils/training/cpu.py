"""Makes training steps fast on a CPU without changing what is learnt."""

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from utils.batches.encoding import used_tokens

logger = logging.getLogger(__name__)

ATTENTION = "tuned_for_cpu"
TOKENS_FILE = "trained_tokens.npy"  # in a checkpoint
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
MADV_HUGEPAGE, HUGE_PAGE = 14, 2**21  # madvise(2)


@cache
def keep_memory() -> None:
    """Keep freed memory in the process, and use large pages. Call this when the data is settled, before any tensors are made.

    Each step needs the memory that the last one freed. glibc returns large blocks to the kernel, and every page costs a page
    fault when it is needed again: a quarter of a short step's time. So everything comes from glibc's heap, which never shrinks.
    It starts with addresses for a quarter of the machine's memory, which become large pages when they are used.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        return
    libc.malloc_trim(0)  # what the data took is not kept
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    libc.malloc.restype = ctypes.c_void_p
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    start = libc.malloc(ctypes.c_size_t(size))
    if start:  # a system limit may forbid it
        first, last = -(-start // HUGE_PAGE) * HUGE_PAGE, (start + size) // HUGE_PAGE * HUGE_PAGE
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(start))


def tune(model: PreTrainedModel, logits: Callable[[], torch.Tensor]) -> None:
    """Give `model` the layers and the attention below, and let the last layer compute only the first token.

    Parameters keep their names and values. `logits` runs the model on a batch. A change that alters the logits by more than
    rounding, with or without a gradient, is undone: a head may read more than the first token.
    """
    expected = _probe(logits)
    for change in (_take_faster_layers, _take_faster_attention, _compute_first_token_only):
        undo = change(model)
        try:
            same = all(torch.allclose(*pair, rtol=1e-3, atol=1e-4) for pair in zip(_probe(logits), expected, strict=True))
        except (IndexError, RuntimeError, ValueError):  # the head reads the other tokens
            same = False
        if not same:
            undo()
            logger.info("%s: not used, because %s would give other logits", change.__doc__.rstrip("."), type(model).__name__)


def _probe(logits: Callable[[], torch.Tensor]) -> list[torch.Tensor]:
    found = []
    for with_gradient in (False, True):  # the model may compute differently
        with torch.set_grad_enabled(with_gradient):
            found.append(logits().detach())
    return found


def _take_faster_layers(model: PreTrainedModel) -> Callable[[], None]:
    """Faster dropout and linear layers."""
    faster = {nn.Dropout: Dropout} | ({nn.Linear: Linear} if torch.backends.mkldnn.is_available() else {})
    changed = [(module, type(module)) for module in model.modules() if type(module) in faster]
    for module, kind in changed:
        module.__class__ = faster[kind]
    return lambda: [setattr(module, "__class__", kind) for module, kind in changed]


def _take_faster_attention(model: PreTrainedModel) -> Callable[[], None]:
    """Faster attention."""
    before = model.config._attn_implementation
    if before == "sdpa":
        model.set_attn_implementation(ATTENTION)
    return partial(model.set_attn_implementation, before)


def _compute_first_token_only(model: PreTrainedModel) -> Callable[[], None]:
    """Only the first token in the last layer."""
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)  # BERT and the many models like it
    attention = getattr(layers[-1], "attention", None) if layers else None
    own = getattr(attention, "self", None)
    if own is None or model.config._attn_implementation != ATTENTION or model.config.is_decoder:
        return lambda: None
    if model.get_output_embeddings() is not None:  # a language model reads all
        return lambda: None
    own.first_token_only = True
    hook = attention.output.register_forward_pre_hook(_first_token)

    def undo() -> None:
        own.first_token_only = False
        hook.remove()

    return undo


def _first_token(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:  # a lambda cannot be pickled
    return tuple(tensor[:, :1] for tensor in inputs)


def dropout_noise(shape: torch.Size, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor with mean 1 that is 0 with `probability`, rounded to a multiple of 2^-16, and otherwise constant.

    On most CPUs torch draws serially, 64 bits for each number. Here 64 bits make four numbers.
    """
    size, cut = shape.numel(), round(probability * 2**16)
    bits = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    keep = torch.ge(bits.view(torch.int16)[:size], cut - 2**15, out=torch.empty(size, dtype=dtype))
    return keep.div_(1 - cut / 2**16).view(shape)


class Dropout(nn.Dropout):
    """Dropout by `dropout_noise`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return input
        return input * dropout_noise(input.shape, self.p, input.dtype)


class Linear(nn.Linear):
    """Multiplies float32 with oneDNN where no gradient is needed. On some CPUs torch's MKL has only half its speed."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or input.dtype != torch.float32:
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


class SeenTokens(nn.Embedding):
    """Word embeddings of which only the tokens `seen` in the training texts are trained.

    The others, nine of ten for 1,600 short texts, have no gradient but cost as much time. They stay as they are, where AdamW
    would let them decay. A saved model has all embeddings in `weight`, as usual.
    """

    def restrict(self, tokens: np.ndarray) -> None:
        """From now on, train only the embeddings of `tokens`."""
        self.tokens = torch.from_numpy(tokens)
        self.position = torch.full((self.num_embeddings,), -1).scatter(0, self.tokens, torch.arange(len(tokens)))
        self.seen_padding = None if self.padding_idx is None else int(self.position[self.padding_idx])
        self.weight.requires_grad_(False)
        self.seen = nn.Parameter(self.weight[self.tokens])
        self.is_merged = True

    def merge(self) -> None:
        if not self.is_merged:
            self.weight[self.tokens] = self.seen.detach()
            self.is_merged = True

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.is_merged = False
            position = self.position[input]
            seen = nn.functional.embedding(position.clamp(min=0), self.seen, self.seen_padding)
            if position.min() >= 0:
                return seen
            others = super().forward(input)  # tokens that are new in a resumed training are not trained
            return torch.where((position < 0)[..., None], others, seen)
        self.merge()
        return super().forward(input)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        self.merge()
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[f"{prefix}seen"]

    def _load_from_state_dict(self, state_dict, prefix, *args):
        state_dict[f"{prefix}seen"] = state_dict[f"{prefix}weight"][self.tokens]
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.is_merged = True


def train_seen_tokens(model: PreTrainedModel, train: Dataset, special: list[int], checkpoint: str | None) -> None:
    """Train only the embeddings of the `special` tokens and of those in `train`, or those that the `checkpoint` trained.

    A language model trains all: they are its output layer, too.
    """
    embedding = model.get_input_embeddings()
    if model.get_output_embeddings() is not None:
        return
    if checkpoint and Path(checkpoint, TOKENS_FILE).is_file():
        tokens = np.load(Path(checkpoint, TOKENS_FILE))
    else:
        special = [*special, *([] if embedding.padding_idx is None else [embedding.padding_idx])]
        tokens = np.union1d(used_tokens(train), [token for token in special if token < embedding.num_embeddings]).astype(np.int64)
    if type(embedding) is nn.Embedding and 2 * len(tokens) < embedding.num_embeddings:
        embedding.__class__ = SeenTokens
        embedding.restrict(tokens)


def seen_tokens(model: PreTrainedModel) -> np.ndarray | None:
    """Return the tokens whose embeddings are trained; None for all."""
    embedding = model.get_input_embeddings()
    return embedding.tokens.numpy() if isinstance(embedding, SeenTokens) else None


def attention(
    module, query, key, value, attention_mask, dropout: float = 0.0, scaling: float | None = None, **kwargs
) -> tuple[torch.Tensor, None]:
    """Attention on [batch, heads, tokens, head size] for transformers' `AttentionInterface`.

    On a CPU `scaled_dot_product_attention` is not fused with dropout, and its backward pass is slow on short texts. In these
    cases this function multiplies the matrices itself, with `dropout_noise`. It leaves other kinds of attention to
    transformers: causal (which may have a flag instead of a mask), grouped, or with a position bias.
    """
    tokens = query.shape[-2]
    if getattr(module, "first_token_only", False):
        query = query[:, :, :1]
        attention_mask = None if attention_mask is None else attention_mask[..., :1, :]
    causal = getattr(module, "is_causal", True) or kwargs.get("is_causal")
    usual = not causal and key.shape[1] == query.shape[1] and kwargs.get("position_bias") is None
    if not (usual and torch.is_grad_enabled() and (dropout or query.shape[-2] <= 128)):
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
        return output.expand(-1, tokens, -1, -1), None
    scores = query * (query.shape[-1] ** -0.5 if scaling is None else scaling) @ key.transpose(-1, -2)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    # torch's softmax of short rows is several times slower in bfloat16 than in float32
    weights = scores.softmax(dim=-1, dtype=torch.float32 if key.shape[-2] < 64 else scores.dtype)
    if dropout:
        weights = weights * dropout_noise(weights.shape, dropout, weights.dtype)
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous().expand(-1, tokens, -1, -1), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
