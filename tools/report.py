"""Make report.html again from what a run has written, without its model.

python tools/report.py outputs/quickstart
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.command_line import one_line_errors  # noqa: E402
from utils.results.assessment import interval_metrics  # noqa: E402
from utils.results.finished import REPORT, read_run  # noqa: E402
from utils.results.page import write_page  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path, help="the --output_dir of a run that has evaluated or predicted")
    folder = parser.parse_args(argv).output_dir
    run = read_run(folder)
    run.metrics |= interval_metrics(run)  # a run with --no_report has none
    write_page(run, folder / REPORT)
    print(f"wrote {folder / REPORT}")


if __name__ == "__main__":
    with one_line_errors():
        main()
