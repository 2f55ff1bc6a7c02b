"""benchmarks/gpu.py, as far as a machine without a GPU can try it."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from benchmarks import gpu

LONG = gpu.LENGTHS["as in Jigsaw"]


def test_every_way_sees_the_same_rows_and_the_scripts_least_padding():
    rows = gpu.make_rows(64, *LONG)
    seen, padding = {}, {}
    for name, way in gpu.WAYS.items():
        found = list(gpu.batches(rows, 8, way, LONG[-1]))
        texts = [(ids, mask) for each in found for ids, mask in zip(each["input_ids"], each["attention_mask"], strict=True)]
        seen[name] = sorted(tuple(ids[mask == 1].tolist()) for ids, mask in texts)
        padding[name] = sum(each["input_ids"].numel() for each in found)
    assert all(texts == sorted(tuple(row.tolist()) for row in rows) for texts in seen.values())
    assert padding["bf16, by length (the scripts)"] < padding["bf16, random order"] < padding["float32, padded to the limit"]


def test_the_arithmetic_that_is_counted_is_that_of_the_model():
    """A row of n tokens takes three times the operations of a forward pass, as torch counts them."""
    (config,) = gpu.models(tiny=True).values()
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    rows = [np.array([10] + [100] * 63)] * 4
    (batch,) = gpu.batches(rows, 4, gpu.Way(), 64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    found = gpu.measure(model, rows, 4, gpu.Way(), 64)
    assert found["flops"] / found["rows/s"] * 4 == pytest.approx(3 * counter.get_total_flops(), rel=0.02)
    assert found["padding"] == 0


@pytest.mark.slow
def test_the_kit_measures_all_that_needs_no_gpu():
    text = gpu.main(["--tiny", "--minutes=30"])
    for name in gpu.WAYS:
        assert text.count(f"| {name} |") == (0 if "compile" in name else 2 * len(gpu.models(tiny=True)))
    skipped = text.split("Not measured:")[1].strip().splitlines()
    assert all(any(word in line for word in ("compile", "fp16", "FSDP2")) for line in skipped), skipped
    assert "| ours |" in text and "| plain Trainer, best flags |" in text and "Reading the loss in every step: " in text


def test_a_part_without_time_is_named():
    report = gpu.Report(minutes=0)
    with report.part("a product"):
        report.check_time()
        raise AssertionError
    assert report.skipped == ["- a product: TimeoutError: no time was left"]
