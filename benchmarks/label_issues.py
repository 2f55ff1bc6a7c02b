"""How many of the labels that were made wrong `find_label_issues` finds, beside cleanlab on the very same probabilities.

    python benchmarks/label_issues.py [--data outputs/data] [--output outputs/label_issues] [sst2 hate_offensive jigsaw]

Flips 5 % of the labels of all splits: in real data those of the training rows are wrong too. Trains on some of the training
rows for one epoch, and ranks the rows that were not trained on; the six labels of Jigsaw are predicted by the TF-IDF baseline. A
suspect counts as right if it was flipped here, so labels that were wrong from the start count against all rankings alike. A
run that is in the output folder is not trained again. Needs `pip install cleanlab`, and the files of
benchmarks/prepare_data.py; Jigsaw is read where configs/jigsaw.yaml has it. Writes benchmarks/label_issues.md.
"""

import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues as find_with_cleanlab

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.results.finished import read_run  # noqa: E402
from utils.scoring.baseline import fit_tfidf  # noqa: E402
from utils.scoring.evaluation import Evaluation  # noqa: E402
from utils.scoring.label_issues import find_label_issues  # noqa: E402

SHARE, HELD_OUT, FIRST = 0.05, 5_000, 100
TRAIN_ROWS = {"sst2": 8_000, "hate_offensive": 5_000, "jigsaw": 14_000}
LABELS = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given")
FILTERS += ("low_normalized_margin", "low_self_confidence")
RANKINGS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def read_splits(name: str, data: Path) -> dict[str, pd.DataFrame]:
    """Return the splits as they are, in text; training rows beyond `TRAIN_ROWS` are left out."""
    text = {"dtype": str, "keep_default_na": False}
    if name == "jigsaw":
        splits = {s: pd.read_csv(f"public_data/jigsaw_toxic/{s}.csv.gz", **text) for s in ("train", "validation", "test")}
    elif name == "sst2":  # its dev file is small
        train, dev = (pd.read_csv(data / name / f"{s}.tsv", sep="\t", quoting=3, **text) for s in ("train", "dev"))
        train = train.sample(frac=1, random_state=0, ignore_index=True)
        splits = {"train": train[HELD_OUT:], "validation": dev, "test": train[:HELD_OUT]}
    else:
        splits = {s: pd.read_csv(data / name / f"{s}.csv", **text) for s in ("train", "validation", "test")}
    return splits | {"train": splits["train"][: TRAIN_ROWS[name]]}


def flip(rows: pd.DataFrame, draw: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows with wrong labels, and which were flipped: [rows], of several labels [rows, labels].

    A class is replaced by any other. Of several labels, 5 % of the yes become no, and as many no become yes, so that a label
    stays as frequent as it is.
    """
    rows = rows.copy()
    if "label" in rows:
        names, flipped = np.unique(rows["label"]), draw.random(len(rows)) < SHARE
        ids = np.searchsorted(names, rows["label"])
        rows["label"] = names[(ids + flipped * draw.integers(1, len(names), len(rows))) % len(names)]
        return rows, flipped
    flipped = np.zeros((len(rows), len(LABELS)), bool)
    for column, label in enumerate(LABELS):
        yes = (rows[label] == "1").to_numpy()
        for side in (np.flatnonzero(yes), np.flatnonzero(~yes)):
            flipped[draw.choice(side, round(SHARE * yes.sum()), replace=False), column] = True
        rows[label] = np.where(yes != flipped[:, column], "1", "0")
    return rows, flipped


def predict(name: str, folder: Path, splits: dict[str, pd.DataFrame]) -> Evaluation:
    """Return the predictions for validation and test rows of what was trained on the others."""
    if name == "jigsaw":
        train, rest = splits["train"], pd.concat([splits["validation"], splits["test"]])
        predicted = fit_tfidf("labels", LABELS, train["comment_text"].tolist(), train[LABELS].to_numpy(float))
        return Evaluation("labels", LABELS, predicted(rest["comment_text"].tolist()), rest[LABELS].to_numpy(float))
    if not (folder / "run" / "report.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        files = [f"--{split}_file={folder / split}.csv" for split in splits]
        for split, rows in splits.items():
            rows.to_csv(folder / f"{split}.csv", index=False)
        command = [sys.executable, ROOT / "run_classification.py", ROOT / "configs" / f"{name}.yaml", *files]
        command += [f"--output_dir={folder / 'run'}", "--save_strategy=no", "--load_best_model_at_end=False", "--disable_tqdm"]
        environment = os.environ | {"HF_DATASETS_CACHE": str(folder / "cache")}
        with (folder / "log").open("w") as log:
            subprocess.run([*command, "--num_train_epochs=1"], env=environment, stdout=log, stderr=log, check=True)
    run = read_run(folder / "run")
    parts = [run.evaluations[split] for split in ("validation", "test")]
    probabilities, truth = (np.concatenate([getattr(part, key) for part in parts]) for key in ("probabilities", "truth"))
    return Evaluation(run.kind, run.names, probabilities, truth)


def compare(evaluation: Evaluation, flipped: np.ndarray) -> list[str]:
    """Return the lines of a table: how many of the first suspected rows were flipped, by what chose and what ranked them."""
    ours = list(dict.fromkeys(issue.position for issue in find_label_issues(evaluation)))  # a row at its first suspicion

    def right(suspects: list[int]) -> str:
        return f"{flipped[suspects[:FIRST]].mean():.2f}"

    lines = [f"| suspects of | how many | {' | '.join(f'by {ranking}' for ranking in RANKINGS)} |", "| --- " * 5 + "|"]
    lines.append(f"| **find_label_issues** | {len(ours)} | **{right(ours)}** | | |")
    several = evaluation.kind == "labels"
    labels = [list(np.flatnonzero(row)) for row in evaluation.truth] if several else evaluation.truth
    for chosen in FILTERS:
        options = {"filter_by": chosen, "multi_label": several, "n_jobs": 1}
        found = [find_with_cleanlab(labels, evaluation.probabilities, return_indices_ranked_by=r, **options) for r in RANKINGS]
        lines.append(f"| cleanlab, {chosen} | {len(found[0])} | {' | '.join(right(suspects) for suspects in found)} |")
    return lines


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(TRAIN_ROWS))
    parser.add_argument("--data", type=Path, default=Path("outputs/data"))
    parser.add_argument("--output", type=Path, default=Path("outputs/label_issues"))
    args = parser.parse_args()
    lines = [
        f"`python benchmarks/label_issues.py {' '.join(args.names)}`",
        "",
        f"The share of the first {FIRST} suspected rows that were flipped. Of several labels a row is right if any was.",
    ]
    for name in args.names:
        draw = np.random.default_rng(0)
        splits = {split: flip(rows, draw) for split, rows in read_splits(name, args.data).items()}
        evaluation = predict(name, args.output / name, {split: rows for split, (rows, _) in splits.items()})
        flipped = np.concatenate([splits[split][1] for split in ("validation", "test")]).reshape(len(evaluation), -1).any(axis=1)
        heading = f"{name}: {flipped.sum()} of {len(evaluation):,} rows flipped; {len(splits['train'][0]):,} training rows"
        lines += ["", heading, "", *compare(evaluation, flipped)]
        print("\n".join(lines), flush=True)
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
