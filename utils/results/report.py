"""What a run writes and prints: predictions, the submission, score tables, the data report, the model card."""

import csv
import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from utils.arguments import UserError
from utils.data.files import columns, read_files, whole_file
from utils.training.sampling import longest_first

logger = logging.getLogger(__name__)

# Those of them that a script computes are printed, in this order.
OVERALL = ("accuracy", "mean_reciprocal_rank", "accuracy_macro_by_candidates", "balanced_accuracy", "roc_auc", "roc_auc_macro")
OVERALL += ("roc_auc_micro", "average_precision_macro", "f1", "f1_macro", "f1_micro", "f1_macro_at_0.5", "matthews_corrcoef")
OVERALL += ("log_loss", "expected_calibration_error", "pearson", "spearman", "mse", "r2")
OVERALL += ("accuracy_of_chance", "accuracy_of_most_frequent_position")
PREFIXES = {"Validation": "eval", "Test": "predict"}
PER_LABEL = ("support", "accuracy", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision")


def keep_evaluation(trainer: Trainer, output: EvalLoopOutput) -> dict[int, EvalLoopOutput]:
    """Return the evaluations during training whose weights may become the final ones, by step: the best and this one."""
    best = {step: kept for step, kept in trainer.evaluations.items() if step == trainer.state.best_global_step}
    return best | {trainer.state.global_step: output}


def final_evaluation(trainer: Trainer) -> EvalLoopOutput | None:
    """Return the evaluation during training that was made with the weights that the model has now, if there is one."""
    state = trainer.state
    if not (trainer.args.load_best_model_at_end and state.best_model_checkpoint):
        return trainer.evaluations.get(state.global_step)
    return trainer.evaluations.get(state.best_global_step) if Path(state.best_model_checkpoint).is_dir() else None


def predict_in_order(trainer: Trainer, dataset: Dataset, prefix: str) -> tuple[np.ndarray, np.ndarray | None, dict]:
    """Return logits [rows, …], targets or None, and loss and speed on `dataset`, which has the columns `length` and `cut`.

    Rows of similar length share a batch, so that little is padded; the results stand in the order of `dataset` again. The
    validation data, prefix `eval`, is not read again if training ended with an evaluation of these very weights.
    """
    longest, order = longest_first(dataset)
    output = final_evaluation(trainer) if prefix == "eval" else None
    if output is None:
        compute_metrics, trainer.compute_metrics = trainer.compute_metrics, None  # the script has thresholds to choose first
        output = trainer.predict(longest, metric_key_prefix=prefix)
        trainer.compute_metrics = compute_metrics
    if "epoch" in output.metrics:
        output.metrics["epoch"] = trainer.state.epoch  # also where they are those of an earlier evaluation
    back = np.argsort(order)
    targets = None if output.label_ids is None else output.label_ids[back]
    return output.predictions[back], targets, output.metrics | cut_share(dataset, prefix)


def cut_share(dataset: Dataset, prefix: str) -> dict[str, float]:
    """Return the share of rows of which the model does not read all, from the column `cut`."""
    return {f"{prefix}_truncated_share": float(np.mean(dataset["cut"][:]))}


def write_predictions(path: Path, id_name: str, ids: list, names: list[str], probabilities: np.ndarray, **decided: list) -> None:
    """Write one row a text, in the order given: its id, a probability for each name (none where it is NaN), what is decided."""
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        taken = {id_name, *decided}
        writer.writerow([id_name, *(f"label {name}" if name in taken else name for name in names), *decided])
        for row_id, row, *decisions in zip(ids, probabilities.tolist(), *decided.values(), strict=True):
            writer.writerow([row_id, *("" if math.isnan(value) else value for value in row), *decisions])
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
        repeated = next(
            (value for values in (sample[id_name][:], map(str, ids)) for value, n in Counter(values).items() if n > 1), None
        )
        if repeated is not None:
            raise UserError(f"--sample_submission {sample_file}: the id {repeated!r} occurs twice, there or in the test data")
        for what, count in (("test rows", len(rows) - len(sample)), ("labels", len(names) - len(labels))):
            if count > 0:
                logger.info("%s lacks %d %s: submission.csv has them neither", sample_file, count, what)
        for line, value in enumerate(sample[id_name][:], start=2):
            if str(value) not in rows:
                raise UserError(
                    f"{sample_file}, row {line}: the id {value!r} is not in column {id_column!r} of the test data; "
                    f"see --id_column_name"
                )
        self.header, self.ids = [id_name, *labels], sample[id_name][:]
        self.rows, self.columns = [rows[str(value)] for value in self.ids], [names.index(label) for label in labels]

    def write(self, path: Path, probabilities: np.ndarray) -> None:
        with whole_file(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.header)
            for row_id, row in zip(self.ids, probabilities[self.rows][:, self.columns].tolist(), strict=True):
                writer.writerow([row_id, *row])
        logger.info("wrote %s (%s rows)", path, f"{len(self.ids):,}")


def save_arguments(options: dict[str, Any], output_dir: str) -> None:
    """Write every option of the run to `args.yaml`; `run_x.py args.yaml` runs it again.

    A run that predicts into the folder of its own model leaves the `args.yaml` of the training there.
    """
    if (
        Path(output_dir, "args.yaml").is_file()
        and Path(options["model_name_or_path"] or "").absolute() == Path(output_dir).absolute()
    ):
        return
    write_options(options, Path(output_dir, "args.yaml"))


def write_options(options: dict[str, Any], path: Path) -> None:
    """Write a file of options, those that are set."""
    options = {name: value for name, value in options.items() if value is not None and not name.startswith("resume_")}
    with whole_file(path) as file:
        yaml.safe_dump(options, file, allow_unicode=True, sort_keys=True)


def score_table(
    metrics: dict[str, float],
    prefix: str,
    names: list[str],
    thresholds: np.ndarray | None = None,
    limit: int = 30,
    heading: str = "label",
) -> list[list[str]]:
    """Return the table of each label's scores, the header first; of many labels those with the largest support."""
    keys = [key for key in PER_LABEL if any(f"{prefix}_{name}_{key}" in metrics for name in names)]

    def score(name: str, key: str) -> str:
        value = metrics.get(f"{prefix}_{name}_{key}")
        return "–" if value is None else f"{value:.0f}" if key in ("support", "predicted") else f"{value:.3f}"

    order = (
        sorted(range(len(names)), key=lambda i: -metrics[f"{prefix}_{names[i]}_support"])
        if len(names) > limit
        else range(len(names))
    )
    rows = [[names[i], *(score(names[i], key) for key in keys)] for i in list(order)[:limit]]
    table = [[heading, *keys], *rows]
    if thresholds is not None:
        column = ["threshold", *(f"{thresholds[i]:.3f}" for i in list(order)[:limit])]
        table = [[first, value, *rest] for (first, *rest), value in zip(table, column, strict=True)]
    if len(names) > limit:
        table.append([f"… {len(names) - limit} more labels", *[""] * (len(table[0]) - 1)])
    return table if keys else []


def overall_scores(metrics: dict[str, float], split: str) -> str:
    """Return the scores of a split as a whole, "Validation" or "Test", in one line."""
    prefix = PREFIXES[split]
    return "  ".join(f"{name} {metrics[f'{prefix}_{name}']:.3f}" for name in OVERALL if f"{prefix}_{name}" in metrics)


def print_scores(tables: dict[str, list[list[str]]], metrics: dict[str, float]) -> None:
    """Print each split's score table, its overall scores below it, and how fast it went."""
    for split, table in tables.items():
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        logger.info("\n%s scores", split)
        for first, *rest in table:
            cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
            logger.info("  %s", "  ".join([first.ljust(widths[0]), *cells]))
        logger.info("  %s", overall_scores(metrics, split))
        left_out = int(metrics.get(f"{PREFIXES[split]}_labels_left_out", 0))
        if left_out:
            logger.info("  labels with one class only in this split, left out of the macro means: %d", left_out)
    logger.info("\nSpeed")
    for name, prefix in (("training", "train"), ("validation", "eval"), ("test", "predict")):
        if f"{prefix}_rows_per_second" in metrics:
            rows, tokens, operations = (metrics[f"{prefix}_{what}_per_second"] for what in ("rows", "tokens", "flops"))
            logger.info(
                "  %-10s  %s rows/s, %s tokens/s, %s GFLOP/s without padding, %.1f %% padding",
                name,
                *(f"{value:,.0f}" for value in (rows, tokens, operations / 1e9)),
                100 * metrics[f"{prefix}_padding_share"],
            )


def write_model_card(
    trainer: Trainer,
    base_model: str,
    data: str,
    how_to_use: str,
    tables: dict[str, list[list[str]]],
    metrics: dict[str, float],
    task: str = "text-classification",
) -> None:
    """Write README.md: the card of transformers, then how to use the model and each split's scores.

    `data` names what it was trained on, `task` is the Hub's name of what it does.
    """
    on_the_hub = None if Path(base_model).is_dir() else base_model  # the card links it
    trainer.create_model_card(tasks=task, finetuned_from=on_the_hub, dataset=data)
    sections = {"How to use": how_to_use}
    for split, table in tables.items():
        sections[f"{split} scores"] = "\n\n".join(filter(None, (markdown_table(table), overall_scores(metrics, split))))
    path = Path(trainer.args.output_dir, "README.md")
    card = path.read_text(encoding="utf-8")
    card = card.replace("This model was trained from scratch", f"This model is a fine-tuned version of {Path(base_model).name}")
    card += "".join(f"\n## {heading}\n\n{text}\n" for heading, text in sections.items())
    path.write_text(card, encoding="utf-8")


def markdown_table(table: list[list[str]]) -> str:
    """Return a table, the header first, in Markdown."""
    rows = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([*rows[:1], *["|" + " --- |" * len(row) for row in table[:1]], *rows[1:]])


def print_files(output_dir: Path) -> None:
    files = sorted(path.name for path in output_dir.iterdir() if path.is_file())
    logger.info("\nin %s: %s", output_dir, ", ".join(files))
