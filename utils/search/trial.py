"""A trial of a hyperparameter search: trained by a trainer of its own, followed by a callback."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn
from tqdm.auto import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import SaveStrategy

from utils.arguments import Arguments
from utils.runtime import quiet
from utils.search.study import sign_of_life
from utils.training.task import Task

if TYPE_CHECKING:
    from optuna import Trial

SIGN_EVERY = 60  # seconds


class SearchTrainer(Trainer):
    """`Trainer.hyperparameter_search`, whose trials are each trained by a trainer of their own.

    A trial may change data, head and loss together. A `model_init` comes too late for that: datasets are those of the first
    trial, values are cast to the type of the ones before (`bool("False")`), and settings that follow from others stay.

    Attributes:
        trial: the trial that was begun last.
        on_begin: called when a trial has begun.
    """

    def __init__(self, arguments: Arguments, check: Callable[[Arguments], Task], build: Callable[[Task], Trainer]):
        to_hub = ("push_to_hub", "hub_model_id", "hub_token", "hub_private_repo")  # show now what is wrong there
        args = TrainingArguments(
            arguments.training.output_dir,
            use_cpu=arguments.training.use_cpu,
            report_to="none",
            disable_tqdm=True,
            **{name: getattr(arguments.training, name) for name in to_hub},
        )
        super().__init__(model_init=lambda: nn.Linear(1, 1), args=args)  # the base class asks for a model; this one is not used
        self.arguments, self.check, self.build = arguments, check, build
        self.trial: Trial | None = None
        self.on_begin: Callable[[], None] = lambda: None

    def train(self, resume_from_checkpoint=None, trial=None, **kwargs) -> None:
        """Train a trial and leave its score in `self.objective`; called by `hyperparameter_search`."""
        import optuna

        self.trial = trial
        for name, value in sign_of_life().items():
            trial.set_user_attr(name, value)
        values = self.hp_space(trial)
        self.on_begin()
        completed = trial.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        earlier = next((other for other in completed if other.params == values), None)
        try:
            if earlier:  # it would give the same score
                trial.set_user_attr("same_as", earlier.number)
                self.objective, loss = earlier.value, earlier.user_attrs["loss"]
            else:
                self.objective, loss = self.train_trial(trial, values)
        except optuna.TrialPruned:
            raise
        except Exception as error:
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if "contains NaN" in told:  # scikit-learn's words
                told = "the training diverged: the model gives NaN"
            trial.set_user_attr("error", told[:1000])
            raise
        trial.set_user_attr("loss", loss)

    def train_trial(self, trial: "Trial", values: dict[str, Any]) -> tuple[float, float]:
        """Return the score and the validation loss of a run with these values, of which nothing is kept."""
        with quiet():
            arguments = self.arguments.reread(values)
            task = self.check(arguments)
            task.splits.pop("test", None)
            training_args = arguments.training
            keep_best = training_args.load_best_model_at_end
            training_args.load_best_model_at_end = training_args.push_to_hub = False
            training_args.save_strategy = SaveStrategy.NO
            trainer = self.build(task)
        progress = TrialProgress(trial, self.compute_objective, keep_best)
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
    """Follows one trial: its score, whether it is to be pruned, a progress bar, and a sign of life for other processes.

    Attributes:
        value: the best score so far if a run keeps its best weights, or else the last one; None before the first.
        loss: the validation loss of that evaluation, which decides between equal scores.
    """

    def __init__(self, trial: "Trial", objective: Callable[[dict], float], keep_best: bool):
        self.trial, self.objective, self.keep_best = trial, objective, keep_best
        self.value: float | None = None
        self.loss = math.inf
        self.evaluations, self.signed = 0, time.time()
        self.bar = tqdm(desc=f"trial {trial.number}", leave=False, disable=True)

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, desc=f"trial {self.trial.number}", leave=False, disable=args.disable_tqdm)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update()
        self._sign()

    def on_prediction_step(self, args, state, control, **kwargs):
        self._sign()

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        import optuna

        self.evaluations += 1
        value = self.objective(metrics)
        if not math.isnan(value):
            better = self.value is None or (value > self.value if args.greater_is_better else value < self.value)
            if better or not self.keep_best:
                self.value, self.loss = value, metrics["eval_loss"]
        if self.value is None:
            return
        self.trial.report(self.value, step=round(100 * state.epoch))  # steps of different batch sizes do not compare
        if state.global_step < state.max_steps and self.trial.should_prune():
            self.trial.set_user_attr("pruned_at_epoch", round(state.epoch, 2))
            raise optuna.TrialPruned

    def _sign(self):
        if time.time() - self.signed > SIGN_EVERY:
            self.signed = time.time()
            self.trial.set_user_attr("alive", self.signed)
