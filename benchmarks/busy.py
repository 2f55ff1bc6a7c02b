"""How much slower training is beside one other process that is busy: our script, a plain Trainer, and HF's script.

    python benchmarks/busy.py [--rounds 3] [--hf_script path/of/hf/run_classification.py]

Trains 12 steps of 32 short texts, alone and beside `while True: pass`, in turn. `GOMP_SPINCOUNT` is a variable for the OpenMP of
GCC, which PyTorch brings: how often a thread that waits looks for work before it sleeps. Writes benchmarks/busy.md.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from speed import ROOT, make_rows, run, table, ways

sys.path.insert(0, str(ROOT))
from utils.arguments import fastest_precision  # noqa: E402

SPINS = ("300000", "10000", "1000", "0")  # the first is OpenMP's own
COMPARED = ("ours", "plain Trainer, best flags", "HF script, best flags")
ROWS = 384


def rows_per_second(command: list[str], folder: Path, busy: bool, variables: dict[str, str]) -> float:
    """Return the speed of a training, alone or beside one `busy` process."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        shutil.rmtree(folder / "output", ignore_errors=True)
        run([*command, f"--output_dir={folder / 'output'}", "--disable_tqdm=True", "--seed=1"], folder / "log", variables)
    finally:
        if other:
            other.kill()
            other.wait()
    stock = folder / "output" / "stock.json"
    if stock.is_file():
        return ROWS / json.loads(stock.read_text())["train_seconds"]
    return json.loads((folder / "output" / "train_results.json").read_text())["train_rows_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spins", nargs="*", default=SPINS)
    parser.add_argument("--hf_script", help="a copy of run_classification.py of the HF examples")
    args = parser.parse_args()
    found: dict[str, dict[bool, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, count in (("train", ROWS), ("validation", 32)):
            text = "".join(json.dumps(row) + "\n" for row in make_rows("classification", False, count, 1))
            (folder / f"{split}.json").write_text(text, encoding="utf-8")
        commands = ways("classification", folder, False, ROWS, args.hf_script)
        slow = () if fastest_precision(use_cpu=True)[0] else ("--bf16",)  # where bf16 is emulated it is no flag for speed
        jobs = {way: ([word for word in commands[way] if word not in slow], {}) for way in COMPARED if way in commands}
        jobs |= {f"ours, `GOMP_SPINCOUNT={spins}`": (commands["ours"], {"GOMP_SPINCOUNT": spins}) for spins in args.spins}
        for number in range(args.rounds):
            for told, (command, variables) in list(jobs.items())[:: -1 if number % 2 else 1]:
                for busy in (False, True):
                    speed = rows_per_second(command, folder, busy, variables)
                    found.setdefault(told, {}).setdefault(busy, []).append(speed)
                    print(told, busy, round(speed, 1), flush=True)
    lines = []
    for told in jobs:
        alone, beside = (statistics.median(found[told][busy]) for busy in (False, True))
        lines.append([told, f"{alone:.0f}", f"{beside:.0f}", f"{alone / beside:.1f}"])
    options = shlex.join(sys.argv[1:])
    options = options.replace(args.hf_script, "path/of/hf/run_classification.py") if args.hf_script else options
    text = f"`python benchmarks/busy.py {options}`, {os.cpu_count()} cores\n\nTraining rows/s, medians of {args.rounds} runs:\n\n"
    text += table(["way", "alone", "beside one busy process", "times slower"], lines)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
