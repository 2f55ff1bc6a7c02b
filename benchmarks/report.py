"""What the report costs after a run: seconds of its parts in a process of its own, imports included, and the size of the page.

    python benchmarks/report.py > benchmarks/report.md

The rows are simulated. `--no_report` saves these seconds; the baseline, which says its seconds in each run, is not among them.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.scoring.metrics import ClassificationMetrics, MultilabelMetrics, MultipleChoiceMetrics  # noqa: E402

SIZES = {"labels": [(4000, 6), (3000, 1000), (100_000, 28)], "classes": [(3000, 77)], "choices": [(3000, 5)]}
TIMED = """
import sys, time
from pathlib import Path
began = [time.perf_counter()]
def lap():
    began.append(time.perf_counter())
    return f"{began[-1] - began[-2]:.1f}"
from utils.results import assessment  # a run has imported torch long before
import torch
began.append(time.perf_counter())
from utils.results.finished import REPORT, read_run
run = read_run(Path(sys.argv[1]))
read = lap()
run.metrics |= assessment.interval_metrics(run)
intervals = lap()
from utils.scoring.label_issues import find_label_issues
for evaluation in run.evaluations.values():
    find_label_issues(evaluation)
suspects = lap()
from utils.results.page import write_page
write_page(run, run.folder / REPORT)
print(read, intervals, suspects, lap(), f"{(run.folder / REPORT).stat().st_size / 1e6:.2f}")
"""


def scores_of(kind: str, probabilities: np.ndarray, truth: np.ndarray, names: list[str]) -> dict[str, float]:
    """Return what a run has in all_results.json."""
    if kind == "labels":
        scores = MultilabelMetrics().compute(
            predictions=probabilities,
            references=truth.astype(float),
            label_names=names,
            decided=probabilities >= 0.5,
            per_label=True,
        )
    elif kind == "classes":
        decided = probabilities.argmax(axis=1)
        scores = ClassificationMetrics().compute(
            predictions=probabilities, references=truth, label_names=names, decided=decided, per_label=True
        )
    else:
        scores = MultipleChoiceMetrics().compute(predictions=probabilities, references=truth, details=True)
    return {f"{prefix}_{name}": value for prefix in ("eval", "predict") for name, value in scores.items()}


def write_run(folder: Path, kind: str, rows: int, width: int) -> None:
    """Write the files of a run with `rows` validation and test rows, whose predictions are better than chance."""
    draw = np.random.default_rng(0)
    names = [f"{kind[:-1]}{column}" for column in range(width)]
    logits = draw.normal(-2 if kind == "labels" else 0, 2, (rows, width))
    if kind == "labels":
        truth = draw.random((rows, width)) < 1 / (1 + np.exp(-logits))
        words = [";".join(name for name, yes in zip(names, row, strict=True) if yes) for row in truth]
    else:
        truth = (logits * 1.5 + draw.gumbel(size=logits.shape)).argmax(axis=1)
        words = [str(value) if kind == "choices" else names[value] for value in truth]
    probabilities = 1 / (1 + np.exp(-logits)) if kind == "labels" else np.exp(logits)
    if kind != "labels":
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    metrics = scores_of(kind, probabilities, truth, names)
    for split in ("validation_predictions", "predictions"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *names, "prediction", "label", "text"])
            for row in range(rows):
                shown = [f"{value:.6g}" for value in probabilities[row]]
                writer.writerow([row, *shown, "", words[row], f"The text of row {row}. " * 8])
    counts = {"train": rows, "validation": rows, "test": rows}
    facts = {"script": "run_x.py", "kind": kind, "labels": names, "thresholds": [0.5] * width if kind == "labels" else []}
    facts |= {"safe_csv": False, "max_length": 128, "files": dict.fromkeys(counts, ["data.csv"]), "rows": counts}
    facts["rows_by_length"] = dict.fromkeys(counts, {"20": rows // 2, "40": rows // 2})
    (folder / "report.json").write_text(json.dumps(facts))
    (folder / "all_results.json").write_text(json.dumps(metrics))
    (folder / "args.yaml").write_text("model_name_or_path: a_model\n")


def main() -> None:
    print("`python benchmarks/report.py`; seconds\n")
    print("| a row has | validation and test rows, each | read | intervals | suspects | page | megabytes |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, sizes in SIZES.items():
        for rows, width in sizes:
            with tempfile.TemporaryDirectory() as folder:
                write_run(Path(folder), kind, rows, width)
                command = [sys.executable, "-c", TIMED, folder]
                told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
            print(f"| {width:,} {kind} | {rows:,} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
