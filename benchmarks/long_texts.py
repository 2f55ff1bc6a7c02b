"""Texts longer than the model reads: cut, their beginning and end, or windows; on a planted set and on two natural ones.

    python benchmarks/long_texts.py DATA MODEL [SEED ...] > benchmarks/long_texts.md

DATA holds reuters21578 and jigsaw_toxic as they are published. LIMIT tokens are read at once, and every text has two to four
times as many, so that the last line of a set, which reads whole texts, can be measured too. Finished runs are kept.
"""

import gzip
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import AutoTokenizer, PreTrainedTokenizerBase

sys.path.insert(0, str(Path(__file__).parent.parent))
import run_classification  # noqa: E402
import run_multilabel  # noqa: E402

OUTPUT, LIMIT, ROWS = Path("outputs/long_texts"), 32, {"train": 400, "validation": 100, "test": 400}
WAYS = {
    f"cut to {LIMIT}": [f"--max_seq_length={LIMIT}"],
    "head_tail": [f"--max_seq_length={LIMIT}", "--long_texts=head_tail"],
    "windows": [f"--max_seq_length={LIMIT}", "--long_texts=windows"],
    f"all {4 * LIMIT} tokens": [f"--max_seq_length={4 * LIMIT}"],
}
TRAINING = "--num_train_epochs=3 --per_device_train_batch_size=16 --learning_rate=1e-4 --no_report --overwrite_output_dir".split()
TOPICS = {"acq", "crude", "earn", "grain", "trade"}


def reuters(data: Path, split: str) -> Iterator[dict]:
    """Yield articles with those of the TOPICS that they have."""
    path = next((data / "reuters21578").glob(f"*_{'test' if split == 'test' else 'train'}.jsonl.gz"))
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield {"text": f"{row['title']}. {row['text']}", "labels": sorted(TOPICS & set(row["topics"]))}


def planted(data: Path, split: str) -> Iterator[dict]:
    """Yield articles behind the first 35 words of one that has none of the TOPICS."""
    others = [" ".join(row["text"].split()[:35]) for row in reuters(data, split) if not row["labels"]]
    for number, row in enumerate(row for row in reuters(data, split) if row["labels"]):
        yield {"text": f"{others[number % len(others)]}\n{row['text']}", "labels": row["labels"]}


def toxic(data: Path, split: str) -> Iterator[dict]:
    """Yield comments and whether they are toxic."""
    table = pd.read_csv(data / "jigsaw_toxic" / f"{'test' if split == 'test' else 'train_enriched'}.csv.gz")
    for text, label in zip(table["comment_text"], table["toxic"], strict=True):
        yield {"text": text, "labels": "toxic" if label else "fine"}


SETS = {
    "planted: a Reuters article behind 35 words of another": (planted, run_multilabel, "average_precision_macro", "f1_macro"),
    "Reuters, 5 topics": (reuters, run_multilabel, "average_precision_macro", "f1_macro"),
    "Jigsaw, toxic or not": (toxic, run_classification, "average_precision", "f1"),
}


def write_long(rows: Iterator[dict], tokenizer: PreTrainedTokenizerBase, path: Path, start: int, count: int) -> None:
    """Write `count` rows of 2 to 4 x LIMIT tokens, after the first `start`, in a seeded order."""
    rows = random.Random(0).sample(found := list(rows), len(found))
    lengths = [len(ids) for ids in tokenizer([row["text"] for row in rows], verbose=False)["input_ids"]]
    long = [row for row, length in zip(rows, lengths, strict=True) if 2 * LIMIT < length <= 4 * LIMIT]
    path.write_text("".join(json.dumps(row) + "\n" for row in long[start : start + count]), encoding="utf-8")


def measure(number: int, way: str, model: Path, seed: int) -> dict[str, float]:
    """Return the metrics and the `minutes` of a run, which may have been made before."""
    _, script, *_ = list(SETS.values())[number]
    folder = OUTPUT / f"{number}_{list(WAYS).index(way)}_{seed}"
    if not (folder / "minutes.json").is_file():
        files = [f"--{split}_file={OUTPUT / f'{number}_{split}.jsonl'}" for split in ROWS]
        options = [f"--model_name_or_path={model}", f"--output_dir={folder}", f"--seed={seed}", *files, *TRAINING, *WAYS[way]]
        if script is run_multilabel:  # most articles have one topic
            options.append("--problem_type=multi_label_classification")
        began = time.process_time()
        metrics = script.main([*options, "--text_column_names=text", "--label_column_name=labels"])
        (folder / "minutes.json").write_text(json.dumps(metrics | {"minutes": (time.process_time() - began) / 60}))
    return json.loads((folder / "minutes.json").read_text())


def main(data: Path, model: Path, *seeds: int) -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(model)
    for number, (read, *_) in enumerate(SETS.values()):
        for split, count in ROWS.items():
            start = ROWS["train"] if split == "validation" else 0
            write_long(read(data, split), tokenizer, OUTPUT / f"{number}_{split}.jsonl", start, count)
    found = {(number, way): [measure(number, way, model, seed) for seed in seeds] for number in range(len(SETS)) for way in WAYS}
    print(f"`python benchmarks/long_texts.py DATA {model} {' '.join(map(str, seeds))} > benchmarks/long_texts.md`\n")
    print(f"{model.name}, {ROWS['train']} training and {ROWS['test']} test texts of {2 * LIMIT + 1} to {4 * LIMIT} tokens,")
    print(f"of which {LIMIT} are read at once. Means over {len(seeds)} seeds, with the range; minutes of processor time.\n")
    print("| set | read | average precision | F1 | minutes |\n| --- | --- | --- | --- | --- |")
    for (number, way), runs in found.items():
        name, (_, _, *metrics) = list(SETS.items())[number]
        values = [[run[f"predict_{metric}"] for run in runs] for metric in metrics]
        cells = [f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in values]
        print(f"| {name} | {way} | {' | '.join(cells)} | {np.mean([run['minutes'] for run in runs]):.1f} |")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), *(map(int, sys.argv[3:]) if sys.argv[3:] else (1, 2)))
