"""Compare two finished runs on the same test rows: is the difference real, and which rows have changed?

    python tools/compare.py outputs/baseline outputs/candidate

Prints each metric of both, the difference with its 95 % interval, and the p-value, by a paired bootstrap: the same rows are
drawn for both. Writes comparison.html, and changed_rows.csv with every row that the two decide differently.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.command_line import one_line_errors  # noqa: E402
from utils.results.comparison import CHANGED, PAGE, compare_runs, comparison_table, verdict, write_comparison  # noqa: E402
from utils.results.finished import read_run  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="the --output_dir of a run")
    parser.add_argument("second", type=Path, help="that of another, which predicts the same rows")
    parser.add_argument("--split", choices=("test", "validation"), help="the rows to compare [test where both have it labelled]")
    parser.add_argument("--output_dir", type=Path, default=Path("comparison"), help="where to write the page [comparison]")
    args = parser.parse_args(argv)
    found = compare_runs(read_run(args.first), read_run(args.second), args.split)
    table = comparison_table(found)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *cells in table:
        print("  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]))
    print(f"\n{verdict(found)}")
    print(f"{len(found.changes):,} of {found.rows:,} rows are decided differently")
    write_comparison(found, args.output_dir)
    print(f"wrote {args.output_dir / PAGE} and {CHANGED} beside it")


if __name__ == "__main__":
    with one_line_errors():
        main()
