"""--export: ONNX Runtime gives the model's probabilities, or nothing is kept."""

import csv
import json
import re

import numpy as np
import onnx_ir
import pytest
from conftest import LABELS, ROOT, make_choice_rows, make_rows, write_jsonl
from onnxruntime import InferenceSession
from scipy.special import expit, softmax
from transformers import AutoTokenizer

import run_classification
import run_mlm
import run_multilabel
import run_multiple_choice
from utils.arguments import RunError, UserError
from utils.publishing import onnx


def given(model, folder, rows, **options) -> list[str]:
    files = {name: write_jsonl(folder / f"{name}.jsonl", part) for name, part in rows.items()}
    options = {"model_name_or_path": model, "output_dir": folder / "o", "learning_rate": 5e-3, "max_steps": 20} | options
    options |= {f"{name}_file": path for name, path in files.items()}
    return [*(f"--{name}={value}" for name, value in options.items()), "--no_report"]


def splits(rows, more: int = 1) -> dict:
    return {"train": rows(60 * more, 0), "validation": rows(30 * more, 1)}


def read_csv(path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def written_probabilities(path, names: list[str]) -> np.ndarray:
    header, *rows = read_csv(path)
    return np.array([[float(row[header.index(name)]) for name in names] for row in rows if row[header.index(names[-1])]])


def test_the_graph_alone_gives_labels_thresholds_and_probabilities(tmp_path, tiny_model, caplog):
    with caplog.at_level("INFO"):
        run_multilabel.main(given(tiny_model, tmp_path, splits(make_rows), export="onnx"))
    assert "probabilities of the validation rows differ from the model's by" in caplog.text
    assert [path.name for path in (tmp_path / "o" / "onnx").iterdir()] == ["model.onnx"]
    session, tokenizer = InferenceSession(tmp_path / "o" / "onnx" / "model.onnx"), AutoTokenizer.from_pretrained(tmp_path / "o")
    facts = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items() if name != "pkg"}
    assert facts["labels"] == LABELS
    assert list(facts["thresholds"].values()) == json.loads((tmp_path / "o" / "config.json").read_text())["thresholds"]
    expected = written_probabilities(tmp_path / "o" / "validation_predictions.csv", LABELS)
    texts = [row["text"] for row in make_rows(30, 1)]
    for many in (1, 7, 30):  # any number of rows, of any length
        (logits,) = session.run(["logits"], dict(tokenizer(texts[:many], padding=True, return_tensors="np")))
        np.testing.assert_allclose(expit(logits), expected[:many], atol=1e-5)
    # the service of docs/serving.md decides as the run did
    codes = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL)
    (service,) = [code for code in codes if "FastAPI" in code]
    served: dict = {}
    exec(service.replace('"out', f'"{tmp_path / "o"}'), served)
    decided = [row[len(LABELS) + 1] for row in read_csv(tmp_path / "o" / "validation_predictions.csv")[1:]]
    assert [";".join(answer) for answer in served["classify"](texts)] == decided
    assert "/classify" in served["app"].openapi()["paths"]


@pytest.mark.slow
def test_a_graph_reads_any_number_of_candidates(tmp_path, tiny_model):
    run_multiple_choice.main(given(tiny_model, tmp_path, splits(make_choice_rows), export="onnx"))
    session, tokenizer = InferenceSession(tmp_path / "o" / "onnx" / "model.onnx"), AutoTokenizer.from_pretrained(tmp_path / "o")
    row = next(row for row in make_choice_rows(30, 1) if len(row["choices"]) == 5)
    names = [f"choice{position}" for position in range(len(row["choices"]))]
    tokens = tokenizer([row["context"]] * len(names), row["choices"], padding=True, return_tensors="np")
    (logits,) = session.run(["logits"], {name: array[None] for name, array in tokens.items()})
    expected = written_probabilities(tmp_path / "o" / "validation_predictions.csv", names)[0]
    np.testing.assert_allclose(softmax(logits[0]), expected, atol=1e-5)


@pytest.mark.slow
def test_8_bits_are_kept_only_where_they_decide_as_well(tmp_path, tiny_model, caplog, monkeypatch):
    learning = {"max_steps": 150, "linear_probe": False}  # until it is sure: one row of thirty would be 0.01 and more
    arguments = given(tiny_model, tmp_path, splits(make_rows, 5), **learning)
    run_multilabel.main([*arguments, "--export=onnx"])
    again = given(tmp_path / "o", tmp_path, {"validation": make_rows(150, 1)}, export="onnx_int8")
    with caplog.at_level("INFO"):
        run_multilabel.main(again)
    assert "f1_macro is" in caplog.text
    folder = tmp_path / "o" / "onnx"
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model_int8.onnx"]
    kinds = {value.dtype for value in onnx_ir.load(folder / "model_int8.onnx").graph.initializers.values()}
    assert onnx_ir.DataType.INT8 in kinds or onnx_ir.DataType.UINT8 in kinds
    (folder / "model_int8.onnx").unlink()
    call = onnx.Graph.__call__
    monkeypatch.setattr(onnx.Graph, "__call__", lambda self, **inputs: {"logits": -call(self, **inputs)["logits"]})
    with pytest.raises(RunError, match=r"--export onnx_int8 is not kept: .* f1_macro is 0\.0\d+ instead of \S+; "):
        run_multilabel.main(again)
    with pytest.raises(RunError, match="--export onnx is not kept: its probabilities of the validation rows differ"):
        run_multilabel.main([*again, "--export=onnx"])
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]  # of before: the model is the same
    monkeypatch.setattr(onnx, "_write", lambda *_: 1 / 0)
    with pytest.raises(RunError, match=r"--export onnx: this model cannot be exported \(ZeroDivisionError: division by zero\)"):
        run_multilabel.main([*again, "--export=onnx"])
    assert not (tmp_path / "o" / "onnx.untried").exists()
    monkeypatch.undo()
    run_multilabel.main([*arguments, "--overwrite_output_dir", "--max_steps=1"])
    assert not list(folder.iterdir())  # that was the graph of another model


@pytest.mark.slow
def test_windows_and_numbers_are_exported_and_what_cannot_be_is_refused_before_training(tmp_path, tiny_model, caplog):
    rows = {name: [{"text": " ".join([row["text"]] * 3), "label": len(row["labels"]) / 2} for row in part]
            for name, part in splits(make_rows).items()}  # fmt: skip
    options = {"max_seq_length": 16, "long_texts": "windows", "max_steps": 2, "problem_type": "regression"}
    arguments = given(tiny_model, tmp_path, rows, **options)
    with pytest.raises(UserError, match="--export onnx_int8 is judged by its decisions, and a regression has none"):
        run_classification.main([*arguments, "--export=onnx_int8"])
    assert not (tmp_path / "o").exists()
    with caplog.at_level("INFO"):
        run_classification.main([*arguments, "--export=onnx"])
    assert "predictions of the validation rows differ from the model's by" in caplog.text
    alone = given(tiny_model, tmp_path, {"train": make_rows(30)}, validation_fraction=0, export="onnx_int8")
    with pytest.raises(UserError, match="--export onnx_int8 is judged on labelled rows: give --validation_file"):
        run_multilabel.main(alone)
    with pytest.raises(UserError, match="--export"):
        run_mlm.main([f"--model_name_or_path={tiny_model}", f"--train_file={tmp_path / 'train.jsonl'}", "--export=onnx"])


@pytest.mark.slow
def test_8_bits_are_tried_in_a_smoke_test(caplog):
    with caplog.at_level("INFO"):
        run_multilabel.main(["--smoke_test", "--export=onnx_int8"])  # with too few rows for macro-F1
    assert "accuracy is" in caplog.text


@pytest.mark.slow
def test_without_evaluation_training_rows_are_tried(tmp_path, tiny_model, caplog):
    arguments = given(tiny_model, tmp_path, {"train": make_rows(30)}, validation_fraction=0, max_steps=2, export="onnx")
    with caplog.at_level("INFO"):
        run_multilabel.main(arguments)
    assert "probabilities of 30 training rows differ from the model's by" in caplog.text
