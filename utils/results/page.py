"""report.html: what people look at after a run. One file without scripts that needs no network."""

import base64
import io
import warnings
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from utils.command_line import PATHS, PATHS_OR_NAMES
from utils.files.rows import whole_file
from utils.results.figures import Figure, figures, main_metric, short, visible, weakest_first
from utils.results.finished import PREFIXES, UNREAD, Run, Score
from utils.scoring.decisions import confusions, counted, most_confused, worst_rows
from utils.scoring.evaluation import Evaluation
from utils.scoring.metrics import calibration_error
from utils.scoring.selection import LOWER

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial"
COLUMNS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
}
FEW = 30  # rows, on which nothing is sure


class Mistake(NamedTuple):
    """A row that was decided wrongly: what is true and what was decided, with the probabilities."""

    id: str
    text: str
    true: str
    decided: str


def write_page(run: Run, path: Path) -> None:
    """Write the page of a finished run. The folders of its files are left out."""
    split, evaluation = next(reversed(run.evaluations.items()), (None, None))
    scores = headlines(run)
    rows = label_rows(run, split) if run.kind in ("labels", "classes") and split else []
    html = render(
        run.folder.resolve().name,
        "report.html.jinja",
        run=run,
        split=split,
        verdict=verdict(scores, evaluation, split, rows),
        answers=answers(run, scores, evaluation, rows),
        scores=scores,
        rows=rows,
        lower=LOWER,
        unread=UNREAD.get(run.kind, "majority"),
        train={score.name: score.value for score in run.headline("train")},
        columns={key: name for key, name in COLUMNS.items() if any(row[key] is not None for row in rows)},
        figures=[(figure, svg_uri(figure)) for figure in figures(run)],
        mistakes=mistakes(evaluation) if evaluation else [],
        files={name: [file_name(file) for file in files] for name, files in run.facts["files"].items()},
        options=shown_options(run.options),
    )
    with whole_file(path) as file:
        file.write(html)


def render(title: str, template: str, **values: Any) -> str:
    """Return a page: a template of this folder, which extends base.html.jinja, with `values`. Texts in them are harmless."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters |= {"number": number, "count": "{:,.0f}".format, "file_name": file_name}
    return environment.get_template(template).render(title=title, **values)


def svg_uri(figure: Figure) -> str:
    """Return a figure as the address of an SVG image, which shares no names with other images of a page."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": figure.name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that only the reader's fonts have
        figure.figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue().replace("'DejaVu Sans'", FONTS)
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def file_name(path: Any) -> str:
    """Return the name of a file or folder without where it lies on somebody's machine."""
    return str(path) if "://" in str(path) else PurePath(str(path).replace("\\", "/")).name


def shown_options(options: dict[str, Any]) -> dict[str, str]:
    """Return options as they are written, without where files lie."""
    shown = {name: str(value) for name, value in options.items() if name != "output_dir"}
    for name in {*PATHS, *PATHS_OR_NAMES} & set(shown):
        parts = shown[name].split(",")
        shown[name] = ", ".join(file_name(part) if name in PATHS or PurePath(part).is_absolute() else part for part in parts)
    return shown


def headlines(run: Run) -> list[tuple[Score, float | None]]:
    """Return the scores of the last split, that which chooses the weights first, each with its value on the split before."""
    if not run.evaluations:
        return []
    *before, split = run.evaluations
    earlier = {score.name: score.value for score in run.headline(before[0])} if before else {}
    scores = {score.name: score for score in run.headline(split)}
    chance = [
        score.value for name in ("accuracy_of_chance", "accuracy_of_most_frequent_position") if (score := scores.pop(name, None))
    ]
    if chance and scores["accuracy"].majority is None:
        scores["accuracy"] = scores["accuracy"]._replace(majority=max(chance))
    main = main_metric(run)
    return [(scores[name], earlier.get(name)) for name in sorted(scores, key=lambda name: name != main)]


def label_rows(run: Run, split: str) -> list[dict[str, Any]]:
    """Return the scores of each label, the weakest first."""
    thresholds = dict(zip(run.names[-len(run.facts["thresholds"]) :], run.facts["thresholds"], strict=False))
    keys, prefix = ("support", *COLUMNS, "f1_low", "f1_high"), PREFIXES[split]
    found = []
    for name in (run.names[i] for i in weakest_first(run, split)):
        row = {key: run.metrics.get(f"{prefix}_{name}_{key}") for key in keys}
        found.append((row if row["support"] else dict.fromkeys(keys)) | {"name": name, "threshold": thresholds.get(name)})
    return found


def mistakes(evaluation: Evaluation) -> list[Mistake]:
    """Return the mistakes that are worth reading."""
    names, decided, truth, found = evaluation.names, evaluation.decided, evaluation.truth, []

    def words(row: int, labels: list[int]) -> str:
        return ", ".join(f"{names[label]} {evaluation.probabilities[row, label]:.2f}" for label in labels)

    for row in worst_rows(evaluation):
        if evaluation.kind == "labels":
            missed, in_error = (truth[row] == 1) & ~decided[row], (truth[row] == 0) & decided[row]
            told = [words(row, np.flatnonzero(labels).tolist()) for labels in (missed, in_error)]
        elif evaluation.kind == "numbers":
            told = [f"{truth[row]:.4g}", f"{decided[row]:.4g}"]
        else:
            told = [words(row, [label]) for label in (truth[row], decided[row])]
        found.append(Mistake(evaluation.ids[row], evaluation.texts[row] if evaluation.texts else "", *told))
    return found


def verdict(scores: list, evaluation: Evaluation | None, split: str | None, rows: list[dict[str, Any]]) -> str:
    """Return how good the run is, in a line."""
    if not scores:
        return "No rows with labels were evaluated."
    score = scores[0][0]
    interval = "" if score.low is None else f" ({number(score.low)} to {number(score.high)})"
    parts = [f"{score.name} {number(score.value)}{interval} on {len(evaluation):,} {split} rows"]
    rival = _rival(score, evaluation.kind)
    parts += [f"{rival[0]} {number(rival[1])}"] if rival else []
    weak = [short(row["name"]) for row in rows if row["support"] and row["f1"] < 1][: 2 if len(rows) > 3 else len(rows) // 3]
    parts += [f"weakest {'label' if len(weak) == 1 else 'labels'}: {', '.join(weak)}"] if weak else []
    return f"{'; '.join(parts)}."


def answers(run: Run, scores: list, evaluation: Evaluation | None, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the questions that people have after a run, with what its numbers say."""
    found = [("Is the difference real?", _difference(scores[0][0], evaluation))] if scores else []
    if any(row["support"] and row["f1"] < 1 for row in rows):
        found.append(("On which labels?", _labels([row for row in rows if row["support"]])))
    if evaluation and evaluation.kind != "numbers":
        found.append(("Can I believe the probabilities?", _calibration(evaluation)))
    return [*found, ("What should I fix in my data?", _data(run, evaluation, scores))]


def _rival(score: Score, kind: str) -> tuple[str, float] | None:
    """Return the better of the baselines, its name and its score."""
    unread = UNREAD.get(kind, "the majority")
    rivals = [("TF-IDF with a linear model", score.baseline), (unread, score.majority)]
    rivals = [(name, value) for name, value in rivals if value is not None]
    best = min if score.name in LOWER else max
    return best(rivals, key=lambda rival: rival[1]) if rivals else None


def _better(score: Score, value: float) -> bool:
    return score.value < value if score.name in LOWER else score.value > value


def _difference(score: Score, evaluation: Evaluation) -> str:
    rival = _rival(score, evaluation.kind)
    if rival is None:
        return "There is nothing to compare with: no baseline was computed."
    if len(evaluation) < FEW:
        return f"{len(evaluation)} rows are too few to tell."
    name, value = rival
    better = _better(score, value)
    said = f"{score.name} is {'better' if better else 'worse'} by {number(abs(score.value - value))} than {name}"
    if score.low is None:
        return f"{said}. No interval was computed."
    inside = score.low <= value <= score.high
    return f"{'Perhaps not' if inside else 'Yes'}: {said}, which lies {'within' if inside else 'outside'} the 95 % interval."


def _labels(rows: list[dict[str, Any]]) -> str:
    weak = ", ".join(f"{short(row['name'])} {row['f1']:.2f} ({row['support']:,.0f} rows)" for row in rows[:3])
    best = f"; highest: {short(rows[-1]['name'])} {rows[-1]['f1']:.2f}" if len(rows) > 3 else ""
    return f"Lowest F1: {weak}{best}."


def _calibration(evaluation: Evaluation) -> str:
    scores, truth, right = counted(evaluation)
    what, chosen, all_cells = "decisions", np.full(len(scores), True), ""
    if evaluation.kind == "labels" and (truth == right).any():  # those that say yes: the many that say no would hide them
        what, chosen = "labels that are decided", truth == right
        all_cells = f" Of all, those not decided too, the calibration error is {calibration_error(scores, truth):.3f}."
    if chosen.sum() < FEW:
        return f"{chosen.sum()} {what} are too few to tell."
    error, probability, share = calibration_error(scores[chosen], truth[chosen]), scores[chosen].mean(), truth[chosen].mean()
    word = "Yes" if error < 0.05 else "Roughly" if error < 0.1 else "No"
    return f"{word}: the {what} have a probability of {probability:.0%} on average, and {share:.0%} of them are right.{all_cells}"


def _data(run: Run, evaluation: Evaluation | None, scores: list) -> str:
    found = []
    if run.issues:
        rival = _rival(scores[0][0], run.kind) if scores else None
        weak = rival is not None and not _better(scores[0][0], rival[1])
        doubt = f", but a model that is no better than {rival[0]} is a poor judge" if weak else ", see below"
        found = [f"{len(run.issues):,} labels look wrong{doubt}."]
    if evaluation and (evaluation.kind == "labels" or evaluation.kind == "classes" and len(evaluation.names) > 2):
        names, truth = evaluation.names, evaluation.truth
        for i, j, rows in most_confused(confusions(evaluation), len(names))[:1]:
            if rows > max(2, 0.03 * (truth[:, i] == 1 if evaluation.kind == "labels" else truth == i).sum()):
                found.append(f"{short(names[i])} is taken for {short(names[j])} in {rows:,} rows: is it clear which is which?")
    cut = {split: run.metrics.get(f"{prefix}_truncated_share", 0.0) for split, prefix in PREFIXES.items()}
    split = max(cut, key=lambda name: cut[name])
    if cut[split] > 0.005:
        found.append(f"{cut[split]:.1%} of the {split} texts are cut at {run.facts['max_length']} tokens.")
    return " ".join(found) or "Nothing stands out."
