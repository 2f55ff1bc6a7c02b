"""--linear_probe: a new head is fitted alone before the training. --early_stopping_patience: it may end before its last epoch."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import LABELS, make_rows, one_hot, write_jsonl
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import UserError
from utils.training.head import STRENGTHS
from utils.training.trainer import FineTuningTrainer

UNMOVED = ("--linear_probe", "--learning_rate=1e-12", "--max_steps=1", "--fp16=False", "--validation_fraction=0")


def of_one_label(count: int, seed: int = 0) -> list[dict]:
    return [{"text": row["text"], "label": row["labels"][0]} for row in make_rows(count, seed) if len(row["labels"]) == 1]


def train(script, model, folder, rows, *more) -> dict[str, float]:
    path = write_jsonl(folder / "train.jsonl", rows)
    return script.main([f"--model_name_or_path={model}", f"--train_file={path}", f"--output_dir={folder / 'o'}", *more])


@pytest.mark.parametrize("script", [run_classification, run_multilabel])
def test_the_head_is_that_of_scikit_learn(script, tiny_model, tmp_path):
    rows = of_one_label(300) if script is run_classification else make_rows(150)
    train(script, tiny_model, tmp_path, rows, *UNMOVED)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "o")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "o").eval()
    tokens = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        features = model.bert(**tokens).pooler_output.numpy()
    centered = features - features.mean(axis=0)
    scaled, weight = centered / centered.std(), model.classifier.weight.detach().numpy() * centered.std()
    if script is run_classification:
        targets, names = [row["label"] for row in rows], sorted(LABELS)
        found = [LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(scaled, targets).coef_ for c in STRENGTHS]
        assert [model.config.id2label[i] for i in range(4)] == names
    else:
        columns = np.array([one_hot(row) for row in rows]).T
        found = [[LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(scaled, column).coef_[0] for column in columns]
                 for c in STRENGTHS]  # fmt: skip
    assert min(np.abs(weight - np.array(coefficients)).max() for coefficients in found) < 0.01


@pytest.mark.parametrize("half", [True, False])
def test_the_head_is_fitted_in_the_precision_of_the_training(half, tiny_model, tmp_path, monkeypatch):
    read, found = FineTuningTrainer.model_outputs, []

    def recorded(self, model, inputs):
        if self.optimizer is None:  # not yet in training
            found.append(torch.is_autocast_enabled("cpu"))
        return read(self, model, inputs)

    monkeypatch.setattr(FineTuningTrainer, "model_outputs", recorded)
    train(run_classification, tiny_model, tmp_path, of_one_label(60), *UNMOVED, f"--bf16={half}")
    assert any(found) == half


def test_the_pooler_tells_rows_apart(tiny_model, tmp_path):
    rows = of_one_label(300)
    train(run_classification, tiny_model, tmp_path, rows, *UNMOVED)
    tokens = AutoTokenizer.from_pretrained(tiny_model)([row["text"] for row in rows], padding=True, return_tensors="pt")
    spreads = []
    for folder in (tiny_model, tmp_path / "o"):
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            given = model.bert.pooler.dense(model.bert(**tokens).last_hidden_state[:, 0])
        spreads.append((given.mean(dim=0), given.std(dim=0)))
    (_, before), (mean, after) = spreads
    assert before.max() < 0.5 and mean.abs().max() < 0.01 and (after - 1).abs().max() < 0.01


def test_candidates_and_numbers_are_better_told_than_before(tiny_model, tmp_path):
    choices = [{"question": "which is about it", "choices": [row["text"], other["text"]], "label": 0}
               for row, other in zip(of_one_label(200), make_rows(200, 3), strict=False) if not other["labels"]]  # fmt: skip
    choices = [row if number % 2 else {**row, "choices": row["choices"][::-1], "label": 1} for number, row in enumerate(choices)]
    numbers = [{"text": row["text"], "label": len(row["labels"]) + 0.5} for row in make_rows(200)]
    metrics = {}
    for script, rows in ((run_multiple_choice, choices), (run_classification, numbers)):
        for probe in ("True", "False"):
            more = [*UNMOVED[1:], f"--linear_probe={probe}", "--overwrite_output_dir", "--metrics_on_train"]
            metrics[script.__name__, probe] = train(script, tiny_model, tmp_path, rows, *more)
    assert metrics["run_multiple_choice", "True"]["train_accuracy"] > metrics["run_multiple_choice", "False"]["train_accuracy"]
    assert metrics["run_classification", "True"]["train_mse"] < 0.5 * metrics["run_classification", "False"]["train_mse"]


def test_beside_adapters_the_head_is_fitted_too(tiny_model, tmp_path, caplog):
    caplog.set_level("INFO")
    options = [*UNMOVED, "--use_peft", "--metrics_on_train"]
    metrics = train(run_multilabel, tiny_model, tmp_path, make_rows(150), *options)
    assert "the new head was fitted alone" in caplog.text and metrics["train_average_precision_micro"] > 0.8


@pytest.mark.parametrize(
    ("more", "obstacle"),
    [(["--long_texts=windows"], "gives a row several vectors"), (["--max_train_samples=9"], "fewer than 10 training rows")],
)
def test_where_it_cannot_be_done_a_line_says_so(tiny_model, tmp_path, caplog, more, obstacle):
    train(run_multilabel, tiny_model, tmp_path, make_rows(60), *UNMOVED, *more)
    assert "--linear_probe: the head is not fitted alone, because" in caplog.text and obstacle in caplog.text
    caplog.clear()
    more = [*UNMOVED, "--ignore_mismatched_sizes"]
    run_multilabel.main([f"--model_name_or_path={tmp_path / 'o'}", f"--train_file={tmp_path / 'train.jsonl'}",
                         f"--output_dir={tmp_path / 'again'}", *more])  # fmt: skip
    assert "because the model's head is not new" in caplog.text
    assert "fitted alone" not in (tmp_path / "again" / "README.md").read_text()


def rates(folder) -> set[float]:
    """The learning rates of a run's groups of parameters."""
    (checkpoint,) = folder.glob("checkpoint-*")
    groups = torch.load(checkpoint / "optimizer.pt", weights_only=True)["param_groups"]
    return {group["initial_lr"] for group in groups}


def test_a_fitted_head_learns_as_fast_as_the_encoder_unless_it_is_said_how_fast(tiny_model, tmp_path):
    options = ["--learning_rate=1e-3", "--max_steps=1", "--keep_checkpoints", "--overwrite_output_dir", "--save_strategy=steps"]
    options += ["--save_steps=1", "--eval_strategy=no"]
    for more, expected in (
        (["--linear_probe=False"], {1e-3, 1e-2}),
        (["--linear_probe"], {1e-3}),
        (["--linear_probe", "--head_learning_rate_multiplier=5"], {1e-3, 5e-3}),
    ):
        train(run_multilabel, tiny_model, tmp_path, make_rows(60), *options, *more)
        assert {round(rate, 9) for rate in rates(tmp_path / "o")} == expected, more


def test_a_new_head_for_classes_or_labels_is_fitted_alone_unless_it_is_said_otherwise(tiny_model, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")

    def fitted(script, rows: list[dict], *more) -> bool:
        caplog.clear()
        train(script, tiny_model, tmp_path, rows, *UNMOVED[1:], "--overwrite_output_dir", *more)
        return "the new head was fitted alone" in caplog.text

    for more in ((), ("--learning_rate=5e-5",), ("--head_learning_rate_multiplier=2",)):
        assert fitted(run_multilabel, make_rows(60), *more)
    assert fitted(run_classification, of_one_label(60))
    monkeypatch.setattr("utils.training.task.MOST_ROWS", 1500)
    assert fitted(run_multilabel, make_rows(1599)) and not fitted(run_multilabel, make_rows(1600))  # 400 for each label
    monkeypatch.setattr("utils.training.task.MOST_ROWS", 1601)
    assert fitted(run_multilabel, make_rows(1600)) and not fitted(run_multilabel, make_rows(1601))
    assert not fitted(run_multilabel, make_rows(9)) and not fitted(run_multilabel, make_rows(60), "--linear_probe=False")
    assert not fitted(run_classification, [{"text": row["text"], "label": len(row["labels"]) + 0.5} for row in make_rows(60)])
    monkeypatch.setattr("utils.training.task.MOST_CELLS", 4 * 60)
    assert fitted(run_multilabel, make_rows(60)) and not fitted(run_multilabel, make_rows(61))


def test_a_fitted_head_and_its_encoder_have_some_steps_at_least(tiny_model, tmp_path, caplog):
    caplog.set_level("INFO")
    for count, more, expected in (
        (60, (), "12 epochs instead of 3, as one epoch has only 2 steps for 4 labels"),
        (20, (), "12 epochs instead of 3, as one epoch has only 1 step for 4 labels"),
        (200, (), "6 epochs instead of 3, as one epoch has only 7 steps for 4 labels"),  # 40 steps, ten for each label
        (60, ("--per_device_train_batch_size=4",), None),
        (
            60,
            ("--per_device_train_batch_size=4", "--gradient_accumulation_steps=2"),
            "5 epochs instead of 3, as one epoch has only 8 steps",
        ),
        (60, ("--num_train_epochs=3",), None),
        (60, ("--max_steps=2",), None),
        (60, ("--linear_probe=False",), None),
        (1604, ("--per_device_train_batch_size=400",), None),  # so many for each label are not few
    ):
        caplog.clear()
        train(run_multilabel, tiny_model, tmp_path, make_rows(count), "--check_data", "--validation_fraction=0", *more)
        assert (expected in caplog.text) if expected else ("epochs instead" not in caplog.text), (count, more)
    metrics = train(run_multilabel, tiny_model, tmp_path, make_rows(60), "--validation_fraction=0")
    assert metrics["epoch"] == 12


def test_a_head_that_is_not_new_is_trained_as_before(tiny_model, tmp_path, caplog):
    train(run_multilabel, tiny_model, tmp_path, make_rows(60), "--max_steps=1")
    assert "- linear_probe: the new head was fitted alone first" in (tmp_path / "o" / "README.md").read_text()
    caplog.set_level("INFO")
    caplog.clear()
    path = f"--train_file={tmp_path / 'train.jsonl'}"
    run_multilabel.main([f"--model_name_or_path={tmp_path / 'o'}", path, f"--output_dir={tmp_path / 'p'}", "--max_steps=1"])
    assert "fitted alone" not in caplog.text and "epochs instead" not in caplog.text


EPOCHS = ("--learning_rate=1e-12", "--num_train_epochs=8", "--early_stopping_patience=2", "--keep_checkpoints")


def test_training_ends_after_so_many_evaluations_that_were_not_better_and_a_resumed_one_too(tiny_model, tmp_path, caplog):
    options = (*EPOCHS, "--save_total_limit=9")
    caplog.set_level("INFO")
    metrics = train(run_multilabel, tiny_model, tmp_path, make_rows(60), *options)
    assert (
        metrics["epoch"] == 3.0
        and "stopped early, at epoch 3 of 8: average_precision_micro was not better in the last 2" in caplog.text
    )
    folders = sorted((tmp_path / "o").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for number, folder in enumerate(folders):
        again = tmp_path / str(number)
        again.mkdir()
        for earlier in folders[: number + 1]:
            shutil.copytree(earlier, again / earlier.name)
        path = f"--train_file={tmp_path / 'train.jsonl'}"
        run_multilabel.main([f"--model_name_or_path={tiny_model}", path, f"--output_dir={again}", *options])
        state = json.loads((again / "trainer_state.json").read_text(encoding="utf-8"))
        assert state["epoch"] == 3.0, folder.name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--eval_strategy=no"], "--early_stopping_patience: nothing is evaluated during the training; leave out"),
        (
            ["--validation_fraction=0"],
            "--early_stopping_patience: nothing is evaluated during the training; give validation data",
        ),
        (["--early_stopping_patience=0"], "--early_stopping_patience 0: expected at least 1"),
    ],
)
def test_patience_without_evaluations_is_refused(tiny_model, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        train(run_multilabel, tiny_model, tmp_path, make_rows(60), *EPOCHS, *more)
