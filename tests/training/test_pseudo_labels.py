"""--pseudo_labels: test rows are trained on as a finished run has labelled them, and in a fold as its own model has."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import LABELS, make_choice_rows, make_rows, write_csv, write_jsonl
from datasets import Dataset

import run_classification
import run_multilabel
import run_multiple_choice
from utils.files.rows import read_array
from utils.training.task import Task

STEPS = ["--max_steps=4", "--per_device_train_batch_size=8", "--learning_rate=1e-2", "--no_report"]


@pytest.fixture
def trained_on(monkeypatch) -> list[Dataset]:
    """The training rows of each run, before they are encoded."""
    found, encode = [], Task.encode

    def record(self, *args):
        if self.training:
            found.append(self.splits["train"])
        encode(self, *args)

    monkeypatch.setattr(Task, "encode", record)
    return found


def decided(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row["prediction"] for row in csv.DictReader(file)]


def labelled(count: int, seed: int) -> list[list]:
    rows = make_rows(count, seed)
    return [[row["id"], row["text"], (row["labels"] or ["none"])[0], len(row["text"]) / 7] for row in rows]


def multilabel(folder: Path) -> tuple:
    files = [write_jsonl(folder / f"{seed}.jsonl", make_rows(40 if seed else 12, seed)) for seed in (1, 0)]
    return run_multilabel, files, [], lambda cell: [float(label in cell.split(";")) for label in LABELS]


def classes(folder: Path) -> tuple:
    files = [write_csv(folder / f"{n}.csv", ["id", "text", "label"], [row[:3] for row in labelled(n, n)]) for n in (40, 12)]
    names = sorted({row[2] for row in labelled(40, 40)})
    return run_classification, files, [], names.index


def two_classes(folder: Path) -> tuple:
    rows = [[name, text, "yes" if number % 3 else "no"] for number, (name, text, *_) in enumerate(labelled(40, 1))]
    files = [write_csv(folder / f"{len(part)}.csv", ["id", "text", "label"], part) for part in (rows, rows[:12])]
    return run_classification, files, ["--binary_form=one_logit"], ["no", "yes"].index


def numbers(folder: Path) -> tuple:
    files = [
        write_csv(folder / f"{n}.csv", ["id", "text", "label"], [[*row[:2], row[3]] for row in labelled(n, n)]) for n in (40, 12)
    ]
    return run_classification, files, [], float


def choices(folder: Path) -> tuple:
    files = [write_jsonl(folder / f"{count}.jsonl", make_choice_rows(count)) for count in (40, 12)]
    return run_multiple_choice, files, [], int


@pytest.mark.parametrize("make", [multilabel, classes, two_classes, numbers, choices])
def test_test_rows_are_trained_on_as_they_were_decided(tiny_model, tmp_path, trained_on, make):
    script, (train, test), options, read = make(tmp_path)
    common = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", *STEPS, *options]
    first = script.main([*common, f"--output_dir={tmp_path / 'first'}"])
    again = script.main([*common, f"--pseudo_labels={tmp_path / 'first'}", f"--output_dir={tmp_path / 'again'}"])
    one, two = (read_array(rows, "labels") for rows in trained_on)
    expected = np.array([read(cell) for cell in decided(tmp_path / "first" / "predictions.csv")])
    assert len(two) == len(one) + 12 and np.array_equal(two[: len(one)], one)
    assert np.allclose(two[len(one) :], expected, rtol=1e-5)
    assert first["predict_loss"] != again["predict_loss"]


def test_a_fold_takes_the_labels_of_its_own_model(tiny_model, tmp_path, trained_on):
    files = {"train": make_rows(60), "test": [row | {"id": f"t{row['id']}"} for row in make_rows(12, 3)]}
    paths = [f"--{name}_file={write_jsonl(tmp_path / f'{name}.jsonl', rows)}" for name, rows in files.items()]
    common = [f"--model_name_or_path={tiny_model}", *paths, "--num_folds=3", *STEPS]
    run_multilabel.main([*common, f"--output_dir={tmp_path / 'first'}"])
    again = [*common, f"--pseudo_labels={tmp_path / 'first'}", f"--output_dir={tmp_path / 'again'}"]
    run_multilabel.main(again)
    for fold, rows in enumerate(trained_on[3:], 1):
        cells = decided(tmp_path / "first" / f"fold-{fold}" / "predictions.csv")
        expected = [[float(label in cell.split(";")) for label in LABELS] for cell in cells]
        assert np.array_equal(read_array(rows, "labels")[-12:], expected)
    validated = (tmp_path / "again" / "oof_predictions.csv").read_text()
    assert "\nr0," in validated and "\ntr0," not in validated  # nothing is scored against labels that were made up
    for other in (["--num_folds=2"], ["--seed=7"]):
        with pytest.raises(ValueError, match=r"the rows of fold 1 have to be labelled by a model that has not seen the rows"):
            run_multilabel.main([*again, *other, f"--output_dir={tmp_path / 'other'}"])


def test_what_does_not_fit_is_named(tiny_model, tmp_path):
    train, test, other = (write_jsonl(tmp_path / f"{n}.jsonl", make_rows(n, n)) for n in (40, 12, 14))
    common = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", *STEPS]
    run_multilabel.main([*common, f"--test_file={test}", f"--output_dir={tmp_path / 'first'}"])
    common += [f"--pseudo_labels={tmp_path / 'first'}", f"--output_dir={tmp_path / 'again'}"]
    with pytest.raises(ValueError, match=r"adds test rows to the training data: give --train_file and --test_file"):
        run_multilabel.main(common)
    with pytest.raises(ValueError, match=r"has not predicted 2 of the test rows, such as id r12"):
        run_multilabel.main([*common, f"--test_file={other}"])
    with pytest.raises(ValueError, match=r"holds no predictions.csv; expected the --output_dir of a run with --test_file"):
        run_multilabel.main([*common, f"--test_file={test}", f"--pseudo_labels={tmp_path}"])
    for rows, told in (
        ([{"text": row["text"]} for row in make_rows(12)], r"the test data has no column of ids; see --id_column_name"),
        (make_rows(12) + make_rows(1), r"the id 'r0' occurs twice in the test data"),
    ):
        with pytest.raises(ValueError, match=told):
            run_multilabel.main([*common, f"--test_file={write_jsonl(tmp_path / 'odd.jsonl', rows)}"])
    path = tmp_path / "first" / "report.json"
    facts = json.loads(path.read_text())
    for changed, told in (
        ({"labels": ["spam"]}, "knows other labels, spam: expected"),
        ({"kind": "numbers"}, "that predicts numbers"),
    ):
        path.write_text(json.dumps(facts | changed))
        with pytest.raises(ValueError, match=told):
            run_multilabel.main([*common, f"--test_file={test}"])
    path.unlink()
    with pytest.raises(ValueError, match=r"first holds no report.json; expected the --output_dir of a run with --test_file"):
        run_multilabel.main([*common, f"--test_file={test}"])
