"""Bad data and options, and how each must end: what the tests and `benchmarks/reliability.py` try on every script."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CLASSIFICATION, MULTILABEL, CHOICE = "run_classification", "run_multilabel", "run_multiple_choice"
ALL = (CLASSIFICATION, MULTILABEL, CHOICE)
TEXTS = ["the kettle leaks", "a lovely teapot", "where is my parcel", "money back, please", "late again", "superb shop"]
# A table that each script trains on: its header, and six rows. Numbers are 0/1 cells or positions.
HEADERS = {
    CLASSIFICATION: ["text", "label"],
    MULTILABEL: ["text", "defect", "praise"],
    CHOICE: ["context", "choice0", "choice1", "label"],
}


def rows_of(script: str, count: int = 6) -> list[list]:
    rows = []
    for number in range(count):
        text = TEXTS[number % 6] + (f" {number}" if number >= 6 else "")
        if script == CLASSIFICATION:
            rows.append([text, ("bad", "good")[number % 2]])
        elif script == MULTILABEL:
            rows.append([text, number % 2, int(number % 3 > 0)])
        else:
            rows.append([text, f"yes {number}", f"no {number}", number % 2])
    return rows


def as_csv(header: list, rows: list[list], delimiter: str = ",", end: str = "\n") -> bytes:
    def cell(value) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in (delimiter, '"', "\n", "\r")) else text

    return "".join(delimiter.join(map(cell, row)) + end for row in [header, *rows]).encode()


def as_jsonl(header: list, rows: list[list]) -> bytes:
    return "".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows).encode()


def as_parquet(header: list, rows: list[list]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({name: [row[i] for row in rows] for i, name in enumerate(header)}), file)
    return file.getvalue()


def parquet_of(header: list, rows: list[list], kind: pa.DataType | None = None, **more: pa.Array) -> bytes:
    """Return a Parquet file whose first column is of another `kind`, or that has `more` columns."""
    table = pq.read_table(io.BytesIO(as_parquet(header, rows)))
    if kind:
        texts = [text.encode() if pa.types.is_binary(kind) else text for text in table[0].to_pylist()]
        table = table.set_column(0, header[0], pa.array(texts, kind))
    for name, values in more.items():
        table = table.append_column(name, values)
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def as_zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def with_cell(rows: list[list], row: int, column: int, value) -> list[list]:
    return [[value if (r, c) == (row, column) else cell for c, cell in enumerate(cells)] for r, cells in enumerate(rows)]


@dataclass
class Case:
    """What is in the files, by name, for (header, rows) of a script; the options; and the error, None where it is to train."""

    files: Callable[[list, list[list]], dict[str, bytes]]
    error: str | None
    options: tuple[str, ...] = ("--train_file=train.csv",)
    scripts: tuple[str, ...] = ALL

    def arguments(self, script: str, folder: Path) -> list[str]:
        """Write the files into `folder` and return the options, with paths in it."""
        for name, content in self.files(HEADERS[script], rows_of(script)).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is FOLDER:
                path.mkdir()
            else:
                path.write_bytes(content)
        return [option.replace("_file=", f"_file={folder}/") for option in self.options]


FOLDER = object()


def train(change: Callable[[list, list[list]], bytes], name: str = "train.csv") -> dict:
    """Return the arguments of a `Case` with one file, `change` of header and rows."""
    return {"files": lambda header, rows: {name: change(header, rows)}, "options": (f"--train_file={name}",)}


def good_and(other: Callable[[list, list[list]], bytes], split: str) -> dict:
    """Return the arguments of a `Case` with sound training data and another split."""
    return {
        "files": lambda header, rows: {"train.csv": as_csv(header, rows), "other.csv": other(header, rows)},
        "options": ("--train_file=train.csv", f"--{split}_file=other.csv"),
    }


def one_label(values: list, **more) -> dict:
    """Return the arguments of a `Case` of classification whose JSON label column holds `values`."""
    rows = [[f"{TEXTS[n % 6]} {n}", value] for n, value in enumerate(values)]
    return {
        **train(lambda *_: as_jsonl(["text", "label"], rows), "train.jsonl"),
        "scripts": (CLASSIFICATION,),
        **more,
    }


def several_labels(values: list, **more) -> dict:
    """Return the arguments of a `Case` of multi-label data whose JSON column `labels` holds `values`."""
    rows = [[f"{TEXTS[n % 6]} {n}", value] for n, value in enumerate(values)]
    return {**train(lambda *_: as_jsonl(["text", "labels"], rows), "train.jsonl"), "scripts": (MULTILABEL,), **more}


def choices(change: Callable[[dict], dict], **more) -> dict:
    """Return the arguments of a `Case` of multiple choice whose fourth row is `change`d."""
    rows = [{"context": TEXTS[n], "choices": [f"yes {n}", f"no {n}", f"x {n}"], "label": n % 3} for n in range(6)]
    rows[3] = change(dict(rows[3]))
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return {**train(lambda *_: content, "train.jsonl"), "scripts": (CHOICE,), **more}


LINE_5 = r"train\.csv, line 5"
FIELDS = LINE_5 + r": found \d fields?, expected \d as in the header"
STRICT, STRICT_JSON = ("--train_file=train.csv", "--strict_data"), ("--train_file=train.jsonl", "--strict_data")
CELLS = ("--train_file=train.csv", "--label_column_names=defect,praise")
CASES: dict[str, Case] = {
    # Files: what they are
    "file that is not there": Case(lambda *_: {}, r"train\.csv does not exist \(looked in"),
    "folder in place of a file": Case(lambda *_: {"train.csv": FOLDER}, r"train\.csv is a folder: name a file in it"),
    "glob that matches nothing": Case(lambda *_: {}, r"no file matches .*\*\.csv", ("--train_file=*.csv",)),
    "unknown ending": Case(
        **train(lambda *_: b"<rows/>", "train.xml"), error=r"train\.xml: unknown format \.xml; expected \.csv"
    ),
    "CSV under the ending .xlsx": Case(**train(as_csv, "train.xlsx"), error="is not an Excel workbook|pip install openpyxl"),
    "table under the ending .txt": Case(**train(lambda h, r: as_csv(h, r, "|"), "train.txt"), error=None),
    "lines of text": Case(
        **train(lambda *_: "\n".join(TEXTS).encode(), "train.txt"), error="is no table: .* --no_header --column_names text"
    ),
    "archive of one table": Case(**train(lambda h, r: as_zip({"a.csv": as_csv(h, r), "README": b"x"}), "train.zip"), error=None),
    "archive of two tables": Case(
        **train(lambda h, r: as_zip({"a.csv": as_csv(h, r), "b.csv": b""}), "train.zip"),
        error=r"train\.zip holds 2 tables: a\.csv, b\.csv; .*train\.zip:a\.csv",
    ),
    "empty CSV": Case(**train(lambda *_: b""), error=r"train\.csv is empty"),
    "CSV of blank lines": Case(**train(lambda *_: b"\n\n \n"), error=r"train\.csv is empty"),
    "byte order mark alone": Case(**train(lambda *_: b"\xef\xbb\xbf\n"), error=r"train\.csv is empty"),
    "empty JSON lines": Case(**train(lambda *_: b"", "train.jsonl"), error=r"train\.jsonl is empty"),
    "header only": Case(**train(lambda header, _: as_csv(header, [])), error=r"train\.csv has a header but no rows"),
    "gz cut short": Case(
        **train(lambda h, r: gzip.compress(as_csv(h, r))[:-9], "train.csv.gz"), error="gz is truncated or damaged"
    ),
    "gz that is none": Case(**train(as_csv, "train.csv.gz"), error=r"cannot read .*train\.csv\.gz"),
    "gz under the ending .csv": Case(**train(lambda h, r: gzip.compress(as_csv(h, r))), error="is compressed with gzip: give it"),
    "Excel under the ending .csv": Case(**train(lambda *_: b"PK\x03\x04\x14\x00"), error="is a zip archive or an Excel workbook"),
    "Parquet cut short": Case(**train(lambda h, r: as_parquet(h, r)[:-20], "train.parquet"), error="is not a Parquet file"),
    "Parquet under the ending .csv": Case(**train(as_parquet), error="is a Parquet file: give it the ending .parquet"),
    # Files: encodings
    "latin-1 CSV": Case(
        **train(lambda h, r: as_csv(h, with_cell(r, 3, 0, "é")).decode().encode("latin-1")),
        error=LINE_5 + ": byte 0xe9 is not UTF-8; add --encoding cp1252, if this reads right: ",
    ),
    "latin-1 JSON lines": Case(
        **train(lambda h, r: as_jsonl(h, r).replace(b"money", b"mon\xe9y"), "train.jsonl"), error="line 4: byte 0xe9 is not UTF-8"
    ),
    "UTF-16": Case(**train(lambda h, r: as_csv(h, r).decode().encode("utf-16")), error=None),
    "UTF-16 without a mark": Case(
        **train(lambda h, r: as_csv(h, r).decode().encode("utf-16-le")),
        error="line 1: found a NUL byte: it is UTF-16: add --encoding utf-16-le",
    ),
    "NUL byte": Case(**train(lambda h, r: as_csv(h, with_cell(r, 3, 0, "a\0b"))), error=LINE_5 + ": found a NUL byte"),
    "BOM": Case(**train(lambda h, r: b"\xef\xbb\xbf" + as_csv(h, r)), error=None),
    "BOM in JSON lines": Case(**train(lambda h, r: b"\xef\xbb\xbf" + as_jsonl(h, r), "train.jsonl"), error=None),
    "CRLF": Case(**train(lambda h, r: as_csv(h, r, end="\r\n")), error=None),
    "separated by ;": Case(**train(lambda h, r: as_csv(h, r, ";")), error=None),
    "separated by tabs": Case(**train(lambda h, r: as_csv(h, r, "\t"), "train.tsv"), error=None),
    "10 MB cell": Case(
        **train(lambda h, r: as_csv(h, with_cell(r, 3, 0, "kettle " * 1_500_000))), error=None, scripts=(MULTILABEL,)
    ),
    # Files: rows and columns
    "row with a field too many": Case(**train(lambda h, r: as_csv(h, [*r[:3], [*r[3], "x"], *r[4:]])), error=FIELDS),
    "row with a field too few": Case(**train(lambda h, r: as_csv(h, [*r[:3], r[3][:-1], *r[4:]])), error=FIELDS),
    "quotation mark left open": Case(
        **train(lambda h, r: as_csv(h, r).replace(b"superb", b'"superb')),
        error=r"train\.csv, line 7: .* in the row that starts here; is a quotation mark left open\?",
    ),
    "quotation mark left open that a later one closes": Case(
        **train(lambda h, r: as_csv(h, r).replace(b"a lovely", b'"a lovely')),
        error=r"train\.csv, line 3: .* in the row that starts here; is a quotation mark left open\?",
    ),
    "column name twice": Case(
        **train(lambda h, r: as_csv([*h, h[0]], [[*row, "x"] for row in r])),
        error=r"line 1: the column name '\w+' occurs 2 times",
    ),
    "no header": Case(
        **train(lambda h, r: as_csv(r[0], r[1:])),
        error=r"line 1: '\w+' looks like a value, .*: add --no_header --column_names \w+,\w+",
    ),
    "text column by another name": Case(
        **train(as_csv), error="has no column 'nope'; its columns: ", scripts=(CLASSIFICATION, MULTILABEL)
    ),
    "context column by another name": Case(**train(as_csv), error="has no column 'nope'; its columns: ", scripts=(CHOICE,)),
    "missing text": Case(
        **{**train(lambda h, r: as_csv(h, with_cell(r, 3, 0, ""))), "options": STRICT},
        error=LINE_5 + r", column '\w+': the text is missing; fill or drop",
    ),
    "null as text": Case(
        **{**train(lambda h, r: as_jsonl(h, with_cell(r, 3, 0, None)), "train.jsonl"), "options": STRICT_JSON},
        error=r"line 4, column '\w+': the text is missing",
    ),
    "JSON lines without the text in one": Case(
        **train(lambda h, r: as_jsonl(h, r[:3]) + as_jsonl(h[1:], [r[3][1:]]) + as_jsonl(h, r[4:]), "train.jsonl"),
        error=None,  # that row is left out
    ),
    "list as text": Case(
        **train(lambda h, r: as_jsonl(h, [[["a"], *row[1:]] for row in r]), "train.jsonl"),
        error="no column of texts|the labels may be in more than one way",
        scripts=(CLASSIFICATION, MULTILABEL),
    ),
    "list as context": Case(
        **train(lambda h, r: as_jsonl(h, [[["a", row[0]], *row[1:]] for row in r]), "train.jsonl"), error=None, scripts=(CHOICE,)
    ),
    "list of numbers as text": Case(
        **train(lambda h, r: as_jsonl(h, [[[1, 2], *row[1:]] for row in r]), "train.jsonl"),
        error="no column of texts|expected a text, or a list of its parts|the labels may be in more than one way",
    ),
    "bad JSON line": Case(
        **train(lambda h, r: as_jsonl(h, r).replace(b'"money', b"money"), "train.jsonl"),
        error=r"train\.jsonl, line 4: not valid JSON",
    ),
    "JSON line that is no object": Case(
        **train(lambda h, r: as_jsonl(h, r) + b"[1]\n", "train.jsonl"),
        error=r"train\.jsonl, line 7: found list, expected an object",
    ),
    "JSON left open": Case(**train(lambda *_: b'[{"text": "a"},', "train.json"), error=r"train\.json, line 1: not valid JSON"),
    "JSON of one number": Case(
        **train(lambda *_: b"7", "train.json"), error="found int where the rows should be; expected a list of objects"
    ),
    "JSON too deep": Case(**train(lambda *_: b"[" * 100_000, "train.json"), error="lists or objects are nested too deeply"),
    "number beyond 64 bits": Case(
        **train(
            lambda h, r: as_jsonl([*h, "n"], [[*row, 10 ** (25 if n == 3 else 1)] for n, row in enumerate(r)]), "train.jsonl"
        ),
        error=None,
    ),
    "type that changes after row 10,000": Case(
        lambda *_: {
            "train.jsonl": as_jsonl(["text", "label"], [[f"a {n}", n % 2 if n < 10_005 else ["x"]] for n in range(10_010)])
        },
        r"train\.jsonl, line 10006, column 'label': found \[\"x\"\], but earlier rows hold numbers: one column needs one type",
        ("--train_file=train.jsonl",),
    ),
    "label that changes its type after row 10,000": Case(
        lambda *_: {
            "train.csv": as_csv(["text", "label"], [[f"a {n}", n % 2 + 0.25 if n < 10_005 else "x"] for n in range(10_010)])
        },
        r"train\.csv, line 10007, column 'label': found 'x' among numbers such as 0\.25",
        scripts=(CLASSIFICATION,),
    ),
    "NUL in a JSON key": Case(
        **train(lambda h, r: as_jsonl([*h, "a\0b"], [[*row, 1] for row in r]), "train.jsonl"), error="contains a NUL character"
    ),
    "JSON key twice": Case(
        **train(lambda h, r: as_jsonl(h, r) + b'{"text": "a", "text": "b"}\n', "train.jsonl"),
        error="line 7: not valid JSON: the key 'text' occurs twice in an object",
    ),
    "number of 5,000 digits": Case(
        **train(lambda h, r: as_jsonl(h, r) + b'{"label": ' + b"9" * 5000 + b"}\n", "train.jsonl"),
        error="line 7: not valid JSON: Ex",
    ),
    "Parquet column of maps": Case(
        **train(lambda h, r: parquet_of(h, r, m=pa.array([[("k", 1)]] * 6, pa.map_(pa.string(), pa.int64()))), "train.parquet"),
        error="a column has a type that cannot be read: .*map",
    ),
    "Parquet texts as bytes": Case(**train(lambda h, r: parquet_of(h, r, pa.binary()), "train.parquet"), error=None),
    "Parquet texts as views": Case(**train(lambda h, r: parquet_of(h, r, pa.string_view()), "train.parquet"), error=None),
    "ending in capitals": Case(**train(as_csv, "TRAIN.CSV"), error=None),
    # Splits
    "same file for training and test": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--test_file=train.csv")},
        error="is training and test data, whose scores",
    ),
    "validation data without the label": Case(
        **good_and(lambda h, r: as_csv(h[:-1], [row[:-1] for row in r]), "validation"),
        error=r"other\.csv has no column '\w+'; its columns",
    ),
    "test data without the text": Case(
        **good_and(lambda h, r: as_csv(h[1:], [row[1:] for row in r]), "test"),
        error=r"other\.csv has no column '\w+'; its columns",
    ),
    "files of one split with other columns": Case(
        lambda h, r: {"a.csv": as_csv(h, r), "b.csv": as_csv([*h[:-1], "other"], r)},
        r"b\.csv has the columns .*, but .*a\.csv has .*: files of one split need the same columns",
        ("--train_file=*.csv",),
    ),
    "one row": Case(
        **train(lambda h, r: as_csv(h, r[:1])), error="too few to split validation|at least two labels|nothing to learn"
    ),
    # Labels: one of each text
    "label unseen in training": Case(
        **good_and(lambda h, r: as_csv(h, with_cell(r, 3, 1, "zebra")), "validation"),
        error=r"other\.csv, line 5, column 'label': the label 'zebra' is not among the labels of the training data",
        scripts=(CLASSIFICATION,),
    ),
    "class id beyond those of training": Case(
        lambda *_: {
            "train.csv": as_csv(["text", "label"], [[t, n % 3] for n, t in enumerate(TEXTS)]),
            "other.csv": as_csv(["text", "label"], [[t, n % 4] for n, t in enumerate(TEXTS)]),
        },
        r"other\.csv, line 5, column 'label': the label '3' is not among",
        ("--train_file=train.csv", "--validation_file=other.csv"),
        (CLASSIFICATION,),
    ),
    "label column that is not there": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--label_column_name=nope")},
        error=r"train\.csv has no column 'nope'; its columns: .*; see --label_column_name",
        scripts=(CLASSIFICATION, CHOICE),
    ),
    "no label at all": Case(**one_label([None] * 6), error="column 'label': no row has a label"),
    "one label for all": Case(**one_label(["a"] * 6), error="every row has the label 'a'; expected at least two labels"),
    "class ids with a hole": Case(
        **one_label([0, 1, 5, 0, 1, 5]), error="leave out 2, so class ids would not fit a head of 3 logits"
    ),
    "numbers where classes are asked for": Case(
        **{**one_label([0.0, 1.0, 2.5] * 2), "options": ("--train_file=train.jsonl", "--problem_type=multi")},
        error=r"line 3, column 'label': found the number 2\.5; --problem_type multi makes a head with one logit per class",
    ),
    "three labels for one logit": Case(
        **{**one_label(["a", "b", "c"] * 2), "options": ("--train_file=train.jsonl", "--binary_form=one_logit")},
        error="with 3 labels do not fit --binary_form one_logit",
    ),
    "lists of labels for classification": Case(
        **one_label([["a"], ["a", "b"], [], ["b"], ["a"], ["b"]]), error="use run_multilabel.py --label_column_names label"
    ),
    "multi-hot rows for classification": Case(**one_label([[1, 0, 1], [0, 1, 1]] * 3), error="use run_multilabel.py"),
    "candidates for classification": Case(
        lambda *_: {"train.csv": as_csv(HEADERS[CHOICE], rows_of(CHOICE))},
        "use run_multiple_choice.py",
        scripts=(CLASSIFICATION, MULTILABEL),
    ),
    "one label a text for multi-label": Case(
        lambda *_: {"train.csv": as_csv(HEADERS[CLASSIFICATION], rows_of(CLASSIFICATION))},
        "use run_classification.py --label_column_name label",
        scripts=(MULTILABEL, CHOICE),
    ),
    "infinity among numbers": Case(
        **one_label([1.5, 2.5, float("inf"), 0.5]), error="line 3, column 'label': found inf, expected a name, an id"
    ),
    "number too large for float32": Case(
        **one_label([1.5, 2.5, 1e39, 0.5]), error="line 3, column 'label': found 1e\\+39, which is too large for float32"
    ),
    "objects as labels": Case(**one_label([{"v": 0}, {"v": 1}] * 3), error=None),  # the column label_v
    "digits that int() does not read, as labels": Case(**one_label(["²", "³"] * 4), error=None),
    "None among labels": Case(**one_label(["a", "b", None, "a", "b", "a", "b"]), error=None),
    "bools as labels": Case(**one_label([True, False] * 4), error=None),
    # Labels: any number
    "0/1 cell that is neither": Case(
        **{**train(lambda h, r: as_csv(h, with_cell(r, 3, 1, "maybe"))), "options": CELLS},
        error=LINE_5 + ", column 'defect': found 'maybe', expected 0 or 1",
        scripts=(MULTILABEL,),
    ),
    "0/1 cell above 1": Case(
        **{**train(lambda h, r: as_csv(h, with_cell(r, 3, 1, 3))), "options": CELLS},
        error=LINE_5 + ", column 'defect': found '3', perhaps a count or a percentage",
        scripts=(MULTILABEL,),
    ),
    "0/1 vectors of two widths": Case(
        **several_labels([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0], [0, 1, 1]]),
        error=r"line 4, column 'labels': found \[1, 0\], but most",
    ),
    "0/1 vectors wider than in training": Case(
        lambda *_: {
            "train.jsonl": as_jsonl(["text", "labels"], [[t, [n % 2, n % 3 % 2, 0]] for n, t in enumerate(TEXTS)]),
            "other.jsonl": as_jsonl(["text", "labels"], [[t, [n % 2, n % 3 % 2, 0, 1]] for n, t in enumerate(TEXTS)]),
        },
        r"other\.jsonl, line 1, column 'labels': found 4 values, expected 3",
        ("--train_file=train.jsonl", "--validation_file=other.jsonl"),
        (MULTILABEL,),
    ),
    "null in a list of labels": Case(
        **several_labels([["x", None], ["y"], ["x", "y"], []]),
        error="line 1, column 'labels': found null in .*; drop it, or write null",
    ),
    "multi-hot bools": Case(**several_labels([[True, False, True], [False, True, True], [True, True, False]] * 3), error=None),
    "multi-hot ints behind an empty row": Case(**several_labels([[], [1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 1]]), error=None),
    "multi-hot ints": Case(**several_labels([[1, 0, 1], [0, 1, 1], [1, 1, 0]] * 3), error=None),
    "nothing is positive": Case(**several_labels([[0, 0, 0], [0, 0, 0]] * 4), error="no row is positive for any label"),
    "all labels unknown": Case(**several_labels([None] * 8), error="no row has a label|no label"),
    # Labels: one of several candidates
    "position beyond the candidates": Case(
        **choices(lambda row: row | {"label": 5}), error="line 4, column 'label': found 5, expected a position from 0 to 2"
    ),
    "row with one candidate": Case(
        **choices(lambda row: row | {"choices": ["a"]}), error=r"line 4, .*found 1 candidate \('a'\), expected at"
    ),
    "empty candidate": Case(**choices(lambda row: row | {"choices": ["a", "", "b"]}), error="line 4, .*candidate 2 is empty"),
    "right candidate twice": Case(
        **choices(lambda row: row | {"choices": ["a", "a", "b"], "label": 0}), error="line 4, .*'a' occurs 2 times"
    ),
    "fewer candidates in a row": Case(**choices(lambda row: row | {"choices": ["a", "b"], "label": 0}), error=None),
    "more candidates in a row": Case(**choices(lambda row: row | {"choices": [*"abcdef"], "label": 5}), error=None),
    "the same candidates in every row": Case(
        lambda *_: {
            "train.jsonl": as_jsonl(["context", "choices", "label"], [[t, ["yes", "no"], n % 2] for n, t in enumerate(TEXTS)])
        },
        "every row has the same 2 candidates .*use run_classification.py",
        ("--train_file=train.jsonl",),
        (CHOICE,),
    ),
    # Options
    "metric that is none": Case(
        **{
            **train(as_csv),
            "options": ("--train_file=train.csv", "--metric_for_best_model=acuracy", "--validation_fraction=0.4"),
        },
        error="--metric_for_best_model acuracy: no such metric; there are loss, ",
    ),
    "best model without matching strategies": Case(
        **{
            **train(as_csv),
            "options": ("--train_file=train.csv", "--load_best_model_at_end", "--save_strategy=steps", "--eval_strategy=epoch"),
        },
        error="--load_best_model_at_end needs evaluations, and a checkpoint at each: --eval_strategy is epoch and "
        "--save_strategy is steps; leave them out",
    ),
    "best model without evaluations": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--load_best_model_at_end", "--eval_strategy=no")},
        error="--load_best_model_at_end needs evaluations, and a checkpoint at each: --eval_strategy is no",
    ),
    "length beyond the model's": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--max_seq_length=9999")},
        error="--max_seq_length 9999: this model reads at",
    ),
    "text longer than the model reads": Case(**train(lambda h, r: as_csv(h, with_cell(r, 3, 0, "kettle " * 500))), error=None),
    "one fold": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--num_folds=1")},
        error="--num_folds 1: expected at least 2",
    ),
    "a fold that is not there": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--num_folds=3", "--fold=4")},
        error="--fold 4: expected a number from 1 to --num_folds",
    ),
    "a fold of no folds": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--fold=1")},
        error="--fold 1: of how many. give --num_folds",
    ),
    "more folds than texts": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--num_folds=9")},
        error="has 6 different texts, too few for 9 folds",
    ),
    "folds and validation data": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--validation_file=train.csv", "--num_folds=3")},
        error="--validation_file is given: leave it out, or add its rows",
    ),
    "folds and a share for validation": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--validation_fraction=0.3", "--num_folds=3")},
        error="--validation_fraction 0.3: each fold of --num_folds validates once; leave one out",
    ),
    "folds and a search": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--num_folds=3", "--search_trials=2")},
        error="both given: search first",
    ),
    "folds of what is not trained": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--num_folds=3", "--do_train")},
        error="add --do_eval",
    ),
    "groups by no column": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--group_column_name=author")},
        error="--group_column_name author: .*train.csv has no such column; its columns: ",
    ),
    "pair to be read in windows": Case(
        lambda *_: {"train.csv": as_csv(["a", "b", "label"], [[t, t, ("bad", "good")[n % 2]] for n, t in enumerate(TEXTS)])},
        "--long_texts windows: expected one text a row, found the pair a, b; join them with --text_column_delimiter ' ', or",
        ("--train_file=train.csv", "--text_column_names=a,b", "--long_texts=windows"),
        (CLASSIFICATION,),
    ),
    "two columns joined to be read in windows": Case(
        lambda *_: {"train.csv": as_csv(["a", "b", "label"], [[t, t, ("bad", "good")[n % 2]] for n, t in enumerate(TEXTS)])},
        None,
        ("--train_file=train.csv", "--text_column_names=a,b", "--text_column_delimiter=. ", "--long_texts=windows"),
        (CLASSIFICATION,),
    ),
    "way to read long texts that there is not": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--long_texts=head")},
        error="--long_texts.*invalid choice: 'head'",
        scripts=(CLASSIFICATION, MULTILABEL),
    ),
    "bf16 without a GPU": Case(**{**train(as_csv), "options": ("--train_file=train.csv", "--bf16")}, error=None),
    "fp16 without a GPU": Case(**{**train(as_csv), "options": ("--train_file=train.csv", "--fp16")}, error=None),
    "option of transformers 4": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--evaluation_strategy=epoch")}, error="write --eval_strategy"
    ),
    "value that is no number": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--learning_rate=fast")},
        error="--learning_rate.*invalid float value",
    ),
    "--seed -1": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--seed=-1")}, error="--seed -1: expected from 0 to below 2"
    ),
    "--learning_rate inf": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--learning_rate=inf")},
        error="--learning_rate inf: expected a number above 0",
    ),
    "--max_steps 0": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--max_steps=0")},
        error="--max_steps 0: expected above 0, or -1",
    ),
    "--weight_decay -1": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--weight_decay=-1")},
        error="--weight_decay -1.0: expected 0 or more",
    ),
    "--save_total_limit 0": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--save_total_limit=0")},
        error="--save_total_limit 0: expected at least 1",
    ),
    "--adam_beta1 2": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--adam_beta1=2")},
        error="--adam_beta1 2.0: expected from 0 to below 1",
    ),
    "--output_dir ": Case(
        **{**train(as_csv), "options": ("--train_file=train.csv", "--output_dir=")}, error="--output_dir : expected a folder"
    ),
}
for name, option in (
    ("text column by another name", "--text_column_names"),
    ("context column by another name", "--context_column_name"),
):
    CASES[name].options = ("--train_file=train.csv", f"{option}=nope")
