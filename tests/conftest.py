import csv
import gc
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # tiny models gain nothing from more, and processes would wait for each other
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # nor do the threads of a script that takes more keep the tests beside it waiting
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np  # noqa: E402 - which reads how many threads to take

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LABELS = ["defect", "delivery", "praise", "refund"]
WORDS = {
    "defect": ["broken", "cracked", "leaks"],
    "delivery": ["parcel", "courier", "late"],
    "praise": ["lovely", "wonderful", "superb"],
    "refund": ["refund", "money", "repay"],
}
FILLER = "the my order it was and a kettle on monday please we have your shop again".split()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)  # first, so that no process waits for them at the end


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # all libraries are imported; see utils.runtime.run


@pytest.fixture(scope="session", autouse=True)
def no_report():
    """Runs in this process write no report, which takes a second or two, unless a test asks for one with `report`."""
    from utils.results.report import Results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Results, "judge", lambda self: None)
        patch.setattr(Results, "write_report", lambda self: None)
        yield patch


@pytest.fixture
def report(no_report):
    """Let the runs of a test write their report."""
    from utils.results.report import Results

    judge, write_report = Results.judge, Results.write_report
    no_report.undo()
    yield
    no_report.setattr(Results, "judge", judge)
    no_report.setattr(Results, "write_report", write_report)


def make_rows(count: int, seed: int = 0) -> list[dict]:
    """Rows that a two-layer model can learn: a label's own words occur if, and only if, the row has it."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        labels = [label for label in LABELS if draw.random() < 0.3]
        words = draw.choices(FILLER, k=draw.randint(2, 8)) + [draw.choice(WORDS[label]) for label in labels]
        draw.shuffle(words)
        rows.append({"id": f"r{number}", "text": " ".join(words), "labels": labels})
    return rows


def write_csv(path: Path, header: list[str], rows: list[list], delimiter: str = ",") -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return str(path)


def write_jsonl(path: Path, rows: list[dict]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


def one_hot(row: dict) -> list[int]:
    return [int(label in row["labels"]) for label in LABELS]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """A random two-layer BERT without dropout, so that differently cut batches can be compared."""
    from transformers import set_seed

    from utils.splits.smoke_test import save_tiny_model

    folder = tmp_path_factory.mktemp("tiny")
    set_seed(0)
    save_tiny_model([row["text"] for row in make_rows(200)], str(folder))
    config = json.loads((folder / "config.json").read_text())
    config["hidden_dropout_prob"] = config["attention_probs_dropout_prob"] = 0.0
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def launch(*command: str, cwd: Path = ROOT, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
    """Run a program of this environment, `python` or one of its scripts, and return it with its output.

    A recipe for labels that is given options writes no report, which takes two seconds, unless they say otherwise.
    """
    program = sys.executable if command[0] == "python" else str(Path(sys.executable).parent / command[0])
    recipe = next((place for place, word in enumerate(command) if re.match("run_(?!mlm)", Path(word).name)), len(command))
    options = command[recipe:]
    if any(word.startswith("--output_dir") for word in options) and not any(word.startswith("--no_report") for word in options):
        command = (*command, "--no_report")
    result = subprocess.run(
        [program, *command[1:]], cwd=cwd, env=os.environ | variables, capture_output=True, text=True, timeout=600, check=False
    )
    if check:
        assert result.returncode == 0, result.stderr[-3000:]
    return result


ONE_AFTER_ANOTHER = """
import importlib, json, pathlib, sys
from utils.runtime import run
runs = json.loads(pathlib.Path(sys.argv[2]).read_text())
main = importlib.import_module(sys.argv[1]).main
run(lambda: [main(arguments) for arguments in runs])
"""


def launch_two_processes(script: str, runs: list[list[str]], folder: Path) -> None:
    """Run `script` in two processes, once for each list of arguments: starting them takes longer than all these runs."""
    no_report = [] if script == "run_mlm" else ["--no_report"]
    (folder / "runs.json").write_text(json.dumps([[*arguments, *no_report] for arguments in runs]))
    (folder / "one_after_another.py").write_text(ONE_AFTER_ANOTHER)
    command = ["--nproc_per_node", "2", str(folder / "one_after_another.py"), script, str(folder / "runs.json")]
    launch("torchrun", *command, PYTHONPATH=str(ROOT))


def steps(output: Path) -> np.ndarray:
    """Return loss and norm of the gradient [steps, 2] of a run that has logged every step."""
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return np.array([[entry["loss"], entry["grad_norm"]] for entry in history if "grad_norm" in entry])


def check_same_steps(found: dict[str, np.ndarray]) -> None:
    """Check that all ways to cut a step have the `steps` of the first one, the first three of them more closely."""
    first, *others = found
    for name in others:
        np.testing.assert_allclose(found[name], found[first], rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(found[name][:3], found[first][:3], rtol=0, atol=1e-6, err_msg=name)


def check_cuts(case: dict[str, tuple[Path, list[str]]], shapes: dict[str, tuple], main: Callable) -> None:
    """Run the shapes of a case that take one process, those of two have run, and check that their ten steps are the same."""
    for name, (_, arguments) in case.items():
        if shapes[name][0] == 1:
            main(arguments)
    found = {name: steps(output) for name, (output, _) in case.items()}
    assert found["1 x 16"].shape == (10, 2)
    check_same_steps(found)


def check_pages(*paths: Path, figures: bool = True) -> None:
    """Open pages in Chromium, on a phone and on a desk: nothing is said, asked for or cut off, and every figure has a text."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in paths:
            for width in (375, 1280):
                page = browser.new_page(viewport={"width": width, "height": 800})
                said, asked = [], []
                page.on("console", lambda message, said=said: said.append(message.text))
                page.on("pageerror", lambda error, said=said: said.append(str(error)))
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.goto(path.as_uri())
                assert not said and not [url for url in asked if not url.startswith("data:")][1:], path
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path
                images = page.evaluate("Array.from(document.images, image => [image.naturalWidth, image.alt.length])")
                assert bool(images) == figures and all(size > 0 and alt > 20 for size, alt in images), path
                assert path.stat().st_size < 3e6, path
                page.close()
        browser.close()


def make_choice_rows(count: int, seed: int = 0) -> list[dict]:
    """Rows with 2 to 5 candidates that a two-layer model can learn: the right one, and no other, has a word of praise."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        sizes = draw.randint(2, 5)
        label = draw.randrange(sizes)
        choices = []
        for position in range(sizes):
            word = draw.choice(WORDS["praise"] if position == label else WORDS["defect"] + WORDS["refund"])
            choices.append(" ".join([*draw.choices(FILLER, k=draw.randint(1, 4)), word, str(position)]))
        context = " ".join(draw.choices(FILLER, k=draw.randint(2, 12)))
        rows.append({"id": f"c{number}", "context": context, "choices": choices, "label": label})
    return rows
