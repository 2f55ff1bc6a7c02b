"""What a run writes and prints: predictions, the submission, score tables, the data report, the model card."""

import csv
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset
from transformers import Trainer

from utils.arguments import UserError
from utils.files import columns, read_files
from utils.labels import UNKNOWN
from utils.sampling import longest_first

logger = logging.getLogger(__name__)

OVERALL = ("roc_auc_macro", "roc_auc_micro", "average_precision_macro", "f1_macro", "f1_micro", "f1_macro_at_0.5")
PER_LABEL = ("support", "precision", "recall", "f1", "roc_auc", "average_precision")


def predict_in_order(trainer: Trainer, dataset: Dataset, prefix: str) -> tuple[np.ndarray, np.ndarray | None, dict]:
    """Return logits [rows, …], targets or None, and metrics of `dataset`, which has a column `length`.

    Rows of similar length share a batch, so that little is padded; the results stand in the order of `dataset` again.
    """
    longest, order = longest_first(dataset)
    output = trainer.predict(longest, metric_key_prefix=prefix)
    back = np.argsort(order)
    targets = None if output.label_ids is None else output.label_ids[back]
    return output.predictions[back], targets, output.metrics


def write_predictions(
    path: Path, id_name: str, ids: list, names: list[str], probabilities: np.ndarray, decided: list[str]
) -> None:
    """Write one row a text, in the order given: its id, a probability for each label, the decision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([id_name, *names, "prediction"])
        for row_id, row, decision in zip(ids, probabilities.tolist(), decided, strict=True):
            writer.writerow([row_id, *row, decision])
    logger.info("wrote %s (%s rows)", path, f"{len(ids):,}")


class Submission:
    """Kaggle's submission file: the header and the order of rows of its sample."""

    def __init__(self, sample_file: str, ids: list, id_column: str, names: list[str]):
        """Check the sample against the test rows and the labels.

        Raises:
            UserError: a column that is no label, or an id that the test data lacks.
        """
        sample = read_files(sample_file)
        id_name, *labels = columns(sample)
        unknown = [label for label in labels if label not in names]
        if unknown:
            raise UserError(f"{sample_file}, column {unknown[0]!r}: not one of the labels {', '.join(names)}")
        rows = {str(value): row for row, value in enumerate(ids)}
        for line, value in enumerate(sample[id_name], start=2):
            if str(value) not in rows:
                raise UserError(
                    f"{sample_file}, row {line}: the id {value!r} is not in column {id_column!r} of the test data; "
                    f"see --id_column_name"
                )
        self.header, self.ids = [id_name, *labels], sample[id_name]
        self.rows, self.columns = [rows[str(value)] for value in self.ids], [names.index(label) for label in labels]

    def write(self, path: Path, probabilities: np.ndarray) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.header)
            for row_id, row in zip(self.ids, probabilities[self.rows][:, self.columns].tolist(), strict=True):
                writer.writerow([row_id, *row])
        logger.info("wrote %s (%s rows)", path, f"{len(self.ids):,}")


def save_arguments(options: dict[str, Any], output_dir: str) -> None:
    """Write every option of the run to `args.yaml`; `run_x.py args.yaml` runs it again."""
    options = {name: value for name, value in options.items() if value is not None}
    text = yaml.safe_dump(options, allow_unicode=True, sort_keys=True)
    Path(output_dir, "args.yaml").write_text(text, encoding="utf-8")


def score_table(
    metrics: dict[str, float], prefix: str, names: list[str], thresholds: np.ndarray, limit: int = 30
) -> list[list[str]]:
    """Return the table of each label's scores, the header first; of many labels those with the largest support."""

    def score(name: str, key: str) -> str:
        value = metrics.get(f"{prefix}_{name}_{key}")
        return "–" if value is None else f"{value:.0f}" if key == "support" else f"{value:.3f}"

    order = (
        sorted(range(len(names)), key=lambda i: -metrics[f"{prefix}_{names[i]}_support"])
        if len(names) > limit
        else range(len(names))
    )
    rows = [[names[i], f"{thresholds[i]:.3f}", *(score(names[i], key) for key in PER_LABEL)] for i in list(order)[:limit]]
    if len(names) > limit:
        rows.append([f"… {len(names) - limit} more labels", *[""] * (len(PER_LABEL) + 1)])
    return [["label", "threshold", *PER_LABEL], *rows]


def print_scores(tables: dict[str, list[list[str]]], metrics: dict[str, float]) -> None:
    """Print each split's score table, its overall scores below it."""
    for split, table in tables.items():
        prefix = {"Validation": "eval", "Test": "predict"}[split]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        logger.info("\n%s scores", split)
        for first, *rest in table:
            cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
            logger.info("  %s", "  ".join([first.ljust(widths[0]), *cells]))
        overall = [f"{name} {metrics[f'{prefix}_{name}']:.3f}" for name in OVERALL if f"{prefix}_{name}" in metrics]
        logger.info("  %s", "  ".join(overall))
        left_out = int(metrics.get(f"{prefix}_labels_left_out", 0))
        if left_out:
            logger.info("  %d labels have one class only in this split and are left out of the macro means", left_out)


def report_data(splits: dict[str, Dataset], text_columns: list[str], names: list[str], output_dir: str) -> None:
    """Print, and write to `data_report.json`, what a look at the data tells before any training."""
    report: dict[str, Any] = {}
    texts = {
        name: [tuple(row) for row in zip(*(map(str, split[c]) for c in text_columns), strict=True)]
        for name, split in splits.items()
    }
    for name, split in splits.items():
        words = [sum(len(text.split()) for text in row) for row in texts[name]]
        entry = report[name] = {
            "rows": len(split),
            "words_median": float(np.median(words)),
            "words_95th_percentile": float(np.percentile(words, 95)),
            "duplicate_texts": len(split) - len(set(texts[name])),
        }
        if name != "train" and "train" in texts:
            entry["texts_also_in_training"] = len(set(texts[name]) & set(texts["train"]))
        if "labels" in split.column_names:
            targets = np.array(split["labels"])
            known = targets != UNKNOWN
            positive = known & (targets >= 0.5)
            entry["labels"] = {label: int(count) for label, count in zip(names, positive.sum(axis=0), strict=True)}
            entry["rows_without_label"] = int((~positive.any(axis=1) & known.any(axis=1)).sum())
            entry["unknown_cells"] = int((~known).sum())
            entry["soft_cells"] = int((known & (targets > 0) & (targets < 1)).sum())
            by_text: dict[tuple, set] = {}
            for text, row in zip(texts[name], positive.tolist(), strict=True):
                by_text.setdefault(text, set()).add(tuple(row))
            entry["texts_with_contradicting_labels"] = sum(len(rows) > 1 for rows in by_text.values())
            sizes = Counter(positive.sum(axis=1).tolist())
            entry["labels_per_row"] = {str(size): sizes[size] for size in sorted(sizes)}
        logger.info("\n%s", name)
        for key, value in entry.items():
            if key == "labels":
                for label, count in value.items():
                    logger.info("  label %-24s %7d  %5.1f %%", label, count, 100 * count / len(split))
            else:
                logger.info("  %-30s %s", key.replace("_", " "), value)
    path = Path(output_dir, "data_report.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    logger.info("\nwrote %s", path)


def write_model_card(trainer: Trainer, base_model: str, how_to_use: str, tables: dict[str, list[list[str]]]) -> None:
    """Write README.md: the card of transformers, then how to use the model and each split's score table."""
    trainer.create_model_card(tasks="text-classification", finetuned_from=base_model)
    sections = {"How to use": how_to_use} | {f"{split} scores": markdown_table(table) for split, table in tables.items()}
    with Path(trainer.args.output_dir, "README.md").open("a", encoding="utf-8") as card:
        for heading, text in sections.items():
            card.write(f"\n## {heading}\n\n{text}\n")


def markdown_table(table: list[list[str]]) -> str:
    """Return a table, the header first, in Markdown."""
    head, *rows = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([head, "|" + " --- |" * len(table[0]), *rows])


def print_files(output_dir: Path) -> None:
    files = sorted(path.name for path in output_dir.iterdir() if path.is_file())
    logger.info("\nin %s: %s", output_dir, ", ".join(files))
