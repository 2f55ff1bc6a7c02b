"""Columns that a script names in ROW_COLUMNS reach its loss as numbers, whole batches and parts alike, in every script."""

import json

import pytest
import torch
from conftest import make_choice_rows, make_rows, write_csv, write_jsonl

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import UserError
from utils.batches.cutting import cut_batch

TRAINERS = {
    "multilabel": "MultilabelTrainer",
    "classification": "ClassificationTrainer",
    "multiple_choice": "MultipleChoiceTrainer",
}
SCRIPTS = {"multilabel": run_multilabel, "classification": run_classification, "multiple_choice": run_multiple_choice}


def rows_of(kind):
    if kind == "multiple_choice":
        return make_choice_rows(40, 1)
    rows = make_rows(40, 1)
    return rows if kind == "multilabel" else [{"text": row["text"], "label": "ab"["defect" in row["labels"]]} for row in rows]


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_row_column_reaches_the_loss_beside_its_own_row(tmp_path, tiny_model, kind, monkeypatch):
    script, seen = SCRIPTS[kind], []
    trainer = next(
        value for name, value in vars(script).items() if name.endswith("Trainer") and value.__module__ == script.__name__
    )
    compute_loss = trainer.compute_loss

    def remember(self, model, inputs, *args, **kwargs):
        seen.append((self.is_in_train and model.training, inputs))
        return compute_loss(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(script, "ROW_COLUMNS", ("weight",))
    monkeypatch.setattr(trainer, "compute_loss", remember)
    train = write_jsonl(tmp_path / "train.jsonl", [row | {"weight": number / 4} for number, row in enumerate(rows_of(kind))])
    unlabelled = [{name: value for name, value in row.items() if name not in ("label", "labels")} for row in rows_of(kind)]
    unweighted = write_jsonl(tmp_path / "test.jsonl", unlabelled)  # rows to predict need no weight
    options = [
        f"--model_name_or_path={tiny_model}",
        f"--output_dir={tmp_path / 'o'}",
        "--num_train_epochs=1",
        "--linear_probe=False",
    ]
    script.main([*options, f"--train_file={train}", f"--test_file={unweighted}", "--max_tokens_per_batch=80"])
    parts = [inputs for training, inputs in seen if training]
    assert len(parts) > 4 and all(inputs["weight"].shape == (len(inputs["labels"]),) for inputs in parts)
    evaluated = [inputs["weight"] for training, inputs in seen if not training and "weight" in inputs]
    every = torch.cat([inputs["weight"] for inputs in parts] + evaluated)
    assert sorted(every.tolist()) == [number / 4 for number in range(40)]  # those of training and validation, once each


def test_parts_of_a_batch_keep_each_number_with_its_row():
    lengths = torch.tensor([3, 9, 5, 7])
    mask = (torch.arange(9) < lengths[:, None]).long()
    inputs = {"input_ids": mask * lengths[:, None], "attention_mask": mask, "labels": torch.eye(9)[:4], "weight": lengths.float()}
    parts = cut_batch(inputs, 12)
    assert len(parts) > 1 and sum(len(part["weight"]) for part in parts) == 4
    for part in parts:  # labels as wide as the texts are long are cut by row all the same
        assert part["labels"].shape == (len(part["weight"]), 9)
        assert (part["input_ids"].max(dim=1).values == part["weight"]).all()


@pytest.mark.parametrize(("cell", "found"), [("heavy", "'heavy'"), ("", "''"), ("nan", "'nan'")])
def test_a_cell_that_is_no_number_is_named_with_its_row(tmp_path, tiny_model, monkeypatch, cell, found):
    monkeypatch.setattr(run_classification, "ROW_COLUMNS", ("weight",))
    rows = [[row["text"], row["label"], number] for number, row in enumerate(rows_of("classification"))]
    rows[2][2] = cell
    train = write_csv(tmp_path / "train.csv", ["text", "label", "weight"], rows)
    options = [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}"]
    with pytest.raises(UserError, match=f"train.csv, line 4, column 'weight': found {found}, expected a number"):
        run_classification.main([f"--train_file={train}", *options])
    monkeypatch.setattr(run_classification, "ROW_COLUMNS", ("price",))
    with pytest.raises(UserError, match="has no column 'price'.*ROW_COLUMNS"):
        run_classification.main([f"--train_file={train}", *options])
    rows[2][2] = 0
    weighted = write_csv(tmp_path / "weighted.csv", ["text", "label", "price"], rows)
    with pytest.raises(UserError, match="train.csv has no column 'price'"):  # the loss of labelled rows needs it
        run_classification.main([f"--train_file={weighted}", f"--test_file={train}", *options])


def test_a_model_says_which_script_trained_it_and_its_card_that_pipeline_was_tried(tmp_path, tiny_model):
    train = write_jsonl(tmp_path / "train.jsonl", rows_of("classification"))
    run_classification.main([f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}"])
    assert json.loads((tmp_path / "o" / "config.json").read_text())["trained_by"] == "run_classification.py"
    assert "these lines give the script's probabilities" in (tmp_path / "o" / "README.md").read_text()


def test_a_metric_without_a_direction_is_refused_with_the_option_to_add(tmp_path, tiny_model, monkeypatch):
    scores = run_classification.scores

    def with_own(*args, **kwargs):
        return scores(*args, **kwargs) | {"mean_cost": 0.5}

    monkeypatch.setattr(run_classification, "scores", with_own)
    train = write_jsonl(tmp_path / "train.jsonl", rows_of("classification"))
    options = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}"]
    options += ["--metric_for_best_model=mean_cost", "--max_steps=1"]
    with pytest.raises(UserError, match="mean_cost: is a higher or a lower value better.*--greater_is_better"):
        run_classification.main(options)
    assert run_classification.main([*options, "--greater_is_better=False"])["eval_mean_cost"] == 0.5
    monkeypatch.setattr(run_classification, "METRIC_DIRECTIONS", {"mean_cost": "up"})
    with pytest.raises(UserError, match="METRIC_DIRECTIONS.*'mean_cost' is 'up', expected 'higher' or 'lower'"):
        run_classification.main(options)
    monkeypatch.setattr(run_classification, "scores", lambda *_, **__: {"mean_cost": [0.5, 0.5]})
    with pytest.raises(UserError, match="the metric 'mean_cost' is of type list, expected a number"):
        run_classification.main(options)
