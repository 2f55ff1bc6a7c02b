"""Read data files. Text stays exactly as written, and every row remembers where it came from."""

import glob
import gzip
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets

from utils.arguments import UserError
from utils.files.delimited import read_delimited
from utils.files.records import read_json, read_json_lines
from utils.files.rows import columns, one_line, with_places

EXAMPLE_FILE = "example_rows.jsonl"  # where a smoke test without data keeps the script's example rows
FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
# The first bytes of files that are not text, and what to do about such a file.
BINARY = {
    b"\x1f\x8b": "is compressed with gzip: give it the ending .gz",
    b"PK\x03\x04": "is a zip archive or an Excel workbook: unpack it, or save it as .csv",
    b"PAR1": "is a Parquet file: give it the ending .parquet",
}


def matching(pattern: str) -> list[str]:
    """Return the files meant by a name, a comma-separated list or a glob. A glob that matches nothing is a `UserError`."""
    paths = []
    for part in (part.strip() for part in pattern.split(",")):
        matches = sorted(glob.glob(part)) if glob.has_magic(part) and not Path(part).exists() else [part]
        if not matches:
            raise UserError(f"no file matches {part}")
        paths += matches
    return paths


def read_files(pattern: str) -> Dataset:
    """Read one file, a comma-separated list or a glob into one dataset.

    Raises:
        UserError: no file matches, one cannot be read, or their columns differ.
    """
    paths = matching(pattern)
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
        raise UserError(f"the files of {pattern} do not fit together: {one_line(error)}") from error


def _read_file(path: str) -> Dataset:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path} is a folder: name a file in it, or several with a pattern such as {file / '*.csv'}")
    packed = file.suffix.lower() == ".gz"
    suffix = Path(file.stem if packed else file).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path}: unknown format {suffix or 'without an ending'}; expected {' '.join(FORMATS)}, or .gz of one")
    try:
        content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist (looked in {Path.cwd()})") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or damaged ({error}): download or compress it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.removeprefix(b"\xef\xbb\xbf").strip():
        raise UserError(f"{path} is empty: expected rows with a text and its labels")
    if suffix == ".parquet":
        dataset = _read_parquet(path, content)
    else:
        read = {".json": read_json, ".jsonl": read_json_lines}.get(suffix, read_delimited)
        dataset = read(path, _decode(path, content))
    if len(dataset) == 0:
        raise UserError(f"{path} has a header but no rows")
    return dataset


def _decode(path: str, content: bytes) -> str:
    for start, problem in BINARY.items():
        if content.startswith(start):
            raise UserError(f"{path} {problem}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        raise UserError(
            f"{path}, line {line}: byte {content[error.start]:#x} is not UTF-8; "
            f"convert the file, for example with: iconv -f {encoding} -t utf-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"{path}, line {line}: found a NUL byte; either the file is damaged, or it is UTF-16 and must be converted to UTF-8"
        )
    return text


def _read_parquet(path: str, content: bytes) -> Dataset:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a Parquet file: {one_line(error)}") from error
    for position, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type) or pa.types.is_string_view(field.type):
            try:
                table = table.set_column(position, field.name, table[field.name].cast(pa.string()))  # many tools write text so
            except pa.ArrowInvalid as error:
                raise UserError(f"{path}, column {field.name!r}: the bytes are not UTF-8 text: {error}") from error
    try:
        return with_places(Dataset(table), f"{path}, row")
    except ValueError as error:
        raise UserError(f"{path}: a column has a type that cannot be read: {one_line(error)}") from error
