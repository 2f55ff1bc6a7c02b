"""Tables nobody has thought of: every run trains or ends with one line; never a traceback, never a hang."""

import contextlib
import importlib
import json
import os
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.arguments import UserError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))  # of each script and kind of file; benchmarks/reliability.py tries more
SECONDS = 60
ended: Counter = Counter()

WORDS = st.sampled_from(
    ["kettle", "late", "refund", "NA", "", " ", "0", "1", "-1", "2.5", "nan", "a,b", "a;b", "[0, 1]", "['x']", "é😀", '"']
)
TEXT = st.one_of(WORDS, st.text(max_size=12))
NUMBER = st.one_of(st.integers(-3, 5), st.floats(), st.integers(), st.booleans(), st.none())
NESTED = st.one_of(
    st.lists(st.integers(-1, 2), max_size=4),
    st.lists(TEXT, max_size=4),
    st.dictionaries(st.sampled_from("ab"), NUMBER, max_size=2),
)
CELL = st.one_of(TEXT, NUMBER, NESTED)
# Columns mostly of one kind, sometimes of any; names that the scripts look for, and others.
COLUMN = st.sampled_from([TEXT, WORDS, st.integers(0, 1), st.integers(0, 3), st.sampled_from(["x", "y"]), NUMBER, NESTED, CELL])
NAMES = [
    "text",
    "label",
    "labels",
    "sentence1",
    "sentence2",
    "context",
    "question",
    "choices",
    "choice0",
    "choice1",
    "ending0",
    "id",
    "x",
    "0",
    "",
]


@st.composite
def tables(draw) -> tuple[list[str], list[list]]:
    names = draw(st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=4)), min_size=1, max_size=5))
    kinds = [draw(COLUMN) for _ in names]
    rows = draw(st.integers(0, 12))
    return names, [[draw(kind) for kind in kinds] for _ in range(rows)]


def as_text(names: list[str], rows: list[list], delimiter: str, quoted: bool, ragged: bool) -> str:
    def cell(value) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if quoted else text

    lines = [delimiter.join(map(cell, row)) for row in [names, *rows]]
    return "\n".join(lines + (["x"] if ragged else []))


SOME = st.lists(
    st.sampled_from(
        ["--validation_fraction=0", "--text_column_names=text", "--label_column_name=label", "--problem_type=multi", "--loss=bce",
         "--problem_type=regression", "--binary_form=one_logit", "--binary_form=one_hot", "--label_column_names=labels",
         "--label_delimiter=;", "--class_weights=balanced", "--pos_weight=balanced", "--choice_column_names=choice0,choice1",
         "--context_column_name=context", "--max_train_samples=3", "--check_data", "--id_column_name=id", "--threshold=tuned"]
    ), max_size=3, unique=True,
)  # fmt: skip
OPTIONS = st.one_of(st.just([]), SOME)


@contextlib.contextmanager
def no_hang():
    def stop(*_):
        raise TimeoutError(f"still running after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trains_or_ends_with_one_line(script: str, model: str, content: str, ending: str, options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, no_hang():
        file = Path(folder, f"train.{ending}")
        file.write_text(content, encoding="utf-8", errors="surrogatepass", newline="")
        arguments = [
            f"--train_file={file}",
            f"--model_name_or_path={model}",
            f"--output_dir={folder}/o",
            "--max_steps=1",
            *options,
        ]
        try:
            importlib.import_module(script).main([*arguments, "--disable_tqdm"])
            ended["trained or reported"] += 1
        except UserError as error:
            assert str(error).strip()
            ended["one line"] += 1


def fuzz(function):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
    found = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=checks)(
        function
    )
    return pytest.mark.parametrize("script", ["run_classification", "run_multilabel", "run_multiple_choice"])(found)


@fuzz
@given(table=tables(), delimiter=st.sampled_from(",;\t"), quoted=st.booleans(), ragged=st.booleans(), options=OPTIONS)
def test_delimited_tables(script, tiny_model, table, delimiter, quoted, ragged, options):
    content = as_text(*table, delimiter, quoted, ragged and not quoted)
    trains_or_ends_with_one_line(script, tiny_model, content, "csv", options)


@fuzz
@given(table=tables(), missing=st.booleans(), as_list=st.booleans(), options=OPTIONS)
def test_json_tables(script, tiny_model, table, missing, as_list, options):
    names, rows = table
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    if missing and len(objects) > 1:
        objects[-1].pop(names[0])
    content = json.dumps(objects) if as_list else "\n".join(map(json.dumps, objects))
    trains_or_ends_with_one_line(script, tiny_model, content, "json" if as_list else "jsonl", options)


# Tables that would train, but for a cell or two of the label.
LABELS = st.lists(
    st.one_of(st.sampled_from([0, 1]), st.sampled_from(["x", "y"]), st.sampled_from([[0, 1], [1, 0]])), min_size=1, max_size=2
)


@fuzz
@given(kinds=LABELS, odd=st.lists(st.tuples(st.integers(0, 7), CELL), max_size=2), options=OPTIONS)
def test_odd_label_cells(script, tiny_model, kinds, odd, options):
    rows = []
    for number in range(8):
        row = {"text": f"a kettle {number}", "label": kinds[number % len(kinds)], "choices": [f"x {number}", f"y {number}"]}
        if script != "run_multiple_choice":
            del row["choices"]
        rows.append(row)
    for place, value in odd:
        rows[place]["label"] = value
    trains_or_ends_with_one_line(script, tiny_model, "\n".join(map(json.dumps, rows)), "jsonl", options)
