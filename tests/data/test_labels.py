"""Every shape of multi-label labels becomes the same targets; every other shape is answered with what to do."""

import json

import numpy as np
import pytest
from conftest import LABELS, make_rows, one_hot, write_csv, write_jsonl
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from run_multilabel import MultilabelArguments
from utils.arguments import UserError
from utils.data.label_shapes import find_labels, recognize_labels
from utils.data.labels import rarest_label, refuse_single_label
from utils.files.cells import UNKNOWN, natural_order, parse_cell
from utils.files.reading import read_files
from utils.files.rows import PLACE

ROWS = make_rows(40)
TARGETS = np.array([one_hot(row) for row in ROWS], np.float32)
HUB = Features({"text": Value("string"), "labels": Sequence(ClassLabel(names=LABELS)), PLACE: Value("string")})


def as_names(folder):
    return read_files(write_jsonl(folder / "a.jsonl", ROWS))


def as_vector(folder):
    return read_files(write_jsonl(folder / "a.jsonl", [{"text": r["text"], "labels": one_hot(r)} for r in ROWS]))


def as_ids(folder):
    ids = [{"text": r["text"], "labels": [LABELS.index(label) for label in r["labels"]]} for r in ROWS]
    return read_files(write_jsonl(folder / "a.jsonl", ids))


def as_named_ids(folder):
    rows = {
        "text": [r["text"] for r in ROWS],
        "labels": [[LABELS.index(label) for label in r["labels"]] for r in ROWS],
        PLACE: [f"hub[train], row {i}" for i in range(len(ROWS))],
    }
    return Dataset.from_dict(rows, HUB)


def as_columns(folder):
    return read_files(write_csv(folder / "a.csv", ["id", "text", *LABELS], [[r["id"], r["text"], *one_hot(r)] for r in ROWS]))


def as_literals(folder):
    return read_files(write_csv(folder / "a.csv", ["text", "labels"], [[r["text"], str(r["labels"])] for r in ROWS]))


def delimited(delimiter):
    def make(folder):
        rows = [[r["text"], delimiter.join(r["labels"])] for r in ROWS]
        return read_files(write_csv(folder / "a.csv", ["text", "labels"], rows))

    return make


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (as_names, "list of names"),
        (as_vector, "0/1 vector"),
        (as_ids, "list of ids"),
        (as_named_ids, "list of ids"),
        (as_columns, "one 0/1 column per label"),
        (as_literals, "list of names"),
        (delimited(","), "delimited string"),
        (delimited("; "), "delimited string"),
        (delimited("|"), "delimited string"),
        (delimited(" "), "delimited string"),
    ],
)
def test_every_shape_gives_the_same_targets(tmp_path, make, kind):
    dataset = make(tmp_path)
    label_format = recognize_labels(dataset, [], None, None)
    assert label_format.kind == kind
    np.testing.assert_array_equal(label_format.targets(dataset), TARGETS)
    if make is as_vector:
        assert label_format.names == [f"label_{i}" for i in range(4)]
    elif make is as_ids:
        assert label_format.names == ["0", "1", "2", "3"]
    else:
        assert label_format.names == LABELS


def test_ids_of_another_file_are_mapped_by_name(tmp_path):
    label_format = recognize_labels(as_named_ids(tmp_path), [], None, None)
    features = Features({**HUB, "labels": Sequence(ClassLabel(names=LABELS[::-1]))})
    rows = {"text": ["a", "b"], "labels": [[0], [1, 3]], PLACE: ["x", "y"]}
    np.testing.assert_array_equal(label_format.targets(Dataset.from_dict(rows, features)), [[0, 0, 0, 1], [1, 0, 1, 0]])


def test_unknown_and_soft_cells(tmp_path):
    rows = [["a", "1", "0.25"], ["b", "-1", ""], ["c", "0", "0.0"], ["d", "", "True"]]
    dataset = read_files(write_csv(tmp_path / "a.csv", ["text", "x", "y"], rows))
    label_format = recognize_labels(dataset, [], None, None)
    assert label_format.names == ["x", "y"]
    expected = [[1, 0.25], [UNKNOWN, UNKNOWN], [0, 0], [UNKNOWN, 1]]
    np.testing.assert_array_equal(label_format.targets(dataset), np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("value", "cell"),
    [("0", 0), (1, 1), (0.5, 0.5), ("-1", UNKNOWN), ("", UNKNOWN), (None, UNKNOWN), (float("nan"), UNKNOWN), (True, 1)],
)
def test_cells(value, cell):
    assert parse_cell(value) == cell


@pytest.mark.parametrize("value", ["maybe", "2", "-0.5", "nan", 7, [1]])
def test_cells_that_are_none(value):
    assert parse_cell(value) is None


def test_missing_list_is_unknown_and_empty_list_is_no_label(tmp_path):
    rows = [{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": []}, {"text": "c", "labels": None}]
    dataset = read_files(write_jsonl(tmp_path / "a.jsonl", rows))
    targets = recognize_labels(dataset, [], None, None).targets(dataset)
    np.testing.assert_array_equal(targets, np.array([[1, 1], [0, 0], [UNKNOWN, UNKNOWN]], np.float32))


def test_labels_of_a_saved_model_keep_their_order(tmp_path):
    dataset = as_columns(tmp_path)
    saved = LABELS[::-1]
    np.testing.assert_array_equal(recognize_labels(dataset, LABELS, None, saved).targets(dataset), TARGETS[:, ::-1])


@pytest.mark.parametrize("named", [None, ",".join(map(str.upper, LABELS))], ids=["found", "named"])
def test_label_columns_of_test_data_may_be_written_otherwise(tmp_path, named):
    rows = [[row["text"], *one_hot(row)] for row in ROWS]
    splits = {"test": read_files(write_csv(tmp_path / "a.csv", ["Text", *map(str.upper, LABELS)], rows))}
    saved = LABELS[::-1]
    found = find_labels(splits, MultilabelArguments(test_file="a.csv", label_column_names=named), saved)
    assert found.names == saved
    np.testing.assert_array_equal(found.targets(splits["test"]), TARGETS[:, ::-1])


@pytest.mark.parametrize(
    ("rows", "header", "arguments", "message"),
    [
        ([["a", "x;y,z"]], ["text", "labels"], ([], None), "--label_delimiter"),
        ([["a", "x y"], ["b", "x"]], ["text", "labels"], ([], None), "--label_delimiter ' '"),
        ([["late again", "7", "2"]], ["text", "height", "votes"], ([], None), "no label columns among text, height, votes"),
        ([["a", "b"]], ["text", "other"], (["lables"], None), "has no column 'lables'; its columns: text, other"),
        ([["q", "a", "b", "1"]], ["question", "ending0", "ending1", "label"], ([], None), "run_multiple_choice.py"),
        ([["a", ""]], ["text", "labels"], ([], None), "no row has a label"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, rows, header, arguments, message):
    dataset = read_files(write_csv(tmp_path / "a.csv", header, rows))
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        recognize_labels(dataset, *arguments, None)


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}],
        [{"text": "a", "label": 3}, {"text": "b", "label": 0}],
        [{"text": "a", "labels": ["x"]}, {"text": "b", "labels": ["y"]}],
        [{"text": "a", "labels": [0, 1]}, {"text": "b", "labels": [1, 0]}],
        [{"text": "a", "x": 0, "y": 1}, {"text": "b", "x": 1, "y": 0}],
        [{"text": "a", "labels": ["x"]}, {"text": "b", "labels": ["y"]}, {"text": "c", "labels": None}],
    ],
)
def test_one_label_in_every_row_is_for_the_other_script(tmp_path, rows):
    dataset = read_files(write_jsonl(tmp_path / "a.jsonl", rows))
    label_format = recognize_labels(dataset, [], None, None)
    with pytest.raises(UserError, match="run_classification.py --label_column_name"):
        refuse_single_label(label_format.targets(dataset), label_format)


def test_wrong_cells_name_file_line_and_column(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["text", "x", "y"], [["a\nb", "1", "0"], ["c", "maybe", "1"]])
    with pytest.raises(UserError, match=rf"{path}, line 4, column 'x': found 'maybe', expected 0 or 1"):
        dataset = read_files(path)
        recognize_labels(dataset, ["x", "y"], None, None).targets(dataset)


def test_unknown_label_names_file_line_and_label(tmp_path):
    train = read_files(write_jsonl(tmp_path / "train.jsonl", ROWS))
    path = write_jsonl(tmp_path / "validation.jsonl", [{"text": "a", "labels": ["zebra"]}])
    with pytest.raises(UserError, match=rf"{path}, line 1, column 'labels': the label 'zebra' is not among"):
        recognize_labels(train, [], None, None).targets(read_files(path))


def test_nothing_to_train_on_and_no_labels(tmp_path):
    class Arguments:
        unknown_label = None
        label_column_names = label_delimiter = problem_type = None

    test = read_files(write_jsonl(tmp_path / "test.jsonl", [{"text": "a"}]))
    with pytest.raises(UserError, match="nothing to train on"):
        find_labels({"test": test}, Arguments, None)
    assert find_labels({"test": test}, Arguments, ["x", "y"]).names == ["x", "y"]


def test_a_column_called_labels_comes_before_lists_and_flags(tmp_path):
    rows = [{"text": "a", "tokens": ["a"], "labels": "x;y", "is_reply": 0, "has_url": 1}, {"text": "b", "labels": "y"}]
    dataset = read_files(write_jsonl(tmp_path / "a.jsonl", [{"tokens": [], "is_reply": 1, "has_url": 0, **row} for row in rows]))
    assert recognize_labels(dataset, [], None, None).columns == ["labels"]


def test_cell_that_is_no_list_is_named(tmp_path):
    train = read_files(write_csv(tmp_path / "t.csv", ["text", "labels"], [["a", "['x', 'y']"]]))
    path = write_csv(tmp_path / "v.csv", ["text", "labels"], [["a", "['x'"]])
    with pytest.raises(UserError, match=rf"{path}, line 2, column 'labels': found \"\['x'\", expected a list"):
        recognize_labels(train, [], None, None).targets(read_files(path))


def test_one_column_of_yes_and_no_can_be_insisted_on(tmp_path):
    class Arguments:
        label_column_names, label_delimiter, problem_type = "toxic", None, "multi_label_classification"
        unknown_label = None

    dataset = read_files(write_csv(tmp_path / "a.csv", ["text", "toxic"], [["a", "1"], ["b", "0"], ["c", ""]]))
    label_format = find_labels({"train": dataset}, Arguments, None)
    assert label_format.names == ["toxic"]
    np.testing.assert_array_equal(label_format.targets(dataset), np.array([[1], [0], [UNKNOWN]], np.float32))


def test_natural_order_and_rarest_label():
    assert natural_order({"10", "2", "b", "1", "a10", "a9"}) == ["1", "2", "10", "a9", "a10", "b"]
    targets = np.array([[1, 0], [1, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(rarest_label(targets), [0, 1, 0, -1])


def test_json_literal_vectors_in_csv(tmp_path):
    rows = [[r["text"], json.dumps(one_hot(r))] for r in ROWS]
    dataset = read_files(write_csv(tmp_path / "a.csv", ["text", "labels"], rows))
    label_format = recognize_labels(dataset, [], None, None)
    assert label_format.kind == "0/1 vector"
    np.testing.assert_array_equal(label_format.targets(dataset), TARGETS)
