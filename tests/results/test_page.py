"""report.html: it says what the run's files hold, is one file without scripts, and shows hostile texts as texts."""

import csv
import json
import re
import runpy
import shutil

import numpy as np
import pytest
import yaml
from conftest import CHROMIUM, ROOT, check_pages
from scipy import sparse

from utils.arguments import UserError
from utils.data.labels import UNKNOWN, LabelFormat
from utils.results.figures import figures, visible
from utils.results.finished import PREDICTIONS, PREFIXES, read_run
from utils.results.page import write_page
from utils.results.predictions import write_predictions
from utils.scoring import decisions
from utils.scoring.decisions import confusions, fold, label_curves, most_confused, worst_rows
from utils.scoring.evaluation import Evaluation
from utils.scoring.metrics import ClassificationMetrics, MultilabelMetrics, MultipleChoiceMetrics, RegressionMetrics

HOSTILE = [
    "<script>alert(1)</script>",
    "abc \u202edcba\u202c",
    "=cmd|' /C calc'!A0",
    "nul \x00 bell \x07",
    "</title><img src=//evil.example/x>",
    "$\\frac{1}$",
]
HISTORY = [{"step": s, "loss": 1 / s, "epoch": 1.0} for s in (10, 20)] + [{"step": 20, "eval_loss": 0.5, "eval_accuracy": 0.7}]


def write_run(
    folder, kind, names, probabilities, truth, thresholds=(), texts=(), splits=("test",), history=HISTORY, scores=None, **metrics
):
    """Write what a run leaves, the same predictions for all `splits`."""
    folder.mkdir(parents=True)
    evaluation = Evaluation(kind, names, probabilities, truth, np.array(thresholds))
    decided, rows, targets = evaluation.decided, len(truth), np.where(np.isnan(truth), UNKNOWN, truth)
    if kind == "labels":
        options = {"label_names": names, "decided": decided, "per_label": True}
        scores = scores or MultilabelMetrics().compute(predictions=probabilities, references=targets, **options)
        words = [LabelFormat("list of names", ["labels"], names).words(row) for row in targets]
        columns = {"prediction": [";".join(np.array(names)[row]) for row in decided]}
    elif kind == "numbers":
        scores = RegressionMetrics().compute(predictions=probabilities[:, 0], references=truth)
        words, columns = truth.tolist(), {"prediction": decided.tolist()}
    elif kind == "choices":
        scores = MultipleChoiceMetrics().compute(predictions=probabilities, references=truth, details=True)
        words, columns = truth.tolist(), {"prediction": decided.tolist()}
    else:
        options = {"label_names": names, "decided": decided, "per_label": True}
        scores = ClassificationMetrics().compute(predictions=probabilities, references=truth, **options)
        words, columns = ([names[i] for i in each] for each in (truth, decided))
        columns = {"prediction": columns}
    for split in splits:
        metrics |= {f"{PREFIXES[split]}_{name}": value for name, value in scores.items()}
        of_row = {"label": words} | ({"text": [texts[row % len(texts)] for row in range(rows)]} if texts else {})
        shown = probabilities[:, : len(names)]
        write_predictions(folder / PREDICTIONS[split][0], "id", [f"row {i}" for i in range(rows)], names, shown, columns, of_row)
    used = ("train", *splits) if history else splits
    facts = {
        "script": f"run_{kind}.py", "kind": kind, "labels": names, "thresholds": list(thresholds), "max_length": 64,
        "files": {split: [f"/home/somebody/{split}.csv"] for split in used}, "rows": dict.fromkeys(used, rows),
        "rows_by_length": {split: {"7": 3, "64": 5} for split in splits},
    }  # fmt: skip
    options = {"train_file": "/home/somebody/train.csv", "model_name_or_path": "/home/somebody/model", "learning_rate": 1e-4}
    (folder / "report.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "all_results.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}), encoding="utf-8")
    (folder / "args.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    return folder


def draw_labels(labels, rows=300, seed=0):
    draw = np.random.default_rng(seed)
    truth = (draw.random((rows, labels)) < np.linspace(0.02, 0.3, labels)).astype(float)
    return np.clip(draw.beta(1, 6, (rows, labels)) + truth * draw.beta(2, 3, (rows, labels)), 0, 1), truth


def draw_classes(classes, rows=300, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.integers(classes, size=rows)
    logits = draw.normal(size=(rows, classes)) + 2.5 * np.eye(classes)[truth]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), truth


def draw_choices(rows=120, seed=0):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 6, rows)
    probabilities = np.where(np.arange(5) < sizes[:, None], draw.random((rows, 5)), np.nan)
    return probabilities / np.nansum(probabilities, axis=1, keepdims=True), (draw.random(rows) * sizes).astype(int)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The pages of runs of every kind, by name."""
    folder = tmp_path_factory.mktemp("runs")
    probabilities, truth = draw_labels(6)
    truth[:5, 0], truth[7], truth[:, 3] = np.nan, np.nan, 0  # cells, a row, and no positives
    names = ["<b>bold</b>", "a,\x07b", "\u202eevil", "$\\frac{", "_hidden 🙂 日本", "x" * 80]
    write_run(folder / "labels <i>", "labels", names, probabilities, truth, [0.4] * 6, HOSTILE, ("validation", "test"))
    with (folder / "labels <i>" / "label_issues.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("split place id label given probability_of_given suggested text".split())
        writer.writerows(
            ["train", f"/home/somebody/t.csv, line {i}", i, names[0], "no", 0.9, "yes", HOSTILE[i % 6]] for i in range(30)
        )
    for count in (2, 77):
        probabilities, truth = draw_classes(count, rows=600)
        truth[truth == 5] = 6  # a class that does not occur
        write_run(
            folder / f"{count} classes",
            "classes",
            [f"class {i}" for i in range(count)],
            probabilities,
            truth,
            [0.5] * (count == 2),
            HOSTILE,
        )
    probabilities, truth = draw_labels(1000, rows=100)
    names = [f"label {i}" for i in range(1000)]
    scores = {f"{name}_{key}": 0.5 for name in names for key in ("f1", "precision", "recall", "roc_auc", "average_precision")}
    scores |= {f"{name}_support": 9.0 for name in names}  # given, since computing them takes longer than the page
    write_run(folder / "1000 labels", "labels", names, probabilities, truth, [0.4] * 1000, HOSTILE, scores=scores)
    write_run(folder / "choices", "choices", [f"choice{i}" for i in range(5)], *draw_choices(), texts=HOSTILE)
    truth = np.random.default_rng(0).normal(size=3000)
    write_run(folder / "numbers", "numbers", [], truth[:, None] * 0.8 + 0.1, truth, splits=("validation",), history=[])
    pages = {path.name: path / "report.html" for path in folder.iterdir()}
    for page in pages.values():
        write_page(read_run(page.parent), page)
    return pages


def test_one_file_that_holds_no_texts_as_code_and_no_folders(runs):
    for page in runs.values():
        html = page.read_text(encoding="utf-8")
        assert len(html) < 3_000_000 and "somebody" not in html
        assert not re.search(r"<(script|b|i|img src=/)\b|src=\"(?!data:)|url\(|@import", html)
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", html)
    html = runs["labels <i>"].read_text(encoding="utf-8")
    assert "<title>labels &lt;i&gt;</title>" in html and "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>" in html
    assert "abc ⟨U+202E⟩dcba⟨U+202C⟩" in html and "nul ⟨U+0000⟩ bell" in html and "<bdi>&lt;b&gt;bold&lt;/b&gt;</bdi>" in html
    assert "<bdi>t.csv, line 0</bdi>" in html and "20 of 30 in label_issues.csv" in html


def test_the_page_says_what_the_files_hold(tmp_path):
    folder = write_run(
        tmp_path / "run", "classes", ["a", "b", "c"], *draw_classes(3), texts=["t"], predict_accuracy_low=0.7,
        predict_accuracy_high=0.9, predict_baseline_accuracy=0.75, predict_majority_accuracy=0.4,
    )  # fmt: skip
    scores = json.loads((folder / "all_results.json").read_text())
    html = page_of(folder)
    assert f"accuracy {scores['predict_accuracy']:.3f} (0.700 to 0.900) on 300 test rows; TF-IDF with a linear" in html
    assert "Perhaps not: accuracy is better by" in html and "lies within the 95 % interval" in html
    assert f"<td>{scores['predict_b_roc_auc']:.3f}</td>" in html
    rows = re.findall(r'class="name"><bdi>(.)</bdi>', html)
    assert rows == sorted("abc", key=lambda name: scores[f"predict_{name}_f1"])
    assert re.findall("<h3>(.*)</h3>", html) == [
        "Confusion matrix", "Reliability", "Right and wrong decisions", "ROC curves", "Precision and recall", "Training",
        "Lengths of texts",
    ]  # fmt: skip
    assert 'alt="Lengths of texts in tokens. No text is cut."' in html


def page_of(folder):
    write_page(read_run(folder), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_pages_of_little(tmp_path):
    one = np.array([[0.9, 0.1]])
    assert "accuracy 1.000 on 1 test rows" in page_of(write_run(tmp_path / "1", "classes", ["a", "b"], one, np.array([0]), [0.5]))
    html = page_of(
        write_run(tmp_path / "2", "labels", ["a"], np.array([[0.2], [0.1]]), np.array([[0.0], [0.0]]), [0.5], history=[])
    )
    assert "Nothing stands out" in html and "<h3>ROC" not in html and "<h3>Training" not in html
    assert page_of(write_run(tmp_path / "3", "numbers", [], one[:, :1], np.array([0.5])))
    html = page_of(write_run(tmp_path / "4", "choices", ["choice0", "choice1"], one, np.array([1])))
    assert "The texts were left out" in html and "true <bdi" in html
    (tmp_path / "4" / "predictions.csv").write_text("id,choice0,choice1,prediction\nx,0.9,0.1,0\n")
    html = page_of(tmp_path / "4")
    assert "No rows with labels were evaluated" in html and "<h3>Lengths" in html


def test_figures_say_their_numbers_and_share_their_colours(runs):
    run = read_run(runs["2 classes"].parent)
    drawn = {figure.name: figure for figure in figures(run)}
    f1, area = run.metrics["predict_class 1_f1"], run.metrics["predict_roc_auc"]
    assert drawn["thresholds"].alt.endswith(f"class 1 {f1:.2f}.") and drawn["roc"].alt.endswith(f"class 1 {area:.2f}.")
    assert f"error {run.metrics['predict_expected_calibration_error']:.3f}" in drawn["reliability"].note
    assert drawn["precision_recall"].alt.endswith(f"class 1 {run.metrics['predict_average_precision']:.2f}.")
    colours = [drawn[name].figure.axes[0].lines[0].get_color() for name in ("roc", "precision_recall", "thresholds")]
    assert len(set(colours)) == 1
    legend = next(f for f in figures(read_run(runs["labels <i>"].parent)) if f.name == "roc").figure.legends[0]
    assert any(text.get_text().startswith(" _hidden") for text in legend.get_texts())


def test_confusions_of_labels_count_each_missed_with_each_given_in_error():
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, np.nan]])
    decided = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 0, 1]])
    found = confusions(Evaluation("labels", list("abc"), decided * 1.0, truth, np.full(3, 0.5)))
    assert found.toarray().tolist() == [[2, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]


def test_of_many_classes_the_confused_ones_are_kept_and_the_others_folded():
    counts = np.diag([5, 6, 7, 8])
    counts[3, 1], counts[0, 2] = 4, 1
    counts = sparse.csr_array(counts)
    assert most_confused(counts, 4) == [(3, 1, 4), (0, 2, 1)]
    shown, folded, totals = fold(counts, counts.sum(axis=1), 4, 2)
    assert shown == [1, 3] and folded.tolist() == [[6, 0, 0], [4, 8, 0], [0, 0, 0]] and totals.tolist() == [6, 12, 13]


def test_of_many_labels_some_have_curves_and_the_weakest_are_among_them(monkeypatch):
    monkeypatch.setattr(decisions, "MOST_CURVES", 12)
    draw, names = np.random.default_rng(0), [f"l{i}" for i in range(40)]
    truth = (draw.random((200, 40)) < 0.3).astype(float)
    truth[:, 3] = 0  # has no curves
    found = label_curves(Evaluation("labels", names, draw.random((200, 40)), truth, np.full(40, 0.5)), list(range(39, -1, -1)))
    shown = [curve.name for curve in found["roc"]]
    assert shown == [f"l{i}" for i in [*range(39, 29, -1), 29, 0]] and len(found["thresholds"]) == 12


def test_the_worst_rows_are_certain_and_not_all_alike():
    truth = np.array([1, 1, 1, 1, 0, 0])
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.1])
    assert worst_rows(Evaluation("classes", ["a", "b"], np.stack([sure, 1 - sure], 1), truth, np.array([0.5])), 9, 2) == [0, 5, 1]
    labels = Evaluation(
        "labels",
        ["a", "b"],
        np.array([[0.3, 0.1], [0.19, 0.0], [0.5, 0.9]]),
        np.array([[0, 1], [1, 0], [1, np.nan]]),
        np.full(2, 0.2),
    )
    assert worst_rows(labels) == [0, 1]  # half of the way down to 0, an eighth of that up to 1, a twentieth
    assert worst_rows(Evaluation("numbers", [], np.array([[1.0], [5.0]]), np.array([0.0, 0.0]))) == [1, 0]


def test_texts_are_shown_with_what_they_hide():
    assert visible("naïve 🙂 שלום\n\tx") == "naïve 🙂 שלום\n\tx"
    assert visible("a\u202eb\x1b[0m\r") == "a⟨U+202E⟩b⟨U+001B⟩[0m⟨U+000D⟩"


def test_the_tool_writes_the_page_again(runs, tmp_path):
    main = runpy.run_path(str(ROOT / "tools" / "report.py"))["main"]
    folder = shutil.copytree(runs["choices"].parent, tmp_path / runs["choices"].parent.name)
    (folder / "report.html").unlink()
    main([str(folder)])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<title>choices</title>" in page and "95 % interval" in page
    with pytest.raises(UserError, match="holds no report.json"):
        main([str(tmp_path)])


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_pages_in_a_browser(runs):
    check_pages(*runs.values())
