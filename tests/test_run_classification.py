"""run_classification.py end to end on a tiny model: that it learns, what it writes, what it refuses."""

import csv
import json

import numpy as np
import pytest
from conftest import launch, make_rows, write_csv, write_jsonl
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from transformers import pipeline

import run_classification

LEARN = "--learning_rate 4e-3 --head_learning_rate_multiplier 1 --num_train_epochs 10 --per_device_train_batch_size 16".split()
LEARN += ["--linear_probe=False"]  # the encoder is random, so it tells a fit nothing
TOPICS = ["defect", "delivery", "praise"]


def topic_rows(count, seed):
    """Rows with one of three labels, decided by their words."""
    return [
        {"id": row["id"], "text": row["text"], "label": row["labels"][0]}
        for row in make_rows(4 * count, seed)
        if len(row["labels"]) == 1 and row["labels"][0] in TOPICS
    ][:count]


def binary_rows(count, seed, negative="no", positive="yes"):
    return [
        {"id": row["id"], "text": row["text"], "label": positive if "defect" in row["labels"] else negative}
        for row in make_rows(count, seed)
    ]


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_of(folder, make, sizes=(300, 80, 60)):
    folder.mkdir(parents=True, exist_ok=True)
    splits = {
        name: make(size, seed) for seed, (name, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True))
    }
    return splits, [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', rows)}" for name, rows in splits.items()]


def agrees_with_pipeline(output, test, names):
    """Whether pipeline() gives the probabilities of predictions.csv, for every label it names."""
    classify = pipeline("text-classification", model=str(output), top_k=None)
    inputs = [{"text": r["text"], "text_pair": r["other"]} if "other" in r else r["text"] for r in test[:20]]
    for text, row in zip(inputs, read_csv(output / "predictions.csv"), strict=False):
        found = {score["label"]: score["score"] for score in classify([text])[0]}
        assert found and set(found) <= set(names)
        for label, probability in found.items():
            assert probability == pytest.approx(float(row[label]), abs=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("trained")
    splits, files = files_of(folder, topic_rows)
    metrics = run_classification.main([f"--model_name_or_path={tiny_model}", f"--output_dir={folder / 'o'}", *files, *LEARN])
    return folder / "o", metrics, splits["test"]


def test_it_learns_and_writes_its_files(trained):
    output, metrics, test = trained
    assert metrics["predict_accuracy"] > 0.9 and metrics["predict_roc_auc_macro"] > 0.95
    rows = read_csv(output / "predictions.csv")
    assert list(rows[0]) == ["id", *TOPICS, "prediction", "label", "text"]
    assert [(row["id"], row["label"], row["text"]) for row in rows] == [(r["id"], r["label"], r["text"][:200]) for r in test]
    truth, decided = [row["label"] for row in test], [row["prediction"] for row in rows]
    found = np.array([[float(row[label]) for label in TOPICS] for row in rows])
    assert decided == [TOPICS[i] for i in found.argmax(axis=1)]
    assert metrics["predict_f1_macro"] == pytest.approx(f1_score(truth, decided, average="macro"))
    assert metrics["predict_roc_auc_macro"] == pytest.approx(roc_auc_score(truth, found, multi_class="ovr"))
    assert metrics["predict_loss"] == pytest.approx(metrics["predict_log_loss"], rel=1e-5)
    config = json.loads((output / "config.json").read_text())
    assert config["problem_type"] == "single_label_classification" and list(config["id2label"].values()) == TOPICS
    names = {path.name for path in output.iterdir()}
    assert names >= {
        "README.md",
        "args.yaml",
        "all_results.json",
        "eval_results.json",
        "predict_results.json",
        "model.safetensors",
    }
    assert "thresholds.json" not in names


def test_pipeline_gives_the_same_probabilities(trained):
    output, _, test = trained
    agrees_with_pipeline(output, test, TOPICS)


def test_saved_model_predicts_alone_with_its_own_labels(trained, tmp_path, caplog):
    output, metrics, test = trained
    base = [f"--model_name_or_path={output}"]
    unlabelled = write_csv(tmp_path / "test.csv", ["id", "text"], [[r["id"], r["text"]] for r in test])
    run_classification.main([*base, f"--test_file={unlabelled}", f"--output_dir={tmp_path / 'out'}"])
    labelled = read_csv(output / "predictions.csv")
    assert all(row.pop("label") for row in labelled) and read_csv(tmp_path / "out" / "predictions.csv") == labelled
    minus_one = write_csv(tmp_path / "glue.csv", ["id", "text", "label"], [[r["id"], r["text"], -1] for r in test])
    found = run_classification.main([*base, f"--test_file={minus_one}", f"--output_dir={tmp_path / 'out2'}"])
    assert read_csv(tmp_path / "out2" / "predictions.csv") == labelled
    assert "predict_accuracy" not in found
    one_label = write_jsonl(tmp_path / "one.jsonl", [r for r in test if r["label"] == "praise"])
    caplog.set_level("INFO")
    unused = ["--learning_rate=1e-3", "--class_weights=balanced"]
    found = run_classification.main([*base, f"--validation_file={one_label}", f"--output_dir={tmp_path / 'out3'}", *unused])
    assert "nothing is trained, so these options do nothing: --learning_rate, --class_weights" in caplog.messages
    assert found["eval_praise_support"] == sum(r["label"] == "praise" for r in test) and found["eval_defect_support"] == 0


BINARY = {
    "two_logits": (lambda yes: int(yes), []),
    "names": (lambda yes: "yes" if yes else "no", []),
    "one_logit": (lambda yes: [int(yes)], []),
    "one_logit from ids": (lambda yes: float(yes), ["--binary_form=one_logit"]),
    "one_hot": (lambda yes: [int(not yes), int(yes)], []),
    "one_hot, bce": (lambda yes: [int(not yes), int(yes)], ["--loss=bce"]),
    "one_hot from ids": (lambda yes: bool(yes), ["--binary_form=one_hot"]),
    "soft rows": (lambda yes: [0.9, 0.1] if not yes else [0.2, 0.8], []),
    "soft targets": (lambda yes: 0.9 if yes else 0.1, ["--binary_form=one_logit"]),
    "rows to ids": (lambda yes: [int(not yes), int(yes)], ["--binary_form=two_logits"]),
}


@pytest.mark.parametrize("name", BINARY)
def test_every_valid_binary_form_learns_and_agrees_with_pipeline(tmp_path, tiny_model, name):
    write, extra = BINARY[name]
    splits, files = files_of(
        tmp_path, lambda size, seed: [{**row, "label": write(row["label"] == "yes")} for row in binary_rows(size, seed)]
    )
    output = tmp_path / "o"
    metrics = run_classification.main([f"--model_name_or_path={tiny_model}", f"--output_dir={output}", *files, *LEARN, *extra])
    assert metrics["predict_roc_auc"] > 0.97 and metrics["predict_accuracy"] > 0.9
    names = [column for column in read_csv(output / "predictions.csv")[0] if column not in ("id", "prediction", "label", "text")]
    assert len(names) == 2
    for row, given in zip(read_csv(output / "predictions.csv"), splits["test"], strict=True):
        label = write(False) != given["label"]  # whether the second class is true
        assert row["label"] == names[label]
    agrees_with_pipeline(output, splits["test"], names)
    test = write_jsonl(tmp_path / "again.jsonl", splits["test"])
    again = run_classification.main([f"--model_name_or_path={output}", f"--test_file={test}", f"--output_dir={tmp_path / 'p'}"])
    assert (tmp_path / "p" / "predictions.csv").read_text() == (output / "predictions.csv").read_text()
    assert again["predict_roc_auc"] == metrics["predict_roc_auc"]


def test_regression(tmp_path, tiny_model):
    splits, files = files_of(
        tmp_path, lambda size, seed: [{**row, "label": 2.5 * (row["label"] == "yes")} for row in binary_rows(size, seed)]
    )
    output = tmp_path / "o"
    metrics = run_classification.main([f"--model_name_or_path={tiny_model}", f"--output_dir={output}", *files, *LEARN])
    assert metrics["predict_pearson"] > 0.9 and metrics["predict_mse"] == pytest.approx(metrics["predict_loss"], rel=1e-4)
    rows = read_csv(output / "predictions.csv")
    assert list(rows[0]) == ["id", "prediction", "label", "text"]
    assert [float(row["label"]) for row in rows] == [row["label"] for row in splits["test"]]
    agreed = pipeline("text-classification", model=str(output))(splits["test"][0]["text"])
    assert agreed[0]["score"] == pytest.approx(float(rows[0]["prediction"]), abs=1e-4)


def test_pairs_are_encoded_as_pairs_and_agree_with_pipeline(tmp_path, tiny_model):
    def make(size, seed):
        texts = binary_rows(size, seed)
        return [{"id": r["id"], "text": "the kettle", "other": r["text"], "label": r["label"]} for r in texts]

    splits, files = files_of(tmp_path, make)
    base = [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", *files]
    metrics = run_classification.main([*base, *LEARN, "--text_column_names=text,other"])
    assert metrics["predict_accuracy"] > 0.9
    agrees_with_pipeline(tmp_path / "o", splits["test"], ["no", "yes"])
    texts = [row["text"] for row in read_csv(tmp_path / "o" / "predictions.csv")]
    assert texts == [f"the kettle | {row['other'][:100]}" for row in splits["test"]]
    card = (tmp_path / "o" / "README.md").read_text()
    assert "text_pair" in card and '["a text"]' not in card
    joined = run_classification.main(
        [*base, *LEARN, "--text_column_names=text,other", "--text_column_delimiter= ", "--overwrite_output_dir"]
    )
    assert joined["predict_accuracy"] > 0.9


def test_unknown_labels_are_set_aside_in_training_and_predicted(tmp_path, tiny_model, caplog):
    splits, _ = files_of(tmp_path, binary_rows)
    train = [{**row, "label": None} if number < 7 else row for number, row in enumerate(splits["train"])]
    test = [{**row, "label": None} if number < 5 else row for number, row in enumerate(splits["test"])]
    caplog.set_level("INFO", logger="utils")
    metrics = run_classification.main(
        [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", "--max_steps=2"]
        + [f"--train_file={write_jsonl(tmp_path / 'a.jsonl', train)}", f"--test_file={write_jsonl(tmp_path / 'b.jsonl', test)}"]
    )
    assert "train: 7 rows without a known label set aside" in caplog.text
    assert "test: 5 rows without a known label not scored" in caplog.text
    assert [row["label"] for row in read_csv(tmp_path / "o" / "predictions.csv")] == [row["label"] or "" for row in test]
    assert metrics["predict_no_support"] + metrics["predict_yes_support"] == 55


def test_threshold_is_tuned_saved_and_used_again(tmp_path, tiny_model):
    splits, files = files_of(tmp_path, binary_rows)
    base = [
        f"--model_name_or_path={tiny_model}",
        f"--output_dir={tmp_path / 'o'}",
        *files,
        "--max_steps=8",
        "--linear_probe=False",
    ]
    run_classification.main([*base, "--threshold=tuned"])
    threshold = json.loads((tmp_path / "o" / "thresholds.json").read_text())["yes"]
    assert threshold != 0.5
    rows = read_csv(tmp_path / "o" / "predictions.csv")
    assert [row["prediction"] for row in rows] == ["yes" if float(row["yes"]) >= threshold else "no" for row in rows]
    run_classification.main([f"--model_name_or_path={tmp_path / 'o'}", files[2], f"--output_dir={tmp_path / 'p'}"])
    assert [row["prediction"] for row in read_csv(tmp_path / "p" / "predictions.csv")] == [row["prediction"] for row in rows]
    run_classification.main(
        [f"--model_name_or_path={tmp_path / 'o'}", files[2], f"--output_dir={tmp_path / 'q'}", "--threshold=0.01"]
    )
    assert {row["prediction"] for row in read_csv(tmp_path / "q" / "predictions.csv")} == {"yes"}


def labels(*values):
    """Rows that repeat the given labels."""
    return [{"id": str(n), "text": f"the kettle {n}", "label": values[n % len(values)]} for n in range(40)]


REFUSED = [
    (labels([1, 0, 0], [0, 1, 0]), [], "targets [rows, 3] for 2 labels: position 2 is 0 in every row"),
    (labels([1, 0, 0], [0, 1, 0], [0, 0, 1]), ["--binary_form=one_hot"], "targets [rows, 3] with 3 labels do not fit"),
    (labels(0.2, 0.9), ["--binary_form=two_logits"], "cross-entropy takes class ids [rows]; for float targets [rows, 1]"),
    (labels(0.2, 0.9), ["--problem_type=binary"], "cross-entropy takes class ids [rows]"),
    (labels([0.2, 0.8], [1, 0]), ["--binary_form=two_logits"], "takes class ids [rows]; use --binary_form one_hot"),
    (labels(0, 2), [], "the labels 0, 2 leave out 1"),
    (labels([1], [0], [0.3]), ["--binary_form=two_logits"], "takes class ids [rows]; use --binary_form one_hot"),
    (labels([1, 0]), [], "every row has the label 0; expected at least two"),
    (labels("2.5", "1.25", "3.75", "0.5", "N/A"), [], "line 5, column 'label': 'N/A' is the label of"),
    (labels("a", "b"), ["--binary_form=one_logit", "--problem_type=multi"], "is for two classes, --problem_type multi is not"),
    (labels("a", "b"), ["--task_name=foo"], "--task_name foo: expected a GLUE task, one of cola"),
    (labels("a", "b"), ["--label_names=label"], "--label_names label: name the label with --label_column_name"),
    (labels([1], [0]), ["--problem_type=multi"], "targets [rows, 1] do not fit --problem_type multi"),
    (labels([0, 1], [1, 0]), ["--problem_type=regression"], "targets [rows, 2] do not fit --problem_type regression"),
    (labels("a", "b", "c"), ["--binary_form=one_logit"], "3 labels do not fit --binary_form one_logit"),
    (labels("a", "b"), ["--problem_type=regression"], "found 'a', expected a number (regression)"),
    (labels("a", "b"), ["--loss=bce"], "gives class ids [rows]; use --loss cross_entropy, or --binary_form one_logit"),
    (labels("a"), [], "every row has the label 'a'; expected at least two"),
    (labels("a", None), [], "the 20 rows with a label all have 'a', and 20 have none; expected at least two labels: if an empty"),
    (labels(3, 4, -1), [], "-1 stands beside 3, 4: if it means that the label is unknown, add --unknown_label -1"),
    (labels(0.5, 2.25), ["--class_weights=balanced"], "--class_weights balanced: column 'label' holds numbers"),
    (labels("a", "b"), ["--class_weights=1,2,3"], "--class_weights has 3 numbers; expected one for each of 2"),
    (labels("a", "b", "c"), ["--threshold=0.4"], "--threshold decides between two labels"),
    (labels(["a", "b"], []), [], "use run_multilabel.py --label_column_names label"),
    (labels([1, 1], [0, 1]), [], "use run_multilabel.py --label_column_names label"),
    (labels("['a', 'b']", "['b']"), [], "use run_multilabel.py --label_column_names label"),
    (labels("a;b", "a", "b"), [], "use run_multilabel.py --label_column_names label"),
    (labels("a", "b"), ["--label_column_name=topic"], "has no column 'topic'; its columns: id, text, label"),
    ([{"text": "x", "a": n % 2, "b": int(n % 3 > 0)} for n in range(9)], [], "use run_multilabel.py --label_column_names a,b"),
    ([{"q": "x", "ending0": "a", "ending1": "b", "label": n % 2} for n in range(9)], [], "use run_multiple_choice.py"),
    ([{"text": "x", "topic": f"about {n}"} for n in range(30)], [], "the 30 rows have 30 different labels"),
]


@pytest.mark.parametrize(("rows", "extra", "message"), REFUSED)
def test_every_invalid_shape_is_named_before_a_model_is_loaded(tmp_path, tiny_model, monkeypatch, rows, extra, message):
    monkeypatch.setattr(run_classification, "load_model", lambda *_: pytest.fail("a model was loaded"))
    output = tmp_path / "o"
    output.mkdir()
    (output / "predictions.csv").write_text("precious")
    with pytest.raises(ValueError) as caught:
        run_classification.main(
            [f"--model_name_or_path={tiny_model}", f"--train_file={write_jsonl(tmp_path / 'a.jsonl', rows)}"]
            + [f"--output_dir={output}", *extra]
        )
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name: path.read_text() for path in output.iterdir()} == {"predictions.csv": "precious"}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_unknown_to_training_is_named_with_its_row(tmp_path, tiny_model, split):
    train = write_jsonl(tmp_path / "a.jsonl", labels("a", "b"))
    other = write_jsonl(tmp_path / "other.jsonl", labels("a", "zebra"))
    with pytest.raises(ValueError, match=r"other.jsonl, line 2, column 'label': the label 'zebra' is not among"):
        run_classification.main(
            [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--{split}_file={other}", f"--output_dir={tmp_path}"]
        )


def count_of(metrics, split="predict"):
    return {name.split("_")[1]: value for name, value in metrics.items() if name.startswith(split) and name.endswith("_support")}


def test_numbers_are_classes_by_name_and_not_by_position(tmp_path, tiny_model):
    base = [f"--model_name_or_path={tiny_model}", "--max_steps=1", f"--output_dir={tmp_path / 'o'}"]
    train = write_jsonl(tmp_path / "a.jsonl", labels(1, 2, 3))
    other = write_jsonl(tmp_path / "b.jsonl", labels(0, 1, 2))
    with pytest.raises(ValueError, match="line 1, column 'label': the label '0' is not among"):
        run_classification.main([*base, f"--train_file={train}", f"--test_file={other}"])


def test_class_labels_of_another_file_are_mapped_by_name(tmp_path, tiny_model):
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    def split(names, count):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        rows = {"text": [f"a kettle {n}" for n in range(count)], "label": [0] * (count - 5) + [1] * 5}
        return Dataset.from_dict(rows, features)

    DatasetDict(train=split(["zeta", "alpha"], 30), test=split(["alpha", "zeta"], 12)).save_to_disk(tmp_path / "data")
    base = [f"--model_name_or_path={tiny_model}", "--max_steps=1", f"--output_dir={tmp_path / 'o'}"]
    metrics = run_classification.main([*base, f"--dataset_name={tmp_path / 'data'}"])
    assert count_of(metrics) == {"zeta": 5, "alpha": 7}
    split(["alpha", "zeta"], 12).save_to_disk(tmp_path / "single")
    base = [f"--model_name_or_path={tmp_path / 'o'}", "--max_steps=1", f"--output_dir={tmp_path / 'p'}"]
    metrics = run_classification.main([*base, f"--dataset_name={tmp_path / 'single'}", "--validation_fraction=0.5"])
    assert count_of(metrics, "eval") in ({"zeta": 2, "alpha": 4}, {"zeta": 3, "alpha": 3})


def test_loss_and_threshold_are_those_of_the_run_that_trains(tmp_path, tiny_model):
    train = write_jsonl(tmp_path / "a.jsonl", binary_rows(60, 1))
    model = ["--max_steps=2", f"--train_file={train}", f"--output_dir={tmp_path / 'm'}", "--binary_form=one_hot"]
    run_classification.main([f"--model_name_or_path={tiny_model}", *model, "--threshold=tuned"])
    tuned = json.loads((tmp_path / "m" / "thresholds.json").read_text())["yes"]
    predict = [f"--model_name_or_path={tmp_path / 'm'}", f"--test_file={train}"]
    run_classification.main([*predict, f"--output_dir={tmp_path / 'p'}"])
    run_classification.main([*predict, f"--output_dir={tmp_path / 'q'}", "--loss=bce"])  # nothing is trained
    assert (tmp_path / "p" / "predictions.csv").read_text() == (tmp_path / "q" / "predictions.csv").read_text()
    assert json.loads((tmp_path / "p" / "thresholds.json").read_text())["yes"] == tuned != 0.5
    for loss, problem in (("bce", "multi_label_classification"), ("cross_entropy", "single_label_classification")):
        run_classification.main([f"--model_name_or_path={tmp_path / 'm'}", *model, f"--loss={loss}", "--overwrite_output_dir"])
        assert json.loads((tmp_path / "m" / "config.json").read_text())["problem_type"] == problem
        assert json.loads((tmp_path / "m" / "thresholds.json").read_text())["yes"] == 0.5


def test_the_label_column_is_remembered_and_a_label_may_be_called_average(tmp_path, tiny_model):
    rows = [{"text": row["text"], "topic": "x", "stars": row["label"]} for row in binary_rows(60, 1, "average", "prediction")]
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    test = write_jsonl(tmp_path / "b.jsonl", rows)
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={file}", f"--test_file={test}", "--label_column_name=stars"]
    metrics = run_classification.main([*base, "--max_steps=2", f"--output_dir={tmp_path / 'm'}"])
    predict = [f"--model_name_or_path={tmp_path / 'm'}", f"--test_file={file}", f"--output_dir={tmp_path / 'p'}"]
    again = run_classification.main(predict)
    assert again["predict_average_precision"] == metrics["predict_average_precision"]
    found = read_csv(tmp_path / "p" / "predictions.csv")
    assert list(found[0]) == ["row", "average", "label prediction", "prediction", "label", "text"]
    truth = [row["stars"] == "prediction" for row in rows]
    expected = average_precision_score(truth, [float(row["label prediction"]) for row in found])
    assert metrics["predict_average_precision"] == pytest.approx(expected, rel=0.02)  # six digits may tie


def test_a_trained_head_without_names_predicts(tmp_path, tiny_model):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3).save_pretrained(tmp_path / "m")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "m")
    rows = write_jsonl(tmp_path / "a.jsonl", make_rows(5))
    run_classification.main([f"--model_name_or_path={tmp_path / 'm'}", f"--test_file={rows}", f"--output_dir={tmp_path / 'o'}"])
    assert list(read_csv(tmp_path / "o" / "predictions.csv")[0]) == ["id", "LABEL_0", "LABEL_1", "LABEL_2", "prediction", "text"]


def test_a_checkpoint_of_other_labels_is_not_resumed(tmp_path, tiny_model):
    base = [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}", "--max_steps=4", "--save_strategy=steps"]
    base += ["--save_steps=2", "--validation_fraction=0", "--keep_checkpoints"]
    for number, names in enumerate((("a", "b"), ("c", "d"), ("a", "b", "c"))):
        train = write_jsonl(tmp_path / f"{number}.jsonl", labels(*names))
        if number == 0:
            run_classification.main([*base, f"--train_file={train}"])
            continue
        with pytest.raises(ValueError, match="the labels were a, b, are "):
            run_classification.main([*base, f"--train_file={train}", "--resume_from_checkpoint"])


def test_a_metric_that_few_rows_do_not_define_gives_way_to_the_loss(tmp_path, tiny_model):
    rows = [{"text": row["text"], "label": number / 7} for number, row in enumerate(make_rows(12))]
    train = write_jsonl(tmp_path / "a.jsonl", rows)
    metrics = run_classification.main(
        [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path}", "--max_steps=2"]
    )
    assert "eval_mse" in metrics and "eval_pearson" not in metrics
    test = write_jsonl(tmp_path / "t.jsonl", [{**row, "label": -1} for row in rows])
    found = run_classification.main([f"--model_name_or_path={tmp_path}", f"--test_file={test}", f"--output_dir={tmp_path / 'p'}"])
    assert "predict_mse" not in found


def test_a_model_of_the_other_script_is_answered_with_its_name(tmp_path, tiny_model):
    import run_multilabel

    rows = write_jsonl(tmp_path / "several.jsonl", make_rows(30))
    one_label = write_jsonl(tmp_path / "one.jsonl", labels("a", "b"))
    several, one = tmp_path / "several", tmp_path / "one"
    base = [f"--model_name_or_path={tiny_model}", "--max_steps=1"]
    run_multilabel.main([*base, f"--train_file={rows}", f"--output_dir={several}"])
    for form in ("two_logits", "one_logit", "one_hot"):
        run_classification.main(
            [*base, f"--train_file={one_label}", f"--output_dir={one}", f"--binary_form={form}", "--overwrite_output_dir"]
        )
        with pytest.raises(ValueError, match="was trained by run_classification.py: use run_classification.py"):
            run_multilabel.main([f"--model_name_or_path={one}", f"--test_file={rows}", f"--output_dir={tmp_path / 'o'}"])
    with pytest.raises(ValueError, match="was trained by run_multilabel.py"):
        run_classification.main([f"--model_name_or_path={several}", f"--test_file={rows}", f"--output_dir={tmp_path / 'o'}"])
    base = [f"--model_name_or_path={one}", "--max_steps=1", "--ignore_mismatched_sizes"]  # its encoder serves the other script
    run_multilabel.main([*base, f"--train_file={rows}", f"--output_dir={several}", "--overwrite_output_dir"])
    run_multilabel.main([f"--model_name_or_path={several}", f"--test_file={rows}", f"--output_dir={tmp_path / 'o'}"])


# The commands of the README files of HF's run_glue.py and run_classification.py (transformers 5), files in place of the Hub.
HF_COMMANDS = {
    "glue": "--model_name_or_path {model} --task_name mrpc --train_file {pairs} --validation_file {pairs} --do_train --do_eval "
    "--max_seq_length 64 --per_device_train_batch_size 32 --learning_rate 2e-5 --num_train_epochs 3 --output_dir {out}",
    "glue, custom data": "--model_name_or_path {model} --train_file {text} --validation_file {text} --do_train --do_eval "
    "--max_seq_length 64 --per_device_train_batch_size 32 --learning_rate 2e-5 --num_train_epochs 3 --output_dir {out}",
    "reviews": "--model_name_or_path {model} --dataset_name {hub} --shuffle_train_dataset --metric_name accuracy "
    "--text_column_name review_title,review_body,product_category --text_column_delimiter \\n --label_column_name stars "
    "--do_train --do_eval --max_seq_length 64 --per_device_train_batch_size 32 --learning_rate 2e-5 --num_train_epochs 1 "
    "--output_dir {out}",
}


@pytest.mark.parametrize("name", HF_COMMANDS)
def test_commands_of_the_hf_examples_run_unchanged(tmp_path, tiny_model, name):
    rows = binary_rows(40, 1, "0", "1")
    (tmp_path / "hub").mkdir()
    header = ["review_title", "review_body", "product_category", "stars"]
    for split in ("train", "validation"):
        write_csv(tmp_path / "hub" / f"{split}.csv", header, [["a", r["text"], "b", int(r["label"]) + 1] for r in rows])
    places = {
        "model": tiny_model,
        "pairs": write_csv(tmp_path / "p.csv", ["sentence1", "sentence2", "label"], [[r["text"], "a", r["label"]] for r in rows]),
        "text": write_csv(tmp_path / "t.csv", ["sentence1", "label"], [[r["text"], r["label"]] for r in rows]),
        "hub": tmp_path / "hub",
        "out": tmp_path / "o",
    }
    metrics = run_classification.main(HF_COMMANDS[name].format(**places).split())
    assert 0 <= metrics["eval_accuracy"] <= 1 and "predict_loss" not in metrics


def test_check_data_reports_before_any_model(tmp_path):
    train = write_jsonl(tmp_path / "a.jsonl", topic_rows(50, 1))
    run_classification.main(["--check_data", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}"])
    report = json.loads((tmp_path / "o" / "data_report.json").read_text())
    assert set(report["train"]["labels"]) == set(TOPICS) and report["train"]["rows"] + report["validation"]["rows"] == 50


@pytest.mark.slow
def test_smoke_test_and_sample_in_a_program_of_its_own():
    result = launch("python", "run_classification.py", "--smoke_test")
    assert "smoke test passed" in result.stderr
