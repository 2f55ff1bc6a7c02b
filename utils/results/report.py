"""What a run measures, prints and writes, phase by phase."""

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from utils.arguments import Stopped
from utils.command_line import in_full
from utils.files.rows import PLACE, arrow_cells, files_of, one_line, read_array, whole_file
from utils.publishing.hub import push
from utils.publishing.model_card import ENCODER, FILL_MASK, PAIR, TEXT, THRESHOLDS, describe_use, markdown_table, write_model_card
from utils.publishing.onnx import export_onnx, remove_graphs
from utils.results.finished import FACTS, ISSUES, OVERALL, PREDICTIONS, PREFIXES, REPORT, headline, read_run
from utils.results.predictions import array_of, print_predictions, save_thresholds, write_predictions
from utils.results.score_tables import overall_table, print_table, score_table
from utils.scoring.calibration import calibrate
from utils.scoring.selection import DIRECTIONS, NO_AIM
from utils.training.checkpoints import WEIGHTS, describe_test, remove_checkpoints
from utils.training.lora import ADAPTERS
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

logger = logging.getLogger(__name__)


class Results:
    """Runs the phases of a built trainer, and keeps, prints and writes what comes out.

    Args:
        model_class: the class that a saved model is loaded with.
        to_probabilities: returns the probabilities [rows, labels] of logits.
        kind: the Hub's name of the task.
        table: returns the table of scores, see `score_table`.

    Attributes:
        metrics: all so far, by names with the prefix train_, eval_ or predict_.
    """

    def __init__(
        self,
        trainer: FineTuningTrainer,
        task: Task,
        model_class: type,
        to_probabilities: Callable[[np.ndarray], np.ndarray],
        kind: str = TEXT,
        table: Callable[..., list[list[str]]] | None = None,
    ):
        self.trainer, self.task, self.model_class, self.kind = trainer, task, model_class, kind
        self.to_probabilities, self.table = to_probabilities, table or score_table
        self.output_dir = Path(trainer.args.output_dir)
        self.is_main = trainer.is_world_process_zero() and not task.args.data.text  # which writes files; --text writes none
        self.metrics: dict[str, float] = {}
        self.probabilities: dict[str, np.ndarray] = {}  # by split
        self.found: dict[str, dict[str, float]] = {"train": {}, "validation": {}, "test": {}}  # the metrics by split
        self.scores: dict[str, dict[str, float]] = {}  # by split: what its table and summary are made of
        self.tables: dict[str, list[list[str]]] = {}
        self.targets: np.ndarray | None = None  # of the split that was predicted last
        self.tried: tuple[list, list[dict[str, float]]] = ([], [])  # texts and their probabilities

    def train(self) -> None:
        """Train, and save the metrics. See `Guard.train` for what it raises."""
        self._save("train", self.trainer.fit() | self._cut_share("train"))
        self.trainer.save_state()

    def predict(self, split: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return probabilities [rows, labels] and targets, None where unlabelled, in the order of the file.

        The validation split calibrates a trained model first, if --calibrate is given.
        """
        prediction = self.trainer.predict_in_order(self.task.splits[split], PREFIXES[split])
        if split == "validation" and self.task.args.training.calibrate:
            prediction = calibrate(self.trainer, self.task, prediction, self.to_probabilities)
        logits, self.targets, metrics = prediction
        if split == "train":  # train_loss is the mean over the training, and the speed is that of the training
            metrics = {"train_loss_after_training": metrics["train_loss"]}
        self._save(split, metrics | self._cut_share(split))
        probabilities, read = self.to_probabilities(logits), self.task.read[split]
        self.probabilities[split] = probabilities
        if split != "train" and self.task.labels:  # whose texts do not belong on the model card
            rows = self.task.plain_rows(split, most=2)
            expected = [dict(zip(self.task.labels, probabilities[row].tolist(), strict=True)) for row in rows]
            self.tried = [self._as_read(read[row]) for row in rows], expected
        return probabilities, self.targets

    def add_scores(self, split: str, scores: dict[str, float], thresholds: np.ndarray | None = None) -> None:
        """Take over the `scores` of a split, by names without prefix; `thresholds` are shown beside the labels."""
        if scores:
            self._save(split, {f"{PREFIXES[split]}_{name}": value for name, value in scores.items()})
            self.scores[split], self.tables[split] = scores, self.table(scores, self.task.labels, thresholds)
            self.tables = {name: self.tables[name] for name in PREFIXES if name in self.tables}  # train first, whenever it comes

    def save_model(self, thresholds: np.ndarray | None = None) -> None:
        """Save the model if it was trained, and the decision thresholds [labels], of two classes that of the second [1]."""
        self.thresholds = np.empty(0) if thresholds is None else thresholds
        if thresholds is not None and self.is_main:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            save_thresholds(thresholds, self.task.labels[-len(thresholds) :], self.output_dir)
        if self.task.training:
            if thresholds is not None:
                self.trainer.model.config.thresholds = thresholds.tolist()
            self.trainer.save_model()
            if self.is_main:
                remove_graphs(self.output_dir)

    def write_predictions(self, split: str, probabilities: np.ndarray, **decided: list) -> None:
        """Write the predictions of the split predicted last, see `PREDICTIONS`, and submission.csv if it is asked for.

        `decided` are the columns behind the probabilities, [rows] each: `prediction` and, where that is a position,
        `prediction_text`, which are printed for --text, and any others.
        """
        task, names, safe = self.task, self._names, self.task.args.training.safe_csv
        if task.args.data.text:
            if cut := sum(task.splits[split]["cut"][:]):
                logger.warning("%d of %d texts are cut to %d tokens (--max_seq_length)", cut, len(probabilities), task.max_length)
            answers = decided.get("prediction_text", decided["prediction"])
            texts = [] if task.args.training.no_text else task.beginnings(split)
            print_predictions(answers, names, probabilities, texts, most=5 if task.format.evaluated_as == "choices" else 3)
        if not self.is_main:
            return
        labels = [] if self.targets is None else [task.format.words(target) for target in self.targets]
        of_row = {"label": labels, "text": [] if task.args.training.no_text else task.beginnings(split)}
        of_row = {name: values for name, values in of_row.items() if values}
        path = self.output_dir / PREDICTIONS[split][0]
        shown, every = probabilities[:, : len(names)], task.args.training.all_probabilities
        write_predictions(path, *task.row_ids(split), names, shown, decided, of_row, safe, every)
        if split == "test" and task.submission:
            task.submission.write(self.output_dir / "submission.csv", probabilities, safe)

    @property
    def _names(self) -> list[str]:
        return [] if self.task.format.evaluated_as == "numbers" else self.task.labels  # a number is the decision

    def finish(self) -> dict[str, float]:
        """Write the model card and args.yaml, remove the checkpoints, print the scores, and return the metrics."""
        task, args = self.task, self.task.args
        self.trainer.accelerator.wait_for_everyone()  # until no process reads a checkpoint
        if args.data.smoke_test:
            self.trainer.check_reload(self.model_class)
        if self.is_main:
            other_labels = task.format.evaluated_as in ("labels", "classes") and task.labels != task.format.names
            about_labels = bool(task.labels) and not other_labels
            scored = bool({"validation", "test"} & set(self.scores))
            reported = about_labels and scored and not args.training.no_report
            if about_labels:
                self._write_facts()
            if reported:
                with a_report_costs_no_run():
                    self.judge()
            if self.task.training:
                data = args.data.dataset_name or ", ".join(Path(file).name for file in args.data.train_file.split(","))
                write_model_card(self.trainer, self.kind, args.model.model_name_or_path, data, self._card_sections())
            save_arguments(self.task)
            if self.task.training and not args.training.keep_checkpoints:
                remove_checkpoints(args.training)
            self.print_scores()
            if reported:
                with a_report_costs_no_run():
                    self.write_report()
            elif not args.training.no_report:
                logger.info(
                    "no report: %s",
                    "the script predicts other things than the labels" if scored else "no labelled rows were evaluated",
                )
            if args.data.smoke_test:
                logger.info("smoke test passed: trained, evaluated, predicted, saved and loaded again")
            else:
                files = sorted(path.name for path in self.output_dir.iterdir() if path.is_file() or path.name == ADAPTERS)
                logger.info("\nin %s: %s", self.output_dir, ", ".join(files))
            try:
                if args.training.export:
                    export_onnx(self.trainer, task, self.model_class, self.to_probabilities, self.probabilities, self.thresholds)
            finally:  # the model is as good where its graph is not kept
                if args.training.push_to_hub and task.training:
                    push(self.trainer)
        return self.metrics

    def print_scores(self) -> None:
        """Print whose weights were kept, the scores of each split, and how fast everything went."""
        if self.task.training:
            after = " (before calibration)" if self.task.args.training.calibrate else ""
            logger.info("\n%s%s", self.trainer.guard.kept_weights(), after)
        for split, table in self.tables.items():
            logger.info("\n%s scores", split.capitalize())
            print_table(table)
            print_table(self._overall(split))
            left_out = int(self.scores[split].get("labels_left_out", 0))
            if left_out:
                logger.info("  labels with one class only in this split, left out of the macro means: %d", left_out)
        speeds = [
            f"{name} {self.metrics[f'{prefix}_rows_per_second']:,.0f}"
            for name, prefix in (("training", "train"), ("validation", "eval"), ("test", "predict"))
            if f"{prefix}_rows_per_second" in self.metrics
        ]
        logger.info("\nrows per second: %s", ", ".join(speeds))

    def _save(self, split: str, metrics: dict[str, float]) -> None:
        """Add `metrics` to those of a split, and save them all."""
        if self.is_main and not self.metrics:
            self._remove_replaced_scores()
        self.found[split] |= metrics
        self.metrics |= metrics
        if self.is_main:
            self.trainer.save_metrics(PREFIXES[split], self.found[split])

    def _remove_replaced_scores(self) -> None:
        """Remove the scores of earlier runs from --output_dir, so that all_results.json holds one run's.

        In the folder of its own model a run leaves the scores of the splits that it does not have, which are of that model
        too; all_results.json keeps those and gets the run's own. In the folder of another model the scores of its training
        stay in their files, but not in all_results.json.
        """
        holds_model = not self.task.training and any((self.output_dir / name).is_file() for name in WEIGHTS)
        kept: dict[str, float] = {}
        for split, prefix in PREFIXES.items():
            path = self.output_dir / f"{prefix}_results.json"
            if split in self.task.splits or not holds_model:
                path.unlink(missing_ok=True)
                if split in PREDICTIONS:
                    written = self.output_dir / PREDICTIONS[split][0]
                    written.unlink(missing_ok=True)
                    array_of(written).unlink(missing_ok=True)
            elif path.is_file() and predicts_into_own_folder(self.task):
                kept |= json.loads(path.read_text(encoding="utf-8"))
        replaced = ("all_results.json",) if predicts_into_own_folder(self.task) else ("all_results.json", FACTS, ISSUES, REPORT)
        for name in replaced:
            (self.output_dir / name).unlink(missing_ok=True)
        if kept:
            self.output_dir.joinpath("all_results.json").write_text(json.dumps(kept, indent=4, sort_keys=True), encoding="utf-8")

    def judge(self) -> None:
        """Add to the scores how far to trust them. Write which labels look wrong."""
        from utils.results import assessment  # only now: it takes a second

        run, task = read_run(self.output_dir), self.task
        run.evaluations = {split: found for split, found in run.evaluations.items() if split in task.splits}
        logger.info("looking at the results: intervals, baseline, labels that look wrong (--no_report)")
        metrics = assessment.interval_metrics(run)
        if task.training and not task.args.training.no_baseline:
            metrics |= assessment.baseline_metrics(run, task)
        for split in run.evaluations:
            self._save(split, {name: value for name, value in metrics.items() if name.startswith(f"{PREFIXES[split]}_")})
        suspects = assessment.write_issues(
            run, {split: arrow_cells(task.read[split], PLACE).to_pylist() for split in run.evaluations}
        )
        if suspects:
            labels = "label that looks" if suspects == 1 else "labels that look"
            logger.info("%s: %d %s wrong, the most suspicious first", ISSUES, suspects, labels)

    def write_report(self) -> None:
        """Write report.html; --report_to gets its figures, too."""
        from utils.results.assessment import tell_trackers
        from utils.results.figures import figures
        from utils.results.page import write_page

        run = read_run(self.output_dir)
        try:
            write_page(run, self.output_dir / REPORT)
            tell_trackers(self.trainer, self.metrics, lambda: figures(run))
        except KeyboardInterrupt:
            told = "interrupted: the run is finished, but for its report, which this makes"
            raise Stopped(f"{told}: python tools/report.py {self.output_dir}", 130) from None

    def _write_facts(self) -> None:
        """Write what report.html needs to know beside the other files."""
        task, args = self.task, self.task.args.training
        lengths = {name: np.unique(read_array(split, "length"), return_counts=True) for name, split in task.splits.items()}
        facts = {
            "script": task.script.name,
            "run": args.description,  # of the training, and what it has predicted: a run of folds looks whether it fits
            "test_data": describe_test(task),
            "kind": task.format.evaluated_as,
            "labels": self._names,
            "thresholds": self.thresholds.tolist(),
            "safe_csv": args.safe_csv,
            "all_probabilities": args.all_probabilities,
            "metric_for_best_model": args.metric_for_best_model,
            "max_length": task.max_length,
            "files": {name: files_of(split) for name, split in task.splits.items()},
            "rows": {name: len(split) for name, split in task.splits.items()},
            "rows_by_length": {name: dict(zip(*map(np.ndarray.tolist, found), strict=True)) for name, found in lengths.items()},
        }
        if predicts_into_own_folder(task) and (self.output_dir / FACTS).is_file():  # the other splits stay
            own = json.loads((self.output_dir / FACTS).read_text(encoding="utf-8"))
            facts |= {name: own[name] | facts[name] for name in ("run", "files", "rows", "rows_by_length")}
        with whole_file(self.output_dir / FACTS) as file:
            json.dump(facts, file, indent=1, ensure_ascii=False)

    def _cut_share(self, split: str) -> dict[str, float]:
        """Return the share of rows of which the model does not read everything."""
        return {f"{PREFIXES[split]}_truncated_share": float(arrow_cells(self.task.splits[split], "cut").to_numpy().mean())}

    def _overall(self, split: str) -> list[list[str]]:
        """Return the table of the scores of a split as a whole, the header first, also of those that the script has added."""
        labels, known = {*self.task.labels, "position", "candidates"}, {*OVERALL, *DIRECTIONS, *NO_AIM}
        parts = {name: [name[: end.start()] for end in re.finditer("_", name)] for name in self.scores[split]}
        own = [name for name, begins in parts.items() if name not in known and labels.isdisjoint(begins)]
        return overall_table(headline(self.metrics, split, tuple(own)), self.task.format.evaluated_as)

    def _card_sections(self) -> dict[str, str]:
        pairs = self.kind == TEXT and len(self.task.text_columns) > 1 and self.task.delimiter is None
        kind, limit = PAIR if pairs else self.kind, self.task.max_length if self.task.long_texts != "cut" else None
        how = self.output_dir, self.task.script.name, *self.tried, limit
        use = ENCODER if kind == FILL_MASK else describe_use(kind, *how)
        sections = {"How to use": use + THRESHOLDS * (self.output_dir / "thresholds.json").is_file()}
        for split, table in self.tables.items():
            parts = markdown_table(table), markdown_table(self._overall(split))
            sections[f"{split.capitalize()} scores"] = "\n\n".join(filter(None, parts))
        return sections

    def _as_read(self, row: dict[str, Any]) -> Any:
        """Return the texts of a row as `HOW_TO_USE` takes them."""
        if self.kind != TEXT:
            return row["context"], [f"{row['question']} {text}" if row["question"] else text for text in row["candidates"]]
        return dict(zip(("text", "text_pair"), self.task.texts_of(row), strict=False))


@contextlib.contextmanager
def a_report_costs_no_run() -> Iterator[None]:
    """Say in a line what is wrong with a report; the run goes on to save what it has learnt. A full disk ends it as always."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        logger.warning("no report: %s: %s (the rest of the run is as it should be)", type(error).__name__, one_line(error))
        logger.debug("where", exc_info=True)


def predicts_into_own_folder(task: Task) -> bool:
    """Return whether the run trains nothing, and --output_dir is the folder of its model."""
    folder, model = task.args.training.output_dir, task.args.model.model_name_or_path
    return not task.training and Path(model).is_dir() and Path(folder).resolve() == Path(model).resolve()


def save_arguments(task: Task) -> None:
    """Write the options that were given, and what was found in the data, to `args.yaml`. `run_x.py args.yaml` runs it again.

    A run that predicts into the folder of its own model leaves the `args.yaml` of the training there.
    """
    path = Path(task.args.training.output_dir, "args.yaml")
    if not (path.is_file() and predicts_into_own_folder(task)):
        again = f"python {task.script.name} {path.name} --output_dir other"
        write_options(task.found | task.args.given, path, f"Given, or found in the data. The run again: {again}")


def write_options(options: dict[str, Any], path: Path, comment: str) -> None:
    """Write a file of options, those that are set, that can be used in any folder."""
    options = {name: value for name, value in options.items() if value is not None and not name.startswith("resume_")}
    with whole_file(path) as file:
        file.write(f"# {comment}\n")
        yaml.safe_dump(in_full(options), file, allow_unicode=True, sort_keys=True)
