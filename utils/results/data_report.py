"""What --check_data reports: a look at the data before any training, in the terminal and in `data_report.json`."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from utils.arguments import UserError
from utils.batches.encoding import NO_LIMIT, encode_split
from utils.data.row_texts import texts_of
from utils.files.rows import PLACE, read_array, whole_file
from utils.training.task import Task

logger = logging.getLogger(__name__)


def report_data(
    task: Task,
    encode: Callable[..., dict],
    describe: Callable[[np.ndarray], dict[str, Any]],
    weigh: Callable[[np.ndarray], torch.Tensor] | None = None,
) -> dict[str, float]:
    """Print what --check_data says, and write it to --output_dir. Return no metrics.

    Args:
        encode: the script's, to count tokens. Without a tokenizer words are counted instead.
        describe: returns what to report about the targets of a split, with the rows of each label under `labels`.
        weigh: returns the balanced weight of each label.

    Raises:
        UserError: a row has no text, with --strict_data. The report is written first.
    """
    args, splits, text_columns = task.args, task.splits, task.read_columns
    count_tokens = task.settled(encode, NO_LIMIT) if task.tokenizer else None
    parts = task.format.columns_by_option.items()
    texts_in = task.text_columns or [name for option, names in parts if "label" not in option for name in names]
    id_column = None if task.id_column == "row" else task.id_column
    found = {"text": texts_in, "label": task.format.label_columns, "id": id_column}
    report: dict[str, Any] = {"columns": found}
    missing: list[str] = []
    texts = {}
    for name, split in splits.items():
        rows = list(zip(*(split[column][:] for column in text_columns), strict=True))
        needed = 1 if text_columns[-1] == "candidates" else len(text_columns)  # a multiple-choice row may lack a question
        gaps = {row for row, parts in enumerate(rows) if any(part in (None, "") for part in parts[:needed])}
        missing += [split[row][PLACE] for row in sorted(gaps)[:1]]
        texts[name] = texts_of(split, text_columns)
        entry = report[name] = {
            "rows": len(split),
            "texts_missing": len(gaps),
            "texts_of_spaces_only": sum(not str(parts[0]).strip() for row, parts in enumerate(rows) if row not in gaps),
            "duplicate_texts": len(split) - len(set(texts[name])),
        }
        for other, others in list(texts.items())[:-1]:
            entry[f"texts_also_in_{other}"] = sum(map(set(others).__contains__, texts[name]))
        filled = split.select([row for row in range(len(split)) if row not in gaps])
        if len(filled):
            entry |= describe_lengths(name, filled, text_columns, task, count_tokens)
        if "candidates" in split.column_names:
            entry["candidates"] = {str(n): rows for n, rows in sorted(Counter(map(len, split["candidates"][:])).items())}
        if "labels" in split.column_names:
            targets = read_array(split, "labels")
            entry |= describe_labels(texts[name], targets, describe)
            if weigh and name == "train" and entry.get("labels"):
                weights = [round(weight, 4) for weight in weigh(targets).tolist()]
                entry["balanced_weights"] = dict(zip(entry["labels"], weights, strict=True))
        print_entry(name, entry)
    path = Path(args.training.output_dir, "data_report.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        json.dump(report, file, indent=2, ensure_ascii=False)
    logger.info("\nwrote %s", path)
    if missing and args.data.strict_data:
        count = sum(report[name]["texts_missing"] for name in splits)
        raise UserError(f"{missing[0]}: the text is missing (rows without text: {count:,}); fill or drop them before training")
    return {}


def describe_labels(texts: list[tuple], targets: np.ndarray, describe: Callable[[np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    """Return what to report about the targets of a split: contradictions, the script's description, and the imbalance."""
    labels_of: dict[tuple, set] = {}
    for text, target in zip(texts, targets.tolist(), strict=True):
        labels_of.setdefault(text, set()).add(str(target))
    found = {"texts_with_contradicting_labels": sum(len(labels) > 1 for labels in labels_of.values()), **describe(targets)}
    counts = found.get("labels", {}).values()
    if counts and min(counts) > 0:
        found["imbalance"] = round(max(counts) / min(counts), 2)
    return found


def describe_lengths(
    name: str, split: Dataset, text_columns: list[str], task: Task, encode: Callable[..., dict] | None
) -> dict[str, float]:
    """Return the distribution of text lengths, in tokens, or in words without a tokenizer."""
    if encode:
        unit, lengths = "tokens", encode_split(name, split, encode, task.args.data)["length"][:]
    else:
        rows = zip(*(split[column][:] for column in text_columns), strict=True)
        unit, lengths = "words", [sum(len(str(part).split()) for part in row) for row in rows]
    found = {
        f"{unit}_median": float(np.median(lengths)),
        f"{unit}_95th_percentile": round(float(np.percentile(lengths, 95)), 1),
        f"{unit}_maximum": int(max(lengths)),
    }
    if not encode:
        return found
    share = "share_in_windows_of" if task.long_texts == "windows" else "truncated_share_at"
    return found | {f"{share}_{task.max_length}_tokens": round(float(np.mean(np.array(lengths) > task.max_length)), 4)}


def print_entry(name: str, entry: dict[str, Any]) -> None:
    """Print the report on a split, with labels and numbers of candidates as tables."""
    logger.info("\n%s", name)
    for key, value in entry.items():
        if not isinstance(value, dict):
            logger.info("  %-34s %s", key.replace("_", " "), f"{value:,}" if isinstance(value, int) else value)
    weights = entry.get("balanced_weights", {})
    if "labels" in entry:
        width = max(map(len, ["label", *entry["labels"]]))
        logger.info("  %s     rows    share%s", "label".ljust(width), "  balanced weight" if weights else "")
        for label, count in entry["labels"].items():
            weight = f"{weights[label]:17.3f}" if label in weights else ""
            logger.info("  %s  %7s  %5.1f %%%s", label.ljust(width), f"{count:,}", 100 * count / entry["rows"], weight)
    for key, what in (("candidates", "candidates"), ("labels_per_row", "labels")):
        for count, rows in entry.get(key, {}).items():
            logger.info(
                "  %-34s %7s  %5.1f %%",
                f"rows of {count} {what if str(count) != '1' else what[:-1]}",
                f"{rows:,}",
                100 * rows / entry["rows"],
            )
