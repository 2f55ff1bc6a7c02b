"""Every shape of multiple-choice data is recognised, every way to write the answer, and every mistake named."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import write_csv, write_jsonl

from utils.data.choice_shapes import add_candidates, find_choices, read_descriptions, shuffle_candidates
from utils.data.choices import ChoiceFormat
from utils.data.row_texts import settle_empty_texts
from utils.data.targets import add_targets
from utils.files.reading import read_files
from utils.files.rows import flatten

TEXTS = ["a knife", "a spoon", "a map", "a hat"]
OPTIONS = {
    "num_folds": None,
    "context_column_name": None,
    "question_column_name": None,
    "choice_column_names": None,
    "label_column_name": None,
    "label_descriptions": None,
    "allow_equal_candidates": False,
    "unknown_label": None,
    "check_data": False,
    "strict_data": True,
    "first_position": None,
    "shuffle_choices": False,
    "validation_fraction": 0.0,
}


def recognize(path, rows, **options):
    """Return the format found in a file of `rows`, and the first row as it is then."""
    args = SimpleNamespace(**{**OPTIONS, **options})
    splits = flatten({"train": read_files(write_jsonl(path / "train.jsonl", rows))})
    found = find_choices(splits, args, None)
    return found, read(splits, found, args)["train"]


def read(splits, found, args):
    """Return the splits with candidates and targets, as `Task.settle_rows` adds them."""
    splits = {name: settle_empty_texts(name, split, [found.context], False, args) for name, split in splits.items()}
    splits = {name: add_candidates(split, found) for name, split in add_targets(splits, found, args, 0).items()}
    return splits | ({"train": shuffle_candidates(splits["train"], 0)} if args.shuffle_choices else {})


def keyed(texts, keys="ABCDE"):
    return {"label": list(keys[: len(texts)]), "text": texts}


def listed(texts):
    return [{"label": key, "text": text} for key, text in zip("ABCDE", texts, strict=False)]


# Two rows of each dataset as it is published, with TEXTS and OTHER as candidates; then context, question and answer of the first.
OTHER = ["to sing", "to run", "to sleep", "to dig"]
CUTS = {"question": "Which cuts?"}


def numbered(name, texts, keys):
    return {f"{name}{key}": text for key, text in zip(keys, texts, strict=False)}


SHAPES = {
    "SWAG": (
        {"sent1": "He cuts.", "sent2": "He uses"},
        lambda texts: numbered("ending", texts, "0123"),
        {"label": [1, 0]},
        ("He cuts.", "He uses", "a position from 0"),
    ),
    "HellaSwag": (
        {"ind": 1, "activity_label": "Cutting", "ctx_a": "He", "ctx_b": "cuts", "ctx": "He cuts"},
        lambda texts: {"endings": texts},
        {"label": ["1", "0"]},
        ("He cuts", "", "a position from 0"),
    ),
    "CommonsenseQA": (
        {"id": "x", "question_concept": "c", **CUTS},
        lambda texts: {"choices": keyed(texts)},
        {"answerKey": ["B", "A"]},
        ("Which cuts?", "", "the key of a candidate"),
    ),
    "CommonsenseQA, nested": (
        {"id": "x"},
        lambda texts: {"question": {"question_concept": "c", "choices": listed(texts), "stem": "Which cuts?"}},
        {"answerKey": ["B", "A"]},
        ("Which cuts?", "", "the key of a candidate"),
    ),
    "ARC": (
        {"id": "x", **CUTS},
        lambda texts: {"choices": keyed(texts, "1234") if texts == TEXTS else keyed(texts[:3])},
        {"answerKey": ["2", "A"]},
        ("Which cuts?", "", "the key of a candidate"),
    ),
    "OpenBookQA": (
        {"id": "x", "question_stem": "Which cuts?"},
        lambda texts: {"choices": keyed(texts)},
        {"answerKey": ["B", "A"]},
        ("Which cuts?", "", "the key of a candidate"),
    ),
    "RACE": (
        {"example_id": "x", "article": "He cuts.", "question": "With what?"},
        lambda texts: {"options": texts},
        {"answer": ["B", "A"]},
        ("He cuts.", "With what?", "a letter from A"),
    ),
    "COPA": (
        {"premise": "He cuts.", "question": "cause", "idx": 0},
        lambda texts: numbered("choice", texts, "12"),
        {"label": [1, 0]},
        ("He cuts.", "cause", "a position from 0"),
    ),
    "Social IQa": (
        {"context": "He cuts.", "question": "Why?"},
        lambda texts: numbered("answer", texts, "ABC"),
        {"label": ["2", "3"]},
        ("He cuts.", "Why?", "a position from 1"),
    ),
    "PIQA": (
        {"goal": "To cut"},
        lambda texts: numbered("sol", texts, "12"),
        {"label": [1, 0]},
        ("To cut", "", "a position from 0"),
    ),
    "WinoGrande": (
        {"sentence": "He _ cuts."},
        lambda texts: numbered("option", texts, "12"),
        {"answer": ["2", "1"]},
        ("He _ cuts.", "", "a position from 1"),
    ),
    "Kaggle's science exam": (
        {"id": 0, "prompt": "Which cuts?"},
        lambda texts: dict(zip("ABCD", texts, strict=True)),
        {"answer": ["B", "A"]},
        ("Which cuts?", "", "the name of a candidate's column"),
    ),
    "MedMCQA": (
        {"id": "x", "question": "Which cuts?", "exp": "A knife cuts."},
        lambda texts: numbered("op", texts, "abcd"),
        {"cop": [1, 0]},
        ("Which cuts?", "", "a position from 0"),
    ),
    "the candidate's own text": (
        {"context": "He cuts."},
        lambda texts: {"candidates": texts if texts == TEXTS else texts[:2]},
        {"label": ["a spoon", "to sing"]},
        ("He cuts.", "", "the text of a candidate"),
    ),
    "lists written as text": (
        {"context": "He cuts."},
        lambda texts: {"candidates": str(texts)},
        {"label": ["b", "(A)"]},
        ("He cuts.", "", "a letter from A"),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes_are_recognised(tmp_path, name):
    shared, candidates, answers, (context, question, answer) = SHAPES[name]
    ((column, values),) = answers.items()
    rows = [{**shared, **candidates(texts), column: value} for texts, value in zip((TEXTS, OTHER), values, strict=True)]
    found, split = recognize(tmp_path, rows)
    assert (split[0]["context"], split[0]["question"], split[0]["labels"]) == (context, question, 1)
    assert split[0]["candidates"] == TEXTS[: len(split[0]["candidates"])] and len(split[0]["candidates"]) >= 2
    assert answer in str(found)


def test_numbers_as_answers(tmp_path):
    rows = [{"question": "2 + 3", "choices": t, "answer": n} for n, t in (("5", ["4", "5", "6"]), ("7", ["7", "9"]))]
    found, split = recognize(tmp_path, rows)
    assert split["labels"][:] == [1, 0] and "the text of a candidate" in str(found)
    rows = [{"context": "c", "candidates": t, "label": n} for n, t in ((2, TEXTS), (3, OTHER[:3]), (4, TEXTS))]
    found, split = recognize(tmp_path, rows)
    assert split["labels"][:] == [1, 2, 3] and "a position from 1" in str(found)


def test_columns_as_the_options_name_them(tmp_path):
    rows = [{"a": "He cuts.", "b": "He uses", "x": t[0], "y": t[1], "z": None, "right": n} for n, t in ((1, TEXTS), (0, OTHER))]
    named = {
        "context_column_name": "a",
        "question_column_name": "b",
        "choice_column_names": "x, y,z",
        "label_column_name": "right",
    }
    _, split = recognize(tmp_path, rows, **named)
    assert split[0]["candidates"] == TEXTS[:2] and split["labels"][:] == [1, 0] and split[0]["question"] == "He uses"
    nested = [{"q": {"stem": "Which cuts?", "choices": listed(t)}, "right": n} for n, t in (("B", TEXTS), ("A", OTHER))]
    _, split = recognize(tmp_path, nested, context_column_name="q", choice_column_names="q_choices", label_column_name="right")
    assert split[0]["context"] == "Which cuts?" and split["labels"][:] == [1, 0]


def test_a_csv_row_may_have_fewer_candidates_than_columns(tmp_path):
    header = ["sent1", "sent2", "ending0", "ending1", "ending2", "ending3", "label"]
    path = write_csv(tmp_path / "a.csv", header, [["He cuts.", "He uses", *TEXTS, 3], ["He digs.", "He uses", *TEXTS[:3], "", 0]])
    args = SimpleNamespace(**OPTIONS)
    splits = {"train": read_files(path)}
    split = read(splits, find_choices(splits, args, None), args)["train"]
    assert [len(row) for row in split["candidates"]] == [4, 3] and split["labels"][:] == [3, 0]


def test_rows_without_an_answer_are_set_aside(tmp_path):
    rows = [{"context": "He cuts.", "choices": [f"{n}", "a"], "label": n % 2 if n % 3 else (None, -1)[n % 2]} for n in range(12)]
    _, split = recognize(tmp_path, rows)
    assert len(split) == 8
    rows = [{**row, "label": "?" if row["label"] is None else str(row["label"])} for row in rows]
    with pytest.raises(ValueError, match=r"found '\?', expected a position .* add --unknown_label '\?' if that stands"):
        recognize(tmp_path, rows)
    _, split = recognize(tmp_path, rows, unknown_label="?")
    assert len(split) == 8


def test_shuffling_moves_candidates_and_answer_together(tmp_path):
    rows = [{"context": "He cuts.", "choices": [f"a{n}", f"right{n}", f"c{n}"], "label": 1} for n in range(60)]
    _, split = recognize(tmp_path, rows, shuffle_choices=True, first_position=0)
    assert all(row["candidates"][row["labels"]].startswith("right") for row in split)
    assert {row["labels"] for row in split} == {0, 1, 2}


def row(**changes):
    return {"context": "He cuts.", "choices": TEXTS, "label": 2, **changes}


GOOD = [row(label=0), row(choices=OTHER)]
MISTAKES = {
    "answer beyond the candidates": (row(label=4), r"line 3, column 'label': found 4, expected a position from 0 to 3"),
    "negative": (row(label=-2), r"line 3, column 'label': found -2"),
    "answer beyond a shorter row": (row(choices=TEXTS[:2]), r"line 3, .* a position from 0 to 1, as the row has 2 candidates"),
    "empty candidate": (row(choices=["a", "", "c"]), r"line 3, column 'choices': candidate 2 is empty"),
    "blank last candidate": (row(choices=["a", "b", " "]), r"line 3, column 'choices': candidate 3 is empty"),
    "an odd kind": (row(label=1.5), r"line 3, column 'label': found 1.5, expected a position from 0 to 3"),
    "equal candidates": (row(choices=["a", "b", "b"]), r"line 3, column 'label': .*'b' .* 2 times \(candidates 2 and 3\)"),
    "one candidate": (row(choices=["a"], label=0), r"line 3, column 'choices': found 1 candidate \('a'\), expected at least two"),
    "no candidate": (row(choices=[], label=0), r"line 3, column 'choices': found 0 candidates, expected at least two"),
    "no context": (row(context=""), r"line 3, column 'context': the text is missing"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_name_row_and_column(tmp_path, name):
    bad, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        recognize(tmp_path, [*GOOD, bad])


def test_letters_keys_and_texts_that_are_not_there(tmp_path):
    letters = [row(label="A"), row(label="C", choices=OTHER), row(label="E")]
    with pytest.raises(ValueError, match=r"line 3, column 'label': found 'E', expected a letter from A to D"):
        recognize(tmp_path, letters)
    keys = [row(choices=keyed(t), label=n) for t, n in ((TEXTS, "A"), (OTHER, "B"), (TEXTS[:3], "D"))]
    with pytest.raises(ValueError, match=r"line 3, column 'label': found 'D', expected one of the keys A, B, C"):
        recognize(tmp_path, keys)
    texts = [row(label="a map"), row(choices=OTHER, label="to run"), row(label="a fork")]
    with pytest.raises(ValueError, match=r"line 3, column 'label': found 'a fork', expected the text of one of the 4 candidates"):
        recognize(tmp_path, texts)
    with pytest.raises(ValueError, match=r"line 1, column 'label': found 'knives', expected the position .* its letter or its"):
        recognize(tmp_path, [row(label="knives"), row(choices=OTHER, label="running")])
    with pytest.raises(ValueError, match=r"line 1, column 'label': found 'NA', .*; or add --unknown_label NA if that stands for"):
        recognize(tmp_path, [row(label="NA"), row(choices=OTHER, label="NA")])
    capitals = [row(label="A MAP"), row(choices=OTHER, label="TO RUN"), row(choices=["US", "us", "them"], label="us")]
    assert recognize(tmp_path, capitals)[1]["labels"][:] == [2, 1, 1]
    columns = [
        {"context": "c", "option1": "a", "option2": b, "option3": c, "label": 0} for b, c in (("b", "c"), ("", "d"), ("e", "f"))
    ]
    with pytest.raises(ValueError, match=r"line 2, column 'option2': candidate 2 is empty"):
        recognize(tmp_path, columns)


def test_equal_candidates_may_be_set_aside_and_wrong_ones_may_be_equal(tmp_path):
    rows = [*GOOD, row(choices=["a", "b", "b"]), row(choices=["a", "a", "b"])]
    _, split = recognize(tmp_path, rows, allow_equal_candidates=True)
    assert [texts for texts in split["candidates"]] == [TEXTS, OTHER, ["a", "a", "b"]]


def test_answers_that_could_be_read_in_two_ways(tmp_path):
    keys = [row(choices=keyed(["a", n], "BA"), label="(a)") for n in ("b", "c", "d")]
    assert recognize(tmp_path, keys)[1]["labels"][:] == [1, 1, 1]  # the key, not the first letter
    decimals = [row(choices=["2", "2.0", n], label="2.0") for n in ("x", "y")]
    assert recognize(tmp_path, decimals)[1]["labels"][:] == [1, 1]
    years = [row(choices=["1914", n, "1939"], label=1914) for n in ("1918", "1920")]
    assert recognize(tmp_path, years)[1]["labels"][:] == [0, 0]
    with pytest.raises(ValueError, match=r"line 5, column 'label': found 4, expected a position from 0 to 3"):
        recognize(tmp_path, [row(label=n, choices=t) for n, t in zip((0, 1, 2, 3, 4, 1), (TEXTS, OTHER) * 3, strict=True)])
    printed = [row(choices="['a b' 'c d']"), row(choices="['e f' 'g']")]  # by NumPy
    assert recognize(tmp_path, printed)[1]["candidates"][:] == [["a b", "c d"], ["e f", "g"]]
    with pytest.raises(ValueError, match="found .* expected a list of candidates"):
        recognize(tmp_path, [row(choices="['a b' 'c d', 'e']"), row(choices="['e f', 'g']")])
    beside = [{"question": "q", "options_text": ["a", n], "options_label": 1, "answer": 0} for n in ("b", "c")]
    assert recognize(tmp_path, beside)[1]["labels"][:] == [0, 0]


def test_the_columns_of_all_splits_are_candidates(tmp_path, caplog):
    train = [{"sent1": "c", **numbered("ending", t, "01"), "label": n} for n, t in enumerate((TEXTS, OTHER))]
    test = [{"sent1": "c", **numbered("ending", TEXTS, "0123")}]
    args = SimpleNamespace(**OPTIONS)
    splits = {
        name: read_files(write_jsonl(tmp_path / f"{name}.jsonl", rows)) for name, rows in (("train", train), ("test", test))
    }
    found = find_choices(splits, args, None)
    told = "{} has no column {}: its rows have fewer candidates than others"
    assert told.format(tmp_path / "train.jsonl", "ending2, ending3") in caplog.messages
    caplog.clear()
    splits = read(splits, found, args)
    assert splits["test"]["candidates"][:] == [TEXTS] and splits["train"]["candidates"][:] == [TEXTS[:2], OTHER[:2]]
    saved = replace(found, choices=["ending0", "ending1"])
    alone = {"test": read_files(str(tmp_path / "test.jsonl"))}
    assert find_choices(alone, args, saved).choices == ["ending0", "ending1", "ending2", "ending3"]
    assert "fewer candidates" not in caplog.text
    saved = replace(found, choices=[*found.choices, "ending4"])
    assert find_choices(alone, args, saved).choices == ["ending0", "ending1", "ending2", "ending3"]
    assert told.format(tmp_path / "test.jsonl", "ending4") in caplog.messages


def test_what_a_saved_model_was_trained_on_goes_first(tmp_path):
    args = SimpleNamespace(**OPTIONS)
    rows = [
        {"question": f"q{n}", "sent1": "x", "choices": t, "gold_idx": n, "label": 1 - n} for n, t in enumerate((TEXTS, OTHER))
    ]
    splits = {"test": read_files(write_jsonl(tmp_path / "test.jsonl", rows))}
    found = find_choices(splits, args, ChoiceFormat("question", None, ["choices"], "gold_idx", "index"))
    assert (found.context, found.question, found.answer) == ("question", None, "gold_idx")
    alone = SimpleNamespace(**{**OPTIONS, "question_column_name": ""})
    asked = find_choices(splits, alone, ChoiceFormat("sent1", "question", ["choices"], "gold_idx", "index"))
    assert (asked.context, asked.question) == ("sent1", None)  # '' is none, whatever the model was trained on
    elsewhere = find_choices(splits, args, ChoiceFormat("question", None, ["choices"], "right", "index"))
    assert elsewhere.answer is None  # another column is not taken for the answers


def test_other_shapes_are_answered_with_their_script(tmp_path):
    same = [{"question": f"is it {n}?", "choices": ["yes", "no"], "answer": ("yes", "no")[n % 2]} for n in range(6)]
    with pytest.raises(
        ValueError, match="same 2 candidates .* run_classification.py --text_column_names question --label_column_name ans"
    ):
        recognize(tmp_path, same)
    with pytest.raises(ValueError, match="no candidates .* use run_classification.py --label_column_name label"):
        recognize(tmp_path, [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    with pytest.raises(ValueError, match="no candidates .* use run_multilabel.py --label_column_names labels"):
        recognize(tmp_path, [{"text": "a", "labels": ["x"]}, {"text": "b", "labels": ["y", "x"]}])
    with pytest.raises(ValueError, match="no candidates .* use run_multilabel.py --label_column_names labels"):
        recognize(tmp_path, [{"text": f"t {n}", "labels": ("a;b", "a", "b")[n % 3]} for n in range(9)])
    with pytest.raises(ValueError, match="columns of 0 and 1: .* run_multilabel.py --label_column_names toxic,insult"):
        recognize(tmp_path, [{"text": "a", "toxic": 0, "insult": 1}, {"text": "b", "toxic": 1, "insult": 0}])
    with pytest.raises(ValueError, match="no candidates among text, other: .* for one label a text use run_classification"):
        recognize(tmp_path, [{"text": "a", "other": "c"}, {"text": "b", "other": "d"}])
    with pytest.raises(ValueError, match="no column 'nope'; its columns: .* --choice_column_names"):
        recognize(tmp_path, GOOD, choice_column_names="nope")
    with pytest.raises(ValueError, match="no answer among .*: name its column with --label_column_name"):
        recognize(tmp_path, [{"who" if name == "label" else name: cell for name, cell in r.items()} for r in GOOD])
    with pytest.raises(ValueError, match="found 'x', expected a list of candidates .* --choice_column_names a,b,c"):
        recognize(tmp_path, [{**r, "other": "x"} for r in GOOD], choice_column_names="other")


def test_labels_told_in_sentences(tmp_path):
    path = tmp_path / "labels.yaml"
    path.write_text("refund: The customer wants money.\npraise: The customer is happy.\n3: Something else.\nno: Nothing.\n")
    rows = [{"text": "give it back", "label": "refund"}, {"text": "lovely", "label": "praise"}, {"text": "hm", "label": 3.0}]
    rows[2]["label"] = "3"
    found, split = recognize(tmp_path, rows, label_descriptions=str(path))
    assert "sentences that describe the labels of column 'label'" in str(found)
    assert split["labels"][:] == [0, 1, 2] and split[0]["candidates"][1] == "The customer is happy."
    with pytest.raises(ValueError, match="line 2, column 'label': found 'delivery', expected one of .* refund, praise, 3, no"):
        recognize(tmp_path, [rows[0], {"text": "late", "label": "delivery"}], label_descriptions=str(path))
    wrong = {
        "a": "expected one line per label",
        "a: x": "expected one line per label",
        "a: x\nb: x": "the same sentence",
        "a: [": "not valid",
    }
    for text, message in wrong.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_descriptions(str(path))
    with pytest.raises(ValueError, match="cannot read --label_descriptions nope.yaml"):
        read_descriptions("nope.yaml")
