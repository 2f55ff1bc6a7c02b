"""Calibrated runs: what the saved model gives, what is reported, what stays as it was, and what is refused."""

import csv
import logging

import numpy as np
import pytest
import torch
from conftest import LABELS, make_choice_rows, make_rows, one_hot, write_jsonl
from safetensors.torch import load_file
from scipy.special import expit, softmax
from sklearn.metrics import log_loss
from transformers import BertForSequenceClassification, pipeline

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import UserError
from utils.files.cells import UNKNOWN
from utils.publishing.model_card import use_as_described
from utils.scoring.calibration import fit_label_temperatures, fit_temperature
from utils.scoring.metrics import calibration_scores

OPTIONS = ["--learning_rate=8e-3", "--head_learning_rate_multiplier=1", "--num_train_epochs=4", "--load_best_model_at_end=False"]
OPTIONS += ["--eval_strategy=no", "--save_strategy=no", "--disable_tqdm"]
CALIBRATE = "--calibrate=temperature"
TOPICS = ["defect", "delivery", "praise"]


def topic_rows(count, seed, write=lambda label: label):
    rows = [row for row in make_rows(8 * count, seed) if len(row["labels"]) == 1 and row["labels"][0] in TOPICS]
    return [{"id": row["id"], "text": row["text"], "label": write(row["labels"][0])} for row in rows[:count]]


def label_rows(count, seed):
    return [{"id": row["id"], "text": row["text"], "labels": row["labels"]} for row in make_rows(count, seed)]


def files_of(folder, make, *write):
    sizes = {"train": 64, "validation": 40, "test": 20}
    rows = {name: make(size, seed, *write) for seed, (name, size) in enumerate(sizes.items())}
    return [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', split)}" for name, split in rows.items()], rows["test"]


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def agrees_with_pipeline(output, test):
    classify = pipeline("text-classification", model=str(output), top_k=None)
    rows = zip(classify([row["text"] for row in test]), read_csv(output / "predictions.csv"), strict=True)
    return max(abs(score["score"] - float(row[score["label"]])) for found, row in rows for score in found) < 1e-4


def test_a_finished_run_can_be_calibrated_later_and_is_not_scaled_twice(tmp_path, tiny_model):
    files, test = files_of(tmp_path, topic_rows)
    output, again = tmp_path / "o", [CALIBRATE, "--resume_from_checkpoint=True", "--overwrite_output_dir"]
    options = [f"--model_name_or_path={tiny_model}", *files, *OPTIONS, "--keep_checkpoints", f"--output_dir={output}"]
    options += ["--save_strategy=epoch"]
    plain, predicted = run_classification.main(options), read_csv(output / "predictions.csv")
    weight = load_file(output / "model.safetensors")["classifier.weight"]
    for _ in range(2):
        found = run_classification.main([*options, *again])
        divided = load_file(output / "model.safetensors")["classifier.weight"]
        torch.testing.assert_close(divided, weight / found["eval_temperature"])
    assert found["eval_temperature"] != 1 and "eval_temperature" not in plain
    for name in ("log_loss", "expected_calibration_error"):
        assert found[f"eval_{name}_before_calibration"] == pytest.approx(plain[f"eval_{name}"], rel=1e-4)
    assert found["eval_log_loss"] < plain["eval_log_loss"] and found["predict_log_loss"] != plain["predict_log_loss"]
    assert found["eval_loss"] == pytest.approx(found["eval_log_loss"], rel=1e-5, abs=1e-6)  # of the calibrated model too
    assert found["eval_accuracy"] == plain["eval_accuracy"]
    assert [row["prediction"] for row in read_csv(output / "predictions.csv")] == [row["prediction"] for row in predicted]
    assert agrees_with_pipeline(output, test)
    with pytest.raises(UserError, match="this run only predicts"):
        run_classification.main([f"--model_name_or_path={output}", files[2], CALIBRATE, f"--output_dir={tmp_path / 'p'}"])


FORMS = {
    "one logit": (lambda label: "yes" if label == "defect" else "no", ["--binary_form=one_logit", "--threshold=tuned"]),
    "independent logits": (lambda label: [int(label == topic) for topic in TOPICS], ["--loss=bce"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_other_forms_of_classes(tmp_path, tiny_model, name):
    write, more = FORMS[name]
    files, test = files_of(tmp_path, topic_rows, write)
    options = [f"--model_name_or_path={tiny_model}", *files, *OPTIONS, *more, CALIBRATE, f"--output_dir={tmp_path / 'o'}"]
    found = run_classification.main(options)
    assert found["eval_temperature"] != 1 and found["eval_log_loss"] < found["eval_log_loss_before_calibration"]
    assert agrees_with_pipeline(tmp_path / "o", test)


def test_labels_have_a_temperature_each(tmp_path, tiny_model, caplog):
    files, test = files_of(tmp_path, label_rows)
    with caplog.at_level(logging.INFO):
        options = [f"--model_name_or_path={tiny_model}", *files, *OPTIONS, CALIBRATE, f"--output_dir={tmp_path / 'o'}"]
        found = run_multilabel.main(options)
    temperatures = [found[f"eval_{label}_temperature"] for label in LABELS]
    assert len(set(temperatures)) == len(LABELS) and found["eval_log_loss"] < found["eval_log_loss_before_calibration"]
    assert found["eval_loss"] == pytest.approx(found["eval_log_loss"], rel=1e-5, abs=1e-6)
    assert f"calibrated: temperature {min(temperatures):.2f} to {max(temperatures):.2f} by label; expected" in caplog.text
    assert agrees_with_pipeline(tmp_path / "o", test)
    rows = [[float(row[label]) for label in LABELS] for row in read_csv(tmp_path / "o" / "predictions.csv")]
    shown = calibration_scores("labels", np.array(rows), np.array([one_hot(row) for row in test], float))
    assert shown == pytest.approx({name: found[f"predict_{name}"] for name in shown}, rel=1e-3)


def test_choices(tmp_path, tiny_model):
    files, test = files_of(tmp_path, make_choice_rows)
    options = [f"--model_name_or_path={tiny_model}", *files, *OPTIONS, CALIBRATE, f"--output_dir={tmp_path / 'o'}"]
    found = run_multiple_choice.main(options)
    assert found["eval_temperature"] != 1 and found["eval_log_loss"] < found["eval_log_loss_before_calibration"]
    assert found["eval_loss"] == pytest.approx(found["eval_log_loss"], rel=1e-5, abs=1e-6)
    tried = use_as_described("multiple-choice", tmp_path / "o", [(row["context"], row["choices"]) for row in test])
    for row, expected in zip(read_csv(tmp_path / "o" / "predictions.csv"), tried, strict=True):
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, abs=1e-4)


class Bounded(BertForSequenceClassification):
    """Its logits are bounded, so they are not those of the last linear layer."""

    def forward(self, *args, **kwargs):
        return {"logits": 3 * torch.tanh(super().forward(*args, **kwargs).logits)}


def test_a_model_that_scales_its_logits_is_left_as_it_is(tmp_path, tiny_model, monkeypatch, caplog):
    monkeypatch.setattr(run_classification, "MODEL_CLASS", Bounded)
    (train, validation, _), _ = files_of(tmp_path, topic_rows)
    files = [train, validation, validation.replace("validation_file", "test_file")]
    found = run_classification.main(
        [f"--model_name_or_path={tiny_model}", *files, *OPTIONS, CALIBRATE, f"--output_dir={tmp_path / 'o'}"]
    )
    assert "--calibrate: the probabilities stay as they are, because the model scales" in caplog.text
    assert "eval_temperature" not in found and found["predict_loss"] == pytest.approx(found["eval_loss"], rel=1e-6)


@pytest.mark.parametrize("check", ["--check_data", "--max_steps=1"])
def test_what_cannot_be_calibrated_is_refused_before_training(tmp_path, tiny_model, check):
    numbers, _ = files_of(tmp_path, topic_rows, lambda label: 2.5 * (label == "defect") + 0.1)
    options = [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", CALIBRATE, check]
    with pytest.raises(UserError, match="a regression gives numbers"):
        run_classification.main([*options, *numbers])
    files, _ = files_of(tmp_path, topic_rows)
    with pytest.raises(UserError, match="there is none: give --validation_file"):
        run_classification.main([*options, files[0], "--validation_fraction=0"])


def test_the_temperature_by_which_logits_were_multiplied_is_found():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (4000, 3))
    ids = (softmax(logits, axis=1).cumsum(axis=1) < draw.random((4000, 1))).sum(axis=1)

    def probabilities(logits):
        return softmax(logits, axis=1)

    assert fit_temperature(2.5 * logits, ids, probabilities) == pytest.approx(2.5, rel=0.06)
    shares = softmax(logits, axis=1)  # what a perfect annotator would say
    assert fit_temperature(0.4 * logits, shares, probabilities) == pytest.approx(0.4, rel=0.01)
    targets = (draw.random((4000, 3)) < expit(logits)).astype(float)
    found = fit_label_temperatures(logits * [0.5, 2, 4], targets)
    assert found == pytest.approx([0.5, 2, 4], rel=0.1)
    targets[:, 0], targets[2000:, 1] = 1, UNKNOWN
    masked = fit_label_temperatures(logits * [0.5, 2, 4], targets)
    assert masked[0] == 1 and masked[1] != found[1] and masked[2] == found[2]


def test_few_rows_that_are_all_right_do_not_make_the_probabilities_certain():
    logits, targets = np.array([[3.0], [2.0], [-2.0], [-3.0]]), np.array([[1.0], [1.0], [0.0], [0.0]])
    assert 0.4 < fit_label_temperatures(logits, targets)[0] < 1


def test_the_log_loss_is_scikit_learns():
    draw = np.random.default_rng(0)
    probabilities, truth = draw.dirichlet(np.ones(3), 200), draw.integers(0, 3, 200)
    assert calibration_scores("classes", 2 * probabilities, truth)["log_loss"] == pytest.approx(log_loss(truth, probabilities))
    cells, yes = draw.random((200, 3)).round(), draw.integers(0, 2, (200, 3)).astype(float)
    assert calibration_scores("labels", cells, yes)["log_loss"] == pytest.approx(log_loss(yes.ravel(), cells.ravel()))


def test_calibration_scores_by_hand():
    truth = np.array([[1, 0], [0, np.nan]])
    found = calibration_scores("labels", np.array([[0.9, 0.1], [0.1, 0.7]]), truth)
    assert found["log_loss"] == pytest.approx(-np.log(0.9)) and found["expected_calibration_error"] == pytest.approx(0.1)
    found = calibration_scores("choices", np.array([[0.75, 0.25, np.nan], [0.25, 0.125, 0.625]]), np.array([0, 1]))
    assert found["log_loss"] == pytest.approx(-np.log([0.75, 0.125]).mean())
    assert found["expected_calibration_error"] == pytest.approx((0.25 + 0.625) / 2)
