"""Two runs on the same rows: the difference of each metric, and the rows that they decide differently."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.arguments import UserError, shorten
from utils.files.rows import whole_file
from utils.results.finished import Run
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
    one, two = _same_rows(first.evaluations[split], second.evaluations[split], names)
    return Comparison(first, second, names, split, len(one), compare(one, two), find_changes(one, two, names))


def _names(first: Run, second: Run) -> tuple[str, str]:
    """Return what to call the runs: their folders' names, with as much of the paths as tells them apart."""
    paths = [run.folder.resolve().parts for run in (first, second)]
    for length in range(1, max(map(len, paths))):
        names = ["/".join(parts[-length:]) for parts in paths]
        if names[0] != names[1]:
            return names[0], names[1]
    raise UserError(f"{first.folder} and {second.folder} are the same run: give two")


def _same_rows(one: Evaluation, two: Evaluation, names: tuple[str, str]) -> tuple[Evaluation, Evaluation]:
    """Return both with the rows and labels in the order of the first."""
    for own, others, place in ((one, two, names), (two, one, names[::-1])):
        missing = [label for label in own.names if label not in others.names]
        if missing and own.kind != "choices":
            raise UserError(f"{place[1]} has no label {shorten(missing)}, which {place[0]} has: these runs cannot be compared")
        absent = sorted(set(own.ids) - set(others.ids))
        if absent:
            more = f" and {len(absent) - 1:,} more of {place[0]} are" if len(absent) > 1 else f" of {place[0]} is"
            expected = "both must predict the same rows, with labels and ids"
            raise UserError(f"row {absent[0]!r}{more} not among the labelled rows of {place[1]}: {expected}")
    if one.ids != two.ids:
        if len(set(one.ids)) < len(one.ids):
            repeated = next(name for name in one.ids if one.ids.count(name) > 1)
            raise UserError(f"the id {repeated!r} occurs twice, and the rows are in another order: they cannot be matched")
        where = {name: row for row, name in enumerate(two.ids)}
        two = _taken(two, np.array([where[name] for name in one.ids]))
    two = _in_columns_of(one, two)
    for row, texts in enumerate(zip(one.texts, two.texts, strict=False)):
        if texts[0] != texts[1]:
            raise UserError(f"row {one.ids[row]!r} has another text in {names[0]} than in {names[1]}: these are other rows")
    same = np.isclose(one.truth, two.truth, equal_nan=True).reshape(len(one), -1).all(axis=1)
    if not same.all():
        row, count = int(np.argmin(same)), int((~same).sum())
        own, other = (in_words(each, each.truth)[row] for each in (one, two))
        told = f"the label {own!r} in {names[0]} and {other!r} in {names[1]} ({count:,} such rows)"
        raise UserError(f"row {one.ids[row]!r} has {told}: both need the same test file")
    return one, two


def _taken(evaluation: Evaluation, rows: np.ndarray) -> Evaluation:
    return replace(
        evaluation,
        probabilities=evaluation.probabilities[rows],
        truth=evaluation.truth[rows],
        rows=evaluation.rows[rows],
        ids=[evaluation.ids[row] for row in rows],
        texts=[evaluation.texts[row] for row in rows] if evaluation.texts else [],
    )


def _in_columns_of(one: Evaluation, two: Evaluation) -> Evaluation:
    """Return `two` with its labels in the order of `one`."""
    if one.names == two.names or one.kind == "choices":
        return two
    order = np.array([two.names.index(name) for name in one.names])
    truth = two.truth[:, order] if two.kind == "labels" else np.argsort(order)[two.truth]
    thresholds = two.thresholds[order] if two.kind == "labels" else two.thresholds
    if two.kind == "classes" and len(thresholds):  # of two classes, the other one is now the second
        thresholds = 1 - thresholds
    return replace(two, names=one.names, probabilities=two.probabilities[:, order], truth=truth, thresholds=thresholds)


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
