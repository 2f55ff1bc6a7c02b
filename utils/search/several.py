"""Several runs of a script instead of one: a search and then the best, or one run for each fold or its model."""

from collections.abc import Callable

from datasets import Dataset

from utils.arguments import Arguments, UserError
from utils.ensembles.cross_validation import cross_validate
from utils.ensembles.prediction import predict_with_folds
from utils.ensembles.writing import Decide
from utils.search.search import search
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer


def several_runs(
    main: Callable[[list[str]], dict[str, float]],
    args: Arguments,
    splits: dict[str, Dataset],
    prepare: Callable[[dict[str, Dataset], Arguments], Task],
    build: Callable[[Task], FineTuningTrainer],
    decide: Decide | None,
    space: dict[str, dict],
) -> dict[str, float] | None:
    """Search and train with the best, train by folds, or predict with their models, as the arguments ask. Return the metrics.

    With --check_data what is asked for is checked, and None is returned: the rest of the check is that of one run.

    Args:
        main, prepare, build, decide, space: the script's `main`, `prepare`, `build_trainer`, `decide` and `SEARCH_SPACE`.
    """
    if args.search.search_trials and args.data.num_folds:
        raise UserError("--search_trials and --num_folds are both given: search first, and give best_args.yaml with --num_folds")
    if args.data.num_folds:
        return cross_validate(main, args, splits, prepare, decide)
    if args.models_of_folds and not args.search.search_trials:
        return predict_with_folds(main, args, splits, decide)
    best = search(space, args, splits, prepare, build)
    if args.data.check_data:
        return None
    return main([str(best)]) if best else {}
