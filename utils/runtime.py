"""The frame of a run: logging, one-line errors, and a clean end of several processes."""

import atexit
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator

import datasets
import torch
import transformers
from transformers import TrainingArguments

from utils.command_line import connected, leave, one_line_errors

logger = logging.getLogger(__name__)

OWN_LOGGERS = ("utils", "__main__")


def set_up_logging(args: TrainingArguments) -> None:
    """Show our own messages on the main process, and only errors of the libraries, unless --log_level asks for more."""
    level = logging.INFO if args.log_level == "passive" else args.get_process_log_level()
    library_level = logging.ERROR if args.log_level == "passive" else level
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level if args.process_index == 0 else logging.ERROR)
    transformers.logging.set_verbosity(library_level)
    datasets.logging.set_verbosity(library_level)
    logging.getLogger("huggingface_hub").setLevel(library_level)  # offline it would warn of every retry
    transformers.logging.disable_progress_bar()  # of loading and saving, not of training and evaluation
    if args.disable_tqdm or args.process_index > 0:
        datasets.disable_progress_bars()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress bars and our own messages, except errors."""
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
    """Run a script's `main` as a program, with `one_line_errors`."""
    gc.freeze()  # accelerate collects garbage several times, and would visit all objects of the libraries each time
    gc.enable()  # `check_command_line` has disabled it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line_errors():
        main()
        if connected():
            torch.distributed.barrier()
            atexit._run_exitfuncs()  # such as the removal of a smoke test's folder
            leave(0)
