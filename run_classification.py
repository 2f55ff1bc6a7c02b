r"""Fine-tune a pretrained encoder to give each text, or each pair of texts, one label.

The label is one from a fixed set, a yes/no answer, or a number. It is recognised from the label column, and checked against
the width of the head before training. The new head starts at each label's share of the training data. It is fitted
alone first if rows are few, or learns faster than the encoder.

    python run_classification.py                                 # the embedded sample: short news, seven topics
    python run_classification.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv --validation_file validation.csv --test_file test.csv
    accelerate launch --num_processes 4 run_classification.py configs/sst2.yaml --learning_rate 3e-5

A row is one text (or two, `--text_column_names question1,question2`) and a label: a name, as in `EXAMPLE_ROWS` at the end; an
id; a number; or a row of probabilities.

To adapt: the loss in `classification_loss`, what the model reads in `encode`, the decision in `decide`, the metrics in
`scores`, more columns in `ROW_COLUMNS`, the model in `MODEL_CLASS`. docs/adapting.md shows seven changes as diffs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers.hf_argparser import HfArg

from utils.arguments import Arguments, FineTuningArguments, GlueArguments, ModelArguments, SearchArguments
from utils.command_line import check_command_line, parse_threshold, parse_weights

SAMPLE = Path(__file__).parent / "configs" / "topics.yaml"


@dataclass
class ClassificationArguments(GlueArguments):
    """Columns and choices of this task."""

    label_column_name: str | None = HfArg(
        default=None, aliases=["--label_column_names"], help="Column of the label, unknown where empty or -1. Unset: found."
    )
    problem_type: Literal["binary", "multi", "regression"] | None = HfArg(
        default=None, help="Insist on binary, multi or regression. Unset: found."
    )
    binary_form: Literal["two_logits", "one_logit", "one_hot"] | None = HfArg(
        default=None,
        help="Head of two: two_logits, one_logit, one_hot. Targets are class ids, one number, or a row of two. Unset: found.",
    )
    threshold: str | None = HfArg(
        default=None,
        help="Least probability of the second class. Below it the first of two is decided. tuned: for F1 on the validation data. "
        "Unset: saved, or 0.5.",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.threshold is not None:
            parse_threshold(self.threshold, ("tuned",))


@dataclass
class ClassificationTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/classification", help="Where the files of the run go.")
    loss: Literal["cross_entropy", "bce", "focal"] = HfArg(
        default="cross_entropy",
        help="Focal gives less weight to easy rows. bce: each logit is a yes/no question, for --binary_form one_logit (where it "
        "is the same) and one_hot.",
    )
    class_weights: str = HfArg(
        default="none",
        help="Weights of classes: none, balanced, sqrt, or numbers. balanced: inverse to a class's share of the training split; "
        "sqrt: the square root of that; numbers are joined by commas, in the order of the labels as printed.",
    )
    prior_bias: bool = HfArg(default=True, help="Start the new head's bias at each class's share. That of the training split.")
    metric_for_best_model: str | None = HfArg(
        default="own",
        aliases=["--metric_name"],
        help="Metric that chooses the best weights. On the validation data. own: accuracy, pearson for numbers, or that of "
        "--task_name.",
    )

    def __post_init__(self):
        super().__post_init__()
        parse_weights(self.class_weights, "--class_weights")


KINDS = (ModelArguments, ClassificationArguments, ClassificationTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, EvalPrediction

from utils.data.class_shapes import find_classes
from utils.data.classes import ClassFormat
from utils.files.cells import UNKNOWN
from utils.files.loading import load_splits
from utils.results.data_report import report_data
from utils.results.report import Results
from utils.runtime import run
from utils.scoring.metrics import ClassificationMetrics, RegressionMetrics, sigmoid, softmax
from utils.scoring.selection import choose_threshold, settle_evaluation, settle_threshold
from utils.search.several import several_runs
from utils.training.checkpoints import settle_checkpoint
from utils.training.head import class_prior, class_weights, load_model
from utils.training.task import Task, read_arguments
from utils.training.trainer import FineTuningTrainer

MODEL_CLASS = AutoModelForSequenceClassification
ROW_COLUMNS = ()  # columns of numbers that the loss or the model reads besides the labels, such as ("weight",)
METRIC_DIRECTIONS = {}  # for each metric that you add in `scores`: is "higher" or "lower" better?
# What --search_trials varies, for data of any kind; `search_space` in a file of options replaces it.
SEARCH_SPACE = {
    "learning_rate": {"log": [1e-5, 3e-4]},
    "num_train_epochs": {"int": [1, 5]},
    "per_device_train_batch_size": {"choice": [16, 32, 64]},
    "head_learning_rate_multiplier": {"log": [1.0, 30.0]},
}


def class_shares(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the probability of each class [rows, classes] that any form of target stands for; 0 where it is unknown."""
    if targets.dtype.is_floating_point:
        shares = torch.cat([1 - targets, targets], dim=1) if targets.shape[1] == 1 else targets
        return shares.nan_to_num(0.0) * ~targets.isnan().any(dim=1, keepdim=True)
    return F.one_hot(targets.clamp(min=0), classes).float() * (targets != UNKNOWN)[:, None]


def shares_of(targets: np.ndarray | None, form: ClassFormat) -> np.ndarray | None:
    """Return `class_shares` of targets in the given form; numbers as they are, [rows, 1]."""
    if targets is None or form.regression:
        return None if targets is None else targets[:, None]
    return class_shares(torch.tensor(targets), len(form.names)).numpy()


def balanced_weights(targets: np.ndarray, form: ClassFormat) -> torch.Tensor:
    """Return the weights of --class_weights balanced, for the report of --check_data."""
    return class_weights("balanced", shares_of(targets, form))


def row_weights(targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return what each row [rows] counts in the mean loss: the weight of its class, 1 without `weights`; 0 where unknown."""
    if weights is not None:
        return class_shares(targets, len(weights)) @ weights.to(targets.device)
    unknown = targets.isnan().reshape(len(targets), -1).any(dim=1) if targets.dtype.is_floating_point else targets == UNKNOWN
    return (~unknown).float()


def classification_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    kind: str = "cross_entropy",
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the loss of every row [rows] in float32; 0 where the target is unknown.

    The mean is its sum divided by the sum of `row_weights`.

    Args:
        logits: [rows, classes], or [rows, 1] for one logit.
        targets: class ids [rows]; or probabilities [rows, classes], [rows, 1] for one logit; `UNKNOWN` or NaN is unknown.
        kind: cross_entropy; bce, the mean binary cross-entropy of a row's logits; focal with gamma 2 (Lin et al. 2017,
            https://arxiv.org/abs/1708.02002); squared_error, for numbers [rows].
        weights: [classes], as in `torch.nn.CrossEntropyLoss`.
        smoothing: targets move this share of the way to the uniform distribution.
    """
    logits, row_weight = logits.float(), row_weights(targets, weights)
    if kind == "squared_error":
        return (logits[:, 0] - targets.nan_to_num(0.0)) ** 2 * row_weight
    if logits.shape[1] == 1:  # the softmax of (0, z) is the sigmoid of z: one logit is a head of two, and bce cross-entropy
        logits, kind = torch.cat([torch.zeros_like(logits), logits], dim=1), "cross_entropy" if kind == "bce" else kind
    classes = logits.shape[1]
    shares = class_shares(targets, classes)
    smoothed = (shares * (1 - smoothing) + smoothing / classes) * (row_weight > 0)[:, None]
    if kind == "bce":
        cells = -smoothed * F.logsigmoid(logits) - (1 - smoothed) * F.logsigmoid(-logits)
        return cells.mean(dim=1) * row_weight
    log_probabilities = F.log_softmax(logits, dim=1)
    class_weight = 1.0 if weights is None else weights.to(logits.device)
    focus = (1 - log_probabilities.exp()) ** 2 if kind == "focal" else 1.0
    return -(smoothed * class_weight * focus * log_probabilities).sum(dim=1)


class ClassificationTrainer(FineTuningTrainer):
    """`FineTuningTrainer` with a `kind` of `classification_loss`, averaged over the rows by their `class_weights` [classes]."""

    def __init__(self, *args, kind: str = "cross_entropy", class_weights: torch.Tensor | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.kind, self.class_weights = kind, class_weights

    def weights(self, inputs):
        return row_weights(inputs["labels"], self.class_weights)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = self.model_outputs(model, inputs)
        smoothing = self.args.label_smoothing_factor
        losses = classification_loss(outputs["logits"], inputs["labels"], self.kind, self.class_weights, smoothing)
        loss = self.mean(losses, inputs, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def encode(rows: dict[str, list], tokenizer, columns: list[str], max_length: int) -> dict[str, list]:
    """Return what the model reads of some rows: the tokens of a text, or of a pair of texts."""
    texts = [[str(text) for text in rows[name]] for name in columns]
    return tokenizer(*texts, truncation=True, max_length=max_length)


def predicted(logits: np.ndarray, form: ClassFormat) -> np.ndarray:
    """Return the probability of each class [rows, classes], in float64; numbers [rows, 1] as they are.

    With one logit the first class has what the second leaves. With independent logits the rows need not sum to 1.
    """
    if form.regression:
        return logits.astype(np.float64)
    if logits.shape[1] == 1:
        positive = sigmoid(logits)
        return np.concatenate([1 - positive, positive], axis=1)
    return sigmoid(logits) if form.independent else softmax(logits)


def most_probable(probabilities: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """Return the class [rows] of highest probability; of two classes the second, from `threshold` on."""
    if probabilities.shape[1] != 2:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1] / probabilities.sum(axis=1) >= threshold).astype(int)


def decide(probabilities: np.ndarray, threshold: np.ndarray, names: list[str]) -> list:
    """Return each row's class by name; the numbers themselves if `probabilities` are numbers [rows, 1]."""
    if probabilities.shape[1] == 1:
        return probabilities[:, 0].tolist()
    return [names[index] for index in most_probable(probabilities, threshold)]


def scores(
    probabilities: np.ndarray,
    targets: np.ndarray | None,
    names: list[str],
    threshold: float | np.ndarray = 0.5,
    per_label: bool = False,
) -> dict[str, float]:
    """Return the metrics of probabilities [rows, classes], or of numbers [rows, 1], against any form of targets.

    `per_label` adds each class's own. Rows whose target is unknown count nowhere; there are no metrics without targets.
    """
    if targets is None:
        return {}
    if probabilities.shape[1] == 1:
        return RegressionMetrics(keep_in_memory=True).compute(predictions=probabilities[:, 0], references=targets)
    decided = most_probable(probabilities, threshold)
    return ClassificationMetrics(keep_in_memory=True).compute(
        predictions=probabilities, references=targets, label_names=names, decided=decided, per_label=per_label
    )


def compute_metrics(output: EvalPrediction, task: Task) -> dict[str, float]:
    """Return the metrics of an evaluation during training."""
    probabilities, targets = predicted(output.predictions, task.format), output.label_ids
    metric = task.args.training.metric_for_best_model
    threshold = choose_threshold(task.args.data.threshold, probabilities, targets, task.thresholds, metric)
    return scores(probabilities, targets, task.labels, threshold)


def prepare(splits: dict[str, Dataset], args: Arguments) -> Task:
    """Find out what the data is, and fill in the `Task`. Raises `UserError` where data and options do not fit."""
    task = Task(splits, args, __file__)
    found = task.format = find_classes(task.splits, args, task.config)
    names, task.unknown = found.names, found.unknown
    task.labels = names
    task.find_texts(found.label_columns)
    task.settle_rows(ROW_COLUMNS)
    task.thresholds = settle_threshold(args.data, task.splits, task.saved_thresholds, 1)
    truth = task.targets("validation")
    settle_evaluation(args.training, scores(shares_of(truth, found), truth, names), METRIC_DIRECTIONS)
    if task.config is None:  # --check_data without a model
        return task
    task.load_tokenizer()
    task.trainer_options, weights = {"kind": "squared_error" if found.regression else args.training.loss}, None
    if task.training:
        shares = shares_of(task.targets("train"), found)
        if not found.regression:
            weights = task.trainer_options["class_weights"] = class_weights(args.training.class_weights, shares)
        if args.training.prior_bias:
            task.bias = torch.tensor(shares.mean(axis=0)) if found.regression else class_prior(shares, weights, found)
        task.describe_logits(found.problem_type, found.head_names, **found.settings)
    return task


def build_trainer(task: Task) -> ClassificationTrainer:
    """Encode the rows of `task`, load a model with a logit for each class, and return the trainer."""
    # 4. Encode the examples.
    task.encode(encode)

    # 5. Load the model.
    model, head = load_model(MODEL_CLASS, task)

    # 6. Build the trainer.
    return ClassificationTrainer(model, head, task, partial(compute_metrics, task=task), **task.trainer_options)


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
        return report_data(task, encode, task.format.describe, partial(balanced_weights, form=task.format))

    # 4. Encode the examples. 5. Load the model. 6. Build the trainer.
    settle_checkpoint(task)
    trainer = build_trainer(task)
    results = Results(trainer, task, MODEL_CLASS, partial(predicted, form=task.format))

    # 7. Train.
    if task.training:
        results.train()

    # 8. Evaluate.
    threshold = task.thresholds
    if "validation" in task.splits:
        probabilities, targets = results.predict("validation")
        threshold = choose_threshold(args.data.threshold, probabilities, targets, threshold)
        results.add_scores("validation", scores(probabilities, targets, task.labels, threshold, per_label=True))
        results.write_predictions("validation", probabilities, prediction=decide(probabilities, threshold, task.labels))
    results.save_model(threshold if len(task.labels) == 2 else None)
    if args.training.metrics_on_train:
        results.add_scores("train", scores(*results.predict("train"), task.labels, threshold, per_label=True))

    # 9. Predict and report.
    if "test" in task.splits:
        probabilities, targets = results.predict("test")
        results.add_scores("test", scores(probabilities, targets, task.labels, threshold, per_label=True))
        results.write_predictions("test", probabilities, prediction=decide(probabilities, threshold, task.labels))
    return results.finish()


EXAMPLE_ROWS = [  # what --smoke_test trains on where no data is given
    {"text": "The keeper saved two penalties and the cup stays at home.", "label": "sports"},
    {"text": "Parliament passed the budget by a single vote.", "label": "politics"},
    {"text": "Shares fell after the airline cut its forecast.", "label": "business"},
    {"text": "A late goal decided the derby.", "label": "sports"},
    {"text": "The minister resigned over the leaked letter.", "label": "politics"},
    {"text": "The bakery chain opens its hundredth shop.", "label": "business"},
    {"text": "Rain stopped play on the second day.", "label": "sports"},
    {"text": "Voters return to the polls in June.", "label": "politics"},
]

if __name__ == "__main__":
    run(main)
