"""Recognise what the label column holds and which head fits it. Name the right script for data of another shape."""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from transformers import PreTrainedConfig

from utils.arguments import GLUE_METRICS, Arguments, DataArguments, UserError, number_of, shorten
from utils.columns.label_columns import as_unknown, find_label_column, unknown_option
from utils.columns.naming import named_columns, quoted, require_columns
from utils.data.classes import ROUNDING, ClassFormat, no_number, only_name, saved_format
from utils.data.label_names import FEW_NUMBERS, ask_about_placeholder, check_class_names, warn_of_misspelt
from utils.files.cells import (
    CODE,
    UNKNOWN,
    class_name,
    is_empty,
    is_marked,
    is_missing,
    natural_order,
    parse_cell,
    read_number,
    read_row,
)
from utils.files.rows import cell_error, column_error, columns, distinct_cells, file_of

logger = logging.getLogger(__name__)


def find_classes(splits: dict[str, Dataset], args: Arguments, config: PreTrainedConfig | None) -> ClassFormat:
    """Find out what the label column of the training data holds. Without training data, the `config` of a saved model knows.

    What follows from it for --loss, --binary_form and --metric_for_best_model is settled in `args`.

    Raises:
        UserError: there is no label column, no head fits the targets, the data has the shape of another script's, or an option
            has no use for these labels.
    """
    training = "train" in splits
    return _settle_form(find_format(splits, args.data, saved_format(config, training)), args, training)


def find_format(splits: dict[str, Dataset], args: DataArguments, saved: ClassFormat | None) -> ClassFormat:
    """Find out what the label column of the training data holds. Without training data, the `saved` format says it.

    Columns of 0 and 1, one of them 1 in each row, become one column of their names in `splits`.
    """
    source = next(iter(splits.values()))
    if "train" not in splits and saved is None:
        raise UserError("nothing to train on, and the model has no labels of its own: give --train_file, or a trained model")
    names = named_columns(source, args.label_column_name) or (
        named_columns(source, saved.column) if "train" not in splits else []
    )
    if "train" in splits or ("validation" in splits and not set(names) <= set(columns(source))):
        names = names or find_label_column(source, args.unknown_label)
    column = ",".join(names)
    if len(names) > 1:
        require_columns(source, names, "--label_column_name")
        for name, split in splits.items():
            splits[name] = name_classes(split, names, args.unknown_label) if set(names) <= set(columns(split)) else split
        source = next(iter(splits.values()))
    marks = args.unknown_label if len(names) == 1 else None  # the marks of several columns have been read
    if "train" not in splits:
        return replace(saved, column=column, ids=_all_ids(source, column), unknown_label=marks)
    require_columns(source, [column], "--label_column_name")
    found = replace(recognize_classes(source, column, args), unknown_label=marks)
    if saved is None or saved.regression or found.regression:
        return found
    known = set(found.names) <= set(saved.names)
    if not known and not (found.ids and len(found.names) <= len(saved.names)):
        return found
    if not known:
        logger.info("label: the ids %s stand for the model's labels by position", shorten(found.names))
    form = saved.form if saved.problem == "binary" and args.binary_form is None else found.form
    return replace(found, names=saved.names, form=form)


def name_classes(split: Dataset, names: list[str], unknown_label: str | None) -> Dataset:
    """Return a split with one column of classes in place of a 0/1 column for each; no class where all are unknown.

    Raises a `UserError` unless one is 1 in each other row.
    """
    classes, partly = [], 0
    rows = list(zip(*(split[name][:] for name in names), strict=True))
    table = [[UNKNOWN if is_marked(cell, unknown_label) else parse_cell(cell) for cell in written] for written in rows]
    says_no = any(0 in cells for cells in table)  # or an empty cell and -1 do
    for row, (cells, written) in enumerate(zip(table, rows, strict=True)):
        ones = [name for name, cell in zip(names, cells, strict=True) if cell == 1]
        unknown = all(map(is_empty, written)) or (says_no and set(cells) == {UNKNOWN})
        partly += says_no and not unknown and UNKNOWN in cells
        if len(ones) != 1 and not unknown:
            advice = f"for any number of labels use run_multilabel.py --label_column_names {quoted(names)}"
            problem = f"{len(ones)} of these columns are 1, expected one, the class of the row; {advice}"
            raise cell_error(split, row, shorten(names), problem)
        classes.append(ones[0] if ones else None)
    if partly:
        told = "%s: in %s some of the columns %s are empty or -1, which is read as 0, as another is 1"
        logger.warning(told, file_of(split), number_of(partly, "row"), shorten(names))
    return split.remove_columns(names).add_column(",".join(names), classes)


def _all_ids(dataset: Dataset, column: str) -> bool:
    different = distinct_cells(dataset, column)[0].values() if column in columns(dataset) else ()
    values = [value for value in different if not is_missing(value)]
    return all(not isinstance(value, list) and class_name(value).isdecimal() for value in values)


def recognize_classes(dataset: Dataset, column: str, args: DataArguments) -> ClassFormat:
    """Recognise the label in `column`, and check that it fits the head that the options ask for.

    `args` has `problem_type` and `binary_form`, each of which may be None.
    """
    feature = dataset.features[column]
    marked = args.unknown_label
    different, cell_of_row = distinct_cells(dataset, column)
    rows_with = dict(zip(different, np.bincount(cell_of_row).tolist(), strict=True))
    written = different if isinstance(feature, ClassLabel) else {row: only_name(value) for row, value in different.items()}
    if any(isinstance(value, list) or str(value).startswith("[") for value in written.values()):
        written = different  # not one name in each list
    cells = {row: value for row, value in written.items() if not (is_empty(value) or is_marked(value, marked))}
    if isinstance(feature, ClassLabel):
        cells = {row: value for row, value in cells.items() if value != -1}
    if not cells:
        raise column_error(dataset, column, "no row has a label")
    for row, value in cells.items():
        if isinstance(value, (dict, bytes)) or (isinstance(value, float) and math.isinf(value)):
            expected = "expected a name, an id, a number or a row of probabilities"
            raise cell_error(dataset, row, column, f"found {value!r:.60}, {expected}")
    values, counts = list(cells.values()), Counter()
    for row, value in cells.items():
        counts[str(value)] += rows_with[row]

    def row_of(label: str) -> int:
        return next(row for row, value in cells.items() if str(value) == label)

    ask_about_placeholder(dataset, column, counts, counts.total(), row_of, marked)
    warn_of_misspelt(counts)
    written_lists = all(isinstance(value, str) and value.startswith("[") and value.endswith("]") for value in values)
    if written_lists or any(isinstance(value, list) for value in values):
        return _recognize_rows(dataset, column, args, values)
    codes = isinstance(feature, ClassLabel) or any(isinstance(value, str) and CODE.match(value) for value in values)
    numbers = {row: None if codes else read_number(value) for row, value in cells.items()}
    kind = _recognize_numbers(dataset, column, args, cells, numbers, rows_with)
    if kind == "regression":
        return ClassFormat(kind, "number", column, [column])
    if kind == "shares":
        return ClassFormat("binary", args.binary_form, column, ["0", "1"])
    numeric = None not in numbers.values()
    if isinstance(feature, ClassLabel):
        names, ids = feature.names, True
    else:
        _ask_about_minus_one(dataset, column, cells, marked)
        names, ids = natural_order({class_name(value) for value in values}), numeric
    check_class_names(dataset, column, args, names, counts.total(), numeric)
    form = _checked_form(dataset, column, args, len(names), "class ids [rows]")
    return ClassFormat("binary" if len(names) == 2 else "multi", form, column, names, ids)


def _recognize_numbers(
    dataset: Dataset,
    column: str,
    args: DataArguments,
    cells: dict[int, Any],
    numbers: dict[int, float | None],
    rows_with: dict[int, int],
) -> str:
    """Return what the distinct `cells` of a column are: "regression", "shares" of the second of two classes, or "classes".

    `numbers` are the cells as numbers, None where they are text, and `rows_with` says how many rows have each.

    Raises:
        UserError: the options ask for something else, or some text stands among numbers.
    """

    def count_of(rows: Iterable[int]) -> int:
        return sum(map(rows_with.get, rows))

    texts = [row for row, number in numbers.items() if number is None]
    fractions = [row for row, number in numbers.items() if number is not None and not number.is_integer()]
    if args.problem_type == "regression":
        if texts:
            raise cell_error(dataset, texts[0], column, no_number(cells[texts[0]], args.unknown_label))
        return "regression"
    if texts and 2 * count_of(fractions) >= count_of(cells) and args.problem_type is None:
        problem = (
            f"found {cells[texts[0]]!r} among numbers such as {cells[fractions[0]]}; correct the cell, "
            f"{as_unknown(cells[texts[0]], args.unknown_label)}, or insist on classes with --problem_type multi"
        )
        raise cell_error(dataset, texts[0], column, problem)
    if texts or not fractions:
        return "classes"
    shares = all(0 <= number <= 1 for number in numbers.values())
    if shares and args.binary_form in ("one_logit", "one_hot"):
        return "shares"
    whole = {number for number in numbers.values() if number.is_integer()}
    if not args.problem_type and not shares and len(whole) <= FEW_NUMBERS and 20 * count_of(fractions) <= count_of(cells):
        problem = (
            f"found {cells[fractions[0]]} among whole numbers such as {min(whole):g}: correct the cell, or, if all are numbers"
        )
        raise cell_error(dataset, fractions[0], column, f"{problem} to be predicted as such, add --problem_type regression")
    if args.binary_form or args.problem_type:
        asked = f"--binary_form {args.binary_form}" if args.binary_form else f"--problem_type {args.problem_type}"
        problem = (
            f"found the number {cells[fractions[0]]}; {asked} makes a head with one logit per class, whose cross-entropy takes "
            f"class ids [rows]; for float targets [rows, 1] use {'--binary_form one_logit or ' if shares else ''}--problem_type "
            f"regression"
        )
        raise cell_error(dataset, fractions[0], column, problem)
    return "regression"


def _ask_about_minus_one(dataset: Dataset, column: str, cells: dict[int, Any], unknown_label: str | None) -> None:
    """Raise a `UserError` if -1 may be a class or stand for an unknown label; warn if another mark was given.

    Of -1, 0 and 1, of -1 and 1, and beside other numbers below 0 it is a class.
    """
    names = {class_name(value) for value in cells.values()}
    sure = names in ({"-1", "1"}, {"-1", "0", "1"}) or any((read_number(name) or 0) < 0 for name in names - {"-1"})
    if unknown_label and "-1" in names and not sure:
        told = "-1 is a label of its own here: if it means that the label is unknown, add %s"
        logger.warning(told, unknown_option(unknown_label, "-1"))
    elif unknown_label is None and "-1" in names and not sure:
        row = next(row for row, value in cells.items() if class_name(value) == "-1")
        others = shorten(natural_order(names - {"-1"}))
        problem = f"-1 stands beside {others}: if it means that the label is unknown, add --unknown_label -1; if it is a label of"
        raise cell_error(dataset, row, column, f"{problem} its own, add --unknown_label ''")


def _recognize_rows(dataset: Dataset, column: str, args: DataArguments, values: list) -> ClassFormat:
    """Recognise lists: the probabilities of the classes, or a single target. Other lists are several labels per text."""
    rows = [read_row(value) for value in values]
    widths = {len(row) for row in rows if row}
    shares = all(rows) and len(widths) == 1 and all(0 <= cell <= 1 for row in rows for cell in row)
    width = widths.pop() if shares else 0
    if not shares or (width > 1 and any(abs(sum(row) - 1) > ROUNDING for row in rows)):
        if re.match(r"\[\[|\[\{(?!.(id|name)\b)", str(values[0]).replace(" ", "")):
            told = "parts of a text with labels of their own are token classification, for which there is no script here"
            raise column_error(dataset, column, f"found {str(values[0])[:60]}, expected a label: {told}")
        problem = (
            f"found lists such as {str(values[0])[:60]}: any number of labels per text; use run_multilabel.py "
            f"--label_column_names {quoted([column])} (for classification: one label a row, or probabilities that sum to 1)"
        )
        raise column_error(dataset, column, problem)
    targets = f"targets [rows, {width}]"
    if width == 1:
        if args.problem_type in ("multi", "regression"):
            head = "[rows, number of classes]" if args.problem_type == "multi" else "[rows, 1] of numbers, not lists"
            problem = (
                f"{targets} do not fit --problem_type {args.problem_type} with logits {head}: write the label itself into the "
                f"column, or leave out --problem_type: one logit with one target is binary"
            )
            raise column_error(dataset, column, problem)
        form = _checked_form(dataset, column, args, 2, targets, "one_logit")
        _refuse_soft(dataset, column, form, next((row for row in rows if row[0] not in (0, 1)), None))
        return ClassFormat("binary", form, column, ["0", "1"])
    if args.problem_type == "regression":
        raise column_error(dataset, column, f"{targets} do not fit --problem_type regression with logits [rows, 1]")
    never = [index for index in range(width) if not any(row[index] for row in rows)]
    labels = width - len(never)
    if labels == 1:
        raise column_error(dataset, column, f"every row has the label {rows[0].index(1)}; expected at least two labels")
    if never and args.problem_type != "multi":
        problem = (
            f"{targets} for {labels} labels: position {never[0]} is 0 in every row; write rows of width {labels}, or insist on "
            f"{width} logits with --problem_type multi"
        )
        raise column_error(dataset, column, problem)
    form = _checked_form(dataset, column, args, width, targets, "one_hot")
    _refuse_soft(dataset, column, form, next((row for row in rows if max(row) < 1), None))
    return ClassFormat("binary" if width == 2 else "multi", form, column, [str(index) for index in range(width)])


def _refuse_soft(dataset: Dataset, column: str, form: str, soft: list[float] | None) -> None:
    if form == "two_logits" and soft:
        advice = "--binary_form two_logits takes class ids [rows]; use --binary_form one_hot for probabilities"
        raise column_error(dataset, column, f"found {soft}; {advice}")


def _checked_form(dataset: Dataset, column: str, args: DataArguments, labels: int, targets: str, default: str = "") -> str:
    """Return the form of the targets, or raise a `UserError` if the options ask for a head for another number of labels."""
    if labels != 2 and (args.binary_form or args.problem_type == "binary"):
        asked = f"--binary_form {args.binary_form}" if args.binary_form else "--problem_type binary"
        logits = f"logits [rows, {1 if args.binary_form == 'one_logit' else 2}] for 2 labels"
        problem = f"{targets} with {labels} labels do not fit {asked}, which has {logits}; leave the option out"
        raise column_error(dataset, column, problem)
    return args.binary_form or default or ("two_logits" if labels == 2 else "class_ids")


def _settle_form(found: ClassFormat, args: Arguments, training: bool) -> ClassFormat:
    options = args.training
    if options.metric_for_best_model == "own":
        options.metric_for_best_model = "pearson" if found.regression else GLUE_METRICS.get(args.data.task_name, "accuracy")
    if training and options.loss == "bce" and found.form == "one_hot":
        found = replace(found, independent=True)
    elif found.independent:  # as the saved model was trained
        options.loss = "bce"
    if found.problem == "binary":
        args.data.binary_form = found.form
    if args.data.binary_form and args.data.problem_type in ("multi", "regression"):
        raise UserError(
            f"--binary_form {args.data.binary_form} is for two classes, --problem_type {args.data.problem_type} is not"
        )
    if options.loss == "bce" and found.form not in ("one_logit", "one_hot"):
        raise UserError(
            f"--loss bce takes float targets, [rows, 1] for one logit or a row of them for several; column {found.column!r} "
            f"gives {'numbers' if found.regression else 'class ids [rows]'}; use --loss cross_entropy"
            + (", or --binary_form one_logit or one_hot" if found.problem == "binary" else "")
        )
    for option, value, default in (
        ("--loss", options.loss, "cross_entropy"),
        ("--class_weights", options.class_weights, "none"),
        ("--label_smoothing_factor", options.label_smoothing_factor, 0.0),
    ):
        if found.regression and value != default:
            raise UserError(f"{option} {value}: column {found.column!r} holds numbers (regression), whose loss is squared error")
    if args.data.threshold and len(found.names) != 2:
        held = "holds numbers" if found.regression else f"has {len(found.names)}"
        raise UserError(f"--threshold decides between two labels; column {found.column!r} {held}")
    return found
