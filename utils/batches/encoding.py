"""From texts to tokens."""

import hashlib
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from datasets.fingerprint import Hasher, generate_random_fingerprint
from datasets.formatting.formatting import LazyBatch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from utils.arguments import DataArguments, UserError
from utils.files.rows import PLACE, cache_folder, cell_parts, columns, file_of
from utils.splits.augmented import WEIGHT

logger = logging.getLogger(__name__)

ROWS_WORTH_KEEPING = 5000
TOKEN_TYPES = {"input_ids": pa.int32(), "attention_mask": pa.int8(), "token_type_ids": pa.int8()}
NO_LIMIT = 10**9  # tokens


def join_texts(texts: Iterable[Any], delimiter: str) -> str:
    """Return the texts of a row as one, with `delimiter` between those that are not empty."""
    return delimiter.join(str(text) for text in texts if text not in (None, ""))


def encode_joined(rows: dict, encode: Callable[[dict], dict], columns: list[str], delimiter: str) -> dict:
    """Return `encode` of rows whose first of `columns` holds the texts of all of them, joined by `delimiter`."""
    joined = [join_texts(texts, delimiter) for texts in zip(*(rows[name] for name in columns), strict=True)]
    return encode({**rows, columns[0]: joined})


def encode_filled(rows: dict, encode: Callable[[dict], dict], token: int) -> dict:
    """Return `encode` of rows, where an empty text, of which some tokenizers make no tokens at all, has one: `token`."""
    encoded = encode(rows)
    encoded["input_ids"] = [tokens or [token] for tokens in encoded["input_ids"]]
    encoded["attention_mask"] = [mask or [1] for mask in encoded["attention_mask"]]
    return encoded


def encode_candidates(
    tokenizer: PreTrainedTokenizerBase, contexts: list[str], candidates: list[list[str]], max_length: int, places: list[str]
) -> dict[str, list]:
    """Return the tokens of each candidate, a list a row, with its context before it; `cut` says where the context was shortened.

    Raises:
        UserError: a candidate leaves its context nothing of `max_length`; names its place.
    """
    counts = [len(row) for row in candidates]
    seconds = [text for row in candidates for text in row]
    firsts = [text for text, count in zip(contexts, counts, strict=True) for _ in range(count)]
    try:
        encoded = tokenizer(firsts, seconds, truncation="only_first", max_length=max_length)
    except Exception as error:  # the tokenizers library has no class of its own for this
        lengths = [len(ids) for ids in tokenizer(seconds, add_special_tokens=False)["input_ids"]]
        longest = int(np.argmax(lengths))
        if lengths[longest] + tokenizer.num_special_tokens_to_add(pair=True) < max_length:
            raise
        place = places[int(np.searchsorted(np.cumsum(counts), longest, side="right"))]
        raise UserError(
            f"{place}: the candidate {seconds[longest][:60]!r} (with its question) has {lengths[longest]} tokens, which leaves "
            f"the context nothing of --max_seq_length {max_length}; candidates are never cut: raise it, or shorten the row"
        ) from error
    bounds = [0, *np.cumsum(counts).tolist()]
    rows = {name: [values[start:end] for start, end in pairwise(bounds)] for name, values in encoded.items()}
    overflow = [bool(text.overflowing) for text in encoded.encodings or []] or [False] * len(seconds)
    return {**rows, "cut": [any(overflow[start:end]) for start, end in pairwise(bounds)]}


def add_length(rows: LazyBatch, encode: Callable[[dict], dict], keep: list[str]) -> dict | pa.Table:
    """Return `encode` of rows, with `length`, the tokens of a row's longest text, and `cut`, whether a text was too long.

    Tokens alone are returned as a table, with the columns to `keep`: `datasets` would look at each token for its type.
    """
    encoded = encode(rows)
    if "length" in encoded:
        return encoded
    longest = [max(map(len, ids)) if isinstance(ids[0], list) else len(ids) for ids in encoded["input_ids"]]
    texts = getattr(encoded, "encodings", None) or []  # a slow tokenizer does not say what it has cut
    cut = encoded["cut"] if "cut" in encoded else [bool(text.overflowing) for text in texts] or [False] * len(longest)
    if not encoded.keys() <= TOKEN_TYPES.keys():
        return {**encoded, "length": longest, "cut": cut}
    nested = any(isinstance(ids[0], list) for ids in encoded["input_ids"] if ids)  # several texts a row
    columns = {name: rows.pa_table.column(name) for name in keep}
    for name, values in encoded.items():
        tokens = pa.list_(TOKEN_TYPES[name])
        columns[name] = pa.array(values, pa.list_(tokens) if nested else tokens)
    return pa.table({**columns, "length": longest, "cut": cut})


def hashable(encode: Any) -> Any:
    """Return what tells one `encode` from another, with a hash for each tokenizer, whose vocabulary is slow to pickle."""
    if isinstance(encode, partial):
        return [*map(hashable, (encode.func, *encode.args))], {name: hashable(value) for name, value in encode.keywords.items()}
    if not isinstance(encode, PreTrainedTokenizerFast):
        return encode
    encode.backend_tokenizer.no_truncation()  # what it did last
    encode.backend_tokenizer.no_padding()
    content = hashlib.sha256(encode.backend_tokenizer.to_str().encode()).hexdigest()
    return content, {name: value for name, value in vars(encode).items() if name not in ("_tokenizer", "_vocab")}


def encode_split(
    name: str, split: Dataset, encode: Callable[[dict], dict], args: DataArguments, keep: tuple[str, ...] = ()
) -> Dataset:
    """Return the tokens of a split, a batch of rows at a time, with `length` and `cut`; labels and the columns to `keep` stay.

    The tokens of many rows go into the cache of datasets. The next run with the same rows, `encode` and tokenizer reads them
    there.

    Raises:
        UserError: `encode` reads a column that is not there.
    """
    kept = [column for column in split.column_names if column in ("labels", PLACE, WEIGHT, *keep)]
    file, fingerprint = None, generate_random_fingerprint()  # hashing a tokenizer takes longer than encoding a few rows
    if len(split) >= ROWS_WORTH_KEEPING and not args.text:
        fingerprint = Hasher.hash((split._fingerprint, hashable(encode), keep))
        folder = cache_folder("encoded")  # without one nothing is kept
        file = folder and str(folder / f"{fingerprint}.arrow")
    mapped = partial(
        split.map,
        partial(add_length, encode=encode, keep=kept),
        batched=True,
        num_proc=args.preprocessing_num_workers,
        remove_columns=[column for column in split.column_names if column not in kept],
        cache_file_name=file,
        keep_in_memory=file is None,
        new_fingerprint=fingerprint,
        desc=f"Tokenizing {name}",
    )
    try:
        encoded = mapped(load_from_cache_file=not args.overwrite_cache)
    except KeyError as error:
        if error.args[0] in split.column_names:
            raise
        present = ", ".join(columns(split))
        problem = f"has no column {error.args[0]!r}, which `encode` in the script reads; its columns: {present}"
        raise UserError(f"{file_of(split)} {problem}") from error
    except (pa.ArrowException, OSError) as error:
        if file is None or not Path(file).is_file():
            raise
        logger.warning("%s: the cache %s cannot be read (%s): tokenizing again", name, file, " ".join(str(error).split()))
        encoded = mapped(load_from_cache_file=False)
    return encoded


def used_tokens(encoded: Dataset) -> np.ndarray:
    """Return the distinct tokens in the column `input_ids`."""
    used = [np.empty(0, np.int64)]
    for cells in cell_parts(encoded, "input_ids"):
        while not pa.types.is_integer(cells.type):
            cells = pc.list_flatten(cells)
        used.append(pc.unique(cells).to_numpy())
    return np.unique(np.concatenate(used))
