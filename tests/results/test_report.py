"""What a run leaves in its folder: the scores of one run only, the predictions, and a model card with the saved thresholds."""

import csv
import json
import re
import runpy
import shutil

import numpy as np
import pytest
from conftest import ROOT, make_choice_rows, make_rows, write_csv, write_jsonl

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import Stopped, UserError
from utils.data.choices import ChoiceFormat
from utils.data.classes import ClassFormat
from utils.data.labels import UNKNOWN, LabelFormat
from utils.results import page, predictions
from utils.results.finished import read_run
from utils.results.predictions import guard, unguard, write_predictions


def read(folder, name):
    path = folder / f"{name}_results.json"
    return json.loads(path.read_text()) if path.is_file() else None


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("report")
    files = [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', make_rows(60, seed))}"
             for seed, name in enumerate(("train", "validation", "test"))]  # fmt: skip
    run_multilabel.main([f"--model_name_or_path={tiny_model}", f"--output_dir={folder / 'o'}", *files, "--num_train_epochs=2"])
    return folder / "o", files


@pytest.fixture
def model(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "model")


def predict(model, output, *arguments):
    return run_multilabel.main([f"--model_name_or_path={model}", f"--output_dir={output}", *arguments])


def test_a_folder_of_predictions_has_the_scores_of_the_last_run_only(trained, model, tmp_path):
    _, files = trained
    before = {name: read(model, name) for name in ("all", "train", "eval", "predict")}
    assert before["all"] == before["train"] | before["eval"] | before["predict"]
    predict(model, tmp_path / "p", files[1], files[2])
    assert read(tmp_path / "p", "all") == read(tmp_path / "p", "eval") | read(tmp_path / "p", "predict")
    unlabelled = write_jsonl(tmp_path / "u.jsonl", [{"text": "a lovely kettle"}])
    predict(model, tmp_path / "p", f"--test_file={unlabelled}")
    assert read(tmp_path / "p", "eval") is None and read(tmp_path / "p", "all") == read(tmp_path / "p", "predict")
    assert "predict_f1_macro" not in read(tmp_path / "p", "all")
    assert before == {name: read(model, name) for name in before}


def test_predicting_into_the_models_folder_replaces_the_scores_of_that_split_only(trained, model, tmp_path):
    before = {name: read(model, name) for name in ("train", "eval", "predict")}
    unlabelled = write_jsonl(tmp_path / "u.jsonl", [{"text": "a lovely kettle"}])
    predict(model, model, f"--test_file={unlabelled}")
    assert read(model, "train") == before["train"] and read(model, "eval") == before["eval"]
    assert "predict_f1_macro" in before["predict"] and "predict_f1_macro" not in read(model, "predict")
    assert read(model, "all") == before["train"] | before["eval"] | read(model, "predict")


def test_predicting_into_the_folder_of_another_model_leaves_its_training_scores_in_their_files(trained, model, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    train = read(other, "train")
    predict(model, other, trained[1][2])
    assert read(other, "train") == train and read(other, "all") == read(other, "predict")


def test_a_training_replaces_all_scores_also_where_no_model_was(trained, tmp_path, tiny_model):
    (tmp_path / "o").mkdir()
    for name in ("all", "predict"):
        (tmp_path / "o" / f"{name}_results.json").write_text('{"predict_loss": 9}')
    predict(tiny_model, tmp_path / "o", trained[1][0], "--max_steps=1")
    assert read(tmp_path / "o", "predict") is None and "predict_loss" not in read(tmp_path / "o", "all")


def test_the_card_shows_one_set_of_scores_at_the_saved_thresholds(trained):
    folder, _ = trained
    card, scores = (folder / "README.md").read_text(), read(folder, "eval")
    assert "More information needed" not in card and "It achieves" not in card
    assert not re.search("per.second|flops|padding|truncated", card, flags=re.IGNORECASE)
    assert f"| f1_macro | {scores['eval_f1_macro']:.3f} |" in card and card.count("## Validation scores") == 1
    columns = "| Training Loss | Epoch | Step | Validation Loss | Average Precision Micro |"
    assert columns in card and "F1" not in card
    assert 'classify(["a text"]' in card and "text_pair" not in card
    threshold = json.loads((folder / "thresholds.json").read_text())["refund"]
    assert f"| refund | {threshold:.3f} |" in card


def test_a_run_that_is_interrupted_while_its_report_is_made_is_finished_and_says_how_to_make_it(
    tmp_path, trained, tiny_model, monkeypatch, caplog, report
):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "write_page", interrupt)
    caplog.set_level("INFO")
    with pytest.raises(Stopped, match="the run is finished, but for its report, which this makes: python tools/report.py .*/o$"):
        predict(tiny_model, tmp_path / "o", *trained[1], "--max_steps=1")
    assert "Test scores" in caplog.text and (tmp_path / "o" / "args.yaml").is_file()
    monkeypatch.undo()
    runpy.run_path(str(ROOT / "tools" / "report.py"))["main"]([str(tmp_path / "o")])
    assert "<title>o</title>" in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")


def test_a_card_without_evaluations(tmp_path, trained, tiny_model):
    arguments = [trained[1][0], "--max_steps=1", "--validation_fraction=0"]
    predict(tiny_model, tmp_path / "o", *arguments)
    card = (tmp_path / "o" / "README.md").read_text()
    assert "More information needed" not in card and "### Training results" not in card and "This was not tried" in card


def test_texts_are_cut_and_can_be_left_out(tmp_path, trained, model):
    rows = [{"id": "a", "text": 'two\nlines, "quoted"'}, {"id": "b", "text": "kettle " * 100}]
    test = write_jsonl(tmp_path / "t.jsonl", rows)
    predict(model, tmp_path / "p", f"--test_file={test}")
    with (tmp_path / "p" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [rows[0]["text"], ("kettle " * 100)[:200]]
    predict(model, tmp_path / "p", f"--test_file={test}", "--no_text")
    assert "kettle" not in (tmp_path / "p" / "predictions.csv").read_text()


def test_columns_of_the_row_give_way_to_labels_of_the_same_name(tmp_path, tiny_model):
    rows = [{"text": row["text"], "label": "text" if row["labels"] else "label"} for row in make_rows(20)]
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    test = write_jsonl(tmp_path / "b.jsonl", rows)
    base = [f"--train_file={file}", f"--test_file={test}", "--max_steps=1", f"--output_dir={tmp_path / 'o'}"]
    run_classification.main([f"--model_name_or_path={tiny_model}", *base])
    with (tmp_path / "o" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["row", "label", "text", "prediction", "test_label", "test_text"]
    assert [(row["test_label"], row["test_text"]) for row in found] == [(row["label"], row["text"]) for row in rows]


def test_six_digits_and_line_breaks_within_quotes(tmp_path):
    path, texts = tmp_path / "p.csv", ["a\rb", "c\nd", "e"]
    probabilities = np.array([[0.123456789, 1e-9], [np.nan, 1.0], [1 / 3, 2 / 3]])
    write_predictions(path, "id", [1, 2, 3], ["x", "y"], probabilities, {"prediction": [1.23456789, "x", 2]}, {"text": texts})
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "x", "y", "prediction", "text"],
        ["1", "0.123457", "1e-09", "1.23457", "a\rb"],
        ["2", "", "1", "x", "c\nd"],
        ["3", "0.333333", "0.666667", "2", "e"],
    ]


def test_of_many_labels_the_most_probable_are_written_and_all_are_kept(tmp_path, model, trained, monkeypatch, report):
    monkeypatch.setattr(predictions, "MOST_COLUMNS", 2)
    monkeypatch.setattr(predictions, "MOST_PROBABLE", 2)
    folder, test = tmp_path / "p", trained[1][2]
    predict(model, folder, test, "--all_probabilities")
    wide, scores = read_run(folder), read(folder, "predict")
    names = wide.names
    assert len(names) > 2 and not (folder / "predictions.npy").exists()
    predict(model, folder, test)
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "most_probable", "prediction", "label", "text"]
    every = np.load(folder / "predictions.npy")
    assert every.dtype == np.float32 and every.shape == (60, len(names))
    for row, probabilities in zip(rows, every, strict=True):
        found = [cell.rsplit(" ", 1) for cell in row["most_probable"].split(";")]
        assert [name for name, _ in found] == [names[label] for label in np.argsort(-probabilities, kind="stable")[:2]]
        assert [float(value) for _, value in found] == pytest.approx(sorted(probabilities)[:-3:-1], rel=1e-5)
    compact = read_run(folder)
    assert compact.evaluations["test"].probabilities == pytest.approx(wide.evaluations["test"].probabilities, rel=1e-5)
    assert (compact.evaluations["test"].truth == wide.evaluations["test"].truth).all() and (folder / "report.html").is_file()
    again, timed = read(folder, "predict"), ("per_second", "time")
    assert again.keys() == scores.keys()
    for name in (name for name in again if not any(word in name for word in timed)):
        assert again[name] == pytest.approx(scores[name], rel=1e-4, abs=1e-6)
    (folder / "predictions.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"predictions.npy is not whole: run it again"):
        read_run(folder)
    (folder / "predictions.npy").unlink()
    with pytest.raises(UserError, match=r"has the most probable labels only: predictions.npy, which has all, must lie beside it"):
        read_run(folder)
    predict(model, folder, test, "--all_probabilities")
    assert not (folder / "predictions.npy").exists()


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        *(
            (cell, f"'{cell}")
            for cell in ("=1+1", "+49 170", "-", "- item", "@SUM(A1)", "\tx", "\r=x", "-1e", "--1", "'=x", "-5\n")
        ),
        *((cell, cell) for cell in ("", "a=b", "-1.5", "+3", "-.5", "-1e-09", "'x", "1=1", " =1", -1.5, 3, None)),
    ],
)
def test_cells_that_a_spreadsheet_would_run_are_guarded(cell, written):
    assert guard(cell) == written
    assert not isinstance(cell, str) or unguard(written) == cell


def test_safe_files_are_read_back_as_they_were(tmp_path, tiny_model):
    rows = [{"id": f"@{n}", "text": f"={row['text']}", "labels": ["-a", "b"][: 1 + n % 2]} for n, row in enumerate(make_rows(30))]
    sample = write_csv(tmp_path / "sample.csv", ["id", "-a", "b"], [[row["id"], 0, 0] for row in rows])
    train, test = (write_jsonl(tmp_path / f"{name}.jsonl", rows) for name in ("train", "test"))
    options = ["--problem_type=multi_label_classification", "--safe_csv", f"--sample_submission={sample}", "--max_steps=1"]
    predict(tiny_model, tmp_path / "o", f"--train_file={train}", f"--test_file={test}", "--threshold=0.0001", *options)
    for name in ("predictions.csv", "validation_predictions.csv", "submission.csv"):
        with (tmp_path / "o" / name).open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert {"'-a", "b"} <= set(cells) and not [cell for cell in cells if cell.startswith(("=", "@", "-"))]
    with (tmp_path / "o" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["prediction"] == "'-a;b"
    found = read_run(tmp_path / "o").evaluations["test"]
    assert found.ids == [row["id"] for row in rows] and found.texts == [row["text"] for row in rows]
    assert found.names == ["-a", "b"] and found.truth.tolist() == [[1, n % 2] for n in range(30)]


def score_train(script, rows, model, folder, *options):
    train = write_jsonl(folder / "train.jsonl", rows)
    base = [f"--model_name_or_path={model}", f"--train_file={train}", f"--output_dir={folder / 'o'}", "--metrics_on_train"]
    return script.main([*base, "--num_train_epochs=2", *options])


def test_scores_of_the_training_rows_stand_beside_the_metrics_of_the_training(tmp_path, tiny_model, caplog):
    caplog.set_level("INFO", logger="utils")
    # 36 rows train and are no multiple of the batch: none may count twice
    metrics = score_train(run_classification, [row | {"label": "no" if row["labels"] else "yes"} for row in make_rows(40)],
                          tiny_model, tmp_path, "--label_column_name=label", "--learning_rate=1e-3")  # fmt: skip
    assert metrics["train_no_support"] + metrics["train_yes_support"] == 36 and 0 <= metrics["train_accuracy"] <= 1
    log = json.loads((tmp_path / "o" / "trainer_state.json").read_text())["log_history"]
    (training,) = (entry for entry in log if "train_loss" in entry)
    assert metrics["train_loss"] == pytest.approx(training["train_loss"])
    assert metrics["train_loss_after_training"] < metrics["train_loss"] and metrics["train_runtime"] == training["train_runtime"]
    assert read(tmp_path / "o", "train").items() <= metrics.items() and "train_accuracy" in read(tmp_path / "o", "train")
    assert [line for line in caplog.messages if line.endswith(" scores")] == ["\nTrain scores", "\nValidation scores"]


def test_scores_of_the_training_rows_in_the_other_scripts(tmp_path, tiny_model):
    for script, rows, expected in (
        (run_multilabel, make_rows(30), "train_f1_macro"),
        (run_multiple_choice, make_choice_rows(30), "train_mean_reciprocal_rank"),
    ):
        (tmp_path / script.__name__).mkdir()
        assert expected in score_train(script, rows, tiny_model, tmp_path / script.__name__, "--max_steps=1")


def test_nothing_trained_has_no_scores_of_training_rows(trained):
    with pytest.raises(UserError, match="--metrics_on_train: nothing is trained"):
        predict("no model is loaded", "o", trained[1][2], "--metrics_on_train")


def test_labels_in_words():
    labels = LabelFormat("list of names", ["labels"], ["a", "b"])
    assert [labels.words(row) for row in np.array([[1, 0.7], [0, 0], [UNKNOWN, 1], [UNKNOWN] * 2])] == ["a;b", "", "?a;b", "?"]
    for form, targets in (
        ("two_logits", np.array([1, int(UNKNOWN), 0])),
        ("one_logit", np.array([[1], [np.nan], [0]])),
        ("one_hot", np.array([[0, 1], [np.nan] * 2, [1, 0]])),
    ):
        assert [ClassFormat("binary", form, "label", ["a", "b"]).words(row) for row in targets] == ["b", "", "a"]
    numbers = ClassFormat("regression", "number", "label", ["label"])
    assert [numbers.words(row) for row in np.array([0.5, np.nan])] == ["0.5", ""]
    choices = ChoiceFormat("context", None, ["choices"], "label")
    assert [choices.words(row) for row in np.array([2, int(UNKNOWN)])] == ["2", ""]
