"""One trial of a hyperparameter search: a run of its own, followed by a callback."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import SaveStrategy

from utils.arguments import Arguments
from utils.runtime import quiet
from utils.training.guard import within_chance
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

if TYPE_CHECKING:
    from optuna import Trial

SIGN_EVERY = 60  # seconds


def train_trial(
    trial: "Trial",
    values: dict[str, Any],
    objective: str,
    args: Arguments,
    check: Callable[[Arguments], Task],
    build: Callable[[Task], FineTuningTrainer],
) -> tuple[float, float]:
    """Train with `values` and return the score, which is the metric `objective`, and the validation loss. Save nothing."""
    with quiet():
        task = check(args.reread(values))
        task.splits.pop("test", None)
        training_args = task.args.training
        progress = TrialProgress(trial, f"eval_{objective}", training_args.load_best_model_at_end)
        training_args.load_best_model_at_end = training_args.push_to_hub = False
        training_args.save_strategy = SaveStrategy.NO
        trainer = build(task)
    for callback in (DEFAULT_PROGRESS_CALLBACK, PrinterCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(progress)
    try:
        trainer.train()
        if not progress.evaluations:
            trainer.evaluate()
    finally:
        progress.bar.close()
    if progress.value is None:
        raise ValueError("the score was not defined after any evaluation")
    return progress.value, progress.loss


class TrialProgress(TrainerCallback):
    """Follows a trial: records its score, prunes it, and shows the user and other processes that it is running.

    Attributes:
        value: the score of the weights that a run would keep so far; None before the first.
        best: the best score so far.
        loss: the validation loss of that evaluation, which decides between equal scores.
    """

    def __init__(self, trial: "Trial", metric: str, keep_best: bool):
        self.trial, self.metric, self.keep_best = trial, metric, keep_best
        self.value: float | None = None
        self.best: float | None = None
        self.loss = math.inf
        self.evaluations, self.signed = 0, time.time()
        self.bar = tqdm(disable=True)

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, desc=f"trial {self.trial.number}", leave=False, disable=args.disable_tqdm)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update()
        self._sign()

    def on_prediction_step(self, args, state, control, **kwargs):
        self._sign()

    def on_evaluate(self, args, state, control, metrics, eval_dataloader, **kwargs):
        import optuna

        self.evaluations += 1
        value = metrics.get(self.metric, math.nan)
        better = self.best is None or (value > self.best if args.greater_is_better else value < self.best)
        if not math.isnan(value):
            self.best, rows = value if better else self.best, len(eval_dataloader.dataset)
            later = args.later_within_chance and within_chance(value, self.best, args.greater_is_better, rows)
            if better or later or not self.keep_best:
                self.value, self.loss = value, metrics["eval_loss"]
        if self.value is None:
            return
        self.trial.report(self.value, step=round(100 * state.epoch))  # steps of different batch sizes are not comparable
        if state.global_step < state.max_steps and self.trial.should_prune():
            self.trial.set_user_attr("pruned_at_epoch", round(state.epoch, 2))
            raise optuna.TrialPruned

    def _sign(self):
        if time.time() - self.signed > SIGN_EVERY:
            self.signed = time.time()
            self.trial.set_user_attr("alive", self.signed)
