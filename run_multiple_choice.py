r"""Fine-tune a pretrained encoder to pick the right one of several candidates.

Every candidate is read together with its context and given one logit. The softmax over a row's candidates is the answer.
Rows may have any number of candidates, also different ones: those that a row lacks are never encoded, and never win.

    python run_multiple_choice.py                                # the embedded sample: everyday questions, 2 to 5 candidates
    python run_multiple_choice.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv --validation_file validation.csv --test_file test.csv
    accelerate launch --num_processes 4 run_multiple_choice.py configs/hellaswag.yaml --learning_rate 3e-5

A row is a context (and a question), its candidates and the right one of them, as in `EXAMPLE_ROWS` at the end. Candidates are
one list, or one column each; the answer is a position, a letter, a key or the candidate's own text. The columns of SWAG,
HellaSwag, CommonsenseQA, ARC, OpenBookQA, RACE, COPA, Social IQa, PIQA and WinoGrande are found. One text and a label from a
fixed set is run_classification.py.

To adapt: the loss in `choice_loss`, what the model reads in `encode`, the decision in `decide`, the metrics in `scores`, more
columns in `ROW_COLUMNS`, the model in `MODEL_CLASS`. docs/adapting.md shows seven changes as diffs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers.hf_argparser import HfArg

from utils.arguments import Arguments, DataArguments, FineTuningArguments, ModelArguments, SearchArguments
from utils.command_line import check_command_line

SAMPLE = Path(__file__).parent / "configs" / "everyday.yaml"


@dataclass
class MultipleChoiceArguments(DataArguments):
    """Columns and choices of this task."""

    context_column_name: str | None = HfArg(
        default=None,
        aliases=["--text_column_names", "--text_column_name"],
        help="Column read before each candidate. Unset: found. It is shortened where both are too long together.",
    )
    question_column_name: str | None = HfArg(
        default=None, help="Column in front of each candidate; '': none. Unset: found. It is never shortened."
    )
    choice_column_names: str | None = HfArg(default=None, help="A column of lists, or one a candidate: a,b,c. Unset: found.")
    label_column_name: str | None = HfArg(
        default=None, help="Column of the right candidate. Unset: found. It holds a position, a letter, a key or its own text."
    )
    first_position: Literal[0, 1] | None = HfArg(default=None, help="Whether positions there count from 0 or 1. Unset: found.")
    label_descriptions: str | None = HfArg(
        default=None,
        help="File with a sentence for each label, in YAML or JSON. The sentences are the candidates where a text has a label.",
    )
    shuffle_choices: bool = HfArg(default=False, help="Shuffle the candidates of each training row.")
    allow_equal_candidates: bool = HfArg(
        default=False, help="Set aside rows whose right candidate occurs twice. Otherwise they are an error."
    )


@dataclass
class MultipleChoiceTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/multiple_choice", help="Where the files of the run go.")
    per_device_train_batch_size: int = HfArg(
        default=16, aliases=["--per_gpu_train_batch_size"], help="Rows in a batch on each device, with all candidates."
    )
    metric_for_best_model: str | None = HfArg(
        default="accuracy",
        aliases=["--metric_name"],
        help="Metric that chooses the best weights. On the validation data.",
    )


KINDS = (ModelArguments, MultipleChoiceArguments, MultipleChoiceTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below

from functools import partial

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForMultipleChoice, DataCollatorWithPadding, EvalPrediction

from utils.batches.encoding import encode_candidates
from utils.data.choice_shapes import add_candidates, describe_targets, find_choices, shuffle_candidates
from utils.data.choices import saved_choices
from utils.files.cells import UNKNOWN
from utils.files.loading import load_splits
from utils.files.rows import PLACE
from utils.publishing.model_card import CHOICE
from utils.results.data_report import report_data
from utils.results.report import Results
from utils.results.score_tables import choice_table
from utils.runtime import run
from utils.scoring.metrics import MultipleChoiceMetrics, softmax
from utils.scoring.selection import settle_evaluation
from utils.search.several import several_runs
from utils.training.checkpoints import settle_checkpoint
from utils.training.head import load_model
from utils.training.task import Task, read_arguments
from utils.training.trainer import FineTuningTrainer

MODEL_CLASS = AutoModelForMultipleChoice
ROW_COLUMNS = ()  # columns of numbers that the loss reads besides the labels, such as ("weight",)
METRIC_DIRECTIONS = {}  # for each metric that you add in `scores`: is "higher" or "lower" better?
# What --search_trials varies, for data of any kind; `search_space` in a file of options replaces it.
SEARCH_SPACE = {
    "learning_rate": {"log": [1e-5, 3e-4]},
    "num_train_epochs": {"int": [1, 5]},
    "per_device_train_batch_size": {"choice": [8, 16, 32]},
    "head_learning_rate_multiplier": {"log": [1.0, 30.0]},
    "label_smoothing_factor": {"linear": [0.0, 0.2]},
}


def choice_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the cross-entropy of every row [rows] over the candidates that it has, in float32; 0 where the target is unknown.

    Args:
        logits: [rows, candidates], minus infinity where a row has fewer.
        targets: position of the right candidate [rows], or `UNKNOWN`.
        smoothing: this share of the target is spread over the candidates that the row has.
    """
    missing, known = logits == -torch.inf, targets != UNKNOWN
    log_probabilities = torch.log_softmax(logits.float(), dim=1).masked_fill(missing, 0.0)
    right = log_probabilities.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    uniform = log_probabilities.sum(dim=1) / (~missing).sum(dim=1)
    return -((1 - smoothing) * right + smoothing * uniform) * known


class MultipleChoiceTrainer(FineTuningTrainer):
    """`FineTuningTrainer` with `choice_loss`, averaged over the rows, on batches of `collate`."""

    def model_outputs(self, model, inputs):
        return {"logits": choice_logits(super().model_outputs(model, inputs)["logits"], inputs["present"])}

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = self.model_outputs(model, inputs)
        losses = choice_loss(outputs["logits"], inputs["labels"], self.args.label_smoothing_factor)
        loss = self.mean(losses, inputs, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def choice_logits(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return logits [rows, most candidates of a row] of those of all candidates, minus infinity where one is not `present`."""
    return torch.full(present.shape, -torch.inf, device=logits.device).masked_scatter(present, logits.float())


def collate(features: list[dict], pad: DataCollatorWithPadding, most: int) -> dict[str, torch.Tensor]:
    """Return the candidates of all rows one below the other, each a row of one choice: [candidates, 1, tokens].

    To the model that is the same as [rows, choices, tokens], but a row may have any number of them. `present` [rows, `most`]
    says which of the columns of its logits a row has. `labels` [rows] are positions in these; other columns are [rows] too.
    """
    counts = torch.tensor([len(row["input_ids"]) for row in features])
    batch = {"present": torch.arange(most) < counts[:, None]}
    by_row = [name for name, value in features[0].items() if not isinstance(value, list)]
    batch |= {name: torch.tensor([row[name] for row in features]) for name in by_row}
    names = [name for name in features[0] if name not in by_row]
    candidates = [{name: row[name][i] for name in names} for row in features for i in range(len(row["input_ids"]))]
    return batch | {name: tensor[:, None] for name, tensor in pad(candidates).items()}


def encode(rows: dict[str, list], tokenizer, max_length: int) -> dict[str, list]:
    """Return what the model reads of some rows: the tokens of each candidate, a list a row, with its context before it.

    The context is shortened where both are too long together, the candidate and its question never.
    """
    pairs = zip(rows["question"], rows["candidates"], strict=True)
    seconds = [[f"{question} {text}" if question else text for text in candidates] for question, candidates in pairs]
    return encode_candidates(tokenizer, rows["context"], seconds, max_length, rows[PLACE])


def predicted(logits: np.ndarray) -> np.ndarray:
    """Return the probability of each candidate [rows, candidates], in float64; NaN where a row has fewer."""
    return np.where(np.isneginf(logits), np.nan, softmax(logits))


def decide(probabilities: np.ndarray) -> list[int]:
    """Return the position of each row's most probable candidate."""
    return np.nanargmax(probabilities, axis=1).tolist()


def chosen_texts(task: Task, split: str, decided: list[int]) -> list[str]:
    """Return the text of the decided candidate of each row of a split; where labels are told in sentences, the label."""
    if task.format.descriptions:
        return [task.labels[position] for position in decided]
    candidates = task.read[split]["candidates"][:]
    return [row[position] for row, position in zip(candidates, decided, strict=True)]


def scores(probabilities: np.ndarray, targets: np.ndarray | None, details: bool = False) -> dict[str, float]:
    """Return the metrics of probabilities [rows, candidates] against the positions [rows] of the right ones.

    `details` adds those by number of candidates and by position. Rows whose target is unknown count nowhere; there are no
    metrics without targets.
    """
    if targets is None:
        return {}
    known = targets != UNKNOWN
    return MultipleChoiceMetrics(keep_in_memory=True).compute(
        predictions=probabilities[known], references=targets[known], details=details
    )


def compute_metrics(output: EvalPrediction) -> dict[str, float]:
    """Return the metrics of an evaluation during training."""
    return scores(predicted(output.predictions), output.label_ids)


def prepare(splits: dict[str, Dataset], args: Arguments) -> Task:
    """Find out what the data is, and fill in the `Task`. Raises `UserError` where data and options do not fit."""
    task = Task(splits, args, __file__)
    found = task.format = find_choices(task.splits, args.data, saved_choices(task.config))
    task.settle_empty_texts([found.context])
    task.settle_rows(ROW_COLUMNS, add=partial(add_candidates, found=found))
    if args.data.shuffle_choices and task.training:
        task.splits["train"] = shuffle_candidates(task.splits["train"], args.training.seed)
    most = max(len(row) for split in task.splits.values() for row in split["candidates"][:])
    task.labels = [label for label, _ in found.descriptions or []] or [f"choice{position}" for position in range(most)]
    truth = task.targets("validation")
    perfect = None if truth is None else (truth[:, None] == np.arange(most)).astype(float)
    settle_evaluation(args.training, scores(perfect, truth), METRIC_DIRECTIONS)
    if task.config is None:  # --check_data without a model
        return task
    task.load_tokenizer()
    if task.training:  # a logit has no name of its own, so it keeps those of transformers
        task.describe_logits(None, ["LABEL_0", "LABEL_1"], **found.settings)
    return task


def build_trainer(task: Task) -> MultipleChoiceTrainer:
    """Encode the rows of `task`, load a model with one logit for each candidate, and return the trainer."""
    # 4. Encode the examples.
    task.encode(encode)

    # 5. Load the model.
    model, head = load_model(MODEL_CLASS, task)

    # 6. Build the trainer.
    return MultipleChoiceTrainer(model, head, task, compute_metrics, collate=partial(collate, most=len(task.labels)))


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
        return report_data(task, encode, partial(describe_targets, names=task.labels))

    # 4. Encode the examples. 5. Load the model. 6. Build the trainer.
    settle_checkpoint(task)
    trainer = build_trainer(task)
    results = Results(trainer, task, MODEL_CLASS, predicted, CHOICE, choice_table)

    # 7. Train.
    if task.training:
        results.train()

    # 8. Evaluate.
    if "validation" in task.splits:
        probabilities, targets = results.predict("validation")
        results.add_scores("validation", scores(probabilities, targets, details=True))
        decided = decide(probabilities)
        texts = chosen_texts(task, "validation", decided)
        results.write_predictions("validation", probabilities, prediction=decided, prediction_text=texts)
    results.save_model()
    if args.training.metrics_on_train:
        results.add_scores("train", scores(*results.predict("train"), details=True))

    # 9. Predict and report.
    if "test" in task.splits:
        probabilities, targets = results.predict("test")
        results.add_scores("test", scores(probabilities, targets, details=True))
        decided = decide(probabilities)
        texts = chosen_texts(task, "test", decided)
        results.write_predictions("test", probabilities, prediction=decided, prediction_text=texts)
    return results.finish()


EXAMPLE_ROWS = [  # what --smoke_test trains on where no data is given
    {"context": "The bread is cut.", "question": "What did he use?", "choices": ["a knife", "a spoon", "a map"], "label": 0},
    {"context": "It rains.", "question": "What do we take?", "choices": ["the sledge", "the umbrella"], "label": 1},
    {"context": "The lamp stays dark.", "question": "Why?", "choices": ["it is new", "blue", "no bulb", "heavy"], "label": 2},
    {"context": "She missed the bus.", "question": "What now?", "choices": ["she walks", "she is a teacher"], "label": 0},
    {
        "context": "The soup is cold.",
        "question": "And now?",
        "choices": ["a hat", "ice", "milk", "a fork", "a stove"],
        "label": 4,
    },
    {"context": "The dog barks at the door.", "question": "Why?", "choices": ["it snows", "he reads", "a guest"], "label": 2},
]

if __name__ == "__main__":
    run(main)
