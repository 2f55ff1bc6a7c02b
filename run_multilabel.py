r"""Fine-tune a pretrained encoder to give each text any number of labels.

Every label is a yes/no question of its own: one logit a label, binary cross-entropy, its own decision threshold.
The new head starts at each label's log-odds. It is fitted alone first if rows are few, or learns faster than the encoder.

    python run_multilabel.py                                     # the embedded sample: customer emails, ten intents
    python run_multilabel.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv --validation_file validation.csv --test_file test.csv
    accelerate launch --num_processes 4 run_multilabel.py configs/jigsaw.yaml --learning_rate 3e-5

A row is a text and its labels. The labels come as a list of names, as in `EXAMPLE_ROWS` at the end; a list of ids; a 0/1
vector; one 0/1 column a label; or a delimited string such as `delivery;refund`.

To adapt: the loss in `multilabel_loss`, what the model reads in `encode`, the decision in `decide`, the metrics in `scores`,
more columns in `ROW_COLUMNS`, the model in `MODEL_CLASS`. docs/adapting.md shows seven changes as diffs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers.hf_argparser import HfArg

from utils.arguments import Arguments, FineTuningArguments, ModelArguments, SearchArguments, TextArguments
from utils.command_line import check_command_line, parse_threshold, parse_weights

SAMPLE = Path(__file__).parent / "configs" / "quickstart.yaml"


@dataclass
class MultilabelArguments(TextArguments):
    """Columns and choices of this task."""

    label_column_names: str | None = HfArg(
        default=None,
        aliases=["--label_column_name"],
        help="Column of lists or delimited, or 0/1 columns. Unset: found.",
    )
    label_delimiter: str | None = HfArg(default=None, help="What separates the labels in a delimited column. Unset: found.")
    problem_type: Literal["multi_label_classification"] | None = HfArg(
        default=None, help="Insist on multi-label although every row has exactly one label."
    )
    threshold: str | None = HfArg(
        default=None,
        help="per_label, single or a number. Unset: saved, or per_label. The first two are tuned for F1 on the validation data; "
        "saved are those of a model that is not trained further.",
    )
    sample_submission: str | None = HfArg(
        default=None, help="Kaggle's sample file. submission.csv is then written with its header and its order of rows."
    )

    def __post_init__(self):
        super().__post_init__()
        if self.threshold is not None:
            parse_threshold(self.threshold)


@dataclass
class MultilabelTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/multilabel", help="Where the files of the run go.")
    loss: Literal["bce", "focal", "asymmetric"] = HfArg(
        default="bce",
        help="Focal and asymmetric give less weight to easy absences. bce: binary cross-entropy.",
    )
    pos_weight: str = HfArg(
        default="none",
        help="Weight of positives: none, balanced, sqrt, or numbers. balanced: negatives / positives in the "
        "training split; sqrt: its square root; one number, or one for each label, joined by commas.",
    )
    prior_bias: bool = HfArg(
        default=True, help="Start the new head's bias at each label's log-odds. Those in the training split."
    )
    metric_for_best_model: str | None = HfArg(
        default="average_precision_micro",
        aliases=["--metric_name"],
        help="Metric that chooses the best weights. On the validation data.",
    )

    def __post_init__(self):
        super().__post_init__()
        parse_weights(self.pos_weight, "--pos_weight")


KINDS = (ModelArguments, MultilabelArguments, MultilabelTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, EvalPrediction

from utils.data.label_shapes import find_labels
from utils.files.cells import UNKNOWN
from utils.files.loading import load_splits
from utils.results.data_report import report_data
from utils.results.predictions import find_submission
from utils.results.report import Results
from utils.runtime import run
from utils.scoring.metrics import MultilabelMetrics, sigmoid
from utils.scoring.selection import choose_thresholds, settle_evaluation, settle_threshold
from utils.search.several import several_runs
from utils.training.checkpoints import settle_checkpoint
from utils.training.head import load_model, positive_weights, prior_log_odds
from utils.training.task import Task, read_arguments
from utils.training.trainer import FineTuningTrainer

MODEL_CLASS = AutoModelForSequenceClassification
ROW_COLUMNS = ()  # columns of numbers that the loss or the model reads besides the labels, such as ("weight",)
METRIC_DIRECTIONS = {}  # for each metric that you add in `scores`: is "higher" or "lower" better?
# What --search_trials varies, the losses for rare labels too; `search_space` in a file of options replaces it.
SEARCH_SPACE = {
    "learning_rate": {"log": [1e-5, 3e-4]},
    "num_train_epochs": {"int": [1, 5]},
    "per_device_train_batch_size": {"choice": [16, 32, 64]},
    "head_learning_rate_multiplier": {"log": [1.0, 30.0]},
    "loss": {"choice": ["bce", "focal", "asymmetric"]},
    "pos_weight": {"choice": ["none", "sqrt"]},
}


def multilabel_loss(
    logits: torch.Tensor, targets: torch.Tensor, kind: str = "bce", pos_weight: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """Return the loss of every cell [rows, labels] in float32; 0 where the target is `UNKNOWN`.

    Args:
        logits, targets: [rows, labels]; targets are 0, 1, a fraction between (soft), or `UNKNOWN`.
        kind: bce; focal with gamma 2 (Lin et al. 2017, https://arxiv.org/abs/1708.02002); asymmetric with gamma 1 on
            positives, 4 on negatives and margin 0.05 (Ridnik et al. 2021, https://arxiv.org/abs/2009.14119).
        pos_weight: [labels], multiplies the positive term, as in `torch.nn.BCEWithLogitsLoss`.
        smoothing: targets move this share of the way to 0.5.
    """
    logits, known = logits.float(), targets != UNKNOWN
    targets = torch.where(known, targets, 0.0) * (1 - smoothing) + smoothing / 2
    weight = 1.0 if pos_weight is None else pos_weight.to(logits.device)
    present, absent = -F.logsigmoid(logits), -F.logsigmoid(-logits)  # the loss if the label is there, and if it is not
    probability = logits.sigmoid()
    if kind == "focal":
        present, absent = present * (1 - probability) ** 2, absent * probability**2
    elif kind == "asymmetric":
        shifted = (probability - 0.05).clamp(min=0.0)
        present, absent = present * (1 - probability), -torch.log1p(-shifted) * shifted**4
    return (weight * targets * present + (1 - targets) * absent) * known


class MultilabelTrainer(FineTuningTrainer):
    """`FineTuningTrainer` with `multilabel_loss`, averaged over the known cells (its `weights`); `pos_weight` is [labels]."""

    def __init__(self, *args, pos_weight: torch.Tensor | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.pos_weight = pos_weight

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = self.model_outputs(model, inputs)
        losses = multilabel_loss(
            outputs["logits"], inputs["labels"], self.args.loss, self.pos_weight, self.args.label_smoothing_factor
        )
        loss = self.mean(losses, inputs, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def encode(rows: dict[str, list], tokenizer, columns: list[str], max_length: int) -> dict[str, list]:
    """Return what the model reads of some rows: the tokens of a text, or of two as a pair."""
    texts = [[str(text) for text in rows[name]] for name in columns]
    return tokenizer(*texts, truncation=True, max_length=max_length)


def present(probabilities: np.ndarray, thresholds: float | np.ndarray) -> np.ndarray:
    """Return which labels each row has [rows, labels]: those whose probability reaches their threshold."""
    return probabilities >= thresholds


def decide(probabilities: np.ndarray, thresholds: np.ndarray, names: list[str]) -> list[str]:
    """Return the names of each row's labels, joined by semicolons."""
    return [";".join(names[label] for label in np.flatnonzero(row)) for row in present(probabilities, thresholds)]


def scores(
    probabilities: np.ndarray, targets: np.ndarray | None, names: list[str], thresholds: float | np.ndarray = 0.5, per_label=False
) -> dict[str, float]:
    """Return the metrics of probabilities against targets, both [rows, labels], decided at `thresholds` [labels].

    `per_label` adds each label's own. There are none without targets.
    """
    if targets is None:
        return {}
    decided = present(probabilities, thresholds)
    return MultilabelMetrics(keep_in_memory=True).compute(
        predictions=probabilities, references=targets, label_names=names, decided=decided, per_label=per_label
    )


def compute_metrics(output: EvalPrediction, task: Task) -> dict[str, float]:
    """Return the metrics of an evaluation during training."""
    probabilities, targets, metric = sigmoid(output.predictions), output.label_ids, task.args.training.metric_for_best_model
    thresholds = choose_thresholds(task.args.data.threshold, probabilities, targets, task.thresholds, metric)
    return scores(probabilities, targets, task.labels, thresholds)


def prepare(splits: dict[str, Dataset], args: Arguments) -> Task:
    """Find out what the data is, and fill in the `Task`. Raises `UserError` where data and options do not fit."""
    task = Task(splits, args, __file__)
    task.format = find_labels(task.splits, args.data, task.saved_labels)
    names = task.labels = task.format.names
    task.find_texts(task.format.columns)
    task.settle_rows(ROW_COLUMNS, check=task.format.check)
    task.thresholds = settle_threshold(args.data, task.splits, task.saved_thresholds, len(names), "per_label")
    task.submission = find_submission(args.data, task.splits, task.ids, task.id_column, names)
    truth = task.targets("validation")
    settle_evaluation(args.training, scores(truth, truth, names), METRIC_DIRECTIONS)
    if task.config is None:  # --check_data without a model
        return task
    task.load_tokenizer()
    if task.training:
        targets = task.targets("train")
        pos_weight = positive_weights(args.training.pos_weight, targets)
        task.bias = prior_log_odds(targets, pos_weight) if args.training.prior_bias else None
        task.trainer_options = {"pos_weight": pos_weight}
        task.describe_logits("multi_label_classification", names)
    return task


def build_trainer(task: Task) -> MultilabelTrainer:
    """Encode the rows of `task`, load a model with a logit for each label, and return the trainer."""
    # 4. Encode the examples.
    task.encode(encode)

    # 5. Load the model.
    model, head = load_model(MODEL_CLASS, task)

    # 6. Build the trainer.
    return MultilabelTrainer(model, head, task, partial(compute_metrics, task=task), **task.trainer_options)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Run the recipe and return its metrics. Raises `UserError`, a `ValueError`, for a mistake in data or options."""
    # 1. Read the arguments.
    args = read_arguments(KINDS, argv, __doc__, SAMPLE, EXAMPLE_ROWS, ROW_COLUMNS)

    # 2. Load the data and check its shape.
    splits = load_splits(args.data)
    if args.several:
        # 3. Search, or train by folds, if asked.
        metrics = several_runs(main, args, splits, prepare, build_trainer, decide, SEARCH_SPACE)
        if metrics is not None:
            return metrics
    task = prepare(splits, args)
    if args.data.check_data:
        return report_data(task, encode, task.format.describe, partial(positive_weights, "balanced"))

    # 4. Encode the examples. 5. Load the model. 6. Build the trainer.
    settle_checkpoint(task)
    trainer = build_trainer(task)
    results = Results(trainer, task, MODEL_CLASS, sigmoid)

    # 7. Train.
    if task.training:
        results.train()

    # 8. Evaluate.
    thresholds = task.thresholds
    if "validation" in task.splits:
        probabilities, targets = results.predict("validation")
        thresholds = choose_thresholds(args.data.threshold, probabilities, targets, thresholds)
        results.add_scores("validation", scores(probabilities, targets, task.labels, thresholds, per_label=True), thresholds)
        results.write_predictions("validation", probabilities, prediction=decide(probabilities, thresholds, task.labels))
    results.save_model(thresholds)
    if args.training.metrics_on_train:
        results.add_scores("train", scores(*results.predict("train"), task.labels, thresholds, per_label=True), thresholds)

    # 9. Predict and report.
    if "test" in task.splits:
        probabilities, targets = results.predict("test")
        results.add_scores("test", scores(probabilities, targets, task.labels, thresholds, per_label=True), thresholds)
        results.write_predictions("test", probabilities, prediction=decide(probabilities, thresholds, task.labels))
    return results.finish()


EXAMPLE_ROWS = [  # what --smoke_test trains on where no data is given
    {"text": "The kettle leaks and I want my money back.", "labels": ["defect", "refund"]},
    {"text": "Where is my parcel? It was due on Monday.", "labels": ["delivery"]},
    {"text": "Lovely teapot, thank you all!", "labels": ["praise"]},
    {"text": "Please send a new lid, this one came cracked.", "labels": ["defect", "replacement"]},
    {"text": "I am out of the office until the 5th.", "labels": []},
    {"text": "Third late parcel this year. Cancel my order and refund me.", "labels": ["delivery", "refund", "cancellation"]},
]

if __name__ == "__main__":
    run(main)
