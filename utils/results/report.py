"""What a run measures, prints and writes, phase by phase."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from utils.files.rows import whole_file
from utils.results.model_card import TEXT, THRESHOLDS, describe_use, markdown_table, write_model_card
from utils.results.predictions import save_thresholds, write_predictions
from utils.results.selection import DIRECTIONS, NO_AIM
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

logger = logging.getLogger(__name__)

# Those of them that a script computes are printed in this order, and then its own.
OVERALL = ("accuracy", "mean_reciprocal_rank", "accuracy_macro_by_candidates", "balanced_accuracy", "roc_auc", "roc_auc_macro")
OVERALL += ("roc_auc_micro", "average_precision_macro", "f1", "f1_macro", "f1_micro", "f1_macro_at_0.5", "matthews_corrcoef")
OVERALL += ("log_loss", "expected_calibration_error", "pearson", "spearman", "mse", "r2")
OVERALL += ("accuracy_of_chance", "accuracy_of_most_frequent_position")
PREFIXES = {"train": "train", "validation": "eval", "test": "predict"}
PER_LABEL = ("support", "accuracy", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision")


class Results:
    """Runs the phases of a built trainer, and keeps, prints and writes what comes out.

    Args:
        model_class: the class that a saved model is loaded with.
        to_probabilities: returns the probabilities [rows, labels] of logits.
        kind: the Hub's name of the task.
        table: returns the table of scores, see `score_table`.

    Attributes:
        metrics: all so far, by names with the prefix train_, eval_ or predict_.
    """

    def __init__(
        self,
        trainer: FineTuningTrainer,
        task: Task,
        model_class: type,
        to_probabilities: Callable[[np.ndarray], np.ndarray],
        kind: str = TEXT,
        table: Callable[..., list[list[str]]] | None = None,
    ):
        self.trainer, self.task, self.model_class, self.kind = trainer, task, model_class, kind
        self.to_probabilities, self.table = to_probabilities, table or score_table
        self.output_dir, self.is_main = Path(trainer.args.output_dir), trainer.is_world_process_zero()
        self.metrics: dict[str, float] = {}
        self.found: dict[str, dict[str, float]] = {"train": {}, "validation": {}, "test": {}}  # the metrics by split
        self.scores: dict[str, dict[str, float]] = {}  # by split: what its table and summary are made of
        self.tables: dict[str, list[list[str]]] = {}
        self.tried: tuple[list, list[dict[str, float]]] = ([], [])  # texts and their probabilities

    def train(self) -> None:
        """Train, and save the metrics. See `Guard.train` for what it raises."""
        self._save("train", self.trainer.fit() | self._cut_share("train"))
        self.trainer.save_state()

    def predict(self, split: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return probabilities [rows, labels] and targets, None where unlabelled, in the order of the file."""
        logits, targets, metrics = self.trainer.predict_in_order(self.task.splits[split], PREFIXES[split])
        self._save(split, metrics | self._cut_share(split))
        probabilities = self.to_probabilities(logits)
        rows = [self._as_read(row) for row in self.task.examples[split]]
        self.tried = rows, [dict(zip(self.task.labels, row, strict=True)) for row in probabilities[: len(rows)].tolist()]
        return probabilities, targets

    def add_scores(self, split: str, scores: dict[str, float], thresholds: np.ndarray | None = None) -> None:
        """Take over the `scores` of a split, by names without prefix; `thresholds` are shown beside the labels."""
        if scores:
            self._save(split, {f"{PREFIXES[split]}_{name}": value for name, value in scores.items()})
            self.scores[split], self.tables[split] = scores, self.table(scores, self.task.labels, thresholds)

    def save_model(self, thresholds: np.ndarray | None = None) -> None:
        """Save the model if it was trained, and the decision thresholds [labels], of two classes that of the second [1]."""
        if thresholds is not None and self.is_main:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            save_thresholds(thresholds, self.task.labels[-len(thresholds) :], self.output_dir)
        if self.task.training:
            if thresholds is not None:
                self.trainer.model.config.thresholds = thresholds.tolist()
            self.trainer.save_model()

    def write_predictions(self, probabilities: np.ndarray, **decided: list) -> None:
        """Write predictions.csv, see `write_predictions`, and submission.csv if it is asked for."""
        names = [] if self.task.config.problem_type == "regression" else self.task.labels  # a number is the decision
        if self.is_main:
            path = self.output_dir / "predictions.csv"
            write_predictions(path, self.task.id_column, self.task.ids, names, probabilities[:, : len(names)], **decided)
            if self.task.submission:
                self.task.submission.write(self.output_dir / "submission.csv", probabilities)

    def finish(self) -> dict[str, float]:
        """Write the model card and args.yaml, print the scores, and return the metrics."""
        args = self.task.args
        if self.is_main:
            if self.task.training:
                data = args.data.dataset_name or args.data.train_file
                write_model_card(self.trainer, self.kind, args.model.model_name_or_path, data, self._card_sections())
            save_arguments(args.options, self.output_dir)
            self.print_scores()
            if args.data.smoke_test:
                self.trainer.check_reload(self.model_class)
                logger.info("smoke test passed: trained, evaluated, predicted, saved and loaded again")
            else:
                files = sorted(path.name for path in self.output_dir.iterdir() if path.is_file())
                logger.info("\nin %s: %s", self.output_dir, ", ".join(files))
        return self.metrics

    def print_scores(self) -> None:
        """Print the table of scores of each split, its overall scores below it, and how fast everything went."""
        for split, table in self.tables.items():
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            logger.info("\n%s scores", split.capitalize())
            for first, *rest in table:
                cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
                logger.info("  %s", "  ".join([first.ljust(widths[0]), *cells]))
            logger.info("  %s", self._summary(split))
            left_out = int(self.scores[split].get("labels_left_out", 0))
            if left_out:
                logger.info("  labels with one class only in this split, left out of the macro means: %d", left_out)
        logger.info("\nSpeed")
        for name, prefix in (("training", "train"), ("validation", "eval"), ("test", "predict")):
            if f"{prefix}_rows_per_second" in self.metrics:
                rows, tokens, operations = (self.metrics[f"{prefix}_{what}_per_second"] for what in ("rows", "tokens", "flops"))
                logger.info(
                    "  %-10s  %s rows/s, %s tokens/s, %s GFLOP/s without padding, %.1f %% padding",
                    name,
                    *(f"{value:,.0f}" for value in (rows, tokens, operations / 1e9)),
                    100 * self.metrics[f"{prefix}_padding_share"],
                )

    def _save(self, split: str, metrics: dict[str, float]) -> None:
        """Add `metrics` to those of a split, and save them all."""
        self.found[split] |= metrics
        self.metrics |= metrics
        self.trainer.save_metrics(PREFIXES[split], self.found[split])

    def _cut_share(self, split: str) -> dict[str, float]:
        """Return the share of rows of which the model does not read everything."""
        return {f"{PREFIXES[split]}_truncated_share": float(np.mean(self.task.splits[split]["cut"][:]))}

    def _summary(self, split: str) -> str:
        """Return the scores of a split as a whole in one line, also those that the script has added."""
        scores, labels = self.scores[split], tuple(f"{name}_" for name in (*self.task.labels, "position", "candidates"))
        own = [name for name in scores if name not in (*OVERALL, *DIRECTIONS, *NO_AIM) and not name.startswith(labels)]
        return "  ".join(f"{name} {scores[name]:.3f}" for name in (*OVERALL, *own) if name in scores)

    def _card_sections(self) -> dict[str, str]:
        use = describe_use(self.kind, self.output_dir, self.task.script.name, *self.tried)
        sections = {"How to use": use + THRESHOLDS * (self.output_dir / "thresholds.json").is_file()}
        for split, table in self.tables.items():
            parts = markdown_table(table), self._summary(split)
            sections[f"{split.capitalize()} scores"] = "\n\n".join(filter(None, parts))
        return sections

    def _as_read(self, row: dict[str, Any]) -> Any:
        """Return the texts of a row as `HOW_TO_USE` takes them."""
        if self.kind != TEXT:
            return row["context"], [f"{row['question']} {text}" if row["question"] else text for text in row["candidates"]]
        texts = [str(row[name]) for name in self.task.text_columns]
        texts = texts if self.task.delimiter is None else [self.task.delimiter.join(texts)]
        return dict(zip(("text", "text_pair"), texts, strict=False))


def save_arguments(options: dict[str, Any], output_dir: Path) -> None:
    """Write every option of the run to `args.yaml`. `run_x.py args.yaml` runs it again.

    A run that predicts into the folder of its own model leaves the `args.yaml` of the training there.
    """
    path, model = Path(output_dir, "args.yaml"), Path(options["model_name_or_path"] or "")
    if not (path.is_file() and model.absolute() == Path(output_dir).absolute()):
        write_options(options, path)


def write_options(options: dict[str, Any], path: Path) -> None:
    """Write a file of options, those that are set."""
    options = {name: value for name, value in options.items() if value is not None and not name.startswith("resume_")}
    with whole_file(path) as file:
        yaml.safe_dump(options, file, allow_unicode=True, sort_keys=True)


def score_table(
    scores: dict[str, float],
    names: list[str],
    thresholds: np.ndarray | None = None,
    limit: int = 30,
    heading: str = "label",
) -> list[list[str]]:
    """Return the table of each label's scores, the header first; of many labels, those with the largest support."""
    keys = [key for key in PER_LABEL if any(f"{name}_{key}" in scores for name in names)]

    def score(name: str, key: str) -> str:
        value = scores.get(f"{name}_{key}")
        return "–" if value is None else f"{value:.0f}" if key in ("support", "predicted") else f"{value:.3f}"

    order = list(range(len(names)))
    if len(names) > limit:
        order = sorted(order, key=lambda i: -scores[f"{names[i]}_support"])
    rows = [[names[i], *(score(names[i], key) for key in keys)] for i in order[:limit]]
    table = [[heading, *keys], *rows]
    if thresholds is not None:
        column = ["threshold", *(f"{thresholds[i]:.3f}" for i in order[:limit])]
        table = [[first, value, *rest] for (first, *rest), value in zip(table, column, strict=True)]
    if len(names) > limit:
        table.append([f"… {len(names) - limit} more labels", *[""] * (len(table[0]) - 1)])
    return table if keys else []


def choice_table(scores: dict[str, float], names: list[str], thresholds: None = None) -> list[list[str]]:
    """Return the table of scores by number of candidates, and by position of the right one, whose name is in `names`."""
    counts = [count for count in range(2, len(names) + 1) if f"candidates_{count}_support" in scores]
    keys = [*(f"candidates_{count}" for count in counts), *(f"position_{position}" for position in range(len(names)))]
    heading, *rows = score_table(scores, keys, limit=len(keys), heading="right candidate")
    shown = [*(f"any of {count}" for count in counts), *names]
    return [heading, *([name, *row[1:]] for name, row in zip(shown, rows, strict=True))]
