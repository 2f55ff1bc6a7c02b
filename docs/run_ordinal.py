r"""Fine-tune a pretrained encoder to give each text, or each pair of texts, one of several ordered grades, such as 1 to 5.

For K grades the head has K - 1 logits. Each answers a question: is the grade above the lowest, above the second, and so on? The
decision counts the questions that are answered with yes (Cheng 2007, https://arxiv.org/abs/0704.1028).

    python run_ordinal.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv --validation_file validation.csv --test_file test.csv

A row is one text (or two, `--text_column_names question1,question2`) and a grade, a whole number, as in `EXAMPLE_ROWS`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers.hf_argparser import HfArg

from utils.arguments import Arguments, FineTuningArguments, ModelArguments, SearchArguments, TextArguments, UserError
from utils.command_line import check_command_line

SAMPLE = Path(__file__).parent / "configs" / "grades.yaml"


@dataclass
class OrdinalArguments(TextArguments):
    """Columns and choices of this task."""

    label_column_name: str | None = HfArg(
        default=None, aliases=["--label_column_names"], help="Column of the grade, unknown where empty or -1. Unset: found."
    )
    problem_type: Literal["multi"] | None = HfArg(
        default=None, help="multi: accept that a number between the lowest and the highest grade never occurs."
    )
    binary_form = None  # no option


@dataclass
class OrdinalTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/ordinal", help="Where the files of the run go.")
    prior_bias: bool = HfArg(default=True, help="Start the new head's bias at each answer's share of the training split.")
    metric_for_best_model: str | None = HfArg(
        default="mean_absolute_error",
        aliases=["--metric_name"],
        help="Metric on the validation data that chooses the best weights.",
    )


KINDS = (ModelArguments, OrdinalArguments, OrdinalTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below


import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error
from transformers import AutoModelForSequenceClassification, EvalPrediction

from utils.data.class_shapes import find_format
from utils.data.classes import saved_format
from utils.files.cells import UNKNOWN
from utils.files.loading import load_splits
from utils.files.rows import column_error
from utils.results.data_report import report_data
from utils.results.report import Results
from utils.runtime import run
from utils.scoring.metrics import sigmoid
from utils.scoring.selection import settle_evaluation
from utils.search.several import several_runs
from utils.training.checkpoints import settle_checkpoint
from utils.training.head import load_model, prior_log_odds
from utils.training.task import Task, read_arguments
from utils.training.trainer import FineTuningTrainer

MODEL_CLASS = AutoModelForSequenceClassification
ROW_COLUMNS = ()  # columns of numbers that the loss or the model reads besides the labels, such as ("weight",)
METRIC_DIRECTIONS = {"mean_absolute_error": "lower", "quadratic_weighted_kappa": "higher"}  # which value is better?
# What --search_trials varies, for data of any kind; `search_space` in a file of options replaces it.
SEARCH_SPACE = {
    "learning_rate": {"log": [1e-5, 3e-4]},
    "num_train_epochs": {"int": [1, 5]},
    "per_device_train_batch_size": {"choice": [16, 32, 64]},
    "head_learning_rate_multiplier": {"log": [1.0, 30.0]},
}


def answers(targets: torch.Tensor, questions: int) -> torch.Tensor:
    """Return the right answer to each question [rows, questions], 1 for yes: is the grade above the lowest, the second, …?"""
    return (targets[:, None] > torch.arange(questions, device=targets.device)).float()


def ordinal_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the loss of every row [rows] in float32, the mean binary cross-entropy of its questions; 0 where it is unknown.

    Args:
        logits: [rows, questions], one question fewer than there are grades.
        targets: positions [rows] among the grades, or `UNKNOWN`.
        smoothing: the answers move this share of the way to 0.5.
    """
    wanted = answers(targets, logits.shape[1]) * (1 - smoothing) + smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return losses.mean(dim=1) * (targets != UNKNOWN)


class OrdinalTrainer(FineTuningTrainer):
    """`FineTuningTrainer` with `ordinal_loss`, averaged over the rows."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = self.model_outputs(model, inputs)
        losses = ordinal_loss(outputs["logits"], inputs["labels"], self.args.label_smoothing_factor)
        loss = self.mean(losses, inputs, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def encode(rows: dict[str, list], tokenizer, columns: list[str], max_length: int) -> dict[str, list]:
    """Return what the model reads of some rows: the tokens of a text, or of two as a pair."""
    texts = [[str(text) for text in rows[name]] for name in columns]
    return tokenizer(*texts, truncation=True, max_length=max_length)


def positions(probabilities: np.ndarray) -> np.ndarray:
    """Return the position [rows] of each row's grade: how many questions [rows, questions] are rather answered with yes."""
    return (probabilities >= 0.5).sum(axis=1)


def decide(probabilities: np.ndarray, names: list[str]) -> list[str]:
    """Return each row's grade, as it is written in the data."""
    return [names[position] for position in positions(probabilities)]


def scores(probabilities: np.ndarray, targets: np.ndarray | None) -> dict[str, float]:
    """Return the metrics of probabilities [rows, questions] against positions [rows] among the grades.

    Rows whose target is unknown count nowhere; there are no metrics without targets.
    """
    if targets is None:
        return {}
    known = targets != UNKNOWN
    truth, decided = targets[known], positions(probabilities)[known]
    found = {"mean_absolute_error": mean_absolute_error(truth, decided), "accuracy": accuracy_score(truth, decided)}
    if len(np.unique([truth, decided])) > 1:  # kappa is not defined where all are of one grade
        grades = np.arange(probabilities.shape[1] + 1)
        found["quadratic_weighted_kappa"] = cohen_kappa_score(truth, decided, labels=grades, weights="quadratic")
    return {name: float(value) for name, value in found.items()}


def compute_metrics(output: EvalPrediction) -> dict[str, float]:
    """Return the metrics of an evaluation during training."""
    return scores(sigmoid(output.predictions), output.label_ids)


def prepare(splits: dict[str, Dataset], args: Arguments) -> Task:
    """Find out what the data is, and fill in the `Task`. Raises `UserError` where data and options do not fit."""
    task = Task(splits, args, __file__)
    found = task.format = find_format(task.splits, args.data, saved_format(task.config, task.training))
    if task.training and not found.ids:
        raise column_error(task.splits["train"], found.column, "expected grades, whole numbers such as 1 to 5")
    if not task.training and task.config.num_labels != len(found.names) - 1:
        raise UserError(f"{args.model.model_name_or_path} was not trained by {task.script.name}: it has no logits for grades")
    task.labels = [f"above {name}" for name in found.names[:-1]]
    task.find_texts(found.label_columns)
    task.settle_rows(ROW_COLUMNS)
    truth = task.targets("validation")
    perfect = None if truth is None else answers(torch.tensor(truth), len(task.labels)).numpy()
    settle_evaluation(args.training, scores(perfect, truth), METRIC_DIRECTIONS)
    if task.config is None:  # --check_data without a model
        return task
    task.load_tokenizer()
    if task.training:
        wanted = answers(torch.tensor(task.targets("train")), len(task.labels)).numpy()
        task.bias = prior_log_odds(wanted, None) if args.training.prior_bias else None
        task.describe_logits("multi_label_classification", task.labels, **found.settings)
    return task


def build_trainer(task: Task) -> OrdinalTrainer:
    """Encode the rows of `task`, load a model with a logit for each question, and return the trainer."""
    # 4. Encode the examples.
    task.encode(encode)

    # 5. Load the model.
    model, head = load_model(MODEL_CLASS, task)

    # 6. Build the trainer.
    return OrdinalTrainer(model, head, task, compute_metrics)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Run the recipe and return its metrics. Raises `UserError`, a `ValueError`, for a mistake in data or options."""
    # 1. Read the arguments.
    args = read_arguments(KINDS, argv, __doc__, SAMPLE, EXAMPLE_ROWS, ROW_COLUMNS)

    # 2. Load the data and check its shape.
    splits = load_splits(args.data)
    if args.several:
        # 3. Search, or train by folds, if asked.
        metrics = several_runs(main, args, splits, prepare, build_trainer, None, SEARCH_SPACE)
        if metrics is not None:
            return metrics
    task = prepare(splits, args)
    if args.data.check_data:
        return report_data(task, encode, task.format.describe)

    # 4. Encode the examples. 5. Load the model. 6. Build the trainer.
    settle_checkpoint(task)
    trainer = build_trainer(task)
    results = Results(trainer, task, MODEL_CLASS, sigmoid)

    # 7. Train.
    if task.training:
        results.train()

    # 8. Evaluate.
    if "validation" in task.splits:
        probabilities, targets = results.predict("validation")
        results.add_scores("validation", scores(probabilities, targets))
    results.save_model()
    if args.training.metrics_on_train:
        results.add_scores("train", scores(*results.predict("train")))

    # 9. Predict and report.
    if "test" in task.splits:
        probabilities, targets = results.predict("test")
        results.add_scores("test", scores(probabilities, targets))
        results.write_predictions("test", probabilities, prediction=decide(probabilities, task.format.names))
    return results.finish()


EXAMPLE_ROWS = [  # what --smoke_test trains on where no data is given
    {"text": "It broke on the first day.", "label": 1},
    {"text": "Loud, slow and too small.", "label": 1},
    {"text": "It works, but the lid is loose.", "label": 2},
    {"text": "Not bad, not good.", "label": 3},
    {"text": "Does what it should.", "label": 3},
    {"text": "Good value, and quickly delivered.", "label": 4},
    {"text": "The best kettle that I ever had!", "label": 5},
    {"text": "Perfect, I ordered a second one.", "label": 5},
]

if __name__ == "__main__":
    run(main)
