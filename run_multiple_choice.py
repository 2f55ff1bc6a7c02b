r"""Fine-tune a pretrained encoder to pick the right one of several candidates.

Every candidate is read together with its context and given one logit; the softmax over a row's candidates is the answer.
Any number of candidates, also different from row to row: those that a row lacks are never encoded, and never win.

    python run_multiple_choice.py                                # the embedded sample: everyday questions, 2 to 5 candidates
    python run_multiple_choice.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv --validation_file validation.csv --test_file test.csv
    accelerate launch --num_processes 4 run_multiple_choice.py configs/hellaswag.yaml --learning_rate 3e-5

A row is a context (and a question), its candidates and the right one of them (`EXAMPLE_ROWS` below): one list, or one column
a candidate; the answer a position, a letter, a key or the candidate's own text. The columns of SWAG, HellaSwag, CommonsenseQA,
ARC, OpenBookQA, RACE, COPA, Social IQa, PIQA and WinoGrande are found. One text and a label from a fixed set is
run_classification.py. To adapt: the loss in `choice_loss`, what the model reads in `encode`, the decision in `main`.
"""

from dataclasses import dataclass
from pathlib import Path

from transformers.hf_argparser import HfArg

from utils.arguments import DataArguments, FineTuningArguments, ModelArguments, SearchArguments, UserError
from utils.command_line import check_command_line, parse_arguments

SAMPLE = Path(__file__).parent / "configs" / "everyday.yaml"


@dataclass
class MultipleChoiceArguments(DataArguments):
    """Columns and choices of this task."""

    context_column_name: str | None = HfArg(
        default=None,
        aliases=["--text_column_names", "--text_column_name"],
        help="Column read before each candidate, shortened where the text is too long; unset: found and printed.",
    )
    question_column_name: str | None = HfArg(
        default=None, help="Column put in front of each candidate, never shortened; unset: found where there is one; '': none."
    )
    choice_column_names: str | None = HfArg(
        default=None, help="One column of lists, or one column a candidate joined by commas; unset: found and printed."
    )
    label_column_name: str | None = HfArg(
        default=None, help="Column of the right candidate: position, letter, key or its own text; unset: found and printed."
    )
    label_descriptions: str | None = HfArg(
        default=None,
        help="YAML or JSON file with a sentence for each label of a single-label file: the sentences are the candidates.",
    )
    shuffle_choices: bool = HfArg(default=False, help="Shuffle the candidates of each training row.")
    allow_equal_candidates: bool = HfArg(
        default=False, help="Set aside rows whose right candidate stands there twice, instead of ending with an error."
    )


@dataclass
class MultipleChoiceTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, chosen for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/multiple_choice", help="Where the model, results and predictions go.")
    per_device_train_batch_size: int = HfArg(
        default=16, aliases=["--per_gpu_train_batch_size"], help="Rows of a training batch on each device, all candidates each."
    )
    head_learning_rate_multiplier: float = HfArg(
        default=10.0, help="Learning rate of a new head (output layer and pooler), as a multiple of --learning_rate."
    )
    metric_for_best_model: str | None = HfArg(
        default="accuracy",
        aliases=["--metric_name"],
        help="Metric on the validation data that chooses the best weights.",
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.head_learning_rate_multiplier > 0:
            raise UserError(f"--head_learning_rate_multiplier {self.head_learning_rate_multiplier}: expected above 0")


KINDS = (ModelArguments, MultipleChoiceArguments, MultipleChoiceTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForMultipleChoice,
    DataCollatorWithPadding,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Trainer,
    set_seed,
)

from utils.data.choice_shapes import add_candidates, describe_targets, find_choices, flatten
from utils.data.choices import ChoiceFormat
from utils.data.files import PLACE
from utils.data.labels import UNKNOWN, saved_setting
from utils.data.loading import encode_split, find_ids, first_rows, load_splits, splits_to_use
from utils.data.report import NO_LIMIT, report_data
from utils.results.metrics import MultipleChoiceMetrics, softmax
from utils.results.report import (
    cut_share,
    keep_evaluation,
    predict_in_order,
    print_files,
    print_scores,
    save_arguments,
    score_table,
    write_model_card,
    write_predictions,
)
from utils.runtime import run, set_up_logging
from utils.search.search import search
from utils.training.checkpoints import save_whole, settle_checkpoint
from utils.training.cpu import keep_memory, train_seen_tokens, tune
from utils.training.guard import Guard
from utils.training.models import (
    check_optimizer,
    check_vocabulary,
    forget_labels,
    load_config,
    load_model,
    load_tokenizer,
    padding_collator,
    refuse_model_of_other_script,
    sequence_length,
    speed_up,
    was_cut,
)
from utils.training.sampling import complete_last_batch, longest_first, train_sampler
from utils.training.smoke_test import check_reload, float32_forward, prepare_smoke_test
from utils.training.throughput import Throughput, cut_batch

logger = logging.getLogger(__name__)

HOW_TO_USE = """```python
import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer

model, tokenizer = (auto.from_pretrained("<this folder>") for auto in (AutoModelForMultipleChoice, AutoTokenizer))
context, candidates = "a context", ["one candidate", "another"]  # a question stands before each candidate
inputs = tokenizer([context] * len(candidates), candidates, truncation="only_first", padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**{name: tensor[None] for name, tensor in inputs.items()}).logits  # [1, candidates]
print(logits.softmax(dim=-1))
```"""
EXAMPLE_ROWS = [
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


class MultipleChoiceTrainer(Trainer):
    """`Trainer` with `choice_loss`, a faster head, and evaluation in float32.

    The loss is the sum over rows divided by their number in the whole optimizer step, over all micro-batches and processes,
    so that 1 x 16, 4 x 4 accumulated and 2 processes x 8 rows give the same loss and gradient.
    (transformers 5 multiplies them otherwise: https://github.com/huggingface/transformers/issues/47688.)

    Args:
        head_parameters: names of the parameters of a new head; they learn `args.head_learning_rate_multiplier` times faster
            than the encoder.
    """

    def __init__(self, *args, head_parameters: set[str] = frozenset(), **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # count `num_items_in_batch`, and do not divide by accumulation steps
        self.throughput, self.guard, self.evaluations = Throughput(), Guard(self), {}
        self.add_callback(self.throughput)
        self.add_callback(self.guard)
        self.head_parameters = head_parameters

    def row_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return choice_loss(logits, targets, self.args.label_smoothing_factor)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = choice_logits(model, inputs)
        loss = self.row_losses(logits, inputs["labels"]).sum() / num_items_in_batch.clamp(min=1)
        if self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the rows of all processes are counted, gradients averaged
        return (loss, {"logits": logits}) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        *parts, last = cut_batch(inputs, self.args.max_tokens_per_batch, self.args.padding_multiple)
        self.throughput.count(*parts, last)
        loss = 0.0
        with self.accelerator.no_sync(model):  # several processes exchange gradients once, with the last part
            for part in parts:
                loss += super().training_step(model, part, num_items_in_batch)
        return self.guard.add(loss + super().training_step(model, last, num_items_in_batch))

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        speed_up(optimizer, self.model if model is None else model, self.head_parameters, self.args.head_learning_rate_multiplier)
        self.guard.remember(optimizer)
        return optimizer

    def _save_checkpoint(self, model, trial):
        save_whole(self, partial(super()._save_checkpoint, model, trial), loss_sum=self.guard.loss_sum)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), float32_forward(self.accelerator.unwrap_model(model, keep_torch_compile=False)):
            logits = choice_logits(model, inputs)
        self.guard.check_logits(logits)
        self.evaluated.count(inputs)
        self.evaluated.stop()
        return None, logits, inputs.get("labels")

    def evaluation_loop(self, *args, metric_key_prefix="eval", **kwargs):
        self.evaluated = Throughput()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        output.metrics.update(self.evaluated.rates(metric_key_prefix, self))
        if output.label_ids is not None:
            targets = torch.from_numpy(output.label_ids)
            losses = self.row_losses(torch.from_numpy(output.predictions), targets).double()
            output.metrics[f"{metric_key_prefix}_loss"] = (losses.sum() / (targets != UNKNOWN).sum().clamp(min=1)).item()
        if self.is_in_train:
            self.evaluations = keep_evaluation(self, output)
        return output

    def _get_train_sampler(self, train_dataset=None):
        return train_sampler(self.train_dataset, self.args, epoch=lambda: int(self.state.epoch or 0))

    def _get_eval_sampler(self, eval_dataset):
        return torch.utils.data.SequentialSampler(eval_dataset)  # Trainer's would shuffle, if training groups by length


def choice_logits(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits [rows, most candidates of a row] of a batch of `collate`, minus infinity where a row has fewer."""
    present = inputs["present"]
    logits = model(**{name: tensor for name, tensor in inputs.items() if name not in ("present", "labels")}).logits.float()
    return torch.full(present.shape, -torch.inf, device=logits.device).masked_scatter(present, logits)


def collate(features: list[dict], pad: DataCollatorWithPadding, most: int) -> dict[str, torch.Tensor]:
    """Return the candidates of all rows one below the other, each a row of one choice: [candidates, 1, tokens].

    To the model that is the same as [rows, choices, tokens], but a row may have any number of them. `present` [rows, `most`]
    says which of the columns of its logits a row has; `labels` [rows] are positions in these.
    """
    counts = torch.tensor([len(row["input_ids"]) for row in features])
    batch = {"present": torch.arange(most) < counts[:, None]}
    if "labels" in features[0]:
        batch["labels"] = torch.tensor([row["labels"] for row in features])
    names = [name for name in features[0] if name != "labels"]
    candidates = [{name: row[name][i] for name in names} for row in features for i in range(len(row["input_ids"]))]
    return batch | {name: tensor[:, None] for name, tensor in pad(candidates).items()}


def encode(examples: dict[str, list], tokenizer, max_length: int) -> dict[str, list]:
    """Tokenize each candidate with its context, which is shortened where both are too long together.

    Every column becomes a list of candidates a row; `length`, in tokens of the longest, groups rows that need little padding;
    `cut` says whether a context was shortened.
    """
    counts = [len(candidates) for candidates in examples["candidates"]]
    contexts = [text for text, count in zip(examples["context"], counts, strict=True) for _ in range(count)]
    questions = [text for text, count in zip(examples["question"], counts, strict=True) for _ in range(count)]
    candidates = [text for row in examples["candidates"] for text in row]
    seconds = [f"{question} {text}" if question else text for question, text in zip(questions, candidates, strict=True)]
    try:
        encoded = tokenizer(contexts, seconds, truncation="only_first", max_length=max_length)
    except Exception as error:  # the tokenizers library has no class of its own for this
        lengths = [len(ids) for ids in tokenizer(seconds, add_special_tokens=False)["input_ids"]]
        longest = int(np.argmax(lengths))
        if lengths[longest] + tokenizer.num_special_tokens_to_add(pair=True) < max_length:
            raise
        place = examples[PLACE][int(np.searchsorted(np.cumsum(counts), longest, side="right"))]
        raise UserError(
            f"{place}: the candidate {candidates[longest][:60]!r} (with its question) has {lengths[longest]} tokens, which "
            f"leaves the context nothing of --max_seq_length {max_length}; candidates are never cut: raise it, or shorten the row"
        ) from error
    bounds = [0, *np.cumsum(counts).tolist()]
    rows = {name: [values[start:end] for start, end in zip(bounds, bounds[1:], strict=False)] for name, values in encoded.items()}
    overflow = was_cut(encoded)
    cut = [any(overflow[start:end]) for start, end in zip(bounds, bounds[1:], strict=False)]
    return {**rows, "length": [max(map(len, row)) for row in rows["input_ids"]], "cut": cut}


def predicted(logits: np.ndarray) -> np.ndarray:
    """Return the probability of each candidate [rows, candidates], in float64; NaN where a row has fewer."""
    return np.where(np.isneginf(logits), np.nan, softmax(logits))


def scores(probabilities: np.ndarray, targets: np.ndarray, prefix: str = "", details: bool = False) -> dict[str, float]:
    """Return the metrics of probabilities [rows, candidates] against positions [rows], each name with `prefix` before it.

    Rows whose target is unknown count nowhere.
    """
    known = targets != UNKNOWN
    result = MultipleChoiceMetrics(keep_in_memory=True).compute(
        predictions=probabilities[known], references=targets[known], details=details
    )
    return {f"{prefix}{name}": value for name, value in result.items()}


def table(metrics: dict[str, float], prefix: str, names: list[str]) -> list[list[str]]:
    """Return the table of scores by number of candidates and by position of the right one, a position's name in `names`."""
    counts = [count for count in range(2, len(names) + 1) if f"{prefix}_candidates_{count}_support" in metrics]
    keys = [*(f"candidates_{count}" for count in counts), *(f"position_{position}" for position in range(len(names)))]
    heading, *rows = score_table(metrics, prefix, keys, limit=len(keys), heading="right candidate")
    shown = [*(f"any of {count}" for count in counts), *names]
    return [heading, *([name, *row[1:]] for name, row in zip(shown, rows, strict=True))]


@dataclass
class Task:
    """What is known before the model is loaded; without a model (--check_data) the first six alone."""

    splits: dict[str, Dataset]
    choice_format: ChoiceFormat
    names: list[str]
    id_column: str
    ids: list
    candidates: list[list[str]]  # of the test split
    config: PreTrainedConfig | None
    tokenizer: PreTrainedTokenizerBase | None = None
    max_length: int | None = None

    @property
    def training(self) -> bool:
        return "train" in self.splits

    def encoding(self, max_length: int | None = None) -> Callable[[dict], dict]:
        return partial(encode, tokenizer=self.tokenizer, max_length=max_length or self.max_length)


def read_arguments(argv: list[str] | None, values: dict[str, Any] | None = None) -> tuple:
    """Return the (model, data, training, search) arguments and all options; `values`, of a trial, replace those given."""
    arguments = model_args, data_args, training_args, *_ = parse_arguments(KINDS, argv, __doc__, SAMPLE, values)
    set_seed(training_args.seed)
    if training_args.tune_cpu:
        keep_memory()
    if data_args.smoke_test:
        prepare_smoke_test(model_args, data_args, training_args, EXAMPLE_ROWS)
    return arguments


def check_shape(
    splits: dict[str, Dataset],
    model_args: ModelArguments,
    data_args: MultipleChoiceArguments,
    training_args: MultipleChoiceTrainingArguments,
) -> Task:
    """Find out what the data is, and settle what follows from it. Raises `UserError` where data and options do not fit."""
    splits = flatten(splits_to_use(splits, training_args.asked, data_args))
    config = load_config(model_args) if model_args.model_name_or_path or not data_args.check_data else None
    if "train" not in splits:
        refuse_model_of_other_script(config, "run_multiple_choice.py")
        if config and not any(name.endswith("ForMultipleChoice") for name in config.architectures or []):
            raise UserError(f"nothing to train on, and {config.name_or_path} has no head for multiple choice: give --train_file")
    saved_format = saved_setting(config, "choice_format")
    choice_format = find_choices(splits, data_args, ChoiceFormat(**saved_format) if saved_format else None)
    id_column, ids = find_ids(splits, data_args)
    splits = add_candidates(splits, choice_format, data_args, training_args.seed)
    splits = first_rows(splits, data_args, training_args.seed)
    candidates = splits["test"]["candidates"][:] if "test" in splits else []
    most = max(len(row) for split in splits.values() for row in split["candidates"][:])
    names = [label for label, _ in choice_format.descriptions or []] or [f"choice{position}" for position in range(most)]
    defined = None
    if "validation" in splits:
        truth = np.array(splits["validation"]["labels"][:])
        defined = scores((truth[:, None] == np.arange(most)).astype(float), truth)
    training_args.settle_evaluation(defined)
    task = Task(splits, choice_format, names, id_column, ids[: len(candidates)], candidates, config)
    if config is None:
        return task
    task.tokenizer = load_tokenizer(model_args)
    task.max_length = task.tokenizer.model_max_length = sequence_length(data_args.max_seq_length, task.tokenizer, config)
    if task.training:
        forget_labels(config)
        config.choice_format = asdict(choice_format)
    return task


def build_trainer(
    task: Task,
    model_args: ModelArguments,
    data_args: MultipleChoiceArguments,
    training_args: MultipleChoiceTrainingArguments,
) -> MultipleChoiceTrainer:
    """Encode the splits of `task` in place, load the model, and return the trainer."""
    # 4. Encode the examples.
    tokenizer, max_length, splits = task.tokenizer, task.max_length, task.splits
    for name, split in splits.items():
        with training_args.main_process_first():
            splits[name] = encode_split(name, split, task.encoding(), data_args)
    check_vocabulary(model_args, task.config, splits)

    # 5. Load the model.
    model, head_parameters = load_model(AutoModelForMultipleChoice, model_args, task.config, None, None)
    if training_args.tune_cpu:
        tune(model)
    if training_args.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    elif training_args.tune_cpu and task.training:
        train_seen_tokens(model, splits["train"], tokenizer.all_special_ids, training_args.resume_from_checkpoint)
    check_optimizer(training_args.resume_from_checkpoint, model)

    # 6. Build the trainer.
    training_args.settle_padding(max_length, data_args.pad_to_max_length)
    if task.training:
        logger.info(training_args.speed_note(data_args.pad_to_max_length))
    pad = padding_collator(tokenizer, training_args.padding_multiple)
    return MultipleChoiceTrainer(
        model=model,
        args=training_args,
        train_dataset=complete_last_batch(splits["train"], training_args) if task.training else None,
        eval_dataset=longest_first(splits["validation"])[0] if "validation" in splits else None,
        processing_class=tokenizer,
        data_collator=partial(collate, pad=pad, most=len(task.names)),
        compute_metrics=lambda output: scores(predicted(output.predictions), output.label_ids),
        head_parameters=head_parameters,
    )


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Run the recipe and return its metrics. Raises `UserError`, a `ValueError`, for a mistake in data or options."""
    # 1. Read the arguments.
    arguments = model_args, data_args, training_args, search_args, options = read_arguments(argv)
    set_up_logging(training_args)

    # 2. Load data and tokenizer, and check the shape.
    splits = load_splits(data_args)
    if search_args.search_trials:
        # 3. Search, if asked.
        best = search(SEARCH_SPACE, arguments, partial(read_arguments, argv), partial(check_shape, splits), build_trainer)
        if not data_args.check_data:
            return main([best]) if best else {}
    task = check_shape(splits, model_args, data_args, training_args)
    splits, names = task.splits, task.names
    if data_args.check_data:
        text_columns = ["context", "question", "candidates"]
        encoding = task.encoding(NO_LIMIT) if task.tokenizer else None
        describe = partial(describe_targets, names=names)
        report_data(splits, text_columns, describe, data_args, training_args.output_dir, encoding, task.max_length)
        return {}

    # 4. Encode the examples. 5. Load the model. 6. Build the trainer.
    if task.training:
        settle_checkpoint(arguments, splits, names)
    trainer = build_trainer(task, model_args, data_args, training_args)

    # 7. Train.
    metrics: dict[str, float] = {}
    if task.training:
        trained = trainer.guard.train()  # `trainer.train`, to be interrupted and resumed
        trained.metrics.update(trainer.throughput.rates("train", trainer) | cut_share(splits["train"], "train"))
        trainer.save_metrics("train", trained.metrics)
        trainer.save_state()
        metrics |= trained.metrics

    # 8. Evaluate.
    tables = {}
    if "validation" in splits:
        logits, targets, found = predict_in_order(trainer, splits["validation"], "eval")
        found |= scores(predicted(logits), targets, "eval_", details=True)
        trainer.save_metrics("eval", found)
        tables["Validation"] = table(found, "eval", names)
        metrics |= found

    # 9. Predict and report.
    output_dir = Path(training_args.output_dir)
    if task.training:
        trainer.save_model()
    if "test" in splits:
        logits, targets, found = predict_in_order(trainer, splits["test"], "predict")
        probabilities = predicted(logits)
        if targets is not None:
            found |= scores(probabilities, targets, "predict_", details=True)
            tables["Test"] = table(found, "predict", names)
        trainer.save_metrics("predict", found)
        metrics |= found
        if trainer.is_world_process_zero():
            decided = np.nanargmax(probabilities, axis=1).tolist()
            described = task.choice_format.descriptions
            texts = [names[i] if described else row[i] for row, i in zip(task.candidates, decided, strict=True)]
            path = output_dir / "predictions.csv"
            write_predictions(path, task.id_column, task.ids, names, probabilities, prediction=decided, prediction_text=texts)
    if trainer.is_world_process_zero():
        if task.training:
            data = data_args.dataset_name or data_args.train_file
            write_model_card(trainer, model_args.model_name_or_path, data, HOW_TO_USE, tables, metrics, task="multiple-choice")
        save_arguments(options, output_dir)
        print_scores(tables, metrics)
        if data_args.smoke_test:
            check_reload(output_dir, AutoModelForMultipleChoice, trainer.model, shape=(1, 2, 5))
        else:
            print_files(output_dir)
    return metrics


if __name__ == "__main__":
    run(main)
