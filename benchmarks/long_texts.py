"""Texts longer than the model reads: cut, their beginning and end, or windows; on a planted set and on two natural ones.

    python benchmarks/long_texts.py DATA MODEL [--seeds 1 2] > benchmarks/long_texts.md
    python benchmarks/long_texts.py DATA MODEL --limit 512 > benchmarks/long_texts_512.md

DATA holds reuters21578 and jigsaw_toxic as they are published. 32 tokens are read at once, and every text has two to four times
as many, so that the last line of a set, which reads whole texts, can be measured too. With another limit there is the planted set
alone, of texts up to twice as long. Finished runs are kept.
"""

import argparse
import gzip
import json
import random
import shlex
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from transformers import AutoTokenizer, PreTrainedTokenizerBase

sys.path.insert(0, str(Path(__file__).parent.parent))
import run_classification  # noqa: E402
import run_multilabel  # noqa: E402

OUTPUT, SHORT, ROWS = Path("outputs/long_texts"), 32, {"train": 400, "validation": 100, "test": 400}
TRAINING = "--num_train_epochs=3 --per_device_train_batch_size=16 --learning_rate=1e-4 --no_report --overwrite_output_dir".split()
TOPICS = {"acq", "crude", "earn", "grain", "trade"}


def reuters(data: Path, split: str) -> Iterator[dict]:
    """Yield articles with those of the TOPICS that they have."""
    path = next((data / "reuters21578").glob(f"*_{'test' if split == 'test' else 'train'}.jsonl.gz"))
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield {"text": f"{row['title']}. {row['text']}", "labels": sorted(TOPICS & set(row["topics"]))}


def planted(data: Path, split: str, words: int, articles: int) -> Iterator[dict]:
    """Yield articles behind the first `words` words of so many that have none of the TOPICS."""
    others = [row["text"].split() for row in reuters(data, split) if not row["labels"]]
    for number, row in enumerate(row for row in reuters(data, split) if row["labels"]):
        before = [word for each in range(number, number + articles) for word in others[each % len(others)]]
        yield {"text": f"{' '.join(before[:words])}\n{row['text']}", "labels": row["labels"]}


def toxic(data: Path, split: str) -> Iterator[dict]:
    """Yield comments and whether they are toxic."""
    table = pd.read_csv(data / "jigsaw_toxic" / f"{'test' if split == 'test' else 'train_enriched'}.csv.gz")
    for text, label in zip(table["comment_text"], table["toxic"], strict=True):
        yield {"text": text, "labels": "toxic" if label else "fine"}


def sets(data: Path, limit: int) -> list[tuple]:
    """Return of each set its name, function of a split that yields rows, script and metrics."""
    labels = run_multilabel, "average_precision_macro", "f1_macro"
    if limit != SHORT:  # a word is a token or more
        name = f"planted: a Reuters article behind {limit} words of others"
        return [(name, partial(planted, data, words=limit, articles=limit), *labels)]
    behind = "planted: a Reuters article behind 35 words of another", partial(planted, data, words=35, articles=1), *labels
    toxicity = "Jigsaw, toxic or not", partial(toxic, data), run_classification, "average_precision", "f1"
    return [behind, ("Reuters, 5 topics", partial(reuters, data), *labels), toxicity]


def ways(limit: int) -> dict[str, list[str]]:
    """Return the options of each way to read a text."""
    cut = f"--max_seq_length={limit}"
    found = {f"cut to {limit}": [cut]} | {way: [cut, f"--long_texts={way}"] for way in ("head_tail", "windows")}
    return found | ({f"all {4 * limit} tokens": [f"--max_seq_length={4 * limit}"]} if limit == SHORT else {})


def write_long(rows: list[dict], tokenizer: PreTrainedTokenizerBase, path: Path, tokens: range, start: int, count: int) -> None:
    """Write `count` rows of so many `tokens`, after the first `start`, in a seeded order."""
    rows = random.Random(0).sample(rows, len(rows))
    lengths = [len(ids) for ids in tokenizer([row["text"] for row in rows], verbose=False)["input_ids"]]
    long = [row for row, length in zip(rows, lengths, strict=True) if length in tokens]
    path.write_text("".join(json.dumps(row) + "\n" for row in long[start : start + count]), encoding="utf-8")


def measure(folder: Path, script: ModuleType, options: list[str]) -> dict[str, float]:
    """Return the metrics and the `minutes` of a run, which may have been made before."""
    if not (folder / "minutes.json").is_file():
        files = [f"--{split}_file={folder.parent / f'{split}.jsonl'}" for split in ROWS]
        if script is run_multilabel:  # most articles have one topic
            options = [*options, "--problem_type=multi_label_classification"]
        began = time.process_time()
        columns = ["--text_column_names=text", "--label_column_name=labels"]
        metrics = script.main([f"--output_dir={folder}", *files, *columns, *TRAINING, *options])
        (folder / "minutes.json").write_text(json.dumps(metrics | {"minutes": (time.process_time() - began) / 60}))
    return json.loads((folder / "minutes.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int, default=SHORT, help=f"tokens that are read at once [{SHORT}]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    tokenizer, limit = AutoTokenizer.from_pretrained(args.model), args.limit
    tokens = range(2 * limit + 1, 4 * limit + 1) if limit == SHORT else range(limit + 1, 2 * limit + 1)
    lines = []
    for number, (name, read, script, *metrics) in enumerate(sets(args.data, limit)):
        folder = OUTPUT / f"{number}_{limit}"
        folder.mkdir(parents=True, exist_ok=True)
        for split, count in ROWS.items():
            start = ROWS["train"] if split == "validation" else 0
            write_long(list(read(split=split)), tokenizer, folder / f"{split}.jsonl", tokens, start, count)
        for way, options in ways(limit).items():
            given = [f"--model_name_or_path={args.model}", *options]
            runs = [measure(folder / f"{way} {seed}", script, [*given, f"--seed={seed}"]) for seed in args.seeds]
            values = [[run[f"predict_{metric}"] for run in runs] for metric in metrics]
            cells = [f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in values]
            lines.append(f"| {name} | {way} | {' | '.join(cells)} | {np.mean([run['minutes'] for run in runs]):.1f} |")
    print(f"`{shlex.join(['python', 'benchmarks/long_texts.py', 'DATA', *sys.argv[2:]])}`\n")
    print(f"{args.model.name}, {ROWS['train']} training and {ROWS['test']} test texts of {tokens[0]:,} to {tokens[-1]:,} tokens,")
    print(f"of which {limit} are read at once. Means over {len(args.seeds)} seeds, with the range; minutes of processor time.\n")
    print("| set | read | average precision | F1 | minutes |\n| --- | --- | --- | --- | --- |", *lines, sep="\n")


if __name__ == "__main__":
    main()
