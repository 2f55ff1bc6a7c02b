"""Several processes give what one gives, and end together, with the reason of the first that fails."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import LABELS, ROOT, launch, launch_two_processes, make_rows, write_jsonl

import run_classification
import run_multilabel

pytestmark = pytest.mark.slow

# A script as one rank may run it: with an argument that the others have not, with a fault in a step, or killed in one, once.
ONE_RANK = """
import os, pathlib, runpy, sys
what, rank, *sys.argv = sys.argv[1:]
sys.path.insert(0, os.getcwd())
if os.environ["RANK"] == rank:
    import transformers
    original = transformers.Trainer.training_step
    def training_step(self, *args, **kwargs):
        if self.state.global_step == 5 and what == "fault":
            raise KeyError("a fault")
        mark = pathlib.Path(self.args.output_dir, "struck")
        if self.state.global_step == 5 and what.isdigit() and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), int(what))
        return original(self, *args, **kwargs)
    transformers.Trainer.training_step = training_step
    if what.startswith("--"):
        sys.argv.append(what)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def arguments_of(folder: Path, model: str) -> list[str]:
    """Return the arguments of a run of twelve steps with uneven numbers of rows."""
    files = [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', make_rows(count, seed))}"
             for name, count, seed in (("train", 47, 0), ("validation", 13, 1), ("test", 7, 2))]  # fmt: skip
    return [f"--model_name_or_path={model}", *files, "--fp16=False", "--num_train_epochs=3", "--learning_rate=1e-3"]


@pytest.fixture
def base(tmp_path, tiny_model) -> list[str]:
    return arguments_of(tmp_path, tiny_model)


EVERY_TWO_STEPS = ["--save_strategy=steps", "--save_steps=2", "--per_device_train_batch_size=4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_model) -> dict[str, Path]:
    """The folders of two runs that nothing has interrupted, of those that the tests below do interrupt."""
    folder = tmp_path_factory.mktemp("whole")
    base = arguments_of(folder, tiny_model)
    runs = {"saved by steps": EVERY_TWO_STEPS, "saved by epochs": ["--per_device_train_batch_size=4"]}
    launch_two_processes(
        "run_multilabel", [[*base, *more, f"--output_dir={folder / name}"] for name, more in runs.items()], folder
    )
    return {name: folder / name for name in runs}


def torchrun(processes: int, arguments: list[str], what: str = "", rank: int = 1, *more: str, check: bool = True):
    if not what:
        return launch("torchrun", "--nproc_per_node", str(processes), *more, "run_multilabel.py", *arguments, check=check)
    output = next(Path(each.split("=")[1]) for each in arguments if each.startswith("--output_dir="))
    output.mkdir(exist_ok=True)
    script = output.parent / "one_rank.py"
    script.write_text(ONE_RANK)
    command = ["--nproc_per_node", str(processes), *more, str(script), what, str(rank), "run_multilabel.py", *arguments]
    return launch("torchrun", *command, check=check)


def results(folder: Path) -> tuple[dict, np.ndarray]:
    scores = json.loads((folder / "all_results.json").read_text())
    speed = ("_second", "runtime", "padding_share", "_flos")
    probabilities = np.genfromtxt(folder / "predictions.csv", delimiter=",", skip_header=1)[:, 1:5]
    return {name: value for name, value in scores.items() if not name.endswith(speed)}, probabilities


def assert_equal(folder: Path, expected: Path) -> None:
    (scores, probabilities), (one_scores, one_probabilities) = results(folder), results(expected)
    assert scores == pytest.approx(one_scores, abs=1e-6)
    np.testing.assert_allclose(probabilities, one_probabilities, rtol=0, atol=2e-6)  # both are rounded to six digits


def test_three_processes_and_two_machines_give_what_one_process_gives(base, tmp_path):
    fitted = [*base, "--learning_rate=1e-9", "--max_steps=1"]  # more steps would make much of the rounding of a small encoder
    run_multilabel.main([*fitted, f"--output_dir={tmp_path / 'one'}", "--per_device_train_batch_size=12"])
    result = torchrun(3, [*fitted, f"--output_dir={tmp_path / 'three'}", "--per_device_train_batch_size=4"])
    assert result.stderr.count("the new head was fitted alone") == 1
    assert_equal(tmp_path / "three", tmp_path / "one")

    base += ["--linear_probe=False", "--overwrite_output_dir"]
    one = run_multilabel.main([*base, f"--output_dir={tmp_path / 'one'}", "--per_device_train_batch_size=12"])
    assert one["train_loss"] > 0
    result = torchrun(3, [*base, f"--output_dir={tmp_path / 'three'}", "--per_device_train_batch_size=4"])
    assert_equal(tmp_path / "three", tmp_path / "one")
    assert result.stderr.count("Test scores") == 1  # one process tells, and writes
    assert not [path.name for path in (tmp_path / "three").iterdir() if path.name.startswith(".")]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [*base, f"--output_dir={tmp_path / 'machines'}", "--per_device_train_batch_size=6", "--no_report"]
    program = str(Path(sys.executable).parent / "torchrun")
    machines = [
        subprocess.Popen(
            [program, "--nnodes=2", "--nproc_per_node=1", f"--node_rank={rank}", "--master_addr=127.0.0.1",
             f"--master_port={port}", "run_multilabel.py", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]  # fmt: skip
    told = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    assert "Test scores" in told[0] and "Test scores" not in told[1]
    assert_equal(tmp_path / "machines", tmp_path / "one")


def test_fewer_rows_than_processes(tmp_path, tiny_model):
    rows = [{"text": row["text"], "label": (row["labels"] or LABELS)[0]} for row in make_rows(6)]
    rows[0]["label"], rows[1]["label"] = "defect", "praise"
    files = [f"--{name}_file={write_jsonl(tmp_path / f'{name}.jsonl', part)}"
             for name, part in (("train", rows[:2]), ("validation", rows[:1]), ("test", rows[:2]))]  # fmt: skip
    base = [f"--model_name_or_path={tiny_model}", *files, "--fp16=False", "--num_train_epochs=2", "--learning_rate=1e-3"]
    one = run_classification.main([*base, f"--output_dir={tmp_path / 'one'}", "--per_device_train_batch_size=3"])
    arguments = [*base, f"--output_dir={tmp_path / 'three'}", "--per_device_train_batch_size=1"]
    launch("torchrun", "--nproc_per_node", "3", "run_classification.py", *arguments)
    found = json.loads((tmp_path / "three" / "all_results.json").read_text())
    for name in ("train_loss", "eval_loss", "predict_loss", "predict_accuracy"):
        assert found[name] == pytest.approx(one[name], abs=1e-6), name


@pytest.mark.parametrize(
    ("what", "told", "status"),
    [
        ("--train_file=/nope.jsonl", "error: /nope.jsonl does not exist", "2"),
        ("fault", "KeyError: 'a fault'", "1"),
        (str(int(signal.SIGKILL)), "Signal 9 (SIGKILL) received", "-9"),
    ],
)
def test_an_error_of_one_rank_ends_all_and_is_told_once(base, tmp_path, what, told, status):
    began = time.time()
    result = torchrun(2, [*base, f"--output_dir={tmp_path / 'o'}", "--per_device_train_batch_size=4"], what, check=False)
    assert result.returncode == 1 and time.time() - began < 60  # a hang would end after the half hour of gloo's timeout
    ours, *_, report = result.stderr.partition("torch/distributed/elastic/multiprocessing/api.py")
    errors = [line for line in ours.splitlines() if re.match(r"error:|\w*Error", line)]
    assert len(errors) == (status != "-9") and all(line.startswith(told) for line in errors)  # what was killed says nothing
    cause = report.split("Root Cause")[1]
    assert f"exitcode  : {status}" in cause and "local_rank: 1" in cause and told in cause
    assert told in [line for line in cause.splitlines() if line.strip()][-2]  # the last line but torchrun's frame


def test_a_killed_rank_is_started_again_and_the_weights_are_those_of_an_unkilled_run(base, whole, tmp_path):
    arguments = [*base, *EVERY_TWO_STEPS, f"--output_dir={tmp_path / 'killed'}"]
    result = torchrun(2, arguments, str(int(signal.SIGKILL)), 1, "--max-restarts", "2")
    assert (tmp_path / "killed" / "struck").exists()
    assert "checkpoint-4, left by an unfinished run" in result.stderr
    expected, killed = whole["saved by steps"], tmp_path / "killed"
    assert (killed / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    assert_equal(killed, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_rank_stops_all_after_the_same_step(base, whole, tmp_path, number):
    base = [*base, "--per_device_train_batch_size=4"]
    result = torchrun(2, [*base, f"--output_dir={tmp_path / 'o'}"], str(int(number)), check=False)
    assert f"stopped by {number.name} after step 6 of 18; the same command goes on from" in result.stderr
    exits = [line.split(":")[1].split()[0] for line in result.stderr.splitlines() if line.strip().startswith("exitcode")]
    assert set(exits) == {str(128 + number)}
    os.remove(tmp_path / "o" / "struck")
    state = json.loads((tmp_path / "o" / "checkpoint-6" / "trainer_state.json").read_text())
    assert state["global_step"] == 6 and (tmp_path / "o" / "checkpoint-6" / "rng_state_1.pth").is_file()
    if number == signal.SIGTERM:
        torchrun(2, [*base, f"--output_dir={tmp_path / 'o'}"])
        expected, stopped = (folder / "model.safetensors" for folder in (whole["saved by epochs"], tmp_path / "o"))
        assert stopped.read_bytes() == expected.read_bytes()
