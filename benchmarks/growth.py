"""How the cost of a run grows with its rows and its labels: run_multilabel.py on made-up texts with a tiny random model.

    python benchmarks/growth.py [--large]

So small a model costs next to nothing: what is measured is everything around it. Rows at 6 labels, labels at 10,000 rows; one
epoch, a tenth of the rows as validation data, thresholds tuned for every label. --large trains on a million rows, too, for 2,000
steps, beside 10,000 rows with the same validation and test data; once more it is killed and started again. Writes
benchmarks/growth.md.

Memory is what a process has of its own (RssAnon of /proc). Pages of files, such as those of libraries and of rows on disk, are
not counted: the system takes them back when it needs them.
"""

import argparse
import contextlib
import hashlib
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

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.training.smoke_test import save_tiny_model  # noqa: E402

SIZES = [(100, 6), (1_000, 6), (10_000, 6), (100_000, 6), (10_000, 100), (10_000, 1_000), (10_000, 10_000)]
COLUMNS = ["rows", "labels", "seconds", "ms for each row beyond those of the first run", "peak memory, GB", "training rows/s"]
LARGE = {"10,000": 10_000, "1,000,000": 1_000_000, "1,000,000, killed at step 500 and started again": 1_000_000}
LARGE_COLUMNS = ["training rows", "peak memory, GB", "of that of 10,000 rows", "predictions.csv"]


def write_rows(path: Path, rows: int, labels: int, seed: int = 0) -> None:
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(400)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            own = sorted({draw.randrange(labels) for _ in range(draw.randint(0, 3))})
            text = " ".join(draw.choices(words, k=draw.randint(5, 20)))
            file.write(json.dumps({"text": text, "labels": [f"label{number}" for number in own]}) + "\n")


def run(folder: Path, *options: str, kill_at: Path | None = None) -> tuple[float, float]:
    """Run the script, and return its seconds and its peak memory, GB. It is killed when the file `kill_at` appears."""
    options = [f"--model_name_or_path={folder / 'tiny'}", f"--train_file={folder / 'train.jsonl'}", *options]
    options += [f"--output_dir={folder / 'output'}", "--max_seq_length=32", "--disable_tqdm"]
    options += ["--linear_probe=False"]  # which only some of the sizes would have
    environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    began, peak, killed = time.perf_counter(), 0, False
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "run_multilabel.py", *options], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
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
    return time.perf_counter() - began, peak / 1e6


def by_size(folder: Path) -> list[str]:
    least = None  # rows and seconds of the first run: what a run takes before it does much
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
    for rows, labels in SIZES:
        write_rows(folder / "train.jsonl", rows, labels)
        seconds, peak = run(folder, "--num_train_epochs=1", "--save_strategy=no", "--overwrite_output_dir")
        speed = json.loads((folder / "output" / "all_results.json").read_text())["train_rows_per_second"]
        least = least or (rows, seconds)
        each = f"{1000 * (seconds - least[1]) / (rows - least[0]):.2f}" if rows > least[0] else ""
        lines.append(f"| {rows:,} | {labels:,} | {seconds:.1f} | {each} | {peak:.2f} | {speed:,.0f} |")
        print(lines[-1], flush=True)
    return lines


def large(folder: Path) -> list[str]:
    lines = ["| " + " | ".join(LARGE_COLUMNS) + " |", "| --- " * len(LARGE_COLUMNS) + "|"]
    files = [f"--{split}_file={folder / split}.jsonl" for split in ("validation", "test")]
    for seed, split in enumerate(("validation", "test"), start=1):
        write_rows(folder / f"{split}.jsonl", 10_000, 6, seed)
    options = [*files, "--max_steps=2000", "--eval_strategy=steps", "--eval_steps=500", "--save_steps=500"]
    least = expected = None
    for name, rows in LARGE.items():
        for used in ("output", "cache"):
            shutil.rmtree(folder / used, ignore_errors=True)
        write_rows(folder / "train.jsonl", rows, 6)
        peak, told, killed = 0.0, "", "killed" in name
        if killed:
            _, peak = run(folder, *options, kill_at=folder / "output" / "checkpoint-500" / "trainer_state.json")
        peak = max(peak, run(folder, *options)[1])
        found = hashlib.sha256((folder / "output" / "predictions.csv").read_bytes()).hexdigest()
        if killed:
            told = "the same as above" if found == expected else "not the same"
        least, expected = least or peak, found
        lines.append(f"| {name} | {peak:.3f} | {peak / least:.2f} | {told} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="a million rows, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_model([f"w{number}" for number in range(400)], str(folder / "tiny"))
        tables = [by_size(folder)]
        if args.large:
            tables.append(large(folder))
    command = shlex.join(["python", "benchmarks/growth.py", *sys.argv[1:]])
    text = f"`{command}`, {os.cpu_count()} cores.\n\n" + "\n\n".join(map("\n".join, tables)) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
