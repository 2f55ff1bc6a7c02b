"""What happens around a run: logging, one-line errors, a clean end in several processes, float32 in evaluation."""

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
