"""Which evaluation's weights are kept: the best, or a later one that is within chance of it."""

import json
import re

import pytest
from conftest import make_rows, write_jsonl
from safetensors.numpy import load_file

import run_classification

ONE_LABEL = [{"text": row["text"], "label": row["labels"][0]} for row in make_rows(90) if len(row["labels"]) == 1]
TRAIN, VALIDATION = ONE_LABEL[:16], ONE_LABEL[16:41]
LITERALLY = "--load_best_model_at_end"


@pytest.fixture
def scripted(monkeypatch):
    """A function that lets the evaluations of a training have the given accuracies."""

    own = run_classification.compute_metrics

    def script(*accuracies: float) -> None:
        left = iter(accuracies)
        monkeypatch.setattr(
            run_classification, "compute_metrics", lambda *args, **kw: own(*args, **kw) | {"accuracy": next(left)}
        )

    return script


@pytest.fixture
def train(tiny_model, tmp_path, caplog):
    """A function that trains, and returns the epoch whose weights were kept, and what was said of it."""
    caplog.set_level("INFO", logger="utils")
    files = {name: write_jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in (("train", TRAIN), ("validation", VALIDATION))}
    output, shared = tmp_path / "o", [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}"]
    shared += [f"--{name}_file={path}" for name, path in files.items()]

    def run(*options: str) -> tuple[int, str]:
        run_classification.main([*shared, "--num_train_epochs=3", "--save_total_limit=3", *options])
        state = json.loads((output / "trainer_state.json").read_text())
        name = "eval_loss" if "--metric_for_best_model=loss" in options else "eval_accuracy"
        scores = {entry["step"]: entry[name] for entry in state["log_history"] if name in entry}
        assert state["best_metric"] == scores[state["best_global_step"]]
        told = next(message for message in caplog.messages if message.startswith("\nkept"))
        caplog.clear()
        return state["best_global_step"] // (state["max_steps"] // 3), told.strip()

    return run


# The standard error of 0.8 of 25 rows is 0.08.
@pytest.mark.parametrize(
    ("accuracies", "options", "kept"),
    [
        ((0.6, 0.8, 0.76), (), 3),
        ((0.8, 0.76, 0.6), (), 2),
        ((0.8, 0.74, 0.69), (), 2),  # not by small steps away from the best
        ((0.8, 0.7, 0.7), (), 1),
        ((0.5, 0.5, 0.5), (), 3),
        ((0.5, 0.6, 0.9), (), 3),
        ((0.6, 0.8, 0.76), (LITERALLY,), 2),
        ((0.5, 0.5, 0.5), (LITERALLY,), 1),
        ((0.6, 0.8, 0.76), ("--save_strategy=best",), 2),
        ((0.6, 0.8, 0.76), ("--early_stopping_patience=2",), 2),
    ],
)
def test_the_latest_within_chance_of_the_best_is_kept_unless_the_best_is_asked_for(accuracies, options, kept, scripted, train):
    scripted(*accuracies)
    epoch, told = train(*options)
    own, best = accuracies[kept - 1], max(accuracies)
    assert epoch == kept and told.startswith(f"kept the weights of epoch {kept} of 3: accuracy {own:.3f} on the validation data")
    other, equal = f"; with 25 rows, an earlier {best:.3f} is within chance (--load_best_model_at_end keeps the highest)", ""
    if accuracies.count(best) > 1:
        equal = f", the {'first' if options else 'last'} of {accuracies.count(best)} equal ones"
    assert told.endswith(f" was the highest{equal}" if own == best else other)


def test_what_is_saved_and_predicted_is_what_is_kept(scripted, train, tmp_path):
    scripted(0.8, 0.76, 0.6)
    train("--keep_checkpoints", f"--test_file={write_jsonl(tmp_path / 'test.jsonl', VALIDATION)}")
    saved, kept = load_file(tmp_path / "o/model.safetensors"), load_file(tmp_path / "o/checkpoint-2/model.safetensors")
    assert saved.keys() == kept.keys() and all((saved[name] == kept[name]).all() for name in kept)
    validated, predicted = ((tmp_path / "o" / name).read_text() for name in ("validation_predictions.csv", "predictions.csv"))
    assert re.findall(r"0\.\d+", validated) == re.findall(r"0\.\d+", predicted)


def test_a_resumed_training_keeps_the_same(scripted, train, tmp_path):
    scripted(0.8, 0.76, 0.6)
    whole = train("--keep_checkpoints")
    scripted(0.6)
    assert train(f"--resume_from_checkpoint={tmp_path / 'o/checkpoint-2'}", "--overwrite_output_dir") == whole


def test_a_loss_has_no_such_chance_but_a_later_equal_one_is_kept(train):
    epoch, told = train("--metric_for_best_model=loss", "--learning_rate=1e-12")
    assert "was the lowest" in told and re.match(rf"kept the weights of epoch {epoch} of 3: loss", told)
