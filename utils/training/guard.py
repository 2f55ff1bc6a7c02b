"""What watches over a training: losses that are not finite, signals that end it, and the options that a resumed one has."""

import logging
import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, TrainOutput, sort_checkpoints

from utils.arguments import RunError, Stopped
from utils.data.files import PLACE
from utils.training.checkpoints import clear_output_dir, find_damage, read_run

logger = logging.getLogger(__name__)

EXIT_STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}  # 128 and the signal's number, as shells have it


class NothingLeft(Exception):
    """The checkpoint is that of the last step. (Trainer would train one more, unless an epoch ends there.)"""


class Guard(TrainerCallback):
    """Looks at every step, in all processes at once: is its loss finite, and has a signal come?

    A signal (SIGTERM, SIGINT) to any process ends the training of all after the same step, with a checkpoint of it.

    Attributes:
        received: the signal that has come to this process, 0 for none.
        stopping: the signal by which all processes stop, 0 for none.
        loss_sum: sum over all steps of their loss, those before a resumed training's checkpoint among them.
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
        """Keep what the options say of each group of parameters; a checkpoint puts what they said before in its place."""
        self.groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]

    def train(self) -> TrainOutput:
        """Train, or go on from the checkpoint of the arguments.

        Raises:
            Stopped: a signal has ended the training.
            RunError: it has diverged, or a checkpoint cannot be saved.
        """
        trainer = self.trainer
        args = trainer.args
        if trainer.is_world_process_zero():
            clear_output_dir(args)
        if args.world_size > 1:
            torch.distributed.barrier()
        numbers = EXIT_STATUS if threading.current_thread() is threading.main_thread() else ()  # others cannot receive any
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            output = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
        except NothingLeft:
            output = trainer._finalize_training(None, 0, time.time())
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
        if args.load_best_model_at_end and state.best_model_checkpoint is None:
            logger.warning("%s was never defined: the last weights are kept, not the best", args.metric_for_best_model)
        output.metrics["train_loss"] = self.loss_sum / state.global_step  # Trainer's is that of the resumed steps
        return output

    def _receive(self, number: int, frame: Any) -> None:
        launched = "TORCHELASTIC_RUN_ID" in os.environ  # torchrun passes on what the terminal has sent to all already
        if self.received and not launched:
            raise Stopped("stopped at once; the last checkpoint is whole", EXIT_STATUS[number])
        self.received = number
        if self.trainer.is_world_process_zero():  # a logger may be writing while the signal comes
            once_more = "" if launched else " (once more: stop at once)"
            os.write(2, f"\n{signal.Signals(number).name}: saving after this step{once_more}\n".encode())

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
        # A gradient that is not finite makes, by its norm, all weights such: the last of them tells.
        weight = next(p for p in reversed(list(model.parameters())) if p.requires_grad).detach()
        weight = weight.to_local().sum() if hasattr(weight, "to_local") else weight.sum()  # of FSDP's the own shard
        told = torch.stack([torch.as_tensor(self.loss, device=weight.device).float() + 0 * weight.float()])
        self.loss = 0.0
        received = self.received
        if args.world_size > 1:
            told = torch.cat([told, told.new_tensor([received == number for number in EXIT_STATUS])])
            told = self.trainer.accelerator.reduce(told, "mean")
            received = next((number for number, share in zip(EXIT_STATUS, told[1:].tolist(), strict=True) if share), 0)
        loss = told[0].item()
        if not math.isfinite(loss):
            raise RunError(self._diverged("the loss is not finite"))
        self.loss_sum += loss
        at_end = self._at_end(state)
        evaluates_behind = at_end and args.eval_strategy == IntervalStrategy.EPOCH
        by_score = args.save_strategy == SaveStrategy.BEST and (evaluates_behind or control.should_evaluate)
        if received and not by_score:  # there the score decides what is saved: the next step will do
            self.stopping, control.should_training_stop = received, True
            control.should_save = True
        if at_end:  # a checkpoint of this step is one behind its evaluation: a resumed training would not evaluate
            self.saving, control.should_save = control.should_save, False
        return control

    def on_epoch_end(self, args, state, control, **kwargs):
        at_end = self._at_end(state)
        control.should_save = at_end and (control.should_save or self.saving)
        if self.stopping and not at_end:  # what belongs to the end of an epoch is done when the training is resumed
            control.should_evaluate = control.should_log = False
        self.saving = False
        return control

    def _at_end(self, state: TrainerState) -> bool:
        """Return whether the step was the last of an epoch, or of all."""
        return float(state.epoch).is_integer() or state.global_step >= state.max_steps

    def check_logits(self, logits: torch.Tensor) -> None:
        """Raise a `RunError` if logits are not finite; minus infinity stands for candidates that a row has not."""
        if logits.isnan().any() or logits.isposinf().any() or logits.isneginf().all(dim=-1).any():
            told = "the model gives logits that are not finite"
            raise RunError(self._diverged(told) if self.trainer.is_in_train else told)

    def _diverged(self, what: str) -> str:
        """Return in words that the training has diverged, on which rows, and what is left."""
        rows: dict[str, list[str]] = {}
        for place in self._places():
            file, row = place.rsplit(", ", 1)
            rows.setdefault(file, []).append(row.split(" ")[-1])
        told = "; ".join(f"{file} rows {', '.join(numbers)}" for file, numbers in rows.items())
        kept = [Path(path).name for path in sort_checkpoints(self.trainer.args.output_dir)]
        left = f"{kept[-1]} is the last good checkpoint" if kept else "there is no checkpoint yet"
        return (
            f"{what}: the training has diverged, at step {self.trainer.state.global_step} with {told}; look at these rows, or "
            f"lower --learning_rate (--fp16 False asks for float32); {left}"
        )

    def _places(self) -> list[str]:
        """Return where the rows of the last step stand."""
        trainer = self.trainer
        args, dataset = trainer.args, trainer.train_dataset
        rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        epoch, step = divmod(trainer.state.global_step - 1, math.ceil(len(dataset) / rows_a_step))
        sampler = trainer._get_train_sampler()
        sampler.epoch = lambda: epoch
        rows = [*sampler][step * rows_a_step : (step + 1) * rows_a_step]
        return [dataset[row][PLACE] for row in rows if dataset[row]["length"]]
