r"""Fine-tune a pretrained encoder to give each text, or each pair of texts, one label.

One label from a fixed set, a yes/no question, or a number: found from the label column, checked against the width of the
head before training. The new head starts at each label's share of the training data and learns faster than the encoder.

    python run_classification.py                                 # the embedded sample: short news, seven topics
    python run_classification.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv --validation_file validation.csv --test_file test.csv
    accelerate launch --num_processes 4 run_classification.py configs/sst2.yaml --learning_rate 3e-5

A row is one text (or two, `--text_column_names question1,question2`) and a label: a name, an id, a number, or a row of
probabilities (`EXAMPLE_ROWS` below). To adapt: the loss in `classification_loss`, what the model reads in `encode`, the
decision in `decide`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers.hf_argparser import HfArg

from utils.arguments import FineTuningArguments, ModelArguments, SearchArguments, TextArguments, UserError
from utils.command_line import check_command_line, parse_arguments, parse_threshold, parse_weights

SAMPLE = Path(__file__).parent / "configs" / "topics.yaml"
GLUE_TASKS = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
GLUE_METRICS = {"cola": "matthews_corrcoef", "mrpc": "f1", "qqp": "f1", "stsb": "pearson"}  # accuracy for the others


@dataclass
class ClassificationArguments(TextArguments):
    """Columns and choices of this task."""

    task_name: str | None = HfArg(
        default=None, help="A GLUE task such as mrpc: loads it from the Hub unless files are given, and picks its metric."
    )
    label_column_name: str | None = HfArg(
        default=None, aliases=["--label_column_names"], help="Column of the label, unknown where empty or -1; unset: found."
    )
    problem_type: Literal["binary", "multi", "regression"] | None = HfArg(
        default=None, help="Insist on two classes, several classes, or numbers; unset: found from the labels."
    )
    binary_form: Literal["two_logits", "one_logit", "one_hot"] | None = HfArg(
        default=None,
        help="Head and targets of two classes: two_logits with class ids, one_logit with one target, one_hot for two logits "
        "with a row of two targets. Unset: what the label column holds.",
    )
    threshold: str | None = HfArg(
        default=None,
        help="Binary: probability of the second class from which it is decided, a number, or tuned (for F1 on the validation "
        "data). Unset: 0.5 after training, otherwise the saved model's own.",
    )

    def __post_init__(self):
        if self.task_name and not (self.dataset_name or self.train_file or self.validation_file or self.test_file):
            self.dataset_name, self.dataset_config_name = "nyu-mll/glue", self.task_name
        super().__post_init__()
        if self.threshold is not None:
            parse_threshold(self.threshold, ("tuned",))
        if self.binary_form and self.problem_type in ("multi", "regression"):
            raise UserError(f"--binary_form {self.binary_form} is for two classes, --problem_type {self.problem_type} is not")
        if self.task_name and self.task_name not in GLUE_TASKS:
            raise UserError(f"--task_name {self.task_name}: expected a GLUE task, one of {', '.join(GLUE_TASKS)}")
        if self.task_name == "stsb":
            self.problem_type = self.problem_type or "regression"  # its scores may be whole numbers


@dataclass
class ClassificationTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, chosen for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/classification", help="Where the model, results and predictions go.")
    loss: Literal["cross_entropy", "bce", "focal"] = HfArg(
        default="cross_entropy",
        help="cross_entropy; bce: one yes/no question a logit, for --binary_form one_logit (where it is the same) and one_hot; "
        "focal turns down rows that are easily classified.",
    )
    class_weights: str = HfArg(
        default="none",
        help="Weight of each class in the loss: none, balanced (inverse to its share of the training split), sqrt (the square "
        "root of that), or a number for each class joined by commas, in the order of the labels as printed.",
    )
    prior_bias: bool = HfArg(default=True, help="Start the new head's bias at each class's share of the training split.")
    head_learning_rate_multiplier: float = HfArg(
        default=10.0, help="Learning rate of a new head (output layer and pooler), as a multiple of --learning_rate."
    )
    metric_for_best_model: str | None = HfArg(
        default="own",
        aliases=["--metric_name"],
        help="Metric on the validation data that chooses the best weights; own: accuracy, pearson for numbers, that of "
        "--task_name.",
    )

    def __post_init__(self):
        super().__post_init__()
        parse_weights(self.class_weights, "--class_weights")
        if not self.head_learning_rate_multiplier > 0:
            raise UserError(f"--head_learning_rate_multiplier {self.head_learning_rate_multiplier}: expected above 0")


KINDS = (ModelArguments, ClassificationArguments, ClassificationTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    EvalPrediction,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Trainer,
    set_seed,
)

from utils.data.class_shapes import add_targets, find_classes
from utils.data.classes import ClassFormat, class_ids, describe_targets, save_format, saved_format, unknown_rows
from utils.data.labels import UNKNOWN, saved_label_names, saved_setting
from utils.data.loading import encode_split, find_ids, find_text_columns, first_rows, load_splits, splits_to_use
from utils.data.report import NO_LIMIT, report_data
from utils.results.metrics import ClassificationMetrics, RegressionMetrics, depends_on_threshold, sigmoid, softmax
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
from utils.results.thresholds import best_f1_threshold, known_thresholds, save_thresholds
from utils.runtime import run, set_up_logging
from utils.search.search import search
from utils.training.checkpoints import save_whole, settle_checkpoint
from utils.training.cpu import keep_memory, train_seen_tokens, tune
from utils.training.guard import Guard
from utils.training.imbalance import class_prior, class_weights
from utils.training.models import (
    check_head,
    check_optimizer,
    check_vocabulary,
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
from transformers import pipeline

classify = pipeline("text-classification", model="<this folder>", top_k=None)
classify(["a text"], truncation=True)  # for each text, a probability of each label
classify([{"text": "a text", "text_pair": "another"}], truncation=True)  # for a model of pairs
```"""
EXAMPLE_ROWS = [
    {"text": "The keeper saved two penalties and the cup stays at home.", "label": "sports"},
    {"text": "Parliament passed the budget by a single vote.", "label": "politics"},
    {"text": "Shares fell after the airline cut its forecast.", "label": "business"},
    {"text": "A late goal decided the derby.", "label": "sports"},
    {"text": "The minister resigned over the leaked letter.", "label": "politics"},
    {"text": "The bakery chain opens its hundredth shop.", "label": "business"},
    {"text": "Rain stopped play on the second day.", "label": "sports"},
    {"text": "Voters return to the polls in June.", "label": "politics"},
]

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


def classification_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    kind: str = "cross_entropy",
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss and the weight of every row, both [rows], in float32; a mean is the sum of one over that of the other.

    Args:
        logits: [rows, classes], or [rows, 1] for one logit.
        targets: class ids [rows]; or probabilities [rows, classes], [rows, 1] for one logit; `UNKNOWN` or NaN is unknown.
        kind: cross_entropy; bce, the mean binary cross-entropy of a row's logits; focal with gamma 2 (Lin et al. 2017,
            https://arxiv.org/abs/1708.02002); squared_error, for numbers [rows].
        weights: [classes], as in `torch.nn.CrossEntropyLoss`.
        smoothing: targets move this share of the way to the uniform distribution.
    """
    logits = logits.float()
    if kind == "squared_error":
        known = ~targets.isnan()
        return (logits[:, 0] - targets.nan_to_num(0.0)) ** 2 * known, known.float()
    if logits.shape[1] == 1:  # the softmax of (0, z) is the sigmoid of z: one logit is a head of two, and bce cross-entropy
        logits, kind = torch.cat([torch.zeros_like(logits), logits], dim=1), "cross_entropy" if kind == "bce" else kind
    classes = logits.shape[1]
    shares = class_shares(targets, classes)
    class_weight = torch.ones(classes, device=logits.device) if weights is None else weights.to(logits.device)
    row_weight = (shares * class_weight).sum(dim=1)
    smoothed = (shares * (1 - smoothing) + smoothing / classes) * (row_weight > 0)[:, None]
    if kind == "bce":
        cells = -smoothed * F.logsigmoid(logits) - (1 - smoothed) * F.logsigmoid(-logits)
        return cells.mean(dim=1) * row_weight, row_weight
    log_probabilities = F.log_softmax(logits, dim=1)
    focus = (1 - log_probabilities.exp()) ** 2 if kind == "focal" else 1.0
    return -(smoothed * class_weight * focus * log_probabilities).sum(dim=1), row_weight


class ClassificationTrainer(Trainer):
    """`Trainer` with `classification_loss`, a faster head, and evaluation in float32.

    The loss is the sum over rows divided by the sum of their weights in the whole optimizer step, over all micro-batches
    and processes, so that 1 x 16, 4 x 4 accumulated and 2 processes x 8 rows give the same loss and gradient.
    (transformers 5 multiplies them otherwise: https://github.com/huggingface/transformers/issues/47688.)

    Args:
        head_parameters: names of the parameters of a new head; they learn `args.head_learning_rate_multiplier` times faster
            than the encoder.
        weights: [classes], see `classification_loss`.
        regression: whether targets are numbers.
    """

    def __init__(
        self, *args, head_parameters: set[str] = frozenset(), weights: torch.Tensor | None = None, regression=False, **kwargs
    ):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # count `num_items_in_batch`, and do not divide by accumulation steps
        self.throughput, self.guard, self.evaluations = Throughput(), Guard(self), {}
        self.add_callback(self.throughput)
        self.add_callback(self.guard)
        self.head_parameters, self.weights, self.regression = head_parameters, weights, regression

    def row_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kind = "squared_error" if self.regression else self.args.loss
        return classification_loss(logits, targets, kind, self.weights, self.args.label_smoothing_factor)

    def _get_num_items_in_batch(self, batch_samples, device):
        """Sum the weights of all rows of an optimizer step; a weighted mean is divided by these, not by the rows."""
        width = self.model.config.num_labels
        weights = [self.row_losses(torch.zeros(len(b["labels"]), width), b["labels"].cpu())[1] for b in batch_samples]
        total = torch.cat(weights).sum().to(device)
        if self.args.world_size > 1 and self.args.average_tokens_across_devices:
            total = self.accelerator.gather(total).sum()
        return total

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        targets = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        loss = self.row_losses(outputs.logits, targets)[0].sum() / num_items_in_batch.clamp(min=1e-12)
        if self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the rows of all processes are counted, gradients averaged
        return (loss, outputs) if return_outputs else loss

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

    def prediction_step(self, model, inputs, *args, **kwargs):
        with float32_forward(self.accelerator.unwrap_model(model, keep_torch_compile=False)):
            loss, logits, targets = super().prediction_step(model, inputs, *args, **kwargs)
        logits = logits[0] if isinstance(logits, tuple) else logits  # some models return hidden states as well
        self.guard.check_logits(logits)
        self.evaluated.count(inputs)
        self.evaluated.stop()
        return loss, logits, targets

    def evaluation_loop(self, *args, metric_key_prefix="eval", **kwargs):
        self.evaluated = Throughput()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        output.metrics.update(self.evaluated.rates(metric_key_prefix, self))
        if output.label_ids is not None:  # Trainer's own is a mean of batch means; this one is exact
            losses, weights = self.row_losses(torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids))
            mean = losses.double().sum() / weights.double().sum().clamp(min=1e-12)
            output.metrics[f"{metric_key_prefix}_loss"] = mean.item()
        if self.is_in_train:
            self.evaluations = keep_evaluation(self, output)
        return output

    def _get_train_sampler(self, train_dataset=None):
        return train_sampler(self.train_dataset, self.args, epoch=lambda: int(self.state.epoch or 0))

    def _get_eval_sampler(self, eval_dataset):
        return torch.utils.data.SequentialSampler(eval_dataset)  # Trainer's would shuffle, if training groups by length


def encode(
    examples: dict[str, list], tokenizer, text_columns: list[str], max_length: int, delimiter: str | None
) -> dict[str, list]:
    """Tokenize a batch of texts or of pairs.

    `length`, in tokens, groups rows that need little padding; `cut` says whether a text is longer than what the model reads.
    """
    texts = [[str(text) for text in examples[name]] for name in text_columns]
    if delimiter is not None:
        texts = [[delimiter.join(row) for row in zip(*texts, strict=True)]]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    return {**encoded, "length": [len(ids) for ids in encoded["input_ids"]], "cut": was_cut(encoded)}


def predicted(logits: np.ndarray, independent: bool, regression: bool = False) -> np.ndarray:
    """Return the probability of each class [rows, classes], in float64; numbers [rows, 1] as they are.

    With one logit the first class has what the second leaves; with `independent` logits the rows need not sum to 1.
    """
    if regression:
        return logits.astype(np.float64)
    if logits.shape[1] == 1:
        positive = sigmoid(logits)
        return np.concatenate([1 - positive, positive], axis=1)
    return sigmoid(logits) if independent else softmax(logits)


def decide(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Return the class [rows] of highest probability; of two classes the second, from `threshold` on."""
    if probabilities.shape[1] != 2:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1] / probabilities.sum(axis=1) >= threshold).astype(int)


def scores(
    probabilities: np.ndarray, targets: np.ndarray, names: list[str], threshold: float = 0.5, prefix: str = "", per_label=False
) -> dict[str, float]:
    """Return the metrics of probabilities [rows, classes], or of numbers [rows, 1], against any form of targets.

    Each name has `prefix` before it. Rows whose target is unknown count nowhere.
    """
    known = ~unknown_rows(targets)
    if probabilities.shape[1] == 1:
        result = RegressionMetrics(keep_in_memory=True).compute(predictions=probabilities[known, 0], references=targets[known])
    else:
        result = ClassificationMetrics(keep_in_memory=True).compute(
            predictions=probabilities[known],
            references=class_ids(targets)[known],
            label_names=names,
            decided=decide(probabilities, threshold)[known],
            per_label=per_label,
        )
    return {f"{prefix}{name}": value for name, value in result.items()}


def choose_threshold(mode: str | None, saved: list[float] | None, probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the threshold of `decide`: tuned on these probabilities [rows, 2] and targets, the one given, or that saved."""
    if mode != "tuned":
        return known_thresholds(mode, saved, 1).item()
    return best_f1_threshold(class_ids(targets) == 1, probabilities[:, 1] / probabilities.sum(axis=1))


def check_options(data_args: ClassificationArguments, training_args: ClassificationTrainingArguments, found: ClassFormat) -> None:
    """Raise a `UserError` for an option that the labels `found` have no use for."""
    if training_args.loss == "bce" and found.form not in ("one_logit", "one_hot"):
        raise UserError(
            f"--loss bce takes float targets, [rows, 1] for one logit or a row of them for several; column {found.column!r} "
            f"gives {'numbers' if found.regression else 'class ids [rows]'}; use --loss cross_entropy"
            + (", or --binary_form one_logit or one_hot" if found.problem == "binary" else "")
        )
    for option, value, default in (
        ("--loss", training_args.loss, "cross_entropy"),
        ("--class_weights", training_args.class_weights, "none"),
        ("--label_smoothing_factor", training_args.label_smoothing_factor, 0.0),
    ):
        if found.regression and value != default:
            raise UserError(f"{option} {value}: column {found.column!r} holds numbers (regression), whose loss is squared error")
    if data_args.threshold and len(found.names) != 2:
        held = "holds numbers" if found.regression else f"has {len(found.names)}"
        raise UserError(f"--threshold decides between two labels; column {found.column!r} {held}")


@dataclass
class Task:
    """What is known before the model is loaded; without a model (--check_data) the first six alone."""

    splits: dict[str, Dataset]
    class_format: ClassFormat
    text_columns: list[str]
    delimiter: str | None
    id_column: str
    ids: list
    config: PreTrainedConfig | None
    saved_labels: list[str] | None = None
    saved_thresholds: list[float] | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    max_length: int | None = None
    weights: torch.Tensor | None = None  # of the classes in the loss
    bias: torch.Tensor | None = None  # of the new head

    @property
    def training(self) -> bool:
        return "train" in self.splits

    def encoding(self, max_length: int | None = None) -> Callable[[dict], dict]:
        settled = {"tokenizer": self.tokenizer, "text_columns": self.text_columns, "delimiter": self.delimiter}
        return partial(encode, max_length=max_length or self.max_length, **settled)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return predicted(logits, self.class_format.independent, self.class_format.regression)


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
    data_args: ClassificationArguments,
    training_args: ClassificationTrainingArguments,
) -> Task:
    """Find out what the data is, and settle what follows from it. Raises `UserError` where data and options do not fit."""
    splits = splits_to_use(splits, training_args.asked, data_args)
    config = load_config(model_args) if model_args.model_name_or_path or not data_args.check_data else None
    training = "train" in splits
    if not training:
        refuse_model_of_other_script(config, "run_classification.py")
    class_format = find_classes(splits, data_args, saved_format(config, training))
    if training and training_args.loss == "bce" and class_format.form == "one_hot":
        class_format = replace(class_format, independent=True)
    elif class_format.independent:  # as the saved model was trained
        training_args.loss = "bce"
    if class_format.problem == "binary":
        data_args.binary_form = class_format.form
    check_options(data_args, training_args, class_format)
    text_columns = find_text_columns(splits, data_args, [class_format.column], saved_setting(config, "text_column_names"))
    delimiter = data_args.text_column_delimiter or saved_setting(config, "text_column_delimiter")
    splits = add_targets(splits, class_format, data_args, training_args.seed)
    splits = first_rows(splits, data_args, training_args.seed)
    id_column, ids = find_ids(splits, data_args)
    if data_args.threshold == "tuned" and "validation" not in splits:
        raise UserError("--threshold tuned is tuned on validation data, and there is none: give --validation_file")
    if training_args.metric_for_best_model == "own":
        own = "pearson" if class_format.regression else GLUE_METRICS.get(data_args.task_name, "accuracy")
        training_args.metric_for_best_model = own
    defined = None
    if "validation" in splits:
        truth, names = np.array(splits["validation"]["labels"][:]), class_format.names
        perfect = truth[:, None] if class_format.regression else class_shares(torch.from_numpy(truth), len(names)).numpy()
        defined = scores(perfect, truth, names)
    training_args.settle_evaluation(defined)
    task = Task(splits, class_format, text_columns, delimiter, id_column, ids, config)
    if config is None:
        return task
    task.tokenizer = load_tokenizer(model_args)
    task.max_length = task.tokenizer.model_max_length = sequence_length(data_args.max_seq_length, task.tokenizer, config)
    task.saved_labels = saved_label_names(config, training)
    if not training:
        task.saved_thresholds = saved_setting(config, "thresholds")
        return task
    save_format(config, class_format)
    config.text_column_names, config.text_column_delimiter = text_columns, delimiter
    check_head(model_args, config, task.saved_labels)
    targets = torch.tensor(splits["train"]["labels"][:])
    if class_format.regression:
        task.bias = targets.mean(dim=0, keepdim=True)
    else:
        shares = class_shares(targets, len(class_format.names)).numpy()
        task.weights = class_weights(training_args.class_weights, shares)
        task.bias = class_prior(shares, task.weights, class_format.width == 1, class_format.independent)
    return task


def build_trainer(
    task: Task,
    model_args: ModelArguments,
    data_args: ClassificationArguments,
    training_args: ClassificationTrainingArguments,
) -> ClassificationTrainer:
    """Encode the splits of `task` in place, load the model, and return the trainer."""
    # 4. Encode the examples.
    tokenizer, max_length, class_format, splits = task.tokenizer, task.max_length, task.class_format, task.splits
    for name, split in splits.items():
        with training_args.main_process_first():
            splits[name] = encode_split(name, split, task.encoding(), data_args)
    check_vocabulary(model_args, task.config, splits)

    # 5. Load the model.
    bias = task.bias if training_args.prior_bias else None
    model, head_parameters = load_model(AutoModelForSequenceClassification, model_args, task.config, task.saved_labels, bias)
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

    def compute_metrics(output: EvalPrediction) -> dict[str, float]:
        probabilities, mode = task.probabilities(output.predictions), data_args.threshold
        if not depends_on_threshold(training_args.metric_for_best_model):
            mode = None  # tuning would be in vain
        threshold = choose_threshold(mode, task.saved_thresholds, probabilities, output.label_ids)
        return scores(probabilities, output.label_ids, class_format.names, threshold)

    return ClassificationTrainer(
        model=model,
        args=training_args,
        train_dataset=complete_last_batch(splits["train"], training_args, class_format.unknown) if task.training else None,
        eval_dataset=longest_first(splits["validation"])[0] if "validation" in splits else None,
        processing_class=tokenizer,
        data_collator=padding_collator(tokenizer, training_args.padding_multiple),
        compute_metrics=compute_metrics,
        head_parameters=head_parameters,
        weights=task.weights,
        regression=class_format.regression,
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
    splits, names, regression = task.splits, task.class_format.names, task.class_format.regression
    if data_args.check_data:
        encoding = task.encoding(NO_LIMIT) if task.tokenizer else None
        describe = partial(describe_targets, class_format=task.class_format)

        def weigh(targets: np.ndarray) -> torch.Tensor:
            return class_weights("balanced", class_shares(torch.tensor(targets), len(names)).numpy())

        settled = training_args.output_dir, encoding, task.max_length, None if regression else weigh
        report_data(splits, task.text_columns, describe, data_args, *settled)
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
    threshold = known_thresholds(data_args.threshold, task.saved_thresholds, 1).item()
    tables = {}
    if "validation" in splits:
        logits, targets, found = predict_in_order(trainer, splits["validation"], "eval")
        probabilities = task.probabilities(logits)
        threshold = choose_threshold(data_args.threshold, task.saved_thresholds, probabilities, targets)
        found |= scores(probabilities, targets, names, threshold, "eval_", per_label=True)
        trainer.save_metrics("eval", found)
        tables["Validation"] = score_table(found, "eval", names)
        metrics |= found

    # 9. Predict and report.
    output_dir = Path(training_args.output_dir)
    if task.training:
        if len(names) == 2:
            trainer.model.config.thresholds = [threshold]
        trainer.save_model()
    if "test" in splits:
        logits, targets, found = predict_in_order(trainer, splits["test"], "predict")
        probabilities = task.probabilities(logits)
        if targets is not None:
            found |= scores(probabilities, targets, names, threshold, "predict_", per_label=True)
            tables["Test"] = score_table(found, "predict", names)
        trainer.save_metrics("predict", found)
        metrics |= found
        if trainer.is_world_process_zero():
            decided = probabilities[:, 0] if regression else [names[index] for index in decide(probabilities, threshold)]
            columns = [] if regression else names
            write_predictions(
                output_dir / "predictions.csv",
                task.id_column,
                task.ids,
                columns,
                probabilities[:, : len(columns)],
                prediction=decided,
            )
    if trainer.is_world_process_zero():
        if len(names) == 2:
            save_thresholds(np.array([threshold]), names[1:], output_dir)
        if task.training:
            data = data_args.dataset_name or data_args.train_file
            write_model_card(trainer, model_args.model_name_or_path, data, HOW_TO_USE, tables, metrics)
        save_arguments(options, output_dir)
        print_scores(tables, metrics)
        if data_args.smoke_test:
            check_reload(output_dir, AutoModelForSequenceClassification, trainer.model, shape=(2, 5))
        else:
            print_files(output_dir)
    return metrics


if __name__ == "__main__":
    run(main)
