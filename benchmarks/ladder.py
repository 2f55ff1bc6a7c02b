"""What each step of a winning recipe adds to one fine-tuned model, on the same test rows.

    python benchmarks/ladder.py jigsaw public_data/jigsaw_toxic outputs/ladder/jigsaw --rows 3000 --test_rows 2000

Finished runs are not made again, so the command can be stopped and repeated. The table is made of those that are finished.
"""

import argparse
import csv
import gzip
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.results.finished import read_run  # noqa: E402
from utils.scoring.intervals import resample  # noqa: E402

ROOT = Path(__file__).parent.parent
LABELS = {"jigsaw": ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"], "goemotions": ["labels"]}
METRICS = {"jigsaw": ("roc_auc_macro", "average_precision_macro"), "goemotions": ("f1_macro", "roc_auc_macro")}


def read(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [json.loads(line) for line in file] if ".jsonl" in path.name else list(csv.DictReader(file))


def write(path: Path, rows: list[list], header: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def make_part(task: str, source: Path, folder: Path, rows: int, test_rows: int) -> None:
    """Write train, validation, their union, test, and changed copies of train and test as CSV files; 0 rows: all."""
    kind, draw = "csv" if task == "jigsaw" else "jsonl", random.Random(0)
    files = {name: [source / f"{name}.{kind}.gz"] for name in ("train", "validation", "test")}
    files["train"] += [source / "train_enriched.csv.gz"] if task == "jigsaw" else []
    limits, parts, seen = {"train": rows, "validation": rows and max(rows // 5, 200), "test": test_rows}, {}, set()
    for name in ("test", "validation", "train"):
        found = [row for path in files[name] for row in read(path)]
        texts = [row.get("comment_text") or row["text"] for row in found]
        cells = [
            [row.get("id", n), text, *(";".join(row[c]) if task == "goemotions" else row[c] for c in LABELS[task])]
            for n, (row, text) in enumerate(zip(found, texts, strict=True))
        ]
        draw.shuffle(cells)
        kept = [row for row in cells if row[1].strip().lower() not in seen]
        parts[name] = list({row[1].strip().lower(): row for row in kept}.values())[: limits[name] or None]
        seen |= {row[1].strip().lower() for row in parts[name]}
        for number, row in enumerate(parts[name]):
            row[0] = f"{name}{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (*parts.items(), ("all", parts["train"] + parts["validation"])):
        write(folder / f"{name}.csv", part, ["id", "text", *LABELS[task]])
    write(folder / "train_copies.csv", [[row[0], changed(row[1], draw)] for row in parts["train"]], ["id", "text"])
    for number in (1, 2):
        copies = [[row[0], changed(row[1], draw), *row[2:]] for row in parts["test"]]
        write(folder / f"test_copies{number}.csv", copies, ["id", "text", *LABELS[task]])


def changed(text: str, draw: random.Random) -> str:
    """Return a text without a tenth of its words, and a tenth swapped (Wei & Zou 2019, https://arxiv.org/abs/1901.11196)."""
    words = [word for word in text.split() if draw.random() > 0.1] or text.split()
    for _ in range(len(words) // 10):
        one, other = draw.randrange(len(words)), draw.randrange(len(words))
        words[one], words[other] = words[other], words[one]
    return " ".join(words)


class Ladder:
    """The runs of all steps, in folders `step/seed`."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.data, self.folder = args, args.output_dir / "data", args.output_dir
        self.common = [f"--max_seq_length={args.max_seq_length}", "--no_report", "--attention_dropout=0"]
        self.common += [f"--learning_rate={args.learning_rate}", f"--num_train_epochs={args.epochs}"]
        self.common += ["--per_device_train_batch_size=16"]

    def run(self, folder: Path, *command: str | Path, done: str = "args.yaml") -> None:
        """Run a program unless its folder is finished, and note its seconds there."""
        if (folder / done).is_file():
            return
        print(f"{folder} …", file=sys.stderr, flush=True)
        began = time.perf_counter()
        program, *rest = map(str, command)
        subprocess.run([sys.executable, ROOT / program, *rest, f"--output_dir={folder}"], check=True, stderr=subprocess.DEVNULL)
        (folder / "seconds").write_text(str(time.perf_counter() - began))

    def train(self, step: str, seed: int, *options: str, model: Path | None = None, rows: str = "train") -> None:
        files = [f"--train_file={self.data / rows}.csv", f"--test_file={self.data / 'test.csv'}"]
        files += [f"--validation_file={self.data / 'validation.csv'}"] if rows == "train" else []
        start = [f"--model_name_or_path={model or self.args.model}", f"--seed={seed}"]
        self.run(self.folder / step / str(seed), "run_multilabel.py", *start, *files, *self.common, *options)

    def make(self, step: str, seed: int) -> None:
        """Make the run of a step with a seed."""
        args, folder = self.args, self.folder
        if step == "adapted encoder":
            texts = f"{self.data / 'train.csv'},{self.data / 'test.csv'}"
            options = [
                f"--max_seq_length={args.max_seq_length}",
                f"--num_train_epochs={args.mlm_epochs}",
                "--text_column_names=text",
            ]
            start = f"--model_name_or_path={args.model}"
            self.run(folder / "mlm", "run_mlm.py", start, f"--train_file={texts}", *options)
            self.train(step, seed, model=folder / "mlm")
        elif step == "test-time copies":
            parts = [folder / "plain" / str(seed)]
            for number in (1, 2):
                parts.append(folder / f"copies{number}" / str(seed))
                options = [f"--test_file={self.data / f'test_copies{number}.csv'}", *self.common[:2]]
                self.run(parts[-1], "run_multilabel.py", f"--model_name_or_path={parts[0]}", *options)
            self.run(folder / step / str(seed), "tools/blend.py", *parts, "--no_report", done="report.json")
        elif step == "blend of all":
            parts = [folder / other / str(seed) for other in args.steps if other not in (step, "test-time copies")]
            parts = [part for part in parts if (part / "args.yaml").is_file()]
            self.run(folder / step / str(seed), "tools/blend.py", *parts, "--no_report", done="report.json")
        elif step == "five folds":
            self.train(step, seed, "--num_folds=5", rows="all")
        else:
            copies = f"--augmented_files={self.data / 'train_copies.csv'}"
            options = {
                "plain": [],
                "moving average": ["--ema=0.999"],
                "token dropout": ["--token_dropout=0.1"],
                "changed copies": [copies, "--augmentation_weight=0.5"],
            }
            self.train(step, seed, *options[step])

    def table(self) -> list[str]:
        """Return the table in Markdown: means over the seeds that a step has, beside those of the plain run."""
        metrics = METRICS[self.args.task]
        lines = ["| step | seeds | " + " | ".join(f"{name} | gain over plain" for name in metrics) + " | minutes a seed |"]
        lines.append("| --- | --- |" + " --- |" * (2 * len(metrics) + 1))
        for step in self.args.steps:
            folders = {seed: self.folder / step / str(seed) for seed in range(1, self.args.seeds + 1)}
            seeds = [seed for seed, folder in folders.items() if (folder / "seconds").is_file()]
            if not seeds:
                lines.append(f"| {step} | not run |" + " |" * (2 * len(metrics) + 1))
                continue
            pairs = [
                read_run(folder).evaluations["test"]
                for seed in seeds
                for folder in (self.folder / "plain" / str(seed), folders[seed])
            ]
            found, cells = resample(pairs, 1000, 0), []
            for name in metrics:
                points = [point[name] for point, _ in found]
                gains = np.mean([found[i + 1][1][name] - found[i][1][name] for i in range(0, len(found), 2)], axis=0)
                gain, (low, high) = np.mean(points[1::2]) - np.mean(points[::2]), np.quantile(gains, (0.025, 0.975))
                told = "" if step == "plain" else f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"
                cells += [f"{np.mean(points[1::2]):.4f}", told]
            minutes = np.mean([float((folders[seed] / "seconds").read_text()) for seed in seeds]) / 60
            lines.append(f"| {step} | {len(seeds)} | {' | '.join(cells)} | {minutes:.1f} |")
        return lines


STEPS = ("plain", "adapted encoder", "moving average", "token dropout", "changed copies", "test-time copies", "five folds")
STEPS += ("blend of all",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=tuple(LABELS))
    parser.add_argument("source", type=Path, help="the public data of that name")
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--model", default=ROOT / "models" / "all-MiniLM-L6-v2")
    parser.add_argument("--rows", type=int, default=0, help="training rows; 0: all")
    parser.add_argument("--test_rows", type=int, default=0, help="test rows; 0: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fold_seeds", type=int, default=1, help="seeds of the steps that take folds")
    parser.add_argument("--max_seq_length", type=int, default=256)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--mlm_epochs", type=float, default=3)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--only_table", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not (args.output_dir / "data" / "test.csv").is_file():
        make_part(args.task, args.source, args.output_dir / "data", args.rows, args.test_rows)
    ladder = Ladder(args)
    for step in () if args.only_table else args.steps:
        for seed in range(1, (args.fold_seeds if step in ("five folds", "blend of all") else args.seeds) + 1):
            ladder.make(step, seed)
    print("\n".join(ladder.table()))


if __name__ == "__main__":
    main()
