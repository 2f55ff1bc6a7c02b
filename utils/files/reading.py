"""Read data files. Text stays exactly as written, and every row remembers where it came from."""

import csv
import glob
import logging
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets, load_from_disk

from utils.arguments import DataArguments, UserError, shorten
from utils.files.content import FORMATS, decode, read_content, read_lines, unknown_format
from utils.files.delimited import read_delimited, read_fasttext, tables_of_delimited
from utils.files.records import SPLIT_NAMES, read_json, read_json_lines, tables_of_json_lines
from utils.files.rows import (
    ROWS_AT_ONCE,
    NotPlain,
    align_columns,
    columns,
    keep_on_disk,
    numbered,
    one_line,
    rows_to_dataset,
    to_dataset,
    with_places,
)
from utils.files.tables import read_workbook

logger = logging.getLogger(__name__)

LARGE = 20_000_000  # bytes of files whose rows stay on disk
EXAMPLE_FILE = "example_rows.jsonl"  # where a smoke test without data keeps the script's example rows


def matching(pattern: str) -> list[str]:
    """Return the files meant by a name, a comma-separated list or a glob. A glob that matches nothing is a `UserError`."""
    if os.path.exists(pattern):  # a name may hold a comma
        return [pattern]
    paths = []
    for part in (part.strip() for part in pattern.split(",")):
        matches = sorted(glob.glob(part)) if glob.has_magic(part) and not os.path.exists(part) else [part]
        if not matches:
            raise UserError(f"no file matches {part}")
        paths += matches
    return paths


def read_files(pattern: str, options: DataArguments | None = None) -> Dataset:
    """Read one file, a comma-separated list or a glob into one dataset.

    Args:
        options: those about files: --encoding, --no_header, --column_names, --skip_bad_rows. None: their defaults.

    Raises:
        UserError: no file matches, one cannot be read, their columns differ, or a file holds several splits.
    """
    found = read_splits(pattern, options)
    if isinstance(found, dict):
        raise UserError(f"{pattern} holds the splits {', '.join(found)}: expected one table")
    return found


def read_splits(pattern: str, options: DataArguments | None = None) -> Dataset | dict[str, Dataset]:
    """Read as `read_files` does, but return the splits by name of a file, or a saved dataset, that holds several."""
    paths = matching(pattern)
    options = options or DataArguments()
    large = options.streaming or sum(os.path.getsize(path) for path in paths if os.path.isfile(path)) >= LARGE
    datasets = [_read(path, options, large) for path in paths]
    if len(datasets) == 1:
        return datasets[0]
    for path, dataset in zip(paths, datasets, strict=True):
        if isinstance(dataset, dict):
            raise UserError(f"{path} holds the splits {', '.join(dataset)}: give it alone")
    datasets = align_columns(dict(zip(paths, datasets, strict=True)))
    first = next(iter(datasets.values()))
    for path, dataset in datasets.items():
        if set(dataset.column_names) != set(first.column_names):
            raise UserError(
                f"{path} has the columns {', '.join(columns(dataset))}, but {paths[0]} has "
                f"{', '.join(columns(first))}: files of one split need the same columns"
            )
    try:
        return concatenate_datasets(list(datasets.values()))
    except (ValueError, pa.ArrowInvalid) as error:
        raise UserError(f"the files of {pattern} do not fit together: {one_line(error)}") from error


def _read(path: str, options: DataArguments, large: bool) -> Dataset | dict[str, Dataset]:
    if os.path.isdir(path):
        dataset = _read_folder(path, options)
    else:
        dataset = (_read_large(path, options) if large else None) or _read_file(path, options)
    for split in dataset.values() if isinstance(dataset, dict) else [dataset]:
        if len(split) == 0:
            raise UserError(f"{path} has a header but no rows")
    return dataset


def _read_file(path: str, options: DataArguments) -> Dataset | dict[str, Dataset]:
    path, ending, part, content = read_content(path)
    if ending in (".xlsx", ".xlsm"):
        return read_workbook(path, content, part, options)
    if part is not None and ending != ".json":
        raise UserError(f"{path}: only a part of a .zip, .xlsx or .json can be named, as in archive.zip:train.csv")
    if ending == ".parquet":
        return _read_parquet(path, content)
    known = ending in FORMATS
    try:
        text = decode(path, content, options.encoding)
    except UserError as error:
        raise error if known else unknown_format(path, ending) from error
    if re.match(r"\s*(\S.*[ \t])?__label__\S", text):  # in the first line
        return read_fasttext(path, text)
    is_json = not known and re.match(r"\s*(\[\s*)?\{", text)
    if is_json:
        logger.info("%s: JSON", path)
    if is_json or ending == ".json":
        return read_json(path, text, part, options)
    if ending in (".jsonl", ".ndjson"):
        return read_json_lines(path, text, options)
    return read_delimited(path, text, ending, options)


def _read_large(path: str, options: DataArguments) -> Dataset | None:
    """Return the rows of a plain table, read a part at a time, as a dataset that stays on disk.

    None if the file is something else, or damaged; `_read_file` says of what is.
    """
    ending = Path(path.removesuffix(".gz")).suffix.lower()
    try:
        if options.encoding or options.no_header:
            raise NotPlain("--encoding and --no_header need that")
        if ending in (".jsonl", ".ndjson"):
            return keep_on_disk(tables_of_json_lines(path, read_lines(path)))
        if ending in (".csv", ".tsv"):
            return keep_on_disk(tables_of_delimited(path, read_lines(path), ending, options))
        if path.lower().endswith(".parquet"):
            return keep_on_disk(numbered(_tables_of_parquet(path), f"{path}, row"))
        reason = f"{ending or 'a file without an ending'} is not read a part at a time"
    except (NotPlain, csv.Error, EOFError, zlib.error) as error:
        reason = str(error)
    except UnicodeError:
        reason = "it is not UTF-8 text"
    except OSError as error:
        reason = error.strerror or str(error)
    logger.info("%s is read into memory as a whole: %s", path, reason)
    return None


def _tables_of_parquet(path: str) -> Iterator[pa.Table]:
    """Yield a table of so many rows as are read at once, and then of the next."""
    for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE):
        yield _with_texts(path, pa.Table.from_batches([batch]))


def _read_parquet(path: str, content: bytes) -> Dataset:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a Parquet file: {one_line(error)}") from error
    try:
        return with_places(to_dataset(_with_texts(path, table)), f"{path}, row")
    except ValueError as error:
        raise UserError(f"{path}: a column has a type that cannot be read: {one_line(error)}") from error


def _with_texts(path: str, table: pa.Table) -> pa.Table:
    """Return a table whose columns of bytes are texts, which many tools write so, and whose lists are those of other files.

    Raises a `UserError` for bytes that are no text.
    """
    for position, field in enumerate(table.schema):
        if pa.types.is_large_list(field.type):  # as Polars writes them
            item = pa.string() if pa.types.is_large_string(field.type.value_type) else field.type.value_type
            table = table.set_column(position, field.name, table[field.name].cast(pa.list_(item)))
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type) or pa.types.is_string_view(field.type):
            try:
                table = table.set_column(position, field.name, table[field.name].cast(pa.string()))
            except pa.ArrowInvalid as error:
                raise UserError(f"{path}, column {field.name!r}: the bytes are not UTF-8 text: {error}") from error
    return table


def is_saved_dataset(folder: str) -> bool:
    """Return whether a folder was written by `save_to_disk`."""
    return any(Path(folder, name).is_file() for name in ("state.json", "dataset_dict.json"))


def _read_folder(path: str, options: DataArguments) -> Dataset | dict[str, Dataset]:
    """Read a dataset saved by `save_to_disk`, or a folder with a folder of .txt files for each label, as in aclImdb/train."""
    folder = Path(path)
    if is_saved_dataset(path):
        try:
            return load_from_disk(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(f"cannot load the dataset in {path}: {one_line(error)}") from error
    if options_for_splits := _splits_in(folder):
        raise UserError(f"{path} is a folder of splits: name each, {options_for_splits}")
    texts = {label: sorted(label.glob("*.txt")) for label in _folders_of_texts(folder)}
    if len(texts) < 2:
        raise UserError(f"{path} is a folder: name a file in it, or several with a pattern such as {folder / '*.csv'}")
    rows, places = [], []
    for label, files in texts.items():
        for file in files:
            name = f"{label.name}/{file.name}"
            text = decode(str(file), file.read_bytes(), options.encoding)
            rows.append({"id": name, "text": text.removesuffix("\n"), "label": label.name})
            places.append(f"{path}, {name}")
    labels = shorten([label.name for label in texts])
    logger.info("%s: a folder for each label (%s), %s texts", path, labels, f"{len(rows):,}")
    return rows_to_dataset(rows, places)


def _folders_of_texts(folder: Path) -> list[Path]:
    return [label for label in sorted(folder.iterdir()) if label.is_dir() and next(label.glob("*.txt"), None)]


def is_folder_of_labels(folder: Path) -> bool:
    """Return whether a folder holds a folder of texts for each label, itself or in the folders of its splits."""
    return any(len(_folders_of_texts(each)) > 1 for each in (folder, *(path for path in folder.iterdir() if path.is_dir())))


def _splits_in(folder: Path) -> str:
    """Return the options that name the splits in a folder, such as train/ and test/, or train.csv and test.csv."""
    found = []
    for split in ("train", "validation", "test"):
        candidates = [path for path in sorted(folder.iterdir()) if path.name.split(".")[0].lower() in SPLIT_NAMES[split]]
        if len(candidates) == 1:
            found.append(f"--{split}_file {candidates[0]}")
    return " ".join(found) if len(found) > 1 else ""
