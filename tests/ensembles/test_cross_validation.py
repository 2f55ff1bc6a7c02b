"""--num_folds: each row is predicted by a model that has not seen it, and a run that was killed goes on."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import LABELS, ROOT, make_choice_rows, make_rows, write_csv, write_jsonl

import run_classification
import run_multilabel
import run_multiple_choice

TRAINING = ["--learning_rate", "2e-3", "--num_train_epochs", "2", "--per_device_train_batch_size", "16"]
WRITTEN = ("oof_predictions.csv", "predictions.csv", "thresholds.json", "args.yaml")


@pytest.fixture(scope="module")
def options(tiny_model, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("folds")
    rows = make_rows(90)
    for number, row in enumerate(rows):
        row["author"] = f"a{number % 30}"
    files = {
        "train": write_jsonl(folder / "train.jsonl", rows),
        "test": write_jsonl(folder / "test.jsonl", make_rows(20, seed=5)),
    }
    named = [word for split, path in files.items() for word in (f"--{split}_file", path)]
    return ["--model_name_or_path", tiny_model, *named, "--num_folds", "3", "--group_column_name", "author", *TRAINING]


@pytest.fixture(scope="module")
def folds(options, tmp_path_factory):
    """A run of three folds, with its report."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run_multilabel.main([*options, "--output_dir", str(folder)])
    return folder


def read(path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities(rows: list[dict]) -> np.ndarray:
    return np.array([[float(row[label]) for label in LABELS] for row in rows])


def same_files(one, other) -> None:
    for name in WRITTEN[:-1]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    own = [(folder, other / folder.name) for folder in sorted(one.glob("fold-*"))]
    assert len(own) == len(list(other.glob("fold-*")))
    for fold, same in own:
        for name in ("model.safetensors", "predictions.csv", "validation_predictions.csv"):
            assert (fold / name).read_bytes() == (same / name).read_bytes(), (fold, name)


def test_every_row_is_predicted_once_by_a_model_that_has_not_seen_its_author(folds):
    own = [read(folds / f"fold-{fold}" / "validation_predictions.csv") for fold in (1, 2, 3)]
    authors = [{int(row["id"][1:]) % 30 for row in rows} for rows in own]
    assert not authors[0] & authors[1] and not authors[0] & authors[2] and not authors[1] & authors[2]
    together = read(folds / "oof_predictions.csv")
    assert [row["id"] for row in together] == [f"r{number}" for number in range(90)]
    by_id = {row["id"]: row for rows in own for row in rows}
    np.testing.assert_allclose(probabilities(together), probabilities([by_id[row["id"]] for row in together]), rtol=1e-5)
    thresholds = json.loads((folds / "thresholds.json").read_text())
    decided = [{label for label in LABELS if float(row[label]) >= thresholds[label]} for row in together]
    assert (
        sum(set(filter(None, row["prediction"].split(";"))) != labels for row, labels in zip(together, decided, strict=True)) < 3
    )
    rows = read(folds / "predictions.csv")
    parts = [probabilities(read(folds / f"fold-{fold}" / "predictions.csv")) for fold in (1, 2, 3)]
    np.testing.assert_allclose(probabilities(rows), np.mean(parts, axis=0), rtol=2e-5)


def test_scores_are_those_of_all_rows_and_of_the_folds(folds):
    found = json.loads((folds / "all_results.json").read_text())
    own = [json.loads((folds / f"fold-{fold}" / "all_results.json").read_text())["eval_f1_macro"] for fold in (1, 2, 3)]
    assert found["eval_f1_macro_mean_of_folds"] == pytest.approx(np.mean(own))
    assert found["eval_f1_macro_deviation_of_folds"] == pytest.approx(np.std(own, ddof=1))
    truth = np.array([[label in row["label"].split(";") for label in LABELS] for row in read(folds / "oof_predictions.csv")])
    decided = np.array(
        [[label in row["prediction"].split(";") for label in LABELS] for row in read(folds / "oof_predictions.csv")]
    )
    f1 = 2 * (truth & decided).sum(axis=0) / (truth.sum(axis=0) + decided.sum(axis=0))
    assert found["eval_f1_macro"] == pytest.approx(f1.mean())
    assert "predict_f1_macro" in found


def test_finished_folds_are_not_trained_again(folds, options, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(folds, folder)
    shutil.rmtree(folder / "fold-2")
    (folder / "args.yaml").unlink()
    before = (folder / "fold-1" / "model.safetensors").stat().st_mtime_ns
    run_multilabel.main([*options, "--output_dir", str(folder)])
    assert (folder / "fold-1" / "model.safetensors").stat().st_mtime_ns == before
    same_files(folds, folder)
    with pytest.raises(ValueError, match=r"fold-1 belongs to a run with other options or data: --weight_decay was 0.01, is 0.5"):
        run_multilabel.main([*options, "--output_dir", str(folder), "--weight_decay", "0.5"])


def test_folds_that_have_predicted_other_rows_are_not_put_together(folds, options, tmp_path):
    other = write_jsonl(tmp_path / "other.jsonl", make_rows(20, seed=6))
    before = {path: path.read_bytes() for path in folds.rglob("*") if path.is_file()}
    for files in ([*options, "--test_file", other], [*options[:4], *options[6:]]):
        with pytest.raises(ValueError, match=r"fold-1 belongs to a run with other options or data: the test data was 20 rows"):
            run_multilabel.main([*files, "--output_dir", str(folds)])
    assert before == {path: path.read_bytes() for path in folds.rglob("*") if path.is_file()}


def test_all_models_together_predict_other_rows(folds, options, tmp_path):
    command = ["--model_name_or_path", str(folds), *options[4:6]]  # the rows that the training has predicted, too
    metrics = run_multilabel.main([*command, "--output_dir", str(tmp_path / "out")])
    assert (tmp_path / "out" / "report.html").is_file() and not list((tmp_path / "out").rglob("*.safetensors"))
    for name in ("predictions.csv", "thresholds.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folds / name).read_bytes()
    assert metrics["predict_f1_macro"] == json.loads((folds / "all_results.json").read_text())["predict_f1_macro"]
    saved = (tmp_path / "out" / "args.yaml").read_text()
    assert f"model_name_or_path: {folds}\n" in saved and "no_report" not in saved

    ids = [row["id"] for row in read(folds / "predictions.csv")]
    sample = write_csv(tmp_path / "sample.csv", ["id", *LABELS], [[name, *[0] * len(LABELS)] for name in reversed(ids)])
    own = ["--output_dir", str(tmp_path / "other"), "--threshold", "0.3", "--no_report", "--sample_submission", sample]
    run_multilabel.main([*command, *own])
    assert set(json.loads((tmp_path / "other" / "thresholds.json").read_text()).values()) == {0.3}
    assert (tmp_path / "other" / "submission.csv").is_file() and not (tmp_path / "other" / "report.html").exists()
    unlabelled = write_jsonl(tmp_path / "new.jsonl", [{"id": "n1", "text": "late"}])
    other = ["--model_name_or_path", str(folds), "--test_file", unlabelled, "--output_dir", str(tmp_path / "other")]
    assert run_multilabel.main(other) == {}  # and nothing of the rows before is left
    assert not {"submission.csv", "predict_results.json"} & {path.name for path in (tmp_path / "other").iterdir()}


def test_a_folder_of_folds_is_not_trained_further(folds, options, tmp_path):
    with pytest.raises(ValueError, match=r"such as .*fold-1; to predict with all of them leave out --train_file"):
        run_multilabel.main(["--model_name_or_path", str(folds), *options[2:6], "--output_dir", str(tmp_path)])
    with pytest.raises(ValueError, match=r"holds a model for each fold: name one, such as .*fold-1; all of them together"):
        run_multilabel.main(["--model_name_or_path", str(folds), "--text", "late"])
    part = tmp_path / "part"
    shutil.copytree(folds, part)
    shutil.rmtree(part / "fold-2")
    for name in ("oof_predictions.csv", "report.json"):  # a model is gone, and then nothing says that there was a third
        (part / name).unlink()
        with pytest.raises(ValueError, match=r"part holds 2 models of folds, and its run is not whole"):
            run_multilabel.main(["--model_name_or_path", str(part), *options[4:6], "--output_dir", str(tmp_path / "p")])
    for folder in (folds, folds / "fold-1"):
        with pytest.raises(ValueError, match=r"holds models: name a folder of its own"):
            run_multilabel.main(["--model_name_or_path", str(folds), *options[4:6], "--output_dir", str(folder)])
    with pytest.raises(ValueError, match=r"to predict with them leave out --num_folds, to train further name one, such as"):
        run_multilabel.main(["--model_name_or_path", str(folds), *options[2:8], "--output_dir", str(tmp_path / "n")])


def test_a_smoke_test_tries_a_fold(caplog):
    with caplog.at_level("INFO"):
        run_classification.main(["--smoke_test", "--num_folds", "4"])
    assert "fold 1 of 4" in caplog.text and "smoke test passed" in caplog.text


@pytest.mark.slow
def test_folds_as_processes_and_a_killed_run_give_identical_files(options, tmp_path):
    options = [*options, "--num_folds", "5", "--num_train_epochs", "1", "--no_report"]
    whole, single, killed = (tmp_path / name for name in ("whole", "single", "killed"))
    run_multilabel.main([*options, "--output_dir", str(whole)])
    command = [sys.executable, "run_multilabel.py", *options]
    for fold in (3, 1, 5, 2, 4):
        subprocess.run([*command, "--output_dir", str(single), "--fold", str(fold)], cwd=ROOT, check=True, capture_output=True)
    run_multilabel.main([*options, "--output_dir", str(single)])  # collects them
    same_files(whole, single)
    for fold in (1, 2):
        shutil.copytree(single / f"fold-{fold}", killed / f"fold-{fold}")
    process = subprocess.Popen([*command, "--output_dir", str(killed)], cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((killed / "fold-3").glob("checkpoint-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "args.yaml").exists() and not (killed / "fold-3" / "args.yaml").exists()
    subprocess.run([*command, "--output_dir", str(killed)], cwd=ROOT, check=True, capture_output=True, env=os.environ)
    same_files(whole, killed)


def test_folds_of_classes_numbers_and_choices(tiny_model, tmp_path):
    rows = [row for row in make_rows(90) if len(row["labels"]) == 1]
    classes = write_csv(tmp_path / "classes.csv", ["text", "label"], [[row["text"], row["labels"][0]] for row in rows])
    numbers = write_csv(tmp_path / "numbers.csv", ["text", "label"], [[row["text"], len(row["text"]) / 7] for row in rows])
    choices = write_jsonl(tmp_path / "choices.jsonl", make_choice_rows(40))
    common = ["--model_name_or_path", tiny_model, "--num_folds", "2", "--max_steps", "4", "--no_report"]
    for name, script, path, metric in (
        ("classes", run_classification, classes, "eval_accuracy"),
        ("numbers", run_classification, numbers, "eval_mse"),
        ("choices", run_multiple_choice, choices, "eval_accuracy"),
    ):
        task = ["--problem_type", "regression"] if name == "numbers" else []
        metrics = script.main([*common, *task, "--train_file", path, "--output_dir", str(tmp_path / name)])
        written = read(tmp_path / name / "oof_predictions.csv")
        assert metric in metrics and len(written) == len(rows if name != "choices" else make_choice_rows(40))
        if name != "choices":  # no ids: the rows of the training data are numbered
            assert [row["row"] for row in written] == [str(number) for number in range(len(rows))]
            assert [row["text"] for row in written] == [row["text"] for row in rows]


def at_least_one(probabilities, thresholds):
    """Decide on the most probable label where none reaches its threshold."""
    best = np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None]
    return (probabilities >= thresholds) | (best & ~(probabilities >= thresholds).any(axis=1, keepdims=True))


def test_an_own_decision_and_an_own_metric_are_those_of_all_folds_together(options, tmp_path, monkeypatch, report):
    scores = run_multilabel.scores

    def more_scores(probabilities, targets, names, thresholds=0.5, per_label=False):
        found = scores(probabilities, targets, names, thresholds, per_label)
        return found | {"share_of_rows": 1.0 - float(thresholds is None)} if found else found

    monkeypatch.setattr(run_multilabel, "present", at_least_one)
    monkeypatch.setattr(run_multilabel, "scores", more_scores)
    monkeypatch.setattr(run_multilabel, "METRIC_DIRECTIONS", {"share_of_rows": "higher"})
    few = ["--threshold", "0.99", "--max_steps", "2", "--metric_for_best_model", "share_of_rows"]
    metrics = run_multilabel.main([*options, *few, "--output_dir", str(tmp_path / "out")])
    assert metrics["eval_share_of_rows_mean_of_folds"] == 1.0
    for rows in (read(tmp_path / "out" / name) for name in ("oof_predictions.csv", "predictions.csv")):
        for row, decided in zip(rows, at_least_one(probabilities(rows), 0.99), strict=True):
            assert row["prediction"] == ";".join(np.array(LABELS)[decided]) != ""
    right = np.mean([row["prediction"] == row["label"] for row in read(tmp_path / "out" / "oof_predictions.csv")])
    assert metrics["eval_accuracy"] == pytest.approx(right)
    assert metrics["eval_accuracy_low"] <= right <= metrics["eval_accuracy_high"]
    predicted = ["--model_name_or_path", str(tmp_path / "out"), "--test_file", options[options.index("--test_file") + 1]]
    run_multilabel.main([*predicted, "--output_dir", str(tmp_path / "later")])
    assert all(row["prediction"] for row in read(tmp_path / "later" / "predictions.csv"))


def test_check_data_names_near_repeats_across_folds(tiny_model, tmp_path, caplog):
    rows = make_rows(40)
    long = [" ".join(row["text"] for row in make_rows(5, seed=seed)) for seed in range(40)]
    for row, text in zip(rows, long, strict=True):
        row["text"] = text
    rows[30]["text"] = rows[2]["text"] + " indeed"
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    seeds = (str(seed) for seed in range(10))
    with caplog.at_level("WARNING"):
        while "nearly the same" not in caplog.text:  # until a seed puts them into different folds
            run_multilabel.main(
                ["--train_file", path, "--num_folds", "4", "--check_data", "--output_dir", str(tmp_path), "--seed", next(seeds)]
            )
    assert f"{path}, line 3" in caplog.text and f"{path}, line 31" in caplog.text
