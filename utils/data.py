"""Load the splits of every format, find columns, and say where a row stands: every check names file, line and column."""

import csv
import glob
import gzip
import io
import json
import logging
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetNotFoundError
from sklearn.model_selection import train_test_split
from torch import Generator, randperm
from torch.utils.data import Sampler
from transformers import TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from utils.arguments import DataArguments, UserError

logger = logging.getLogger(__name__)

PLACE = "__place__"  # hidden column: where a row stands, for messages: "train.csv, line 17"
TEXT_NAMES = ("text", "comment_text", "sentence", "comment", "content", "body", "review", "tweet", "message", "question")
VALIDATION_NAMES = ("validation", "valid", "val", "dev")
FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")

csv.field_size_limit(sys.maxsize)


def load_splits(args: DataArguments) -> dict[str, Dataset]:
    """Return the given splits, a subset of train, validation and test, each with the hidden column `PLACE`.

    Raises:
        UserError: no data, or a file that is missing, empty, unreadable or malformed; names the file and the line.
    """
    if args.dataset_name:
        return _load_named(args)
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    splits = {name: read_files(pattern) for name, pattern in files.items() if pattern}
    if not splits:
        raise UserError("no data: give --train_file, --test_file or --dataset_name (or --smoke_test)")
    for name, split in splits.items():
        logger.info("%s: %s rows from %s; columns: %s", name, f"{len(split):,}", files[name], ", ".join(columns(split)))
    return splits


def splits_to_use(splits: dict[str, Dataset], asked: list[str]) -> dict[str, Dataset]:
    """Return the splits that take part: all, or those `asked` for with --do_train, --do_eval, --do_predict.

    Raises:
        UserError: a split is asked for that there is no data for.
    """
    if not asked:
        return splits
    for name, option in (("train", "--do_train"), ("test", "--do_predict")):
        if name in asked and name not in splits:
            raise UserError(f"{option} needs {name} data: give --{name}_file, or a dataset with that split")
    if asked == ["validation"] and "validation" not in splits:
        raise UserError("--do_eval needs validation data: give --validation_file, or a dataset with that split")
    return {name: split for name, split in splits.items() if name in asked}


def first_rows(splits: dict[str, Dataset], args: DataArguments) -> dict[str, Dataset]:
    """Return the splits cut to --max_train_samples, --max_eval_samples and --max_predict_samples."""
    limits = {"train": args.max_train_samples, "validation": args.max_eval_samples, "test": args.max_predict_samples}
    return {name: split.select(range(min(len(split), limits[name] or len(split)))) for name, split in splits.items()}


def _load_named(args: DataArguments) -> dict[str, Dataset]:
    try:
        loaded = load_dataset(args.dataset_name, args.dataset_config_name)
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError, ValueError) as error:
        raise UserError(f"cannot load --dataset_name {args.dataset_name}: {' '.join(str(error).split())}") from error
    assert isinstance(loaded, DatasetDict)
    found = {"train": "train", "test": "test", "validation": next((n for n in VALIDATION_NAMES if n in loaded), "")}
    splits = {}
    for name, source in found.items():
        if source in loaded:
            places = [f"{args.dataset_name}[{source}], row {row}" for row in range(len(loaded[source]))]
            splits[name] = loaded[source].add_column(PLACE, places)
            logger.info("%s: %s rows; columns: %s", name, f"{len(splits[name]):,}", ", ".join(columns(splits[name])))
    if not splits:
        raise UserError(f"{args.dataset_name} has no train, validation or test split; its splits: {', '.join(loaded)}")
    return splits


def columns(dataset: Dataset) -> list[str]:
    """Return the user's columns: all but the hidden one."""
    return [name for name in dataset.column_names if name != PLACE]


def read_files(pattern: str) -> Dataset:
    """Read one file, a comma-separated list or a glob into one dataset.

    Raises:
        UserError: nothing matches, the files' columns differ, or one of them cannot be read.
    """
    paths = []
    for part in (part.strip() for part in pattern.split(",")):
        matches = sorted(glob.glob(part)) if glob.has_magic(part) and not Path(part).exists() else [part]
        if not matches:
            raise UserError(f"no file matches {part}")
        paths += matches
    datasets = [_read_file(path) for path in paths]
    for path, dataset in zip(paths, datasets, strict=True):
        if set(dataset.column_names) != set(datasets[0].column_names):
            raise UserError(
                f"{path} has the columns {', '.join(columns(dataset))}, but {paths[0]} has "
                f"{', '.join(columns(datasets[0]))}: files of one split need the same columns"
            )
    try:
        return concatenate_datasets(datasets)
    except (ValueError, pa.ArrowInvalid) as error:
        raise UserError(f"the files of {pattern} do not fit together: {' '.join(str(error).split())}") from error


def _read_file(path: str) -> Dataset:
    file = Path(path)
    suffix = file.suffixes[-2] if file.suffix == ".gz" and len(file.suffixes) > 1 else file.suffix
    if suffix not in FORMATS:
        raise UserError(f"{path}: unknown format {suffix or 'without an ending'}; expected {' '.join(FORMATS)}, or .gz of one")
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist (looked in {Path.cwd()})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not content.strip():
        raise UserError(f"{path} is empty")
    if suffix == ".parquet":
        dataset = _read_parquet(path, content)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{path}, line {line}: byte {content[error.start]:#x} is not UTF-8; "
                f"convert the file, for example with: iconv -f latin1 -t utf-8"
            ) from error
        reader = {".csv": _read_delimited, ".tsv": _read_delimited, ".json": _read_json, ".jsonl": _read_json_lines}
        dataset = reader[suffix](path, text)
    if len(dataset) == 0:
        raise UserError(f"{path} has no rows")
    return dataset


def _read_delimited(path: str, text: str) -> Dataset:
    """Read CSV or TSV. Every cell stays the text it is: "NA" is not missing and "007" is not 7."""
    first_line = text.split("\n", 1)[0]
    if ".tsv" in Path(path).suffixes:
        delimiter = "\t"
    elif "," not in first_line and ";" in first_line:
        delimiter = ";"
        logger.info("%s: columns are separated by `;`", path)
    else:
        delimiter = ","
    rows = list(_parse_delimited(path, text, delimiter, csv.QUOTE_MINIMAL))
    if delimiter == "\t" and any("\t" in cell and "\n" in cell for _, row in rows for cell in row):
        # A quotation mark that is part of the text has swallowed lines: this TSV does not quote.
        rows = list(_parse_delimited(path, text, delimiter, csv.QUOTE_NONE))
    (_, header), *rows = rows
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise UserError(f"{path}, line 1: the column name {repeated[0]!r} occurs {header.count(repeated[0])} times")
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: found {len(row)} fields, expected {len(header)} as in the header")
    cells = zip(*(row for _, row in rows), strict=True) if rows else [[] for _ in header]
    table = {name: pa.array(values, pa.string()) for name, values in zip(header, cells, strict=True)}
    return _with_places(table, (f"{path}, line {line}" for line, _ in rows))


def _parse_delimited(path: str, text: str, delimiter: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row starts, its cells)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error} in the row that starts here; is a quotation mark left open?") from error


def _read_json(path: str, text: str) -> Dataset:
    """Read a list of objects, an object with that list under "data", or JSON lines under the ending .json."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _read_json_lines(path, text)
        raise UserError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    rows = content.get("data", [content]) if isinstance(content, dict) else content
    return _from_objects(path, [(f"row {row}", value) for row, value in enumerate(rows)])


def _read_json_lines(path: str, text: str) -> Dataset:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append((f"line {number}", json.loads(line)))
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not valid JSON: {error.msg}") from error
    return _from_objects(path, rows)


def _from_objects(path: str, rows: list[tuple[str, Any]]) -> Dataset:
    """Build a dataset of JSON objects; a key that a row lacks is missing there."""
    for place, row in rows:
        if not isinstance(row, dict):
            raise UserError(f'{path}, {place}: found {type(row).__name__}, expected an object such as {{"text": …}}')
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    table = {}
    for name in names:
        values = [row.get(name) for _, row in rows]
        try:
            table[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            kinds = [type(value) for value in values]
            known = next(kind for kind in kinds if kind is not type(None))
            odd = next((i for i, kind in enumerate(kinds) if kind not in (known, type(None))), 0)
            raise UserError(
                f"{path}, {rows[odd][0]}, column {name!r}: found {json.dumps(values[odd])[:80]}, "
                f"but earlier rows hold {known.__name__}: one column needs one type"
            ) from None
    return _with_places(table, (f"{path}, {place}" for place, _ in rows))


def _read_parquet(path: str, content: bytes) -> Dataset:
    try:
        dataset = Dataset(pq.read_table(pa.BufferReader(content)))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a Parquet file: {' '.join(str(error).split())}") from error
    return dataset.add_column(PLACE, [f"{path}, row {row}" for row in range(len(dataset))])


def _with_places(table: dict[str, pa.Array], places: Iterator[str]) -> Dataset:
    return Dataset(pa.table({**table, PLACE: pa.array(places, pa.string())}))


def require_columns(dataset: Dataset, names: list[str], option: str) -> None:
    """Raise a `UserError` that lists the columns there are if one of `names` is not among them."""
    for name in names:
        if name not in columns(dataset):
            file = dataset[0][PLACE].rsplit(", ", 1)[0]
            raise UserError(f"{file} has no column {name!r}; its columns: {', '.join(columns(dataset))}; see {option}")


def find_text_columns(splits: dict[str, Dataset], args: DataArguments, taken: list[str]) -> list[str]:
    """Return the one or two text columns: those named, or the likeliest of the columns not `taken` by something else.

    Raises:
        UserError: a named column that some split lacks, no text column at all, or a row without text.
    """
    first = next(iter(splits.values()))
    if args.text_column_names:
        names = [name.strip() for name in args.text_column_names.split(",")]
        if len(names) > 2:
            raise UserError(f"--text_column_names {args.text_column_names}: expected one column, or two for a pair")
    else:
        free = [name for name in columns(first) if name not in taken and _is_text(first, name)]
        named = [name for name in TEXT_NAMES if name in free]
        if not free:
            raise UserError(f"no text column among {', '.join(columns(first))}: name it with --text_column_names")
        sample = first.select(range(min(100, len(first))))
        names = named[:1] or [max(free, key=lambda name: sum(len(value or "") for value in sample[name]))]
        logger.info("text column: %s (found; --text_column_names to change)", names[0])
    for split in splits.values():
        require_columns(split, names, "--text_column_names")
        for name in names:
            for row, value in enumerate(split[name]):
                if value is None or value == "":
                    raise UserError(f"{split[row][PLACE]}, column {name!r}: the text is missing; fill or drop the row")
                if isinstance(value, (list, dict)):
                    raise UserError(f"{split[row][PLACE]}, column {name!r}: found {str(value)[:60]}, expected a text")
    return names


def _is_text(dataset: Dataset, name: str) -> bool:
    return dataset.features[name].dtype in ("string", "large_string")


def find_ids(splits: dict[str, Dataset], args: DataArguments) -> tuple[str, list]:
    """Return the name and the values of what identifies the test rows: a column (that named, or `id`), or row numbers."""
    if "test" not in splits:
        return "row", []
    test = splits["test"]
    if args.id_column_name:
        require_columns(test, [args.id_column_name], "--id_column_name")
    elif "id" not in columns(test):
        return "row", list(range(len(test)))
    name = args.id_column_name or "id"
    return name, test[name]


def split_validation(train: Dataset, args: DataArguments, strata: np.ndarray, seed: int) -> tuple[Dataset, Dataset]:
    """Split validation rows off the training set, each of the `strata` ([rows] of any kind) in proportion."""
    kinds, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    codes = np.where(counts[codes] < 2, -1, codes)  # a stratum of one row cannot be divided: such rows share one
    size = max(round(len(train) * args.validation_fraction), 1)
    stratify = codes if min(size, len(train) - size) >= len(kinds) and (np.bincount(codes + 1)[:1] != 1).all() else None
    kept, held_out = train_test_split(np.arange(len(train)), test_size=size, random_state=seed, stratify=stratify)
    logger.info("validation: %d rows split off the training data (--validation_fraction %g)", size, args.validation_fraction)
    return train.select(np.sort(kept)), train.select(np.sort(held_out))


def longest_first(dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    """Return `dataset` ordered by its column `length`, and that order: batches of similar length are padded little."""
    order = np.argsort(dataset["length"], kind="stable")[::-1]
    return dataset.select(order), order


def complete_last_batch(dataset: Dataset, args: TrainingArguments) -> Dataset:
    """Append rows whose labels are all -100, of `length` 0, until every process has as many batches as the others.

    accelerate would repeat rows of the epoch's start instead, which then count twice in the loss.
    """
    missing = -len(dataset) % (args.train_batch_size * args.world_size) if args.world_size > 1 else 0
    if missing == 0:
        return dataset
    unknown = np.full_like(dataset[0]["labels"], -100).tolist()
    filler = dataset.select([0] * missing).map(lambda _: {"labels": unknown, "length": 0}, features=dataset.features)
    return concatenate_datasets([dataset, filler])


class EpochSampler(Sampler):
    """Draw every row once an epoch, in an order that follows from seed and epoch alone.

    Every process draws the same order, and a resumed run draws what the uninterrupted one would have drawn, which does
    not hold for transformers' `LengthGroupedSampler`. Rows of length 0 (`complete_last_batch`) come last.

    Args:
        lengths: tokens of each row.
        strategy: group_by_length (batches of similar length, the longest first), random or sequential.
        rows_a_step: rows of one optimizer step, over all micro-batches and processes.
    """

    def __init__(self, lengths: list[int], strategy: str, rows_a_step: int, seed: int):
        self.lengths = [length for length in lengths if length]
        self.fillers = range(len(self.lengths), len(lengths))
        self.strategy, self.rows_a_step, self.seed, self.epoch = strategy, rows_a_step, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + len(self.fillers)

    def __iter__(self) -> Iterator[int]:
        generator = Generator().manual_seed(self.seed + self.epoch)
        if self.strategy == "group_by_length":
            order = get_length_grouped_indices(self.lengths, self.rows_a_step, generator=generator)
        elif self.strategy == "random":
            order = randperm(len(self.lengths), generator=generator).tolist()
        else:
            order = range(len(self.lengths))
        return iter([*order, *self.fillers])


def train_sampler(dataset: Dataset, args: TrainingArguments) -> EpochSampler:
    """Return the sampler that `args.train_sampling_strategy` names; `dataset` has a column `length`."""
    rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    seed = args.seed if args.data_seed is None else args.data_seed
    return EpochSampler(dataset["length"], args.train_sampling_strategy, rows_a_step, seed)
