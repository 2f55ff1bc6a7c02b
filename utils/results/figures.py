"""The figures of a finished run. A colour means the same in all of them."""

import re
from typing import Any, NamedTuple

import numpy as np

from utils.results.finished import PREFIXES, Run
from utils.scoring.decisions import Curve, confusions, counted, fold, interval, label_curves, most_confused, reliability
from utils.scoring.evaluation import Evaluation
from utils.scoring.metrics import calibration_error

RIGHT, WRONG, QUIET, PALE = "#1f5fa8", "#c8452d", "#7c8591", "#d5dae0"
OF_LABELS = ("#00857a", "#d98a00", "#7d4cb3", "#c4548f", "#8a6242", "#5f8f1f")  # of the weakest labels, in this order
DASHED = {"color": QUIET, "linewidth": 0.8, "linestyle": (0, (3, 3))}
STYLE = {
    "font.family": ["DejaVu Sans"], "font.size": 8.5, "axes.titlesize": 8.5, "axes.titlelocation": "left", "axes.labelsize": 8.5,
    "axes.labelcolor": "#444b55", "axes.edgecolor": "#aab1ba", "axes.linewidth": 0.7, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#edeff2", "grid.linewidth": 0.7,
    "xtick.color": "#aab1ba", "ytick.color": "#aab1ba", "xtick.labelcolor": "#444b55", "ytick.labelcolor": "#444b55",
    "xtick.labelsize": 8, "ytick.labelsize": 8, "lines.linewidth": 1.5, "lines.markersize": 4, "legend.frameon": False,
    "legend.fontsize": 8, "legend.handlelength": 1.2, "text.parse_math": False, "savefig.dpi": 150,
}  # fmt: skip
MANY = 15  # of more classes than that a confusion matrix shows the most confused
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
CURVES = {  # title, note, and names of the axes
    "roc": (
        "ROC curves",
        "Area under the curve; 0.5 is chance.",
        "false alarms among those without it",
        "found among those with it",
    ),
    "precision_recall": (
        "Precision and recall",
        "Average precision.",
        "recall: found of those with it",
        "precision: right when decided",
    ),
    "thresholds": ("F1 against threshold", "F1 at the threshold in use, the dot.", "threshold", "F1"),
}
METRICS = {"labels": "average_precision_micro", "classes": "accuracy", "choices": "accuracy", "numbers": "pearson"}


class Figure(NamedTuple):
    """A figure of matplotlib, what it says in numbers for those who do not see it, and what else is to be said of it."""

    name: str
    title: str
    alt: str
    figure: Any
    note: str = ""


def figures(run: Run) -> list[Figure]:
    """Return the figures that a run has data for, those of the predictions for its last split with labels."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        drawn: list[Figure | None] = []
        for split, evaluation in list(run.evaluations.items())[-1:]:
            if evaluation.kind == "numbers":
                drawn += [_numbers(evaluation)]
            else:
                drawn += [_choices(evaluation) if evaluation.kind == "choices" else _confusions(evaluation)]
                drawn += [_reliability(evaluation), _scores(evaluation)]
            if evaluation.kind in ("labels", "classes"):
                curves = label_curves(evaluation, weakest_first(run, split))
                drawn += [_curves(name, found) for name, found in curves.items() if found]
        return [figure for figure in (*drawn, _training(run), _lengths(run)) if figure]


def main_metric(run: Run) -> str:
    """Return the name of the metric that has chosen the weights, or would have."""
    chosen = run.facts.get("metric_for_best_model", "own").removeprefix("eval_")
    return METRICS[run.kind] if chosen == "own" else chosen


def weakest_first(run: Run, split: str) -> list[int]:
    """Return the positions of the labels: the lowest F1 first, and of equals the most frequent; last those without rows."""

    def order(i: int) -> tuple:
        f1, support = (run.metrics.get(f"{PREFIXES[split]}_{run.names[i]}_{key}", 0.0) for key in ("f1", "support"))
        return not support, f1, -support

    return sorted(range(len(run.names)), key=order)


def visible(text: str) -> str:
    """Return a text with its control characters, and those that turn the direction of writing, by their numbers."""
    return text if text.isprintable() else HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def short(text: str, length: int = 20) -> str:
    text = " ".join(visible(text).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _axes(rows: int = 1, width: float = 3.9, height: float = 3.3, **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure as Empty  # not pyplot, which would keep it

    figure = Empty((width, height), layout="constrained")
    return figure, figure.subplots(rows, **options)


def _below(figure: Any, axes: Any, columns: int = 2) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=columns, columnspacing=1.2)


def _curves(name: str, curves: list[Curve]) -> Figure:
    """Draw a curve a label, the weakest in their colours. Of more than 40 others only where most of them lie."""
    title, note, *names = CURVES[name]
    figure, axes = _axes()
    coloured = len(curves) if len(curves) <= len(OF_LABELS) else len(OF_LABELS) - 1
    for curve, colour in list(zip(curves, OF_LABELS, strict=False))[:coloured]:
        label = f" {short(curve.name)} {curve.score:.2f}"  # without the space matplotlib would leave out what begins with _
        axes.plot(*_thin(curve.x, curve.y), color=colour, label=label, zorder=3)
        if name == "thresholds":
            axes.plot(curve.threshold, curve.score, "o", color=colour, markersize=7, markeredgecolor="white", zorder=4)
    others = curves[coloured:]
    if len(others) > 40:
        grid = np.linspace(0, max(curve.x.max() for curve in others), 101)
        ends = np.percentile([np.interp(grid, curve.x, curve.y) for curve in others], (10, 90), axis=0)
        axes.fill_between(grid, *ends, color=PALE, linewidth=0, label=f" 80 % of {len(others)} others")
    for i, curve in enumerate(others if len(others) <= 40 else []):
        axes.plot(*_thin(curve.x, curve.y), color=PALE, linewidth=1, label=None if i else f" {len(others)} others")
    if name == "roc":
        axes.plot([0, 1], [0, 1], **DASHED)
    axes.set(
        xlabel=names[0], ylabel=names[1], ylim=(-0.01, 1.02), xlim=(-0.01, 1.01 if name != "thresholds" else curves[0].x[-1])
    )
    _below(figure, axes)
    said = ", ".join(f"{short(curve.name)} {curve.score:.2f}" for curve in curves[:6])
    more = f", {len(curves) - 6} more; median {np.median([curve.score for curve in curves]):.2f}" if len(curves) > 6 else ""
    return Figure(name, title, f"{title}. {note[:-1]}: {said}{more}.", figure, note)


def _thin(x: np.ndarray, y: np.ndarray, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return points of a curve that are equally far from each other."""
    if len(x) <= points:
        return x, y
    along = np.cumsum(np.abs(np.diff(x, prepend=x[0])) + np.abs(np.diff(y, prepend=y[0])))
    kept = np.unique([0, *np.searchsorted(along, np.linspace(0, along[-1], points)), len(x) - 1])
    return x[kept], y[kept]


def _confusions(evaluation: Evaluation) -> Figure:
    counts, names, labels = confusions(evaluation), evaluation.names, evaluation.kind == "labels"
    totals = np.array([*np.nansum(evaluation.truth, axis=0), len(evaluation)]) if labels else counts.sum(axis=1)
    most = [f"{short(names[i])} for {short(names[j])} ({rows:,})" for i, j, rows in most_confused(counts, len(names))[:3]]
    note = f"Most often taken: {', '.join(most)}." if most else "None is taken for another."
    title = "Which label is taken for which" if labels else "Confusion matrix"
    if len(names) > MANY:
        title = f"{title}: the {MANY} most confused"
        shown, counts, totals = fold(counts, totals, len(names), MANY)
        names = [*(names[i] for i in shown), "all others"]
    else:
        counts, names = counts.toarray(), [*names, *["(none)"] * labels]
    n, few = len(names), len(names) < 5
    shares = np.sqrt(np.clip(counts / np.maximum(totals, 1)[:, None], 0, 1))[:, :, None]
    ink = np.where(np.eye(n, dtype=bool)[:, :, None], *([int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)] for c in (RIGHT, WRONG)))
    figure, axes = _axes(width=3.9 if few else 8.1, height=3.3 if few else 6.9)
    axes.imshow(1 + (ink - 1) * shares, interpolation="nearest", aspect="auto")
    for i, j in np.argwhere(counts).tolist():
        colour = "white" if shares[i, j, 0] > 0.6 else "#333a44"
        axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=colour, fontsize=9.5 if n < 12 else 8.5)
    axes.set_xticks(range(n), [short(name) for name in names], rotation=0 if few else 40, ha="center" if few else "right")
    axes.set_yticks(range(n), [short(name, 24) for name in names])
    axes.set(xlabel="decided in error; on the diagonal found" if labels else "taken for", ylabel="missed" if labels else "true")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return Figure("confusions", title, f"{title}. {note}", figure, note)


def _reliability(evaluation: Evaluation, bins: int = 15) -> Figure:
    scores, truth, _ = counted(evaluation)
    rows, shares, means = reliability(scores, truth, bins)
    error, low_high = calibration_error(scores, truth, bins), interval(shares * rows[rows > 0], rows[rows > 0])
    figure, (axes, below) = _axes(2, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], **DASHED)
    axes.vlines(means, *low_high, color=RIGHT, alpha=0.35, linewidth=3)
    axes.plot(means, shares, "o-", color=RIGHT)
    axes.set(ylabel="share that is true", xlim=(-0.01, 1.01), ylim=(-0.02, 1.04))
    below.bar(np.arange(bins) / bins, rows, 1 / bins, align="edge", color=PALE, edgecolor="white")
    below.set(xlabel="probability", ylabel="count", yscale="log" if rows.max() > 100 * rows[rows > 0].min() else "linear")
    below.minorticks_off()
    pairs = ", ".join(f"{mean:.2f} in {share:.2f}" for mean, share in zip(means, shares, strict=True))
    alt = f"Reliability diagram. Expected calibration error {error:.3f}. Probabilities and their share of true ones: {pairs}."
    note = f"Expected calibration error {error:.3f}. On the dashed line it is 0."
    return Figure("reliability", "Reliability", alt, figure, note)


def _scores(evaluation: Evaluation) -> Figure:
    scores, _, right = counted(evaluation)
    figure, both = _axes(2, sharex=True)
    said = []
    for axes, chosen, colour, name in zip(both, (right, ~right), (RIGHT, WRONG), ("right", "wrong"), strict=True):
        axes.hist(scores[chosen], np.linspace(0, 1, 41), color=colour)
        axes.set(ylabel="decisions", xlim=(0, 1))
        axes.set_title(f"{chosen.sum():,} {name}", color=colour)
        said.append(f"{chosen.sum():,} {name}" + (f", median {np.median(scores[chosen]):.2f}" if chosen.any() else ""))
    both[1].set(xlabel="probability" if evaluation.kind == "labels" else "probability of what was decided")
    alt = f"Probabilities of right and wrong decisions: {'; '.join(said)}."
    return Figure("scores", "Right and wrong decisions", alt, figure)


def _choices(evaluation: Evaluation) -> Figure:
    sizes, right = (~np.isnan(evaluation.probabilities)).sum(axis=1), evaluation.decided == evaluation.truth
    figure, both = _axes(2, height=3.6)
    said = []
    for axes, groups, what in zip(both, (sizes, evaluation.truth), ("candidates", "position of the right one"), strict=True):
        values, index = np.unique(groups, return_inverse=True)
        rows, hits, chance = (np.bincount(index, weights) for weights in (None, right, 1 / sizes))
        axes.vlines(values, *interval(hits, rows), color=RIGHT, alpha=0.35, linewidth=3)
        axes.plot(values, hits / rows, "o", color=RIGHT, markersize=6, label="accuracy, 95 % interval")
        axes.plot(values, chance / rows, "_", color=QUIET, markersize=14, markeredgewidth=1.5, label="chance")
        axes.set(xlabel=what, ylabel="accuracy", ylim=(0, 1.04), xlim=(values[0] - 0.5, values[-1] + 0.5))
        if len(values) < 7:
            axes.set_xticks(values, [f"{value}\n{n:,} rows" for value, n in zip(values, rows, strict=True)])
        said.append(f"by {what}: {', '.join(f'{v} {a:.2f}' for v, a in zip(values, hits / rows, strict=True))}")
    _below(figure, both[0])
    return Figure("choices", "Accuracy by candidates", f"Accuracy {'; '.join(said)}.", figure)


def _numbers(evaluation: Evaluation) -> Figure:
    kept = np.random.default_rng(0).permutation(len(evaluation))[:10_000]
    truth, predicted = evaluation.truth[kept], evaluation.decided[kept]
    ends = np.nanmin([truth, predicted]), np.nanmax([truth, predicted])
    figure, axes = _axes(height=3.6)
    axes.plot(ends, ends, **DASHED)
    opacity = float(np.clip(200 / len(kept), 0.05, 0.8))
    axes.scatter(truth, predicted, s=12, color=RIGHT, alpha=opacity, linewidths=0, rasterized=len(kept) > 2000)
    axes.set(xlabel="true", ylabel="predicted")
    note = f"Half of the rows are off by less than {np.nanmedian(np.abs(evaluation.decided - evaluation.truth)):.3g}."
    alt = f"Predicted against true numbers, from {ends[0]:.3g} to {ends[1]:.3g}. {note}"
    return Figure("numbers", "Predicted against true", alt, figure, note)


def _training(run: Run) -> Figure | None:
    metric = main_metric(run)
    drawn = {"loss": (0, "training", QUIET), "eval_loss": (0, "validation", RIGHT), f"eval_{metric}": (1, metric, RIGHT)}
    lines = {key: [(entry["step"], entry[key]) for entry in run.history if key in entry] for key in drawn}
    lines = {key: points for key, points in lines.items() if points}
    if not lines:
        return None
    figure, both = _axes(1 + max(drawn[key][0] for key in lines), sharex=True, squeeze=False)
    said = []
    for key, points in lines.items():
        place, name, colour = drawn[key]
        both[place, 0].plot(*zip(*points, strict=True), "o-" if len(points) < 20 else "-", color=colour, label=name)
        said.append(f"{name} from {points[0][1]:.3g} to {points[-1][1]:.3g}")
    both[0, 0].set(ylabel="loss")
    both[-1, 0].set(xlabel="step", xlim=(0, 1.04 * max(points[-1][0] for points in lines.values())))
    if len(both) > 1:
        both[1, 0].set(ylabel="validation")
        both[1, 0].set_title(metric)
    _below(figure, both[0, 0])
    return Figure("training", "Training", f"Loss and score over the steps of training: {'; '.join(said)}.", figure)


def _lengths(run: Run) -> Figure | None:
    found = {split: lengths for split, lengths in run.facts["rows_by_length"].items() if lengths}
    if not found:
        return None
    figure, axes = _axes()
    limit, cut = run.facts["max_length"], []
    edges = np.linspace(0, max(limit, *(int(length) for lengths in found.values() for length in lengths)) + 1, 41)
    colours = {"train": PALE, "validation": RIGHT, "test": "#1d232b"}
    for split, lengths in found.items():
        values, rows = np.array(list(lengths), int), np.array(list(lengths.values()))
        kind = "stepfilled" if split == "train" else "step"
        axes.hist(values, edges, weights=rows / rows.sum(), color=colours[split], histtype=kind, linewidth=1.2, label=split)
        cut.append((run.metrics.get(f"{PREFIXES[split]}_truncated_share", 0.0), split))
    axes.axvline(limit, color=WRONG, linewidth=1, linestyle=(0, (3, 3)), label=f"limit {limit}")
    axes.set(xlabel="tokens that are read", ylabel="share of rows", xlim=(0, edges[-1]))
    _below(figure, axes, 4)
    shares = ", ".join(f"{share:.1%} of {split}" for share, split in cut)
    note = f"Cut at {limit} tokens: {shares}." if any(share for share, _ in cut) else "No text is cut."
    return Figure("lengths", "Lengths of texts", f"Lengths of texts in tokens. {note}", figure, note)
