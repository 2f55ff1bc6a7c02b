"""Tables as people have them: in any encoding, delimiter, archive or folder, with a header or without one."""

import gzip
import json
import logging
import zipfile

import datasets
import pytest
from conftest import write_csv, write_jsonl
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from utils.arguments import DataArguments, TextArguments, UserError
from utils.files import loading
from utils.files.loading import load_splits
from utils.files.reading import read_files
from utils.files.rows import PLACE, columns
from utils.files.tables import suggest_names
from utils.splits.taking_part import splits_to_use

ROWS = [["a late parcel, again", "bad"], ["lovely", "good"], ["money back", "bad"], ["superb; again", "good"]]


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def plain(dataset):
    return [[row[name] for name in columns(dataset)] for row in dataset]


# --- Encodings ---


def test_an_encoding_is_asked_for_and_then_read(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,1\ncafé “x”,2\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"a.csv, line 3: byte 0xe9 is not UTF-8; add --encoding cp1252, .*: 'café “x”,2'"):
        read_files(path)
    assert read_files(path, DataArguments(encoding="cp1252"))["text"][1] == "café “x”"
    with pytest.raises(UserError, match="--encoding cp12: no such encoding"):
        DataArguments(encoding="cp12")
    with pytest.raises(UserError, match="--encoding hex: no such encoding"):
        DataArguments(encoding="hex")
    with pytest.raises(UserError, match="line 3: byte 0xe9 is not ASCII; name the encoding"):
        read_files(path, DataArguments(encoding="ascii"))


def test_one_bad_byte_in_utf8_is_no_other_encoding(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nü,1\n".encode() + b"caf\xe9,2\n")
    with pytest.raises(
        UserError, match=r"line 3: byte 0xe9 is not UTF-8, but other characters of the file are: correct that line"
    ):
        read_files(path)
    path = write(tmp_path / "b.csv", b"text,label\ncaf\xe9 \x81,2\n")  # no character in cp1252
    with pytest.raises(UserError, match=r"line 2: .* nor is the file latin-1: name its encoding with --encoding"):
        read_files(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_byte_order_marks_say_the_encoding(tmp_path, told, encoding):
    path = write(tmp_path / "a.csv", "text,label\nü😀,1\n".encode(encoding))
    assert plain(read_files(path)) == [["ü😀", "1"]]
    assert ("its encoding is" in told.text) == (encoding != "utf-8-sig")


def test_utf16_without_a_mark_and_utf8_read_as_something_else(tmp_path, told):
    path = write(tmp_path / "a.csv", "text,label\nab,1\n".encode("utf-16-be"))
    with pytest.raises(UserError, match="line 1: found a NUL byte: it is UTF-16: add --encoding utf-16-be"):
        read_files(path)
    assert plain(read_files(path, DataArguments(encoding="utf-16-be"))) == [["ab", "1"]]
    path = write(tmp_path / "b.csv", "text,label\nü,1\n")
    assert read_files(path, DataArguments(encoding="cp1252"))["text"][:] == ["Ã¼"]
    assert "b.csv is valid UTF-8, but --encoding cp1252 reads its 'ü' as 'Ã¼'" in told.text


# --- Delimiters ---


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "dat", ""])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_delimiter_under_every_ending(tmp_path, told, ending, delimiter):
    path = write_csv(tmp_path / f"a.{ending}".rstrip("."), ["text", "label"], ROWS, delimiter)
    assert plain(read_files(path)) == ROWS
    usual = {"csv": ",", "tsv": "\t"}.get(ending) == delimiter
    assert ("columns are separated by" in told.text) != usual


@pytest.mark.parametrize(
    "content",
    [
        "text;label\na, b;1\nc;2\n",
        "text;label\na, b;1\nc, d;2\n",  # each row has a comma, the header has none
        '"text, as sent";label\na;1\nb, c;2\n',
        "text, as sent;label\na;1\nb;2\n",
        "sep=;\r\ntext;label\r\na;1\r\nb;2\r\n",
        "sep=;\ntext, or;label\na, b;1\nc, d;2\n",
    ],
)
def test_semicolons_beside_commas(tmp_path, content):
    dataset = read_files(write(tmp_path / "a.csv", content))
    assert len(columns(dataset)) == 2 and dataset["label"][:] == ["1", "2"]


def test_lines_are_those_of_the_file_below_a_line_for_excel(tmp_path):
    path = write(tmp_path / "a.csv", "sep=;\ntext;label\na;1\n")
    assert read_files(path)[0][PLACE] == f"{path}, line 3"


def test_two_delimiters_that_fit_are_asked_about(tmp_path):
    path = write(tmp_path / "a.csv", "text, or;label\na, b;1\nc, d;2\n")
    with pytest.raises(UserError, match=r'may be separated by commas and by ";": add a first line .*, sep=, or sep=;$'):
        read_files(path)


def test_text_files_that_are_no_table(tmp_path):
    for content in ("a late parcel\nlovely\n", "well, no\nyes, but, no\nplain\n"):
        path = write(tmp_path / "a.txt", content)
        with pytest.raises(UserError, match=r"a.txt is no table: .*--no_header --column_names text"):
            read_files(path)
        with pytest.raises(UserError, match=r"a.log: unknown format \.log; expected"):
            read_files(write(tmp_path / "a.log", content))
    path = write(tmp_path / "b.csv", '"well, no"\n"yes"\n')
    assert plain(read_files(path, DataArguments(no_header=True, column_names="text"))) == [["well, no"], ["yes"]]


def test_decimal_commas_beside_semicolons(tmp_path, told):
    path = write(tmp_path / "a.csv", "text;score;parts\na;3,5;1,2,3\nb;4;1\nc;;2,3\n")
    dataset = read_files(path)
    assert dataset["score"][:] == ["3.5", "4", ""] and dataset["parts"][:] == ["1,2,3", "1", "2,3"]
    assert "decimal commas are read as points in score" in told.text
    for cells, are_numbers in (
        ("3,25 4", True),
        ("4,2 3", True),
        ("0,5 1,5", True),
        ("0,3 2 1,2", False),
        ("2,27 4 0,3", False),
        ("2,05 3,7", True),
        ("3 4", False),
    ):
        rows = "".join(f"a;{cell}\n" for cell in cells.split())
        found = read_files(write(tmp_path / "b.csv", f"text;labels\n{rows}"))["labels"][:]
        assert found == (cells.replace(",", ".") if are_numbers else cells).split()


def test_columns_without_a_name(tmp_path):
    pandas = read_files(write(tmp_path / "a.csv", ",text,label\n0,a,x\n1,b,y\n"))
    assert columns(pandas) == ["column1", "text", "label"]
    r = read_files(write(tmp_path / "r.csv", '"text","label"\n"1","a","x"\n"2","b","y"\n'))
    assert columns(r) == ["column1", "text", "label"] and r["text"][:] == ["a", "b"]
    ends = read_files(write(tmp_path / "e.csv", "text,label\na,x,\nb,y,\n"))
    assert columns(ends) == ["text", "label", "column3"] and ends["label"][:] == ["x", "y"]


# --- Headers ---

SPAM = [["ham" if n % 3 else "spam", f"a rather long text, number {n}"] for n in range(12)]


def test_a_table_without_a_header_is_asked_about_and_read_as_answered(tmp_path, told):
    path = write_csv(tmp_path / "spam", *[SPAM[0], SPAM[1:]], delimiter="\t")
    with pytest.raises(
        UserError, match=r"line 1: 'spam' looks like a value.*: add --no_header --column_names label,text \(in the"
    ):
        read_files(path)
    dataset = read_files(path, DataArguments(no_header=True, column_names="label, text"))
    assert columns(dataset) == ["label", "text"] and plain(dataset) == SPAM and dataset[0][PLACE] == f"{path}, line 1"
    with pytest.raises(UserError, match=r"--no_header needs names for 2 columns: add --no_header --column_names label,text"):
        read_files(path, DataArguments(no_header=True))
    with pytest.raises(
        UserError, match="line 1: found 2 fields, expected 3 as in --column_names a,b,c: name all .*, such as label,text"
    ):
        read_files(path, DataArguments(no_header=True, column_names="a,b,c"))
    named = write_csv(tmp_path / "named.csv", ["Label", "text"], SPAM)
    assert plain(read_files(named, DataArguments(no_header=True, column_names="label,text"))) == SPAM
    unlabelled = write_csv(tmp_path / "test.csv", ["text"], [["a"], ["b"]])
    assert columns(read_files(unlabelled, DataArguments(no_header=True, column_names="label,text"))) == ["text"]
    assert "line 1 holds names of --column_names" in told.text
    with pytest.raises(UserError, match="add --no_header, or name"):
        DataArguments(column_names="a,b")
    with pytest.raises(UserError, match="expected a different name for each column"):
        DataArguments(no_header=True, column_names="a,a")


def test_a_name_that_is_a_value_too_is_one_among_names(tmp_path):
    header = ["id", "review", "rating", "fresh", "critic", "top_critic", "publisher", "date"]
    rows = [
        [str(n), f"a film that was seen {n} times", f"{n}/5", "fresh" if n % 2 else "rotten", f"ann{n}", "1", "Slant", "May 2018"]
        for n in range(9)
    ]
    dataset = read_files(write_csv(tmp_path / "a.tsv", header, rows, delimiter="\t"))
    assert columns(dataset) == header and plain(dataset) == rows
    values = [[row[3], f"user {name}", f"Tale {name}", "UK", row[1]] for row, name in zip(rows, "abcdefghi", strict=True)]
    with pytest.raises(UserError, match="'rotten' looks like a value"):  # names of users and titles occur once, too
        read_files(write_csv(tmp_path / "b.csv", values[0], values[1:]))


def test_names_are_suggested_by_looks():
    sentences = [f"sentence number {n} is long" for n in range(10)]
    cola = [["gj04"] * 9 + ["cj99"], list("0101010101"), ["*"] + [""] * 9, sentences]
    assert suggest_names(cola) in (["label", "column2", "column3", "text"], ["column1", "label", "column3", "text"])
    assert suggest_names([list("0123456789"), sentences, list("xyzxyzxyzx")]) == ["id", "text", "label"]
    assert suggest_names([sentences]) == ["text"]
    titles = [f"title {name}" for name in "abcdefghij"]
    assert suggest_names([list("1212121212"), titles, sentences]) == ["label", "title", "text"]
    assert suggest_names([sentences, [cell[:-2] for cell in sentences], list("1212121212")]) == [
        "sentence1",
        "sentence2",
        "label",
    ]
    assert suggest_names([titles, sentences, sentences, list("ABABABABAB")]) == ["question", "A", "B", "answer"]


@pytest.mark.parametrize(
    ("above", "told_of"),
    [("", ""), (";;\n", "1 line above the header is"), ("Exported on 12/03/2024;;\n;;\n", "2 lines above the header are")],
)
def test_lines_above_the_header_are_skipped(tmp_path, told, above, told_of):
    table = "Text;Category;Owner\na, b;x;ann\nc;y;ann\n"
    path = write(tmp_path / "a.csv", above + table)
    dataset = read_files(path)
    assert columns(dataset) == ["Text", "Category", "Owner"] and plain(dataset) == [["a, b", "x", "ann"], ["c", "y", "ann"]]
    assert dataset[0][PLACE] == f"{path}, line {above.count(chr(10)) + 2}"
    assert f"{path}: {told_of} skipped" in told.text if above else "above the header" not in told.text


def test_a_header_with_a_single_name_is_no_title(tmp_path, told):
    for content in (",text,\n0,a,x\n1,b,y\n", "text,,\na,x,u\nb,x,v\n", "text,label\n,x\na,y\n"):
        dataset = read_files(write(tmp_path / "a.csv", content))
        assert "text" in columns(dataset) and len(dataset) == 2
    assert "above the header" not in told.text


def test_lines_above_the_header_of_a_workbook(tmp_path, told):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["Tickets of March"], [], ["text", "label", "n"], ["a", "x", 1], ["b", "y", 2]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    dataset = read_files(str(tmp_path / "a.xlsx"))
    assert plain(dataset) == [["a", "x", 1], ["b", "y", 2]] and dataset[0][PLACE] == f"{tmp_path / 'a.xlsx'}, row 4"
    assert "1 line above the header is skipped" in told.text


def test_a_header_that_is_repeated_is_left_out(tmp_path, told):
    part = "text,label\na,x\nb,y\n"
    path = write(tmp_path / "a.csv", part * 4)  # as `cat` joins files
    dataset = read_files(path)
    assert plain(dataset) == [["a", "x"], ["b", "y"]] * 4 and dataset[2][PLACE] == f"{path}, line 5"
    assert f"{path}: 3 rows that repeat the header are left out" in told.text
    values = write(tmp_path / "b.csv", "ham,see you\nspam,win\nham,see you\nham,hi\n")
    with pytest.raises(UserError, match="'ham' looks like a value"):
        read_files(values)
    assert len(read_files(values, DataArguments(no_header=True, column_names="label,text"))) == 4


def test_questions_below_the_header_of_qualtrics_are_left_out(tmp_path, told):
    ids = [json.dumps({"ImportId": name}) for name in ("startDate", "QID1_TEXT", "QID2")]
    rows = [["2019-05-02", "long", "bad"], ["2019-05-03", "fine", "good"]]
    questions = ["Start Date", "Describe\nyour day", "Which mood?"]
    path = write_csv(tmp_path / "a.csv", ["StartDate", "Q1", "Q2"], [questions, ids, *rows])
    dataset = read_files(path)
    assert plain(dataset) == rows and dataset[0][PLACE] == f"{path}, line 5"
    assert f"{path}: export of Qualtrics" in told.text


@pytest.mark.parametrize(
    "content", ["| text | label |\n|---|:-:|\n| a |  |\n| b, c | y |\n", "text|label\n:--|---\na|\nb, c |y\n"]
)
@pytest.mark.parametrize("ending", ["md", "txt", "csv"])
def test_tables_in_markdown(tmp_path, told, ending, content):
    path = write(tmp_path / f"a.{ending}", content)
    dataset = read_files(path)
    assert plain(dataset) == [["a", ""], ["b, c", "y"]] and columns(dataset) == ["text", "label"]
    assert dataset[0][PLACE] == f"{path}, line 3" and f"{path}: table in Markdown; the dashes in line 2" in told.text


# --- Bad rows ---


def test_bad_rows_are_refused_or_left_out(tmp_path, told):
    rows = [["a", str(n)] for n in range(30)]
    path = write_csv(tmp_path / "a.csv", ["text", "n"], rows[:4] + [["b", "c", "d"]] + rows[4:] + [["e"]])
    with pytest.raises(UserError, match=r"line 6: found 3 fields, expected 2 as in the header; 2 of 32 rows .*--skip_bad_rows"):
        read_files(path)
    dataset = read_files(path, DataArguments(skip_bad_rows=True))
    assert plain(dataset) == rows and dataset[4][PLACE] == f"{path}, line 7"
    assert "line 6: found 3 fields, expected 2 as in the header; 2 of 32 rows are like that, and are left out" in told.text
    path = write_csv(tmp_path / "b.csv", ["text", "n"], rows[:5] + [["b", "c", "d"]] + rows[:1])
    with pytest.raises(UserError, match="1 of 7 rows is like that: too many for --skip_bad_rows"):
        read_files(path, DataArguments(skip_bad_rows=True))


# --- Archives and workbooks ---


def test_archives(tmp_path, told):
    table = "text,label\na,1\n"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("data/", "data/train.csv", "__MACOSX/data/._train.csv", "README.txt", "LICENSE"):
            archive.writestr(name, table)
    dataset = read_files(str(tmp_path / "a.zip"))
    assert plain(dataset) == [["a", "1"]] and dataset[0][PLACE] == f"{tmp_path / 'a.zip'}:data/train.csv, line 2"
    assert "data/train.csv is read" in told.text
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("train.csv", table)
        archive.writestr("test.csv.gz", gzip.compress(b"text,label\nb,2\n"))
    with pytest.raises(UserError, match=r"b.zip holds 2 tables: train.csv, test.csv.gz; .*b.zip:train.csv"):
        read_files(str(tmp_path / "b.zip"))
    both = load_splits(DataArguments(train_file=f"{tmp_path}/b.zip:train.csv", test_file=f"{tmp_path}/b.zip:test.csv.gz"))
    assert plain(both["test"]) == [["b", "2"]] and splits_to_use(both, [], DataArguments(train_file="x")) == both
    with pytest.raises(UserError, match=r"b.zip holds no x.csv; it holds train.csv, test.csv.gz"):
        read_files(f"{tmp_path}/b.zip:x.csv")
    with pytest.raises(UserError, match=r"c.zip is truncated or damaged"):
        read_files(write(tmp_path / "c.zip", "text"))


def test_workbooks(tmp_path, told):
    openpyxl = pytest.importorskip("openpyxl")
    import datetime

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["text", "label", "score", "when", "mixed"])
    sheet.append(["007", 1, 0.5, datetime.datetime(2026, 11, 25), 3.0])
    sheet.append([])
    sheet.append([None, 2.0, 1, datetime.datetime(2026, 11, 25, 8, 30), "x"])
    book.create_sheet("Empty")
    book.save(tmp_path / "a.xlsx")
    dataset = read_files(str(tmp_path / "a.xlsx"))
    first = {"text": "007", "label": 1, "score": 0.5, "when": "2026-11-25", "mixed": "3"}
    second = {"text": None, "label": 2, "score": 1.0, "when": "2026-11-25T08:30:00", "mixed": "x"}
    assert [{name: row[name] for name in first} for row in dataset] == [first, second]
    assert dataset.features["label"].dtype == "int64" and dataset[1][PLACE] == f"{tmp_path}/a.xlsx:Sheet, row 4"
    assert "sheet Sheet is read" in told.text
    book["Empty"].append(["a", "bad"])
    book.save(tmp_path / "b.xlsx")
    with pytest.raises(UserError, match=r"b.xlsx has rows in the sheets Sheet, Empty: name one, such as .*b.xlsx:Sheet"):
        read_files(str(tmp_path / "b.xlsx"))
    asked = read_files(f"{tmp_path}/b.xlsx:Empty", DataArguments(no_header=True, column_names="text,label"))
    assert plain(asked) == [["a", "bad"]]
    with pytest.raises(UserError, match="has no sheet 'X'; its sheets: Sheet, Empty"):
        read_files(f"{tmp_path}/b.xlsx:X")
    with pytest.raises(UserError, match="c.xlsx is not an Excel workbook"):
        read_files(write(tmp_path / "c.xlsx", "text,label\na,1\n"))


def test_workbooks_without_openpyxl(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"a.xlsx: reading workbooks needs another package: pip install openpyxl"):
        read_files(write(tmp_path / "a.xlsx", "x"))


# --- JSON ---

OBJECTS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
SHAPES = {
    "any key": {"version": 1, "items": OBJECTS},
    "columns": {"text": ["a", "b"], "label": ["x", "y"]},
    "orient=columns": {"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}},
    "orient=index": {"0": OBJECTS[0], "1": OBJECTS[1]},
    "orient=split": {"columns": ["text", "label"], "index": [0, 1], "data": [["a", "x"], ["b", "y"]]},
    "orient=table": {"schema": {"fields": [], "primaryKey": ["index"]}, "data": OBJECTS},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ending", ["json", "data"])
def test_shapes_of_json(tmp_path, shape, ending):
    dataset = read_files(write(tmp_path / f"a.{ending}", json.dumps(SHAPES[shape])))
    assert plain(dataset) == [["a", "x"], ["b", "y"]] and columns(dataset) == ["text", "label"]


@pytest.mark.parametrize(
    ("line", "text", "labels"),
    [
        ("__label__one, the text, and more", "the text, and more", ["one"]),
        ("__label__one , the text", "the text", ["one"]),
        ("__label__one,__label__two the text", "the text", ["one", "two"]),
        ("__label__one __label__one the text", "the text", ["one"]),
        ("the text __label__one\r", "the text", ["one"]),
        ("the text", "the text", []),
    ],
)
def test_lines_of_fasttext(tmp_path, line, text, labels):
    dataset = read_files(write(tmp_path / "a.train", f"__label__one of __label__two\n\n{line}\n"))
    assert dataset[1] == {"text": text, "labels": labels, "__place__": f"{tmp_path / 'a.train'}, line 3"}
    with pytest.raises(UserError, match="a.train, line 2: found __label__ without a name"):
        read_files(write(tmp_path / "a.train", f"{line} __label__one\n__label__ other\n"))


def test_json_that_fits_two_ways(tmp_path):
    def read(content, part="", **options):
        return read_files(write(tmp_path / "a.json", json.dumps(content)) + part, DataArguments(**options))

    with pytest.raises(UserError, match=r"has rows under the keys old, new: name one, such as .*a.json:old"):
        read({"old": OBJECTS, "new": OBJECTS})
    assert len(read({"old": OBJECTS, "new": OBJECTS[:1]}, ":new")) == 1
    lists = {"train": [["a", "x"], ["b", "y"]], "outside_train": [["c", "x"]]}  # as CLINC150 is published
    with pytest.raises(UserError, match=r"has rows under the keys train, outside_train: name one, such as .*a.json:train"):
        read(lists)
    with pytest.raises(UserError, match=r"a.json:train: found lists of values such as"):
        read(lists, ":train")
    assert plain(read(lists, ":train", no_header=True, column_names="text,label")) == [["a", "x"], ["b", "y"]]
    with pytest.raises(UserError, match="a.json:x: there is no such key; its keys: old"):
        read({"old": OBJECTS}, ":x")
    with pytest.raises(UserError, match=r"different lengths \('text' 2, 'label' 1\)"):
        read({"text": ["a", "b"], "label": ["x"]})
    with pytest.raises(UserError, match="rows and columns cannot be told apart"):
        read({"r1": OBJECTS[0], "r2": OBJECTS[1]})
    named = read({"r1": OBJECTS[0], "r2": OBJECTS[1], "r3": OBJECTS[1]})
    assert named["id"][:] == ["r1", "r2", "r3"]
    values = [["a", "x"], ["b", "y"]]
    with pytest.raises(UserError, match=r"found lists of values such as .*--no_header --column_names, such as column1,column2"):
        read(values)
    assert plain(read(values, no_header=True, column_names="text,label")) == values
    assert plain(read({"text": "a", "labels": ["x"]})) == [["a", ["x"]]]  # an object that is one row


def test_a_file_that_holds_splits(tmp_path, told):
    path = write(tmp_path / "a.json", json.dumps({"train": OBJECTS, "dev": OBJECTS[:1], "test": OBJECTS[1:]}))
    splits = load_splits(DataArguments(train_file=path))
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "validation": 1, "test": 1}
    assert splits["test"][0][PLACE] == f"{path}:test, row 1" and "test: 1 row from" in told.text
    assert splits_to_use(splits, [], DataArguments(train_file=path)) == splits
    other = write_jsonl(tmp_path / "b.jsonl", OBJECTS * 3)
    assert len(load_splits(DataArguments(train_file=path, test_file=other))["test"]) == 6
    assert set(load_splits(DataArguments(test_file=path))) == {"test"}
    with pytest.raises(UserError, match="a.json holds the splits train, dev, test: expected one table"):
        read_files(path)
    with pytest.raises(UserError, match="holds the splits train, dev, test: give it alone"):
        load_splits(DataArguments(train_file=f"{path},{other}"))


@pytest.mark.parametrize("name", ["split", "Data Split", "set"])
def test_a_column_that_says_the_split(tmp_path, told, name):
    rows = [["a", "train"], ["b", "Test"], ["c", "dev"], ["d", "train"], ["e", "valid"]]
    path = write_csv(tmp_path / "a.csv", ["text", name], rows)
    args = DataArguments(train_file=path)
    splits = splits_to_use(load_splits(args), [], args)
    assert {split: plain(dataset) for split, dataset in splits.items()} == {
        "train": [["a"], ["d"]], "validation": [["c"], ["e"]], "test": [["b"]],
    }  # fmt: skip
    assert splits["test"][0][PLACE] == f"{path}, line 3"
    assert f"{path}: column {name!r} divides the rows: 2 'train', 1 'Test'" in told.text
    other = write_csv(tmp_path / "b.csv", ["text"], [["f"]])
    with pytest.raises(UserError, match=rf"a.csv, column '{name}': .*2 'train'.* leave --test_file out to use .* delete the"):
        load_splits(DataArguments(train_file=path, test_file=other))
    assert list(load_splits(DataArguments(test_file=path))) == ["test"]
    named = TextArguments(train_file=path, text_column_names=name)
    assert list(load_splits(named)) == ["train"]


def test_columns_that_may_say_the_split(tmp_path, told):
    rows = [["a", "train", "train", "1"], ["b", "test", "other", "0"]]
    both = write_csv(tmp_path / "a.csv", ["text", "split", "set", "is_train"], rows)
    assert list(load_splits(DataArguments(train_file=both))) == ["train", "test"]
    assert "column 'is_train' seems to say which rows are training data, but all are read as such" in told.text
    twice = write_csv(tmp_path / "b.csv", ["text", "split", "set"], [["a", "train", "train"], ["b", "test", "dev"]])
    with pytest.raises(UserError, match="'split' and 'set' all say which split a row belongs to: delete all but one"):
        load_splits(DataArguments(train_file=twice))
    for values in ("train train", "test dev", "train other"):
        path = write_csv(tmp_path / "c.csv", ["text", "split"], [["a", value] for value in values.split()])
        assert list(load_splits(DataArguments(train_file=path))) == ["train"]


# --- Folders and datasets ---


def test_a_folder_for_each_label(tmp_path, told):
    for split in ("train", "test"):
        for name in ("pos/1.txt", "pos/2.txt", "neg/1.txt"):
            write(tmp_path / split / name, f"{split} {name}\n")
    dataset = read_files(str(tmp_path / "train"))
    assert plain(dataset)[0] == ["neg/1.txt", "train neg/1.txt", "neg"] and dataset["label"][:] == ["neg", "pos", "pos"]
    assert dataset[0][PLACE] == f"{tmp_path}/train, neg/1.txt"
    assert "a folder for each label (neg, pos), 3 texts" in told.text
    with pytest.raises(UserError, match=r"folder of splits: name each, --train_file .*/train --test_file .*/test$"):
        read_files(str(tmp_path))
    with pytest.raises(UserError, match="a folder with a folder for each label: give it as --train_file"):
        load_splits(DataArguments(dataset_name=str(tmp_path / "train")))


def test_saved_datasets(tmp_path):
    one = Dataset.from_list(OBJECTS)
    one.save_to_disk(tmp_path / "one")
    DatasetDict(train=one, validation=one, test=one).save_to_disk(tmp_path / "three")
    assert plain(load_splits(DataArguments(train_file=f"{tmp_path}/one"))["train"]) == [["a", "x"], ["b", "y"]]
    for options in ({"train_file": f"{tmp_path}/three"}, {"dataset_name": f"{tmp_path}/three"}):
        splits = load_splits(DataArguments(**options))
        assert list(splits) == ["train", "validation", "test"]
        assert splits_to_use(splits, [], DataArguments(**options)) == splits


@pytest.mark.parametrize("saved", [False, True])
def test_streaming_loads_no_more_rows_than_asked_for(tmp_path, monkeypatch, told, saved):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(loading, "ROWS_AT_ONCE", 2)
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_list([{"text": f"t{number}", "label": number % 2} for number in range(7)], features)
    folder = tmp_path / "hub"
    folder.mkdir()
    if saved:
        DatasetDict(train=rows, test=rows).save_to_disk(folder)
    else:
        rows.to_parquet(folder / "train-0.parquet")
        rows.to_parquet(folder / "test.parquet")
    whole = load_splits(DataArguments(dataset_name=str(folder)))
    told.clear()
    if not saved:
        (folder / "train-1.parquet").write_bytes(b"nothing that can be read")
    args = DataArguments(dataset_name=str(folder), streaming=True, max_train_samples=3, validation_fraction=0.2)
    streamed = load_splits(args)  # of 5 rows, one validates and 3 train
    assert "train: the first 5 rows from" in told.text and "test: 7 rows from" in told.text
    assert streamed["train"].to_dict() == whole["train"].select(range(5)).to_dict()
    assert streamed["test"].to_dict() == whole["test"].to_dict()
    for split in streamed.values():
        assert split.features == whole["train"].features and split.cache_files
    if not saved:
        for streaming, part in ((True, ", split train"), (False, "")):
            with pytest.raises(
                UserError, match=f"^cannot load --dataset_name .*hub{part}: .*magic bytes.*; --train_file .*hub/…"
            ):
                load_splits(DataArguments(dataset_name=str(folder), streaming=streaming))
    with pytest.raises(UserError, match="^--shuffle_train_dataset needs all rows, and --streaming takes the first"):
        DataArguments(dataset_name=str(folder), streaming=True, shuffle_train_dataset=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [("./nope", "there is no such folder"), ("/a/b", "there is no such folder"), ("a/b/c", "there is no such folder"),
     ("imdbb", "no folder here has this name"), ("a.csv", "is a file: give it as --train_file a.csv")],
)  # fmt: skip
def test_a_mistyped_dataset_name(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", "text,label\na,1\n")
    with pytest.raises(UserError, match=f"^--dataset_name {name}:? {message}|^--dataset_name {name}: neither a folder"):
        load_splits(DataArguments(dataset_name=name))


# --- Splits side by side ---


def test_spellings_of_column_names_are_those_of_the_training_data(tmp_path, told):
    train = write_csv(tmp_path / "train.csv", ["Text", "Überschrift", "is_spam"], [["a", "b", "0"]])
    test = write_csv(tmp_path / "test.csv", ["text", "über-schrift", "Is Spam", "more"], [["c", "d", "1", "e"]])
    splits = load_splits(DataArguments(train_file=train, test_file=test))
    assert columns(splits["test"]) == ["Text", "Überschrift", "is_spam", "more"]
    assert "test: columns are named as in train: " in told.text
    assert columns(read_files(f"{train},{write_csv(tmp_path / 'b.csv', ['text', 'überschrift', 'is_spam'], [['a', 'b', '0']])}"))


def test_a_reader_of_ones_own_gets_its_source_as_it_is(tmp_path):
    def read(source):
        return Dataset.from_list([{"text": source, "label": 0}])

    args = DataArguments(train_file="db:a,b*", test_file="db:c[1]")
    splits = load_splits(args, read=read)
    assert splits["train"]["text"][:] == ["db:a,b*"] and splits_to_use(splits, [], args) == splits
    same = DataArguments(train_file="db:a", test_file="db:a")
    with pytest.raises(UserError, match="db:a is training and test data"):
        splits_to_use(load_splits(same, read=read), [], same)


def test_a_text_in_each_line(tmp_path):
    path = tmp_path / "new.txt"
    path.write_text("Late again, and no answer\n\nMoney back; please\n\n")
    options = DataArguments(no_header=True, column_names="text")
    assert read_files(str(path), options)["text"][:] == ["Late again, and no answer", "", "Money back; please"]
    with pytest.raises(UserError, match="if each line is a text, add --no_header --column_names text"):
        read_files(str(path))


def test_an_empty_line_in_a_single_column_is_an_empty_text(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text('Comment\nlate again\n\n"money, please"\n\n')
    assert read_files(str(path))["Comment"][:] == ["late again", "", "money, please"]


def test_a_header_under_no_header_is_noticed(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["text", "label"], ROWS)
    with pytest.raises(UserError, match="a.csv, line 1: text and label look like the names of columns: leave out --no_header"):
        read_files(path, DataArguments(no_header=True, column_names="a,b"))
    assert read_files(path, DataArguments(no_header=True, column_names="text,label"))["label"][:] == [label for _, label in ROWS]
