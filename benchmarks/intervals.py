"""Whether the 95 % intervals of utils/scoring/intervals.py hold the truth, and how often a comparison finds what is not there.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py --simulations 500 --samples 1000 > benchmarks/intervals.md

Every simulation draws two equally good models' predictions of the same rows. Covered: the share of intervals that hold the metric
of 200,000 other rows; below and above: of those that lie beneath it, and over it. False positives: the share of comparisons with
p < 0.05. Ends with the seconds of 1,000 resamples.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy.special import expit, softmax

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.scoring.evaluation import Evaluation  # noqa: E402
from utils.scoring.intervals import compare, intervals, point_scores  # noqa: E402

Population = Callable[[np.random.Generator, int], Iterator[Evaluation]]


def labels(lowest: float, highest: float, count: int, spread: float = 1.5) -> Population:
    """Labels whose mean log-odds run from `lowest` to `highest`. Rows that differ more, by `spread`, are easier to tell apart."""

    def draw_rows(draw: np.random.Generator, rows: int) -> Iterator[Evaluation]:
        log_odds = draw.normal(np.linspace(lowest, highest, count), spread, (rows, count)) + draw.normal(0, 0.7, (rows, 1))
        truth = (draw.random((rows, count)) < expit(log_odds)).astype(float)
        for _ in range(2):
            probabilities = expit(log_odds + draw.normal(0, 0.8, truth.shape))
            yield Evaluation("labels", [str(number) for number in range(count)], probabilities, truth, np.full(count, 0.3))

    return draw_rows


def classes(count: int) -> Population:
    def draw_rows(draw: np.random.Generator, rows: int) -> Iterator[Evaluation]:
        shares = np.arange(1, count + 1)
        truth = draw.choice(count, rows, p=shares / shares.sum())
        shared = 1.2 * (truth[:, None] == np.arange(count)) + draw.normal(0, 0.6, (rows, count))
        for _ in range(2):
            probabilities = softmax(1.5 * (shared + draw.normal(0, 0.5, shared.shape)), axis=1)
            names = [str(number) for number in range(count)]
            yield Evaluation("classes", names, probabilities, truth, np.full(int(count == 2), 0.5))

    return draw_rows


def choices(draw: np.random.Generator, rows: int) -> Iterator[Evaluation]:
    missing = np.arange(5) >= draw.integers(3, 6, rows)[:, None]
    truth = draw.integers(3, size=rows)
    shared = (truth[:, None] == np.arange(5)) + draw.normal(0, 0.6, (rows, 5))
    for _ in range(2):
        probabilities = np.where(missing, np.nan, expit(shared + draw.normal(0, 0.5, shared.shape)))
        yield Evaluation("choices", [str(number) for number in range(5)], probabilities, truth)


def numbers(draw: np.random.Generator, rows: int) -> Iterator[Evaluation]:
    truth = draw.gamma(2.0, 1.0, rows)
    shared = truth + draw.normal(0, 0.7, rows)
    for _ in range(2):
        yield Evaluation("numbers", [], (shared + draw.normal(0, 0.7, rows))[:, None], truth)


EACH = "f1 of each"  # of all labels or classes together
POPULATIONS = {
    "6 labels": (labels(-3.5, -0.5, 6), 1000),
    "3 labels, easy": (labels(-2, 0, 3, spread=5), 40),
    "30 labels, most of them rare": (labels(-4.5, -1, 30), 500),
    "5 classes": (classes(5), 500),
    "2 classes": (classes(2), 1000),
    "choices": (choices, 500),
    "numbers": (numbers, 500),
}


def simulate(name: str, simulations: int, samples: int) -> list[list[str]]:
    """Return the rows of the table of a population."""
    population, rows = POPULATIONS[name]
    truth = point_scores(next(population(np.random.default_rng(10**6), 200_000)))
    places, found = defaultdict(list), defaultdict(list)
    for seed in range(simulations):
        first, second = population(np.random.default_rng((1, seed)), rows)
        for metric, (low, high) in intervals(first, samples, seed).items():
            shown = EACH if metric.endswith("_f1") else metric
            places[shown].append((high < truth[metric]) - int(low > truth[metric]))
        for difference in compare(first, second, samples, seed):
            found[difference.name].append(difference.p_value < 0.05)
    table = []
    for metric in dict.fromkeys(EACH if metric.endswith("_f1") else metric for metric in truth):
        place = np.array(places[metric])
        shares = [] if not len(place) else [(place == 0).mean(), (place > 0).mean(), (place < 0).mean()]
        cells = [f"{100 * share:.1f}" for share in shares] or ["no interval", "", ""]
        table.append([name, f"{rows:,}", metric, *cells, f"{100 * np.mean(found[metric]):.1f}" if found[metric] else ""])
    return table


def seconds_of(rows: int, count: int) -> float:
    evaluation = next(labels(-4, -1, count)(np.random.default_rng(0), rows))
    began = time.perf_counter()
    intervals(evaluation)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--samples", type=int, default=1000, help="resamples in each simulation")
    args = parser.parse_args()
    command = f"`OMP_NUM_THREADS=1 python benchmarks/intervals.py --simulations {args.simulations} --samples {args.samples}`"
    error = 100 * np.sqrt(0.95 * 0.05 / args.simulations)
    print(f"{command}, {os.cpu_count()} cores. In %, with a standard error of {error:.1f} for 95 % and for 5 %.\n")
    print("| | rows | metric | covered | below | above | false positives |\n| --- | --- | --- | --- | --- | --- | --- |")
    with Pool() as pool:
        for table in pool.imap(partial(simulate, simulations=args.simulations, samples=args.samples), POPULATIONS):
            print("\n".join("| " + " | ".join(cells) + " |" for cells in table), flush=True)
    print("\n| rows | labels | seconds of the intervals |\n| --- | --- | --- |")
    for rows, count in ((4_000, 6), (3_000, 1_000), (100_000, 28)):
        print(f"| {rows:,} | {count:,} | {seconds_of(rows, count):.1f} |", flush=True)


if __name__ == "__main__":
    main()
