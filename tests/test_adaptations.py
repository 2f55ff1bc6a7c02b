"""docs/adapting.md and docs/new_script.md: each change applies to a copy of its script in an empty folder, and takes effect.

`python tests/test_adaptations.py` writes the diffs, and the page that shows them, anew after a change to the scripts.
"""

import contextlib
import csv
import difflib
import importlib.util
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import FILLER, LABELS, ROOT, launch, make_choice_rows, make_rows, write_jsonl
from transformers import AutoTokenizer, BertForSequenceClassification, pipeline

PAGE = ROOT / "docs" / "adapting.md"
DIFFS = sorted((ROOT / "docs" / "adaptations").glob("*.diff"))
BLOCK = re.compile(r"^```diff\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
LEARN = "--learning_rate=4e-3 --head_learning_rate_multiplier=1 --per_device_train_batch_size=16 --fp16=False".split()
BRIEFLY = [*LEARN, "--max_steps=6"]
# Runs programs one after another in one process, because starting Python and its libraries takes longer than all of them.
PROGRAMS = """
import json, runpy, sys
sys.path.insert(0, "")
for sys.argv in json.loads(sys.argv[1]):
    status = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code
    print(f"\\nexit status {status}", file=sys.stderr, flush=True)
"""


class Run(NamedTuple):
    """What a program said on stderr, and its exit status."""

    log: str
    status: int


def script_of(diff: Path) -> str:
    return re.match(r"--- a/(\S+)\n\+\+\+ b/\1\n", diff.read_text(encoding="utf-8"))[1]


def apply(diff: Path, folder: Path, *options: str) -> Path:
    """Copy the script of a diff into `folder`, change it, and return its path."""
    script = Path(shutil.copy(ROOT / script_of(diff), folder))
    before = script.read_text(encoding="utf-8")
    outside = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.resolve().parent)}  # in a repository its root would count
    subprocess.run(["git", "apply", *options, str(diff)], cwd=folder, env=outside, check=True)
    assert script.read_text(encoding="utf-8") != before
    return script


def adapt(letter: str, folder: Path) -> Path:
    """Put `utils/` and the script that the diff changes into an empty folder, and return the changed script."""
    shutil.copytree(ROOT / "utils", folder / "utils", ignore=shutil.ignore_patterns("__pycache__"))
    (diff,) = (diff for diff in DIFFS if diff.name.startswith(f"{letter}_"))
    return apply(diff, folder)


def copy_with(script: Path, name: str, *changes: tuple[str, str]) -> str:
    """Write a copy of `script` with some texts replaced beside it, and return its name."""
    text = script.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    script.with_name(name).write_text(text, encoding="utf-8")
    return name


def run_all(folder: Path, *programs: list[str]) -> list[Run]:
    """Run programs in `folder`, lists of a script and its options, and return what they said. The first writes its report."""
    first, *others = programs
    programs = [
        first,
        *([*program, "--no_report"] if any("output_dir" in word for word in program) else program for program in others),
    ]
    log = launch("python", "-c", PROGRAMS, json.dumps(programs), cwd=folder).stderr
    *parts, rest = re.split(r"\nexit status (\d+)\n", log)
    runs = [Run(said, int(status)) for said, status in zip(parts[::2], parts[1::2], strict=True)]
    assert len(runs) == len(programs), rest
    return runs


def succeeded(*runs: Run) -> bool:
    for run in runs:
        assert run.status == 0, run.log[-3000:]
    return True


def write_splits(folder: Path, **splits: list[dict]) -> list[str]:
    """Write a file for each split, and return the options that name them."""
    return [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', rows)}" for name, rows in splits.items()]


def read_predictions(folder: Path) -> list[dict]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_results(folder: Path) -> dict[str, float]:
    return json.loads((folder / "all_results.json").read_text())


def same_predictions(one: Path, other: Path) -> bool:
    return (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


def probability_of(rows: list[dict], names: list[str]) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in rows])


def says_not_to_use_pipeline(folder: Path, run: Run, why: str) -> bool:
    """Whether the model card and the run both say so, and why."""
    told = re.search(r"the model card says not to use `pipeline\(\)` with this model: (.*)", run.log)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert told and why in told[1], run.log[-2000:]
    return f"`pipeline()` does not give this model's probabilities: {told[1]}" in card and "classify = pipeline" not in card


def topic_rows(count: int, seed: int) -> list[dict]:
    """Rows with one of three labels, decided by their words."""
    rows = [row for row in make_rows(6 * count, seed) if len(row["labels"]) == 1 and row["labels"][0] != "refund"]
    return [{"id": row["id"], "text": row["text"], "label": row["labels"][0]} for row in rows[:count]]


# --- What only has to be read ---


def test_there_is_a_diff_for_every_adaptation():
    assert [diff.name[:2] for diff in DIFFS] == ["a_", "b_", "c_", "d_", "e_", "f_", "g_"]
    assert {script_of(diff) for diff in DIFFS} == {path.name for path in ROOT.glob("run_*.py")} - {"run_mlm.py"}


@pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: diff.stem)
def test_a_diff_is_short_and_changes_one_script(diff, tmp_path):
    lines = diff.read_text(encoding="utf-8").splitlines()
    assert [line[:6] for line in lines if line.startswith(("--- ", "+++ "))] == ["--- a/", "+++ b/"]
    count = sum(line.startswith(("+", "-")) for line in lines[2:])
    assert 0 < count <= 15
    before, after = (ROOT / script_of(diff)).read_text(encoding="utf-8"), apply(diff, tmp_path).read_text(encoding="utf-8")
    compared = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm=""))[2:]
    assert sum(line.startswith(("+", "-")) for line in compared) <= 15
    assert f" ([{count} lines](adaptations/{diff.name}))\n" in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_what_the_diffs_add():
    page = PAGE.read_text(encoding="utf-8")
    assert BLOCK.findall(page) == [added_lines(diff.read_text(encoding="utf-8")) for diff in DIFFS]
    named = re.findall(r"\]\(adaptations/(\w+\.diff)\)", page)
    assert named == [diff.name for diff in DIFFS]


# --- What has to be run ---


@pytest.mark.slow
def test_a_weight_for_each_row(tmp_path, tiny_model):
    script = adapt("a", tmp_path).name
    draw = random.Random(1)
    train = [row | {"weight": 1.0} for row in topic_rows(150, 1)]
    wrong = {"defect": "delivery", "delivery": "praise", "praise": "defect"}  # more rows, but they count nothing
    train += [row | {"label": wrong[row["label"]], "weight": 0.0} for row in topic_rows(200, 2)]
    validation = [row | {"weight": draw.choice([0.5, 1.0, 8.0])} for row in topic_rows(60, 3)]
    unweighted = [{name: row[name] for name in ("id", "text", "label")} for row in validation]
    unlabelled = [{name: row[name] for name in ("id", "text")} for row in validation]  # without a loss, no weights
    files = write_splits(tmp_path, train=train, validation=validation, test=unlabelled)
    lacking = write_splits(tmp_path, unweighted=unweighted)[0].partition("=")[2]
    base = [script, f"--model_name_or_path={tiny_model}"]
    smoke, trained, again, refused = run_all(
        tmp_path,
        [script, "--smoke_test"],
        [*base, *files, *LEARN, "--num_train_epochs=5", "--output_dir=o"],
        [script, "--model_name_or_path=o", "--validation_file=validation.jsonl", files[-1], "--output_dir=again"],
        [*base, f"--train_file={lacking}", "--output_dir=refused"],
    )
    assert succeeded(smoke, trained, again) and "smoke test passed" in smoke.log
    results, rows = read_results(tmp_path / "o"), read_predictions(tmp_path / "o")
    assert results["eval_accuracy"] > 0.9  # the wrong labels, which are the most, were not learnt
    losses = np.array([-np.log(float(row[true["label"]])) for row, true in zip(rows, validation, strict=True)])
    weights = np.array([row["weight"] for row in validation])
    assert results["eval_loss"] == pytest.approx((losses * weights).sum() / weights.sum(), rel=1e-4)
    assert abs(results["eval_loss"] - losses.mean()) > 0.001 * losses.mean()
    assert same_predictions(tmp_path / "o", tmp_path / "again")
    assert read_results(tmp_path / "again")["eval_loss"] == pytest.approx(results["eval_loss"], rel=1e-5)
    assert refused.status == 2 and "has no column 'weight'" in refused.log and "Traceback" not in refused.log


@pytest.mark.slow
def test_b_own_metric_chooses_the_best_weights(tmp_path, tiny_model):
    path = adapt("b", tmp_path)
    script, without = path.name, copy_with(path, "without.py", ('{"mean_cost": "lower"}', "{}"))
    test = make_rows(60, 3)
    files = write_splits(tmp_path, train=make_rows(120, 1), validation=make_rows(60, 2), test=test)
    chosen = "--metric_for_best_model=mean_cost"
    smoke, trained, again, refused, told = run_all(
        tmp_path,
        [script, "--smoke_test", chosen],
        [script, f"--model_name_or_path={tiny_model}", *files, *LEARN, "--num_train_epochs=5", chosen, "--output_dir=o"],
        [script, "--model_name_or_path=o", files[-1], "--output_dir=again"],
        [without, "--smoke_test", chosen],
        [without, "--smoke_test", chosen, "--greater_is_better", "False"],
    )
    assert succeeded(smoke, trained, again, told)
    assert refused.status == 2 and "add --greater_is_better True or --greater_is_better False" in refused.log
    state = json.loads((tmp_path / "o" / "trainer_state.json").read_text())
    costs = {entry["step"]: entry["eval_mean_cost"] for entry in state["log_history"] if "eval_mean_cost" in entry}
    assert len(costs) == 5 and max(costs.values()) > min(costs.values())
    assert state["best_metric"] == min(costs.values()) == costs[state["best_global_step"]]
    results = read_results(tmp_path / "o")
    assert results["eval_mean_cost"] == pytest.approx(min(costs.values()))  # these weights are the ones that are kept
    decided = [set(row["prediction"].split(";")) for row in read_predictions(tmp_path / "o")]
    pairs = zip([set(row["labels"]) for row in test], decided, strict=True)
    cost = sum(5 * len(labels - found) + len(found - labels - {""}) for labels, found in pairs)
    assert results["predict_mean_cost"] == pytest.approx(cost / (len(LABELS) * len(test)))
    scores = trained.log.partition("Test scores")[2]
    assert (
        re.search(rf"  mean_cost +{results['predict_mean_cost']:.3f}", scores)
        and "mean_cost" in (tmp_path / "o" / "README.md").read_text()
    )
    assert same_predictions(tmp_path / "o", tmp_path / "again")


@pytest.mark.slow
def test_c_number_beside_the_text_in_an_own_head(tmp_path, tiny_model):
    script, draw = adapt("c", tmp_path).name, random.Random(0)

    def rows(count: int) -> list[dict]:  # the price alone decides
        prices = [draw.choice([-1, 1]) * draw.uniform(1, 2) for _ in range(count)]
        texts = [" ".join(draw.choices(FILLER, k=4)) for _ in prices]
        return [
            {"text": text, "price": price, "label": "dear" if price > 0 else "cheap"}
            for text, price in zip(texts, prices, strict=True)
        ]

    test = rows(40)
    files = write_splits(tmp_path, train=rows(160), validation=rows(40), test=test)
    write_splits(tmp_path, unpriced=[{"text": row["text"]} for row in test])
    smoke, trained, again, refused = run_all(
        tmp_path,
        [script, "--smoke_test"],
        [script, f"--model_name_or_path={tiny_model}", *files, *LEARN, "--num_train_epochs=6", "--output_dir=o"],
        [script, "--model_name_or_path=o", files[-1], "--output_dir=again"],
        [script, "--model_name_or_path=o", "--test_file=unpriced.jsonl", "--output_dir=refused"],
    )
    assert succeeded(smoke, trained, again)
    assert read_results(tmp_path / "o")["predict_accuracy"] > 0.9
    assert json.loads((tmp_path / "o" / "config.json").read_text())["architectures"] == ["BertWithPrice"]
    assert same_predictions(tmp_path / "o", tmp_path / "again")
    assert says_not_to_use_pipeline(tmp_path / "o", trained, "it ends with")
    assert refused.status == 2 and "the model reads the column 'price', which is not there" in refused.log


@pytest.mark.slow
def test_d_rows_from_sqlite(tmp_path, tiny_model):
    script = adapt("d", tmp_path).name
    tables = {"train": topic_rows(60, 1), "validation": topic_rows(20, 2), "test": topic_rows(20, 3)}
    tables["wrong"] = [row | {"label": "other"} for row in tables["test"]]
    with contextlib.closing(sqlite3.connect(tmp_path / "tickets.db")) as database:
        for name, rows in tables.items():
            database.execute(f"CREATE TABLE {name} (id TEXT, agent INTEGER, text TEXT, label TEXT)")
            values = [(row["id"], 7, row["text"], row["label"]) for row in rows]
            database.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?)", values)
        database.commit()
    files = [f"--{name}_file=tickets.db:{name}" for name in ("train", "validation", "test")]
    smoke, smoke_on_rows, trained, again, refused = run_all(
        tmp_path,
        [script, "--smoke_test"],  # its example rows are no database
        [script, "--smoke_test", files[0]],
        [script, f"--model_name_or_path={tiny_model}", *files, *BRIEFLY, "--output_dir=o"],
        [script, "--model_name_or_path=o", files[-1], "--output_dir=again"],
        [script, "--model_name_or_path=o", "--test_file=tickets.db:wrong", "--output_dir=refused"],
    )
    assert succeeded(smoke, smoke_on_rows, trained, again)
    assert "train: 60 rows from tickets.db:train; columns: id, text, label" in trained.log
    assert [row["id"] for row in read_predictions(tmp_path / "o")] == [row["id"] for row in tables["test"]]
    assert same_predictions(tmp_path / "o", tmp_path / "again")
    assert refused.status == 2 and f"tickets.db:wrong, id {tables['test'][0]['id']}, column 'label': " in refused.log


@pytest.mark.slow
def test_e_hint_and_no_answer_below_a_probability(tmp_path, tiny_model):
    path = adapt("e", tmp_path)
    script = path.name

    def rows(count: int, seed: int, hint: str = "superb courier") -> list[dict]:
        return [row | {"question": "why", "hint": hint} for row in make_choice_rows(count, seed)]

    test = rows(40, 3)
    files = write_splits(tmp_path, train=rows(40, 1), validation=rows(20, 2), test=test)
    write_splits(tmp_path, other_hint=rows(40, 3, "broken kettle"), no_hint=make_choice_rows(10, 3))
    smoke, trained, again, other, refused = run_all(
        tmp_path,
        [script, "--smoke_test"],
        [script, f"--model_name_or_path={tiny_model}", *files, *BRIEFLY, "--max_steps=2", "--output_dir=o"],
        [script, "--model_name_or_path=o", files[-1], "--output_dir=again"],
        [script, "--model_name_or_path=o", "--test_file=other_hint.jsonl", "--output_dir=other"],
        [script, f"--model_name_or_path={tiny_model}", "--train_file=no_hint.jsonl", "--output_dir=refused"],
    )
    assert succeeded(smoke, trained, again, other)
    predictions, sure = read_predictions(tmp_path / "o"), 0
    for row, found in zip(test, predictions, strict=True):
        likely = [float(found[f"choice{position}"]) for position in range(len(row["choices"]))]
        best = int(np.argmax(likely)) if max(likely) >= 0.4 else -1
        assert found["prediction"] == str(best) and found["prediction_text"] == ("" if best < 0 else row["choices"][best])
        sure += best >= 0
    assert 0 < sure < len(test)
    assert same_predictions(tmp_path / "o", tmp_path / "again") and not same_predictions(tmp_path / "o", tmp_path / "other")
    assert "does not give this model's probabilities" in (tmp_path / "o" / "README.md").read_text()
    assert refused.status == 2 and "no_hint.jsonl has no column 'hint', which `encode` in the script reads" in refused.log
    specification = importlib.util.spec_from_file_location("adapted", path)
    adapted = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(adapted)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    batch = {
        "context": ["monday"],
        "hint": ["late"],
        "question": ["please"],
        "candidates": [["refund", "repay"]],
        adapted.PLACE: [""],
    }
    texts = tokenizer.batch_decode(adapted.encode(batch, tokenizer, 32)["input_ids"][0])
    assert texts == [f"[CLS] monday [SEP] late please {text} [SEP]" for text in ("refund", "repay")]


@pytest.mark.slow
def test_f_mean_pooling_stays_mean_pooling(tmp_path, tiny_model):
    script, test = adapt("f", tmp_path).name, make_rows(40, 3)
    files = write_splits(tmp_path, train=make_rows(60, 1), validation=make_rows(20, 2), test=test)
    base = [script, f"--model_name_or_path={tiny_model}", *files, *BRIEFLY, "--linear_probe=False"]
    smoke, tuned, plain, again = run_all(
        tmp_path,
        [script, "--smoke_test"],
        [*base, "--tune_cpu=True", "--output_dir=o"],
        [*base, "--tune_cpu=False", "--output_dir=plain"],
        [script, "--model_name_or_path=o", files[-1], "--output_dir=again"],
    )
    assert succeeded(smoke, tuned, plain, again)
    assert "tuned for the CPU" in tuned.log and "tuned for the CPU" not in plain.log
    assert "Only the first token in the last layer: not used, because MeanPooledBert would give other logits" in tuned.log
    found = probability_of(read_predictions(tmp_path / "o"), LABELS)
    np.testing.assert_allclose(found, probability_of(read_predictions(tmp_path / "plain"), LABELS), atol=1e-4)
    model, tokenizer = (
        BertForSequenceClassification.from_pretrained(tmp_path / "o"),
        AutoTokenizer.from_pretrained(tmp_path / "o"),
    )
    inputs = tokenizer([row["text"] for row in test], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.bert(**inputs).last_hidden_state
        means = [state[mask.bool()].mean(dim=0) for state, mask in zip(states, inputs["attention_mask"], strict=True)]
        pooled, first = model.classifier(torch.stack(means)).sigmoid(), model(**inputs).logits.sigmoid()
    np.testing.assert_allclose(found, pooled, atol=1e-5)
    assert np.abs(found - first.numpy()).max() > 0.01
    assert same_predictions(tmp_path / "o", tmp_path / "again")
    assert says_not_to_use_pipeline(tmp_path / "o", tuned, "it gives ")


@pytest.mark.slow
def test_g_poly_loss_and_resuming_with_another_loss(tmp_path, tiny_model):
    path, validation = adapt("g", tmp_path), topic_rows(40, 2)
    script, formula = path.name, 'poly = 1 - log_probabilities.exp() if kind == "poly" else 0.0'
    other = copy_with(
        path, "other.py", (formula, formula.replace("1 - log_probabilities.exp()", "2 - 2 * log_probabilities.exp()"))
    )
    layout = formula.replace(" if ", " if (  # by the epsilon of the paper\n        ").replace(" else", "\n    ) else")
    docstring = '"""Return the loss of every row [rows] in float32; 0 where the target is unknown.'
    same = copy_with(path, "same.py", (formula, layout), (docstring, '"""Another docstring.'))
    files = write_splits(tmp_path, train=topic_rows(60, 1), validation=validation, test=validation)
    shutil.copy(tmp_path / "validation.jsonl", tmp_path / "test.jsonl")
    options = [f"--model_name_or_path={tiny_model}", *files, *LEARN, "--num_train_epochs=2", "--loss=poly"]
    options += ["--load_best_model_at_end=False", "--keep_checkpoints"]
    resumed = [*options, "--resume_from_checkpoint=o/checkpoint-4"]
    smoke, trained, again, refused, continued, anyway = run_all(
        tmp_path,
        [script, "--smoke_test", "--loss", "poly"],
        [script, *options, "--output_dir=o"],
        [script, "--model_name_or_path=o", files[-1], "--output_dir=again"],
        [other, *resumed, "--output_dir=refused"],
        [same, *resumed, "--output_dir=same"],
        [other, *resumed, "--output_dir=anyway", "--resume_anyway"],
    )
    assert succeeded(smoke, trained, again, continued, anyway)
    rows = read_predictions(tmp_path / "o")
    right = np.array([float(row[true["label"]]) for row, true in zip(rows, validation, strict=True)])
    results = read_results(tmp_path / "o")
    assert results["eval_loss"] == pytest.approx((1 - right - np.log(right)).mean(), rel=1e-4)
    assert results["eval_log_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-4)
    assert same_predictions(tmp_path / "o", tmp_path / "again")
    assert refused.status == 2 and "the code of the script has changed; add --resume_anyway" in refused.log
    assert "continuing from o/checkpoint-4" in continued.log and same_predictions(tmp_path / "o", tmp_path / "same")
    assert "although the code of the script has changed" in anyway.log
    assert not same_predictions(tmp_path / "o", tmp_path / "anyway")


# --- The fourth script ---


def test_fourth_script_has_few_lines_of_its_own():
    original, own = ROOT / "run_classification.py", ROOT / "docs" / "run_ordinal.py"
    lines = [path.read_text(encoding="utf-8").splitlines() for path in (original, own)]
    assert 0 < sum(line.startswith("+ ") for line in difflib.ndiff(*lines)) <= 120
    assert sum(line.startswith("+") for line in list(difflib.unified_diff(*lines, lineterm=""))[2:]) <= 120


def test_the_page_of_the_fourth_script_quotes_it():
    page, script = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("new_script.md", "run_ordinal.py"))
    quoted = re.findall(r"^```python\n(.*?)^```\n", page, re.MULTILINE | re.DOTALL)
    assert len(quoted) == 3 and all(block in script for block in quoted)


@pytest.mark.slow
def test_fourth_script_learns_grades(tmp_path, tiny_model):
    shutil.copytree(ROOT / "utils", tmp_path / "utils", ignore=shutil.ignore_patterns("__pycache__"))
    script = Path(shutil.copy(ROOT / "docs" / "run_ordinal.py", tmp_path)).name
    words, names = ["broken", "leaks", "parcel", "lovely", "superb"], [f"above {grade}" for grade in range(1, 5)]

    def rows(count: int, seed: int) -> list[dict]:
        draw = random.Random(seed)
        grades = draw.choices(range(1, 6), k=count)
        return [{"text": " ".join([*draw.choices(FILLER, k=3), words[grade - 1]]), "label": grade} for grade in grades]

    test = rows(60, 3)
    files = write_splits(tmp_path, train=rows(160, 1), validation=rows(40, 2), test=test)
    write_splits(tmp_path, names=[row | {"label": f"grade {row['label']}"} for row in test])
    base = [script, f"--model_name_or_path={tiny_model}", *files, *LEARN, "--num_train_epochs=6", "--save_total_limit=6"]
    base += ["--keep_checkpoints"]
    smoke, trained, again, resumed, refused = run_all(
        tmp_path,
        [script, "--smoke_test"],
        [*base, "--output_dir=o"],
        [script, "--model_name_or_path=o", files[-1], "--output_dir=again"],
        [*base, "--output_dir=resumed", "--resume_from_checkpoint=o/checkpoint-20"],
        [script, f"--model_name_or_path={tiny_model}", "--train_file=names.jsonl", "--output_dir=refused"],
    )
    assert succeeded(smoke, trained, again, resumed) and "smoke test passed" in smoke.log
    predictions, truth = read_predictions(tmp_path / "o"), np.array([row["label"] for row in test])
    above, decided = probability_of(predictions, names), np.array([int(row["prediction"]) for row in predictions])
    assert list(predictions[0]) == ["row", *names, "prediction", "label", "text"]
    assert [int(row["label"]) for row in predictions] == truth.tolist()
    assert (decided == 1 + (above >= 0.5).sum(axis=1)).all()
    results = read_results(tmp_path / "o")
    assert results["predict_mean_absolute_error"] == pytest.approx(np.abs(decided - truth).mean())
    most_frequent = np.bincount(truth).argmax()
    assert results["predict_mean_absolute_error"] < np.abs(most_frequent - truth).mean() / 2
    kappa = results["predict_quadratic_weighted_kappa"]
    assert kappa > 0.7 and re.search(f"quadratic_weighted_kappa +{kappa:.3f}", trained.log.partition("Test scores")[2])
    answers = truth[:, None] > np.arange(1, 5)
    loss = -np.where(answers, np.log(above), np.log1p(-above)).mean()
    assert results["predict_loss"] == pytest.approx(loss, rel=1e-4)
    state = json.loads((tmp_path / "o" / "trainer_state.json").read_text())
    errors = [entry["eval_mean_absolute_error"] for entry in state["log_history"] if "eval_mean_absolute_error" in entry]
    assert state["best_metric"] == min(errors) < max(errors)
    assert same_predictions(tmp_path / "o", tmp_path / "again") and same_predictions(tmp_path / "o", tmp_path / "resumed")
    assert "continuing from o/checkpoint-20" in resumed.log
    classify = pipeline("text-classification", model=str(tmp_path / "o"), top_k=None)
    found = {score["label"]: score["score"] for score in classify([test[0]["text"]])[0]}
    assert [found[name] for name in names] == pytest.approx(above[0], abs=1e-4)
    assert refused.status == 2 and "names.jsonl, column 'label': expected grades, whole numbers" in refused.log


def added_lines(diff: str) -> str:
    return "".join(line for line in diff.splitlines(keepends=True) if line.startswith("+") and not line.startswith("+++"))


def write_anew() -> None:
    """Write every diff against the script as it is now, and show them in the page."""
    page = PAGE.read_text(encoding="utf-8")
    for diff, shown in zip(DIFFS, BLOCK.findall(page), strict=True):
        name = script_of(diff)
        with tempfile.TemporaryDirectory() as folder:
            adapted = apply(diff, Path(folder), "-C1").read_text(encoding="utf-8")  # one line around a change is enough
        lines = [text.splitlines(keepends=True) for text in ((ROOT / name).read_text(encoding="utf-8"), adapted)]
        text = "".join(difflib.unified_diff(*lines, f"a/{name}", f"b/{name}", n=2))
        diff.write_text(text, encoding="utf-8")
        page = page.replace(f"```diff\n{shown}```", f"```diff\n{added_lines(text)}```")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write_anew())
