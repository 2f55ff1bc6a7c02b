"""Hyperparameter search with Optuna. Each trial is a run of its own."""

import contextlib
import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils.memory import release_memory
from datasets import Dataset
from huggingface_hub import create_repo

from utils.arguments import Arguments, FineTuningArguments, UserError, number_of
from utils.files.loading import describe_data
from utils.files.rows import one_line
from utils.results.report import write_options
from utils.runtime import quiet
from utils.search.figures import draw_figures, print_best, print_trial, write_search
from utils.search.space import LOSS_OPTIONS, Parameter, all_combinations, check_combinations, read_space
from utils.search.study import SharedStudy, open_study, sign_of_life
from utils.search.trial import train_trial
from utils.training.checkpoints import refuse_finished
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

logger = logging.getLogger(__name__)

SAME_FAILURES = 3  # so many in a row end the search

Check = Callable[[Arguments], Task]  # the script's `prepare` for the loaded rows


def search(
    own_space: dict[str, dict],
    args: Arguments,
    splits: dict[str, Dataset],
    prepare: Callable[[dict[str, Dataset], Arguments], Task],
    build: Callable[[Task], FineTuningTrainer],
) -> Path | None:
    """Search hyperparameters. Return the file of the best arguments, or None where another process trains with them.

    Each trial calls the script's `prepare` and `build`, leaves nothing for the next one, and never sees the test data.
    `own_space` is the script's `SEARCH_SPACE`; it is widened to hold the run without a search. --search_space replaces it.
    Raises a `UserError` if optuna is missing, if the search space or the storage cannot be used, or if no trial was completed.
    """
    check_possible(args)
    check = partial(prepare, splits)
    space = read_space(own_space, args.search.search_space, args.options)
    settled = settled_values(args, check)
    space = settle_space(space, args, settled)
    objective, order = check_space(space, args, check), [parameter.name for parameter in space]
    logger.info(
        "search: %s of %s; objective: %s of the validation data, %sd",
        number_of(args.search.search_trials, "trial"), ", ".join(order), objective["name"], objective["direction"],
    )  # fmt: skip
    if args.data.check_data:
        return None
    refuse_finished(args.training)
    if args.data.smoke_test or not args.search.search_storage:
        args.search.search_storage = None
    shared = open_study(args.search, space, objective, args.options, settled)
    prepare_output(args.training)
    there = len(shared.finished())
    if there:
        logger.info("the storage holds %s, %d to go", number_of(there, "trial"), max(args.search.search_trials - there, 0))
    try:
        train = partial(train_trial, objective=objective["name"], args=args, check=check, build=build)
        run_trials(shared, space, objective["name"], args, train)
    except KeyboardInterrupt:
        after = "the same command continues" if args.search.search_storage else "without --search_storage no search can go on"
        logger.info("\ninterrupted after %s: %s", number_of(len(shared.finished()), "trial"), after)
        raise
    running = len(shared.running())
    write_search(shared, objective["name"], args.training.output_dir)
    print_best(shared, objective["name"], order)
    draw_figures(shared, objective["name"], Path(args.training.output_dir))
    if running:
        logger.info("other processes still run %s; the last to end will train with the best values", number_of(running, "trial"))
        return None
    return write_best(shared, args)


def check_possible(args: Arguments) -> None:
    """Raise a `UserError` if Optuna is missing, or if other options rule out a search."""
    try:
        import optuna
    except ImportError as error:
        raise UserError("--search_trials needs Optuna: pip install -r requirements-search.txt, or 'optuna>=5,<6'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.training.world_size > 1:
        raise UserError(
            f"--search_trials trains each trial in one process, found {args.training.world_size}: start one such process for "
            f"each GPU, all with the same --search_storage, as in CUDA_VISIBLE_DEVICES=0 python run_… --search_storage "
            f"sqlite:///study.db; all GPUs together can then train best_args.yaml"
        )
    if args.training.resume_from_checkpoint:
        raise UserError("--resume_from_checkpoint: leave it out, a search continues from its --search_storage")


def settle_space(space: list[Parameter], args: Arguments, settled: dict[str, Any]) -> list[Parameter]:
    """Return what is varied of `space`, and cut the trials to as many as differ.

    `settled` are the values of a run without a search, which the script's own space is to hold.
    """
    if args.options["max_steps"] > 0 and any(parameter.name == "num_train_epochs" for parameter in space):
        logger.info("num_train_epochs is not varied: --max_steps decides how long a trial is")
        space = [parameter for parameter in space if parameter.name != "num_train_epochs"]
        if not space:
            raise UserError("--max_steps overrides num_train_epochs, and the search space varies nothing else: drop one of them")
    if args.search.search_space is None:
        space = [parameter.reaching(settled[parameter.name]) for parameter in space]
    combinations = len(all_combinations(space))
    if 0 < combinations < args.search.search_trials:
        logger.info("the search space has %s: each is tried once", number_of(combinations, "combination"))
        args.search.search_trials = combinations
    return space


def prepare_output(args: FineTuningArguments) -> None:
    """Make --output_dir and, if it is to be pushed, the repository on the Hub: an error there should come before the trials."""
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    if args.push_to_hub:
        name = args.hub_model_id or Path(args.output_dir).absolute().name
        create_repo(name, token=args.hub_token, private=args.hub_private_repo, exist_ok=True)


def write_best(shared: SharedStudy, args: Arguments) -> Path | None:
    """Write the arguments of the best trial, and return their file; None if another process trains with them.

    Raises a `UserError` if no trial was completed.
    """
    best, folder = shared.best(), Path(args.training.output_dir)
    if not best:
        last = shared.finished()[-1].user_attrs.get("error", "pruned")
        raise UserError(f"no trial was completed, see {folder}/search.json; the last one: {last}")
    if not shared.claim_final_training():
        logger.info("another process trains with the best values")
        return None
    given, path = args.reread(best[0].params).given, folder / "best_args.yaml"
    own = {name: value for name, value in given.items() if not name.startswith("search_")}
    write_options(own, path, "Given, with the values of the best trial. The run again needs another --output_dir")
    logger.info("\ntraining with the values of trial %d, a run of %s", best[0].number, path)
    return path


def settled_values(args: Arguments, check: Check) -> dict[str, Any]:
    """Return the value of every option in a run without a search: as given, the default, or settled by the data."""
    with quiet(), contextlib.suppress(UserError):  # the given values may be invalid although all in the search space are valid
        args = args.reread({})
        check(args)
    settled = {name: value for group in (args.model, args.data, args.training) for name, value in vars(group).items()}
    if args.training.linear_probe and "head_learning_rate_multiplier" not in args.given:
        settled["head_learning_rate_multiplier"] = 1.0  # the trainer of a head that is fitted first settles it so
    return args.options | settled


def check_space(space: list[Parameter], args: Arguments, check: Check) -> dict[str, Any]:
    """Check the search space. Return the objective: its name, its direction, and a description of the data.

    Raises a `UserError` if some combinations cannot be trained, or if the objective would not be the same in all trials.
    """
    objective: dict[str, Any] = {}

    def check_one(values: dict[str, Any]) -> None:
        with quiet() if objective else contextlib.nullcontext():  # what is found in the data is printed once
            trial_args = args.reread(values)
            splits = check(trial_args).splits
        for name in ("train", "validation"):
            if name not in splits:
                raise UserError(f"--search_trials needs {name} data: give --{name}_file (and --do_eval beside --do_train)")
        name = trial_args.training.metric_for_best_model.removeprefix("eval_")
        if not objective:
            objective["name"] = name
            objective["direction"] = "maximize" if trial_args.training.greater_is_better else "minimize"
            objective["data"] = {split: describe_data(splits[split]) for split in ("train", "validation")}
        elif objective["name"] != name:
            raise UserError(f"the objective would be {name}, but {objective['name']} for other combinations")

    check_combinations(space, check_one)
    varied = sorted(LOSS_OPTIONS & {parameter.name for parameter in space})
    if objective["name"] == "loss" and varied:
        raise UserError(
            f"the objective is the loss, and the search varies {', '.join(varied)}, which changes its scale: name another "
            f"objective with --metric_for_best_model"
        )
    return objective


def run_trials(shared: SharedStudy, space: list[Parameter], objective: str, args: Arguments, train: Callable) -> None:
    """Run trials until there are as many as asked for, including those of earlier runs and of other processes.

    `train` returns the score and the loss of a trial with given values. Raises a `UserError` if the first trial raises one, or
    if the last `SAME_FAILURES` trials failed with the same error.
    """
    import optuna
    from optuna.trial import TrialState

    study, trials = shared.study, args.search.search_trials
    study.pruner = optuna.pruners.MedianPruner() if args.search.search_pruning else optuna.pruners.NopPruner()
    failures: list[str] = []
    first = True
    while True:
        with shared.lock:  # until the trial has begun, so that no other process begins the same one
            shared.mark_interrupted()
            if len(shared.begun()) >= trials:
                return
            number = sum(trial.state != TrialState.WAITING for trial in shared.trials())
            study.sampler = optuna.samplers.TPESampler(seed=args.training.seed + number)  # other values in each process
            trial = study.ask()
            for name, value in sign_of_life().items():
                trial.set_user_attr(name, value)
            values = {parameter.name: parameter.suggest(trial) for parameter in space}
        score = None
        try:
            same = next((other for other in shared.best() if other.params == values), None)
            if same:  # it would have the same score
                trial.set_user_attr("same_as", same.number)
                score, loss = same.value, same.user_attrs["loss"]
            else:
                score, loss = train(trial, values)
            trial.set_user_attr("loss", loss)
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except Exception as error:  # a trial that fails must not end the search
            reason = f"{type(error).__name__}: {one_line(error)}"
            if "contains NaN" in reason:  # in scikit-learn's words
                reason = "the training diverged: the model gives NaN"
            trial.set_user_attr("error", reason[:1000])
            state = TrialState.FAIL
            if first and isinstance(error, UserError):  # a mistake that all trials would share
                study.tell(trial, state=state)
                raise
        ended = study.tell(trial, score, state)
        first = False
        release_memory()
        write_search(shared, objective, args.training.output_dir)
        print_trial(shared, ended, objective, trials, list(values))
        error = ended.user_attrs.get("error")
        failures = [*failures, re.sub(r"[\d.]+", "#", error)] if error else []  # numbers of bytes or rows may differ
        if len(failures) >= SAME_FAILURES and len(set(failures[-SAME_FAILURES:])) == 1:
            raise UserError(f"the last {SAME_FAILURES} trials failed in the same way, the search stops: {error}")
