"""Two runs on the same rows: the difference of each metric, and the rows that they decide differently."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.arguments import UserError, shorten
from utils.files.rows import whole_file
from utils.results.finished import Predictions, Run
from utils.results.predictions import write_csv
from utils.scoring.evaluation import Evaluation
from utils.scoring.intervals import Difference, compare

PAGE, CHANGED = "comparison.html", "changed_rows.csv"
MOST_SHOWN = 100


@dataclass
class Change:
    """A row that two runs decide differently. `better` is the run that is right, or nearer; "" if neither is."""

    id: str
    label: str
    first: str
    second: str
    better: str
    text: str


@dataclass
class Comparison:
    """What comes out: the rows of both in the same order, the differences of the metrics, and the changed rows."""

    first: Run
    second: Run
    names: tuple[str, str]
    split: str
    rows: int
    differences: list[Difference]
    changes: list[Change]


def compare_runs(first: Run, second: Run, split: str | None = None) -> Comparison:
    """Compare the predictions of two runs for the test rows, or for those of another `split`.

    Raises:
        UserError: the runs have other tasks, labels or rows, or a row has another label in each.
    """
    names = _names(first, second)
    if first.kind != second.kind:
        told = [f"{name} {run.facts['script']}" for name, run in zip(names, (first, second), strict=True)]
        raise UserError(f"these runs have different tasks: {' and '.join(told)}")
    in_both = [name for name in ("test", "validation") if name in first.evaluations and name in second.evaluations]
    split = split or next(iter(in_both), "test")
    for name, run in zip(names, (first, second), strict=True):
        if split not in run.evaluations:
            others = f"; it has labelled {' and '.join(run.evaluations)} rows (--split)" if run.evaluations else ""
            raise UserError(f"{name} has no {split} rows with labels{others}")
    one, two = (run.predictions[split].of_rows(run.evaluations[split].rows) for run in (first, second))
    two = in_order_of(one, two, names, "labelled rows")
    for row, texts in enumerate(zip(one.texts, two.texts, strict=False)):
        if texts[0] != texts[1]:
            raise UserError(f"row {one.ids[row]!r} has another text in {names[0]} than in {names[1]}: these are other rows")
    one, two = (each.evaluation(run.thresholds(one.names)) for each, run in ((one, first), (two, second)))
    return Comparison(first, second, names, split, len(one), compare(one, two), find_changes(one, two, names))


def _names(first: Run, second: Run) -> tuple[str, str]:
    """Return what to call the runs: their folders' names, with as much of the paths as tells them apart."""
    paths = [run.folder.resolve().parts for run in (first, second)]
    for length in range(1, max(map(len, paths))):
        names = ["/".join(parts[-length:]) for parts in paths]
        if names[0] != names[1]:
            return names[0], names[1]
    raise UserError(f"{first.folder} and {second.folder} are the same run: give two")


def in_order_of(first: Predictions, other: Predictions, names: tuple[str, str], what: str = "rows") -> Predictions:
    """Return `other` with its labels and rows in the order of `first`. Rows are matched by their ids.

    Args:
        names: what to call both in a message, and `what` to call their rows.

    Raises:
        UserError: one has labels or rows that the other lacks, or a row has another label in each.
    """
    for own, others, (here, there) in ((first, other, names), (other, first, names[::-1])):
        missing = [label for label in own.names if label not in others.names]
        if missing and own.kind != "choices":
            raise UserError(f"{there} has no label {shorten(missing)}, which {here} has: these runs do not fit each other")
        absent = sorted(set(own.ids) - set(others.ids))
        if absent:
            more = f" and {len(absent) - 1:,} more of {here} are" if len(absent) > 1 else f" of {here} is"
            expected = "both must predict the same rows, with ids"
            raise UserError(f"row {absent[0]!r}{more} not among the {what} of {there}: {expected}")
    if first.ids != other.ids:
        where = {row_id: row for row, row_id in enumerate(other.ids)}
        if len(where) < len(other.ids):
            repeated = next(row_id for row, row_id in enumerate(other.ids) if where[row_id] != row)
            raise UserError(f"the id {repeated!r} occurs twice, and the rows are in another order: they cannot be matched")
        other = other.of_rows([where[row_id] for row_id in first.ids])
    if first.kind in ("labels", "classes"):
        columns = [other.names.index(name) for name in first.names]
        other = replace(other, names=first.names, probabilities=other.probabilities[:, columns])
    one, two = (each.evaluation(np.empty(0)) for each in (first, other))
    in_both = np.intersect1d(one.rows, two.rows)
    if not len(in_both):
        return other
    truths = [each.truth[np.isin(each.rows, in_both)] for each in (one, two)]
    same = np.isclose(*truths, equal_nan=True).reshape(len(in_both), -1).all(axis=1)
    if not same.all():
        row, count = in_both[np.argmin(same)], int((~same).sum())
        told = f"the label {first.labels[row]!r} in {names[0]} and {other.labels[row]!r} in {names[1]} ({count:,} such rows)"
        raise UserError(f"row {first.ids[row]!r} has {told}: both need the same test file")
    return other


def in_words(evaluation: Evaluation, values: np.ndarray) -> list[str]:
    """Return `truth` or `decided` of an evaluation in words, as the files of predictions have them."""
    if evaluation.kind == "labels":
        return [";".join(name for name, yes in zip(evaluation.names, row, strict=True) if yes == 1) for row in values]
    if evaluation.kind == "numbers":
        return [f"{value:.6g}" for value in values]
    return [evaluation.names[value] for value in values]


def find_changes(one: Evaluation, two: Evaluation, names: tuple[str, str]) -> list[Change]:
    """Return the rows that are decided differently; of numbers those that move most come first."""
    truth, decided = in_words(one, one.truth), [in_words(each, each.decided) for each in (one, two)]
    if one.kind == "labels":
        wrong = [((each.decided != (each.truth == 1)) & ~np.isnan(each.truth)).sum(axis=1) for each in (one, two)]
    elif one.kind == "numbers":
        wrong = [np.abs(each.decided - each.truth) for each in (one, two)]
    else:
        wrong = [(each.decided != each.truth).astype(int) for each in (one, two)]
    changed = [row for row in range(len(one)) if decided[0][row] != decided[1][row]]
    gain = wrong[0] - wrong[1]
    changed.sort(key=lambda row: -abs(gain[row]))
    return [
        Change(
            one.ids[row],
            truth[row],
            decided[0][row],
            decided[1][row],
            names[int(gain[row] > 0)] if gain[row] else "",
            one.texts[row] if one.texts else "",
        )
        for row in changed
    ]


def write_comparison(found: Comparison, folder: Path) -> None:
    """Write changed_rows.csv and comparison.html."""
    from utils.results.page import render

    folder.mkdir(parents=True, exist_ok=True)
    columns, safe = ["id", "label", *found.names, "better", "text"], found.first.facts["safe_csv"]
    write_csv(folder / CHANGED, columns, [list(vars(change).values()) for change in found.changes], safe)
    better = [sum(change.better == name for change in found.changes) for name in found.names]
    title = " and ".join(found.names)
    values: dict[str, Any] = {"found": found, "better": better, "most": MOST_SHOWN, "verdict": verdict(found), "shown": shown}
    values["limit"] = max([max(abs(each.low), abs(each.high)) for each in found.differences], default=0.0) or 1.0
    with whole_file(folder / PAGE) as file:
        file.write(render(title, "comparison.html.jinja", **values))


def verdict(found: Comparison) -> str:
    """Return what the comparison says, in a sentence or two."""
    first, second = found.names
    real = [each for each in found.differences if each.p_value < 0.05]
    if not real:
        return f"No difference between {first} and {second} is larger than chance on these {found.rows:,} rows (p < 0.05)."
    shown = ", ".join(f"{each.name} {each.second - each.first:+.3f}" for each in real[:4])
    more = f" and {len(real) - 4} more" if len(real) > 4 else ""
    return f"{second} differs from {first} by more than chance on these {found.rows:,} rows (p < 0.05): {shown}{more}."


def shown(p_value: float) -> str:
    """Return a p-value as it is printed; there are too few resamples for a small one."""
    return "< 0.005" if p_value < 0.005 else f"{p_value:.3f}"


def comparison_table(found: Comparison) -> list[list[str]]:
    """Return the table of the differences, the header first."""
    rows = [
        [each.name, f"{each.first:.3f}", f"{each.second:.3f}", f"{each.second - each.first:+.3f}",
         f"{each.low:+.3f} to {each.high:+.3f}", shown(each.p_value)]
        for each in found.differences
    ]  # fmt: skip
    return [["metric", *found.names, "difference", "95 % interval", "p-value"], *rows]
