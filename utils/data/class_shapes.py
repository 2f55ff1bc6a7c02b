"""Recognise what the label column of one-label data holds, check it against the head, name the script of other shapes."""

import logging
import math
from dataclasses import replace

import numpy as np
from datasets import ClassLabel, Dataset

from utils.arguments import Arguments, DataArguments, UserError, shorten
from utils.data.classes import ROUNDING, ClassFormat, class_ids, class_name, is_missing, read_number, read_row, unknown_rows
from utils.data.files import PLACE, add_array, columns, file_of
from utils.data.label_shapes import LABEL_NAMES, is_cell_column, refuse_candidates
from utils.data.labels import natural_order
from utils.data.loading import require_columns, split_validation

logger = logging.getLogger(__name__)


def find_classes(splits: dict[str, Dataset], args: DataArguments, saved: ClassFormat | None) -> ClassFormat:
    """Return what the label column holds: from the training data, or from the saved model where there is none.

    Raises:
        UserError: no label column, targets that no head fits, or the shape of another script's data.
    """
    source = next(iter(splits.values()))
    if "train" not in splits:
        if saved is None:
            raise UserError("nothing to train on, and the model has no labels of its own: give --train_file, or a trained model")
        column = args.label_column_name or saved.column
        if column not in columns(source) and "validation" in splits:
            column = next((name for name in LABEL_NAMES if name in columns(source)), column)
        return replace(saved, column=column, ids=_all_ids(source, column))
    column = args.label_column_name or _find_label_column(source)
    require_columns(source, [column], "--label_column_name")
    found = recognize_classes(source, column, args)
    if saved and not saved.regression and not found.regression:
        if set(found.names) <= set(saved.names) or (found.ids and len(found.names) <= len(saved.names)):
            form = saved.form if saved.problem == "binary" and args.binary_form is None else found.form
            if not set(found.names) <= set(saved.names):
                logger.info("label: the ids %s stand for the model's labels by position", shorten(found.names))
            return replace(found, names=saved.names, form=form)
    return found


def _all_ids(dataset: Dataset, column: str) -> bool:
    values = [value for value in dataset[column][:] if not is_missing(value)] if column in columns(dataset) else []
    return all(not isinstance(value, list) and class_name(value).isdecimal() for value in values)


def _find_label_column(dataset: Dataset) -> str:
    available = columns(dataset)
    refuse_candidates(dataset, "--label_column_name")
    usual = ("label", *LABEL_NAMES, "score", "similarity", "stars", "rating", "sentiment")
    named = [name for name in usual if name in available]
    cells = [name for name in available if is_cell_column(dataset, name) and name not in ("id", "index", "idx")]
    if not named and len(cells) > 1:
        raise UserError(
            f"the columns {shorten(cells)} hold 0 and 1: several labels a text; use run_multilabel.py "
            f"--label_column_names {','.join(cells[:20])} (or name one of them with --label_column_name)"
        )
    if not named and not cells:
        raise UserError(f"no label column among {', '.join(available)}: name it with --label_column_name")
    column = (named or cells)[0]
    logger.info("label column: %s (found; --label_column_name to change)", column)
    return column


def recognize_classes(dataset: Dataset, column: str, args: DataArguments) -> ClassFormat:
    """Recognise the target in `column` and check it against the head that the options ask for.

    `args` has `problem_type` and `binary_form`, either of which may be None.
    """
    feature = dataset.features[column]
    known = [(row, value) for row, value in enumerate(dataset[column][:]) if not is_missing(value)]
    if not known:
        raise UserError(f"{dataset[0][PLACE]} and all other rows: no label in column {column!r}")
    values = [value for _, value in known]
    for row, value in known:
        if isinstance(value, (dict, bytes)) or (isinstance(value, float) and math.isinf(value)):
            raise UserError(
                f"{dataset[row][PLACE]}, column {column!r}: found {value!r:.60}, expected a name, an id, a number or a row of "
                f"probabilities"
            )
    rows = [read_row(value) for value in values]
    written_lists = all(isinstance(value, str) and value.startswith("[") and value.endswith("]") for value in values)
    if written_lists or any(isinstance(value, list) for value in values):
        return _recognize_rows(dataset, column, args, rows, values)
    numbers = [None] if isinstance(feature, ClassLabel) else [read_number(value) for value in values]
    if args.problem_type == "regression":
        if None in numbers:
            row, value = known[numbers.index(None)]
            raise UserError(f"{dataset[row][PLACE]}, column {column!r}: found {value!r}, expected a number (regression)")
        return ClassFormat("regression", "number", column, [column])
    numeric = None not in numbers
    fractions = sum(number is not None and not number.is_integer() for number in numbers)
    if not numeric and args.problem_type is None and 2 * fractions >= len(numbers) > 1 and fractions:
        row, value = known[numbers.index(None)]
        raise UserError(
            f"{dataset[row][PLACE]}, column {column!r}: found {value!r} among numbers such as "
            f"{next(v for v, number in zip(values, numbers, strict=True) if number is not None)}; correct the cell, leave it "
            f"empty where the number is unknown, or insist: --problem_type multi for classes"
        )
    if numeric and not all(number.is_integer() for number in numbers):
        row, value = known[next(i for i, number in enumerate(numbers) if not number.is_integer())]
        if args.binary_form in ("one_logit", "one_hot") and all(0 <= number <= 1 for number in numbers):
            return ClassFormat("binary", args.binary_form, column, ["0", "1"])
        if args.binary_form or args.problem_type:
            asked = f"--binary_form {args.binary_form}" if args.binary_form else f"--problem_type {args.problem_type}"
            raise UserError(
                f"{dataset[row][PLACE]}, column {column!r}: found the number {value}; {asked} makes a head with one logit a "
                f"class, whose cross-entropy takes class ids [rows]; for float targets [rows, 1] use --binary_form one_logit "
                f"(from 0 to 1) or --problem_type regression"
            )
        return ClassFormat("regression", "number", column, [column])
    if isinstance(feature, ClassLabel):
        names, ids = feature.names, True
    else:
        names, ids = natural_order({class_name(value) for value in values}), numeric
    _check_names(names, column, values, dataset, args, numeric)
    form = _checked_form(dataset, args, len(names), column, "class ids [rows]")
    return ClassFormat("binary" if len(names) == 2 else "multi", form, column, names, ids)


def _recognize_rows(dataset: Dataset, column: str, args: DataArguments, rows: list, values: list) -> ClassFormat:
    """Recognise lists: probabilities of the classes, or one target; anything else is several labels a text."""
    widths = {len(row) for row in rows if row}
    shares = all(rows) and len(widths) == 1 and all(0 <= cell <= 1 for row in rows for cell in row)
    width = widths.pop() if shares else 0
    if not shares or (width > 1 and any(abs(sum(row) - 1) > ROUNDING for row in rows)):
        raise UserError(
            f"{file_of(dataset)}, column {column!r} "
            f"holds lists such as {str(values[0])[:60]}: any number of labels a text; use run_multilabel.py "
            f"--label_column_names {column} (for classification: one label a row, or rows of probabilities that sum to 1)"
        )
    if width == 1:
        if args.problem_type in ("multi", "regression"):
            head = "[rows, number of classes]" if args.problem_type == "multi" else "[rows, 1] of numbers, not lists"
            raise UserError(
                f"{file_of(dataset)}, column {column!r}: "
                f"targets [rows, 1] do not fit --problem_type {args.problem_type} with logits {head}: write "
                f"the label itself into the column, or leave out --problem_type: one logit with one target is binary"
            )
        form = _checked_form(dataset, args, 2, column, "targets [rows, 1]", "one_logit")
        _refuse_soft(dataset, form, column, next((row for row in rows if row[0] not in (0, 1)), None))
        return ClassFormat("binary", form, column, ["0", "1"])
    if args.problem_type == "regression":
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: "
            f"targets [rows, {width}] do not fit --problem_type regression with logits [rows, 1]"
        )
    never = [index for index in range(width) if not any(row[index] for row in rows)]
    if width - len(never) == 1:
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: every row has the label {rows[0].index(1)}; expected at least two labels"
        )
    if never and args.problem_type != "multi":
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: "
            f"targets [rows, {width}] for {width - len(never)} labels: position {never[0]} is 0 in every row; "
            f"write rows of width {width - len(never)}, or insist on {width} logits with --problem_type multi"
        )
    form = _checked_form(dataset, args, width, column, f"targets [rows, {width}]", "one_hot")
    _refuse_soft(dataset, form, column, next((row for row in rows if max(row) < 1), None))
    return ClassFormat("binary" if width == 2 else "multi", form, column, [str(index) for index in range(width)])


def _refuse_soft(dataset: Dataset, form: str, column: str, soft: list[float] | None) -> None:
    if form == "two_logits" and soft:
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: "
            f"found {soft}; the cross-entropy of --binary_form two_logits takes class ids [rows]; "
            f"use --binary_form one_hot for probabilities"
        )


def _checked_form(
    dataset: Dataset, args: DataArguments, labels: int, column: str, targets: str, default: str | None = None
) -> str:
    """Return the form of the targets, if the options ask for a head that fits the number of labels."""
    if labels != 2 and (args.binary_form or args.problem_type == "binary"):
        asked = f"--binary_form {args.binary_form}" if args.binary_form else "--problem_type binary"
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: {targets} with {labels} labels do not fit {asked}, which has logits "
            f"[rows, {1 if args.binary_form == 'one_logit' else 2}] for 2 labels; leave the option out"
        )
    return args.binary_form or default or ("two_logits" if labels == 2 else "class_ids")


def _check_names(names: list[str], column: str, values: list, dataset: Dataset, args: DataArguments, numeric: bool) -> None:
    """Raise a `UserError` for labels that no classification has: a single one, ids with a hole, one a row, several in one."""
    if len(names) < 2:
        hint = "; -1 stands for an unknown label, so write names" if any(read_number(v) == -1 for v in dataset[column][:]) else ""
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: every row has the label {names[0]!r}; expected at least two labels{hint}"
        )
    alike: dict[str, str] = {}
    for name in names:
        if alike.setdefault(name.strip().casefold(), name) != name:
            logger.warning("labels %r and %r differ in case or spaces only", alike[name.strip().casefold()], name)
    if args.problem_type:
        return
    if numeric:
        ids = sorted({int(float(name)) for name in names})
        if ids[-1] - ids[0] >= len(ids):
            hole = next(value for value in range(ids[0], ids[-1]) if value not in ids)
            raise UserError(
                f"{file_of(dataset)}, column {column!r}: "
                f"the labels {shorten(names)} leave out {hole}, so class ids would not fit a head of "
                f"{len(names)} logits; write names or ids without a hole, or insist: --problem_type "
                f"{'binary' if len(names) == 2 else 'multi'} for classes, regression for numbers"
            )
    elif len(names) == len(values) > 20:
        raise UserError(
            f"{file_of(dataset)}, column {column!r}: "
            f"each of the {len(names)} rows has a label of its own; name the column of classes with "
            f"--label_column_name"
        )
    for delimiter in ";|,":
        parts = {part.strip() for name in names if delimiter in name for part in name.split(delimiter)}
        if parts and parts <= set(names):
            raise UserError(
                f"{file_of(dataset)}, column {column!r}: "
                f"{next(n for n in names if delimiter in n)!r} holds several labels of other rows; use "
                f"run_multilabel.py --label_column_names {column} (or insist with --problem_type multi)"
            )


def add_targets(splits: dict[str, Dataset], class_format: ClassFormat, args: DataArguments, seed: int) -> dict[str, Dataset]:
    """Return the splits with the targets as column `labels`; a test split may have none.

    Rows of training and validation data whose label is unknown are set aside. Splits validation data off the training
    data where it is wanted and there is none.
    """
    logger.info("%s", class_format)
    result = {}
    for name, split in splits.items():
        targets = class_format.targets(split) if name != "test" or class_format.labelled(split) else None
        kept = split.remove_columns([column for column in {class_format.column, "labels"} if column in split.column_names])
        if targets is None:
            result[name] = kept
            continue
        kept = add_array(kept, "labels", targets)
        unknown = unknown_rows(targets)
        if name != "test" and unknown.any():
            told = " (empty or -1; if -1 is a label of its own, write names)" if unknown.mean() > 0.1 else ""
            logger.info("%s: %s rows without a label are set aside%s", name, f"{unknown.sum():,}", told)
            kept, targets = kept.select(np.flatnonzero(~unknown)), targets[~unknown]
            if not len(kept):
                raise UserError(f"{split[0][PLACE]} and all other rows of the {name} data: no label is known")
        result[name] = kept
        if name == "train" and args.validation_fraction and "validation" not in splits:
            ranks = targets.reshape(len(targets), -1)
            if class_format.regression:  # as many rows from each tenth of the range
                strata = np.searchsorted(np.quantile(ranks[:, 0], np.linspace(0.1, 0.9, 9)), ranks[:, 0])
            else:
                strata = class_ids(targets)
            result["train"], result["validation"] = split_validation(kept, args, strata, seed)
    return result


def settle_form(found: ClassFormat, args: Arguments, training: bool) -> ClassFormat:
    """Return the format with what --loss makes of it, and settle --loss and --binary_form by it.

    Raises:
        UserError: an option that these labels have no use for.
    """
    options = args.training
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
