"""What becomes of runs that meet bad input, kills, full disks, signals and diverging losses, and of runs in several processes.

    python benchmarks/reliability.py                  # everything, about 15 minutes on 2 cores; writes benchmarks/reliability.md
    python benchmarks/reliability.py kills signals    # parts of it, shown only

Tiny random models with dropout, real processes, real signals; the full disk is a small file system of its own, which only the
superuser can mount (else that line says so). The inputs are those of tests/bad_inputs.py and tests/test_fuzz.py.
"""

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "training")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from bad_inputs import ALL, CASES  # noqa: E402
from conftest import make_rows, write_jsonl  # noqa: E402
from test_checkpoints import rows_of  # noqa: E402
from test_processes import ONE_RANK  # noqa: E402
from transformers import set_seed  # noqa: E402

from utils.arguments import UserError  # noqa: E402
from utils.splits.smoke_test import save_tiny_model  # noqa: E402
from utils.training.checkpoints import find_damage  # noqa: E402

KILLS, FUZZ_EXAMPLES = 30, 1000
TORCHRUN = str(Path(sys.executable).parent / "torchrun")
SCORES_OF_SPEED = ("_second", "runtime", "padding_share", "_flos")


def table(columns: list[str], rows: list[list]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in [columns, ["---"] * len(columns), *cells]]


class Runs:
    """Runs of the scripts in a folder, each a process of its own."""

    def __init__(self, folder: Path):
        self.folder, self.model = folder, str(folder / "tiny")
        set_seed(0)
        save_tiny_model([row["text"] for row in make_rows(200)], self.model)
        (folder / "one_rank.py").write_text(ONE_RANK)

    def arguments(self, script: str, output: Path, *more: str, rows: int = 96, batch: int = 8) -> list[str]:
        files = []
        for name, count, seed in (("train", rows, 0), ("validation", 13, 1), ("test", 7, 2)):
            path = self.folder / f"{script}_{name}_{count}.jsonl"
            if not path.exists():
                write_jsonl(path, rows_of(script.removeprefix("run_"), count, seed))
            files.append(f"--{name}_file={path}")
        settled = [f"--model_name_or_path={self.model}", "--learning_rate=1e-3", f"--per_device_train_batch_size={batch}"]
        return [f"{script}.py", *files, *settled, f"--output_dir={output}", "--disable_tqdm", *more]

    def run(self, arguments: list[str], *launcher: str) -> subprocess.CompletedProcess:
        command = [*(launcher or [sys.executable]), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    def start(self, arguments: list[str], *launcher: str) -> subprocess.Popen:
        command = [*(launcher or [sys.executable]), *arguments]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def weights(output: Path) -> str:
    return hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest()[:8]


def wait_for(process: subprocess.Popen, output: Path, pattern: str, seconds: float = 60) -> None:
    """Wait until a file of that pattern is in the output folder."""
    end = time.time() + seconds
    while process.poll() is None and not list(output.glob(pattern)) and time.time() < end:
        time.sleep(0.005)


def newest(output: Path) -> int:
    """Return the step of the newest checkpoint, 0 for none."""
    return max((int(path.name.split("-")[1]) for path in output.glob("checkpoint-*")), default=0)


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if re.match("error:|stopped|interrupted", line)]
    return re.sub(r"/\S*/", "…/", lines[-1]) if lines else (text.strip().splitlines() or ["nothing"])[-1][:120]


def bad_inputs(runs: Runs) -> list[str]:
    """Try every bad input on every script it concerns, in this process."""
    logging.disable(logging.WARNING)
    rows, traced = [], 0
    for name, case in CASES.items():
        ends, told = {}, ""
        for script in ALL:
            if script not in case.scripts:
                ends[script] = "–"
                continue
            with tempfile.TemporaryDirectory(dir=runs.folder) as folder:
                arguments = [f"--model_name_or_path={runs.model}", f"--output_dir={folder}/o", "--max_steps=1", "--disable_tqdm"]
                arguments += case.arguments(script, Path(folder))
                try:
                    importlib.import_module(script).main(arguments + (["--validation_fraction=0"] if case.error is None else []))
                    ends[script] = "trains"
                except UserError as error:
                    ends[script] = "one line"
                    told = told or str(error).replace(f"{folder}/", "").replace(os.getcwd(), "…")
                except Exception as error:  # what must not happen
                    ends[script], traced = type(error).__name__, traced + 1
        rows.append([name, *ends.values(), told if len(told) < 200 else f"{told[:197]}…"])
    logging.disable(logging.NOTSET)
    tried = sum(end != "–" for row in rows for end in row[1:4])
    heading = f"{len(rows)} inputs, {tried} runs: {sum(r[1:4].count('one line') for r in rows)} ended with one line, "
    heading += f"{sum(r[1:4].count('trains') for r in rows)} trained as they should, {traced} ended otherwise."
    return [heading, "", *table(["input", "classification", "multilabel", "multiple choice", "told"], rows)]


def kills(runs: Runs) -> list[str]:
    """Kill runs that save every step at random moments of their training, and let the same command finish."""
    every_step = ("--save_strategy=steps", "--save_steps=1", "--num_train_epochs=3")
    expected = {}
    for script in ALL:
        runs.run(runs.arguments(script, runs.folder / f"whole_{script}", *every_step))
        expected[script] = weights(runs.folder / f"whole_{script}")
    draw = random.Random(0)
    moments = [(number, ALL[number % 3], draw.randint(0, 34), draw.uniform(0, 0.1)) for number in range(KILLS)]

    def kill(moment: tuple[int, str, int, float]) -> tuple[str, int, bool, bool]:
        number, script, step, seconds = moment
        output = runs.folder / f"killed_{number}"
        arguments = runs.arguments(script, output, *every_step)
        process = runs.start(arguments)
        wait_for(process, output, ".checkpoint-*")  # the first save has begun
        while newest(output) < step:
            time.sleep(0.002)
        time.sleep(seconds)
        process.kill()
        process.communicate()
        inside = bool(list(output.glob(".checkpoint-*")))  # a save was under way
        sound = [int(path.name.split("-")[1]) for path in output.glob("checkpoint-*") if find_damage(path) is None]
        result = runs.run(arguments)
        same = result.returncode == 0 and weights(output) == expected[script]
        return script, max(sound, default=0), inside, same

    with ThreadPoolExecutor(2) as pool:
        trials = list(pool.map(kill, moments))
    rows = []
    for script in ALL:
        own = [trial for trial in trials if trial[0] == script]
        rows.append(
            [
                f"{script}.py",
                len(own),
                ", ".join(str(step) for _, step, _, _ in own),
                sum(t[2] for t in own),
                f"{sum(t[3] for t in own)} of {len(own)}",
            ]
        )
    columns = [
        "script",
        "kills",
        "newest sound checkpoint, step of 36",
        "amid a save",
        "then ended with the weights of an unkilled run",
    ]
    return [
        f"{sum(t[3] for t in trials)} of {len(trials)} killed runs ended, after the same command, with identical weights.",
        "",
        *table(columns, rows),
    ]


def disk_full(runs: Runs) -> list[str]:
    """Fill a small file system with checkpoints, then enlarge it."""
    place, rows = runs.folder / "disk", []
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1300k", "none", place], capture_output=True, check=False).returncode:
        return ["Not tried: to mount a small file system takes the superuser."]
    try:
        arguments = runs.arguments(
            "run_multilabel", place / "o", "--save_strategy=steps", "--save_steps=2", "--save_total_limit=9"
        )
        arguments.append("--eval_strategy=no")
        result = runs.run(arguments)
        sound = sorted(int(path.name.split("-")[1]) for path in (place / "o").glob("checkpoint-*") if find_damage(path) is None)
        others = [path.name for path in (place / "o").iterdir() if not path.name.startswith("checkpoint-")]
        rows.append(
            ["disk of 1.3 MB", result.returncode, last_line(result.stderr), f"sound: {sound}; others: {others or 'none'}"]
        )
        subprocess.run(["mount", "-o", "remount,size=20m", place], check=True)
        again = runs.run(arguments)
        output = runs.folder / "enough"
        runs.run(
            runs.arguments(
                "run_multilabel", output, "--save_strategy=steps", "--save_steps=2", "--save_total_limit=9", "--eval_strategy=no"
            )
        )
        same = "the weights of a run with room" if weights(place / "o") == weights(output) else "OTHER WEIGHTS"
        rows.append(
            [
                "the same command with room",
                again.returncode,
                f"continued from {max(sound)}: {f'checkpoint-{max(sound)},' in again.stderr}",
                same,
            ]
        )
    finally:
        subprocess.run(["umount", place], check=False)
    return table(["", "exit status", "told", "left"], rows)


def signals(runs: Runs) -> list[str]:
    """Send signals to one process, to one of two, to both by torchrun, and let the same command finish."""
    rows = []
    for processes, name, to in (
        (1, "SIGTERM", "the process"),
        (1, "SIGINT", "the process"),
        (2, "SIGTERM", "one rank"),
        (2, "SIGINT", "one rank"),
        (2, "SIGTERM", "torchrun"),
    ):
        launcher = () if processes == 1 else (TORCHRUN, "--nproc_per_node", str(processes))
        number, epochs = signal.Signals[name], "--num_train_epochs=20"
        output, whole = runs.folder / f"{name}_{processes}_{to.replace(' ', '_')}", runs.folder / f"whole_{processes}"
        arguments = runs.arguments("run_multilabel", output, epochs)
        if not whole.exists():
            runs.run(runs.arguments("run_multilabel", whole, epochs), *launcher)
        if to == "one rank":
            output.mkdir()
            result = runs.run([str(runs.folder / "one_rank.py"), str(int(number)), "1", *arguments], *launcher)
            told, status = result.stderr, "1 (torchrun)"
        else:
            process = runs.start(arguments, *launcher)
            wait_for(process, output, "checkpoint-*")
            process.send_signal(number)
            told = process.communicate()[1]
            status = process.returncode if processes == 1 else f"{process.returncode} (torchrun)"
        exits = sorted(set(re.findall(r"exitcode  : (-?\d+)", told)))
        result = runs.run(arguments, *launcher)
        same = result.returncode == 0 and weights(output) == weights(whole)
        rows.append(
            [
                f"{name} to {to}",
                processes,
                f"{status}{f'; ranks {exits}' if exits else ''}",
                last_line(told),
                "yes" if same else "NO",
            ]
        )
    return table(
        ["signal", "processes", "exit status", "told", "the same command ends with the weights of an undisturbed run"], rows
    )


def diverging(runs: Runs) -> list[str]:
    rows = []
    for script in ALL:
        output = runs.folder / f"diverged_{script}"
        result = runs.run(
            runs.arguments(script, output, "--learning_rate=1e37", "--save_strategy=steps", "--save_steps=1", "--warmup_steps=3")
        )
        sound = [path.name for path in output.glob("checkpoint-*") if find_damage(path) is None]
        rows.append([f"{script}.py", result.returncode, last_line(result.stderr), ", ".join(sorted(sound)) or "none yet"])
    return table(["learning rate 1e37", "exit status", "told", "checkpoints"], rows)


def compare(one: Path, other: Path) -> tuple[str, str, str]:
    scores = [json.loads((folder / "all_results.json").read_text()) for folder in (one, other)]
    assert scores[0].keys() == scores[1].keys()
    names = [name for name in scores[0] if not name.endswith(SCORES_OF_SPEED)]
    gaps = {name: abs(scores[0][name] - scores[1][name]) for name in names}
    losses = max(gap for name, gap in gaps.items() if name.endswith("_loss"))
    tables = [pd.read_csv(folder / "predictions.csv").select_dtypes("number").to_numpy() for folder in (one, other)]
    predictions = np.nanmax(np.abs(tables[0] - tables[1]))
    return f"{losses:.1e}", f"{max(gaps.values()):.1e}", f"{predictions:.1e}"


def process_counts(runs: Runs) -> list[str]:
    """Compare several processes with one, without dropout, which each process draws for itself."""
    config = Path(runs.model, "config.json")
    with_dropout = config.read_text()
    config.write_text(json.dumps(json.loads(with_dropout) | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    rows = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ways = {
        "1 process x 12 rows": (12, [[]]),
        "2 processes x 6": (6, [["--nproc_per_node=2"]]),
        "3 processes x 4": (4, [["--nproc_per_node=3"]]),
    }
    machine = ["--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1", f"--master_port={port}"]
    ways["2 machines (on loopback) x 6"] = (6, [[*machine, f"--node_rank={rank}"] for rank in (0, 1)])
    for script in ALL:
        outputs = {}
        for way, (batch, launches) in ways.items():
            outputs[way] = runs.folder / f"{script}_{way.replace(' ', '_')}"
            arguments = runs.arguments(script, outputs[way], "--fp16=False", "--num_train_epochs=3", rows=47, batch=batch)
            processes = [runs.start(arguments, *([TORCHRUN, *launch] if launch else [])) for launch in launches]
            told = [process.communicate(timeout=300)[1] for process in processes]
            status = [process.returncode for process in processes]
            writers = sum("wrote " in each for each in told)
            if any(status):
                rows.append([f"{script}.py", way, status, last_line(told[0]), "", ""])
            elif len(outputs) > 1:
                rows.append([f"{script}.py", way, f"0, {writers} writes", *compare(outputs["1 process x 12 rows"], outputs[way])])
    config.write_text(with_dropout)
    columns = [
        "script; 47, 13 and 7 rows",
        "way",
        "exit status",
        "losses differ from one process by",
        "metrics by",
        "predictions by",
    ]
    return table(columns, rows)


def restarts(runs: Runs) -> list[str]:
    rows = []
    for script in ALL:
        more = ("--save_strategy=steps", "--save_steps=2", "--num_train_epochs=2")
        whole, killed = runs.folder / f"unkilled_{script}", runs.folder / f"restarted_{script}"
        runs.run(runs.arguments(script, whole, *more), TORCHRUN, "--nproc_per_node=2")
        killed.mkdir()
        arguments = [str(runs.folder / "one_rank.py"), "9", "1", *runs.arguments(script, killed, *more)]
        result = runs.run(arguments, TORCHRUN, "--nproc_per_node=2", "--max-restarts=2")
        same = result.returncode == 0 and weights(killed) == weights(whole)
        rows.append([f"{script}.py", result.returncode, "checkpoint-4," in result.stderr, "yes" if same else "NO"])
    return table(
        ["kill -9 of rank 1 at step 6, --max-restarts 2", "exit status", "continued from step 4", "weights of an unkilled run"],
        rows,
    )


def fuzz(runs: Runs) -> list[str]:
    """Run the property-based tests with more examples."""
    os.environ["FUZZ_EXAMPLES"] = str(FUZZ_EXAMPLES)
    tests = importlib.import_module("test_fuzz")
    logging.disable(logging.WARNING)
    rows = []
    for name in ("test_delimited_tables", "test_json_tables", "test_odd_label_cells"):
        for script in ALL:
            tests.ended.clear()
            try:
                getattr(tests, name)(script=script, tiny_model=runs.model)
                outcome = "0"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"[:100]
            rows.append(
                [
                    name.removeprefix("test_").replace("_", " "),
                    f"{script}.py",
                    tests.ended.total(),
                    tests.ended["trained or reported"],
                    tests.ended["one line"],
                    outcome,
                ]
            )
    logging.disable(logging.NOTSET)
    return table(["tables", "script", "runs", "trained or reported", "ended with one line", "tracebacks and hangs"], rows)


PARTS = {
    "bad_inputs": ("Bad inputs", bad_inputs),
    "kills": ("kill -9 while training, saving every step", kills),
    "disk_full": ("A full disk", disk_full),
    "signals": ("Signals", signals),
    "diverging": ("A loss that is not finite", diverging),
    "process_counts": ("Several processes beside one", process_counts),
    "restarts": ("A killed rank under torchrun --max-restarts", restarts),
    "fuzz": ("Property-based fuzz", fuzz),
}


def main() -> None:
    asked = sys.argv[1:] or list(PARTS)
    lines = ["`python benchmarks/reliability.py`, one run: every figure and message below is from it."]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in asked:
            began = time.time()
            heading, part = PARTS[name]
            own = folder / name
            own.mkdir()
            with contextlib.redirect_stdout(io.StringIO()):  # what the scripts print in this process
                found = ["", f"## {heading}", "", *part(Runs(own))]
            print("\n".join(found), f"\n({time.time() - began:.0f} s)", flush=True)
            lines += found
    if not sys.argv[1:]:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
