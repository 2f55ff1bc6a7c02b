"""--ema: what is evaluated and kept is the average; what goes on training is not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import launch_two_processes, make_rows, write_jsonl
from safetensors.torch import load_file
from torch.optim import SGD

import run_multilabel
from utils.training.trainer import FineTuningTrainer

STEPS = ["--per_device_train_batch_size", "8", "--learning_rate", "1e-3", "--warmup_steps", "0", "--ema", "0.9"]


@pytest.fixture
def options(tiny_model, tmp_path) -> list[str]:
    files = {"train": make_rows(64), "validation": make_rows(32, seed=1), "test": make_rows(16, seed=2)}
    named = [f"--{name}_file={write_jsonl(tmp_path / f'{name}.jsonl', rows)}" for name, rows in files.items()]
    return ["--model_name_or_path", tiny_model, *named, *STEPS]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_average_is_that_of_the_weights_after_each_step(options, tmp_path, monkeypatch):
    seen = []
    step = FineTuningTrainer.training_step

    def record(self, model, *args, **kwargs):
        seen.append({name: parameter.detach().clone() for name, parameter in self.model.named_parameters()})
        return step(self, model, *args, **kwargs)

    monkeypatch.setattr(FineTuningTrainer, "training_step", record)
    run_multilabel.main([*options, f"--output_dir={tmp_path / 'o'}", "--max_steps=6", "--keep_checkpoints"])
    raw = load_file(tmp_path / "o" / "checkpoint-6" / "raw_weights.safetensors")
    name = "classifier.weight"
    trajectory = [each[name] for each in seen[1:]] + [raw[name]]  # after each step
    expected = seen[0][name]
    for number, value in enumerate(trajectory, 1):
        decay = min(0.9, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(weights(tmp_path / "o")[name], expected)
    torch.testing.assert_close(weights(tmp_path / "o" / "checkpoint-6")[name], expected)
    assert (raw[name] - expected).abs().max() > 1e-4


def test_a_resumed_run_ends_with_the_same_average(options, tmp_path):
    options += ["--num_train_epochs=2", "--save_strategy=steps", "--save_steps=5", "--eval_strategy=steps", "--eval_steps=5"]
    whole = [*options, f"--output_dir={tmp_path / 'whole'}", "--keep_checkpoints", "--save_total_limit=9"]
    found = run_multilabel.main(whole)
    part = tmp_path / "part"
    shutil.copytree(tmp_path / "whole" / "checkpoint-5", part / "checkpoint-5")
    run_multilabel.main([*options, f"--output_dir={part}"])
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(part)[name], value), name
    assert (part / "predictions.csv").read_bytes() == (tmp_path / "whole" / "predictions.csv").read_bytes()
    saved = json.loads((part / "all_results.json").read_text())
    assert saved["eval_loss"] == found["eval_loss"]


def test_accumulation_gives_the_same_average(options, tmp_path, monkeypatch):
    monkeypatch.setattr(FineTuningTrainer, "create_optimizer", _plain_descent)  # Adam would blow up rounding
    for cut in (1, 4):
        own = [f"--per_device_train_batch_size={8 // cut}", f"--gradient_accumulation_steps={cut}", "--max_steps=4"]
        run_multilabel.main([*options, *own, f"--output_dir={tmp_path / str(cut)}"])
    for name, value in weights(tmp_path / "1").items():
        torch.testing.assert_close(weights(tmp_path / "4")[name], value, atol=1e-6, rtol=1e-5)


def _plain_descent(self, model=None):
    self.optimizer = SGD([parameter for parameter in self.model.parameters() if parameter.requires_grad], lr=0.05)
    return self.optimizer


@pytest.mark.slow
def test_two_processes_give_the_average_of_one(options, tmp_path):
    common = [*options, "--max_steps=3", "--optim=sgd", "--learning_rate=0.05"]
    run_multilabel.main([*common, f"--output_dir={tmp_path / 'one'}", "--per_device_train_batch_size=8"])
    two = [*common, f"--output_dir={tmp_path / 'two'}", "--per_device_train_batch_size=4"]
    launch_two_processes("run_multilabel", [two], tmp_path)
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, atol=1e-6, rtol=1e-5)
