"""What each step of a winning recipe adds to one fine-tuned model, on the same test rows.

    python benchmarks/ladder.py jigsaw public_data/jigsaw_toxic outputs/ladder [--rows 3000 --test_rows 2000 …]

A step is a run of the scripts, in the folder `step/seed`, with the options of configs/jigsaw.yaml or configs/goemotions.yaml.
What is finished is not made again, so the command can be stopped and repeated. Writes benchmarks/ladder_jigsaw.md or
ladder_goemotions.md (--table) after each run. With no more options it is the whole recipe, on a small CPU an hour for each
single run.
"""

import argparse
import csv
import gzip
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.results.finished import read_run  # noqa: E402
from utils.scoring.intervals import resample  # noqa: E402

LABELS = {"jigsaw": ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"], "goemotions": ["labels"]}
METRICS = {"jigsaw": ("roc_auc_macro", "average_precision_macro"), "goemotions": ("f1_macro", "average_precision_macro")}
STEPS = ("plain", "twice the epochs", "adapted encoder", "checkpoints averaged")
STEPS += ("changed copies", "test-time copies", "seeds averaged", "five folds", "all in one", "blend of all", "pseudo-labels")
ONE_SEED = ("seeds averaged", "five folds", "all in one", "blend of all")
NOT_BLENDED = ("twice the epochs", "checkpoints averaged", "test-time copies", "seeds averaged", "blend of all", "pseudo-labels")
SAMPLES, COPIES = 1000, ("test_copies1", "test_copies2")
DEFAULTS = {"rows": 0, "test_rows": 0, "max_seq_length": 0, "num_train_epochs": 0, "mlm_epochs": 3, "seeds": 3}
NOTE = """Gain: the mean over the seeds, less that of the plain runs. Its 95 % interval is from a bootstrap of the test rows,
the same for both, and of the seeds; a step with one seed is as lucky as it is, which its interval does not know. CPU minutes: of
all that a step starts for one seed; a blend does not start the runs that it takes. Changed copies double the training steps, so
compare them to twice the epochs; pseudo-labels, which are what the blend decides for the test rows, add as many steps as there
are such rows. The encoder is adapted to the texts of all rows, the test rows among them."""


def read(path: Path, labels: list[str]) -> list[list[str]]:
    """Return the rows [text, *labels] of a file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        if ".csv" in path.name:
            return [[row["comment_text"], *(row[label] for label in labels)] for row in csv.DictReader(file)]
        return [[row["text"], ";".join(row["labels"])] for row in map(json.loads, file)]


def make_part(args: argparse.Namespace, folder: Path) -> None:
    """Write train, validation, both together, test, and changed copies of train and test as CSV files; 0 rows: all.

    No text is in two of the splits, or twice in one.
    """
    draw, parts, seen = random.Random(0), {}, set()
    limits = {"test": args.test_rows, "validation": args.rows and max(args.rows // 5, 200), "train": args.rows}
    for name, limit in limits.items():
        paths = sorted(args.source.glob(f"{name}*.gz"))  # train_enriched.csv.gz too, so that rare labels occur
        rows = [row for path in paths for row in read(path, LABELS[args.task])]
        draw.shuffle(rows)
        own = {row[0].strip().lower(): row for row in rows if row[0].strip().lower() not in seen}
        own = dict(list(own.items())[: limit or None])
        parts[name] = [[f"{name}{number}", *row] for number, row in enumerate(own.values())]
        seen |= own.keys()
    parts["all"] = parts["train"] + parts["validation"]
    parts["train_copies"] = [[row[0], changed(row[1], draw)] for row in parts["train"]]
    for name in COPIES:
        parts[name] = [[row[0], changed(row[1], draw), *row[2:]] for row in parts["test"]]
    for name, rows in parts.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["id", "text", *LABELS[args.task]][: len(rows[0])], *rows])


def changed(text: str, draw: random.Random) -> str:
    """Return a text without a tenth of its words, and a tenth swapped (Wei & Zou 2019, https://arxiv.org/abs/1901.11196)."""
    words = [word for word in text.split() if draw.random() > 0.1] or text.split()
    for _ in range(len(words) // 10):
        one, other = draw.randrange(len(words)), draw.randrange(len(words))
        words[one], words[other] = words[other], words[one]
    return " ".join(words)


def programs(args: argparse.Namespace, step: str, seed: int) -> dict[Path, list]:
    """Return the folders that a step fills, and the command for each; the last one is the step's run."""
    folder, data = args.output_dir, {path.stem: path for path in (args.output_dir / "data").glob("*.csv")}
    run, plain, adapted = folder / step / str(seed), folder / "plain" / str(seed), folder / "mlm"
    config = ROOT / "configs" / f"{args.task}{'_winning' if step == 'all in one' else ''}.yaml"
    options = yaml.safe_load(config.read_text(encoding="utf-8")) | {"seed": seed, "no_report": True}
    options |= {f"{split}_file": data[split] for split in ("train", "validation", "test")}
    options |= {name: getattr(args, name) for name in ("max_seq_length", "num_train_epochs") if getattr(args, name)}
    length = {"max_seq_length": options.get("max_seq_length", 128)}
    folds = {"train_file": data["all"], "validation_file": "", "num_folds": 5}
    keep = {"keep_checkpoints": True, "save_total_limit": 3} if "checkpoints averaged" in args.steps else {}
    changes = {
        "plain": keep,
        "twice the epochs": {"num_train_epochs": 2 * options["num_train_epochs"]},
        "adapted encoder": {"model_name_or_path": adapted},
        "changed copies": {"augmented_files": data["train_copies"], "augmentation_weight": 0.5},
        "pseudo-labels": {"pseudo_labels": folder / "blend of all" / "1"},
        "five folds": folds,
        "all in one": {**folds, "model_name_or_path": adapted},
    }
    if step in changes:
        texts = {"train_file": f"{data['all']},{data['test']}", "validation_file": "", "text_column_names": "text"}
        adapts = given(texts | length | {"num_train_epochs": args.mlm_epochs})
        first = {adapted: ["run_mlm.py", ROOT / "configs" / "mlm.yaml", *adapts]} if adapted in changes[step].values() else {}
        return first | {run: ["run_multilabel.py", *given(options | changes[step])]}
    if step == "checkpoints averaged":
        model, files = folder / "averaged" / str(seed), {name: data[name] for name in ("validation", "test")}
        predicts = {f"{name}_file": path for name, path in files.items()} | {"threshold": "per_label", "no_report": True} | length
        return {model: ["average", plain], run: ["run_multilabel.py", *given({"model_name_or_path": model} | predicts)]}
    predicts = given({"model_name_or_path": plain, "no_report": True} | length)
    copies = {folder / name / str(seed): ["run_multilabel.py", *predicts, f"--test_file={data[name]}"] for name in COPIES}
    members = {
        "test-time copies": [plain, *copies],
        "seeds averaged": [plain.with_name(str(other)) for other in range(1, args.seeds + 1)],
        "blend of all": [folder / other / str(seed) for other in args.steps if other not in NOT_BLENDED],
    }
    return (copies if step == "test-time copies" else {}) | {run: ["tools/blend.py", *members[step]]}


def make(args: argparse.Namespace, step: str, seed: int) -> None:
    """Run the programs of a step, but for those that are finished. Blends are quick: they are made anew."""
    for folder, (program, *options) in programs(args, step, seed).items():
        if program == "tools/blend.py":
            options = [*filter(finished, options), "--no_report"]
        elif finished(folder):
            continue
        print(f"\n{folder}", file=sys.stderr, flush=True)
        if program == "average":
            average(options[0], folder)
            continue
        command, began = [sys.executable, ROOT / program, *options, f"--output_dir={folder}"], sum(os.times()[2:4])
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        (folder / "cpu_seconds").write_text(str(sum(os.times()[2:4]) - began))  # of the children, on all cores


def average(run: Path, folder: Path) -> None:
    """Write a copy of a run's model with the mean of the weights in the checkpoints of its last three epochs."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoint-*", "args.yaml"), dirs_exist_ok=True)
    parts = [load_file(path) for path in run.glob("checkpoint-*/model.safetensors")]
    mean = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
    save_file(mean, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(run / "args.yaml", folder)  # last: it says that the folder is finished


def write_table(args: argparse.Namespace) -> str:
    """Write the table in Markdown, of what is finished, and return it."""
    metrics, draw, plain = METRICS[args.task], np.random.default_rng(0), {}
    folders = {step: [args.output_dir / step / str(seed + 1) for seed in range(args.seeds)] for step in args.steps}
    runs = {step: [read_run(folder) for folder in own if finished(folder)] for step, own in folders.items()}
    found = iter(resample([run.evaluations["test"] for own in runs.values() for run in own], SAMPLES, 0))
    rows, rarest = runs["plain"][0].facts["rows"], int(runs["plain"][0].evaluations["test"].truth.sum(axis=0).min())
    lines = [
        f"`{shlex.join(['python', 'benchmarks/ladder.py', *(word for word in sys.argv[1:] if word != '--only_table')])}`\n",
        f"{rows['train']:,} training rows and {rows['test']:,} test rows, {rarest} with the rarest label. {NOTE}\n",
        f"| step | seeds | {' | '.join(f'{name} | gain' for name in metrics)} | CPU minutes |",
        "| --- " * (2 * len(metrics) + 3) + "|",
    ]
    for step, own in runs.items():
        scores, cells, paired = [next(found) for _ in own], [], bool(plain) and len(own) == len(runs["plain"])
        seeds = plain["seeds"] if paired else draw.integers(max(len(own), 1), size=(len(own), SAMPLES))
        plain = plain or {"seeds": seeds}
        for name in metrics if own else ():
            score = np.mean([points[name] for points, _ in scores])
            drawn = np.take_along_axis(np.array([resampled[name] for _, resampled in scores]), seeds, axis=0).mean(axis=0)
            reference, reference_drawn = plain.setdefault(name, (score, drawn))
            low, high = np.quantile(drawn - reference_drawn, (0.025, 0.975))
            cells += [f"{score:.4f}", f"{score - reference:+.4f} ({low:+.4f} to {high:+.4f})" if step != "plain" else ""]
        noted = [path for folder in programs(args, step, len(own)) if (path := folder / "cpu_seconds").is_file()]
        minutes = f"{sum(float(path.read_text()) for path in noted) / 60:.1f}" if noted else "?"
        cells = [str(len(own)), *cells, minutes] if own else ["not run"] + [""] * (2 * len(metrics) + 1)
        lines.append(f"| {step} | {' | '.join(cells)} |")
    args.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "\n".join(lines)


def finished(folder: Path) -> bool:
    return (folder / "args.yaml").is_file() or (folder / "blend.json").is_file()


def given(options: dict) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=tuple(LABELS))
    parser.add_argument("source", type=Path, help="the folder of its public data")
    parser.add_argument("output_dir", type=Path)
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"[{default or 'all, or that of the configuration'}]")
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--only_table", action="store_true", help="of what is finished")
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    args.table = args.table or Path(__file__).with_name(f"ladder_{args.task}.md")
    skipped = ["test-time copies", "all in one"] * (args.task == "goemotions") + ["seeds averaged"] * (args.seeds == 1)
    args.steps = [step for step in STEPS if step == "plain" or step in args.steps and step not in skipped]
    settings, noted = [getattr(args, name) for name in DEFAULTS if name != "seeds"], args.output_dir / "data" / "settings.json"
    if not noted.is_file():
        noted.parent.mkdir(parents=True, exist_ok=True)
        make_part(args, noted.parent)
        noted.write_text(json.dumps(settings), encoding="utf-8")
    elif json.loads(noted.read_text(encoding="utf-8")) != settings:
        sys.exit(f"error: {noted} says that {args.output_dir} has runs with other options: name another folder")
    jobs = [(step, seed) for seed in range(1, args.seeds + 1) for step in args.steps if step not in ONE_SEED]
    jobs += [(step, 1) for step in args.steps if step in ONE_SEED]
    for step, seed in [] if args.only_table else sorted(jobs, key=lambda job: job[0] == "pseudo-labels"):  # of the blend
        make(args, step, seed)
        write_table(args)
    print(write_table(args))


if __name__ == "__main__":
    main()
