"""How much memory a training needs on each GPU, and how fast it could be at most: arithmetic, for models of four sizes.

    python benchmarks/scaling.py > docs/scaling.md

Needs no GPU and no network: parameters are counted on models without memory, and what a layer keeps for its backward pass is
measured on a CPU, in bf16. tests/test_scaling.py compares both with what a training holds.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.training.lora import layers_to_adapt  # noqa: E402
from utils.training.models import below_head  # noqa: E402

TOKENS = 8 * 512  # in a step on each GPU
PEAK, SHARE = 989e12, 0.4  # FLOP/s in bf16 of an H100 SXM by NVIDIA's data sheet; the share of it that is assumed
RANK = 16  # of the adapters, as in --lora_r
MODELS: dict[str, Callable[..., PreTrainedConfig]] = {
    "BERT-base": lambda **more: BertConfig(**{"num_hidden_layers": 12, **more}),
    "ModernBERT-large": lambda **more: ModernBertConfig(
        **{"hidden_size": 1024, "intermediate_size": 2624, "num_hidden_layers": 28, "num_attention_heads": 16, **more}
    ),
    "Llama-3.2-1B": lambda **more: llama(**{"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, **more}),
    "Llama-3.1-8B": lambda **more: llama(**{"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, **more}),
}
TEXT = f"""# Will it fit, and how fast could it be

The memory of each GPU, in GB, for models from 100 million to 8 billion parameters.

```bash
python benchmarks/scaling.py > docs/scaling.md
```

This is arithmetic: **no GPU has run it yet.** Parameters are counted. What a layer keeps for its backward pass is measured on a
CPU, in bf16, with PyTorch's attention. A test compares both with what a training holds.

A step has {TOKENS:,} tokens on each GPU, such as 8 texts of 512 tokens.

- **states**: weights, gradients and the two moments of AdamW are float32, 16 bytes a parameter; half precision adds a copy of the
  weights, 2 bytes. DDP keeps all that on each GPU. FSDP2 and ZeRO-3 divide it by the number of GPUs. ZeRO-2 divides gradients and
  moments. LoRA (`--use_peft`, rank {RANK}) has gradients and moments for its adapters only; where a checkpoint is in bf16, as
  Llama's, the weights beside them stay so. At the end they are merged: 4 bytes a parameter.
- **activations**: what the backward pass needs. With `--gradient_checkpointing`, in the next column, each layer keeps its input
  only. Fewer tokens at once need less in proportion: `--max_tokens_per_batch {TOKENS // 4}` a quarter.
- **tokens/s**, in thousands, of all GPUs together: the most to expect. It is {SHARE * 100:.0f} % of the {PEAK / 1e12:.0f} TFLOP/s
  in bf16 that the data sheet of an H100 names, and nothing is lost between GPUs.

CUDA, the buffers of the exchange, and pieces that the allocator cannot use come on top.
"""


def llama(**options: int) -> LlamaConfig:
    return LlamaConfig(
        **{"vocab_size": 128256, "num_attention_heads": 32, "num_key_value_heads": 8, "pad_token_id": 0, **options}
    )


def without_memory(config: PreTrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


def parameters(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def adapter_parameters(model: PreTrainedModel, rank: int) -> int:
    """Return how many parameters LoRA trains: a matrix before and behind each linear layer, and all of the head."""
    layers, below = layers_to_adapt(model).values(), below_head(model)
    head = sum(each.numel() for name, each in model.named_parameters() if name not in below)
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers) + head


def saved_bytes(config: PreTrainedConfig, rows: int, tokens: int) -> int:
    """Return the memory of what a forward pass in bf16 keeps for the backward pass, weights left out, but not their copies."""
    model, kept = AutoModelForSequenceClassification.from_config(config).train(), {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no other takes its place
        return tensor

    ids = torch.ones(rows, tokens, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def bytes_per_token(config: Callable[..., PreTrainedConfig], tokens: int = 128) -> tuple[float, float]:
    """Return what a token keeps in memory: in each layer, and outside of all."""
    found = {}
    for layers in (1, 2):
        small = config(num_hidden_layers=layers, vocab_size=1000, pad_token_id=0)
        found[layers] = (saved_bytes(small, 2, tokens) - saved_bytes(small, 1, tokens)) / tokens
    layer = found[2] - found[1]
    return layer, found[1] - layer


def frozen_in_half(config: PreTrainedConfig, model: PreTrainedModel) -> int:
    """Return how many weights LoRA leaves in half precision: those beside adapters, if the checkpoint has them so."""
    return sum(layer.weight.numel() for layer in layers_to_adapt(model).values()) if config.model_type == "llama" else 0


def state_bytes(count: int, way: str, gpus: int, trained: int, half: int) -> float:
    """Return the memory on each GPU of weights, their copy in half precision, gradients and moments.

    With LoRA, `trained` parameters are added, and `half` of the others are in half precision and need no copy.
    """
    if way == "LoRA, DDP":
        return 6 * count - 4 * half + 18 * trained
    return {"DDP": 18 * count, "ZeRO-2": 6 * count + 12 * count / gpus, "FSDP2, ZeRO-3": 18 * count / gpus}[way]


def flops_per_token(config: PreTrainedConfig, model: PreTrainedModel, way: str, tokens: int) -> float:
    """Return the arithmetic of a training step for each token: 2 for each weight and pass, and attention over `tokens`.

    The backward pass has two such passes, with LoRA one: it needs no gradients of the weights.
    """
    weights = parameters(model) - sum(each.weight.numel() for each in model.modules() if isinstance(each, nn.Embedding))
    passes = 2 if way.startswith("LoRA") else 3
    return passes * (2 * weights + 4 * config.num_hidden_layers * config.hidden_size * tokens)


def main() -> None:
    print(TEXT)
    print("| model | parameters | way | GPUs | states | activations | with checkpointing | tokens/s, thousands |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, config in MODELS.items():
        full = config()
        model, (layer, outside) = without_memory(full), bytes_per_token(config)
        count, trained, half = parameters(model), adapter_parameters(model, RANK), frozen_in_half(full, model)
        activations = TOKENS * (full.num_hidden_layers * layer + outside) / 1e9
        inputs = TOKENS * (full.num_hidden_layers * 4 * full.hidden_size + layer + outside) / 1e9
        for way, several in (("DDP", (1, 8)), ("LoRA, DDP", (1, 8)), ("ZeRO-2", (8, 64)), ("FSDP2, ZeRO-3", (8, 64))):
            for gpus in several:
                speed = gpus * SHARE * PEAK / flops_per_token(full, model, way, 512) / 1e3
                states = state_bytes(count, way, gpus, trained, half) / 1e9
                cells = [f"{count / 1e6:,.0f} M", way, f"{gpus}", f"{states:.1f}", f"{activations:.1f}", f"{inputs:.1f}"]
                print(f"| {name} | {' | '.join(cells)} | {speed:,.0f} |")


if __name__ == "__main__":
    main()
