"""Batches without padding: the texts of a batch joined into one row, none of which attends to another."""

import inspect
from collections.abc import Callable

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from utils.arguments import UserError
from utils.batches.cutting import TOKEN_INPUTS

ATTENTION = "padding_free"


def remove_padding(model: PreTrainedModel, logits: Callable[[], torch.Tensor], by_token: tuple[str, ...] = TOKEN_INPUTS) -> None:
    """Let `model` compute on the tokens of a batch only, and its head on each text's first token.

    The model takes padded batches as before, [texts, tokens], and returns the same logits. Its attention is flash attention for
    texts of different length, of transformers or of torch, where there is one for the device, the type and the dropout; else
    attention alone is padded, and everything around it is not.

    Args:
        logits: runs the model on a batch of several texts.
        by_token: the inputs that hold tokens, [texts, tokens].

    Raises:
        UserError: the model would give other logits: its attention is its own, or the head reads more than the first token.
    """
    problem = f"--padding_free does not fit {type(model).__name__}"
    layers = [module for module in model.base_model.modules() if isinstance(module, nn.ModuleList)]
    layers = next((each for each in layers if len(each) == model.config.num_hidden_layers), None)
    if layers is None or "position_ids" not in inspect.signature(model.forward).parameters:
        raise UserError(f"{problem}, which takes no positions of its tokens: leave it out")
    with torch.no_grad():
        expected = logits()
        if not str(model.config._attn_implementation).startswith("flash_attention"):
            model.set_attn_implementation(ATTENTION)
        positions = next((module for name, module in model.named_modules() if name.endswith("position_embeddings")), None)
        padding = getattr(positions, "padding_idx", None)  # RoBERTa counts from behind it
        model.register_forward_pre_hook(_Join(by_token, 0 if padding is None else padding + 1), with_kwargs=True)
        layers[-1].register_forward_hook(_first_tokens, with_kwargs=True)
        try:
            same = torch.allclose(logits(), expected, rtol=1e-3, atol=1e-3)
        except (IndexError, KeyError, RuntimeError, TypeError, ValueError):
            same = False
    if not same:
        reason = "its attention is its own, or its head reads more than the first token"
        raise UserError(f"{problem}, which would give other logits: {reason}; leave it out")


class _Join:
    """Joins the texts of a batch. It is a class because a local function cannot be pickled."""

    def __init__(self, by_token: tuple[str, ...], first_position: int):
        self.by_token, self.first_position = by_token, first_position

    def __call__(self, model: nn.Module, args: tuple, inputs: dict) -> tuple[tuple, dict]:
        mask = inputs.pop("attention_mask", None)
        mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
        flat = mask.reshape(-1, mask.shape[-1]).bool()
        lengths = flat.sum(dim=1)
        ends = nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
        shape = [1] * (mask.dim() - 1) + [-1]  # of multiple choice [texts, 1, tokens]
        joined = {name: inputs[name][mask.bool()].reshape(shape) for name in self.by_token if name in inputs}
        total = joined["input_ids"].numel()
        starts = ends[:-1].repeat_interleave(lengths, output_size=total)
        positions = torch.arange(total, device=mask.device) - starts + self.first_position
        longest = int(lengths.max())
        bounds = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
        return args, {**inputs, **joined, "position_ids": positions.reshape(shape), **bounds}


def _first_tokens(layer: nn.Module, args: tuple, inputs: dict, output: torch.Tensor | tuple) -> torch.Tensor | tuple:
    """Return of what the last layer gives, [1, tokens, size], the first token of each text, [texts, 1, size]."""
    hidden = output if torch.is_tensor(output) else output[0]
    hidden = hidden[0, inputs["cu_seq_lens_q"][:-1]][:, None]
    return hidden if torch.is_tensor(output) else (hidden, *output[1:])


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention on texts joined to [1, heads, tokens, head size], for transformers' `AttentionInterface`."""
    ends, longest, size = kwargs["cu_seq_lens_q"], kwargs["max_length_q"], query.shape[-1]
    joined = [each[0].transpose(0, 1) for each in (query, key, value)]  # [tokens, heads, head size]
    usual = scaling is None or abs(scaling - size**-0.5) < 1e-9
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and not dropout and usual:
        from torch.nn.attention.varlen import varlen_attn  # torch 2.10 and newer

        near = {} if sliding_window is None else {"window_size": (sliding_window - 1, sliding_window - 1)}
        return varlen_attn(*joined, ends, ends, longest, longest, **near)[None], None
    lengths = ends.diff()
    texts = torch.arange(len(lengths), device=ends.device).repeat_interleave(lengths, output_size=len(joined[0]))
    place = torch.arange(len(texts), device=ends.device) - ends[texts] + texts * longest
    padded = [each.new_zeros(len(lengths) * longest, *each.shape[1:]).index_copy(0, place, each) for each in joined]
    padded = [each.reshape(len(lengths), longest, *each.shape[1:]).transpose(1, 2) for each in padded]
    token = torch.arange(longest, device=ends.device)
    mask = (token < lengths[:, None])[:, None, None]
    if sliding_window is not None:
        mask = mask & ((token[:, None] - token).abs() < sliding_window)
        mask = mask | torch.eye(longest, dtype=torch.bool, device=ends.device)  # of padding, which reads itself
    output, _ = sdpa_attention_forward(module, *padded, mask, dropout=dropout, scaling=scaling, is_causal=False)
    return output.reshape(-1, *output.shape[2:])[place][None], None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)
