"""Hyperparameter search: trials of `Trainer.hyperparameter_search` with Optuna, each a run of its own."""

import contextlib
import logging
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils.memory import release_memory
from datasets import Dataset

from utils.arguments import Arguments, UserError
from utils.data.loading import describe_data
from utils.results.report import write_options
from utils.runtime import quiet
from utils.search.figures import count, draw_figures, print_best, print_trial, write_search
from utils.search.space import LOSS_OPTIONS, Parameter, all_combinations, check_combinations, read_space
from utils.search.study import SharedStudy, open_study
from utils.search.trial import SearchTrainer
from utils.training.checkpoints import refuse_finished
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

logger = logging.getLogger(__name__)

SAME_FAILURES = 3  # in a row end the search


Prepare = Callable[[Arguments], Task]


def search(
    own_space: dict[str, dict],
    args: Arguments,
    splits: dict[str, Dataset],
    prepare: Callable[[dict[str, Dataset], Arguments], Task],
    build: Callable[[Task], FineTuningTrainer],
) -> Path | None:
    """Search hyperparameters. Return the file of the best arguments, or None where another process trains with them.

    Every trial is a run of its own, made by the script's functions. Nothing of one trial is left in the next, and no trial sees
    the test data. The final training is a run of the returned file.

    Args:
        own_space: the script's `SEARCH_SPACE`, used unless another one is given.
        splits: the rows as they were loaded.
        prepare: the script's, checks rows and options.
        build: the script's, returns its trainer.

    Raises:
        UserError: optuna is missing, the search space or storage cannot be used, or no trial is completed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("--search_trials needs Optuna: pip install -r requirements-search.txt, or 'optuna>=5,<6'") from error
    training_args, search_args, options, check = args.training, args.search, args.options, partial(prepare, splits)
    if training_args.world_size > 1:
        raise UserError(
            f"--search_trials trains each trial in one process, found {training_args.world_size}: start one such process a GPU, "
            f"all with the same --search_storage, as in CUDA_VISIBLE_DEVICES=0 python run_… --search_storage sqlite:///study.db; "
            f"best_args.yaml can then be trained by all GPUs together"
        )
    if training_args.resume_from_checkpoint:
        raise UserError("--resume_from_checkpoint: a search continues by its --search_storage, without this option")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = read_space(own_space, search_args.search_space, options)
    if (options["max_steps"] or 0) > 0 and any(parameter.name == "num_train_epochs" for parameter in space):
        logger.info("num_train_epochs is not varied: --max_steps decides how long a trial is")
        space = [parameter for parameter in space if parameter.name != "num_train_epochs"]
        if not space:
            raise UserError(
                "--max_steps overrides num_train_epochs, and the search space holds nothing else: leave out one of them"
            )
    objective, order = check_space(space, args, check), [parameter.name for parameter in space]
    every = len(all_combinations(space))
    if 0 < every < search_args.search_trials:
        logger.info("the search space has %s: each is tried once", count(every, "combination"))
        search_args.search_trials = every
    logger.info(
        "search: %s of %s; objective: %s of the validation data, %sd",
        count(search_args.search_trials, "trial"), ", ".join(order), objective["name"], objective["direction"],
    )  # fmt: skip
    if args.data.check_data:
        return None
    refuse_finished(training_args)
    if args.data.smoke_test or not search_args.search_storage:
        search_args.search_storage = None
    output_dir = training_args.output_dir
    shared = open_study(search_args, space, objective, options, settled_values(args, check))
    trainer = SearchTrainer(args, check, build)
    there = len(shared.finished())
    if there:
        logger.info("the storage holds %s, %d to go", count(there, "trial"), max(search_args.search_trials - there, 0))
    try:
        run_trials(shared, trainer, space, objective, args)
    except KeyboardInterrupt:
        kept = "the same command goes on" if search_args.search_storage else "trials in memory are lost, see --search_storage"
        logger.info("\ninterrupted after %s: %s", count(len(shared.finished()), "trial"), kept)
        raise
    running = len(shared.running())
    write_search(shared, objective["name"], output_dir)
    print_best(shared, objective["name"], order)
    draw_figures(shared, objective["name"], output_dir)
    if running:
        logger.info("other processes still run %s; the last to end will train with the best values", count(running, "trial"))
        return None
    best = shared.best()
    if not best:
        last = shared.finished()[-1].user_attrs.get("error", "pruned")
        raise UserError(f"none of the trials was completed, see {output_dir}/search.json; the last one: {last}")
    if not shared.claim_final_training():
        logger.info("another process trains with the best values")
        return None
    options = args.reread(best[0].params).options
    path = Path(output_dir, "best_args.yaml")
    write_options({name: value for name, value in options.items() if not name.startswith("search_")}, path)
    logger.info("\ntraining with the values of trial %d, a run of %s", best[0].number, path)
    return path


def settled_values(args: Arguments, check: Prepare) -> dict[str, Any]:
    """Return the value of every option in a run without a search: as given, the default, or what the data made of it."""
    with quiet(), contextlib.suppress(UserError):  # the values given may be impossible; those of the search space are not
        args = args.reread({})
        check(args)
    groups = (args.model, args.data, args.training)
    return args.options | {name: value for group in groups for name, value in vars(group).items()}


def check_space(space: list[Parameter], args: Arguments, check: Prepare) -> dict[str, Any]:
    """Check every combination of the search space and return the objective: its name, direction, and what tells the data apart.

    Raises:
        UserError: combinations that cannot be trained, all of them; an objective that means something else in each trial.
    """
    found: list[dict[str, Any]] = []

    def check_one(values: dict[str, Any]) -> None:
        with quiet() if found else contextlib.nullcontext():  # say once what is found in the data
            trial_args = args.reread(values)
            splits = check(trial_args).splits
        missing = next((name for name in ("train", "validation") if name not in splits), None)
        if missing:
            raise UserError(f"--search_trials needs {missing} data: give --{missing}_file (and --do_eval beside --do_train)")
        training_args = trial_args.training
        objective = {
            "name": training_args.metric_for_best_model.removeprefix("eval_"),
            "direction": "maximize" if training_args.greater_is_better else "minimize",
            "data": {name: describe_data(splits[name]) for name in ("train", "validation")} if not found else None,
        }
        found.append(objective)
        if objective["name"] != found[0]["name"]:
            raise UserError(f"the objective would be {objective['name']}, that of other combinations {found[0]['name']}")

    check_combinations(space, check_one)
    varied = sorted(LOSS_OPTIONS & {parameter.name for parameter in space})
    if found[0]["name"] == "loss" and varied:
        raise UserError(
            f"the objective is the loss, and the search varies {', '.join(varied)}, which changes its scale: name another "
            f"objective with --metric_for_best_model"
        )
    return found[0]


def run_trials(shared: SharedStudy, trainer: SearchTrainer, space: list[Parameter], objective: dict, args: Arguments) -> None:
    """Run trials until, with those of other processes, there are as many as asked for.

    Each is a search for one trial: Optuna itself would add as many to those of an earlier run, and processes with the same
    seed would draw the same values.

    Raises:
        UserError: the first trial found a mistake of the user's; the last `SAME_FAILURES` failed with the same error.
    """
    import optuna

    training_args, search_args = args.training, args.search
    failures: list[str] = []
    first = True
    while True:
        with shared.lock:  # until the trial has begun, so that no other process begins the same one
            shared.mark_interrupted()
            if len(shared.finished()) + len(shared.running()) >= search_args.search_trials:
                return
            number = sum(trial.state != optuna.trial.TrialState.WAITING for trial in shared.trials())
            trainer.trial, trainer.on_begin = None, lambda: shared.lock.release(force=True)
            try:
                trainer.hyperparameter_search(
                    hp_space=lambda trial: {parameter.name: parameter.suggest(trial) for parameter in space},
                    compute_objective=lambda metrics: metrics.get(f"eval_{objective['name']}", math.nan),
                    n_trials=1,
                    direction=objective["direction"],
                    backend="optuna",
                    study_name=shared.study.study_name,
                    storage=shared.storage,
                    load_if_exists=True,
                    sampler=optuna.samplers.TPESampler(seed=training_args.seed + number),
                    pruner=optuna.pruners.MedianPruner() if search_args.search_pruning else optuna.pruners.NopPruner(),
                )
            except Exception as error:  # of a trial that failed, which must not end the search; of a first one that was pruned
                if trainer.trial is None or (first and isinstance(error, UserError)):  # a mistake, and not of this trial alone
                    raise
        first = False
        release_memory()
        trial = next(trial for trial in shared.trials() if trial.number == trainer.trial.number)
        write_search(shared, objective["name"], training_args.output_dir)
        print_trial(shared, trial, objective["name"], search_args.search_trials, [parameter.name for parameter in space])
        error = trial.user_attrs.get("error")
        failures = [*failures, re.sub(r"[\d.]+", "#", error)] if error else []  # numbers of bytes or rows differ
        if len(failures) >= SAME_FAILURES and len(set(failures[-SAME_FAILURES:])) == 1:
            raise UserError(f"the last {SAME_FAILURES} trials failed in the same way, the search stops: {error}")
