"""The learning rate of a run that names none: 5e-5 for an encoder as wide as BERT-base, more for a narrower one."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_rows, write_jsonl

import run_multilabel


@pytest.fixture
def run(tiny_model, tmp_path, caplog):
    """A function that runs with an encoder of the given width, or of the tiny one's, and returns what is said of the rate."""
    caplog.set_level("INFO", logger="utils")
    model = shutil.copytree(tiny_model, tmp_path / "model")
    train = write_jsonl(tmp_path / "train.jsonl", make_rows(40))

    def run(*options: str, width: int | None = None) -> list[str]:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | ({"hidden_size": width} if width else {})))
        run_multilabel.main(
            [f"--model_name_or_path={model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}", *options]
        )
        said = [message for message in caplog.messages if message.startswith("learning rate")]
        caplog.clear()
        return said

    return run


@pytest.mark.parametrize(
    ("width", "options", "rate"),
    [
        (768, (), None),
        (1024, (), None),
        (512, (), "7.5e-05"),
        (384, (), "0.0001"),
        (64, (), "0.0002"),
        (384, ("--learning_rate=3e-5",), None),
    ],
)
def test_a_narrow_encoder_learns_faster_and_the_run_says_so(width, options, rate, run):
    told = f"learning rate {rate}: the encoder is {width} wide (--learning_rate chooses another; 5e-05 is that of BERT-base)"
    assert run("--check_data", *options, width=width) == ([told] if rate else [])


def rate_of(folder: Path) -> float:
    return torch.load(folder / "training_args.bin", weights_only=False).learning_rate


def test_it_trains_with_the_rate_that_it_names_in_each_fold(run, tmp_path):
    run("--num_folds=2", "--max_steps=1")
    assert [rate_of(tmp_path / "o" / f"fold-{fold}") for fold in (1, 2)] == [2e-4, 2e-4]


def test_a_rate_that_is_given_is_taken_as_it_is(run, tmp_path):
    assert run("--learning_rate=1e-5", "--max_steps=1") == [] and rate_of(tmp_path / "o") == 1e-5
