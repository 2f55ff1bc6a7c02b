"""What --calibrate temperature does to probabilities of rows that chose nothing, and whether pipeline() gives the same ones.

    python benchmarks/calibration.py OUTPUT "run_classification.py configs/banking77.yaml [more options]" "run_multilabel.py …" …

Each command is trained once, without calibration, below the folder OUTPUT. Then the same run goes on from its last checkpoint,
has nothing left to train, and is calibrated. The scores are those of the test data. Writes benchmarks/calibration.md.
"""

import csv
import importlib
import shlex
import sys
from pathlib import Path

from transformers import pipeline

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PIPELINE_ROWS = 500
COLUMNS = ["run", "temperature", "expected calibration error", "calibrated", "log loss", "calibrated", "accuracy", "calibrated"]
COLUMNS += [f"largest gap between pipeline() and predictions.csv, {PIPELINE_ROWS} rows"]
SCORES = ("expected_calibration_error", "log_loss", "accuracy")


def pipeline_gap(folder: Path) -> float:
    """Return the largest difference between the probabilities of pipeline() and predictions.csv, over the first rows.

    The texts of predictions.csv are cut after 200 characters: rows with longer ones are passed over.
    """
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if 0 < len(row["text"]) < 200][:PIPELINE_ROWS]
    classify = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    found = classify([row["text"] for row in rows], truncation=True)
    return max(
        abs(score["score"] - float(row[score["label"]])) for row, scores in zip(rows, found, strict=True) for score in scores
    )


def main(output: str, *commands: str) -> None:
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
    for number, command in enumerate(commands):
        script, *options = shlex.split(command)
        folder = Path(output, str(number))
        options += [f"--output_dir={folder}", "--keep_checkpoints", "--disable_tqdm", "--overwrite_output_dir"]
        run = importlib.import_module(Path(script).stem).main
        plain = run([*options, "--resume_from_checkpoint=False"])
        calibrated = run([*options, "--resume_from_checkpoint=True", "--calibrate=temperature"])
        found = [value for name, value in calibrated.items() if name.endswith("_temperature")]
        cells = [Path(options[0]).stem, f"{min(found):.2f}" + f" to {max(found):.2f}" * (len(found) > 1)]
        for score in SCORES:
            cells += [f"{metrics[f'predict_{score}']:.4f}" for metrics in (plain, calibrated)]
        lines.append("| " + " | ".join([*cells, f"{pipeline_gap(folder):.1e}"]) + " |")
        print(lines[-1], flush=True)
        told = " ".join(["python benchmarks/calibration.py OUTPUT", *(f'"{command}"' for command in commands[: number + 1])])
        Path(__file__).with_suffix(".md").write_text(f"`{told}`\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
