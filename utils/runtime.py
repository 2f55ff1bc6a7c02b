"""What happens around a run: logging, one-line errors, a clean end in several processes, float32 in evaluation."""

import atexit
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import torch
import transformers
from transformers import PreTrainedModel, TrainingArguments

from utils.arguments import DataArguments, ModelArguments
from utils.models import save_tiny_model
from utils.parsing import connected, leave, one_line_errors

logger = logging.getLogger(__name__)

OWN_LOGGERS = ("utils", "__main__", "run_classification", "run_multilabel", "run_multiple_choice")


def set_up_logging(args: TrainingArguments) -> None:
    """Show our own lines on the main process, and of the libraries only what the user must know."""
    level = logging.INFO if args.log_level == "passive" else args.get_process_log_level()
    library_level = logging.ERROR if args.log_level == "passive" else level
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level if args.process_index == 0 else logging.ERROR)
    transformers.logging.set_verbosity(library_level)
    datasets.logging.set_verbosity(library_level)
    logging.getLogger("huggingface_hub").setLevel(library_level)  # without a network it would announce every retry
    transformers.logging.disable_progress_bar()  # those of loading and saving; training and evaluation have their own
    if args.disable_tqdm or args.process_index > 0:
        datasets.disable_progress_bars()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep our own lines and progress bars, but for errors, out of the log."""
    loggers = [logging.getLogger(name) for name in OWN_LOGGERS]
    levels, no_bars = [each.level for each in loggers], datasets.are_progress_bars_disabled()
    for each in loggers:
        each.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
        if not no_bars:
            datasets.enable_progress_bars()


def run(main: Callable[[], object]) -> None:
    """Run a script's `main` as a program: a user's mistake is one line on stderr and exit status 2, without traceback."""
    gc.freeze()  # accelerate collects garbage several times a run, each time through all that the libraries have created
    gc.enable()  # see `check_command_line`
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line_errors():
        main()
        if connected():
            torch.distributed.barrier()
            atexit._run_exitfuncs()  # such as the removal of a smoke test's folder
            leave(0)


def prepare_smoke_test(
    model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, example_rows: list[dict]
) -> None:
    """Change the arguments to those of a smoke test: a tiny random model and two steps on a few rows of what data there is.

    Without data these are the script's `example_rows`. All that is written goes into a temporary folder.
    """
    agreed: list = [None]
    if training_args.process_index == 0:
        folder = agreed[0] = tempfile.mkdtemp(prefix="smoke_test_")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        save_tiny_model([str(list(row.values())) for row in example_rows], os.path.join(folder, "tiny"), positions=512)
        with open(os.path.join(folder, "example_rows.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in example_rows)
    if training_args.world_size > 1:  # the others wait here until the folder is filled
        torch.distributed.broadcast_object_list(agreed)
    folder = agreed[0]
    model_args.model_name_or_path = os.path.join(folder, "tiny")
    if not (data_args.dataset_name or data_args.train_file):
        data_args.train_file = os.path.join(folder, "example_rows.jsonl")
    if not data_args.dataset_name:
        data_args.test_file = data_args.test_file or data_args.train_file
    model_args.config_name = model_args.tokenizer_name = data_args.max_seq_length = None
    data_args.max_train_samples = data_args.max_eval_samples = data_args.max_predict_samples = 8
    training_args.output_dir = os.path.join(folder, "output")
    training_args.per_device_train_batch_size = training_args.per_device_eval_batch_size = 4
    training_args.max_steps, training_args.logging_steps, training_args.asked = 2, 1, []


@contextlib.contextmanager
def float32_forward(model: PreTrainedModel) -> Iterator[None]:
    """Run `model` without the autocast that accelerate wraps around its `forward`.

    Half-precision logits tie (bfloat16 has 8 bits of mantissa), which distorts ranking metrics and tuned thresholds, and
    predictions would differ from those of the saved model in `pipeline()`.
    """
    autocast_forward = model.__dict__.pop("forward", None)  # accelerate sets it on the instance, over the class's own
    try:
        yield
    finally:
        if autocast_forward is not None:
            model.forward = autocast_forward


def check_reload(folder: Path, auto_class: type, model: PreTrainedModel, shape: tuple[int, ...]) -> None:
    """Load what was saved and raise a `RuntimeError` if its logits for tokens of `shape` differ from those of `model`."""
    reloaded = auto_class.from_pretrained(folder).eval()
    tokens = torch.arange(5).expand(shape)
    with torch.no_grad(), float32_forward(model):
        logits = [m.cpu().eval()(input_ids=tokens).logits.float() for m in (model, reloaded)]
    if not torch.allclose(*logits, atol=1e-5):
        raise RuntimeError(f"the model saved in {folder} gives other logits than the one trained: {logits}")
    logger.info("smoke test passed: trained, evaluated, predicted, saved and loaded again")
