import csv
import json

import numpy as np
import pytest
from conftest import CHROMIUM, check_pages

from tools import compare
from utils.arguments import UserError
from utils.results.comparison import compare_runs, in_words
from utils.results.finished import read_run
from utils.scoring.evaluation import Evaluation

NAMES = ["refund", "late"]


def write_run(folder, probabilities, truth, names=NAMES, kind="labels", ids=None, texts=None, split="test", thresholds=None):
    """Write the files of a run that `read_run` reads; `truth` as the column `label` has it."""
    folder.mkdir(exist_ok=True)
    thresholds = [0.5] * len(names) if thresholds is None and kind == "labels" else thresholds or []
    facts = {
        "script": "run_x.py",
        "kind": kind,
        "labels": names,
        "thresholds": thresholds,
        "safe_csv": False,
        "rows": {split: len(truth)},
    }
    (folder / "report.json").write_text(json.dumps(facts))
    ids = ids or [f"r{row}" for row in range(len(truth))]
    texts = texts or [f"text of {name}" for name in ids]
    values = np.array([[np.nan if cell == "" else cell for cell in np.atleast_1d(row)] for row in probabilities], float)
    evaluation = Evaluation(kind, names, values.reshape(len(truth), -1), np.zeros(len(truth)), np.array(thresholds or [0.5]))
    decided = evaluation.decided.tolist() if kind in ("choices", "numbers") else in_words(evaluation, evaluation.decided)
    with (folder / {"test": "predictions.csv", "validation": "validation_predictions.csv"}[split]).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *names, "prediction", "label", "text"])
        for row, values in enumerate(probabilities):
            shown = values if kind != "numbers" else []
            writer.writerow([ids[row], *shown, decided[row], truth[row], texts[row]])
    return folder


@pytest.fixture
def labels():
    draw = np.random.default_rng(0)
    truth = draw.random((200, 2)) < 0.3
    good = np.where(truth, 0.8, 0.2) + draw.uniform(-0.15, 0.15, truth.shape)
    bad = draw.uniform(0.1, 0.9, truth.shape)
    words = [";".join(name for name, yes in zip(NAMES, row, strict=True) if yes) for row in truth]
    return good, bad, words


def test_a_better_run_differs_and_the_changed_rows_say_where(tmp_path, labels, capsys):
    good, bad, words = labels
    write_run(tmp_path / "bad", bad, words)
    write_run(tmp_path / "good", good, words)
    compare.main([str(tmp_path / "bad"), str(tmp_path / "good"), f"--output_dir={tmp_path / 'c'}"])
    told = capsys.readouterr().out
    assert "good differs from bad by more than chance on these 200 rows" in told and "accuracy" in told
    with (tmp_path / "c" / "changed_rows.csv").open(newline="") as file:
        changed = list(csv.DictReader(file))
    expected = (((bad >= 0.5) != (good >= 0.5)).any(axis=1)).sum()
    assert len(changed) == expected and {row["better"] for row in changed} == {"good"}
    assert all(row["good"] == row["label"] == words[int(row["id"][1:])] for row in changed)
    assert "good differs from bad" in (tmp_path / "c" / "comparison.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_in_a_browser(tmp_path, labels):
    good, bad, words = labels
    texts = ["<script>alert(1)</script> \u202e =cmd|' /C calc'!A0 " + "x" * 300] * len(words)
    for name, probabilities in (("bad", bad), ("good", good)):
        write_run(tmp_path / name, probabilities, words, texts=texts)
    compare.main([str(tmp_path / "bad"), str(tmp_path / "good"), f"--output_dir={tmp_path / 'c'}"])
    check_pages(tmp_path / "c" / "comparison.html", figures=False)


def test_rows_and_labels_may_stand_in_another_order(tmp_path, labels):
    good, bad, words = labels
    first = read_run(write_run(tmp_path / "a", bad, words))
    same = compare_runs(first, read_run(write_run(tmp_path / "b", good, words)))
    order = np.random.default_rng(1).permutation(200)
    ids = [f"r{row}" for row in order]
    moved = write_run(tmp_path / "moved", good[order][:, ::-1], [words[row] for row in order], NAMES[::-1], ids=ids)
    found = compare_runs(first, read_run(moved))
    assert [each.name for each in found.differences] == [each.name for each in same.differences]
    np.testing.assert_allclose([each[1:] for each in found.differences], [each[1:] for each in same.differences], rtol=1e-5)
    assert [change.id for change in found.changes] == [change.id for change in same.changes]


def test_equal_runs_do_not_differ(tmp_path, labels):
    good, _, words = labels
    found = compare_runs(*(read_run(write_run(tmp_path / name, good, words)) for name in "ab"))
    assert all(each.p_value == 1 and each.low == each.high == 0 for each in found.differences) and not found.changes


@pytest.mark.parametrize(
    ("kind", "first", "second", "truth", "better"),
    [
        ("classes", [[0.9, 0.1, 0], [0.9, 0.1, 0]], [[0.1, 0.9, 0], [0.8, 0.2, 0]], ["x", "y"], "a"),
        ("choices", [[0.9, 0.1, ""], [0.2, 0.1, 0.7]], [[0.1, 0.9, ""], [0.2, 0.1, 0.7]], ["1", "2"], "b"),
        ("numbers", [[1.0], [2.0]], [[1.5], [2.0]], ["1.4", "2"], "b"),
    ],
)
def test_each_kind_of_task(tmp_path, kind, first, second, truth, better):
    names = {"classes": ["x", "y", "z"], "choices": ["choice0", "choice1", "choice2"], "numbers": []}[kind]
    runs = [read_run(write_run(tmp_path / name, rows, truth, names, kind)) for name, rows in (("a", first), ("b", second))]
    (change,) = compare_runs(*runs).changes
    assert change.id == "r0" and change.better == better and change.label == truth[0].replace("1", "choice1", kind == "choices")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"ids": [f"x{row}" for row in range(200)]},
            "row 'r0' and 199 more of a are not among the labelled rows of b: both must",
        ),
        ({"names": ["refund", "early"]}, "b has no label late, which a has"),
        ({"texts": ["other"] * 200}, "row 'r0' has another text in a than in b"),
        (
            {"truth": ["late"] * 200},
            "row 'r1' has the label 'refund;late' in a and 'late' in b (153 such rows)",
        ),
        ({"split": "validation"}, "b has no test rows with labels; it has labelled validation rows (--split)"),
        ({"kind": "classes", "truth": ["late"] * 200}, "these runs have different tasks: a run_x.py and b run_x.py"),
    ],
)
def test_other_rows_or_labels_are_refused_by_name(tmp_path, labels, changes, told):
    good, _, words = labels
    first = write_run(tmp_path / "a", good, words)
    second = write_run(tmp_path / "b", good, changes.pop("truth", words), **changes)
    with pytest.raises(UserError) as raised:
        compare_runs(read_run(first), read_run(second))
    assert told in str(raised.value)
