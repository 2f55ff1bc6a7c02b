import csv
import json

import pytest
from conftest import LABELS, launch, make_choice_rows, make_rows, write_jsonl

import run_classification
import run_multilabel
import run_multiple_choice
from tools import report as report_tool
from utils.results import assessment
from utils.results.finished import read_run

pytestmark = pytest.mark.usefixtures("report")


def single(row):
    return {"id": row["id"], "text": row["text"], "label": (row["labels"] or LABELS)[0]}


CASES = {
    "labels": (run_multilabel, make_rows(120), "average_precision_micro"),
    "classes": (run_classification, [single(row) for row in make_rows(120)], "accuracy"),
    "numbers": (
        run_classification,
        [{"text": row["text"], "label": len(row["labels"]) + 0.5} for row in make_rows(120)],
        "pearson",
    ),
    "choices": (run_multiple_choice, make_choice_rows(120), "accuracy"),
}


def files_of(folder, rows):
    splits = {"train": rows[:60], "validation": rows[60:90], "test": rows[90:]}
    return [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', part)}" for name, part in splits.items()]


def train(script, folder, rows, tiny_model, *more):
    options = ["--num_train_epochs=2", "--learning_rate=1e-3", "--fp16=False", f"--output_dir={folder / 'o'}", *more]
    return script.main([f"--model_name_or_path={tiny_model}", *files_of(folder, rows), *options])


@pytest.mark.parametrize("kind", CASES)
def test_a_run_says_how_far_to_trust_its_scores(kind, tmp_path, tiny_model, caplog):
    script, rows, metric = CASES[kind]
    metrics = train(script, tmp_path, rows, tiny_model)
    told, folder = caplog.text, tmp_path / "o"
    assert json.loads((folder / "all_results.json").read_text()) == pytest.approx(metrics, nan_ok=True)
    for prefix in ("eval", "predict"):
        low, value, high = (metrics[f"{prefix}_{metric}{end}"] for end in ("_low", "", "_high"))
        assert low <= value <= high and low < high
        assert {f"{prefix}_{baseline}_{metric}" for baseline in ("baseline", "majority")} <= set(metrics) or metric == "pearson"
    assert f"{metrics[f'eval_{metric}_low']:.3f} to {metrics[f'eval_{metric}_high']:.3f}" in told
    if kind == "choices":
        assert metrics["predict_majority_accuracy"] == pytest.approx(metrics["predict_accuracy_of_chance"])
        assert metrics["predict_majority_mean_reciprocal_rank"] > metrics["predict_majority_accuracy"]
    assert f"{metrics[f'predict_{metric}_low']:.3f} to" in (folder / "README.md").read_text()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert metric in page and "/tmp" not in page
    report_tool.main([str(folder)])
    assert (folder / "report.html").read_text(encoding="utf-8") == page  # all that it shows is in the folder


def test_predicting_into_a_folder_reports_what_is_that_models(tmp_path, tiny_model, caplog):
    rows = [single(row) for row in make_rows(120)]
    train(run_classification, tmp_path, rows, tiny_model, "--no_baseline")
    own, other = tmp_path / "o", tmp_path / "other"
    test = write_jsonl(tmp_path / "new.jsonl", rows[60:80])
    run_classification.main([f"--model_name_or_path={own}", f"--test_file={test}", f"--output_dir={own}"])
    assert {name: len(found) for name, found in read_run(own).evaluations.items()} == {"validation": 30, "test": 20}
    page = (own / "report.html").read_text(encoding="utf-8")
    report_tool.main([str(own)])
    assert (own / "report.html").read_text(encoding="utf-8") == page
    named = [{"text": row["text"], "label": f"{row['label']}!"} for row in rows]
    (tmp_path / "named").mkdir()
    train(run_classification, tmp_path / "named", named, tiny_model, "--no_baseline", f"--output_dir={other}")
    run_classification.main([f"--model_name_or_path={own}", f"--test_file={test}", f"--output_dir={other}"])
    found = read_run(other)
    assert list(found.evaluations) == ["test"] and not found.history and "no report" not in caplog.text
    assert (other / "report.html").is_file()
    run_classification.main([f"--model_name_or_path={own}", f"--test_file={test}", f"--output_dir={other}", "--no_report"])
    assert not (other / "report.html").exists() and not (other / "label_issues.csv").exists()  # they were of the run before
    unlabelled = write_jsonl(tmp_path / "unlabelled.jsonl", [{"text": row["text"]} for row in rows[:3]])
    run_classification.main([f"--model_name_or_path={own}", f"--test_file={unlabelled}", f"--output_dir={own}"])
    assert "no report: no labelled rows were evaluated" in caplog.text and (own / "report.html").is_file()
    options = ["--metrics_on_train", "--validation_fraction=0", "--max_steps=1", f"--output_dir={tmp_path / 'train'}"]
    train_file = write_jsonl(tmp_path / "only.jsonl", rows[:20])
    metrics = run_classification.main([f"--model_name_or_path={tiny_model}", f"--train_file={train_file}", *options])
    assert "train_accuracy" in metrics and not (tmp_path / "train" / "report.html").exists()


def test_suspects_come_with_file_and_line(tmp_path, tiny_model):
    rows = [single(row) for row in make_rows(200)]
    for row in rows[190:]:  # a word of another label
        row["label"] = next(label for label in LABELS if label != row["label"])
    train(run_classification, tmp_path, rows, tiny_model, "--num_train_epochs=12", "--safe_csv")
    with (tmp_path / "o" / "label_issues.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["split"] for row in found} <= {"validation", "test"} and found
    for row in found:
        file, line = row["place"].split(", line ")
        given = json.loads((tmp_path / file.rsplit("/", 1)[-1]).read_text().splitlines()[int(line) - 1])
        assert (given["id"], given["label"], given["text"]) == (row["id"], row["given"], row["text"])
        assert row["suggested"] in LABELS and row["suggested"] != row["given"] and 0 <= float(row["probability_of_given"]) <= 1


def test_what_is_not_wanted_is_left_out_and_can_be_made_later(tmp_path, tiny_model):
    metrics = train(run_multilabel, tmp_path, CASES["labels"][1], tiny_model, "--no_report")
    folder = tmp_path / "o"
    assert not [name for name in metrics if "baseline" in name or name.endswith("_low")]
    assert not any((folder / name).exists() for name in ("report.html", "label_issues.csv"))
    report_tool.main([str(folder)])
    assert read_run(folder).evaluations["test"].names == LABELS and "95 % interval" in (folder / "report.html").read_text()
    metrics = train(run_multilabel, tmp_path, CASES["labels"][1], tiny_model, "--no_baseline", "--overwrite_output_dir")
    assert "predict_f1_micro_low" in metrics and not [name for name in metrics if "baseline" in name]


def test_tf_idf_is_left_out_where_there_are_too_many_labels(tmp_path, tiny_model, monkeypatch, caplog):
    monkeypatch.setattr(assessment, "MOST_LABELS", 2)
    metrics = train(run_multilabel, tmp_path, make_rows(120), tiny_model)
    assert "predict_majority_f1_macro" in metrics and "predict_baseline_f1_macro" not in metrics
    assert f"no TF-IDF: it would be fitted for each of {len(LABELS)} labels; at most 2 are" in caplog.text
    assert (tmp_path / "o" / "report.html").is_file()


def test_a_report_costs_no_run(tmp_path, tiny_model, monkeypatch, caplog):
    monkeypatch.setattr("utils.results.assessment.intervals", lambda *_: 1 / 0)
    train(run_multilabel, tmp_path, CASES["labels"][1], tiny_model)
    assert "no report: ZeroDivisionError: division by zero" in caplog.text and (tmp_path / "o" / "args.yaml").is_file()


@pytest.mark.slow
def test_a_folder_without_a_run_is_named(tmp_path):
    result = launch("python", "tools/report.py", str(tmp_path), check=False)
    assert result.returncode == 2 and result.stderr.strip().startswith(f"error: {tmp_path} holds no report.json")


def test_tensorboard_gets_figures_and_final_scores(tmp_path, tiny_model, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    metrics = train(run_multilabel, tmp_path, CASES["labels"][1], tiny_model, "--report_to=tensorboard")
    found = [accumulator.EventAccumulator(str(path)) for path in (tmp_path / "logs").iterdir()]
    for each in found:
        each.Reload()
    images = {tag for each in found for tag in each.Tags()["images"]}
    assert "ROC curves" in images and "Reliability" in images
    (last,) = (each for each in found if "test/f1_macro" in each.Tags()["scalars"])
    assert last.Scalars("test/f1_macro")[-1].value == pytest.approx(metrics["predict_f1_macro"])
