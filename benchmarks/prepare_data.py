"""Write the public datasets that configs/ quotes as files that the scripts read.

    python benchmarks/prepare_data.py public_data outputs/data

Adds the headers that are missing, gives .txt its format's ending, and splits what comes unsplit (seeded, stratified: 80, 10
and 10 %). The source folder holds sst2, banking77, mrpc, hate_offensive and sms_spam as they are published.
"""

import csv
import gzip
import shutil
import sys
from pathlib import Path

from sklearn.model_selection import train_test_split


def write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_splits(folder: Path, header: list[str], rows: list[list[str]]) -> None:
    """Split rows [text, label] and write them."""
    train, rest = train_test_split(rows, test_size=0.2, random_state=0, stratify=[row[-1] for row in rows])
    validation, test = train_test_split(rest, test_size=0.5, random_state=0, stratify=[row[-1] for row in rest])
    folder.mkdir(exist_ok=True)
    for name, part in (("train", train), ("validation", validation), ("test", test)):
        write(folder / f"{name}.csv", header, part)


def main(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in ("sst2", "banking77", "mrpc"):
        (target / name).mkdir(exist_ok=True)
    (target / "sst2" / "train.tsv").write_bytes(gzip.decompress((source / "sst2" / "train.tsv.gz").read_bytes()))
    shutil.copy(source / "sst2" / "dev.tsv", target / "sst2")
    for name in ("train", "test"):
        shutil.copy(source / "banking77" / f"{name}.csv", target / "banking77")
        shutil.copy(source / "mrpc" / f"msr_paraphrase_{name}.txt", target / "mrpc" / f"{name}.tsv")
    with (source / "hate_offensive" / "labeled_data.csv").open(newline="", encoding="utf-8") as file:
        names = ["hate speech", "offensive language", "neither"]
        rows = [[row["tweet"], names[int(row["class"])]] for row in csv.DictReader(file)]
    write_splits(target / "hate_offensive", ["text", "label"], rows)
    lines = (source / "sms_spam" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    write_splits(target / "sms_spam", ["text", "label"], [line.split("\t", 1)[::-1] for line in lines])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
