"""tools/blend.py: what is averaged, and that its scores promise nothing false."""

import csv
import json
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import blend  # noqa: E402
from scipy.special import expit  # noqa: E402
from sklearn.metrics import log_loss, roc_auc_score  # noqa: E402

from utils.arguments import UserError  # noqa: E402
from utils.ensembles.blending import fit_weights  # noqa: E402
from utils.results.predictions import write_predictions  # noqa: E402

ROWS = 300
SPLITS = ("validation", "test")


def write_run(folder, kind, names, probabilities, words, splits=SPLITS, order=None, thresholds=None):
    """Write what a run leaves that `tools/blend.py` reads; the rows in another `order`."""
    folder.mkdir(parents=True)
    order = np.arange(len(words)) if order is None else order
    for split in splits:
        decided, ids = {"prediction": ["?"] * len(words)}, [f"{split[0]}{row}" for row in order]
        if kind == "choices":
            best = np.nanargmax(probabilities[order], axis=1)
            decided = {"prediction": best.tolist(), "prediction_text": [f"text {place}" for place in best]}
        if kind == "numbers":
            decided = {"prediction": probabilities[order, 0].tolist()}
        shown = probabilities[order][:, : len(names)]
        name = "predictions.csv" if split == "test" else "validation_predictions.csv"
        write_predictions(folder / name, "id", ids, names, shown, decided, {"label": [words[row] for row in order]})
    facts = {
        "script": "run_x.py", "run": {}, "kind": kind, "labels": names, "safe_csv": False, "max_length": 64,
        "thresholds": [] if thresholds is None else thresholds, "metric_for_best_model": "log_loss",
        "files": {split: [] for split in splits}, "rows": dict.fromkeys(splits, len(words)),
        "rows_by_length": {split: {"7": 3} for split in splits},
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(facts))
    (folder / "all_results.json").write_text("{}")
    return str(folder)


def read(path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def labels(tmp_path):
    """Three runs of two labels, the third of noise, in other orders of rows and labels; and the truth."""
    draw = np.random.default_rng(0)
    truth = draw.random((ROWS, 2)) < [0.3, 0.1]
    words = [";".join(name for name, yes in zip("ab", row, strict=True) if yes) for row in truth]
    found, values = [], []
    for number, noise in enumerate((1.5, 2.5, 50.0)):
        logits = 4 * truth - 3 + draw.normal(size=truth.shape) * noise
        probabilities, columns = expit(logits if noise < 10 else logits / 20), [0, 1] if number != 1 else [1, 0]
        order = draw.permutation(ROWS) if number else None
        names = [list("ab")[column] for column in columns]
        thresholds = [[0.2, 0.4][column] for column in columns]
        found.append(
            write_run(
                tmp_path / f"run{number}", "labels", names, probabilities[:, columns], words, order=order, thresholds=thresholds
            )
        )
        values.append(probabilities)
    return found, np.array(values), truth


def test_the_mean_is_that_of_the_same_rows_and_labels(labels, tmp_path):
    runs, values, truth = labels
    metrics = blend.main([*runs, "--output_dir", str(tmp_path / "o")])
    rows = read(tmp_path / "o" / "predictions.csv")
    assert [row["id"] for row in rows] == [f"t{number}" for number in range(ROWS)]
    written = np.array([[float(row["a"]), float(row["b"])] for row in rows])
    np.testing.assert_allclose(written, values.mean(axis=0), rtol=1e-5)
    assert metrics["predict_roc_auc_macro"] == pytest.approx(roc_auc_score(truth, values.mean(axis=0)), abs=1e-6)
    thresholds = json.loads((tmp_path / "o" / "thresholds.json").read_text())
    decided = [";".join(name for name in "ab" if float(row[name]) >= thresholds[name]) for row in rows]
    assert decided == [row["prediction"] for row in rows]
    assert metrics["predict_roc_auc_macro_low"] < 1 and (tmp_path / "o" / "report.html").stat().st_size > 10_000


def test_ranks_do_not_depend_on_how_sure_a_run_is(labels, tmp_path):
    runs, values, truth = labels
    metrics = blend.main([*runs[:2], "--method", "rank", "--output_dir", str(tmp_path / "o"), "--no_report"])
    ranks = np.mean([value.argsort(axis=0).argsort(axis=0) for value in values[:2]], axis=0)
    assert metrics["predict_roc_auc_macro"] == pytest.approx(roc_auc_score(truth, ranks), abs=1e-4)  # of six digits


def test_weights_leave_noise_out_and_are_judged_on_other_rows(labels, tmp_path, caplog):
    runs, values, truth = labels
    with caplog.at_level("INFO"):
        metrics = blend.main([*runs, "--method", "weights", "--output_dir", str(tmp_path / "o"), "--no_report"])
    weights = list(json.loads((tmp_path / "o" / "blend.json").read_text())["weights"].values())
    assert weights[0] > weights[1] > weights[2] and weights[2] < 0.1 and sum(weights) == pytest.approx(1)
    found = np.average(values, axis=0, weights=weights)
    for other in np.random.default_rng(1).dirichlet(np.ones(3), 200):
        mixed = np.average(values, axis=0, weights=other)
        assert log_loss(truth.ravel(), found.ravel()) <= log_loss(truth.ravel(), mixed.ravel()) + 1e-5
    fitted = roc_auc_score(truth, found)
    assert metrics["eval_roc_auc_macro"] != metrics["predict_roc_auc_macro"] == pytest.approx(fitted, abs=1e-6)
    assert "blend without it" in caplog.text


def test_weights_of_classes_numbers_and_choices():
    draw = np.random.default_rng(0)
    truth = draw.integers(3, size=500)
    good = np.eye(3)[truth] * 0.6 + 0.4 / 3
    assert fit_weights("classes", np.array([good, np.full((500, 3), 1 / 3)]), truth)[0] > 0.99
    missing = np.where(np.arange(3) == (truth[:, None] + 1) % 3, np.nan, 1)
    assert fit_weights("choices", np.array([good, np.full((500, 3), 1 / 3)]) * missing, truth)[0] > 0.99
    numbers = draw.normal(size=500)
    halves = np.array([numbers + noise for noise in (draw.normal(size=500), draw.normal(size=500))])[:, :, None]
    np.testing.assert_allclose(fit_weights("numbers", halves, numbers), [0.5, 0.5], atol=0.06)


def test_the_text_of_a_choice_is_that_of_the_decided_candidate(tmp_path):
    draw = np.random.default_rng(0)
    truth, values = draw.integers(3, size=40), draw.dirichlet(np.ones(3), (2, 40))
    runs = [
        write_run(tmp_path / f"c{n}", "choices", ["choice0", "choice1", "choice2"], values[n], truth.tolist(), splits=("test",))
        for n in (0, 1)
    ]
    blend.main([*runs, "--output_dir", str(tmp_path / "o"), "--no_report"])
    best = values.mean(axis=0).argmax(axis=1)
    for row, place in zip(read(tmp_path / "o" / "predictions.csv"), best, strict=True):
        assert row["prediction"] == str(place) and row["prediction_text"] in (f"text {place}", "")


def test_numbers_are_averaged(tmp_path):
    truth = np.arange(20) / 3
    runs = [write_run(tmp_path / f"n{n}", "numbers", [], (truth + n)[:, None], truth.tolist()) for n in (0, 1)]
    metrics = blend.main([*runs, "--output_dir", str(tmp_path / "o"), "--no_report"])
    assert metrics["predict_mse"] == pytest.approx(0.25, rel=1e-4)
    assert float(read(tmp_path / "o" / "predictions.csv")[3]["prediction"]) == pytest.approx(1.5)


def test_a_submission_has_the_blend(labels, tmp_path):
    runs, values, _ = labels
    sample = tmp_path / "sample.csv"
    sample.write_text("id,b,a\nt7,0,0\nt2,0,0\n")
    blend.main([*runs, "--output_dir", str(tmp_path / "o"), "--no_report", "--sample_submission", str(sample)])
    rows = read(tmp_path / "o" / "submission.csv")
    assert [row["id"] for row in rows] == ["t7", "t2"]
    assert float(rows[1]["a"]) == pytest.approx(values.mean(axis=0)[2, 0], rel=1e-5)


def test_runs_without_common_validation_rows_take_their_own_thresholds(labels, tmp_path):
    runs, *_ = labels
    other = write_run(
        tmp_path / "x", "labels", ["b", "a"], np.full((ROWS, 2), 0.3), [""] * ROWS, ("test",), thresholds=[0.6, 0.4]
    )
    rows = read(tmp_path / "run0" / "predictions.csv")
    path = tmp_path / "x" / "predictions.csv"
    path.write_text("id,b,a,prediction\n" + "".join(f"{row['id']},0.3,0.3,\n" for row in rows))
    blend.main([runs[0], other, "--output_dir", str(tmp_path / "o"), "--no_report"])
    assert json.loads((tmp_path / "o" / "thresholds.json").read_text()) == pytest.approx({"a": 0.3, "b": 0.5})


@pytest.mark.parametrize(
    ("change", "options", "error"),
    [
        ("same", [], "takes two runs or more"),
        ("labels", [], "predicts labels \\(a, c\\), and .* labels \\(a, b\\)"),
        ("rows", [], "row .t0. of .*run0 is not among the rows of .*run2"),
        ("truth", [], "row 't1' has the label"),
        ("none", ["--method", "weights"], "needs the same validation rows in all runs"),
        ("folder", [], "holds no report.json"),
    ],
)
def test_runs_that_cannot_be_blended(labels, tmp_path, change, options, error):
    runs, *_ = labels
    folder = tmp_path / "run2"
    if change == "same":
        runs = [runs[0], runs[0]]
    elif change == "labels":
        runs = [
            runs[0],
            write_run(tmp_path / "y", "labels", ["a", "c"], np.full((ROWS, 2), 0.3), [""] * ROWS, thresholds=[0.5, 0.5]),
        ]
    elif change == "rows":
        for name in ("predictions.csv", "validation_predictions.csv"):
            lines = (folder / name).read_text().splitlines(keepends=True)
            (folder / name).write_text("".join(line for line in lines if not line.startswith(("t0,", "v0,"))))
    elif change == "truth":
        text = (folder / "predictions.csv").read_text().splitlines(keepends=True)
        row = next(number for number, line in enumerate(text) if line.startswith("t1,"))
        before, label = text[row].rstrip("\n").rsplit(",", 1)
        text[row] = f"{before},{'a' if label != 'a' else 'b'}\n"
        (folder / "predictions.csv").write_text("".join(text))
    elif change == "none":
        (folder / "validation_predictions.csv").unlink()
    else:
        runs = [*runs, str(tmp_path)]
    with pytest.raises(UserError, match=error):
        blend.main([*runs, "--output_dir", str(tmp_path / "o"), *options])


def test_ranks_without_validation_rows_decide_as_many_rows_as_the_runs(labels, tmp_path):
    runs, values, _ = labels
    for run in runs:
        (tmp_path / run / "validation_predictions.csv").unlink()
    blend.main([*runs[:2], "--method", "rank", "--output_dir", str(tmp_path / "o"), "--no_report"])
    decided = np.mean([(value >= [0.2, 0.4]).mean(axis=0) for value in values[:2]], axis=0)
    rows = read(tmp_path / "o" / "predictions.csv")
    for label, share in zip("ab", decided, strict=True):
        assert np.mean([label in row["prediction"].split(";") for row in rows]) == pytest.approx(share, abs=0.01)
