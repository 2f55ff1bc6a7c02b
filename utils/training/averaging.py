"""An exponential moving average of the weights, which is what is evaluated and kept."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import Trainer, TrainerCallback

RAW_WEIGHTS = "raw_weights.safetensors"  # in a checkpoint, whose model.safetensors has the average


class MovingAverage(TrainerCallback):
    """Averages the trained weights after every optimizer step (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046).

    At step t a step's weights count 1 - min(decay, (1 + t) / (10 + t)), as in TensorFlow's `ExponentialMovingAverage`, so that
    a short training is not held at its start. Evaluations, checkpoints and the final model have the average. The training goes
    on from the raw weights, which a checkpoint holds too.
    """

    def __init__(self, trainer: Trainer, decay: float):
        self.trainer, self.decay = trainer, decay
        self.raw: dict[str, torch.nn.Parameter] = {}
        self.average: list[torch.Tensor] = []
        self.aside: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        model = self.trainer.model
        self.raw = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.average = [parameter.detach().clone() for parameter in self.raw.values()]
        if args.resume_from_checkpoint:  # the model was loaded from it
            saved = load_file(Path(args.resume_from_checkpoint, RAW_WEIGHTS), device=str(args.device))
            self._put([saved[name] for name in self.raw])

    def on_step_end(self, args, state, control, **kwargs):
        if self.trainer.accelerator.optimizer_step_was_skipped:  # fp16 has overflowed
            return
        step = state.global_step
        update = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        update(self.average, [parameter.detach() for parameter in self.raw.values()], step)

    def on_train_end(self, args, state, control, **kwargs):
        if self.average and not (args.load_best_model_at_end and state.best_model_checkpoint):  # whose average is loaded
            self._put(self.average)
        self.average = []

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model its averaged weights for a while."""
        if not self.average:
            yield
            return
        self.aside = {name: parameter.detach().clone() for name, parameter in self.raw.items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(self.aside.values())
            self.aside = {}

    def save_raw(self, folder: Path) -> None:
        """Save the raw weights while the average is in place."""
        if self.aside and self.trainer.is_world_process_zero():
            save_file(self.aside, folder / RAW_WEIGHTS)

    def _put(self, values: Iterable[torch.Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.raw.values(), values, strict=True):
                parameter.copy_(value)
