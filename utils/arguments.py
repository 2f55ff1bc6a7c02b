"""The options that every script shares: the model, the data, how to train, and whether to search."""

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainingArguments
from transformers.hf_argparser import HfArg

logger = logging.getLogger(__name__)

# Options, by how they begin, that do not change what is learnt; and the data files, which are compared by their content.
HARMLESS = ("output_dir", "overwrite_", "resume_", "train_file", "validation_file", "test_file", "max_predict_samples", "do_")
HARMLESS += ("id_column_name", "sample_submission", "preprocessing_", "per_device_eval_batch_size", "check_data", "smoke_test")
HARMLESS += ("dataloader_num", "dataloader_p", "log", "report_to", "run_name", "disable_tqdm", "save_", "search_")
HARMLESS += ("cache_dir", "push_to_hub", "hub_", "ddp_", "keep_checkpoints", "no_text", "no_report", "no_baseline")
HARMLESS += ("safe_csv", "all_probabilities", "metrics_on_train", "calibrate", "export", "augmented_files", "streaming")


class UserError(ValueError):
    """A mistake in the user's data or options. One line says what was found, what was expected and what to do."""


class RunError(RuntimeError):
    """A valid run that cannot go on, for example on a full disk. One line says what is kept and what to do."""


class Stopped(KeyboardInterrupt):
    """A signal ended the run. What was reached is saved, as `told` says; `status` is the signal's exit status."""

    def __init__(self, told: str, status: int):
        super().__init__(told)
        self.status = status


# The tasks of GLUE (Wang et al. 2018, https://gluebenchmark.com) and the metric of each.
GLUE_METRICS = {"cola": "matthews_corrcoef", "mrpc": "f1", "qqp": "f1", "stsb": "pearson"}
GLUE_METRICS |= dict.fromkeys(("sst2", "mnli", "qnli", "rte", "wnli"), "accuracy")


def shorten(names: list[str], limit: int = 12) -> str:
    """Return names joined by commas, in quotation marks if they hold some; of many, the first few and how many there are."""
    shown = [repr(name) if "," in name or "\n" in name else name for name in names[:limit]]
    return ", ".join(shown) + (f" … ({len(names)} in all)" if len(names) > limit else "")


def number_of(count: int, noun: str) -> str:
    """Return a count in words: "1 row", "1,200 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def require(name: str, value, condition: Callable[..., bool], expected: str) -> None:
    """Raise a `UserError` if the value of an option does not fulfil `condition`."""
    if not condition(value):
        raise UserError(f"--{name} {value}: expected {expected}")


@dataclass
class ModelArguments:
    """Which model to start from."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Model to start from: a folder, or a name on the Hub. A model that this script saved can also predict."
    )
    tokenizer_name: str | None = HfArg(default=None, help="Tokenizer: a folder or a Hub name. Unset: the model's own.")
    config_name: str | None = HfArg(default=None, help="Config: a folder or a Hub name. Unset: the model's own.")
    cache_dir: str | None = HfArg(default=None, help="Folder for files from the Hub. Unset: the HF cache.")
    model_revision: str = HfArg(default="main", help="Branch, tag or commit of the model on the Hub.")
    token: str | None = HfArg(default=None, help="Token for private models. Unset: that of `hf auth login`.")
    trust_remote_code: bool = HfArg(default=False, help="Allow a Hub repository to run its own model code.")
    attention_dropout: float | None = HfArg(default=None, help="Dropout of attention weights; 0: none. Unset: the model's own.")
    ignore_mismatched_sizes: bool = HfArg(default=False, help="Replace a saved head that has another width or other labels.")
    attn_implementation: str | None = HfArg(
        default=None, help="Attention: eager, sdpa, flash_attention_2, or a kernel on the Hub. Unset: the fastest that is there."
    )
    use_peft: bool = HfArg(
        default=False,
        help="Train low-rank adapters (LoRA) and the head alone. They are merged into the saved model; the folder adapter has "
        "them alone. See --lora_r and --lora_alpha; takes a higher --learning_rate, such as 5e-4.",
    )
    lora_r: int = HfArg(default=16, help="Rank of the adapters.")
    lora_alpha: int = HfArg(default=32, help="Scale of what the adapters add, which is divided by their rank as well.")

    def __post_init__(self):
        if self.use_peft and find_spec("peft") is None:
            raise UserError("--use_peft needs peft: pip install -r requirements-peft.txt, or 'peft>=0.21,<1'")
        if not self.use_peft and (self.lora_r, self.lora_alpha) != (ModelArguments.lora_r, ModelArguments.lora_alpha):
            raise UserError("--lora_r and --lora_alpha are those of adapters: add --use_peft, or leave them out")
        for name in ("lora_r", "lora_alpha"):
            require(name, getattr(self, name), lambda value: value >= 1, "at least 1")
        require("attention_dropout", self.attention_dropout, lambda value: value is None or 0 <= value < 1, "from 0 to below 1")


@dataclass
class DataArguments:
    """Where the rows come from. Formats: .csv .tsv .txt .json .jsonl .parquet .xlsx, each also .gz or .zip, and folders."""

    dataset_name: str | None = HfArg(default=None, help="Dataset: a name on the Hub, or a local folder.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration (subset) of that dataset.")
    streaming: bool = HfArg(
        default=False,
        help="Fetch no more rows of --dataset_name than --max_train_samples and the like ask for. They are the first of each "
        "split. Rows stay on disk, as those of files from 20 MB on always do; with this option those of smaller files do, too.",
    )
    train_file: str | None = HfArg(default=None, help="Training data: a file, a comma-separated list, or a glob.")
    validation_file: str | None = HfArg(default=None, help="Validation data, likewise. Unset: split off the training data.")
    test_file: str | None = HfArg(default=None, help="Rows to predict, likewise. Labels are optional.")
    text: list[str] | None = HfArg(
        default=None,
        help="Predict this text and print the answer; -: standard input. It may be given again, and needs only a saved model. "
        "Standard input has a text a line. For a pair, or for multiple choice, a text is a JSON object with the names of the "
        "columns that the model was trained on. No files are written.",
    )
    encoding: str | None = HfArg(default=None, help="Encoding of the data files, such as cp1252. Unset: UTF-8.")
    no_header: bool = HfArg(default=False, help="The tables begin with a row, not with the names of columns.")
    column_names: str | None = HfArg(default=None, help="Names for the columns of --no_header, joined by commas.")
    skip_bad_rows: bool = HfArg(default=False, help="Leave out rows with more or fewer fields than the header.")
    validation_fraction: float = HfArg(
        default=0.1, help="Share to split off without validation data. Off the training data, stratified; 0: none."
    )
    num_folds: int | None = HfArg(
        default=None,
        help="Train N times, each without one of N folds, and average. Each fold of the training data is predicted by the model "
        "that has not seen it (oof_predictions.csv); test predictions are the mean of all models.",
    )
    fold: int | None = HfArg(default=None, help="Train only this one of --num_folds, from 1. On another machine, for example.")
    group_column_name: str | None = HfArg(
        default=None, help="Rows with the same value here stay in one fold. They are of one author, for example."
    )
    augmented_files: str | None = HfArg(
        default=None,
        help="Changed copies of training rows, joined by id. Back-translations, for example: the files need the ids and the "
        "texts; a copy has the label of its original. Copies of rows that validate are left out.",
    )
    augmentation_weight: float = HfArg(default=1.0, help="What a copy counts in the loss. An original counts 1.")
    pseudo_labels: str | None = HfArg(
        default=None,
        help="Train on the test rows, too, as this folder has labelled them. It is that of a finished run or a blend; with "
        "--num_folds that of a run of the same folds, and each fold takes the labels of its own model.",
    )
    remove_splits: str | None = HfArg(default=None, help="Splits of the dataset to leave out, joined by commas.")
    id_column_name: str | None = HfArg(default=None, help="Ids to copy into predictions.csv. Unset: found, or row numbers.")
    unknown_label: str | None = HfArg(
        default=None,
        help="What stands for an unknown label. Several are joined by commas, such as N/A,?. Empty cells always do; '': nothing "
        "else, not even -1. Unset: the model's, or -1.",
    )
    strict_data: bool = HfArg(default=False, help="Refuse rows without text, instead of leaving them out.")
    max_seq_length: int | None = HfArg(default=None, help="Tokens read of a text. Unset: the model's limit, at most 512.")
    shuffle_train_dataset: bool = HfArg(
        default=False,
        help="Shuffle before --max_train_samples takes the first rows. Batches are shuffled anyway.",
    )
    max_train_samples: int | None = HfArg(default=None, help="Train on the first N rows only.")
    max_eval_samples: int | None = HfArg(default=None, help="Evaluate on the first N rows only.")
    max_predict_samples: int | None = HfArg(default=None, help="Predict the first N rows only.")
    overwrite_cache: bool = HfArg(
        default=False,
        help="Tokenize again, and ignore the cache. It holds splits with 5,000 rows or more; files are always read again.",
    )
    preprocessing_num_workers: int | None = HfArg(default=None, help="Number of processes that tokenize. Unset: one.")
    check_data: bool = HfArg(default=False, help="Report on the data, and stop before any model is loaded.")
    smoke_test: bool = HfArg(
        default=False,
        help="Try every step with a tiny random model, offline, in seconds. It trains, predicts, saves and reloads a few rows.",
    )

    def __post_init__(self):
        for name in (
            "max_seq_length",
            "max_train_samples",
            "max_eval_samples",
            "max_predict_samples",
            "preprocessing_num_workers",
        ):
            require(name, getattr(self, name), lambda value: value is None or value >= 1, "at least 1")
        require("num_folds", self.num_folds, lambda value: value is None or value >= 2, "at least 2")
        if self.fold is not None and self.num_folds is None:
            raise UserError(f"--fold {self.fold}: of how many? give --num_folds, too")
        if self.fold is not None:
            require("fold", self.fold, lambda value: 1 <= value <= self.num_folds, "a number from 1 to --num_folds")
        if self.num_folds and self.validation_file:
            raise UserError(
                f"--num_folds {self.num_folds} makes validation data of the training rows, and --validation_file is given: leave "
                f"it out, or add its rows to those of the folds, as in --train_file a.csv,b.csv --validation_file="
            )
        if self.num_folds and self.validation_fraction not in (0, type(self).validation_fraction):
            raise UserError(
                f"--validation_fraction {self.validation_fraction}: each fold of --num_folds validates once; leave one out"
            )
        require("augmentation_weight", self.augmentation_weight, lambda value: 0 < value < float("inf"), "above 0")
        require("validation_fraction", self.validation_fraction, lambda value: 0 <= value < 1, "a share from 0 to below 1")
        try:
            "a".encode(self.encoding or "utf-8")
        except (LookupError, ValueError):
            raise UserError(f"--encoding {self.encoding}: no such encoding; there are utf-8, cp1252, utf-16 and more") from None
        if self.column_names and not self.no_header:
            raise UserError(
                f"--column_names {self.column_names}: these name the columns of files without a header; add --no_header, or name "
                f"the columns to use with --text_column_names and the like"
            )
        names = [name.strip() for name in (self.column_names or "").split(",")]
        if self.column_names and ("" in names or len(set(names)) < len(names)):
            raise UserError(f"--column_names {self.column_names}: expected a different name for each column")
        if self.dataset_name and (self.train_file or self.validation_file or self.test_file):
            raise UserError("both --dataset_name and --*_file are given: keep one source of data")
        if self.dataset_name and self.streaming and self.shuffle_train_dataset:
            raise UserError("--shuffle_train_dataset needs all rows, and --streaming takes the first: leave one of them out")

    @property
    def limits(self) -> dict[str, int | None]:
        """The number of rows that a split may have. None: any."""
        return {"train": self.max_train_samples, "validation": self.max_eval_samples, "test": self.max_predict_samples}


@dataclass
class TextArguments(DataArguments):
    """Which columns hold the text."""

    text_column_names: str | None = HfArg(
        default=None,
        aliases=["--text_column_name"],
        help="The text column, or two of a pair. Unset: found. As in premise,hypothesis.",
    )
    text_column_delimiter: str | None = HfArg(
        default=None, help="Join the text columns with this into one text. Without it two are read as a pair."
    )
    long_texts: Literal["cut", "head_tail", "windows"] | None = HfArg(
        default=None,
        help="How texts above --max_seq_length are read. Unset: saved, or cut. cut: their beginning; head_tail: a quarter of the "
        "tokens from the beginning, the others from the end; windows: all of it, in overlapping windows. saved: as the model was "
        "trained.",
    )


@dataclass
class GlueArguments(TextArguments):
    """A task of GLUE by name, as in HF's run_glue.py."""

    task_name: str | None = HfArg(
        default=None, help="A GLUE task such as mrpc. It is loaded from the Hub unless files are given; its metric is picked."
    )

    def __post_init__(self):
        if self.task_name is not None:
            require("task_name", self.task_name, GLUE_METRICS.__contains__, f"a GLUE task, one of {', '.join(GLUE_METRICS)}")
            if not (self.dataset_name or self.train_file or self.validation_file or self.test_file):
                self.dataset_name, self.dataset_config_name = "nyu-mll/glue", self.task_name
            if self.task_name == "stsb":  # its scores may be whole numbers
                self.problem_type = self.problem_type or "regression"
        super().__post_init__()


@dataclass
class SearchArguments:
    """Whether and how to search hyperparameters before training."""

    search_trials: int = HfArg(
        default=0,
        help="Train N trials, then once with the best values. Optuna draws the values; --metric_for_best_model on the validation "
        "data judges them. 0: no search.",
    )
    search_space: str | None = HfArg(
        default=None,
        help="What to vary. Unset: the script's SEARCH_SPACE. A YAML or JSON file, YAML text, or a block in a file of options; "
        "for each option log, linear or int with [low, high], or choice with a list.",
    )
    search_storage: str | None = HfArg(
        default=None,
        help="Keep the trials, as in sqlite:///study.db. Unset: in memory. So a search can be continued, or shared between "
        "processes. The URL of a database, or a journal file such as study.log.",
    )
    search_pruning: bool = HfArg(
        default=True,
        help="Stop bad trials early. Bad: the best score so far is below the median of earlier ones at that epoch.",
    )

    def __post_init__(self):
        require("search_trials", self.search_trials, lambda value: value >= 0, "0 or more")
        unused = [name for name in ("search_space", "search_storage") if getattr(self, name) and not self.search_trials]
        if unused:
            logger.warning("no search, --%s has no effect: that takes --search_trials", " and --".join(unused))


@dataclass
class FineTuningArguments(TrainingArguments):
    """`TrainingArguments` with the defaults for fine-tuning a pretrained encoder, and the precision that suits the hardware."""

    per_device_train_batch_size: int = HfArg(
        default=32, aliases=["--per_gpu_train_batch_size"], help="Rows in a training batch on each device."
    )
    per_device_eval_batch_size: int | None = HfArg(
        default=None,
        aliases=["--per_gpu_eval_batch_size"],
        help="Rows in an evaluation batch. Unset: 32 on a CPU, 64 elsewhere.",
    )
    overwrite_output_dir: bool = HfArg(
        default=False,
        aliases=["--overwrite_output"],
        help="Replace a finished run, or one that had other options. It is the one in --output_dir; other data count too.",
    )
    resume_from_checkpoint: str | None = HfArg(
        default=None,
        help="Continue: True, False or a folder. Unset: an unfinished run. It has the same options and data, in --output_dir. "
        "True: insist on the newest sound checkpoint there. A folder: continue from that checkpoint. False: start over.",
    )
    resume_anyway: bool = HfArg(
        default=False,
        help="Continue although options, data, labels or script have changed. The new ones apply.",
    )
    keep_checkpoints: bool = HfArg(
        default=False, help="Keep the checkpoints of a finished run. Each is about three times the size of what is trained."
    )
    no_report: bool = HfArg(
        default=False,
        help="Do without report.html, intervals and label_issues.csv. `python tools/report.py OUTPUT_DIR` makes the page later.",
    )
    no_baseline: bool = HfArg(
        default=False,
        help="Do without TF-IDF as a baseline in the report. With logistic regression it takes seconds, on 20,000 rows at most.",
    )
    no_text: bool = HfArg(default=False, help="Leave the texts out of predictions.csv. Otherwise it has their beginnings.")
    safe_csv: bool = HfArg(
        default=False,
        help="Write `'` before cells that a spreadsheet would run. These begin like a formula, with = + - @, a tab or a carriage "
        "return, and are no numbers. In predictions.csv, validation_predictions.csv and submission.csv.",
    )
    all_probabilities: bool = HfArg(
        default=False,
        help="Write a column for each label even if there are more than 1,000. Otherwise predictions.csv then has the ten most "
        "probable labels of each row, and predictions.npy the probabilities of all.",
    )
    metrics_on_train: bool = HfArg(
        default=False,
        help="Score the training rows too, to see over-fitting. With the final weights and thresholds; takes a pass over them.",
    )
    learning_rate: float = HfArg(default=5e-5, help="Peak learning rate. Unset: higher for narrow encoders.")
    num_train_epochs: float = HfArg(default=3.0, help="Passes over the data. Unset: up to 12 with few rows.")
    warmup_steps: float = HfArg(default=0.1, help="Warm-up steps, or below 1 their share of all steps.")
    gradient_accumulation_steps: int = HfArg(default=1, help="Batches that make one training step together.")
    weight_decay: float = HfArg(default=0.01, help="Weight decay of AdamW, but not of biases and norms.")
    train_sampling_strategy: Literal["group_by_length", "random", "sequential"] = HfArg(
        default="group_by_length",
        help="Order of the rows; also random, sequential. By length: a batch has rows of similar length, which means less "
        "padding; sequential: as in the file.",
    )
    eval_strategy: str = HfArg(default="epoch", help="When to evaluate during training: no, steps or epoch.")
    save_strategy: str | None = HfArg(default=None, help="When to save: no, steps, epoch, best. Unset: as evaluations.")
    save_steps: float | None = HfArg(default=None, help="Steps between checkpoints. Unset: as evaluations, or 500.")
    save_total_limit: int | None = HfArg(default=2, help="Checkpoints to keep, the newest and the best among them.")
    load_best_model_at_end: bool | None = HfArg(default=None, help="Keep the best weights, not the last within chance of them.")
    early_stopping_patience: int | None = HfArg(
        default=None, help="Stop after N evaluations without a better score. In a row; --metric_for_best_model is the score."
    )
    extend_labels: bool = HfArg(
        default=False, help="Add labels to a trained model. What it knows of the others stays; the training data needs them all."
    )
    calibrate: Literal["temperature"] | None = HfArg(
        default=None,
        help="Calibrate the probabilities on the validation data. temperature: after training the logits are divided by one "
        "number, of several labels by one for each, which the saved model's output layer contains.",
    )
    export: Literal["onnx", "onnx_int8"] | None = HfArg(
        default=None,
        help="Write the model for ONNX Runtime, too. Into the folder onnx, once it has given the model's probabilities for the "
        "validation rows. onnx_int8: 8-bit weights, a quarter of the size, if macro-F1 (or accuracy) falls by 0.01 at most.",
    )
    hub_strategy: str = HfArg(
        default="end", help="When --push_to_hub pushes: end, every_save, checkpoint, all_checkpoints. As in transformers."
    )
    logging_steps: float = HfArg(default=50, help="Steps between log lines, or below 1 their share.")
    logging_nan_inf_filter: bool = HfArg(default=False, help="Hide NaN and infinite losses in the log.")
    bf16: bool | None = HfArg(default=None, help="Train in bf16. Unset: the hardware decides.")
    fp16: bool | None = HfArg(default=None, help="Train in fp16; `--fp16 False` asks for float32.")
    head_learning_rate_multiplier: float = HfArg(
        default=10.0, help="A new head learns so many times faster. The head: output layer and pooler, beside --learning_rate."
    )
    linear_probe: bool | None = HfArg(
        default=None,
        help="Fit a new head alone first. Unset: where rows are few. Meanwhile the encoder stays as it is. At most 5,000 rows "
        "are used. Then the head learns as fast as the encoder, unless --head_learning_rate_multiplier is given. Few: below "
        "5,000, or 400 for each class or label; not for numbers and candidates. False: never.",
    )
    pooling: Literal["first", "mean"] | None = HfArg(
        default=None,
        help="Tokens that a new head reads. Unset: the data decides. It is the first one, but the mean of all for 20 classes or "
        "more, with fewer than 400 rows each, if the encoder was trained by it. The mean takes a layer more, in a BERT, RoBERTa "
        "or XLM-RoBERTa model.",
    )
    pad_to_max_length: bool = HfArg(default=False, help="Pad texts to --max_seq_length, not to the longest in the batch.")
    padding_free: bool = HfArg(
        default=False,
        help="Compute on tokens only, not on padding. With equal results. For models whose head reads the first token, such as "
        "BERT, RoBERTa and ModernBERT. Not yet measured on a GPU.",
    )
    max_tokens_per_batch: int | None = HfArg(
        default=None,
        help="Most tokens at once; 0: any. Unset: 1024 on a CPU. Padding counts. A larger batch is split into parts: the same "
        "loss and gradient, less memory. Elsewhere than on a CPU there is no limit.",
    )
    freeze_embeddings: bool = HfArg(
        default=False,
        help="Do not train the word embeddings, to save time and memory. They are half of a small model's parameters.",
    )
    tune_cpu: bool = HfArg(
        default=True,
        help="Use the CPU's shortcuts, whose results are equal. See docs/speed.md.",
    )

    def __post_init__(self):
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.per_device_eval_batch_size is None:
            self.per_device_eval_batch_size = 32 if self.use_cpu else 64
        self._check_numbers()
        self._check_combinations()
        self._check_output()
        self._check_packages()
        phases = {"train": self.do_train, "validation": self.do_eval, "test": self.do_predict}
        self.asked = [split for split, asked in phases.items() if asked]  # as given: TrainingArguments sets do_eval itself
        self._settle_checkpoints()
        self._settle_processes()
        self.precision_note = self._choose_precision()
        self.description: dict = {}  # of the run; its checkpoints keep it
        self.damaged: list[str] = []  # checkpoints that were skipped
        self.direction_given = self.greater_is_better is not None
        with warnings.catch_warnings():  # the new name is not that of all versions
            warnings.filterwarnings("ignore", message="`gradient_checkpointing` is deprecated")
            super().__post_init__()
        self.label_names = ["labels"]
        if self.n_gpu > 1:  # Trainer would copy the model to each in every step, and leave out half precision
            self.precision_note += f"; one of {self.n_gpu} GPUs (torchrun --nproc_per_node {self.n_gpu} trains on all of them)"
            self._n_gpu = 1
        # With neither flag TrainingArguments would take the launcher's variable; here that case means float32.
        self.mixed_precision = "bf16" if self.bf16 else "fp16" if self.fp16 else "no"

    def _check_numbers(self) -> None:
        require("learning_rate", self.learning_rate, lambda value: 0 < value < float("inf"), "a number above 0")
        require("max_steps", self.max_steps, lambda value: value > 0 or value == -1, "above 0, or -1 to train by epochs")
        if self.max_steps <= 0:
            require("num_train_epochs", self.num_train_epochs, lambda value: 0 < value < float("inf"), "a number above 0")
        require("seed", self.seed, lambda value: 0 <= value < 2**32, "from 0 to below 2^32")
        for name in ("adam_beta1", "adam_beta2", "label_smoothing_factor"):
            require(name, getattr(self, name), lambda value: 0 <= value < 1, "from 0 to below 1")
        for name in ("weight_decay", "max_grad_norm", "warmup_steps", "adam_epsilon", "dataloader_num_workers", "eval_delay"):
            require(name, getattr(self, name), lambda value: 0 <= value < float("inf"), "0 or more")
        require("max_tokens_per_batch", self.max_tokens_per_batch, lambda value: value is None or value >= 0, "0 or more")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            require(name, getattr(self, name), lambda value: value >= 1, "at least 1")
        for name in ("save_total_limit", "eval_accumulation_steps", "early_stopping_patience"):
            require(name, getattr(self, name), lambda value: value is None or value >= 1, "at least 1")
        require("head_learning_rate_multiplier", self.head_learning_rate_multiplier, lambda value: value > 0, "above 0")
        for name in ("save_steps", "eval_steps", "logging_steps"):
            require(name, getattr(self, name), lambda value: value is None or value > 0, "above 0")

    def _check_combinations(self) -> None:
        if self.dataloader_persistent_workers and not self.dataloader_num_workers:
            raise UserError("--dataloader_persistent_workers: there are none, see --dataloader_num_workers")
        if not self.remove_unused_columns:
            raise UserError("--remove_unused_columns False: the model takes tokens only; leave it out")
        if self.label_names not in (None, ["labels"]):
            raise UserError(f"--label_names {' '.join(self.label_names)}: name the label with --label_column_name (or _names)")
        for one, other in (("padding_free", "pad_to_max_length"), ("bf16", "fp16")):
            if getattr(self, one) and getattr(self, other):
                raise UserError(f"--{one} and --{other} are both given: keep one")

    def _check_output(self) -> None:
        require("output_dir", self.output_dir, bool, "a folder")
        folder = Path(self.output_dir).absolute()
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UserError(f"--output_dir {self.output_dir}: {existing} is not a folder that can be written to")
        if self.resume_from_checkpoint in ("True", "true", "False", "false"):
            self.resume_from_checkpoint = self.resume_from_checkpoint.lower() == "true"
        elif self.resume_from_checkpoint and not Path(self.resume_from_checkpoint).is_dir():
            raise UserError(f"--resume_from_checkpoint {self.resume_from_checkpoint}: there is no such folder")

    def _check_packages(self) -> None:
        asked_for = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        if set(asked_for) - {"all", "none"}:
            from transformers.integrations import get_available_reporting_integrations  # takes a second

            missing = set(asked_for) - {"all", "none", *get_available_reporting_integrations()}
            if missing:
                name = missing.pop()
                raise UserError(f"--report_to {' '.join(asked_for)}: {name} is not installed; install it, or leave it out")
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if self.export and find_spec(name) is None]
        if missing:
            raise UserError(f"--export needs {', '.join(missing)}: pip install -r requirements-onnx.txt")

    def _settle_checkpoints(self) -> None:
        """Save at each evaluation, and end with the best weights, where it is not said otherwise."""
        self.save_strategy = self.save_strategy or self.eval_strategy
        evaluation_steps = (self.eval_steps or self.logging_steps) if self.eval_strategy == "steps" else None
        self.save_steps = self.save_steps or evaluation_steps or 500
        literally = self.load_best_model_at_end or self.save_strategy == "best" or self.early_stopping_patience
        self.later_within_chance = not literally
        saved = self.eval_strategy != "no" and self.save_strategy in (self.eval_strategy, "best")  # at each evaluation
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = saved and (evaluation_steps in (None, self.save_steps) or self.save_strategy == "best")
        elif self.load_best_model_at_end and not saved:
            found = f"--eval_strategy is {self.eval_strategy} and --save_strategy is {self.save_strategy}; leave them out"
            raise UserError(f"--load_best_model_at_end needs evaluations, and a checkpoint at each: {found}")

    def _settle_processes(self) -> None:
        """Settle what depends on the processor, and on what the processes of a run share."""
        if self.use_cpu and "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("WORLD_SIZE", "1") == "1":
            torch.set_num_threads(os.cpu_count())  # `accelerate launch` sets one thread by default
        self.tune_cpu = self.tune_cpu and self.use_cpu and not self.sharded
        if self.sharded:
            whole = {"max_tokens_per_batch": "cuts batches in each process for itself", "calibrate": "changes whole weights"}
            whole |= {"linear_probe": "fits whole weights"}
            for name in filter(partial(getattr, self), whole):
                raise UserError(f"--{name} {whole[name]}, and FSDP and DeepSpeed divide the model: leave out one of the two")
            self.max_tokens_per_batch = 0
        elif self.max_tokens_per_batch is None and self.use_cpu:
            self.max_tokens_per_batch = 1024  # what fits into the caches is faster
        join_restarted_processes(self.use_cpu)

    @property
    def sharded(self) -> bool:
        """Whether the weights are divided among processes, by an option or by `accelerate launch`."""
        launched = (os.environ.get(f"ACCELERATE_USE_{engine}", "false").lower() == "true" for engine in ("FSDP", "DEEPSPEED"))
        return bool(self.fsdp or self.deepspeed) or any(launched)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"hub_token": None}  # keep it out of training_args.bin

    def _choose_precision(self) -> str:
        """Settle `bf16` and `fp16`. Return the line that says which one was chosen, and why."""
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if self.bf16 is None and self.fp16 is None and launched in ("bf16", "fp16"):
            setattr(self, launched, True)
            reason = "asked for by accelerate launch"
        elif self.bf16 is None and self.fp16 is None:
            self.bf16, self.fp16, reason = fastest_precision(self.use_cpu)
        else:
            reason = "as asked"
        if self.fp16 and self.use_cpu:
            self.fp16, reason = False, "fp16 needs a GPU"
        self.bf16, self.fp16 = bool(self.bf16), bool(self.fp16)
        return f"precision: {'bf16' if self.bf16 else 'fp16' if self.fp16 else 'float32'} ({reason})"


def join_restarted_processes(use_cpu: bool) -> None:
    """Connect processes that `torchrun --max-restarts` has restarted.

    They share a store with the processes before them. Without a prefix of their own they would find the old addresses there,
    and wait for ever.
    """
    environment = os.environ
    if environment.get("TORCHELASTIC_RESTART_COUNT", "0") == "0" or torch.distributed.is_initialized():
        return
    store = torch.distributed.TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), is_master=False)
    torch.distributed.init_process_group(
        "gloo" if use_cpu else None,
        store=torch.distributed.PrefixStore(f"attempt {environment['TORCHELASTIC_RESTART_COUNT']}", store),
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
    )


def fastest_precision(use_cpu: bool) -> tuple[bool, bool, str]:
    """Return (bf16, fp16, reason) for this hardware: half precision only where it is fast."""
    if use_cpu:
        if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
            return True, False, "this CPU multiplies it natively"
        return False, False, "this CPU has no fast half precision"
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return True, False, "this GPU multiplies it natively"
        if torch.cuda.get_device_capability() >= (7, 0):
            return False, True, "this GPU has no native bf16"
    return False, False, "this device has no fast half precision"


@dataclass
class Arguments:
    """All arguments of a run.

    Attributes:
        options: the value of every option by name.
        given: those that the command line or the file of options holds.
        argv: the command line, without the program's name.
        reread: returns the arguments of the same command line with other values for some options, as a trial of a search has.
    """

    model: ModelArguments
    data: DataArguments
    training: FineTuningArguments
    search: SearchArguments
    options: dict[str, Any]
    given: dict[str, Any]
    argv: list[str]
    reread: "Callable[[dict[str, Any]], Arguments]"

    @property
    def models_of_folds(self) -> list[Path]:
        """The folders of the models of a run of --num_folds, if --model_name_or_path is one."""
        folder = Path(self.model.model_name_or_path or "")
        if not self.model.model_name_or_path or (folder / "config.json").is_file():
            return []
        folds = [path.parent for path in folder.glob("fold-*/config.json")]
        return sorted(folds, key=lambda fold: (len(fold.name), fold.name))  # fold-10 after fold-9

    @property
    def several(self) -> bool:
        """Whether several runs are asked for: a search, one for each fold, or predictions of all folds' models."""
        folds = (self.data.num_folds and not self.data.fold) or (self.models_of_folds and not self.data.text)
        return bool(self.search.search_trials or folds)
