"""Kaggle's own files, where they lie beside this repository; skipped where they do not."""

import csv

import pytest
from conftest import CHROMIUM, ROOT, check_pages

import run_multilabel

DATA = ROOT.parent / "shared" / "data" / "jigsaw_toxic"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA}")


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_kaggles_test_file_and_sample_submission(tmp_path, tiny_model):
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={DATA / 'validation.csv.gz'}", "--max_train_samples=64"]
    kaggle = [f"--test_file={DATA / 'kaggle_test.csv'}", f"--sample_submission={DATA / 'kaggle_sample_submission.csv'}"]
    run_multilabel.main([*base, *kaggle, "--max_steps=2", f"--output_dir={tmp_path}"])
    sample, submission = read(DATA / "kaggle_sample_submission.csv"), read(tmp_path / "submission.csv")
    predictions = {row["id"]: row for row in read(tmp_path / "predictions.csv")}
    assert list(submission[0]) == list(sample[0]) and len(submission) == len(predictions) == 1000
    assert [row["id"] for row in submission] == [row["id"] for row in sample]
    for row in submission:
        assert {name: predictions[row["id"]][name] for name in row if name != "id"} == {
            name: f"{float(value):.6g}" for name, value in row.items() if name != "id"
        }
    assert list(predictions) == [row["id"] for row in read(DATA / "kaggle_test.csv")]


@pytest.mark.usefixtures("report")
def test_the_page_of_kaggles_comments(tmp_path, tiny_model):
    files = [f"--train_file={DATA / 'train.csv.gz'}", f"--validation_file={DATA / 'validation.csv.gz'}"]
    few = ["--max_train_samples=500", "--max_eval_samples=500", "--max_predict_samples=500", "--max_steps=2"]
    files += [f"--test_file={DATA / 'test.csv.gz'}", f"--output_dir={tmp_path}"]
    metrics = run_multilabel.main([f"--model_name_or_path={tiny_model}", *files, *few])
    assert metrics["predict_baseline_roc_auc_micro"] > 0.8
    if CHROMIUM:
        check_pages(tmp_path / "report.html")
