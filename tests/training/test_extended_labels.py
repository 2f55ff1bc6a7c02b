"""--extend_labels: a trained model gets labels that it did not have, and keeps what it knows of the others."""

import csv

import numpy as np
import pytest
from conftest import LABELS, make_rows, write_jsonl

import run_classification
import run_mlm
import run_multilabel
from utils.arguments import UserError

OLD = [label for label in LABELS if label != "delivery"]  # the new one comes between them


def without_delivery(rows: list[dict]) -> list[dict]:
    return [row | {"labels": [label for label in row["labels"] if label in OLD]} for row in rows]


def single(rows: list[dict]) -> list[dict]:
    return [{"text": row["text"], "label": row["labels"][0]} for row in rows if len(row["labels"]) == 1]


@pytest.fixture
def run(tmp_path, tiny_model):
    def run(script, model, folder, train, *more) -> dict[str, float]:
        test = single(make_rows(80, 5)) if script is run_classification else make_rows(40, 5)
        files = [f"--{name}_file={write_jsonl(tmp_path / f'{name}.jsonl', rows)}"
                 for name, rows in (("train", train), ("validation", train[:40]), ("test", test))]  # fmt: skip
        files = files[:2] if folder == "old" else files  # whose labels the old model does not have
        model = tiny_model if model is None else tmp_path / model
        arguments = [f"--model_name_or_path={model}", f"--output_dir={tmp_path / folder}", *files, "--no_report"]
        return script.main([*arguments, "--learning_rate=5e-3", "--num_train_epochs=8", "--linear_probe=False", *more])

    return run


def logits_of(path, names: list[str]) -> np.ndarray:
    with path.open(newline="", encoding="utf-8") as file:
        rows = np.array([[float(row[name]) for name in names] for row in csv.DictReader(file)])
    return np.log(rows) - np.log(1 - rows)


UNMOVED = ("--extend_labels", "--learning_rate=1e-12", "--max_steps=1", "--fp16=False")


def test_known_labels_stay_as_they_are_and_a_new_one_starts_at_its_frequency(run, tmp_path):
    run(run_multilabel, None, "old", without_delivery(make_rows(160, 0)))
    rows = make_rows(400, 1)
    run(run_multilabel, "old", "unmoved", rows, *UNMOVED)
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"text": row["text"]} for row in make_rows(40, 5)])
    alone = [f"--model_name_or_path={tmp_path / 'old'}", f"--output_dir={tmp_path / 'p'}", f"--test_file={texts}", "--no_report"]
    run_multilabel.main(alone)
    before, after = (logits_of(tmp_path / folder / "predictions.csv", OLD) for folder in ("p", "unmoved"))
    np.testing.assert_allclose(after, before, atol=0.02)  # of probabilities that are rounded to six digits
    share = np.mean(["delivery" in row["labels"] for row in rows])
    new = logits_of(tmp_path / "unmoved" / "predictions.csv", ["delivery"])
    assert new.mean() == pytest.approx(np.log(share / (1 - share)), abs=0.6)

    metrics = run(run_multilabel, "old", "new", rows, "--extend_labels", "--num_train_epochs=20", "--learning_rate=2e-3")
    assert [label for label in LABELS if metrics[f"predict_{label}_roc_auc"] < 0.8] == [], metrics


def test_classes_are_added_to_each_other(run, tmp_path, caplog):
    rows = single(make_rows(300, 0))
    run(run_classification, None, "old", [row for row in rows if row["label"] in OLD])
    with caplog.at_level("INFO"):
        run(run_classification, "old", "unmoved", rows, *UNMOVED)
    assert "labels added to those of the model: delivery" in caplog.text
    metrics = run(run_classification, "old", "new", rows, "--extend_labels")
    assert metrics["predict_accuracy"] > 0.8


def test_what_cannot_be_extended_is_said_before_training(run, tmp_path):
    rows = make_rows(60, 1)
    run(run_multilabel, None, "old", rows, "--max_steps=1")
    with pytest.raises(UserError, match="other labels: .* or --extend_labels to add labels to it"):
        run(run_multilabel, "old", "new", [row | {"labels": [*row["labels"], "more"][:3]} for row in rows])
    other = [row | {"labels": [label.replace("refund", "return") for label in row["labels"]]} for row in rows]
    with pytest.raises(UserError, match="--extend_labels: the training data lacks refund, which .* and would make it forget"):
        run(run_multilabel, "old", "new", other, "--extend_labels", "--do_train")
    with pytest.raises(UserError, match="--extend_labels: .* has no head with a logit for each of several labels; leave it out"):
        run(run_multilabel, None, "new", rows, "--extend_labels")
    with pytest.raises(UserError, match="--extend_labels"):
        run_mlm.main([f"--train_file={tmp_path / 'train.jsonl'}", "--extend_labels"])
    assert not (tmp_path / "new").exists()
