"""How the cost of a run grows with its rows and its labels: run_multilabel.py on made-up texts with a tiny random model.

    python benchmarks/growth.py [--large]

So small a model costs next to nothing: what is measured is everything around it. Rows at 6 labels, labels at 10,000 rows; one
epoch, a tenth of the rows as validation data, thresholds tuned for every label. Writes benchmarks/growth.md.

--large instead puts a million rows beside 10,000 and writes benchmarks/growth_large.md: 2,000 training steps with the same
validation and test data, of a file and of a saved dataset with --streaming, and predictions with tools/predict_large.py. Runs
with a million rows are killed and started again, too.

Memory is what a process has of its own (RssAnon of /proc). Pages of files, such as those of libraries and of rows on disk, are
not counted: the system takes them back when it needs them.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from datasets import load_dataset

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.splits.smoke_test import save_tiny_model  # noqa: E402

SIZES = [(100, 6), (1_000, 6), (10_000, 6), (100_000, 6), (10_000, 100), (10_000, 1_000), (10_000, 10_000)]
SIZES += [(10_000, 1_000, "--no_report"), (10_000, 10_000, "--no_report")]
COLUMNS = ["rows", "labels", "seconds", "ms for each row beyond those of the first run", "peak memory, GB", "training rows/s"]
LARGE = (10_000, 1_000_000)
LARGE_COLUMNS = ["run", "rows", "peak memory, GB", "of that of 10,000 rows", "killed and started again: predictions.csv"]
TRAIN = "run_multilabel.py"
PREDICT = "tools/predict_large.py"


def write_rows(path: Path, rows: int, labels: int, seed: int = 0) -> None:
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(400)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            own = sorted({draw.randrange(labels) for _ in range(draw.randint(0, 3))})
            text = " ".join(draw.choices(words, k=draw.randint(5, 20)))
            file.write(json.dumps({"text": text, "labels": [f"label{number}" for number in own]}) + "\n")


def run(folder: Path, *command: str, kill_at: Path | None = None) -> tuple[float, float]:
    """Run a command, and return its seconds and its peak memory, GB. It is killed when the file `kill_at` appears."""
    command = [sys.executable, *command, "--max_seq_length=32", "--disable_tqdm"]
    if command[1] == TRAIN:
        command += [f"--model_name_or_path={folder / 'tiny'}", f"--output_dir={folder / 'output'}"]
        command += ["--linear_probe=False"]  # which the sizes with most labels would not have
    environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    began, peak, killed = time.perf_counter(), 0, False
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            with contextlib.suppress(OSError, TypeError):  # it has just ended
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = max(peak, int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]))
            if kill_at and kill_at.exists():
                process.kill()
                killed = True
            time.sleep(0.02)
    if process.returncode and not killed:
        sys.exit((folder / "log").read_text()[-2000:])
    if kill_at and not killed:
        sys.exit(f"{kill_at} was never there")
    return time.perf_counter() - began, peak / 1e6


def table(columns: list[str]) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]


def by_size(folder: Path) -> list[str]:
    least = None  # rows and seconds of the first run: what a run takes before it does much
    lines = table(COLUMNS)
    for rows, labels, *options in SIZES:
        write_rows(folder / "train.jsonl", rows, labels)
        seconds, peak = run(
            folder, TRAIN, f"--train_file={folder / 'train.jsonl'}", "--num_train_epochs=1", "--save_strategy=no",
            "--overwrite_output_dir", *options,
        )  # fmt: skip
        speed = json.loads((folder / "output" / "all_results.json").read_text())["train_rows_per_second"]
        least = least or (rows, seconds)
        each = f"{1000 * (seconds - least[1]) / (rows - least[0]):.2f}" if rows > least[0] else ""
        what = ", ".join([f"{labels:,}", *(f"`{option}`" for option in options)])
        lines.append(f"| {rows:,} | {what} | {seconds:.1f} | {each} | {peak:.2f} | {speed:,.0f} |")
        print(lines[-1], flush=True)
    return lines


def large(folder: Path) -> list[str]:
    for seed, split in enumerate(("validation", "test"), start=1):
        write_rows(folder / f"{split}.jsonl", 10_000, 6, seed)
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "validation", "test")}
    steps = ["--max_steps=2000", "--eval_strategy=steps", "--eval_steps=500", "--save_steps=500"]
    trained = [TRAIN, *(f"--{split}_file={file}" for split, file in files.items()), *steps]
    saved = [TRAIN, f"--dataset_name={folder / 'saved'}", "--streaming", *steps]
    predicted = [PREDICT, TRAIN, f"--model_name_or_path={folder / 'model'}", f"--test_file={files['train']}"]
    predicted += [f"--output_dir={folder / 'output'}"]
    in_training = folder / "output" / "checkpoint-500" / "trainer_state.json"
    kinds = {"training": (trained, in_training), "training on a saved dataset, `--streaming`": (saved, in_training)}
    kinds["prediction, `tools/predict_large.py`"] = (predicted, folder / "output" / "parts" / "000003.csv")
    lines, least = table(LARGE_COLUMNS), 0.0
    for kind, (command, kill_at) in kinds.items():
        for rows in LARGE:
            write_rows(folder / "train.jsonl", rows, 6)
            if command == saved:
                loaded = load_dataset("json", data_files=files, cache_dir=str(folder / "cache"))
                loaded.save_to_disk(folder / "saved")
            clear(folder)
            _, peak = run(folder, *command)
            least = peak if rows == LARGE[0] else least
            told = ""
            if rows > LARGE[0]:
                expected = (folder / "output" / "predictions.csv").read_bytes()
                clear(folder)
                run(folder, *command, kill_at=kill_at)
                run(folder, *command)
                same = (folder / "output" / "predictions.csv").read_bytes() == expected
                told = "the same" if same else "not the same"
            elif command == trained:
                shutil.copytree(folder / "output", folder / "model")
            lines.append(f"| {kind} | {rows:,} | {peak:.3f} | {peak / least:.2f} | {told} |")
            print(lines[-1], flush=True)
    return lines


def clear(folder: Path) -> None:
    for used in ("output", "cache"):
        shutil.rmtree(folder / used, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="a million rows beside 10,000 instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_model([f"w{number}" for number in range(400)], str(folder / "tiny"))
        lines = large(folder) if args.large else by_size(folder)
    command = shlex.join(["python", "benchmarks/growth.py", *sys.argv[1:]])
    path = Path(__file__).with_name("growth_large.md" if args.large else "growth.md")
    path.write_text(f"`{command}`, {os.cpu_count()} cores.\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
