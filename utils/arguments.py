"""Arguments that every script shares: the model, the data, and how to train."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import TrainingArguments
from transformers.hf_argparser import HfArg
from transformers.trainer_utils import IntervalStrategy

logger = logging.getLogger(__name__)

# Options, by how they begin, that change nothing of what is learnt, and data files, which are known by their content.
HARMLESS = ("output_dir", "overwrite_", "resume_", "train_file", "validation_file", "test_file", "max_predict_samples", "do_")
HARMLESS += ("id_column_name", "sample_submission", "preprocessing_", "per_device_eval_batch_size", "check_data", "smoke_test")
HARMLESS += ("dataloader_num", "dataloader_p", "log", "report_to", "run_name", "disable_tqdm", "save_", "search_")
HARMLESS += ("cache_dir", "push_to_hub", "hub_", "ddp_")


class UserError(ValueError):
    """A mistake in the user's data or options: one line that says what was found, what was expected, what to do."""


class RunError(RuntimeError):
    """What ends a run that was rightly asked for, such as a full disk: one line that says what is kept and what to do."""


class Stopped(KeyboardInterrupt):
    """A signal ended the training after a step, whose checkpoint is saved; `status` is the exit status of that signal."""

    def __init__(self, told: str, status: int):
        super().__init__(told)
        self.status = status


def shorten(names: list[str], limit: int = 12) -> str:
    """Return names joined by commas, of many the first and their number."""
    return ", ".join(names[:limit]) + (f" … ({len(names)} in all)" if len(names) > limit else "")


def require(name: str, value, condition: Callable[..., bool], expected: str) -> None:
    """Raise a `UserError` if the value of an option does not fulfil `condition`."""
    if not condition(value):
        raise UserError(f"--{name} {value}: expected {expected}")


@dataclass
class ModelArguments:
    """Which model to start from."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Folder or Hub name of the model to fine-tune, or of a model saved by this script to reuse."
    )
    tokenizer_name: str | None = HfArg(default=None, help="Tokenizer folder or Hub name; unset: the model's own.")
    config_name: str | None = HfArg(default=None, help="Config folder or Hub name; unset: the model's own.")
    cache_dir: str | None = HfArg(default=None, help="Where files from the Hub are stored; unset: the HF cache.")
    model_revision: str = HfArg(default="main", help="Branch, tag or commit of the model on the Hub.")
    token: str | None = HfArg(default=None, help="Hub token for private models; unset: the one of `hf auth login`.")
    trust_remote_code: bool = HfArg(default=False, help="Run the model code that comes with a Hub repository.")
    attention_dropout: float | None = HfArg(
        default=None,
        help="Dropout of attention weights; unset: the model's own; 0: none.",
    )
    ignore_mismatched_sizes: bool = HfArg(
        default=False, help="Replace a saved head of another width or with other labels by a new one."
    )

    def __post_init__(self):
        require("attention_dropout", self.attention_dropout, lambda value: value is None or 0 <= value < 1, "from 0 to below 1")


@dataclass
class DataArguments:
    """Where the rows come from. Formats: .csv .tsv .json .jsonl .parquet, each also .gz."""

    dataset_name: str | None = HfArg(default=None, help="Dataset on the Hub, or a local dataset folder.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration (subset) of that dataset.")
    train_file: str | None = HfArg(default=None, help="Training data: a file, a comma-separated list, or a glob.")
    validation_file: str | None = HfArg(default=None, help="Validation data, likewise; unset: split off the training data.")
    test_file: str | None = HfArg(default=None, help="Rows to predict, likewise; labels are optional.")
    validation_fraction: float = HfArg(
        default=0.1, help="Share of the training data split off, stratified, when there is no validation data; 0: none."
    )
    remove_splits: str | None = HfArg(default=None, help="Splits of that dataset not to use, joined by commas.")
    id_column_name: str | None = HfArg(
        default=None, help="Column copied into predictions.csv; unset: `id` where there is one, else the row number."
    )
    max_seq_length: int | None = HfArg(
        default=None, help="Tokens that the model reads at once; unset: its own limit, at most 512."
    )
    pad_to_max_length: bool = HfArg(default=False, help="Pad to max_seq_length instead of to the longest of the batch.")
    shuffle_train_dataset: bool = HfArg(
        default=False, help="Shuffle the training rows before max_train_samples are taken; batches are shuffled anyway."
    )
    max_train_samples: int | None = HfArg(default=None, help="Train on the first so many rows only.")
    max_eval_samples: int | None = HfArg(default=None, help="Evaluate on the first so many rows only.")
    max_predict_samples: int | None = HfArg(default=None, help="Predict the first so many rows only.")
    overwrite_cache: bool = HfArg(
        default=False, help="Tokenize anew what an earlier run has kept (of 5,000 rows and more); files are always read anew."
    )
    preprocessing_num_workers: int | None = HfArg(default=None, help="Processes that tokenize; unset: one.")
    check_data: bool = HfArg(default=False, help="Report on the data, then stop before any model is loaded.")
    smoke_test: bool = HfArg(
        default=False,
        help="A tiny random model, a few rows, two steps; predict, save, reload. Seconds on a CPU, no network.",
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
        require("validation_fraction", self.validation_fraction, lambda value: 0 <= value < 1, "a share from 0 to below 1")
        if self.dataset_name and (self.train_file or self.validation_file or self.test_file):
            raise UserError("both --dataset_name and --*_file are given: keep one source of data")


@dataclass
class TextArguments(DataArguments):
    """Which columns hold the text."""

    text_column_names: str | None = HfArg(
        default=None,
        aliases=["--text_column_name"],
        help="Text column, or two joined by a comma, encoded as a pair; unset: found and printed.",
    )
    text_column_delimiter: str | None = HfArg(
        default=None, help="Join the text columns by this into one text, instead of encoding two as a pair."
    )


@dataclass
class SearchArguments:
    """Whether and how to search hyperparameters before training."""

    search_trials: int = HfArg(
        default=0,
        help="Train so many trials with other hyperparameters (Optuna), judge each by --metric_for_best_model on the validation "
        "data, then train with the best; 0: no search.",
    )
    search_space: str | None = HfArg(
        default=None,
        help="What to vary, instead of SEARCH_SPACE in the script: a YAML or JSON file, or such text; in a file of options a "
        "block. For each option log, linear or int with [low, high], or choice with a list.",
    )
    search_storage: str | None = HfArg(
        default=None,
        help="Where trials are kept, to go on after an interruption and to share them among processes: sqlite:///study.db, "
        "the URL of another database, or a journal file such as study.log; unset: in memory.",
    )
    search_pruning: bool = HfArg(
        default=True, help="Stop a trial whose best score so far is worse than the median of the earlier ones at that epoch."
    )

    def __post_init__(self):
        require("search_trials", self.search_trials, lambda value: value >= 0, "0 or more")
        unused = [name for name in ("search_space", "search_storage") if getattr(self, name) and not self.search_trials]
        if unused:
            logger.warning("no search, --%s has no effect: that takes --search_trials", " and --".join(unused))


@dataclass
class FineTuningArguments(TrainingArguments):
    """`TrainingArguments` with what fine-tuning a pretrained encoder wants, and the precision that suits the hardware."""

    per_device_train_batch_size: int = HfArg(
        default=32, aliases=["--per_gpu_train_batch_size"], help="Rows of a training batch on each device."
    )
    per_device_eval_batch_size: int | None = HfArg(
        default=None,
        aliases=["--per_gpu_eval_batch_size"],
        help="Rows of an evaluation batch on each device; unset: 32 on a CPU, 64 elsewhere.",
    )
    overwrite_output_dir: bool = HfArg(
        default=False,
        aliases=["--overwrite_output"],
        help="Train although --output_dir holds a finished run, or an unfinished one with other options or data, and replace it.",
    )
    resume_from_checkpoint: str | None = HfArg(
        default=None,
        help="Unset: an unfinished run in --output_dir is continued, if options and data are the same. True: from the newest "
        "sound checkpoint there; a folder: from that checkpoint; False: begin anew.",
    )
    resume_anyway: bool = HfArg(
        default=False, help="Continue from a checkpoint although options, data or labels have changed since; the new ones hold."
    )
    learning_rate: float = HfArg(default=5e-5, help="Peak learning rate of the encoder.")
    num_train_epochs: float = HfArg(default=3.0, help="Passes over the training data.")
    warmup_steps: float = HfArg(default=0.1, help="Warm-up steps; below 1: their share of all steps.")
    weight_decay: float = HfArg(default=0.01, help="Weight decay of AdamW, on all but biases and norms.")
    train_sampling_strategy: Literal["group_by_length", "random", "sequential"] = HfArg(
        default="group_by_length",
        help="Order of the training rows: batches of texts of similar length (less padding), random, or as they stand.",
    )
    eval_strategy: str = HfArg(default="epoch", help="When to evaluate during training: no, steps or epoch.")
    save_strategy: str | None = HfArg(
        default=None, help="When to save a checkpoint: no, steps, epoch or best; unset: when evaluating."
    )
    save_steps: float | None = HfArg(default=None, help="Steps between checkpoints; unset: as between evaluations, or 500.")
    save_total_limit: int | None = HfArg(default=2, help="Checkpoints kept, the newest and the best among them.")
    load_best_model_at_end: bool | None = HfArg(
        default=None, help="Keep the weights of the best evaluation; unset: yes, where each evaluation has a checkpoint."
    )
    logging_steps: float = HfArg(default=50, help="Steps between two log lines; below 1: their share of all steps.")
    logging_nan_inf_filter: bool = HfArg(default=False, help="Hide NaN and infinite losses in the logs.")
    bf16: bool | None = HfArg(default=None, help="Train in bf16. Neither bf16 nor fp16 given: chosen for the hardware.")
    fp16: bool | None = HfArg(default=None, help="Train in fp16. `--fp16 False` alone asks for float32.")
    max_tokens_per_batch: int | None = HfArg(
        default=None,
        help="Tokens, padding included, that go through the model at once; a larger batch goes in several parts, with the same "
        "loss and gradient and less memory. Unset: 1024 on a CPU, no limit elsewhere; 0: no limit.",
    )
    freeze_embeddings: bool = HfArg(
        default=False,
        help="Do not train the word embeddings, half of a small model's parameters: less time and memory a step.",
    )
    tune_cpu: bool = HfArg(
        default=True,
        help="On a CPU: keep freed memory, in large pages; pad to multiples of 4 tokens; draw dropout masks four at a time; "
        "oneDNN for float32 products; no optimizer steps for words that the training texts lack; behind the last attention only "
        "the token that the head reads.",
    )

    def __post_init__(self):
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.per_device_eval_batch_size is None:
            self.per_device_eval_batch_size = 32 if self.use_cpu else 64
        require("learning_rate", self.learning_rate, lambda value: 0 < value < float("inf"), "a number above 0")
        require("max_steps", self.max_steps, lambda value: value > 0 or value == -1, "above 0, or -1 to train by epochs")
        if self.max_steps <= 0:
            require("num_train_epochs", self.num_train_epochs, lambda value: 0 < value < float("inf"), "a number above 0")
        require("output_dir", self.output_dir, bool, "a folder")
        require("seed", self.seed, lambda value: 0 <= value < 2**32, "from 0 to below 2^32")
        for name in ("adam_beta1", "adam_beta2"):
            require(name, getattr(self, name), lambda value: 0 <= value < 1, "from 0 to below 1")
        for name in ("weight_decay", "max_grad_norm", "warmup_steps", "adam_epsilon", "dataloader_num_workers", "eval_delay"):
            require(name, getattr(self, name), lambda value: 0 <= value < float("inf"), "0 or more")
        for name in ("save_total_limit", "eval_accumulation_steps"):
            require(name, getattr(self, name), lambda value: value is None or value >= 1, "at least 1")
        for name in ("save_steps", "eval_steps", "logging_steps"):
            require(name, getattr(self, name), lambda value: value is None or value > 0, "above 0")
        if self.dataloader_persistent_workers and not self.dataloader_num_workers:
            raise UserError("--dataloader_persistent_workers: there are none, see --dataloader_num_workers")
        if not self.remove_unused_columns:
            raise UserError("--remove_unused_columns False: the model takes tokens only; leave it out")
        require("max_tokens_per_batch", self.max_tokens_per_batch, lambda value: value is None or value >= 0, "0 or more")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            require(name, getattr(self, name), lambda value: value >= 1, "at least 1")
        require("label_smoothing_factor", self.label_smoothing_factor, lambda value: 0 <= value < 1, "from 0 to below 1")
        if self.bf16 and self.fp16:
            raise UserError("--bf16 and --fp16 are both given: keep one")
        existing = next(
            path for path in (Path(self.output_dir).absolute(), *Path(self.output_dir).absolute().parents) if path.exists()
        )
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UserError(f"--output_dir {self.output_dir}: {existing} is not a folder that can be written to")
        asked_for = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        if set(asked_for) - {"all", "none"}:
            from transformers.integrations import get_available_reporting_integrations  # takes a second

            missing = set(asked_for) - {"all", "none", *get_available_reporting_integrations()}
            if missing:
                name = missing.pop()
                raise UserError(f"--report_to {' '.join(asked_for)}: {name} is not installed; install it, or leave it out")
        if self.label_names not in (None, ["labels"]):
            raise UserError(f"--label_names {' '.join(self.label_names)}: name the label with --label_column_name (or _names)")
        phases = {"train": self.do_train, "validation": self.do_eval, "test": self.do_predict}
        self.asked = [split for split, asked in phases.items() if asked]  # TrainingArguments sets do_eval by itself
        self.save_strategy = self.save_strategy or self.eval_strategy
        evaluation_steps = (self.eval_steps or self.logging_steps) if self.eval_strategy == "steps" else None
        self.save_steps = self.save_steps or evaluation_steps or 500
        if self.load_best_model_at_end is None:
            together = self.save_strategy == self.eval_strategy and evaluation_steps in (None, self.save_steps)
            self.load_best_model_at_end = self.eval_strategy != "no" and (together or self.save_strategy == "best")
        if self.use_cpu and "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("WORLD_SIZE", "1") == "1":
            torch.set_num_threads(os.cpu_count())  # `accelerate launch` allows one thread unless it is told otherwise
        self.tune_cpu = self.tune_cpu and self.use_cpu
        if self.max_tokens_per_batch is None and self.use_cpu:
            self.max_tokens_per_batch = 1024  # what fits the caches is faster
        self.precision_note = self._choose_precision()
        self.description: dict = {}  # of the run, for its checkpoints
        self.damaged: list[str] = []  # checkpoints that were skipped
        if self.resume_from_checkpoint in ("True", "true", "False", "false"):
            self.resume_from_checkpoint = self.resume_from_checkpoint.lower() == "true"
        elif self.resume_from_checkpoint and not Path(self.resume_from_checkpoint).is_dir():
            raise UserError(f"--resume_from_checkpoint {self.resume_from_checkpoint}: there is no such folder")
        join_restarted_processes(self.use_cpu)
        super().__post_init__()
        # TrainingArguments takes the launcher's variable where neither flag is set; here that means float32.
        self.mixed_precision = "bf16" if self.bf16 else "fp16" if self.fp16 else "no"

    def __getstate__(self) -> dict:
        return self.__dict__ | {"hub_token": None}  # it is none of the business of training_args.bin

    def settle_evaluation(self, defined: dict[str, float] | None) -> None:
        """Settle what happens during training, from the metrics `defined` on the validation data (None: there is none).

        Raises:
            UserError: `metric_for_best_model` is no metric.
        """
        if defined is None:
            self.eval_strategy, self.load_best_model_at_end, self.do_eval = IntervalStrategy.NO, False, False
            return
        chosen = self.metric_for_best_model.removeprefix("eval_")
        if chosen not in defined and f"{chosen}_macro" in defined:
            chosen = self.metric_for_best_model = f"{chosen}_macro"
        if chosen in ("mse", "expected_calibration_error"):
            self.greater_is_better = False
        if chosen in ("loss", *defined):
            return
        may_be_undefined = ("_macro", "_micro", "_weighted", "roc_auc", "average_precision", "pearson", "spearman", "r2")
        if not chosen.endswith(may_be_undefined):
            raise UserError(f"--metric_for_best_model {chosen}: no such metric; there are loss, {', '.join(defined)}")
        logger.info("%s is not defined on the validation data (too few rows): its loss chooses the best weights", chosen)
        self.metric_for_best_model, self.greater_is_better = "loss", False

    def settle_padding(self, max_length: int, pad_to_max_length: bool) -> None:
        """Settle `padding_multiple`: the widths of all batches are multiples of it."""
        # oneDNN makes its kernels anew for each shape, 12 MB and 15 ms for a small encoder: few shapes are to be met
        self.padding_multiple = max_length if pad_to_max_length else 4 if self.tune_cpu and max_length % 4 == 0 else 1

    def speed_note(self, pad_to_max_length: bool) -> str:
        """Return the line that says which choices for speed were made."""
        order = {"group_by_length": "texts of similar length", "random": "random order", "sequential": "the file's order"}
        width = "their longest" + (f", a multiple of {self.padding_multiple} tokens" if self.padding_multiple > 1 else "")
        notes = [
            self.precision_note,
            f"batches: {order[self.train_sampling_strategy]}",
            f"padded to {'the maximum' if pad_to_max_length else width}",
            f"at most {self.max_tokens_per_batch:,} tokens at once" if self.max_tokens_per_batch else "",
            f"optimizer: {str(getattr(self.optim, 'value', self.optim)).replace('adamw_torch_fused', 'fused AdamW')}",
            "tuned for the CPU" if self.tune_cpu else "",
        ]
        return "; ".join(note for note in notes if note)

    def _choose_precision(self) -> str:
        """Settle `bf16` and `fp16` and return the line that says which and why."""
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
    """Connect processes that `torchrun --max-restarts` has started again.

    They share the store of the processes before them, where they would find those's addresses, and wait for ever.
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
    """Return (bf16, fp16, reason) for the hardware at hand; half precision only where it is fast."""
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
