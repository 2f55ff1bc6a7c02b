"""However columns are called and wherever they stand, data is read as the plain table is, or asked about."""

import csv
import random
import re
import tempfile
from pathlib import Path

import pytest
from bad_inputs import CHOICE, CLASSIFICATION, MULTILABEL
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from readings import (
    ASKED,
    BODIES,
    CANDIDATES,
    CONTEXTS,
    DATES,
    EACH,
    FIRST,
    LETTERS,
    NAMES,
    RIGHT,
    SAME,
    SECOND,
    SEVERAL,
    TAGS,
    TOPICS,
    URLS,
    rows_of,
)
from test_readings import probe, suggestions

from utils.arguments import UserError

EXAMPLES = 40  # of each table
# What a column of a table may be called as well.
TEXT = ("text", "comment", "comment text", "message", "tweet", "review", "content", "body", "sentence")
LABEL = ("label", "category", "class", "target", "topic")
FIRST_NAMES = {
    "sentence1": "sentence2",
    "question1": "question2",
    "text a": "text b",
    "premise": "hypothesis",
    "text 1": "text 2",
}
PAIRS = [{"sentence1": one, "sentence2": other} for one, other in FIRST_NAMES.items()]
CONTEXT, QUESTION, ANSWER = ("context", "article", "passage", "paragraph"), ("question", "query"), ("label", "answer", "correct")
ENDINGS = [
    {f"ending{n}": f"{stem}{n + start}" for n in range(3)}
    for stem, start in (("ending", 0), ("choice", 1), ("option", 1), ("ans", 0))
]
TABLES = {  # the script; the plain table; and what sets of names its columns may have, drawn independently
    "a text and a label": (
        CLASSIFICATION,
        {"text": BODIES, "label": TOPICS},
        [[{"text": name} for name in TEXT], [{"label": name} for name in LABEL]],
    ),
    "a pair and a label": (
        CLASSIFICATION,
        {"sentence1": FIRST, "sentence2": SECOND, "label": SAME},
        [PAIRS, [{"label": name} for name in (*LABEL, "is_duplicate", "gold label")]],
    ),
    "a text and three 0/1 columns": (
        MULTILABEL,
        {"text": BODIES} | SEVERAL,
        [[{"text": name} for name in TEXT]],
    ),
    "a text and a list": (
        MULTILABEL,
        {"text": BODIES, "labels": [str(tags) for tags in TAGS]},
        [
            [{"text": name} for name in TEXT],
            [{"labels": name} for name in ("labels", "tags", "topics", "categories", "emotions")],
        ],
    ),
    "a context, a question and a list of candidates": (
        CHOICE,
        {"context": CONTEXTS, "question": ASKED, "choices": [str(row) for row in CANDIDATES], "answer": LETTERS},
        [
            [{"context": name} for name in CONTEXT],
            [{"question": name} for name in QUESTION],
            [{"choices": name} for name in ("choices", "options", "endings", "candidates")],
            [{"answer": name} for name in (*ANSWER, "answer key", "correct answer")],
        ],
    ),
    "a context and a column for each candidate": (
        CHOICE,
        {"context": CONTEXTS} | {f"ending{n}": EACH[n] for n in range(3)} | {"label": RIGHT},
        [[{"context": name} for name in CONTEXT], ENDINGS, [{"label": name} for name in ANSWER]],
    ),
}
# Columns that are neither a text nor a label.
INNOCENT = {
    "id": [f"r{1000 + number}" for number in range(12)],
    "url": URLS,
    "date": [f"{day} 10:{number:02}:00" for number, day in enumerate(DATES)],
    "source": ["export of March"] * 12,
}


def spelled(draw: random.Random, name: str) -> str:
    """Return a name in another case, and with other marks between its words."""
    words = re.findall(r"[a-z]+|\d+", name)
    style = draw.choice((str.lower, str.upper, str.title))
    mark = draw.choice(("_", " ", "-", ".", "") if len(words) > 1 else ("",))
    return draw.choice(("", "", "", " ")) + style(mark.join(words)) + draw.choice(("", "", "", " ", ":"))


@st.composite
def renamed(draw, plain: dict, names: list[list[dict[str, str]]]) -> dict:
    """Return the columns of a plain table under other names, in another order, among innocent columns."""
    choice = draw(st.randoms(use_true_random=False))
    other = {old: new for some in names for old, new in draw(st.sampled_from(some)).items()}
    more = draw(st.lists(st.sampled_from(sorted(INNOCENT)), unique=True, max_size=3))
    columns = {name: (spelled(choice, other[name]) if name in other else name, values) for name, values in plain.items()}
    rows = max(map(len, plain.values()))
    columns |= {f"{name} ": (spelled(choice, name), INNOCENT[name][:rows]) for name in more}
    order = draw(st.permutations(sorted(columns)))
    return {columns[name][0]: columns[name][1] for name in order}


def read(script: str, columns: dict) -> list | UserError:
    """Return what the model reads of all rows and what the labels are, or the error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([list(columns), *rows_of(columns)])
        task = probe(script, [f"--train_file={path}"], Path(folder))
        if isinstance(task, UserError):
            return task
        rows = [task.as_read("train", row) for row in range(len(task.splits["train"]))]
        labels = [] if script == CHOICE else sorted(task.labels)
    return [([*texts], ";".join(sorted(label.split(";")))) for texts, label in rows] + [labels]


@pytest.mark.parametrize("name", TABLES)
def test_renamed_columns_are_read_alike_or_asked_about(name):
    script, plain, names = TABLES[name]
    meant = read(script, plain)
    assert isinstance(meant, list), f"the plain table is not read: {meant}"
    assert script == CHOICE or meant[-1] == (sorted(NAMES) if SAME not in plain.values() else ["0", "1"])

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck), report_multiple_bugs=False)  # fmt: skip
    @given(columns=renamed(plain, names))
    def reads_alike(columns):
        found = read(script, columns)
        if isinstance(found, UserError):
            assert "\n" not in str(found)
            assert suggestions(str(found), script), f"nothing to copy for {list(columns)}: {found}"
        else:
            assert found == meant, f"read otherwise: {list(columns)}"

    reads_alike()
