"""Adapters (--use_peft) beside training all weights: scores, parameters, memory and time.

    python benchmarks/lora.py configs/goemotions.yaml [--max_train_samples 4000 …] > benchmarks/lora.md

Each option after the file goes to all runs of run_multilabel.py. Learning rates: the file's, and ten times that for adapters.
"""

import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
METRICS = ("f1_macro", "average_precision_macro", "roc_auc_macro")


def measure(config: str, options: list[str], folder: Path) -> dict[str, str]:
    """Run the script, and return the cells of its row."""
    command = [sys.executable, str(ROOT / "run_multilabel.py"), config, *options, "--no_report", f"--output_dir={folder}"]
    log = folder.with_suffix(".log")
    outputs = [(os.POSIX_SPAWN_OPEN, stream, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for stream in (1, 2)]
    _, status, usage = os.wait4(os.posix_spawn(sys.executable, command, os.environ, file_actions=outputs), 0)
    text = log.read_text(encoding="utf-8")
    assert status == 0, text[-3000:]
    metrics = json.loads((folder / "all_results.json").read_text())
    found = re.search(r"adapters: ([\d,]+) of ([\d,]+) parameters", text)
    return {
        "parameters trained": f"{found[1]} of {found[2]}" if found else "all",
        **{f"test {name}": f"{metrics[f'predict_{name}']:.4f}" for name in METRICS},
        "rows/s in training": f"{metrics['train_rows_per_second']:.0f}",
        "peak memory, MB": f"{usage.ru_maxrss / 1024:,.0f}",
    }


def main() -> None:
    config, *options = sys.argv[1:]
    rate = yaml.safe_load(Path(config).read_text(encoding="utf-8"))["learning_rate"]
    ways = {"all weights": [], "adapters, rank 4": ["--lora_r=4"], "adapters, rank 16": ["--lora_r=16"]}
    with tempfile.TemporaryDirectory() as folder:
        rows = {}
        for number, (way, own) in enumerate(ways.items()):
            print(way, file=sys.stderr)
            own = [*own, "--use_peft", f"--learning_rate={10 * rate}"] if own else []
            rows[way] = measure(config, [*options, *own], Path(folder, str(number)))
    print(f"`{shlex.join(['python', 'benchmarks/lora.py', *sys.argv[1:]])}`\n")
    names = list(next(iter(rows.values())))
    print(f"| trained | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}")
    for way, cells in rows.items():
        print(f"| {way} | {' | '.join(cells.values())} |")


if __name__ == "__main__":
    main()
