"""Prediction with the models of all folds."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate.utils.memory import release_memory
from datasets import Dataset

from utils.arguments import Arguments, UserError
from utils.ensembles.blending import align, blend
from utils.ensembles.writing import FILES, Decide, write_ensemble
from utils.files.rows import flatten
from utils.results.finished import FACTS, Run, read_run
from utils.results.report import write_options
from utils.splits.taking_part import splits_to_use

logger = logging.getLogger(__name__)


def predict_with_folds(
    main: Callable[[list[str]], dict[str, float]], args: Arguments, splits: dict[str, Dataset], decide: Decide | None
) -> dict[str, float]:
    """Predict with the model of each fold, in a folder of its own in --output_dir. Write the mean, and return the metrics.

    It is decided at the thresholds of all folds together, unless --threshold says otherwise.

    Raises:
        UserError: there is something to train, or the folds are not finished.
    """
    folds, folder = args.models_of_folds, Path(args.training.output_dir)
    whole = folds[0].parent
    if "train" in splits_to_use(flatten(splits), args.training.asked, args.data):
        raise UserError(
            f"--model_name_or_path {whole} holds a model for each fold, and there is training data: name one to train further, "
            f"such as {folds[0]}; to predict with all of them leave out --train_file"
        )
    if (folder / "config.json").is_file() or any(folder.glob("fold-*/config.json")):
        raise UserError(f"--output_dir {folder} holds models: name a folder of its own for what these folds predict together")
    trained = read_run(whole) if (whole / FACTS).is_file() else None
    if trained is None or trained.options.get("num_folds") != len(folds):
        raise UserError(
            f"--model_name_or_path {whole} holds {len(folds)} models of folds, and its run is not whole: repeat the command that "
            f"trained them, with --num_folds, which trains what is missing; or name one model, such as {folds[0]}"
        )
    for number, fold in enumerate(folds, 1):
        logger.info("\nmodel %d of %d\n", number, len(folds))
        own = [f"--model_name_or_path={fold}", f"--output_dir={folder / fold.name}", "--no_report"]
        metrics = main([*args.argv, *own])
        release_memory()
        if args.data.check_data:
            return metrics
    if args.training.process_index == 0:
        metrics = _collect(args, trained, [read_run(folder / fold.name) for fold in folds], decide)
    if args.training.world_size > 1:
        torch.distributed.barrier()
    return metrics


def _collect(args: Arguments, trained: Run, runs: list[Run], decide: Decide | None) -> dict[str, float]:
    folder, names = Path(args.training.output_dir), [str(run.folder) for run in runs]
    found = {split: blend(align([run.predictions[split] for run in runs], names)) for split in runs[0].predictions}
    deciding = [trained] if getattr(args.data, "threshold", None) is None else runs
    thresholds = np.mean([run.thresholds(runs[0].names) for run in deciding], axis=0)
    sample = getattr(args.data, "sample_submission", None)
    logger.info("\nthe mean of %d models", len(runs))
    run = write_ensemble(folder, FILES, found, thresholds, runs[0].facts, {}, sample, not args.training.no_report, decide)
    written = {name: value for name, value in runs[0].options.items() if name != "no_report"}
    write_options(written | args.given, folder / "args.yaml", "Given, or found in the data")
    logger.info("\nin %s: %s", folder, ", ".join(sorted(path.name for path in folder.iterdir())))
    return run.metrics
