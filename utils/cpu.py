"""What makes a step fast on a CPU, and changes nothing of what is learnt."""

import ctypes
import os
import sys

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "tuned_for_cpu"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_memory() -> None:
    """Keep freed memory in the process, and take it in large pages; to be called before tensors are made.

    A step needs what the step before it freed. glibc gives large blocks back to the kernel, and each page that is asked for
    anew is a page fault: thousands a step, a quarter of its time and more.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it when it first allocates
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def tune(model: PreTrainedModel) -> None:
    """Give `model` the layers and the attention below. Parameters and their names stay; logits change by rounding only."""
    for module in model.modules():
        module.__class__ = {nn.Dropout: Dropout, nn.Linear: Linear}.get(type(module), type(module))
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ATTENTION)


def dropout_noise(shape: torch.Size, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor that is 0 with `probability`, rounded to a multiple of 2^-16, and else what makes its mean 1.

    torch draws one number after the other on most CPUs, 64 bits for each decision; here they are enough for four.
    """
    size, cut = shape.numel(), round(probability * 2**16)
    bits = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    keep = bits.view(torch.int16)[:size] >= cut - 2**15
    return keep.to(dtype).div_(1 - cut / 2**16).view(shape)


class Dropout(nn.Dropout):
    """Dropout by `dropout_noise`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return input
        return input * dropout_noise(input.shape, self.p, input.dtype)


class Linear(nn.Linear):
    """A linear layer whose float32 products are oneDNN's where no gradient is wanted.

    torch takes MKL's, which on processors of other makers than Intel use half of the vector width.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or input.dtype != torch.float32:
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


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
    slow on short texts. Where that matters, this one multiplies, with the masks of `dropout_noise`.
    """
    short = query.shape[-2] <= 128
    if not torch.is_grad_enabled() or not (dropout or short) or key.shape[1] != query.shape[1]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    scores = query * (query.shape[-1] ** -0.5 if scaling is None else scaling) @ key.transpose(-1, -2)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=scores.dtype)
    if dropout:
        weights = weights * dropout_noise(weights.shape, dropout, weights.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
