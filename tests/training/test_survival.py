"""Text stays the text it is, on its way through every format, the model and back; models are what they say, or refused."""

import csv
import json
import os
import pickle
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import launch, make_choice_rows, make_rows, write_csv, write_jsonl
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import run_classification
import run_multilabel
import run_multiple_choice
from utils.files.reading import read_files

ODD = [
    "NA",
    "null",
    "None",
    "nan",
    "n/a",
    "007",
    "1e5",
    "  leading",
    "trailing ",
    "😀 é",
    "שלום",
    "a,b;c",
    'say "hi"',
    "two\nlines",
]
ODD += ["\r\n", "#", "=1+1", "true", "\u2028", "-1.50", "inf", "{}", "[1]", "'", "\\N", "\ufeffmark", "a\rreturn"]


def read_csv(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(folder: Path, ending: str, name: str, rows: list[dict]) -> str:
    if ending == "csv":
        return write_csv(folder / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
    if ending == "jsonl":
        return write_jsonl(folder / f"{name}.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_texts_ids_and_labels_are_written_back_as_they_are(tmp_path, tiny_model, ending):
    labels = ["NA", "null", "None", "nan", "007", "1e5", "  pos", "😀", "שלום", "a|b"]
    rows = [{"id": text, "text": text, "label": labels[number % len(labels)]} for number, text in enumerate(ODD * 2)]
    for number, row in enumerate(rows):
        row["id"] = f"{row['id']}{number // len(ODD)}" if number >= len(ODD) else row["id"]
    train, test = (write(tmp_path, ending, name, rows) for name in ("train", "test"))
    dataset = read_files(train)
    assert [dataset[name][:] for name in ("id", "text", "label")] == [[row[name] for row in rows] for name in rows[0]]
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", "--validation_fraction=0"]
    base += ["--text_column_names=text", "--unknown_label="]  # NA, null and nan are labels here
    run_classification.main([*base, f"--output_dir={tmp_path / 'o'}", "--max_steps=1"])
    predictions = read_csv(tmp_path / "o" / "predictions.csv")
    assert [row["id"] for row in predictions] == [row["id"] for row in rows]
    assert set(predictions[0]) == {"id", *labels, "prediction", "label", "text"}
    assert [(row["label"], row["text"]) for row in predictions] == [(row["label"], row["text"]) for row in rows]
    assert {row["prediction"] for row in predictions} <= set(labels)
    assert set(json.loads((tmp_path / "o" / "config.json").read_text())["label2id"]) == set(labels)


def test_candidates_and_lone_surrogates_are_written_back(tmp_path, tiny_model):
    rows = make_choice_rows(12)
    for number, row in enumerate(rows):
        row["choices"] = [f"{ODD[(number + place) % 10]}{'' if place else ' '}" for place in range(2)]
        row["label"] = number % 2
    (tmp_path / "lone").mkdir()
    rows[0]["choices"], rows[0]["id"] = ["half \ud83d of a pair", "\udc00"], "\ud83d!"
    train, test = (write_jsonl(tmp_path / f"{name}.jsonl", rows) for name in ("train", "test"))
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", "--validation_fraction=0"]
    run_multiple_choice.main([*base, f"--output_dir={tmp_path / 'o'}", "--max_steps=1"])
    predictions = read_csv(tmp_path / "o" / "predictions.csv")
    for row, found in zip(rows, predictions, strict=True):
        expected = row["choices"][int(found["prediction"])]
        assert found["prediction_text"] == expected.encode("utf-8", "backslashreplace").decode()
    assert predictions[0]["id"] == r"\ud83d!"  # as JSON writes it
    assert rb"\ud83d!" in (tmp_path / "test.jsonl").read_bytes()


def test_lists_of_odd_labels(tmp_path, tiny_model):
    rows = [{"text": text, "labels": [ODD[n % 9].strip(), "x"][: 1 + n % 2]} for n, text in enumerate(ODD)]
    train, test = (write_jsonl(tmp_path / f"{name}.jsonl", rows) for name in ("train", "test"))
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", "--validation_fraction=0"]
    base += ["--unknown_label="]  # as above
    metrics = run_multilabel.main([*base, f"--output_dir={tmp_path / 'o'}", "--max_steps=1"])
    names = {label for row in rows for label in row["labels"]}
    assert set(read_csv(tmp_path / "o" / "predictions.csv")[0]) == {"row", *names, "prediction", "label", "text"}
    assert metrics["predict_x_support"] == sum("x" in row["labels"] for row in rows)


@pytest.fixture
def train(tmp_path) -> str:
    return write_jsonl(tmp_path / "train.jsonl", make_rows(24))


def run(model, train: str, output: Path, *more: str) -> dict:
    return run_multilabel.main(
        [f"--model_name_or_path={model}", f"--train_file={train}", f"--output_dir={output}", "--max_steps=1", *more]
    )


def changed(model: str, folder: Path, **settings) -> Path:
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_models_that_are_none(tmp_path, tiny_model, train, monkeypatch):
    with pytest.raises(ValueError, match="--model_name_or_path /x/nope is neither a folder with a model nor a name on the Hub"):
        run("/x/nope", train, tmp_path / "o")
    for offline, advice in (("", "run `make model`; without a network set HF_HUB_OFFLINE=1"), ("1", "run `make model`$")):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        with pytest.raises(ValueError, match=f"--model_name_or_path bert-base-nowhere is neither .*{advice}"):
            run("bert-base-nowhere", train, tmp_path / "o")
    without = changed(tiny_model, tmp_path / "without")
    (without / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="no tokenizer in .*without: .*--tokenizer_name"):
        run(without, train, tmp_path / "o")
    no_padding = changed(tiny_model, tmp_path / "no_padding")
    settings = json.loads((no_padding / "tokenizer_config.json").read_text())
    (no_padding / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": None}))
    with pytest.raises(ValueError, match="no_padding has no padding token, and no end of text to take for it"):
        run(no_padding, train, tmp_path / "o")
    monkeypatch.setattr(run_multilabel, "load_model", lambda *_: pytest.fail("a model is loaded"))
    few = changed(tiny_model, tmp_path / "few", vocab_size=20)
    with pytest.raises(
        ValueError, match=r"the tokenizer of .*tiny0 does not fit .*few: it gave token \d+, but the model knows tokens 0 to 19"
    ):
        run(few, train, tmp_path / "o", f"--tokenizer_name={tiny_model}")
    assert not (tmp_path / "o").exists()


def test_weights_that_are_damaged_or_more_than_weights(tmp_path, tiny_model, train):
    cut = changed(tiny_model, tmp_path / "cut")
    os.truncate(cut / "model.safetensors", 2000)
    with pytest.raises(ValueError, match="cannot load the weights of .*cut"):
        run(cut, train, tmp_path / "o")

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    pickled = changed(tiny_model, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save(Malicious(), pickled / "pytorch_model.bin", pickle_module=pickle)
    with pytest.raises(ValueError, match="cannot load the weights of .*pickled"):
        run(pickled, train, tmp_path / "o")
    assert not (tmp_path / "executed").exists()
    code = changed(tiny_model, tmp_path / "code", auto_map={"AutoConfig": "own.Config"}, model_type="own")
    (code / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'executed')!r})\n")
    with pytest.raises(ValueError, match="code brings its own code: read it, then add --trust_remote_code"):
        run(code, train, tmp_path / "o")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "o").exists()


def test_a_tokenizer_whose_file_is_missing(tmp_path, tiny_model, train):
    model = changed(tiny_model, tmp_path / "model")
    (model / "tokenizer.json").unlink()
    settings = json.loads((model / "tokenizer_config.json").read_text()) | {"tokenizer_class": "BertTokenizer"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))  # of which transformers then makes an empty one
    with pytest.raises(ValueError, match="the tokenizer of .* knows no words: is its tokenizer.json missing"):
        run(model, train, tmp_path / "o")


def test_a_head_of_another_width_and_half_precision(tmp_path, tiny_model, train):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3, id2label={0: "a", 1: "b", 2: "c"})
    model.half().save_pretrained(tmp_path / "three")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "three")
    with pytest.raises(
        ValueError, match="three was trained for other labels: its head has a, b, c, .* add --ignore_mismatched_sizes"
    ):
        run(tmp_path / "three", train, tmp_path / "o")
    run(tmp_path / "three", train, tmp_path / "o", "--ignore_mismatched_sizes")
    assert {weights.dtype for weights in load_file(tmp_path / "o" / "model.safetensors").values()} == {torch.float32}


@pytest.mark.slow
def test_tokens_are_neither_printed_nor_saved(tmp_path, tiny_model, train):
    secret = "hf_SECRETsecret"
    arguments = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}", "--max_steps=2"]
    arguments += [f"--token={secret}", f"--hub_token={secret}", "--save_strategy=steps", "--save_steps=1", "--log_level=debug"]
    result = launch("python", "run_multilabel.py", *arguments)
    assert secret not in result.stdout + result.stderr
    files = [path for path in (tmp_path / "o").rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in files)
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_no_permission_is_one_line(tmp_path, tiny_model, train, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the superuser of a container may read everything
    with pytest.raises(ValueError, match=r"cannot read .*train.jsonl: Permission denied"):
        run(tiny_model, train, tmp_path / "o")


def test_a_full_disk_at_the_end_is_one_line_and_leaves_no_half_file(tmp_path, tiny_model, train, monkeypatch, capsys):
    from utils.command_line import one_line_errors

    test = write_jsonl(tmp_path / "test.jsonl", make_rows(9, 1))
    monkeypatch.setattr(
        "csv.writer", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device", "predictions.csv"))
    )
    with pytest.raises(SystemExit) as ended, one_line_errors():
        run(tiny_model, train, tmp_path / "o", f"--test_file={test}")
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: cannot write predictions.csv: No space left on device"
    assert not list((tmp_path / "o").glob("*predictions*")) and not (tmp_path / "o" / "args.yaml").exists()
