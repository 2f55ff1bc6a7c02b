"""run_multilabel.py end to end through `main(argv)`: it learns, writes what it promises, and answers mistakes in one line."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from conftest import LABELS, launch, make_rows, one_hot, write_csv, write_jsonl
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score, roc_auc_score
from transformers import AutoConfig, AutoTokenizer, pipeline

import run_multilabel
from utils.arguments import UserError

LEARN = "--learning_rate 4e-3 --head_learning_rate_multiplier 1 --num_train_epochs 10 --per_device_train_batch_size 16".split()
TRAIN, VALIDATION, TEST = make_rows(400, 1), make_rows(100, 2), make_rows(80, 3)


def columns_file(path, rows, **cells):
    return write_csv(path, ["id", "comment_text", *LABELS], [[r["id"], r["text"], *cells.get(r["id"], one_hot(r))] for r in rows])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model):
    """One run on a training, a validation and a test file; the folder it wrote, its metrics and its files."""
    folder = tmp_path_factory.mktemp("trained")
    files = {
        "train": columns_file(folder / "train.csv", TRAIN),
        "validation": columns_file(folder / "validation.csv", VALIDATION),
        "test": columns_file(folder / "test.csv", TEST, r3=[-1, -1, -1, -1], r4=[1, "", -1, 0]),
    }
    sample = write_csv(folder / "sample.csv", ["id", *LABELS[::-1]], [[r["id"], *[0.5] * 4] for r in TEST[::-1]])
    arguments = [f"--{name}_file={path}" for name, path in files.items()]
    output = folder / "output"
    metrics = run_multilabel.main(
        [f"--model_name_or_path={tiny_model}", f"--output_dir={output}", f"--sample_submission={sample}", *arguments, *LEARN]
    )
    return output, metrics, files, sample


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities(path):
    return np.array([[float(row[label]) for label in LABELS] for row in read_csv(path)])


def test_it_learns_and_writes_its_files(trained):
    output, metrics, _, _ = trained
    assert metrics["predict_roc_auc_macro"] > 0.95 and metrics["predict_f1_macro"] > 0.85
    assert metrics["eval_defect_roc_auc"] > 0.95
    written = {path.name for path in output.iterdir()}
    assert written >= {
        "config.json", "model.safetensors", "tokenizer.json", "train_results.json", "eval_results.json", "predict_results.json",
        "all_results.json", "predictions.csv", "submission.csv", "thresholds.json", "README.md", "args.yaml",
    }  # fmt: skip
    config = json.loads((output / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert list(config["id2label"].values()) == LABELS and config["label2id"] == {n: i for i, n in enumerate(LABELS)}
    assert list(json.loads((output / "thresholds.json").read_text()).values()) == config["thresholds"]
    card = (output / "README.md").read_text()
    assert "How to use" in card and "| defect |" in card
    results = json.loads((output / "all_results.json").read_text())
    assert results["eval_f1_macro"] == metrics["eval_f1_macro"] and "train_loss" in results


def test_predictions_stand_in_the_files_order_and_give_the_scores(trained):
    output, metrics, _, _ = trained
    rows = read_csv(output / "predictions.csv")
    assert list(rows[0]) == ["id", *LABELS, "prediction", "label", "text"]
    assert [row["id"] for row in rows] == [r["id"] for r in TEST]
    for number, (row, given) in enumerate(zip(rows, TEST, strict=True)):
        assert row["text"] == given["text"][:200]
        unknown = {3: "?", 4: f"defect;?{LABELS[1]};?{LABELS[2]}"}
        assert row["label"] == unknown.get(number, ";".join(label for label in LABELS if label in given["labels"]))
    thresholds = json.loads((output / "thresholds.json").read_text())
    for row in rows:
        assert row["prediction"] == ";".join(label for label in LABELS if float(row[label]) >= thresholds[label])
    known = np.ones((len(TEST), 4), bool)
    known[3], known[4, 1:3] = False, False
    truth, found = np.array([one_hot(row) for row in TEST], bool), probabilities(output / "predictions.csv")
    truth[4] = [True, False, False, False]
    auc = np.mean([roc_auc_score(truth[known[:, i], i], found[known[:, i], i]) for i in range(4)])
    assert metrics["predict_roc_auc_macro"] == pytest.approx(auc)
    decided = found >= np.array(list(thresholds.values()))
    assert metrics["predict_f1_micro"] == pytest.approx(f1_score(truth[known], decided[known]))
    assert metrics["predict_accuracy_elementwise"] == pytest.approx((truth == decided)[known].mean())
    loss = -np.where(truth, np.log(found), np.log1p(-found))[known].mean()
    assert metrics["predict_loss"] == pytest.approx(loss, rel=1e-5)


def test_submission_has_the_samples_header_order_and_our_probabilities(trained):
    output, _, _, _ = trained
    rows = read_csv(output / "submission.csv")
    assert list(rows[0]) == ["id", *LABELS[::-1]] and [row["id"] for row in rows] == [r["id"] for r in TEST[::-1]]
    found = probabilities(output / "submission.csv")[::-1]
    np.testing.assert_allclose(found, probabilities(output / "predictions.csv"), rtol=1e-5)  # which has six digits
    assert [f"{value:.6g}" for value in found[0]] == [read_csv(output / "predictions.csv")[0][label] for label in LABELS]


def test_pipeline_gives_the_same_probabilities(trained):
    output, _, _, _ = trained
    classify = pipeline("text-classification", model=str(output), top_k=None)
    found = classify([row["text"] for row in TEST[:20]])
    found = [[{score["label"]: score["score"] for score in row}[label] for label in LABELS] for row in found]
    np.testing.assert_allclose(found, probabilities(output / "predictions.csv")[:20], atol=1e-5)


def test_saved_model_predicts_alone_with_its_labels_and_thresholds(trained, tmp_path):
    output, _, files, _ = trained
    unlabelled = write_csv(tmp_path / "test.csv", ["id", "comment_text"], [[r["id"], r["text"]] for r in TEST])
    run_multilabel.main([f"--model_name_or_path={output}", f"--test_file={unlabelled}", f"--output_dir={tmp_path / 'out'}"])
    labelled = read_csv(output / "predictions.csv")
    assert all(row.pop("label") is not None for row in labelled) and read_csv(tmp_path / "out" / "predictions.csv") == labelled
    assert not (tmp_path / "out" / "model.safetensors").exists()
    other = [[r["text"], *one_hot(r)[::-1]] for r in TEST]
    labelled = write_csv(tmp_path / "other.csv", ["comment_text", *LABELS[::-1]], other)
    metrics = run_multilabel.main(
        [f"--model_name_or_path={output}", f"--test_file={labelled}", f"--output_dir={tmp_path / 'out2'}", "--threshold=0.4"]
    )
    assert metrics["predict_roc_auc_macro"] > 0.95
    assert read_csv(tmp_path / "out2" / "predictions.csv")[0]["row"] == "0"


def test_args_yaml_runs_again_to_the_same_model(trained, tmp_path):
    output, metrics, _, _ = trained
    assert "token" not in yaml.safe_load((output / "args.yaml").read_text())
    again = run_multilabel.main([str(output / "args.yaml"), f"--output_dir={tmp_path}"])
    assert again["eval_loss"] == metrics["eval_loss"]
    assert (tmp_path / "predictions.csv").read_text() == (output / "predictions.csv").read_text()


def test_trained_model_goes_on_learning_the_same_labels(trained, tmp_path):
    output, _, files, _ = trained
    train = write_csv(tmp_path / "train.csv", ["t", *LABELS[::-1]], [[r["text"], *one_hot(r)[::-1]] for r in TRAIN[:40]])
    base = [
        f"--model_name_or_path={output}",
        f"--output_dir={tmp_path / 'out'}",
        f"--test_file={files['test']}",
        "--overwrite_output_dir",
    ]
    asked = ["--text_column_names=comment_text", "--learning_rate=1e-9", "--num_train_epochs=1", "--validation_fraction=0"]
    renamed = write_csv(
        tmp_path / "renamed.csv", ["comment_text", *LABELS[::-1]], [[r["text"], *one_hot(r)[::-1]] for r in TRAIN[:40]]
    )
    run_multilabel.main([*base, *asked, f"--train_file={renamed}"])
    np.testing.assert_allclose(
        probabilities(tmp_path / "out" / "predictions.csv"), probabilities(output / "predictions.csv"), atol=1e-5
    )
    lists = [{"comment_text": "a b", "labels": ["refund", "defect"]}, {"comment_text": "c", "labels": []}] * 4
    fewer = write_jsonl(tmp_path / "fewer.jsonl", lists)
    run_multilabel.main([*base, f"--train_file={fewer}", "--max_steps=1", "--validation_fraction=0", "--do_train"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert list(config["id2label"].values()) == LABELS
    others = write_jsonl(
        tmp_path / "others.jsonl", [{"comment_text": "a b", "labels": ["x", "y"]}, {"comment_text": "c", "labels": []}] * 4
    )
    with pytest.raises(UserError, match="--ignore_mismatched_sizes"):
        run_multilabel.main([f"--model_name_or_path={output}", f"--train_file={others}", f"--output_dir={tmp_path / 'o'}"])
    with pytest.raises(UserError, match=re.escape(f"{files['test']} has no column 't'")):
        run_multilabel.main([*base, f"--train_file={train}", "--text_column_names=t"])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (["id", "text"], ["0", "hello"]),
        (["text", "category", "flag"], ["hello", "news", "1"]),
        (["text", "labels"], ["hello", ""]),
    ],
)
def test_saved_model_predicts_rows_with_other_columns(trained, tmp_path, header, row):
    test = write_csv(tmp_path / "new.csv", header, [row, row])
    base = [f"--model_name_or_path={trained[0]}", f"--test_file={test}", f"--output_dir={tmp_path / 'o'}"]
    run_multilabel.main([*base, "--text_column_names=text"])
    assert len(read_csv(tmp_path / "o" / "predictions.csv")) == 2


def test_empty_label_column_of_the_test_file_and_label_without_known_cells(tmp_path, tiny_model):
    train = write_jsonl(tmp_path / "a.jsonl", TRAIN[:40])
    test = write_csv(tmp_path / "t.csv", ["text", "labels"], [["hello", ""], ["bye", ""]])
    base = [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", "--max_steps=1", "--overwrite_output_dir"]
    metrics = run_multilabel.main([*base, f"--train_file={train}", f"--test_file={test}"])
    assert "predict_loss" not in metrics and len(read_csv(tmp_path / "o" / "predictions.csv")) == 2
    train = columns_file(tmp_path / "c.csv", TRAIN[:40])
    test = columns_file(tmp_path / "d.csv", TEST, **{row["id"]: [*one_hot(row)[:3], ""] for row in TEST})
    metrics = run_multilabel.main([*base, f"--train_file={train}", f"--test_file={test}"])
    assert metrics["predict_labels_left_out"] == 1


def test_saved_model_remembers_its_pair_and_its_length(tmp_path, tiny_model):
    rows = [[r["text"], "the kettle", ";".join(r["labels"])] for r in TRAIN[:40]]
    train, test = (write_csv(tmp_path / name, ["question", "context", "labels"], rows) for name in ("a.csv", "b.csv"))
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", "--max_seq_length=9"]
    run_multilabel.main([*base, f"--output_dir={tmp_path / 'o'}", "--max_steps=1", "--text_column_names=question,context"])
    run_multilabel.main([f"--model_name_or_path={tmp_path / 'o'}", f"--test_file={test}", f"--output_dir={tmp_path / 'p'}"])
    assert (tmp_path / "p" / "predictions.csv").read_text() == (tmp_path / "o" / "predictions.csv").read_text()
    one = write_csv(tmp_path / "one.csv", ["question"], [["a"]])
    with pytest.raises(UserError, match="has no column 'context'"):
        run_multilabel.main([f"--model_name_or_path={tmp_path / 'o'}", f"--test_file={one}", f"--output_dir={tmp_path / 'p'}"])


def test_flags_and_strategies_as_in_the_examples_of_hugging_face():
    from utils.arguments import ModelArguments
    from utils.command_line import parse_arguments

    def parse(*argv):
        types = (ModelArguments, run_multilabel.MultilabelArguments, run_multilabel.MultilabelTrainingArguments)
        return parse_arguments(types, argv, "", run_multilabel.SAMPLE)[2:]

    training, options = parse("--bf16", "--load_best_model_at_end", "--token=secret", "--tokenizer_name=x")
    assert training.bf16 and training.load_best_model_at_end and options["tokenizer_name"] == "x" and "token" not in options
    training, _ = parse("--fp16", "False")
    assert not training.bf16 and not training.fp16 and training.mixed_precision == "no"
    training, _ = parse("--eval_strategy=steps", "--eval_steps=200")
    assert training.save_steps == 200 and training.load_best_model_at_end
    assert not parse("--eval_strategy=steps", "--eval_steps=100", "--save_steps=500")[0].load_best_model_at_end
    assert not parse("--save_strategy=no")[0].load_best_model_at_end
    assert not parse("--eval_strategy=no")[0].load_best_model_at_end


@pytest.mark.parametrize(
    "extra", [["--loss=focal"], ["--loss=asymmetric"], ["--pos_weight=balanced"], ["--label_smoothing_factor=0.2"]]
)
def test_every_loss_learns(tmp_path, tiny_model, extra):
    files = [
        f"--train_file={write_jsonl(tmp_path / 'a.jsonl', TRAIN)}",
        f"--validation_file={write_jsonl(tmp_path / 'b.jsonl', VALIDATION)}",
    ]
    metrics = run_multilabel.main(
        [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", *files, *LEARN, *extra, "--fp16=False"]
    )
    assert metrics["eval_roc_auc_macro"] > 0.95


@pytest.mark.parametrize("threshold", ["0.5", "single", "per_label"])
def test_thresholds(tmp_path, tiny_model, threshold):
    files = [
        f"--train_file={write_jsonl(tmp_path / 'a.jsonl', TRAIN)}",
        f"--validation_file={write_jsonl(tmp_path / 'b.jsonl.gz', VALIDATION)}",
    ]
    base = [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", "--max_steps=5", "--linear_probe=False"]
    metrics = run_multilabel.main([*base, *files, f"--threshold={threshold}"])
    found = set(json.loads((tmp_path / "o" / "thresholds.json").read_text()).values())
    assert {"0.5": found == {0.5}, "single": len(found) == 1 and found != {0.5}, "per_label": len(found) == 4}[threshold]
    assert threshold == "0.5" or metrics["eval_f1_micro"] > metrics["eval_f1_micro_at_0.5"]


def test_prior_bias_starts_the_head_at_the_log_odds(tmp_path, tiny_model):
    rows = [{"text": "a b", "labels": ["x"]}] * 9 + [{"text": "c", "labels": ["x", "y"]}, {"text": "d e", "labels": []}]
    base = [
        f"--model_name_or_path={tiny_model}",
        f"--train_file={write_jsonl(tmp_path / 'a.jsonl', rows)}",
        "--validation_fraction=0",
        "--linear_probe=False",
    ]
    from transformers import AutoModelForSequenceClassification

    for extra, expected in (([], [np.log(10.5 / 1.5), np.log(1.5 / 10.5)]), (["--no_prior_bias"], [0, 0])):
        run_multilabel.main(
            [*base, *extra, "--max_steps=1", "--warmup_steps=10", f"--output_dir={tmp_path / 'o'}", "--overwrite_output_dir"]
        )
        bias = AutoModelForSequenceClassification.from_pretrained(tmp_path / "o").classifier.bias.detach().numpy()
        np.testing.assert_allclose(bias, expected, atol=1e-3)


def test_new_head_learns_faster_and_a_trained_one_does_not(trained, tiny_model, tmp_path):
    from utils.files.loading import load_splits
    from utils.training.task import read_arguments

    for folder, expected in ((tiny_model, {"classifier", "pooler"}), (trained[0], set())):
        argv = [f"--model_name_or_path={folder}", f"--train_file={trained[2]['train']}", f"--output_dir={tmp_path}"]
        argv += ["--learning_rate=1e-3", "--no_tune_cpu", "--max_train_samples=20", "--linear_probe=False"]
        args = read_arguments(run_multilabel.KINDS, argv, "", run_multilabel.SAMPLE, [])
        trainer = run_multilabel.build_trainer(run_multilabel.prepare(load_splits(args.data), args))
        optimizer, names = trainer.create_optimizer(), {p: name for name, p in trainer.model.named_parameters()}
        rates = {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        assert len(rates) == len(names)
        for name, rate in rates.items():
            assert rate == pytest.approx(1e-2 if expected & set(name.split(".")) else 1e-3), name


def test_pairs_and_two_word_tokens(tmp_path, tiny_model):
    rows = [[r["text"], "the kettle", ";".join(r["labels"])] for r in TRAIN[:40]]
    train = write_csv(tmp_path / "a.csv", ["question", "context", "labels"], rows)
    metrics = run_multilabel.main(
        [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}", "--max_steps=1"]
        + ["--text_column_names=question,context"]
    )
    assert np.isfinite(metrics["eval_loss"])


@pytest.mark.parametrize(
    "rows",
    [
        make_rows(30),
        [{"text": r["text"], "labels": [LABELS.index(label) for label in r["labels"]]} for r in make_rows(30)],
        [{"text": r["text"], "labels": one_hot(r)} for r in make_rows(30)],
        [{"text": r["text"], **dict(zip(LABELS, one_hot(r), strict=True))} for r in make_rows(30)],
        [{"text": r["text"], "labels": "|".join(r["labels"])} for r in make_rows(30)],
        None,
    ],
)
def test_smoke_test_of_each_label_shape(tmp_path, rows, caplog):
    data = [] if rows is None else [f"--train_file={write_jsonl(tmp_path / 'a.jsonl', rows)}"]
    caplog.set_level("INFO", logger="utils")
    metrics = run_multilabel.main(["--smoke_test", *data])
    assert "smoke test passed" in caplog.text and np.isfinite(metrics["train_loss"])


def test_local_dataset_folder_by_name(tmp_path, tiny_model):
    (tmp_path / "hub").mkdir()
    for split, rows in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST)):
        write_jsonl(tmp_path / "hub" / f"{split}.jsonl", rows)
    options = [f"--model_name_or_path={tiny_model}", f"--dataset_name={tmp_path / 'hub'}", "--max_steps=2"]
    options += ["--max_train_samples=40", "--max_predict_samples=30"]
    metrics = run_multilabel.main([*options, f"--output_dir={tmp_path / 'o'}"])
    assert metrics["predict_samples_per_second"] > 0 and len(read_csv(tmp_path / "o" / "predictions.csv")) == 30
    run_multilabel.main([*options, f"--output_dir={tmp_path / 'streamed'}", "--streaming"])
    assert (tmp_path / "streamed" / "predictions.csv").read_bytes() == (tmp_path / "o" / "predictions.csv").read_bytes()


def test_only_what_is_asked_for_happens(trained, tmp_path):
    _, _, files, _ = trained
    output = trained[0]
    base = [f"--model_name_or_path={output}", f"--output_dir={tmp_path}", *(f"--{n}_file={p}" for n, p in files.items())]
    metrics = run_multilabel.main([*base, "--do_eval"])
    assert "eval_f1_macro" in metrics and "train_loss" not in metrics and not (tmp_path / "predictions.csv").exists()
    run_multilabel.main([*base, "--do_predict"])
    assert (tmp_path / "predictions.csv").exists()
    metrics = run_multilabel.main([*base, "--do_train", "--max_steps=1"])
    assert "train_loss" in metrics and "eval_loss" not in metrics and "predict_loss" not in metrics


def test_check_data_reports_before_any_model(tmp_path, caplog):
    train = columns_file(tmp_path / "a.csv", [*TRAIN, {**TRAIN[0], "labels": []}], r1=[-1, "", 0.5, 1])
    caplog.set_level("INFO", logger="utils")
    run_multilabel.main(["--check_data", f"--train_file={train}", "--validation_fraction=0", f"--output_dir={tmp_path / 'o'}"])
    report = json.loads((tmp_path / "o" / "data_report.json").read_text())["train"]
    assert report["rows"] == 401 and report["unknown_cells"] == 2 and report["soft_cells"] == 1
    assert report["duplicate_texts"] == 1 and report["texts_with_contradicting_labels"] == 1
    assert report["balanced_weights"]["defect"] > 1 and report["imbalance"] >= 1 and report["texts_missing"] == 0
    assert "  defect  " in caplog.text and {path.name for path in (tmp_path / "o").iterdir()} == {"data_report.json"}


MISTAKES = [
    (["--train_file={train}", "--label_column_names=nope"], "train.csv has no column 'nope'; its columns: id, comment_text"),
    (["--train_file={train}", "--text_column_names=coment_txt"], "no column 'coment_txt' (did you mean 'comment_text'?); its"),
    (["--train_file={bad_cell}"], "bad_cell.csv, line 2, column 'defect': found 'maybe', expected 0 or 1"),
    (
        ["--train_file={bad_cell}"],
        "out of --label_column_names, or add --unknown_label maybe if that stands for an unknown label",
    ),
    (["--train_file={train}", "--validation_file={unseen}"], "has no column 'defect'"),
    (["--train_file={names}", "--validation_file={unseen}"], "unseen.jsonl, line 1, column 'labels': the label 'zebra'"),
    (["--train_file={names}", "--test_file={unseen}"], "unseen.jsonl, line 1, column 'labels': the label 'zebra'"),
    (["--train_file={empty}"], "empty.csv is empty"),
    (["--train_file={nothing}"], "no row is positive for any label"),
    (["--train_file={no_text}", "--strict_data"], "no_text.csv, line 3, column 'comment_text': the text is missing"),
    (["--train_file={train}", "--pos_weight=1,2"], "--pos_weight has 2 numbers; expected 1, or one for each of 4"),
    (["--train_file={train}", "--pos_weight=-1"], "--pos_weight -1: expected none, balanced, sqrt, or numbers"),
    (["--train_file={train}", "--threshold=2"], "--threshold 2: expected per_label, single, or a number"),
    (["--train_file={train}", "--metric_for_best_model=f1_marco"], "--metric_for_best_model f1_marco: no such metric"),
    (["--train_file={train}", "--max_seq_length=9999"], "--max_seq_length 9999: this model reads at most 64 tokens"),
    (
        ["--train_file={train}", "--test_file={copy}", "--sample_submission={sample}"],
        "sample.csv, line 2, column 'id': the id 'x9",
    ),
    (["--train_file={train}", "--learning_rat=1"], "unknown option --learning_rat: did you mean --learning_rate?"),
    (["--train_file={train}", "--no_bf16"], "unknown option --no_bf16: write --bf16 False"),
    (
        ["--train_file={train}", "--evaluation_strategy=epoch"],
        "--evaluation_strategy is not an option: write --eval_strategy",
    ),
    (["--train_file={train}", "--learning_rate=abc"], "--learning_rate: invalid float value: 'abc' (see --help)"),
    (["--train_file={train}", "--linear_probe=maybe"], "--linear_probe: got maybe but expected one of yes/no, true/false"),
    (["{yaml}"], "unknown option --train_fil: did you mean --train_file?"),
    (["--test_file={train}"], "nothing to train on"),
    (["--do_train", "--test_file={train}"], "--do_train needs train data"),
    (["--train_file={odd_cell}"], "odd_cell.csv, line 2, column 'defect': found 'maybe' in a column of 0 and 1"),
    (["--train_file={few}"], "few.csv, line 4, column 'defect': found '2' in a column of 0 and 1; correct the cell, or add"),
    (["--train_file={each_odd}"], "each_odd.csv, line 2, column 'defect': found 'maybe' in a column of 0 and 1"),
    (["--train_file={train}", "--test_file={lacking}"], "lacking.csv has the label columns refund, but not defect, delivery"),
    (["--train_file={names}", "--test_file={cased}"], "'Refund' is not among the labels of the training data or model"),
    (["--train_file={names}", "--test_file={cased}"], "did you mean 'refund'?"),
    (["--train_file={some_words}"], "some_words.csv, line 5, column 'defect': found 'maybe' in a column of 0 and 1"),
    (["--train_file={ragged}"], "ragged.jsonl, line 3, column 'labels': found [1, 0], but most rows are 0/1 vectors of 3"),
    (["--train_file={train}", "--validation_fraction=0", "--threshold=single"], "there is none: give --validation_file"),
    (["--train_file={train}", "--text_column_names=defect"], "--text_column_names defect: 'defect' is a label column"),
    (["--train_file={one_row}"], "too few to split validation data off"),
    (["--train_file={train}", "--sample_submission={sample}"], "--sample_submission needs rows to predict"),
    (["--train_file={train}", "--learning_rate=-1"], "--learning_rate -1.0: expected a number above 0"),
    (["--train_file={train}", "--per_device_train_batch_size=0"], "--per_device_train_batch_size 0: expected at least 1"),
    (["--train_file={train}", "--bf16", "--fp16"], "--bf16 and --fp16 are both given"),
    (["--train_file={train}", "--max_seq_length=2"], "--max_seq_length 2: 3 of these tokens mark the ends"),
    (["--train_file={train}", "--report_to=wandb"], "--report_to wandb: wandb is not installed"),
    (["--train_file={train}", "--lr=1"], "--lr is not an option: write --learning_rate"),
]


def test_what_is_left_out_or_looks_wrong_is_told(tmp_path, caplog):
    rows = [{"id": "r", "text": row["text"], "labels": row["labels"], "words": n} for n, row in enumerate(TRAIN[:20])]
    rows[0]["labels"] = ["Refund"]
    test = write_jsonl(tmp_path / "test.jsonl", rows[:3])
    with caplog.at_level("INFO"):
        run_multilabel.main(
            [f"--train_file={write_jsonl(tmp_path / 'train.jsonl', 3 * rows)}", f"--test_file={test}", "--check_data"]
        )
    assert "neither text, label nor id: words" in caplog.messages
    assert "validation: the texts of 6 of 6 rows stand in the training data too" in caplog.messages
    assert "labels 'Refund' and 'refund' differ only in case or spaces: write them alike if they are one" in caplog.messages
    assert "spelt almost like" not in caplog.text
    rows[0]["labels"], rows[1]["labels"] = ["refnud"], ["prefund"]
    rows = [*rows[:2], *rows[2:] * 4]
    run_multilabel.main([f"--train_file={write_jsonl(tmp_path / 'misspelt.jsonl', rows)}", "--check_data"])
    many = sum("refund" in row["labels"] for row in rows)
    told = [message for message in caplog.messages if "spelt almost like" in message]
    assert told == [f"label 'refnud' (1 row) is spelt almost like 'refund' ({many} rows): correct it if it is the same"]
    assert caplog.messages.count(f"ids: 'r' stands in 3 rows of {test}, and in as many predictions") == 1


def test_a_word_among_numbers_is_told_or_set_aside(tmp_path, caplog):
    rows = [[row["text"], *one_hot(row)] for row in TRAIN[:30]]
    rows[4][1], rows[5][1], rows[6][1] = "yes", 0.5, -1
    path = write_csv(tmp_path / "train.csv", ["text", *LABELS], rows)
    check = [f"--train_file={path}", "--check_data", "--validation_fraction=0", f"--output_dir={tmp_path / 'o'}"]
    with caplog.at_level("INFO"):
        run_multilabel.main(check)
    assert f"{path}, line 6, column {LABELS[0]!r}: 'yes' counts as 1, in a column of numbers" in caplog.messages
    yes = sum(row[1] in (1, "yes") for row in rows)
    assert f"training data: {LABELS[0]} {yes} yes and {28 - yes} no (1 between and 1 unknown), " in caplog.text
    caplog.clear()
    run_multilabel.main([*check, "--unknown_label=yes"])
    report = json.loads((tmp_path / "o" / "data_report.json").read_text())["train"]
    assert report["unknown_cells"] == 2 and len(report["labels"]) == 4 and "counts as" not in caplog.text
    assert "--unknown_label" not in caplog.text
    run_multilabel.main([*check, "--unknown_label=yse"])
    assert f"--unknown_label 'yse' stands in no cell of {', '.join(LABELS)}" in caplog.messages


def test_a_model_knows_what_stands_for_an_unknown_label(tmp_path, tiny_model, caplog):
    rows = [[row["text"], *one_hot(row)] for row in TRAIN[:30]]
    for number, row in enumerate(rows):
        row[1 + number % len(LABELS)] = "NA"
    path = write_csv(tmp_path / "rows.csv", ["text", *LABELS], rows)
    options = [f"--train_file={path}", "--unknown_label=NA", "--validation_fraction=0", "--max_steps=1"]
    run_multilabel.main([f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", *options])
    predict = [f"--model_name_or_path={tmp_path / 'o'}", f"--output_dir={tmp_path / 'p'}", "--overwrite_output_dir"]
    results = run_multilabel.main([*predict, f"--test_file={path}"])
    assert sum(results[f"predict_{label}_support"] for label in LABELS) == sum(cell == 1 for row in rows for cell in row)
    none = write_csv(tmp_path / "none.csv", ["text", *LABELS], [[row[0], *["NA"] * len(LABELS)] for row in rows])
    with caplog.at_level("INFO"):
        results = run_multilabel.main([*predict, f"--test_file={none}"])
    assert "so nothing is scored" in caplog.text and not [name for name in results if name.endswith("_support")]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line_and_leave_the_output_folder_as_it_was(tmp_path, tiny_model, arguments, message):
    rows = [[r["id"], r["text"], *one_hot(r)] for r in TRAIN[:30]]
    header = ["id", "comment_text", *LABELS]
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "o.yaml").write_text("train_fil: a.csv\n")
    files = {
        "train": write_csv(tmp_path / "train.csv", header, rows),
        "copy": write_csv(tmp_path / "copy.csv", header, rows),
        "bad_cell": write_csv(tmp_path / "bad_cell.csv", header, [["a", "b", "maybe", 0, 0, 1], *rows]),
        "odd_cell": write_csv(tmp_path / "odd_cell.csv", header, [["a", "b", "maybe", 0, 0, 1], *rows]),
        "few": write_csv(
            tmp_path / "few.csv", ["text", "defect", "praise"], [["a b", 0, 1], ["c", 1, 0], ["d", 2, 0], ["e", 1, 1]]
        ),
        "each_odd": write_csv(tmp_path / "each_odd.csv", header, [["a", "b", *["maybe"] * 4], *rows]),
        "lacking": write_csv(tmp_path / "lacking.csv", ["comment_text", "refund"], [["a", 1]]),
        "cased": write_jsonl(tmp_path / "cased.jsonl", [{"text": "a", "labels": ["Refund"]}]),
        "some_words": write_csv(tmp_path / "some_words.csv", header, [*rows[:3], *[["a", "b", "maybe", 0, 0, 1]] * 9, *rows]),
        "one_row": write_csv(tmp_path / "one_row.csv", header, [["a", "b", 1, 1, 0, 0]]),
        "ragged": write_jsonl(
            tmp_path / "ragged.jsonl",
            [{"text": "a", "labels": labels} for labels in ([1, 0, 0], [1, 1, 0], [1, 0], [0, 0, 1])],
        ),
        "nothing": write_csv(tmp_path / "nothing.csv", header, [[*row[:2], 0, 0, 0, 0] for row in rows]),
        "no_text": write_csv(tmp_path / "no_text.csv", header, [rows[0], ["r", "", *rows[1][2:]]]),
        "names": write_jsonl(tmp_path / "names.jsonl", TRAIN[:30]),
        "unseen": write_jsonl(tmp_path / "unseen.jsonl", [{"comment_text": "a", "text": "a", "labels": ["zebra"]}]),
        "sample": write_csv(tmp_path / "sample.csv", ["id", *LABELS], [["x9", 0, 0, 0, 0]]),
        "empty": str(tmp_path / "empty.csv"),
        "yaml": str(tmp_path / "o.yaml"),
    }
    output = tmp_path / "output"
    output.mkdir()
    (output / "predictions.csv").write_text("precious")
    arguments = [argument.format(**files) for argument in arguments]
    if "bad_cell" in str(arguments):
        arguments.append(f"--label_column_names={','.join(LABELS)}")
    with pytest.raises(ValueError) as caught:
        run_multilabel.main([*arguments, f"--model_name_or_path={tiny_model}", f"--output_dir={output}"])
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name: path.read_text() for path in output.iterdir()} == {"predictions.csv": "precious"}


def test_output_dir_that_is_a_file(tmp_path, tiny_model):
    (tmp_path / "o").write_text("precious")
    train = write_jsonl(tmp_path / "a.jsonl", TRAIN[:30])
    with pytest.raises(ValueError, match="--output_dir .* is not a folder that can be written to"):
        run_multilabel.main([f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}"])


def test_predicting_into_the_models_folder_keeps_its_training_record(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "model")
    record = (folder / "args.yaml").read_text()
    run_multilabel.main([f"--model_name_or_path={folder}", f"--test_file={trained[2]['test']}", f"--output_dir={folder}"])
    assert (folder / "args.yaml").read_text() == record


@pytest.mark.slow
def test_smoke_test_in_two_processes():
    result = launch("torchrun", "--nproc_per_node", "2", "run_multilabel.py", "--smoke_test", "--use_cpu")
    assert "smoke test passed" in result.stderr


@pytest.mark.slow
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(tmp_path):
    result = launch("python", "run_multilabel.py", "--train_file", str(tmp_path / "nope.csv"), check=False)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in result.stderr
    assert "nope.csv does not exist" in result.stderr


def test_negatives_and_shared_texts_are_counted_and_ids_are_kept(tmp_path, tiny_model, caplog):
    rows = [[f"T-{n}", f"late parcel number {n}, and no answer", "x" * (n % 3 == 0), "x" * (n % 4 == 0)] for n in range(24)]
    header = ["Ticket ID", "Message", "delivery", "refund"]
    train = write_csv(tmp_path / "train.csv", header, rows[:20])
    test = write_csv(tmp_path / "test.csv", header, rows[18:])
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", "--max_steps=1"]
    run_multilabel.main([*base, "--validation_fraction=0", f"--output_dir={tmp_path / 'o'}"])
    assert (
        "empty cells mean no, because no label's column holds a 0; delivery 7 yes and 13 no, refund 5 yes and 15 no"
        in caplog.text
    )
    assert "test: the texts of 2 of 6 rows stand in the training data too" in caplog.text
    assert [row["Ticket ID"] for row in read_csv(tmp_path / "o" / "predictions.csv")] == [row[0] for row in rows[18:]]


def test_weights_below_the_head_that_do_not_fit_are_named(tmp_path, tiny_model, caplog):
    train = write_jsonl(tmp_path / "train.jsonl", make_rows(20, 0))
    options = [f"--train_file={train}", "--max_steps=1", "--no_report", "--overwrite_output_dir"]

    def run(config, *more):
        tokenizer, folder = AutoTokenizer.from_pretrained(tiny_model), tmp_path / "model"
        tokenizer.save_pretrained(folder)
        config.save_pretrained(folder)
        run_multilabel.main([f"--model_name_or_path={folder}", f"--output_dir={tmp_path / 'o'}", *options, *more])

    config = AutoConfig.from_pretrained(tiny_model)
    weights = load_file(f"{tiny_model}/model.safetensors")
    odd = {name: tensor for name, tensor in weights.items() if not name.endswith("query.bias")}
    odd["encoder.layer.0.attention.self.query.scale"] = torch.ones(1)
    (tmp_path / "model").mkdir()
    save_file(odd, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level("WARNING"):
        run(config)
    assert "lacks weights, which start anew: bert.encoder.layer.0.attention.self.query.bias" in caplog.text
    assert "has weights that have no place in a bert model:" in caplog.text and "query.scale" in caplog.text
    config.hidden_size *= 2
    for more in ((), ("--ignore_mismatched_sizes",)):
        with pytest.raises(UserError, match=r"does not fit together: for bert\.\S+ its config.json wants \[.*different models"):
            run(config, *more)
    (tmp_path / "unfinished" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "unfinished" / "checkpoint-1" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="unfinished holds a run that has not ended: run its command again"):
        run_multilabel.main([*options, f"--model_name_or_path={tmp_path / 'unfinished'}", f"--output_dir={tmp_path / 'o'}"])
