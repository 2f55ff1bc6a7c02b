"""Cross-validation: one run of a script for each fold, then all of them as one."""

import logging
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.utils.memory import release_memory
from datasets import Dataset

from utils.arguments import Arguments, UserError
from utils.data.row_texts import texts_of
from utils.ensembles.blending import align, blend
from utils.ensembles.writing import Decide, tune_thresholds, write_ensemble
from utils.files.rows import GROUP, PLACE
from utils.results.assessment import write_issues
from utils.results.finished import FACTS, OVERALL, Predictions, Run, read_run
from utils.results.report import a_report_costs_no_run, write_options
from utils.results.score_tables import print_table
from utils.runtime import quiet
from utils.splits.folds import find_units
from utils.splits.repeats import near_repeats
from utils.training.checkpoints import changes, describe_run, describe_test, differences, is_finished, remove_checkpoints
from utils.training.task import Task

logger = logging.getLogger(__name__)

FILES = {"validation": "oof_predictions.csv", "test": "predictions.csv"}


def cross_validate(
    main: Callable[[list[str]], dict[str, float]],
    args: Arguments,
    splits: dict[str, Dataset],
    prepare: Callable[[dict[str, Dataset], Arguments], Task],
    decide: Decide | None,
) -> dict[str, float] | None:
    """Run a script's `main` for each fold that is not finished yet, put the folds together, and return the metrics.

    Fold 3 is the run `--fold 3`, in the folder fold-3 of --output_dir; such runs may have been made elsewhere. With
    --check_data nothing is trained and None is returned.

    Raises:
        UserError: the options do not fit, or a finished fold belongs to a run with other options or data.
    """
    count, folder = args.data.num_folds, Path(args.training.output_dir)
    _check(args, splits)
    if args.data.check_data:
        tasks = [_prepare_fold(args, splits, prepare, fold) for fold in range(1, count + 1)]
        _report_folds(tasks)
        return None
    if args.training.overwrite_output_dir and (folder / "args.yaml").is_file() and args.training.process_index == 0:
        for path in (folder / "args.yaml", *folder.glob("fold-*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    tasks = []
    for fold in range(1, count + 1):
        task = _prepare_fold(args, splits, prepare, fold)
        if _is_finished(task):
            logger.info("fold %d of %d: finished, in %s", fold, count, task.args.training.output_dir)
        else:
            logger.info("\nfold %d of %d\n", fold, count)
            main([*args.argv, "--fold", str(fold)])
            release_memory()
            if not Path(task.args.training.output_dir, FACTS).is_file():
                raise UserError(
                    f"--num_folds {count}: this script does not predict its labels, so its predictions cannot be averaged"
                )
        tasks.append(task)
    metrics = {}
    if args.training.process_index == 0:
        metrics = _collect(args, tasks, splits, decide)
    if args.training.world_size > 1:
        torch.distributed.barrier()
    return metrics


def _check(args: Arguments, splits: dict[str, Dataset]) -> None:
    option = f"--num_folds {args.data.num_folds}"
    if args.models_of_folds:
        raise UserError(
            f"{option}: --model_name_or_path {args.model.model_name_or_path} holds a model for each fold; to predict with them "
            f"leave out --num_folds, to train further name one, such as {args.models_of_folds[0]}"
        )
    if "train" not in splits:
        raise UserError(f"{option}: there is no training data to divide; give --train_file")
    if "validation" in splits:
        told = "makes validation data of the training rows, and there is a validation split"
        raise UserError(f"{option} {told}: leave it out with --remove_splits validation")
    if args.training.asked and not {"train", "validation"} <= set(args.training.asked):
        raise UserError(f"{option} trains and evaluates: leave --do_train out, or add --do_eval to it")
    if args.training.resume_from_checkpoint is not None:
        raise UserError(f"{option}: leave out --resume_from_checkpoint, the same command goes on where it was interrupted")
    if args.training.push_to_hub:
        raise UserError(f"{option} gives {args.data.num_folds} models: leave out --push_to_hub, or push the run of one --fold")


def _prepare_fold(
    args: Arguments, splits: dict[str, Dataset], prepare: Callable[[dict[str, Dataset], Arguments], Task], fold: int
) -> Task:
    with quiet():
        return prepare(splits, args.reread({"fold": fold}))


def _is_finished(task: Task) -> bool:
    """Return whether the run of a fold has ended. Raises a `UserError` if it was another run."""
    args = task.args.training
    if not (is_finished(args) and Path(args.output_dir, FACTS).is_file()):
        return False
    facts = read_run(Path(args.output_dir)).facts
    now = describe_run(task) | {"processes": facts["run"]["processes"]}
    found = differences(facts["run"], now) + changes({"test": facts["test_data"]}, {"test": describe_test(task)}, "the {} data")
    changed = "; ".join(found)
    if changed:
        raise UserError(
            f"{args.output_dir} belongs to a run with other options or data: {changed}; name another --output_dir, or remove "
            f"that folder to train the fold again"
        )
    if not args.keep_checkpoints and args.process_index == 0:
        remove_checkpoints(args)  # which a run that was killed at its end has left
    return True


def _report_folds(tasks: list[Task]) -> None:
    """Print how the rows are divided, and which of them stay together."""
    held_out = [task.splits["validation"] for task in tasks]
    described = [task.format.describe(task.targets("validation")).get("labels", {}) for task in tasks]
    rows = [["rows", *(f"{len(rows):,}" for rows in held_out)]]
    rows += [[name, *(f"{labels.get(name, 0):,}" for labels in described)] for name in list(described[0])[:30]]
    logger.info("")
    print_table([["fold", *(str(task.args.data.fold) for task in tasks)], *rows])
    texts = tasks[0].text_columns or ["context", "question"]
    parts = tasks[0].splits["train"], tasks[0].splits["validation"]  # which share no unit
    together = sum(len(part) - len(np.unique(find_units(part, texts))) for part in parts)
    grouped = GROUP in parts[0].column_names
    what = "share a group or a text with" if grouped else "repeat (but for case and punctuation) the text of"
    logger.info("%s rows %s another; these stay in one fold", f"{together:,}", what)
    _warn_of_near_repeats(tasks, texts)


def _warn_of_near_repeats(tasks: list[Task], columns: list[str]) -> None:
    held_out = [task.splits["validation"] for task in tasks]
    folds = [fold for fold, rows in enumerate(held_out) for _ in range(len(rows))]
    texts = [" ".join(parts) for rows in held_out for parts in texts_of(rows, columns)]
    leaks = [(one, other) for one, other in near_repeats(texts) if folds[one] != folds[other]]
    if leaks:
        places = [place for rows in held_out for place in rows[PLACE][:]]
        logger.warning(
            "%s rows are nearly the same as one of another fold, which makes scores too good: remove them, or name what they "
            "share with --group_column_name; the first: %s and %s",
            f"{len(leaks):,}",
            *(places[row] for row in leaks[0]),
        )


def _collect(args: Arguments, tasks: list[Task], splits: dict[str, Dataset], decide: Decide | None) -> dict[str, float]:
    """Write what all folds predict together, and return the metrics."""
    folder, task, report = Path(args.training.output_dir), tasks[0], not args.training.no_report
    runs = [read_run(Path(task.args.training.output_dir)) for task in tasks]
    rows, places = _out_of_fold(tasks, runs, splits["train"][PLACE][:])
    found, places = {"validation": rows}, {"validation": places}
    thresholds = tune_thresholds(getattr(task.args.data, "threshold", None), rows, runs)
    if "test" in task.splits:
        found["test"] = blend(align([run.predictions["test"] for run in runs], [run.folder.name for run in runs]))
        places["test"] = task.splits["test"][PLACE][:]
    lengths: Counter = sum((Counter(run.facts["rows_by_length"]["validation"]) for run in runs), Counter())
    facts = runs[0].facts | {
        "rows": {split: len(each.ids) for split, each in found.items()},
        "rows_by_length": {split: dict(runs[0].facts["rows_by_length"][split]) for split in found}
        | {"validation": dict(lengths)},
    }
    sample = getattr(task.args.data, "sample_submission", None)
    logger.info("\nall %d folds together", len(runs))
    every = dict.fromkeys((*OVERALL, task.args.training.metric_for_best_model.removeprefix("eval_")))
    scores, metrics = [{name: run.metrics.get(f"eval_{name}", np.nan) for name in every} for run in runs], {}
    table = [["metric", "mean of folds", "deviation", *(run.folder.name for run in runs)]]
    for name in every:
        values = [score[name] for score in scores]
        if not np.isnan(values).any():
            mean, deviation = np.mean(values), np.std(values, ddof=1)
            metrics |= {f"eval_{name}_mean_of_folds": float(mean), f"eval_{name}_deviation_of_folds": float(deviation)}
            table.append([name, *(f"{value:.3f}" for value in (mean, deviation, *values))])
    print_table(table)
    run = write_ensemble(folder, FILES, found, thresholds, facts, metrics, sample, report, decide)
    if report:
        with a_report_costs_no_run():
            write_issues(run, places)
    write_options(task.found | args.given, folder / "args.yaml", "Given, or found in the data")
    logger.info("\nin %s: %s", folder, ", ".join(sorted(path.name for path in folder.iterdir())))
    return run.metrics


def _out_of_fold(tasks: list[Task], runs: list[Run], places: list[str]) -> tuple[Predictions, list[str]]:
    """Return what each row was predicted by the model that has not seen it, and its place, in the order of the training data.

    `places` are those of all the training data. Without an id column the rows have their numbers in it.
    """
    position = {place: row for row, place in enumerate(places)}
    parts = [run.predictions["validation"] for run in runs]
    own = [[position[place] for place in task.splits["validation"][PLACE][:]] for task in tasks]
    rows = np.concatenate(own)
    order = np.argsort(rows, kind="stable")

    def joined(name: str) -> list:
        values = [value for part in parts for value in getattr(part, name) or []]
        return [values[row] for row in order] if values else []

    first = parts[0]
    together = replace(
        first,
        probabilities=np.concatenate([part.probabilities for part in parts])[order],
        decisions=[],
        ids=joined("ids") if first.id_name != "row" else [str(row) for row in rows[order]],
        **{name: joined(name) for name in ("labels", "texts", "chosen")},
    )
    return together, [places[row] for row in rows[order]]
