"""Blend the predictions of finished runs: several models are better than one, the more they differ the better.

    python tools/blend.py outputs/bert outputs/roberta outputs/folds --output_dir outputs/blend

Runs of any model and options will do, also of --num_folds, if they predict the same rows. Writes what a run writes:
predictions.csv, the predictions for the validation rows, scores, report.html. Rows are matched by their ids.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.command_line import one_line_errors  # noqa: E402
from utils.ensembles.blending import METHODS  # noqa: E402
from utils.ensembles.runs import blend_runs  # noqa: E402
from utils.results.finished import read_run  # noqa: E402


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="the --output_dir of each run")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the files of the blend go")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="mean",
        help="mean of the probabilities; rank: mean of their ranks in each column; weights: a mean with the weights of the "
        "lowest log loss on the validation rows [mean]",
    )
    parser.add_argument("--sample_submission", help="Kaggle's sample file; submission.csv is written like it")
    parser.add_argument("--no_report", action="store_true", help="do without report.html and intervals")
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("utils").setLevel(logging.INFO)
    runs = [read_run(folder) for folder in args.runs]
    return blend_runs(runs, args.output_dir, args.method, args.sample_submission, not args.no_report)


if __name__ == "__main__":
    with one_line_errors():
        main()
