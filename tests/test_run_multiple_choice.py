"""run_multiple_choice.py end to end on a tiny model: that it learns, what it writes, what it refuses."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import CHROMIUM, ROOT, check_pages, launch, make_choice_rows, make_rows, write_csv, write_jsonl
from transformers import AutoModelForMultipleChoice, AutoTokenizer

import run_classification
import run_multilabel
import run_multiple_choice

LEARN = "--learning_rate 3e-3 --head_learning_rate_multiplier 1 --num_train_epochs 6 --per_device_train_batch_size 8".split()


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same_predictions(folder, other):
    for row, expected in zip(*(read_csv(path / "predictions.csv") for path in (folder, other)), strict=True):
        assert set(expected) - set(row) <= {"label"}
        for name, value in row.items():
            number = name.startswith("choice") and value
            assert (pytest.approx(float(value), abs=2e-6) == float(expected[name])) if number else (value == expected[name])


def files_of(folder, rows):
    return [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', split)}" for name, split in rows.items()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("choice")
    splits = {"train": make_choice_rows(200, 0), "validation": make_choice_rows(50, 1), "test": make_choice_rows(40, 2)}
    output = folder / "o"
    files = files_of(folder, splits)
    metrics = run_multiple_choice.main([f"--model_name_or_path={tiny_model}", f"--output_dir={output}", *files, *LEARN])
    return output, metrics, splits["test"], files


def test_it_learns_and_writes_its_files(trained):
    output, metrics, test, _ = trained
    assert metrics["predict_accuracy"] > 0.9 and metrics["predict_mean_reciprocal_rank"] > 0.95
    rows = read_csv(output / "predictions.csv")
    assert list(rows[0]) == ["id", *(f"choice{i}" for i in range(5)), "prediction", "prediction_text", "label", "text"]
    validation = read_csv(output / "validation_predictions.csv")
    assert list(validation[0]) == list(rows[0]) and all(row["prediction_text"] in row["text"] for row in validation)
    assert [(row["id"], row["label"]) for row in rows] == [(r["id"], str(r["label"])) for r in test]
    assert rows[0]["text"] == " | ".join([test[0]["context"], *(f"{i}: {text}" for i, text in enumerate(test[0]["choices"]))])
    counts, correct, ranks = [], [], []
    for found, given in zip(rows, test, strict=True):
        probabilities = [float(found[f"choice{i}"]) for i in range(len(given["choices"]))]
        assert all(found[f"choice{i}"] == "" for i in range(len(given["choices"]), 5))
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert int(found["prediction"]) == int(np.argmax(probabilities))
        assert found["prediction_text"] == given["choices"][int(found["prediction"])]
        counts.append(len(probabilities))
        correct.append(int(found["prediction"]) == given["label"])
        ranks.append(1 / sum(p >= probabilities[given["label"]] for p in probabilities))
    assert metrics["predict_accuracy"] == pytest.approx(np.mean(correct))
    assert metrics["predict_mean_reciprocal_rank"] == pytest.approx(np.mean(ranks))
    assert metrics["predict_accuracy_of_chance"] == pytest.approx(np.mean(1 / np.array(counts)))
    by_count = [np.mean([c for c, n in zip(correct, counts, strict=True) if n == count]) for count in sorted(set(counts))]
    assert metrics["predict_accuracy_macro_by_candidates"] == pytest.approx(np.mean(by_count))
    usual = max(np.bincount([row["label"] for row in test])) / len(test)
    assert metrics["predict_accuracy_of_most_frequent_position"] == pytest.approx(usual)
    third = [c for c, row in zip(correct, test, strict=True) if row["label"] == 2]
    assert metrics["predict_position_2_accuracy"] == pytest.approx(np.mean(third))
    names = {path.name for path in output.iterdir()}
    assert names >= {"README.md", "args.yaml", "all_results.json", "eval_results.json", "predict_results.json", "config.json"}
    assert "AutoModelForMultipleChoice" in (output / "README.md").read_text()


def test_the_card_says_how_to_get_the_same_probabilities(trained):
    output, _, test, _ = trained
    code = (output / "README.md").read_text().split("```python\n")[1].split("```")[0]
    row = next(row for row in test if len(row["choices"]) == 3)
    code = code.replace('"<this folder>"', repr(str(output))).replace('"a context"', repr(row["context"]))
    code = code.replace('["one candidate", "another"]', repr(row["choices"])).replace("print(", "found = (")
    scope: dict = {}
    exec(code, scope)
    written = read_csv(output / "predictions.csv")[test.index(row)]
    expected = [float(written[f"choice{i}"]) for i in range(3)]
    np.testing.assert_allclose(scope["found"][0], expected, atol=1e-5)


def test_saved_model_predicts_alone_unlabelled_and_in_order(trained, tmp_path):
    output, metrics, test, _ = trained
    unlabelled = write_jsonl(tmp_path / "test.jsonl", [{k: v for k, v in row.items() if k != "label"} for row in test])
    found = run_multiple_choice.main(
        [f"--model_name_or_path={output}", f"--test_file={unlabelled}", f"--output_dir={tmp_path / 'o'}"]
    )
    same_predictions(tmp_path / "o", output)
    assert "predict_accuracy" not in found
    labelled = write_jsonl(tmp_path / "v.jsonl", test)
    found = run_multiple_choice.main(
        [f"--model_name_or_path={output}", f"--validation_file={labelled}", f"--output_dir={tmp_path / 'p'}"]
    )
    assert found["eval_accuracy"] == metrics["predict_accuracy"]


def test_a_model_of_questions_alone_reads_them_as_it_was_trained(tmp_path, tiny_model):
    rows = [{"question": row["context"], "choices": row["choices"], "answer": row["label"]} for row in make_choice_rows(60, 3)]
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    base = [f"--test_file={write_jsonl(tmp_path / 'b.jsonl', rows)}", "--id_column_name=question"]
    train = [f"--model_name_or_path={tiny_model}", f"--train_file={file}", "--max_steps=3", f"--output_dir={tmp_path / 'm'}"]
    run_multiple_choice.main([*base, *train])
    run_multiple_choice.main([*base, f"--model_name_or_path={tmp_path / 'm'}", f"--output_dir={tmp_path / 'p'}"])
    same_predictions(tmp_path / "p", tmp_path / "m")
    assert [row["question"] for row in read_csv(tmp_path / "p" / "predictions.csv")] == [row["question"] for row in rows]


def test_args_yaml_runs_the_same_run_again(trained, tmp_path):
    output, metrics, _, _ = trained
    again = run_multiple_choice.main([str(output / "args.yaml"), f"--output_dir={tmp_path}"])
    assert again["predict_loss"] == pytest.approx(metrics["predict_loss"], abs=1e-6)
    same_predictions(tmp_path, output)


def test_shuffled_choices_learn_as_well(trained, tmp_path, tiny_model):
    _, _, _, files = trained
    metrics = run_multiple_choice.main(
        [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path}", *files, *LEARN, "--shuffle_choices"]
    )
    assert metrics["predict_accuracy"] > 0.9


def test_a_model_that_has_learnt_positions_is_found_out(tmp_path, tiny_model):
    """The position is written in the candidates, and the right one always stands first in training."""
    texts = ["first one", "second one", "third one"]

    def rows(count, right):
        choices = [[f"{text} my order {n % 7}" for text in texts] for n in range(count)]
        return [{"context": f"the kettle {n}", "choices": row, "label": right(n)} for n, row in enumerate(choices)]

    splits = {"train": rows(60, lambda n: 0), "validation": rows(12, lambda n: 0), "test": rows(30, lambda n: n % 3)}
    splits["train"][0]["choices"] = splits["train"][0]["choices"][:2]
    metrics = run_multiple_choice.main(
        [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path}", *files_of(tmp_path, splits), *LEARN]
    )
    assert metrics["predict_position_0_accuracy"] == 1 and metrics["predict_position_1_accuracy"] == 0
    assert metrics["predict_position_0_predicted"] == 30


def test_labels_told_in_sentences_are_predicted_by_name(tmp_path, tiny_model):
    names = {"praise": "lovely wonderful superb", "defect": "broken cracked leaks"}
    (tmp_path / "labels.yaml").write_text("".join(f"{name}: {text}\n" for name, text in names.items()))
    single = [row for row in make_rows(800, 1) if len(row["labels"]) == 1]
    rows = [{"text": row["text"], "label": row["labels"][0]} for row in single if row["labels"][0] in names]
    files = files_of(tmp_path, {"train": rows[:-20], "test": rows[-20:]})
    output = tmp_path / "o"
    base = [f"--model_name_or_path={tiny_model}", *files, "--max_steps=2", f"--output_dir={output}"]
    run_multiple_choice.main([*base, f"--label_descriptions={tmp_path / 'labels.yaml'}"])
    found = read_csv(output / "predictions.csv")
    assert list(found[0]) == ["row", "praise", "defect", "prediction", "prediction_text", "label", "text"]
    assert [list(names)[int(row["label"])] for row in found] == [row["label"] for row in rows[-20:]]
    assert all(row["prediction_text"] == list(names)[int(row["prediction"])] for row in found)
    unlabelled = write_csv(tmp_path / "u.csv", ["text"], [[row["text"]] for row in rows[-20:]])
    run_multiple_choice.main([f"--model_name_or_path={output}", f"--test_file={unlabelled}", f"--output_dir={tmp_path / 'p'}"])
    again = read_csv(tmp_path / "p" / "predictions.csv")
    assert set(found[0]) - set(again[0]) == {"label"}
    decided = [[(row["prediction"], row["prediction_text"]) for row in rows] for rows in (again, found)]
    assert decided[0] == decided[1]


# The command of the README of HF's run_swag.py, files in place of the Hub.
HF_COMMAND = (
    "--model_name_or_path {model} --do_train --do_eval --learning_rate 5e-5 --num_train_epochs 3 --output_dir {out} "
    "--per_gpu_eval_batch_size=16 --per_device_train_batch_size=16 --overwrite_output "
    "--train_file {train} --validation_file {train}"
)


def test_the_swag_command_of_the_hf_examples_runs_unchanged(tmp_path, tiny_model):
    header = ["video-id", "fold-ind", "startphrase", "sent1", "sent2", "gold-source", *(f"ending{i}" for i in range(4)), "label"]
    four = [row for row in make_choice_rows(90, 4) if len(row["choices"]) == 4]
    rows = [[n, n, "x", row["context"], "the", "gold", *row["choices"], row["label"]] for n, row in enumerate(four)]
    train = write_csv(tmp_path / "train.csv", header, rows)
    metrics = run_multiple_choice.main(HF_COMMAND.format(model=tiny_model, out=tmp_path / "o", train=train).split())
    assert 0 <= metrics["eval_accuracy"] <= 1 and metrics["eval_accuracy_of_chance"] == 0.25
    assert metrics["train_samples_per_second"] > 0 and "predict_loss" not in metrics


def test_models_of_other_scripts_and_bare_encoders_do_not_predict(trained, tmp_path, tiny_model):
    output, _, test, _ = trained
    test = write_jsonl(tmp_path / "t.jsonl", test)
    texts = write_jsonl(tmp_path / "rows.jsonl", make_rows(30))
    predict = [f"--test_file={test}", f"--output_dir={tmp_path / 'p'}"]
    with pytest.raises(ValueError, match="nothing to train on, and .* has no head for multiple choice"):
        run_multiple_choice.main([f"--model_name_or_path={tiny_model}", *predict])
    run_multilabel.main(
        [f"--model_name_or_path={tiny_model}", f"--train_file={texts}", "--max_steps=1", f"--output_dir={tmp_path / 'm'}"]
    )
    with pytest.raises(ValueError, match="was trained by run_multilabel.py: use run_multilabel.py"):
        run_multiple_choice.main([f"--model_name_or_path={tmp_path / 'm'}", *predict])
    choices = write_jsonl(tmp_path / "choices.jsonl", make_choice_rows(20))
    run_multiple_choice.main(
        [f"--model_name_or_path={tmp_path / 'm'}", "--ignore_mismatched_sizes", f"--train_file={choices}", "--max_steps=1"]
        + [f"--output_dir={tmp_path / 'c'}"]
    )
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    assert "thresholds" not in config and "refund" not in str(config) and not config.get("problem_type")
    run_multiple_choice.main([f"--model_name_or_path={tmp_path / 'c'}", *predict])
    for script in (run_classification, run_multilabel):
        with pytest.raises(ValueError, match="was trained by run_multiple_choice.py"):
            script.main([f"--model_name_or_path={output}", *predict])
        with pytest.raises(ValueError, match="run_multiple_choice.py --choice_column_names choices"):
            script.main([f"--model_name_or_path={tiny_model}", f"--train_file={test}", f"--output_dir={tmp_path / 'p'}"])


def test_a_candidate_that_leaves_no_room_is_an_error(tmp_path, tiny_model):
    rows = make_choice_rows(12, 1)
    rows[5]["choices"][1] = " ".join(["kettle"] * 30)
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    with pytest.raises(ValueError, match=r"train.jsonl, line 6: the candidate 'kettle .* has 30 tokens, .* --max_seq_length 24"):
        run_multiple_choice.main(
            [f"--model_name_or_path={tiny_model}", f"--train_file={train}", "--max_seq_length=24", f"--output_dir={tmp_path}",
             "--validation_fraction=0"]
        )  # fmt: skip


def test_check_data_reports_before_any_model(tmp_path):
    train = write_jsonl(tmp_path / "a.jsonl", make_choice_rows(50, 1))
    run_multiple_choice.main(["--check_data", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}"])
    report = json.loads((tmp_path / "o" / "data_report.json").read_text())
    assert sum(report["train"]["labels"].values()) == report["train"]["rows"] == 45
    assert sum(report["train"]["candidates"].values()) == 45 and set(report["train"]["candidates"]) == {"2", "3", "4", "5"}


def test_sample_is_as_large_and_varied_as_promised():
    contexts, sizes = [], {}
    for split in ("train", "validation", "test"):
        lines = (ROOT / "data" / "multiple_choice" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        sizes[split] = len(rows)
        contexts += [row["context"] for row in rows]
        assert {len(row["choices"]) for row in rows} == {2, 3, 4, 5}
        assert all(len(set(row["choices"])) == len(row["choices"]) > row["label"] >= 0 for row in rows)
        longest = [max(row["choices"], key=len) == row["choices"][row["label"]] for row in rows]
        assert np.mean(longest) < 0.45  # the length does not give the answer away
    assert sizes["train"] >= 200 and sizes["validation"] >= 60 and sizes["test"] >= 60
    assert len(set(contexts)) == len(contexts)


@pytest.mark.slow
def test_the_sample_learns(tmp_path):
    launch("python", "run_multiple_choice.py", "configs/everyday.yaml", "--output_dir", str(tmp_path), "--no_report=False")
    metrics = json.loads((tmp_path / "all_results.json").read_text())
    assert 0.45 < metrics["predict_accuracy"] < 1 and metrics["predict_accuracy_of_chance"] < 0.35
    if CHROMIUM:
        check_pages(tmp_path / "report.html")


@pytest.mark.slow
def test_smoke_test_in_two_processes():
    result = launch("torchrun", "--nproc_per_node", "2", "run_multiple_choice.py", "--smoke_test")
    assert "smoke test passed" in result.stderr


def test_a_model_loads_as_usual(trained):
    output, _, _, _ = trained
    model, tokenizer = AutoModelForMultipleChoice.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    assert model.dtype == torch.float32 and tokenizer.model_max_length == 64
    assert model.config.choice_format["answer_kind"] == "index"
