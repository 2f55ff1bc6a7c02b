"""--text: predictions of a saved model for texts on the command line, equal to those of a file, printed and not written."""

import csv
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from conftest import make_choice_rows, make_rows, write_jsonl

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import UserError
from utils.results import report
from utils.results.predictions import print_predictions
from utils.texts import rows_of

PAIRS = [
    {"premise": row["text"], "hypothesis": other["text"], "label": "yes" if row["labels"] else "no"}
    for row, other in zip(make_rows(40), make_rows(40, 1), strict=True)
]
NUMBERS = [{"text": row["text"], "label": len(row["labels"]) + 0.5} for row in make_rows(40)]
SCRIPTS = {
    "multilabel": (run_multilabel, make_rows(40)),
    "pairs": (run_classification, PAIRS),
    "numbers": (run_classification, NUMBERS),
    "choices": (run_multiple_choice, make_choice_rows(40)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("models")
    for name, (script, rows) in SCRIPTS.items():
        train = write_jsonl(folder / f"{name}.jsonl", rows)
        script.main(
            [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={folder / name}", "--max_steps=2"]
        )
    return folder


def predict(models, name: str, *arguments: str) -> dict[str, float]:
    return SCRIPTS[name][0].main([f"--model_name_or_path={models / name}", *arguments])


@pytest.mark.parametrize("name", SCRIPTS)
def test_printed_predictions_are_those_of_a_file(name, models, tmp_path, monkeypatch, capsys):
    rows = [{name: cell for name, cell in row.items() if name not in ("label", "labels")} for row in SCRIPTS[name][1][:6]]
    plain = name in ("multilabel", "numbers")
    texts = [row["text"] if plain else json.dumps(row) for row in rows]
    predict(models, name, f"--test_file={write_jsonl(tmp_path / 't.jsonl', rows)}", f"--output_dir={tmp_path / 'p'}")
    with (tmp_path / "p" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    found = SimpleNamespace()
    monkeypatch.setattr(
        report, "print_predictions", lambda *args, **options: (found.__init__(args=args), print_predictions(*args, **options))
    )
    capsys.readouterr()
    before = sorted(models.rglob("*"))
    monkeypatch.chdir(tmp_path)
    predict(models, name, *(part for text in texts for part in ("--text", text)))
    printed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert sorted(models.rglob("*")) == before and sorted(path.name for path in tmp_path.iterdir()) == ["p", "t.jsonl"]
    _, names, probabilities, *_ = found.args
    for row, (answer, *others) in enumerate(printed):
        decided = expected[row].get("prediction_text") or expected[row]["prediction"] or "(none)"
        assert answer == decided if name != "numbers" else float(answer) == pytest.approx(float(decided), abs=1e-4)
        assert others[-1] == expected[row]["text"]
        own = {label: float(expected[row][label]) for label in names if expected[row][label]}
        for label, value in own.items():
            assert probabilities[row, names.index(label)] == pytest.approx(value, rel=1e-4)
        if own:
            highest = sorted(own.values(), reverse=True)[: 5 if name == "choices" else 3]
            shown = re.findall(r"(\w+) (\d\.\d\d)(?:  |$)", others[0])
            assert [float(value) for _, value in shown] == pytest.approx(highest, abs=0.0051)
            assert {label for label, _ in shown} <= set(own)


def test_lines_of_standard_input_and_empty_texts(models, monkeypatch, capsys):
    content = b"\xef\xbb\xbfthe parcel is late\r\n\nsplit\xe2\x80\xa8here\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    capsys.readouterr()
    predict(models, "multilabel", "--text=first", "--text", "-", "--text=")
    output = capsys.readouterr()
    texts = [line.split("\t")[2] for line in output.out.splitlines()]
    assert texts == ["first", "the parcel is late", "", "split here", ""] and output.err == ""
    predict(models, "multilabel", "--text=", "--no_text")
    assert len(capsys.readouterr().out.split("\t")) == 2


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "standard input is empty"), (b"a\n\xff\n", "line 2 of standard input is not UTF-8")]
)
def test_standard_input_that_cannot_be_read(content, told, models, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(UserError, match=told):
        predict(models, "multilabel", "--text=-")


def test_texts_in_a_file_of_options(models, tmp_path, capsys):
    options = {
        "model_name_or_path": str(models / "pairs"),
        "text": [{"premise": "a", "hypothesis": "b, c"}, '{"premise": 1, "hypothesis": "2"}'],
    }
    (tmp_path / "o.yaml").write_text(yaml.safe_dump(options))
    run_classification.main([str(tmp_path / "o.yaml")])
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["a | b, c", "1 | 2"]


def test_only_what_matters_is_told(models, caplog):
    predict(models, "multilabel", "--text=" + "kettle " * 30, "--text=kettle", "--max_seq_length=8")
    assert [message for message in caplog.messages if "cut" in message] == ["1 of 2 texts are cut to 8 tokens (--max_seq_length)"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--text=a", "--train_file=a.csv", "--smoke_test"], "is predicted alone: leave out --train_file and --smoke_test"),
        (["--text=a"], "--text needs a trained model: add --model_name_or_path with the --output_dir of a finished run"),
        (["--text=a", "--model_name_or_path={tiny}"], "--text needs a model that this script has trained, and {tiny} is none"),
        (["--text", "a", "parcel"], "unexpected argument 'parcel': put a text of several words into quotes"),
        (["--text=a", "--model_name_or_path={models}/pairs"], "{models}/pairs was trained by run_classification.py"),
        (["--text=a", "--model_name_or_path={models}/multilabel", "--threshold=single"], "tuned on validation data"),
    ],
)  # fmt: skip
def test_one_line_says_what_to_do(arguments, told, models, tiny_model):
    with pytest.raises(UserError, match=re.escape(told.format(models=models, tiny=tiny_model))):
        run_multilabel.main([argument.format(models=models, tiny=tiny_model) for argument in arguments])


def test_texts_run_in_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start the script with python alone"):
        run_multilabel.main(["--text=a", "--model_name_or_path=o"])


CHOICE = {"choice_format": {"context": "c", "question": None, "choices": ["choices"]}}
SEVERAL = {"choice_format": {"context": "c", "question": "q", "choices": ["a", "b", "d"]}}
DESCRIBED = {"choice_format": {"context": "c", "question": None, "choices": [], "descriptions": [["x", "It is x"], ["y", "y!"]]}}
PAIR = {"text_column_names": ["premise", "hypothesis"]}


@pytest.mark.parametrize(
    ("settings", "texts", "rows"),
    [
        ({"text_column_names": ["tweet"]}, ["a", "{}"], [{"tweet": "a"}, {"tweet": "{}"}]),
        (PAIR, ['{"hypothesis": "b", "premise": "a", "id": 1}'], [{"premise": "a", "hypothesis": "b"}]),
        (CHOICE, ['{"c": "x", "choices": ["y", 2]}'], [{"c": "x", "choices": ["y", 2]}]),
        (SEVERAL, ['{"c": "x", "q": 1, "a": "y", "b": "z"}'], [{"c": "x", "q": "1", "a": "y", "b": "z", "d": None}]),
        (DESCRIBED, ["plain"], [{"c": "plain"}]),
    ],
)
def test_texts_become_rows(settings, texts, rows):
    assert rows_of(texts, "out", settings) == rows


@pytest.mark.parametrize(
    ("settings", "text", "problem", "example"),
    [
        (PAIR, "plain", "no JSON object", '{"premise": "…", "hypothesis": "…"}'),
        (PAIR, '{"premise": "a"}', "lacks 'hypothesis'", '{"premise": "…", "hypothesis": "…"}'),
        (PAIR, '{"premise": null, "hypothesis": ""}', "'premise' is no text", '{"premise": "…", "hypothesis": "…"}'),
        (CHOICE, '{"c": "", "choices": [1]}', "'choices' is no list of two texts or more", '{"c": "…", "choices": ["…", "…"]}'),
        (SEVERAL, '{"c": "x", "q": "", "a": "y"}', "lacks 'b'", '{"c": "…", "q": "…", "a": "…", "b": "…", "d": "…"}'),
    ],
)  # fmt: skip
def test_a_wrong_row_is_answered_with_one_to_copy(settings, text, problem, example):
    with pytest.raises(UserError) as told:
        rows_of([text], "out", settings)
    assert str(told.value) == f"--text, text 1: {problem}; out reads rows such as --text '{example}'"


def test_on_a_terminal_the_parts_are_aligned_and_a_line_fits(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    values = np.array([[0.9, 0.25, 0.5, 0.1], [0.1, np.nan, 0.2, np.nan]])
    print_predictions(["a;long", ""], ["a", "b", "long", "d"], values, ["two\nlines", "word " * 40])
    first, second = capsys.readouterr().out.splitlines()
    assert first == "a;long    a 0.90     long 0.50  b 0.25    two lines"
    assert second.startswith("(none)    long 0.20  a 0.10") and len(second) == 70 and second.endswith("…")
    assert first.index("two") == second.index("word")
