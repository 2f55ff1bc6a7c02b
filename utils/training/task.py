"""What a run works on: its arguments, rows, columns and tokenizer, settled before a model is loaded."""

import json
import logging
import math
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import set_seed

from utils.arguments import Arguments, UserError, number_of, shorten
from utils.batches.encoding import NO_LIMIT, encode_filled, encode_joined, encode_split, join_texts
from utils.batches.windows import Way, describe_long, encode_long
from utils.columns.naming import find_ids
from utils.columns.text_columns import find_text_columns
from utils.command_line import defaults, parse_arguments
from utils.data.label_names import saved_label_names, saved_setting
from utils.data.row_texts import settle_empty_texts, warn_of_shared_texts
from utils.data.targets import add_targets, read_row_columns
from utils.files.cells import UNKNOWN
from utils.files.rows import PLACE, columns, flatten, read_array, rows_to_dataset
from utils.runtime import quiet, set_up_logging
from utils.splits.augmented import add_copies
from utils.splits.folds import take_groups
from utils.splits.pseudo_labels import add_pseudo_labelled
from utils.splits.smoke_test import prepare_smoke_test
from utils.splits.taking_part import first_rows, splits_to_use
from utils.texts import rows_of
from utils.training.models import (
    check_calibration,
    check_export,
    check_head,
    check_vocabulary,
    describe_logits,
    is_decoder,
    load_config,
    load_tokenizer,
    refuse_model_of_other_script,
    sequence_length,
)
from utils.training.pooling import settle_pooling

logger = logging.getLogger(__name__)

# Options that nothing reads in a run that trains nothing. (The loss of labelled rows reads others, such as --loss.)
OF_TRAINING = {"learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"}
OF_TRAINING |= {"pos_weight", "class_weights", "prior_bias", "linear_probe", "pooling", "early_stopping_patience"}
OF_TRAINING |= {"head_learning_rate_multiplier", "validation_fraction", "use_peft", "freeze_embeddings"}
# A new head is fitted alone first to at least so many rows, at most so many, and at most so many cells of rows and labels.
FEWEST_ROWS, MOST_ROWS, MOST_CELLS = 10, 5000, 1_000_000
# With fewer rows than this for each class or label, on average, there are more epochs, up to the most, until they are so many
# steps, and so many for each class or label.
FEW_ROWS, FEWEST_STEPS, STEPS_OF_LABEL, MOST_EPOCHS = 400, 30, 10, 12
# From so many classes on, with few rows each, the head reads the mean of all tokens if the encoder was trained by it.
MANY_CLASSES = 20
# The usual learning rate is for encoders as wide as BERT-base. Narrower ones learn better by a higher one, up to the most here.
USUAL_WIDTH, MOST_LEARNING_RATE = 768, 2e-4


def read_arguments(
    kinds: tuple[type, ...],
    argv: list[str] | None,
    description: str,
    sample: Path,
    example_rows: list[dict],
    row_columns: tuple[str, ...] = (),
    values: dict[str, Any] | None = None,
) -> Arguments:
    """Return the arguments of a run, with its seed set and what it prints set up.

    Args:
        kinds, argv, description, sample: see `parse_arguments`.
        example_rows: what --smoke_test trains on where no data is given; `row_columns` get random numbers there.
        values: values for some options in place of those given, as a trial of a search has. Nothing is set up then.
    """
    *parts, given = parse_arguments(kinds, argv, description, sample, values)
    again = partial(read_arguments, kinds, argv, description, sample, example_rows, row_columns)
    args = Arguments(*parts, defaults(kinds) | given, given, sys.argv[1:] if argv is None else argv, again)
    set_seed(args.training.seed)
    if args.data.smoke_test and args.data.num_folds:
        args.data.fold = args.data.fold or 1  # one shows that all would run
    if args.data.fold:
        settle_fold(args)
    if args.data.smoke_test:
        prepare_smoke_test(args, example_rows, row_columns)
    if values is None:
        set_up_logging(args.training)
    return args


def settle_fold(args: Arguments) -> None:
    """Give the run of a fold a folder of its own in --output_dir. The report is made of all folds together."""
    args.training.output_dir = str(Path(args.training.output_dir, f"fold-{args.data.fold}"))
    args.training.no_report = True


class Task:
    """What a run works on. A script's `prepare` fills it in.

    Attributes:
        splits: the rows by name: train, validation and test, as far as they take part.
        training: whether there is a model to train, or only one to predict with.
        config: of the model; None where `--check_data` names none.
        format: how the labels are written, found by the script.
        labels: what the probabilities of a row stand for; `unknown`: the target of a row without one.
        row_columns: columns of numbers that the loss or the model reads.
        long_texts: how texts that are too long are read.
        saved_labels, saved_thresholds: those of the model, if it was trained for some.
        id_column, ids: what identifies the test rows; see `row_ids` for other splits.
        thresholds: from which probability each label is decided, as far as it is known without tuning.
        submission: Kaggle's file to write, if one is asked for.
        bias: where the output layer of a new head starts, [logits]; None leaves it.
        trainer_options: what the script's own trainer is told besides.
        read: the splits before they were encoded, by name.
        own_limit: the most tokens that the tokenizer gave before `max_length`.
    """

    def __init__(self, splits: dict[str, Dataset], args: Arguments, script: str):
        """Settle which splits take part and what the model is. `script` is the script's `__file__`.

        Raises:
            UserError: data that was asked for is missing, or the model was trained by another script.
        """
        self.args, self.script = args, Path(script)
        self.splits = take_groups(splits_to_use(flatten(splits), args.training.asked, args.data), args.data)
        self.training = "train" in self.splits
        if args.training.metrics_on_train and not self.training:
            raise UserError("--metrics_on_train: nothing is trained; give --train_file, or leave it out")
        self.config = load_config(args.model) if args.model.model_name_or_path or not args.data.check_data else None
        if args.data.text and not saved_setting(self.config, "trained_by"):
            raise UserError(
                f"--text needs a model that this script has trained, and {args.model.model_name_or_path} is none: train one with "
                f"--train_file, and name its --output_dir"
            )
        if not self.training:
            refuse_model_of_other_script(self.config, self.script.name)
            if unused := [f"--{name}" for name in args.given if name in OF_TRAINING]:
                logger.info("nothing is trained, so these options do nothing: %s", shorten(unused))
            choices = saved_setting(self.config, "choice_format") or {}  # where earlier versions kept the marks
            marks = saved_setting(self.config, "unknown_label") or choices.get("unknown_label")
            if marks and args.data.unknown_label is None:
                args.data.unknown_label = marks
                logger.info("unknown labels: %s (as the model was trained; --unknown_label to change)", marks)
        if args.data.text:
            rows = rows_of(self.splits["test"]["text"][:], args.model.model_name_or_path, self.config.to_dict())
            self.splits = {"test": rows_to_dataset(rows, self.splits["test"][PLACE][:])}
        self.saved_labels = saved_label_names(self.config, self.training)
        self.saved_thresholds = None if self.training else saved_setting(self.config, "thresholds")
        self.id_column, self.ids = find_ids(self.splits, args.data)
        self.format: Any = None
        self.labels: list[str] = []
        self.unknown: float = UNKNOWN
        self.row_columns: tuple[str, ...] = ()
        self.thresholds = np.empty(0)
        self.submission: Any = None
        self.trainer_options: dict[str, Any] = {}
        self.text_columns: list[str] = []
        self.delimiter: str | None = None
        self.long_texts: Way = "cut"
        self.tokenizer = self.max_length = self.own_limit = None
        self.bias: torch.Tensor | None = None
        self.read: dict[str, Dataset] = {}

    def find_texts(self, taken: list[str]) -> None:
        """Settle the text columns; `taken` are those of the labels."""
        saved = saved_setting(self.config, "text_column_names")
        data = self.args.data
        self.text_columns = find_text_columns(self.splits, data, taken, saved)
        saved_delimiter = saved_setting(self.config, "text_column_delimiter")
        self.delimiter = saved_delimiter if data.text_column_delimiter is None else data.text_column_delimiter
        self.long_texts = data.long_texts or saved_setting(self.config, "long_texts") or "cut"
        if self.long_texts != "cut" and len(self.text_columns) > 1 and self.delimiter is None:
            raise UserError(
                f"--long_texts {self.long_texts}: expected one text a row, found the pair {', '.join(self.text_columns)}; join "
                f"them with --text_column_delimiter ' ', or cut them with --long_texts cut"
            )
        self.settle_empty_texts(self.text_columns)

    def settle_empty_texts(self, columns: list[str]) -> None:
        """Leave out the rows without text, but predict those of the test data; see `settle_empty_texts`."""
        if not (self.args.data.check_data or self.args.data.text):  # which counts them, or where all texts may be empty
            for name, split in self.splits.items():
                self.splits[name] = settle_empty_texts(name, split, columns, self.delimiter is not None, self.args.data)

    def settle_rows(
        self, row_columns: tuple[str, ...], check: Callable | None = None, add: Callable[[Dataset], Dataset] | None = None
    ) -> None:
        """Add the targets, cut the splits to --max_…_samples, and read the numbers of `row_columns`.

        Args:
            row_columns: columns of numbers that the loss or the model reads.
            check: see `add_targets`.
            add: returns a split with more columns.
        """
        data, seed = self.args.data, self.args.training.seed
        self.row_columns = row_columns = (row_columns,) if isinstance(row_columns, str) else row_columns
        read = {self.id_column, data.group_column_name, *row_columns, *self.text_columns}
        read.update(*self.format.columns_by_option.values())
        others = dict.fromkeys(name for split in self.splits.values() for name in columns(split) if name not in read)
        if others:
            logger.info("neither text, label nor id: %s", shorten(list(others)))
        texts = self.text_columns or list(filter(None, (self.format.context, self.format.question)))
        splits = add_targets(self.splits, self.format, data, seed, check, texts)
        splits = first_rows(splits, data, seed)
        if data.augmented_files and "train" in splits:
            every = self.splits["train"][self.id_column][:] if self.id_column in self.splits["train"].column_names else []
            splits["train"] = add_copies(splits["train"], data, self.id_column, every)
        self.splits = read_row_columns(splits, row_columns)
        check_calibration(self.args.training, self.format.evaluated_as, self.splits)
        check_export(self.args.training, self.format.evaluated_as, self.splits)
        if add:
            with quiet():  # datasets would show a bar for copying the rows
                self.splits = {name: add(split) for name, split in self.splits.items()}
        self.ids = self.ids[: len(self.splits.get("test", []))]
        first = next(iter(self.splits))
        filled = (row for row in range(len(self.splits[first])) if self.splits[first][row][self.read_columns[0]])
        texts, label = self.as_read(first, next(filled, 0))
        shown = " | ".join(json.dumps(text if len(text) <= 60 else f"{text[:58]}…", ensure_ascii=False) for text in texts if text)
        logger.info("the first row as the model reads it: %s%s", shown, "" if label is None else f" → {label or 'no label'}")
        warn_of_shared_texts(self.splits, self.read_columns)
        if data.pseudo_labels:
            kind = self.format.evaluated_as
            self.splits["train"] = add_pseudo_labelled(self.splits, data, self.id_column, kind, self.labels)
        if self.training and self.config is not None:
            self.settle_learning_rate()
            settle_pooling(self.args, self.config, self.has_many_classes(len(self.splits["train"])))
            self.settle_head(len(self.splits["train"]))

    def settle_learning_rate(self) -> None:
        """Raise the learning rate for a narrow encoder, as its width is less than BERT-base's, unless it is given; say so.

        Small BERT models were published with higher rates (Turc et al. 2019, https://arxiv.org/abs/1908.08962). What it is worth
        was measured in benchmarks/recipes.md.
        """
        args, width = self.args.training, getattr(self.config.get_text_config(), "hidden_size", USUAL_WIDTH)
        own = self.args.given.keys() & {"learning_rate", "use_peft"}
        if not own and width < USUAL_WIDTH and not is_decoder(self.config):
            args.learning_rate = min(type(args).learning_rate * USUAL_WIDTH / width, MOST_LEARNING_RATE)
            told = "learning rate %.2g: the encoder is %d wide (--learning_rate chooses another; 5e-05 is that of BERT-base)"
            logger.info(told, args.learning_rate, width)

    def settle_head(self, rows: int) -> None:
        """Have a new head for classes or labels fitted alone first where rows are few, unless it is said otherwise.

        They are few where they are fewer than `fit_alone` takes, or than `FEW_ROWS` for each class or label: then a head that
        starts at random gets too few steps to learn. What it is worth was measured in benchmarks/recipes.md.
        """
        training, labels = self.args.training, len(self.labels)
        new = self.format.evaluated_as in ("classes", "labels") and self.saved_labels is None
        possible = new and self.long_texts != "windows" and not training.sharded and not is_decoder(self.config)
        possible = possible and rows >= FEWEST_ROWS and min(rows, MOST_ROWS) * labels <= MOST_CELLS
        if training.linear_probe is None:
            training.linear_probe = possible and rows < max(MOST_ROWS, FEW_ROWS * labels)
        if possible and training.linear_probe and rows < FEW_ROWS * labels:
            self.settle_few_steps(rows)

    def has_many_classes(self, rows: int) -> bool:
        """Return whether a new head is to tell apart many classes of single texts, of `rows` that are few for so many."""
        new = self.format.evaluated_as == "classes" and self.saved_labels is None and not self.args.training.sharded
        single, labels = len(self.text_columns) == 1, len(self.labels)
        return new and single and labels >= MANY_CLASSES and rows < FEW_ROWS * labels

    def settle_few_steps(self, rows: int) -> None:
        """Train for more epochs where three are few steps for so many labels, unless it is said how long to train, and say so.

        What it is worth was measured in benchmarks/recipes.md.
        """
        training, usual, labels = self.args.training, self.args.training.num_train_epochs, len(self.labels)
        steps = math.ceil(rows / (training.train_batch_size * training.world_size * training.gradient_accumulation_steps))
        epochs = min(math.ceil(max(FEWEST_STEPS, STEPS_OF_LABEL * labels) / steps), MOST_EPOCHS)
        if epochs > usual and training.max_steps <= 0 and "num_train_epochs" not in self.args.given:
            training.num_train_epochs = float(epochs)
            told = "%d epochs instead of %g, as one epoch has only %s for %d %s (--num_train_epochs chooses another number)"
            logger.info(told, epochs, usual, number_of(steps, "step"), labels, self.format.evaluated_as)

    @property
    def read_columns(self) -> list[str]:
        """The columns that the model reads, before `encode`."""
        return self.text_columns or ["context", "question", "candidates"]

    def as_read(self, split: str, row: int) -> tuple[list[str], str | None]:
        """Return the texts of a row, before `encode`, as the model reads them, and its label in words; None without one."""
        cells = self.splits[split][row]
        if not self.text_columns:
            texts = [cells["context"], cells["question"], *cells["candidates"]]
            known = cells.get("labels", UNKNOWN) != UNKNOWN
            return texts, cells["candidates"][cells["labels"]] if known else None
        target = read_array(self.splits[split].select([row]), "labels")[0] if "labels" in cells else None
        label = None if target is None else self.format.words(target)
        return self.texts_of(cells), label

    def texts_of(self, cells: dict[str, Any]) -> list[str]:
        """Return the text, or the pair of texts, that the model reads of the cells of a row."""
        texts = ["" if cells[name] is None else str(cells[name]) for name in self.text_columns]
        return texts if self.delimiter is None else [join_texts(texts, self.delimiter)]

    @property
    def found(self) -> dict[str, str]:
        """The columns that are read, as the options that name them."""
        names = {"text_column_names": self.text_columns, "id_column_name": [self.id_column] if self.ids else []}
        names |= self.format.columns_by_option
        return {option: ",".join(columns) for option, columns in names.items() if columns and columns != ["row"]}

    def targets(self, name: str) -> np.ndarray | None:
        """Return the targets of a split, None where there are none."""
        split = self.splits.get(name)
        return None if split is None or "labels" not in split.column_names else read_array(split, "labels")

    def load_tokenizer(self) -> None:
        """Load the tokenizer, and settle how many tokens of a text the model reads."""
        self.tokenizer = load_tokenizer(self.args.model, self.config)
        self.max_length = sequence_length(self.args.data.max_seq_length, self.tokenizer, self.config)
        self.own_limit, self.tokenizer.model_max_length = self.tokenizer.model_max_length, self.max_length
        between = self.tokenizer.num_special_tokens_to_add(pair=True) - self.tokenizer.num_special_tokens_to_add()
        if len(self.text_columns) > 1 and self.delimiter is None and not between:
            logger.warning("the tokenizer puts nothing between two texts: join them with --text_column_delimiter, such as ' | '")

    def describe_logits(self, problem_type: str | None, names: list[str], **settings: Any) -> None:
        """Write into the config of the model to be trained what its logits mean; see `describe_logits`.

        Raises:
            UserError: the model was trained for other labels, and its head is to be kept.
        """
        settings["unknown_label"] = self.args.data.unknown_label
        describe_logits(self.config, self.script, problem_type, names, **settings)
        if self.text_columns:
            self.config.text_column_names, self.config.text_column_delimiter = self.text_columns, self.delimiter
            self.config.long_texts = self.long_texts
        check_head(self.args.model, self.config, self.saved_labels, self.args.training.extend_labels)

    def settled(self, encode: Callable[..., dict], max_length: int) -> Callable[[dict], dict]:
        """Return the script's `encode` with all its arguments but the rows."""
        columns = self.text_columns if self.delimiter is None else self.text_columns[:1]
        settled = {"tokenizer": self.tokenizer, "max_length": max_length} | ({"columns": columns} if columns else {})
        settled = partial(encode, **settled)
        if self.delimiter is not None:
            settled = partial(encode_joined, encode=settled, columns=self.text_columns, delimiter=self.delimiter)
        if self.tokenizer.num_special_tokens_to_add():
            return settled
        return partial(encode_filled, encode=settled, token=self.tokenizer.pad_token_id)

    def encode(self, encode: Callable[..., dict]) -> None:
        """Replace the rows of all splits by their tokens; the labels and the `row_columns` stay.

        Args:
            encode: the script's, (rows, tokenizer=, max_length=) and, where there are text columns, columns=.

        Raises:
            UserError: the tokenizer gives tokens that the model does not know.
        """
        settled = self.settled(encode, self.max_length)
        if self.long_texts != "cut":
            way = {"tokenizer": self.tokenizer, "max_length": self.max_length, "way": self.long_texts}
            settled = partial(encode_long, encode=self.settled(encode, NO_LIMIT), **way)
        for name, split in self.splits.items():
            self.read[name] = split
            if name != "test" and "labels" in split.column_names:  # they are with the tokens; here they only take memory
                self.read[name] = split.remove_columns("labels")
            with self.args.training.main_process_first():
                self.splits[name] = encode_split(name, split, settled, self.args.data, self.row_columns)
            if told := describe_long(self.splits[name], self.max_length, self.long_texts):
                logger.info("%s: %s", name, told)
        check_vocabulary(self.args.model, self.config, self.splits)

    def row_ids(self, name: str) -> tuple[str, list]:
        """Return the name and the values of what identifies the rows of a split: the test data's id column, or row numbers."""
        if name == "test":
            return self.id_column, self.ids
        found = self.id_column != "row" and self.id_column in self.read[name].column_names
        return (self.id_column, self.read[name][self.id_column][:]) if found else ("row", list(range(len(self.read[name]))))

    def plain_rows(self, name: str, most: int) -> list[int]:
        """Return the first rows of a split, at most `most`, that `pipeline()` reads as the model does.

        It cuts long texts, so these are rows with a short text if `long_texts` is another way. Of an empty text some tokenizers
        make no tokens.
        """
        split = self.splits[name]
        plain = np.ones(len(split), bool)
        if self.long_texts != "cut":
            plain = ~(np.array(split["cut"][:]) | (np.array(split["length"][:]) > self.max_length))
        marks_ends = self.tokenizer.num_special_tokens_to_add() > 0  # or `pipeline()` fails on a text without tokens
        rows = (row for row in np.flatnonzero(plain).tolist() if marks_ends or any(self.texts_of(self.read[name][row])))
        return list(islice(rows, most))

    def beginnings(self, name: str, characters: int = 200) -> list[str]:
        """Return the first characters of each row's texts in a split; several share them and are joined by ` | `.

        Candidates follow, with their positions, and as many characters of all together.
        """
        columns = (self.read[name][column][:] for column in self.text_columns or ["context", "question"])
        rows = (list(filter(None, row)) for row in zip(*columns, strict=True))
        texts = [" | ".join(str(text)[: characters // len(row)] for text in row) for row in rows]
        if self.text_columns or self.format.descriptions:  # these are the same in all rows
            return texts
        numbered = zip(texts, self.read[name]["candidates"][:], strict=True)
        return [
            " | ".join([text, *(f"{i}: {candidate[: characters // len(row)]}" for i, candidate in enumerate(row))])
            for text, row in numbered
        ]
