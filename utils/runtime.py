"""The frame of a run: logging, progress, one-line errors, and a clean end of several processes."""

import atexit
import contextlib
import gc
import logging
import math
import signal
import sys
from collections.abc import Callable, Iterator

import datasets
import torch
import transformers
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import IntervalStrategy

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


def shown(value: float) -> str:
    """Return a number in few digits."""
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"


def position(step: int, epoch: float, args: TrainingArguments, state: TrainerState, of: str = "/") -> str:
    """Return where in the training a step is: its epoch, or its number where evaluations count steps."""
    if args.eval_strategy == IntervalStrategy.STEPS:
        return f"step {step}{of}{state.max_steps}"
    return f"epoch {round(epoch, 2):g}{of}{state.num_train_epochs if args.max_steps > 0 else f'{args.num_train_epochs:g}'}"


def scores_so_far(args: TrainingArguments, state: TrainerState) -> list[tuple[int, float]]:
    """Return (step, score) of each evaluation during the training, in order; the score is `metric_for_best_model`."""
    name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
    # weights of before the training are not kept
    return [(entry["step"], entry[name]) for entry in state.log_history if name in entry and entry["step"]]


def best_of(args: TrainingArguments, scores: list[tuple[int, float]]) -> float:
    """Return the best of the scores that `scores_so_far` gives, not a number where none is defined."""
    defined = (score for _, score in scores if not math.isnan(score))
    return (max if args.greater_is_better else min)(defined, default=math.nan)


class Bars(ProgressCallback):
    """The progress bars of transformers, without its lines."""

    def on_log(self, args, state, control, **kwargs):
        pass

    def on_train_end(self, *args, **kwargs):
        if self.training_bar is not None:  # it never began where the checkpoint is that of the last step
            super().on_train_end(*args, **kwargs)


class Lines(PrinterCallback, ExportableState):
    """Tells each evaluation, or each epoch without one, in a line of words; and the loss every `logging_steps`.

    Args:
        loss_sum: returns the sum of the losses of all training steps so far.
    """

    def __init__(self, loss_sum: Callable[[], float]):
        self.loss_sum, self.last = loss_sum, [0, 0.0]  # the step and the sum of the last line

    def state(self):
        return {"args": {}, "attributes": {"last": self.last}}

    def on_train_begin(self, args, state, control, **kwargs):
        now = {"attributes": {"last": [state.global_step, self.loss_sum()]}}  # the checkpoint of an earlier version has none
        self.last = state.stateful_callbacks.get(type(self).__name__, now)["attributes"]["last"]

    def on_log(self, args, state, control, logs, **kwargs):
        due = state.global_step % state.logging_steps == 0
        if "loss" in logs and (due or not control.should_evaluate):  # otherwise the line of the evaluation tells the loss
            rate = f"  learning_rate {logs['learning_rate']:.2g}" if "learning_rate" in logs else ""
            self._tell(f"step {state.global_step}/{state.max_steps}  loss {shown(logs['loss'])}{rate}")

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        chosen = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        parts = [f"validation loss {shown(metrics['eval_loss'])}"] if "eval_loss" in metrics else []
        if chosen in metrics and chosen != "eval_loss":
            parts.append(f"{chosen.removeprefix('eval_')} {shown(metrics[chosen])}")
        if chosen in metrics and state.global_step:  # weights of before the training are not kept
            *earlier, (_, value) = scores_so_far(args, state)
            if value == best_of(args, [*earlier, (0, value)]):
                parts.append("best so far")
        self._tell_position(args, state, *parts)

    def on_epoch_end(self, args, state, control, **kwargs):
        if args.eval_strategy == IntervalStrategy.NO:
            self._tell_position(args, state)

    def _tell_position(self, args, state, *parts: str) -> None:
        step, loss_sum = state.global_step, self.loss_sum()
        if step > self.last[0]:
            parts = f"loss {shown((loss_sum - self.last[1]) / (step - self.last[0]))}", *parts
        self.last = [step, loss_sum]
        self._tell("  ".join([position(step, state.epoch, args, state), *parts]))

    def _tell(self, line: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):  # the bars stay below
            logger.info(line)


def show_progress(trainer: Trainer, loss_sum: Callable[[], float]) -> None:
    """Show `Bars` and `Lines`, unless --log_level asks for what transformers prints, or a notebook has its own table."""
    if trainer.args.log_level in ("debug", "info", "detail"):
        return
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(Bars())
    elif not trainer.pop_callback(PrinterCallback):
        return
    trainer.add_callback(Lines(loss_sum))


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
