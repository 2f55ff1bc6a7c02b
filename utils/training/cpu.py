"""What makes a step fast on a CPU, and changes nothing of what is learnt."""

import ctypes
import os
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from utils.data.files import used_tokens

ATTENTION = "tuned_for_cpu"
TOKENS_FILE = "trained_tokens.npy"  # in a checkpoint
# Their heads read the first token alone: of the last layer no other is computed, behind its attention.
READ_FIRST_TOKEN = re.compile("(Bert|Roberta|XLMRoberta|Camembert|Electra)For(SequenceClassification|MultipleChoice)")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
MADV_HUGEPAGE, HUGE_PAGE = 14, 2**21  # madvise(2)


@cache
def keep_memory() -> None:
    """Keep freed memory in the process, and take it in large pages; to be called before tensors are made.

    A step needs what the step before it freed. glibc gives large blocks back to the kernel, and each page that is asked for
    anew is a page fault: thousands a step, a quarter of a short one's time. So all comes from glibc's heap, which is never cut
    and begins as a quarter of the machine's memory that nothing has touched: addresses only, that become large pages in use.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    libc.malloc.restype = ctypes.c_void_p
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    start = libc.malloc(ctypes.c_size_t(size))
    if start:  # else a limit of the system forbids it
        first, last = -(-start // HUGE_PAGE) * HUGE_PAGE, (start + size) // HUGE_PAGE * HUGE_PAGE
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(start))


def tune(model: PreTrainedModel) -> None:
    """Give `model` the layers and the attention below. Parameters and their names stay; logits change by rounding only."""
    faster = {nn.Dropout: Dropout}
    if torch.backends.mkldnn.is_available():
        faster[nn.Linear] = Linear
    for module in model.modules():
        module.__class__ = faster.get(type(module), type(module))
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ATTENTION)
        if READ_FIRST_TOKEN.fullmatch(type(model).__name__) and not model.config.is_decoder:
            last = model.base_model.encoder.layer[-1].attention
            last.self.first_token_only = True
            last.output.register_forward_pre_hook(take_first_token)


def take_first_token(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the first token of each of the `inputs` [batch, tokens, width]; a hook before a layer."""
    return tuple(tensor[:, :1] for tensor in inputs)


def dropout_noise(shape: torch.Size, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor that is 0 with `probability`, rounded to a multiple of 2^-16, and else what makes its mean 1.

    torch draws one number after the other on most CPUs, 64 bits for each decision; here they are enough for four.
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
    """A linear layer whose float32 products are oneDNN's where no gradient is wanted.

    torch takes MKL's, which run at half their speed on some processors.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or input.dtype != torch.float32:
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


class SeenTokens(nn.Embedding):
    """Word embeddings of which only those of the tokens in the training texts, `seen`, go through gradient and optimizer.

    The others have no gradient, but cost as much: for 1,600 short texts nine of ten. They stay as they were, where AdamW would
    have let them decay. A saved model has all of them in `weight`, as usual.
    """

    def restrict(self, tokens: np.ndarray) -> None:
        """Begin to train the embeddings of `tokens` alone."""
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
            others = super().forward(input)  # tokens that a resumed training meets for the first time: they stay as they are
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
    """Make the word embeddings of `model` `SeenTokens`: of the column `input_ids` of `train`, and the `special` ones.

    A training that goes on from a `checkpoint` trains those that were trained before.
    """
    embedding = model.get_input_embeddings()
    if checkpoint and Path(checkpoint, TOKENS_FILE).is_file():
        tokens = np.load(Path(checkpoint, TOKENS_FILE))
    else:
        special = [*special, *([] if embedding.padding_idx is None else [embedding.padding_idx])]
        tokens = np.union1d(used_tokens(train), special).astype(np.int64)
    if type(embedding) is nn.Embedding and 2 * len(tokens) < embedding.num_embeddings:
        embedding.__class__ = SeenTokens
        embedding.restrict(tokens)


def seen_tokens(model: PreTrainedModel) -> np.ndarray | None:
    """Return the tokens whose word embeddings are trained, None for all."""
    embedding = model.get_input_embeddings()
    return embedding.tokens.numpy() if isinstance(embedding, SeenTokens) else None


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface, [batch, heads, tokens, head size]; see `AttentionInterface`.

    On a CPU `scaled_dot_product_attention` has no fused form with dropout, and the backward of the fused form without is
    slow on short texts. Where that matters, this one multiplies, with the masks of `dropout_noise`. Attention of another kind
    than each token to all others that the mask leaves is left to transformers: causal (where there may be no mask, only a flag),
    grouped, or with a bias of positions.
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
    # torch's softmax of short rows is several times slower in bfloat16
    weights = scores.softmax(dim=-1, dtype=torch.float32 if key.shape[-2] < 64 else scores.dtype)
    if dropout:
        weights = weights * dropout_noise(weights.shape, dropout, weights.dtype)
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous().expand(-1, tokens, -1, -1), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
