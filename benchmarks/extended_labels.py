"""What a model that knows some labels is worth where more are added: --extend_labels beside a new head, and a new model.

    python benchmarks/extended_labels.py public_data/goemotions [--rows 3000] [--seeds 3] [--epochs 1 2]

A model is trained on GoEmotions without five of its labels for two epochs, then in three ways with all of them.
Writes benchmarks/extended_labels.md.
"""

import argparse
import gzip
import json
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import run_multilabel  # noqa: E402

ADDED = ("curiosity", "gratitude", "love", "optimism", "surprise")
WAYS = {
    "`--extend_labels`": ("{known}", "--extend_labels"),
    "the same encoder, a new head (`--ignore_mismatched_sizes`)": ("{known}", "--ignore_mismatched_sizes"),
    "the pretrained encoder": ("models/all-MiniLM-L6-v2",),
}


def write(source: Path, folder: Path, many: int) -> None:
    """Write the first rows of each split, and the same without the labels that are added later."""
    for name in ("train", "validation", "test"):
        with gzip.open(source / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line, _ in zip(file, range(many), strict=False)]
        for kind, gone in (("all", ()), ("known", ADDED)):
            kept = [{"text": row["text"], "labels": [label for label in row["labels"] if label not in gone]} for row in rows]
            (folder / f"{kind}_{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--rows", type=int, default=3000, help="of each split [3000]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2])
    args, found = parser.parse_args(), {}
    options = yaml.safe_load((ROOT / "configs" / "goemotions.yaml").read_text(encoding="utf-8")) | {"no_report": True}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(args.source, folder, args.rows)

        def run(kind: str, output_dir: str, *more: str, **changed) -> dict[str, float]:
            files = {f"{split}_file": folder / f"{kind}_{split}.jsonl" for split in ("train", "validation", "test")}
            given = options | files | {"output_dir": folder / output_dir, "overwrite_output_dir": True} | changed
            return run_multilabel.main([*(f"--{key}={value}" for key, value in given.items()), *more])

        for seed in range(1, args.seeds + 1):
            run("known", "known", num_train_epochs=2, seed=seed)
            for way, (model, *more) in WAYS.items():
                for epochs in args.epochs:
                    start = model.format(known=folder / "known")
                    metrics = run("all", "run", *more, model_name_or_path=start, num_train_epochs=epochs, seed=seed)
                    labels = {key: value for key, value in metrics.items() if key.endswith("_average_precision")}
                    labels = {key.removeprefix("predict_"): value for key, value in labels.items() if key.startswith("predict_")}
                    added = [labels.pop(f"{label}_average_precision") for label in ADDED]
                    cells = np.mean(list(labels.values())), np.mean(added), metrics["predict_f1_macro"]
                    found.setdefault((way, epochs), []).append(cells)
    lines = [
        f"`{shlex.join(['python', 'benchmarks/extended_labels.py', *sys.argv[1:]])}`\n",
        f"{args.rows:,} training rows; {len(labels)} labels are known, {len(ADDED)} are added. Mean of {args.seeds} seeds,",
        "and the lowest and highest; on the test rows.\n",
        "| trained further from | epochs | average precision, known labels | added labels | f1_macro |",
        "| --- " * 5 + "|",
    ]
    for (way, epochs), cells in found.items():
        told = (f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in zip(*cells, strict=True))
        lines.append(f"| {way} | {epochs} | {' | '.join(told)} |")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
