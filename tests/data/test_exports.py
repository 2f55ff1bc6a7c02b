"""Exports of annotation tools become plain rows: texts, and `label` or `labels`, as far as annotators agree."""

import json
import logging

import pytest
from conftest import write_csv, write_jsonl

from utils.arguments import DataArguments, UserError
from utils.files.loading import load_splits
from utils.files.reading import read_files
from utils.files.rows import PLACE


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def read(folder, rows, as_lines=True):
    if as_lines:
        dataset = read_files(write_jsonl(folder / "a.jsonl", rows))
    else:
        (folder / "a.json").write_text(json.dumps(rows))
        dataset = read_files(str(folder / "a.json"))
    return [{name: value for name, value in row.items() if name != PLACE} for row in dataset]


# --- doccano ---


def test_doccano(tmp_path, told):
    rows = [{"id": 1, "text": "a", "label": ["x"], "Comments": []}, {"id": 2, "text": "b", "label": []}]
    assert read(tmp_path, rows) == [{"id": 1, "text": "a", "label": "x"}, {"id": 2, "text": "b", "label": None}]
    assert "a.jsonl: export of doccano" in told.text
    rows[1]["label"] = ["x", "y"]
    several = [{"id": 1, "text": "a", "labels": ["x"]}, {"id": 2, "text": "b", "labels": ["x", "y"]}]
    assert read(tmp_path, rows) == several
    assert read(tmp_path, [{**row, "Comments": []} for row in several]) == several
    older = [{"id": row["id"], "data": row["text"], "label": row["label"]} for row in rows]
    assert read(tmp_path, older) == several


def test_plain_lists_of_labels_are_no_export(tmp_path, told):
    rows = [{"id": "1", "text": "a", "labels": ["x"]}, {"id": "2", "text": "b", "labels": ["y"]}]
    assert read(tmp_path, rows) == rows and "export" not in told.text


def test_csv_of_doccano(tmp_path, told):
    path = write_csv(tmp_path / "a.csv", ["id", "text", "label"], [["1", "a", "x#y"], ["2", "b", "y"], ["3", "c", ""]])
    assert read_files(path)["labels"][:] == [["x", "y"], ["y"], []] and "export of doccano" in told.text
    path = write_csv(tmp_path / "b.csv", ["id", "text", "label"], [["1", "a", "C#"], ["2", "b", "#1"]])
    assert read_files(path)["label"][:] == ["C#", "#1"]


def test_an_export_where_no_row_has_two_labels_beside_one_where_some_have(tmp_path, told):
    train = write_jsonl(tmp_path / "train.jsonl", [{"id": 1, "text": "a", "label": ["x", "y"]}])
    test = write_jsonl(tmp_path / "test.jsonl", [{"id": 2, "text": "b", "label": ["x"]}, {"id": 3, "text": "c", "label": []}])
    splits = load_splits(DataArguments(train_file=train, test_file=test))
    assert splits["test"]["labels"][:] == [["x"], None] and "each label is read as a list of one" in told.text


# --- Label Studio ---


def task(number, *answers, **data):
    annotations = [
        {
            "was_cancelled": answer is None,
            "result": [
                {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": choices}}
                for name, choices in (answer or {}).items()
            ],
        }
        for answer in answers
    ]
    return {"id": number, "data": {"text": f"text {number}", **data}, "annotations": annotations, "predictions": []}


def test_label_studio(tmp_path, told):
    rows = [task(1, {"sentiment": ["Good"]}), task(2, None, {"sentiment": ["Bad"]}, {"sentiment": ["Bad"]}), task(3)]
    assert read(tmp_path, rows, as_lines=False) == [
        {"id": 1, "text": "text 1", "label": "Good"},
        {"id": 2, "text": "text 2", "label": "Bad"},
        {"id": 3, "text": "text 3", "label": None},
    ]
    assert "a.json: export of Label Studio" in told.text
    rows[0] = task(1, {"sentiment": ["Good", "Bad"]}, title="t")
    assert [row["labels"] for row in read(tmp_path, rows, as_lines=False)] == [["Good", "Bad"], ["Bad"], None]
    rows[1] = task(2, {"sentiment": ["Bad"]}, {"sentiment": ["Good"]})
    with pytest.raises(UserError, match=r"a.json, row 2: annotators disagree: \['Bad'\], \['Good'\]; settle it"):
        read(tmp_path, rows, as_lines=False)


def test_label_studio_with_two_tasks(tmp_path):
    rows = [task(1, {"sentiment": ["Good"], "topics": ["a", "b"]}), task(2, {"sentiment": ["Bad"]})]
    found = read(tmp_path, rows, as_lines=False)
    assert [(row["sentiment"], row["topics"]) for row in found] == [("Good", ["a", "b"]), ("Bad", None)]


META = {"annotator": 1, "annotation_id": 5, "created_at": "", "updated_at": "", "lead_time": 2.5}


def test_label_studio_json_min(tmp_path, told):
    rows = [{"id": 1, "text": "a", "sentiment": "Good", **META}, {"id": 2, "text": "b", "sentiment": "Bad", **META}]
    assert read(tmp_path, rows, as_lines=False) == [
        {"id": 1, "text": "a", "sentiment": "Good"},
        {"id": 2, "text": "b", "sentiment": "Bad"},
    ]
    rows[1]["sentiment"] = {"choices": ["Good", "Bad"]}
    assert [row["labels"] for row in read(tmp_path, rows, as_lines=False)] == [["Good"], ["Good", "Bad"]]
    assert len(read(tmp_path, [*rows, rows[0]], as_lines=False)) == 2
    with pytest.raises(UserError, match="row 3, 'sentiment': annotators disagree"):
        read(tmp_path, [*rows, {**rows[0], "sentiment": "Bad"}], as_lines=False)


def test_csv_of_label_studio(tmp_path, told):
    header = ["text", "id", "sentiment", *META]
    rows = [["a", "1", '{"choices":["Good","Bad"]}', *META.values()], ["b", "2", "Bad", *META.values()]]
    dataset = read_files(write_csv(tmp_path / "a.csv", header, rows))
    assert dataset["labels"][:] == [["Good", "Bad"], ["Bad"]] and "lead_time" not in dataset.column_names
    assert "export of Label Studio" in told.text
    rows[0][2] = ""
    assert read_files(write_csv(tmp_path / "b.csv", header, [rows[0], ["c", "3", '{"choices":["x","y"]}', *META.values()]]))[
        "labels"
    ][:] == [None, ["x", "y"]]


# --- Prodigy ---


def answer(text, answer, **more):
    return {"text": text, "_input_hash": 1, "_task_hash": 2, "meta": {}, "answer": answer, **more}


def test_prodigy_binary(tmp_path, told):
    rows = [answer("a", "accept", label="SPAM"), answer("b", "reject", label="SPAM"), answer("c", "ignore", label="SPAM")]
    assert read(tmp_path, rows) == [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    assert "label is 1 where SPAM was accepted" in told.text and "2 of 3 rows are kept" in told.text
    rows += [answer("a", "reject", label="RUDE")]
    assert read(tmp_path, rows) == [{"text": "a", "SPAM": 1, "RUDE": 0}, {"text": "b", "SPAM": 0, "RUDE": None}]
    with pytest.raises(UserError, match="line 5: 'SPAM' is both accepted and rejected"):
        read(tmp_path, [*rows, answer("a", "reject", label="SPAM")])
    once = [answer("a", "accept", label="SPAM"), answer("b", "reject", label="RUDE"), answer("c", "accept", label="RUDE")]
    assert read(tmp_path, once) == [{"text": "a", "label": "SPAM"}, {"text": "c", "label": "RUDE"}]


def test_prodigy_choice(tmp_path, told):
    options = [{"id": "A", "text": "An A"}, {"id": 2, "text": "Two"}]
    rows = [answer("a", "accept", options=options, accept=["A"]), answer("b", "reject", options=options, accept=[])]
    rows += [answer("c", "accept", options=options, accept=[2]), answer("d", "ignore", options=options, accept=["A"])]
    assert read(tmp_path, rows) == [{"text": "a", "label": "A"}, {"text": "c", "label": "Two"}]
    rows[0]["accept"] = ["A", 2]
    assert [row["labels"] for row in read(tmp_path, rows)] == [["A", "Two"], ["Two"]]
    with pytest.raises(UserError, match="all rows of the export of Prodigy were rejected"):
        read(tmp_path, rows[1:2])


# --- spaCy ---


def test_spacy(tmp_path, told):
    cats = [{"A": 1.0, "B": 0.0}, {"A": 0.5, "B": True}]
    expected = [{"text": "a", "A": 1.0, "B": 0.0}, {"text": "b", "A": 0.5, "B": 1.0}]
    texts = ["a", "b"]
    for rows in (
        [{"text": text, "cats": each} for text, each in zip(texts, cats, strict=True)],
        [{"text": text, "annotations": {"cats": each}} for text, each in zip(texts, cats, strict=True)],
        [[text, {"cats": each}] for text, each in zip(texts, cats, strict=True)],
    ):
        assert read(tmp_path, rows) == read(tmp_path, rows, as_lines=False) == expected
    assert "export of spaCy" in told.text
    with pytest.raises(UserError, match="line 1: text is a label and a field"):
        read(tmp_path, [{"text": "a", "cats": {"text": 1}}])
    with pytest.raises(UserError, match="looks like an export of spaCy, but is unlike it inside"):
        read(tmp_path, [{"text": "a", "cats": {"A": None}}])


# --- Argilla ---


def test_argilla(tmp_path, told):
    rows = [
        {"id": "1", "text": "a", "annotation": "x", "status": "Validated", "prediction": None},
        {"id": "2", "text": "b", "annotation": None, "status": "Default", "prediction": None},
        {"id": "3", "text": "c", "annotation": "y", "status": "Discarded", "prediction": None},
    ]
    assert read(tmp_path, rows) == [{"id": "1", "text": "a", "label": "x"}, {"id": "2", "text": "b", "label": None}]
    rows[0]["annotation"], rows[2]["annotation"] = ["x", "y"], ["x"]
    assert [row["labels"] for row in read(tmp_path, rows)] == [["x", "y"], None]


def test_argilla_feedback(tmp_path, told):
    def record(*answers, **more):
        return {"id": "1", "fields": {"text": "a"}, "responses": {"label": list(answers)}, **more}

    kept, draft = {"value": "x", "status": "submitted"}, {"value": "y", "status": "draft"}
    assert read(tmp_path, [record(kept, draft)]) == [{"id": "1", "text": "a", "label": "x"}]
    assert "export of Argilla" in told.text
    assert read(tmp_path, [record({"value": ["x", "y"], "user_id": "u"}, status="completed")])[0]["labels"] == ["x", "y"]
    old = {"fields": {"text": "a"}, "responses": [{"status": "submitted", "values": {"label": {"value": "x"}}}]}
    assert read(tmp_path, [old]) == [{"text": "a", "label": "x"}]
    with pytest.raises(UserError, match=r"line 1: annotators disagree: \['x'\], \['y'\]"):
        read(tmp_path, [record(kept, {**draft, "status": "submitted"})])
