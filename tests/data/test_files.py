"""Files of every format are read as they are; what is wrong with one is said with its file and line."""

import contextlib
import gzip
import json
import re
import sqlite3
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_csv, write_jsonl
from datasets import Dataset
from transformers import AutoTokenizer

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import DataArguments, TextArguments, UserError
from utils.batches.order import EpochSampler
from utils.columns.text_columns import find_text_columns
from utils.data.row_texts import settle_empty_texts
from utils.files import delimited, reading, records
from utils.files.loading import load_splits
from utils.files.reading import read_files
from utils.files.rows import PLACE, arrow_cells, cell_parts, columns, file_of, rows_to_dataset, to_dataset
from utils.splits.validation import split_validation

ROWS = [{"text": "a", "n": "007"}, {"text": "NA", "n": "null"}, {"text": ' "q", \n x ', "n": "ü🙂"}]
CELLS = [[row["text"], row["n"]] for row in ROWS]


def make_files(folder):
    json_path = folder / "a.json"
    json_path.write_text(json.dumps(ROWS), encoding="utf-8")
    nested = folder / "nested.json"
    nested.write_text(json.dumps({"data": ROWS}), encoding="utf-8")
    lines = folder / "lines.json"
    lines.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet")
    files = [
        write_csv(folder / "a.csv", ["text", "n"], CELLS),
        write_csv(folder / "b.csv", ["text", "n"], CELLS, delimiter=";"),
        write_csv(folder / "a.tsv", ["text", "n"], CELLS, delimiter="\t"),
        write_jsonl(folder / "a.jsonl", ROWS),
        *map(str, (json_path, nested, lines, folder / "a.parquet")),
    ]
    for path in list(files):
        packed = path + ".gz"
        Path(packed).write_bytes(gzip.compress(Path(path).read_bytes()))
        files.append(packed)
    return files


def test_every_format_gives_the_same_rows(tmp_path):
    for path in make_files(tmp_path):
        dataset = read_files(path)
        assert [{name: row[name] for name in ("text", "n")} for row in dataset] == ROWS, path
        assert columns(dataset) == ["text", "n"]


@pytest.mark.parametrize("wanted", [0, 10**9])  # a part at a time, and whole
def test_large_lists_of_parquet_are_lists(tmp_path, monkeypatch, wanted):
    monkeypatch.setattr(reading, "LARGE", wanted)
    kinds = pa.schema(
        [("text", pa.large_string()), ("tags", pa.large_list(pa.large_string())), ("ids", pa.large_list(pa.int64()))]
    )
    rows = [{"text": "one", "tags": ["a", "b"], "ids": [1]}, {"text": "two", "tags": [], "ids": [2, 3]}]
    pq.write_table(pa.Table.from_pylist(rows, schema=kinds), tmp_path / "polars.parquet")
    dataset = read_files(str(tmp_path / "polars.parquet"))
    assert [{name: row[name] for name in rows[0]} for row in dataset] == rows
    assert dataset.data.schema.field("tags").type == pa.list_(pa.string())
    assert dataset.data.schema.field("ids").type == pa.list_(pa.int64())


def test_lists_globs_and_byte_order_marks(tmp_path):
    first = tmp_path / "p1.csv"
    first.write_bytes("\ufefftext,x\na,1\r\nb,2\r\n".encode())
    second = write_csv(tmp_path / "p2.csv", ["text", "x"], [["c", "3"]])
    for pattern in (f"{first},{second}", str(tmp_path / "p*.csv")):
        dataset = read_files(pattern)
        assert dataset["text"][:] == ["a", "b", "c"]
        assert dataset[2][PLACE] == f"{second}, line 2"


def test_quotation_marks_that_quote_nothing(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"open\t1\nplain\t0\nclose"\t1\n', encoding="utf-8")
    assert read_files(str(path))["text"][:] == ['"open', "plain", 'close"']


@pytest.mark.parametrize("first", ['"Great" product', '"open only', 'in the " middle'])
def test_a_lone_quotation_mark_in_tsv(tmp_path, first):
    path = tmp_path / "a.tsv"
    path.write_text(f"text\tlabel\n{first}\t1\nplain\t0\n", encoding="utf-8")
    assert read_files(str(path))["text"][:] == [first, "plain"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"text,label\n", "a.csv has a header but no rows"),
        ("a.csv", b"text,label\na,1\nb,2,3\n", "a.csv, line 3: found 3 fields, expected 2"),
        ("a.csv", b"text,text\na,1\n", "a.csv, line 1: the column name 'text' occurs 2 times"),
        ("a.csv", b'text,label\na,1\n"b,2\nc,3\n', "a.csv, line 3: .* is a quotation mark left open"),
        ("a.csv", "text,label\na,1\né,2\n".encode("latin-1"), "a.csv, line 3: byte 0xe9 is not UTF-8"),
        ("a.csv.gz", gzip.compress(b"text,label\na,1\n", mtime=0)[:-9], "a.csv.gz is truncated or damaged"),
        ("a.csv.gz", b"text,label\na,1\n", "cannot read .*a.csv.gz"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'{"x": [1]}\n{"x": "b"}\n', "a.jsonl, line 2, column 'x': found \"b\", but earlier rows hold lists: one"),
        ("a.jsonl", b'{"x": "b"}\n{"x": {"y": 1}}\n', "line 2, column 'x': found {.*}, but earlier rows hold texts: one column"),
        ("a.jsonl", b'{"x": [1]}\n{"x": {"y": 1}}\n', "line 2, column 'x': found {.*}, but earlier rows hold lists: one column"),
        ("a.jsonl", b'["a"]\n', "a.jsonl, line 1: found list, expected an object"),
        ("a.json", b'[{"text": "a"},', "a.json, line 1: not valid JSON"),
        ("a.parquet", b"PAR1nothing", "a.parquet is not a Parquet file"),
        ("a.xml", b"<x/>", "a.xml: unknown format .xml; expected .csv"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_files(str(tmp_path / name))


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a", "labels": ["b"]}, {"text": "b", "labels": []}, {"text": "c", "labels": None}],
        [{"text": "a", "n": 1}, {"text": None, "n": 2.5}, {"n": None, "more": [1]}, {"text": "d", "more": [0.5]}],
        [{"x": 1}, {"x": True}, {"x": "c"}],
        [{"x": {"a": 1}}, {"x": {"b": "c"}}, {"x": None}],
        [
            {"id": 1, "text": "a", "label": ["b"]},
            {"id": 2, "text": "b", "label": ["b", "c"]},
            {"id": 3, "text": "c", "label": []},
        ],
        [{"id": 1, "text": "a", "label": ["b"]}, {"id": 2, "text": "b", "label": ["b", "c"]}, {"id": 3, "text": "no export"}],
    ],
)
def test_json_lines_are_the_same_in_parts_of_any_size(tmp_path, monkeypatch, rows):
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    whole = read_files(path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for at_once, large in ((1, 10**6), (2, 10**6), (1, 0), (2, 0)):
        monkeypatch.setattr(records, "ROWS_AT_ONCE", at_once)
        monkeypatch.setattr(reading, "LARGE", large)
        parts = read_files(path)
        assert parts.to_dict() == whole.to_dict()
        assert parts.features == whole.features
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("\n{")
    with pytest.raises(UserError, match=rf"line {len(rows) + 2}: not valid JSON"):
        read_files(path)


def test_rows_of_large_files_stay_on_disk(tmp_path, monkeypatch):
    """They are the same as in memory, with their places. A file that cannot be kept so is read as a small one is."""
    paths = [path for path in make_files(tmp_path) if not path.removesuffix(".gz").endswith((".json", "b.csv"))]
    others = {
        "title.csv": "Exported\n\ntext,n\na,1\nb,2\n",
        "sep.csv": "sep=|\ntext|n\na|1\n",
        "repeated.csv": "text,n\na,1\ntext,n\nb,2\n",
        "late.csv": "text,n\na,1\nb,2\nc\n",
        "open.csv": 'text,n\na,1\nb,"2\n',
        "quotes.tsv": 'text\tn\n"a\t1\nb"\t2\n',
        "marked.csv": "\ufefftext,n\na,1\n",
        "zero.csv": "text,n\na,1\nb\0,2\n",
        "numbers.csv": "text,n\na,1\nb,-2\n",
    }
    for name, content in others.items():
        (tmp_path / name).write_text(content, encoding="utf-8")

    def read(path):
        try:
            return read_files(str(path))
        except UserError as error:
            return str(error)

    every = [*paths, *(tmp_path / name for name in others)]
    small = [read(path) for path in every]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(reading, "LARGE", 0)
    for module in (records, delimited, reading):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    large = [read(path) for path in every]
    kept = {Path(path).name for path, found in zip(every, large, strict=True) if isinstance(found, Dataset) and found.cache_files}
    assert kept == {Path(path).name for path in paths if not path.endswith(".parquet.gz")} | {"marked.csv", "numbers.csv"}
    for path, one, other in zip(every, small, large, strict=True):
        assert (one if isinstance(one, str) else one.to_dict()) == (other if isinstance(other, str) else other.to_dict()), path
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", "/dev/null/nowhere")
    assert not read(paths[0]).cache_files


@pytest.mark.parametrize("rows", [range(7), [0, 2, 3, 6], [6, 0, 3, 3], []])
def test_cells_of_selected_rows(rows):
    parts = [pa.table({"text": [str(number) for number in part]}) for part in (range(3), range(3, 4), range(4, 7))]
    selected = to_dataset(pa.concat_tables(parts)).select(rows)
    assert arrow_cells(selected, "text").to_pylist() == list(map(str, rows))
    assert [cell for cells in cell_parts(selected, "text") for cell in cells.to_pylist()] == list(map(str, rows))


@pytest.mark.parametrize(
    ("values", "read", "found"),
    [
        ([1, "b", None], ["1", "b", None], 'found "b", but earlier rows hold numbers'),
        (["b", 1, 2.5], ["b", "1", "2.5"], "found 1, but earlier rows hold texts"),
        ([None, 1548381100, False, "ü"], [None, "1548381100", "false", "ü"], "found false, but earlier rows hold numbers"),
        ([1, 10**25], ["1", "1" + "0" * 25], "found 1000.*, but whole numbers have at most 64 bits"),
        ([[[1]], [["ü"]]], ["[[1]]", '[["ü"]]'], "found .*, but its parts have other types than above"),
        ([[1, "b"], []], ['[1, "b"]', "[]"], "found .*, but its parts differ in type"),
        (
            [{"y": 1}, {"y": "b"}],
            ['{"y": 1}', '{"y": "b"}'],
            "found .*, but its parts have other types than above",
        ),
    ],
)
def test_json_of_several_types_is_read_as_text(tmp_path, caplog, values, read, found):
    caplog.set_level("INFO")
    path = write_jsonl(tmp_path / "a.jsonl", [{"x": value, "n": 1} for value in values])
    assert read_files(path).to_dict() | {PLACE: 0} == {"x": read, "n": [1] * len(read), PLACE: 0}
    assert re.search(rf"a.jsonl, line \d, column 'x': {found}; the column is read as text, as JSON writes it", caplog.text)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="nope.csv does not exist"):
        read_files(str(tmp_path / "nope.csv"))
    with pytest.raises(UserError, match="no file matches"):
        read_files(str(tmp_path / "nope*.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder.csv is a folder: name a file in it, or several with a pattern such as"):
        read_files(str(tmp_path / "folder.csv"))


def read_sqlite(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT id, text, label FROM tickets")]
    return rows_to_dataset(rows, [f"{path}, id {row['id']}" for row in rows])


def test_a_reader_of_ones_own(tmp_path):
    path = str(tmp_path / "tickets, old.db")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE tickets (id, text, label)")
        database.executemany("INSERT INTO tickets VALUES (?, ?, ?)", [(7, "a", 0), (9, "007", None), (12, None, 1)])
    splits = load_splits(DataArguments(train_file=path), read=read_sqlite)
    assert splits["train"].to_dict() == {
        "id": [7, 9, 12],
        "text": ["a", "007", None],
        "label": [0, None, 1],
        PLACE: [f"{path}, id 7", f"{path}, id 9", f"{path}, id 12"],
    }
    assert file_of(splits["train"]) == path
    with pytest.raises(UserError, match=r"old.db, id 12, column 'text': the text is missing"):
        settle_empty_texts("train", splits["train"], ["text"], False, DataArguments(strict_data=True))


def test_rows_without_a_place_are_counted():
    rows = [{"text": "a", "n": 1}, {"text": "b"}]
    for dataset in (rows_to_dataset(rows), Dataset.from_list(rows)):
        split = load_splits(DataArguments(test_file="rows.db"), lambda path, dataset=dataset: dataset)["test"]
        assert split.to_list() == [
            {"text": "a", "n": 1, PLACE: "rows.db, row 1"},
            {"text": "b", "n": None, PLACE: "rows.db, row 2"},
        ]
    with pytest.raises(UserError, match=r"^row 2, column 'n': found \"b'x'\", but earlier rows hold numbers"):
        rows_to_dataset([{"n": 1}, {"n": b"x"}])
    with pytest.raises(UserError, match="^row 1: found tuple, expected an object"):
        rows_to_dataset([("a", 1)])
    with pytest.raises(UserError, match="rows.db has no rows"):
        load_splits(DataArguments(train_file="rows.db"), lambda path: rows_to_dataset([]))


def test_text_columns(tmp_path):
    rows = [["1", "a short one", "a title", "x"], ["2", "", "b title", "y"]]
    splits = {"train": read_files(write_csv(tmp_path / "a.csv", ["id", "text", "title", "kind"], rows))}
    with pytest.raises(UserError, match=r"--text_column_names text,title \(a pair of texts\), or --text_column_names text,"):
        find_text_columns(splits, TextArguments(), [])
    assert find_text_columns(splits, TextArguments(text_column_names="title, kind"), []) == ["title", "kind"]
    with pytest.raises(UserError, match=r"has no column 'comment'; its columns: id, text, title, kind"):
        find_text_columns(splits, TextArguments(text_column_names="comment"), [])


def test_rows_without_text(tmp_path):
    rows = [["late again", "x"], ["", "y"], ["money back", ""]]
    split = read_files(write_csv(tmp_path / "a.csv", ["text", "title"], rows))
    assert settle_empty_texts("test", split, ["text"], False, DataArguments())["text"][:] == ["late again", "", "money back"]
    assert settle_empty_texts("train", split, ["text"], False, DataArguments())["text"][:] == ["late again", "money back"]
    assert settle_empty_texts("train", split, ["text", "title"], False, DataArguments())["text"][:] == ["late again"]
    assert len(settle_empty_texts("train", split, ["text", "title"], True, DataArguments())) == 3
    with pytest.raises(UserError, match=r"a.csv, line 3, column 'text': the text is missing"):
        settle_empty_texts("test", split, ["text"], False, DataArguments(strict_data=True))
    with pytest.raises(UserError, match=r"a.csv, line 3, column 'text': the text is missing"):
        settle_empty_texts("test", split.select([1]), ["text"], False, DataArguments())


def test_validation_split_keeps_strata(tmp_path):
    train = read_files(write_jsonl(tmp_path / "a.jsonl", [{"text": str(i)} for i in range(200)]))
    strata = np.array([0] * 150 + [1] * 48 + [2, 3])
    kept, held_out = split_validation(train, TextArguments(validation_fraction=0.25), strata, seed=1)
    assert sorted([*kept["text"], *held_out["text"]]) == sorted(train["text"])
    rare = sum(150 <= int(text) < 198 for text in held_out["text"])
    assert len(held_out) == 50 and rare == 12 and {"198", "199"} < {*kept["text"]}  # the only rows of their strata
    assert split_validation(train, TextArguments(validation_fraction=0.25), strata, seed=1)[1]["text"][:] == held_out["text"][:]
    strata[199] = 1  # one stratum has one row: it stays, and the others are in proportion
    kept, held_out = split_validation(train, TextArguments(validation_fraction=0.25), strata, seed=1)
    rare = sum(150 <= int(text) for text in held_out["text"])
    assert "198" in kept["text"][:] and len(held_out) == 50 and rare == 12
    assert len(split_validation(train.select([0, 1, 2]), TextArguments(validation_fraction=0.7), np.array([0, 0, 1]), 1)[1]) == 2


def test_a_validation_split_at_random_is_said(tmp_path, caplog):
    train = read_files(write_jsonl(tmp_path / "a.jsonl", [{"text": str(i)} for i in range(40)]))
    caplog.set_level("INFO")
    for fraction, told in ((0.1, True), (0.5, False)):
        caplog.clear()
        split_validation(train, TextArguments(validation_fraction=fraction), np.arange(40) // 2, seed=1)
        assert ("at random, as they are too few to keep the shares" in caplog.text) is told


def test_sampler_draws_every_row_once_and_follows_seed_and_epoch():
    lengths = list(np.random.default_rng(0).integers(1, 60, 500)) + [0, 0, 0]
    first, again, second = (list(EpochSampler(lengths, "group_by_length", 16, 3, lambda n=n: n)) for n in (0, 0, 1))
    assert first == again and sorted(first) == list(range(503)) and first[-3:] == [500, 501, 502]
    spread = [max(lengths[i] for i in first[k : k + 16]) - min(lengths[i] for i in first[k : k + 16]) for k in range(0, 480, 16)]
    assert np.mean(spread) < 15
    assert second != first and sorted(second) == sorted(first)
    assert sorted(EpochSampler(lengths, "random", 16, 3, lambda: 0)) == list(range(503))


def test_the_report_says_which_columns_hold_what(tmp_path):
    rows = [{"ticket_id": n, "Subject line": f"late parcel {n} and no answer", "tags": ["a", "b"][: n % 3]} for n in range(12)]
    choices = [{"Question": f"what is {n}?", "options": [f"{n}", f"{n + 1}"], "answer": "AB"[n % 2]} for n in range(12)]
    found = {}
    for script, table in ((run_multilabel, rows), (run_multiple_choice, choices)):
        path = write_jsonl(tmp_path / "train.jsonl", table)
        script.main([f"--train_file={path}", "--check_data", f"--output_dir={tmp_path / 'o'}"])
        found[script] = json.loads((tmp_path / "o" / "data_report.json").read_text())["columns"]
    assert found[run_multilabel] == {"text": ["Subject line"], "label": ["tags"], "id": "ticket_id"}
    assert found[run_multiple_choice] == {"text": ["Question", "options"], "label": ["answer"], "id": None}


def test_the_report_counts_what_stands_in_the_files(tmp_path, tiny_model, caplog):
    texts = ["a kettle", "a kettle", "late money", " ", "the shop again please"]
    header, labels = ["text", "label"], ["bad", "good", "bad", "bad", "bad"]
    train = write_csv(tmp_path / "train.csv", header, [*zip(texts, labels, strict=True)])
    test = write_csv(tmp_path / "test.csv", header, [["late money", "good"], ["", "bad"], ["my shop", "bad"]])
    arguments = [f"--train_file={train}", f"--test_file={test}", "--check_data", f"--output_dir={tmp_path / 'o'}"]
    arguments += [f"--model_name_or_path={tiny_model}", "--max_seq_length=5", "--validation_fraction=0"]
    run_classification.main(arguments)
    with pytest.raises(UserError, match=r"test.csv, line 3: the text is missing \(rows without text: 1\)"):
        run_classification.main([*arguments, "--strict_data"])
    report = json.loads((tmp_path / "o" / "data_report.json").read_text())
    train = report["train"]
    assert (train["rows"], train["duplicate_texts"], train["texts_of_spaces_only"], train["texts_missing"]) == (5, 1, 1, 0)
    assert train["texts_with_contradicting_labels"] == 1 and train["labels"] == {"bad": 4, "good": 1} and train["imbalance"] == 4
    assert train["balanced_weights"] == {"bad": 0.625, "good": 2.5}
    lengths = [len(ids) for ids in AutoTokenizer.from_pretrained(tiny_model)(texts)["input_ids"]]
    assert train["tokens_maximum"] == max(lengths) and train["tokens_median"] == np.median(lengths)
    assert train["truncated_share_at_5_tokens"] == np.mean(np.array(lengths) > 5)
    assert report["test"]["texts_missing"] == 1 and report["test"]["texts_also_in_train"] == 1
    assert "balanced weight" in caplog.text
