"""benchmarks/scaling.py: its arithmetic is what a training on this machine holds in memory."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, LlamaConfig

from benchmarks import scaling
from utils.training.lora import widen_all_but_frozen


def small(**options: int) -> BertConfig:
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 4, "vocab_size": 1000}
    return BertConfig(**{**sizes, **options})


def test_parameters_are_those_of_the_published_models():
    found = {name: scaling.parameters(scaling.without_memory(config())) / 1e6 for name, config in scaling.MODELS.items()}
    assert found == pytest.approx(
        {"BERT-base": 110, "ModernBERT-large": 395, "Llama-3.2-1B": 1236, "Llama-3.1-8B": 7505}, rel=0.01
    )


def test_states_are_those_of_a_step():
    model = AutoModelForSequenceClassification.from_config(small())
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.ones(2, 8, dtype=torch.long), labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    held = [tensor for each in model.parameters() for tensor in (each, each.grad)]
    held += [tensor for state in optimizer.state.values() for tensor in state.values() if tensor.dim()]
    count = scaling.parameters(model)
    measured = sum(tensor.nbytes for tensor in held) + 2 * count  # in half precision a copy of the weights
    assert scaling.state_bytes(count, "DDP", 1, count, 0) == measured
    assert scaling.state_bytes(count, "FSDP2, ZeRO-3", 4, count, 0) == measured / 4


def test_adapters_are_those_of_peft():
    minilm = BertConfig(hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12, num_labels=28)
    model = scaling.without_memory(minilm)  # benchmarks/lora.md has what peft trained of it
    assert [scaling.adapter_parameters(model, rank) for rank in (4, 16)] == [324_508, 822_172]


def test_weights_in_half_precision_are_those_of_a_training_with_adapters():
    config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=500)
    model = AutoModelForSequenceClassification.from_config(config).bfloat16()
    count, half = scaling.parameters(model), scaling.frozen_in_half(config, model)
    widen_all_but_frozen(model)
    measured = sum(parameter.nbytes for parameter in model.parameters()) + 2 * (count - half)  # and copies of the others
    assert half and scaling.state_bytes(count, "LoRA, DDP", 1, 0, half) == measured


def test_layers_keep_what_was_extrapolated():
    layer, outside = scaling.bytes_per_token(small, tokens=32)
    measured = scaling.saved_bytes(small(), 3, 32) - scaling.saved_bytes(small(), 1, 32)
    assert 2 * 32 * (4 * layer + outside) == pytest.approx(measured, rel=0.02)
