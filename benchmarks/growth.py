"""How the cost of a run grows with its rows and its labels: run_multilabel.py on made-up texts with a tiny random model.

    python benchmarks/growth.py [--large]

So small a model costs next to nothing: what is measured is everything around it. Rows at 6 labels, labels at 10,000 rows; one
epoch, a tenth of the rows as validation data, thresholds tuned for every label. --large adds a million rows, which take about
ten minutes. Writes benchmarks/growth.md.
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.training.smoke_test import save_tiny_model  # noqa: E402

SIZES = [(100, 6), (1_000, 6), (10_000, 6), (100_000, 6), (10_000, 100), (10_000, 1_000), (10_000, 10_000)]
LARGE = (1_000_000, 6)
COLUMNS = ["rows", "labels", "seconds", "ms for each row beyond those of the first run", "peak memory, GB", "training rows/s"]


def write_rows(path: Path, rows: int, labels: int) -> None:
    draw = random.Random(0)
    words = [f"w{number}" for number in range(400)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            own = sorted({draw.randrange(labels) for _ in range(draw.randint(0, 3))})
            text = " ".join(draw.choices(words, k=draw.randint(5, 20)))
            file.write(json.dumps({"text": text, "labels": [f"label{number}" for number in own]}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="a million rows, too")
    sizes = sorted(SIZES + [LARGE] * parser.parse_args().large, key=lambda size: (size[1], size[0]))
    least = None  # rows and seconds of the first run: what a run takes before it does much
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_model([f"w{number}" for number in range(400)], str(folder / "tiny"))
        for rows, labels in sizes:
            write_rows(folder / "train.jsonl", rows, labels)
            options = [
                f"--model_name_or_path={folder / 'tiny'}",
                f"--train_file={folder / 'train.jsonl'}",
                "--num_train_epochs=1",
            ]
            options += [f"--output_dir={folder / 'output'}", "--max_seq_length=32", "--disable_tqdm", "--save_strategy=no"]
            options += ["--overwrite_output_dir", "--linear_probe=False"]  # which only some of the sizes would have
            environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
            began = time.perf_counter()
            with (folder / "log").open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, "run_multilabel.py", *options], cwd=ROOT, env=environment, stdout=log, stderr=log
                )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            if status:
                sys.exit((folder / "log").read_text()[-2000:])
            speed = json.loads((folder / "output" / "all_results.json").read_text())["train_rows_per_second"]
            least = least or (rows, seconds)
            each = f"{1000 * (seconds - least[1]) / (rows - least[0]):.2f}" if rows > least[0] else ""
            cells = [f"{rows:,}", f"{labels:,}", f"{seconds:.1f}", each]
            lines.append("| " + " | ".join([*cells, f"{usage.ru_maxrss / 1e6:.2f}", f"{speed:,.0f}"]) + " |")
            print(lines[-1], flush=True)
    command = shlex.join(["python", "benchmarks/growth.py", *sys.argv[1:]])
    text = f"`{command}`, {os.cpu_count()} cores.\n\n" + "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
