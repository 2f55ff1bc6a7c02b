"""Texts longer than the model reads: cut, their beginning and end, or windows; on a planted and on natural sets.

    python benchmarks/long_texts.py DATA MODEL > benchmarks/long_texts.md

DATA holds reuters21578 and jigsaw_toxic as they are published. All texts have more than twice as many tokens as are read at once.
"""

import gzip
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

OUTPUT, LIMIT, SEEDS = Path("outputs/long_texts"), 64, (1, 2)
WAYS = {
    "cut": [f"--max_seq_length={LIMIT}"],
    "head_tail": [f"--max_seq_length={LIMIT}", "--long_texts=head_tail"],
    "windows": [f"--max_seq_length={LIMIT}", "--long_texts=windows"],
    f"cut at {4 * LIMIT}": [f"--max_seq_length={4 * LIMIT}"],
}


def read_reuters(data: Path, split: str) -> list[dict]:
    path = next(data.glob(f"reuters21578/*_{split}.jsonl*"))
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def long_only(rows: list[dict], tokenizer, rows_wanted: int) -> list[dict]:
    """Return the first rows of a seeded order whose text has more than 2 x LIMIT tokens."""
    rows = random.Random(0).sample(rows, len(rows))
    lengths = [len(ids) for ids in tokenizer([row["text"] for row in rows], verbose=False)["input_ids"]]
    return [row for row, length in zip(rows, lengths, strict=True) if length > 2 * LIMIT][:rows_wanted]
