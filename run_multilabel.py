r"""Fine-tune a pretrained encoder to give each text any number of labels.

Every label is a yes/no question of its own: one logit a label, binary cross-entropy, a decision threshold of its own.
The new head starts at each label's log-odds in the training data and learns faster than the encoder.

    python run_multilabel.py                                     # the embedded sample: customer emails, ten intents
    python run_multilabel.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv --validation_file validation.csv --test_file test.csv
    accelerate launch --num_processes 4 run_multilabel.py configs/jigsaw.yaml --learning_rate 3e-5

A row is a text and its labels, in any of these shapes: a list of names (`EXAMPLE_ROWS` below), a list of ids, a 0/1
vector, one 0/1 column a label, or a delimited string such as `delivery;refund`. To adapt: the loss in `multilabel_loss`,
what the model reads in `encode`, the decision in `decide`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers.hf_argparser import HfArg

from utils.arguments import FineTuningArguments, ModelArguments, SearchArguments, TextArguments, UserError
from utils.command_line import TUNED, check_command_line, parse_arguments, parse_threshold, parse_weights

SAMPLE = Path(__file__).parent / "configs" / "quickstart.yaml"


@dataclass
class MultilabelArguments(TextArguments):
    """Columns and choices of this task."""

    label_column_names: str | None = HfArg(
        default=None,
        aliases=["--label_column_name"],
        help="One list-like or delimited column, or several 0/1 columns joined by commas; unset: found and printed.",
    )
    label_delimiter: str | None = HfArg(default=None, help="What separates labels in a delimited column; unset: found.")
    problem_type: Literal["multi_label_classification"] | None = HfArg(
        default=None, help="Insist on multi-label although every row has exactly one label."
    )
    threshold: str | None = HfArg(
        default=None,
        help="per_label or single (tuned for F1 on the validation data), or a number such as 0.5. Unset: per_label after "
        "training, otherwise the saved model's own.",
    )
    sample_submission: str | None = HfArg(
        default=None, help="Kaggle's sample file; submission.csv then has its header and its order of rows."
    )

    def __post_init__(self):
        super().__post_init__()
        if self.threshold is not None:
            parse_threshold(self.threshold, TUNED)


@dataclass
class MultilabelTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, chosen for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/multilabel", help="Where the model, results and predictions go.")
    loss: Literal["bce", "focal", "asymmetric"] = HfArg(
        default="bce", help="Binary cross-entropy; focal and asymmetric turn down labels that are easily seen to be absent."
    )
    pos_weight: str = HfArg(
        default="none",
        help="Weight of positives in the loss: none, balanced (negatives / positives of the training split), sqrt (its "
        "square root), a number, or a number for each label joined by commas.",
    )
    prior_bias: bool = HfArg(default=True, help="Start the new head's bias at each label's log-odds in the training split.")
    head_learning_rate_multiplier: float = HfArg(
        default=10.0, help="Learning rate of a new head (output layer and pooler), as a multiple of --learning_rate."
    )
    metric_for_best_model: str | None = HfArg(
        default="average_precision_micro",
        aliases=["--metric_name"],
        help="Metric on the validation data that chooses the best weights.",
    )

    def __post_init__(self):
        super().__post_init__()
        parse_weights(self.pos_weight, "--pos_weight")
        if not self.head_learning_rate_multiplier > 0:
            raise UserError(f"--head_learning_rate_multiplier {self.head_learning_rate_multiplier}: expected above 0")


KINDS = (ModelArguments, MultilabelArguments, MultilabelTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below

import logging
import warnings
from collections.abc import Callable
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

from utils.data.files import read_array
from utils.data.label_shapes import add_targets, find_labels
from utils.data.labels import UNKNOWN, describe_targets, saved_label_names, saved_setting
from utils.data.loading import encode_split, find_ids, find_text_columns, first_rows, load_splits, splits_to_use
from utils.data.report import NO_LIMIT, report_data
from utils.results.metrics import MultilabelMetrics, depends_on_threshold, sigmoid
from utils.results.report import (
    Submission,
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
from utils.results.thresholds import choose_thresholds, known_thresholds, save_thresholds
from utils.runtime import run, set_up_logging
from utils.search.search import search
from utils.training.checkpoints import save_whole, settle_checkpoint
from utils.training.cpu import keep_memory, train_seen_tokens, tune
from utils.training.guard import Guard
from utils.training.imbalance import positive_weights, prior_log_odds
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
```

A label is decided where its probability reaches its threshold; the thresholds are in `thresholds.json` and `config.json`."""
EXAMPLE_ROWS = [
    {"text": "The kettle leaks and I want my money back.", "labels": ["defect", "refund"]},
    {"text": "Where is my parcel? It was due on Monday.", "labels": ["delivery"]},
    {"text": "Lovely teapot, thank you all!", "labels": ["praise"]},
    {"text": "Please send a new lid, this one came cracked.", "labels": ["defect", "replacement"]},
    {"text": "I am out of the office until the 5th.", "labels": []},
    {"text": "Third late parcel this year. Cancel my order and refund me.", "labels": ["delivery", "refund", "cancellation"]},
]

# What --search_trials varies, for data of any kind; `search_space` in a file of options replaces it.
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


class MultilabelTrainer(Trainer):
    """`Trainer` with `multilabel_loss`, a faster head, and evaluation in float32.

    The loss is the sum over known cells divided by their number in the whole optimizer step, over all micro-batches and
    processes, so that 1 x 16, 4 x 4 accumulated and 2 processes x 8 rows give the same loss and gradient.
    (transformers 5 multiplies them otherwise: https://github.com/huggingface/transformers/issues/47688.)

    Args:
        head_parameters: names of the parameters of a new head; they learn `args.head_learning_rate_multiplier` times faster
            than the encoder.
        pos_weight: [labels], see `multilabel_loss`.
    """

    def __init__(self, *args, head_parameters: set[str] = frozenset(), pos_weight: torch.Tensor | None = None, **kwargs):
        with warnings.catch_warnings():  # Trainer says that it drops label smoothing; multilabel_loss has its own
            warnings.filterwarnings("ignore", message="Label smoothing is not compatible")
            super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # count `num_items_in_batch`, and do not divide by accumulation steps
        self.throughput, self.guard, self.evaluations = Throughput(), Guard(self), {}
        self.add_callback(self.throughput)
        self.add_callback(self.guard)
        self.head_parameters, self.pos_weight = head_parameters, pos_weight

    def cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return multilabel_loss(logits, targets, self.args.loss, self.pos_weight, self.args.label_smoothing_factor)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        targets = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        loss = self.cell_losses(outputs.logits, targets).sum() / num_items_in_batch.clamp(min=1)
        if self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the cells of all processes are counted, gradients averaged
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
            targets = torch.from_numpy(output.label_ids)
            losses = self.cell_losses(torch.from_numpy(output.predictions), targets).double()
            output.metrics[f"{metric_key_prefix}_loss"] = (losses.sum() / (targets != UNKNOWN).sum().clamp(min=1)).item()
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


def decide(probabilities: np.ndarray, thresholds: np.ndarray, names: list[str]) -> list[str]:
    """Return each row's labels, joined by semicolons, those whose probability reaches their threshold."""
    return [";".join(name for name, yes in zip(names, row, strict=True) if yes) for row in probabilities >= thresholds]


def scores(
    probabilities: np.ndarray,
    targets: np.ndarray,
    names: list[str],
    thresholds: np.ndarray | None = None,
    prefix: str = "",
    per_label: bool = False,
) -> dict[str, float]:
    """Return the metrics of probabilities against targets, both [rows, labels], each name with `prefix` before it.

    Thresholds [labels] decide, or 0.5.
    """
    result = MultilabelMetrics(keep_in_memory=True).compute(
        predictions=probabilities,
        references=targets,
        label_names=names,
        thresholds=np.full(len(names), 0.5) if thresholds is None else thresholds,
        per_label=per_label,
    )
    return {f"{prefix}{name}": value for name, value in result.items()}


@dataclass
class Task:
    """What is known before the model is loaded; without a model (--check_data) the first seven alone."""

    splits: dict[str, Dataset]
    names: list[str]
    text_columns: list[str]
    delimiter: str | None
    id_column: str
    ids: list
    submission: Submission | None
    config: PreTrainedConfig | None
    saved_labels: list[str] | None = None
    saved_thresholds: list[float] | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    max_length: int | None = None
    pos_weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None  # of the new head

    @property
    def training(self) -> bool:
        return "train" in self.splits

    def encoding(self, max_length: int | None = None) -> Callable[[dict], dict]:
        settled = {"tokenizer": self.tokenizer, "text_columns": self.text_columns, "delimiter": self.delimiter}
        return partial(encode, max_length=max_length or self.max_length, **settled)


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
    data_args: MultilabelArguments,
    training_args: MultilabelTrainingArguments,
) -> Task:
    """Find out what the data is, and settle what follows from it. Raises `UserError` where data and options do not fit."""
    splits = splits_to_use(splits, training_args.asked, data_args)
    config = load_config(model_args) if model_args.model_name_or_path or not data_args.check_data else None
    training = "train" in splits
    if not training:
        refuse_model_of_other_script(config, "run_multilabel.py")
    label_format = find_labels(splits, data_args, saved_label_names(config, training))
    names = label_format.names
    text_columns = find_text_columns(splits, data_args, label_format.columns, saved_setting(config, "text_column_names"))
    delimiter = data_args.text_column_delimiter or saved_setting(config, "text_column_delimiter")
    splits = add_targets(splits, label_format, data_args, training_args.seed)
    splits = first_rows(splits, data_args, training_args.seed)
    id_column, ids = find_ids(splits, data_args)
    if data_args.threshold in TUNED and "validation" not in splits:
        raise UserError(
            f"--threshold {data_args.threshold} is tuned on validation data, and there is none: give --validation_file"
        )
    submission = None
    if data_args.sample_submission and "test" not in splits:
        raise UserError("--sample_submission needs rows to predict: give --test_file")
    if data_args.sample_submission and not data_args.smoke_test:
        submission = Submission(data_args.sample_submission, ids, id_column, names)
    truth = read_array(splits["validation"], "labels") if "validation" in splits else None
    training_args.settle_evaluation(None if truth is None else scores(truth, truth, names))
    if training and data_args.threshold is None:
        data_args.threshold = "per_label"
    task = Task(splits, names, text_columns, delimiter, id_column, ids, submission, config)
    if config is None:
        return task
    task.tokenizer = load_tokenizer(model_args)
    task.max_length = task.tokenizer.model_max_length = sequence_length(data_args.max_seq_length, task.tokenizer, config)
    task.saved_labels = saved_label_names(config, training)
    config.__dict__.pop("binary_form", None)  # of a model of run_classification.py
    config.problem_type, config.num_labels = "multi_label_classification", len(names)
    config.id2label, config.label2id = dict(enumerate(names)), {name: index for index, name in enumerate(names)}
    check_head(model_args, config, task.saved_labels)
    if not training:
        task.saved_thresholds = saved_setting(config, "thresholds")
        return task
    config.text_column_names, config.text_column_delimiter = text_columns, delimiter
    targets = read_array(splits["train"], "labels").astype(np.float32)
    task.pos_weight = positive_weights(training_args.pos_weight, targets)
    task.bias = prior_log_odds(targets, task.pos_weight)
    return task


def build_trainer(
    task: Task,
    model_args: ModelArguments,
    data_args: MultilabelArguments,
    training_args: MultilabelTrainingArguments,
) -> MultilabelTrainer:
    """Encode the splits of `task` in place, load the model, and return the trainer."""
    # 4. Encode the examples.
    tokenizer, max_length, names, splits = task.tokenizer, task.max_length, task.names, task.splits
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
        probabilities, thresholds = sigmoid(output.predictions), None
        if depends_on_threshold(training_args.metric_for_best_model):
            thresholds = choose_thresholds(data_args.threshold, probabilities, output.label_ids, task.saved_thresholds)
        return scores(probabilities, output.label_ids, names, thresholds)

    return MultilabelTrainer(
        model=model,
        args=training_args,
        train_dataset=complete_last_batch(splits["train"], training_args) if task.training else None,
        eval_dataset=longest_first(splits["validation"])[0] if "validation" in splits else None,
        processing_class=tokenizer,
        data_collator=padding_collator(tokenizer, training_args.padding_multiple),
        compute_metrics=compute_metrics,
        head_parameters=head_parameters,
        pos_weight=task.pos_weight,
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
        encoding = task.encoding(NO_LIMIT) if task.tokenizer else None
        describe, weigh = partial(describe_targets, names=names), partial(positive_weights, "balanced")
        report_data(splits, task.text_columns, describe, data_args, training_args.output_dir, encoding, task.max_length, weigh)
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
    if data_args.threshold in TUNED and "validation" not in splits:
        saved = "those of the saved model" if task.saved_thresholds else "0.5"
        logger.info("no validation data to tune thresholds on: %s", saved)
    thresholds = known_thresholds(data_args.threshold, task.saved_thresholds, len(names))
    tables = {}
    if "validation" in splits:
        logits, targets, found = predict_in_order(trainer, splits["validation"], "eval")
        probabilities = sigmoid(logits)
        thresholds = choose_thresholds(data_args.threshold, probabilities, targets, task.saved_thresholds)
        found |= scores(probabilities, targets, names, thresholds, "eval_", per_label=True)
        trainer.save_metrics("eval", found)
        tables["Validation"] = score_table(found, "eval", names, thresholds)
        metrics |= found

    # 9. Predict and report.
    output_dir = Path(training_args.output_dir)
    if task.training:
        trainer.model.config.thresholds = thresholds.tolist()
        trainer.save_model()
    if "test" in splits:
        logits, targets, found = predict_in_order(trainer, splits["test"], "predict")
        probabilities = sigmoid(logits)
        if targets is not None:
            found |= scores(probabilities, targets, names, thresholds, "predict_", per_label=True)
            tables["Test"] = score_table(found, "predict", names, thresholds)
        trainer.save_metrics("predict", found)
        metrics |= found
        if trainer.is_world_process_zero():
            decided = decide(probabilities, thresholds, names)
            write_predictions(output_dir / "predictions.csv", task.id_column, task.ids, names, probabilities, prediction=decided)
            if task.submission:
                task.submission.write(output_dir / "submission.csv", probabilities)
    if trainer.is_world_process_zero():
        save_thresholds(thresholds, names, output_dir)
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
