"""Watches over a training: losses that are not finite, signals that end it, and the options of a resumed one."""

import logging
import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, TrainOutput, sort_checkpoints

from utils.arguments import RunError, Stopped, number_of
from utils.files.rows import PLACE
from utils.runtime import best_of, position, scores_so_far, shown
from utils.training.checkpoints import clear_output_dir, find_damage, read_run

logger = logging.getLogger(__name__)

EXIT_STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}  # as in a shell, 128 plus the signal's number


class NothingLeft(Exception):
    """The checkpoint is that of the last step. (Trainer would train one more step, unless an epoch ends there.)"""


def within_chance(score: float, best: float, greater_is_better: bool, rows: int) -> bool:
    """Return whether a `score` is as good as the `best` one but for the chance which `rows` validate: one standard error of it.

    The error is that of a share of the rows. Where less is better, as of a loss, it is 0, and only an equal score is as good.
    The rule of one standard error is from Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3. What it is
    worth here was measured in benchmarks/recipes.md.
    """
    error = math.sqrt(best * (1 - best) / rows) if greater_is_better and 0 <= best <= 1 else 0.0
    return abs(score - best) <= error


class Patience(EarlyStoppingCallback):
    """`EarlyStoppingCallback` that goes on counting where the checkpoint of a resumed training stopped."""

    def on_train_begin(self, args, state, control, **kwargs):
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            raise NothingLeft


class Guard(TrainerCallback):
    """Checks after every step, for all processes together, that the loss is finite and that no signal has arrived.

    A signal (SIGTERM, SIGINT) to any process stops all of them after the same step, which gets a checkpoint.

    Attributes:
        received: the signal that this process has received, 0 for none.
        stopping: the signal that stops all processes, 0 for none.
        loss_sum: the sum of the losses of all steps, including those before the checkpoint of a resumed training.
    """

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.received, self.stopping, self.saving, self.loss_sum = 0, 0, False, 0.0
        self.loss: torch.Tensor | float = 0.0
        self.groups: list[dict[str, Any]] = []

    def add(self, loss: torch.Tensor) -> torch.Tensor:
        """Count the loss of a micro-batch, and return it."""
        self.loss += loss
        return loss

    def remember(self, optimizer: torch.optim.Optimizer) -> None:
        """Remember the settings of each group of parameters, which a checkpoint replaces by its own."""
        self.groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]

    def train(self) -> TrainOutput:
        """Train, or continue from the checkpoint of the arguments.

        Raises `Stopped` if a signal ends the training, `RunError` if it diverges or a checkpoint cannot be saved.
        """
        trainer, args = self.trainer, self.trainer.args
        if trainer.is_world_process_zero():
            clear_output_dir(args)
        trainer.accelerator.wait_for_everyone()
        numbers = EXIT_STATUS if threading.current_thread() is threading.main_thread() else ()  # others receive no signals
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            output = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
        except NothingLeft:
            output = trainer._finalize_training(None, 0, time.time())
            speeds = "runtime", "per_second"  # there was no step to measure them on
            metrics = {name: value for name, value in output.metrics.items() if not name.endswith(speeds)}
            output = output._replace(metrics=metrics)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        state = trainer.state
        if self.stopping:
            checkpoint = Path(args.output_dir, f"checkpoint-{state.global_step}")
            raise Stopped(
                f"stopped by {signal.Signals(self.stopping).name} after step {state.global_step} of {state.max_steps}; the same "
                f"command goes on from {checkpoint if checkpoint.is_dir() else 'the last checkpoint'}",
                EXIT_STATUS[self.stopping],
            )
        if args.early_stopping_patience and state.global_step < state.max_steps:
            patience = args.early_stopping_patience
            logger.info(
                "stopped early, at %s: %s was not better in the last %s",
                position(state.global_step, state.epoch, args, state, " of "),
                args.metric_for_best_model.removeprefix("eval_"),
                "evaluation" if patience == 1 else f"{patience} evaluations",
            )
        if args.load_best_model_at_end and state.best_model_checkpoint is None:
            logger.warning("%s was never defined: the last weights are kept, not the best", args.metric_for_best_model)
        output.metrics["train_loss"] = self.loss_sum / state.global_step  # Trainer's leaves out the steps before the checkpoint
        return output

    def kept_weights(self) -> str:
        """Return whose weights were kept, and why."""
        args, state = self.trainer.args, self.trainer.state
        if not (args.load_best_model_at_end and state.best_global_step):
            return f"kept the weights of the last step, {state.global_step} of {state.max_steps}"
        metric, step = args.metric_for_best_model.removeprefix("eval_"), state.best_global_step
        epoch = next(entry["epoch"] for entry in state.log_history if entry["step"] == step and f"eval_{metric}" in entry)
        scores, score = scores_so_far(args, state), state.best_metric
        equal = [at for at, other in scores if other == score]
        best, extreme = best_of(args, scores), "highest" if args.greater_is_better else "lowest"
        told = f"kept the weights of {position(step, epoch, args, state, ' of ')}: {metric} {shown(score)} on the validation data"
        if score != best:
            rows = number_of(len(self.trainer.eval_dataset), "row")
            how = f"--load_best_model_at_end keeps the {extreme}"
            return f"{told}; with {rows}, an earlier {shown(best)} is within chance ({how})"
        if len(scores) == 1:
            return told
        which = f", the {'last' if step == equal[-1] else 'first'} of {len(equal)} equal ones" if len(equal) > 1 else ""
        return f"{told} was the {extreme}{which}"

    def _receive(self, number: int, frame: Any) -> None:
        launched = "TORCHELASTIC_RUN_ID" in os.environ  # torchrun repeats the signal that the terminal sent to all
        if self.received and not launched:
            raise Stopped("stopped at once; the last checkpoint is complete", EXIT_STATUS[number])
        self.received = number
        if self.trainer.is_world_process_zero():  # not by a logger, which the signal may have interrupted
            again = "" if launched else " (send it again to stop at once)"
            os.write(2, f"\n{signal.Signals(number).name}: saving after this step{again}\n".encode())

    def on_train_begin(self, args, state, control, optimizer=None, lr_scheduler=None, **kwargs):
        if not args.resume_from_checkpoint:
            return
        saved = read_run(args.resume_from_checkpoint)
        self.loss_sum = saved["loss_sum"]
        if saved["best"]:
            best = Path(args.resume_from_checkpoint).parent / saved["best"]  # the folder may have been moved
            if find_damage(best) is None:
                state.best_model_checkpoint = str(best)
            else:  # --resume_anyway
                state.best_model_checkpoint = state.best_metric = state.best_global_step = None
        if args.resume_anyway:
            for group, asked in zip(optimizer.param_groups, self.groups, strict=True):
                reached = group["lr"] / (group["initial_lr"] or 1)  # the schedule's share of the peak
                group.update(asked, initial_lr=asked["lr"], lr=asked["lr"] * reached)
            lr_scheduler.base_lrs = [asked["lr"] for asked in self.groups]
        if state.global_step >= state.max_steps:
            raise NothingLeft

    def on_step_end(self, args, state, control, model=None, **kwargs):
        # A gradient that is not finite spoils all weights, because its norm scales them: it is enough to look at the last one.
        weight = next(p for p in reversed(list(model.parameters())) if p.requires_grad).detach()
        weight = weight.to_local().sum() if hasattr(weight, "to_local") else weight.sum()  # FSDP: this shard
        facts = torch.stack([torch.as_tensor(self.loss, device=weight.device).float() + 0 * weight.float()])
        self.loss = 0.0
        received = self.received
        if args.world_size > 1:
            facts = torch.cat([facts, facts.new_tensor([received == number for number in EXIT_STATUS])])
            facts = self.trainer.accelerator.reduce(facts, "mean")
            received = next((number for number, share in zip(EXIT_STATUS, facts[1:].tolist(), strict=True) if share), 0)
        loss = facts[0].item()
        if not math.isfinite(loss):
            raise RunError(self._diverged("the loss is not finite"))
        self.loss_sum += loss
        at_end = self._at_end(state)
        evaluates_next = control.should_evaluate or (at_end and args.eval_strategy == IntervalStrategy.EPOCH)
        score_decides = args.save_strategy == SaveStrategy.BEST and evaluates_next  # whether this step is saved
        if received and not score_decides:  # otherwise the training stops after the next step
            self.stopping, control.should_training_stop, control.should_save = received, True, True
            if args.save_total_limit == 1:  # Trainer would remove all checkpoints but the best, this step's among them
                args.save_total_limit = 2
        if at_end:  # save after the evaluation, which a resumed training would not repeat
            self.saving, control.should_save = control.should_save, False
        self._log_too(args, control)
        return control

    def on_epoch_end(self, args, state, control, **kwargs):
        at_end = self._at_end(state)
        control.should_save = at_end and (control.should_save or self.saving)
        self._log_too(args, control)
        if self.stopping and not at_end:  # not the end of the epoch: the resumed training will do this
            control.should_evaluate = control.should_log = False
        self.saving = False
        return control

    def _log_too(self, args: TrainingArguments, control: TrainerControl) -> None:
        """Log the loss beside an evaluation. Otherwise the model card would say "No log" there."""
        control.should_log |= control.should_evaluate and args.logging_strategy != IntervalStrategy.NO

    def _at_end(self, state: TrainerState) -> bool:
        """Return whether the step was the last of an epoch or of the training."""
        return float(state.epoch).is_integer() or state.global_step >= state.max_steps

    def check_logits(self, logits: torch.Tensor) -> None:
        """Raise a `RunError` if logits are not finite. Minus infinity stands for a candidate that a row does not have."""
        if logits.isnan().any() or logits.isposinf().any() or logits.isneginf().all(dim=-1).any():
            problem = "the model gives logits that are not finite"
            raise RunError(self._diverged(problem) if self.trainer.is_in_train else problem)

    def _diverged(self, problem: str) -> str:
        """Return a message that names the rows of the last step, and the checkpoint to continue from."""
        trainer = self.trainer
        args, dataset, step = trainer.args, trainer.train_dataset, trainer.state.global_step
        rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        epoch, step_of_epoch = divmod(step - 1, math.ceil(len(dataset) / rows_a_step))
        sampler = trainer._get_train_sampler()
        sampler.epoch = lambda: epoch
        numbers: dict[str, list[str]] = {}  # of the rows, by file
        for index in [*sampler][step_of_epoch * rows_a_step :][:rows_a_step]:
            row = dataset[index]
            if row["length"]:
                file, place = row[PLACE].rsplit(", ", 1)
                numbers.setdefault(file, []).append(place.split(" ")[-1])
        rows = "; ".join(f"{file} rows {', '.join(of_file)}" for file, of_file in numbers.items())
        kept = [Path(path).name for path in sort_checkpoints(args.output_dir)]
        left = f"{kept[-1]} is the last good checkpoint" if kept else "there is no checkpoint yet"
        return (
            f"{problem}: the training has diverged, at step {step} with {rows}; look at these rows, or lower --learning_rate "
            f"(--fp16 False asks for float32); {left}"
        )
