"""The content of a file: found, unpacked and decoded."""

import codecs
import gzip
import io
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from utils.arguments import UserError, shorten

logger = logging.getLogger(__name__)

FORMATS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".xlsm")
# Byte order marks. That of UTF-32 begins like that of UTF-16, so it comes first.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# The first bytes of files that are not text, and what to do about such a file.
BINARY = {
    b"\x1f\x8b": "is compressed with gzip: give it the ending .gz",
    b"PK\x03\x04": "is a zip archive or an Excel workbook: give it the ending .zip or .xlsx",
    b"PAR1": "is a Parquet file: give it the ending .parquet",
    b"\xd0\xcf\x11\xe0": "is a workbook of Excel 97: save it as .xlsx",
}


def split_member(path: str) -> tuple[Path, str | None]:
    """Return a file and the part of it that is named, as in archive.zip:train.csv; None where the file alone is named."""
    if not os.path.exists(path):
        for colon in re.finditer(":", path):
            if os.path.isfile(path[: colon.start()]) and path[colon.end() :]:
                return Path(path[: colon.start()]), path[colon.end() :]
    return Path(path), None


def read_content(path: str) -> tuple[str, str, str | None, bytes]:
    """Return what to call a file in messages, its ending, the part of it that is named, and its unpacked content.

    Raises:
        UserError: the file is missing, empty, unreadable or damaged, or an archive of several tables.
    """
    file, member = split_member(path)
    try:
        content = file.read_bytes()
        if file.suffix.lower() == ".zip":
            name, content = _take_from_archive(file, content, member)
            path, file, member = f"{file}:{name}", PurePosixPath(name), None
        if file.suffix.lower() == ".gz":
            file, content = file.with_suffix(""), gzip.decompress(content)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist (looked in {Path.cwd()})") from None
    except (EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is truncated or damaged ({error}): download or compress it again") from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed in a way that Python cannot undo
        raise UserError(f"cannot unpack {path}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise UserError(f"{path} is empty: expected rows with a text and its labels")
    return path, file.suffix.lower(), member, content


def read_lines(path: str) -> Iterator[str]:
    """Yield the lines of a file in UTF-8, also packed with gzip, with their ends; it is never in memory as a whole.

    Raises:
        UnicodeError: the content is something else. (`decode` tells what.)
    """
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8-sig", newline="\n") as file:
        for line in file:
            if "\0" in line:
                raise UnicodeError("NUL")
            yield line


def _take_from_archive(file: Path, content: bytes, member: str | None) -> tuple[str, bytes]:
    """Return the name and the content of the only table in a zip archive, or of the `member` that is named."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if member is None:
            tables = [name for name in names if _looks_like_table(name)]
            if len(tables) != 1:
                found = f"{len(tables)} tables: {shorten(tables)}" if tables else f"no table: {shorten(names) or 'nothing'}"
                example = f"{file}:{(tables or names or ['train.csv'])[0]}"
                raise UserError(f"{file} holds {found}; expected one; name the one to read, such as {example}")
            member = tables[0]
            logger.info("%s: %s is read", file, member)
        elif member not in names:
            raise UserError(f"{file} holds no {member}; it holds {shorten(names)}")
        return member, archive.read(member)


def _looks_like_table(name: str) -> bool:
    """Return whether a file in an archive may be a table: no hidden file, no leaflet, and of a format that is read."""
    path = PurePosixPath(name)
    if any(part.startswith(("__MACOSX", ".")) for part in path.parts):
        return False
    if re.match(r"read[-_ ]?me|licen[cs]e|copying|notice|citation|changelog", path.name, re.IGNORECASE):
        return False
    suffix = PurePosixPath(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    return suffix.lower() in (*FORMATS, "")


def unknown_format(path: str, ending: str) -> UserError:
    """Return the error for a file that neither its ending nor its content tells the format of."""
    return UserError(
        f"{path}: unknown format {ending or 'without an ending'}; expected {' '.join(FORMATS)}, or .gz or .zip of one"
    )


def decode(path: str, content: bytes, encoding: str | None) -> str:
    """Return a file's content as text: in the `encoding` that is named, or else UTF-8, or what a byte order mark says.

    Raises:
        UserError: the content is no text, or in another encoding; names the line, and the option to read it with.
    """
    for start, problem in BINARY.items():
        if content.startswith(start):
            raise UserError(f"{path} {problem}")
    marked = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    name = marked or encoding or "utf-8"
    try:
        text = content.decode(name)
    except UnicodeError as error:
        raise _not_in_encoding(path, content, name, error) from error
    if marked and marked != "utf-8-sig":
        logger.info("%s: its encoding is %s", path, marked.upper())
    elif encoding and not marked and codecs.lookup(name).name != "utf-8":
        _warn_of_utf8(path, content, name)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        remedy = "the file is damaged"
        for zeros, other in ((content[1::2], "utf-16-le"), (content[::2], "utf-16-be")):
            if zeros.count(0) > len(zeros) / 2:
                remedy = f"it is UTF-16: add --encoding {other}"
        raise UserError(f"{path}, line {line}: found a NUL byte: {remedy}")
    return text


def _not_in_encoding(path: str, content: bytes, name: str, error: UnicodeError) -> UserError:
    if not isinstance(error, UnicodeDecodeError):
        return UserError(f"{path} is not {name}: {error}")
    line = content.count(b"\n", 0, error.start) + 1
    problem = f"{path}, line {line}: byte {content[error.start]:#x} is not {name.upper()}"
    if name != "utf-8":
        return UserError(f"{problem}; name the encoding of the file with --encoding")
    begin = content.rfind(b"\n", 0, error.start) + 1
    around = content[max(begin, error.start - 20) : error.start + 20].splitlines()[0]
    if any(character > "\x7f" and character != "\ufffd" for character in content.decode("utf-8", "replace")):
        return UserError(f"{problem}, but other characters of the file are: correct that line (near {_readable(around)})")
    for other in ("cp1252", "latin-1"):
        text = content.decode(other, "replace")
        if not re.search("[\x80-\x9f\ufffd]", text):
            return UserError(f"{problem}; add --encoding {other}, if this reads right: {around.decode(other)!r}")
    return UserError(
        f"{problem}, nor is the file {other}: name its encoding with --encoding, such as cp1251 (Cyrillic), gb18030, shift_jis"
    )


def _readable(around: bytes) -> str:
    return repr(around.decode("utf-8", "backslashreplace"))


def _warn_of_utf8(path: str, content: bytes, name: str) -> None:
    """Warn of a file that is UTF-8 in truth: almost no text in another encoding is valid UTF-8 by chance."""
    try:
        first = next((character for character in content.decode("utf-8") if character > "\x7f"), None)
    except UnicodeDecodeError:
        return
    if first:
        wrong = first.encode().decode(name, "replace")
        logger.warning("%s is valid UTF-8, but --encoding %s reads its %r as %r", path, name, first, wrong)
