"""Texts longer than the model reads: their beginning and end, or overlapping windows whose logits become those of the row."""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from utils.files.rows import arrow_cells

Way = Literal["cut", "head_tail", "windows"]


def places(length: int, before: int, behind: int, max_length: int, way: Way) -> list[list[int]]:
    """Return which tokens of a text are read together: the positions of one list, or of several windows.

    Every list begins and ends with the special tokens, of which `before` and `behind` the text there are so many. head_tail
    keeps a quarter of the other tokens from the beginning and three from the end, as Sun et al. 2019 do with 128 and 382 of
    510 (https://arxiv.org/abs/1905.05583). Each of the windows overlaps the next by a quarter; the last may by more.
    """
    if length <= max_length:
        return [[*range(length)]]
    room, end = max_length - before - behind, length - behind
    head = -(-room // 4)
    if way == "head_tail":
        return [[*range(before + head), *range(end - room + head, length)]]
    starts = [*range(before, end - room, room - room // 4), end - room]
    return [[*range(before), *range(start, start + room), *range(end, length)] for start in starts]


def encode_long(
    rows: dict, encode: Callable[[dict], dict], tokenizer: PreTrainedTokenizerBase, max_length: int, way: Way
) -> dict[str, list]:
    """Return the tokens of rows as head_tail reads them; or those of their windows, a list of lists a row.

    Args:
        encode: returns the tokens of rows, however many; one text a row.

    Returns:
        Also `cut`, whether tokens were left out, and `length`: how many a row has, all windows together without overlaps.
    """
    encoded, special = encode(rows), tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    before, behind = special.index(0), special[::-1].index(0)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    read = [places(length, before, behind, max_length, way) for length in lengths]
    result = dict(encoded)
    for name in {*tokenizer.model_input_names, "input_ids"} & set(result):
        cells = zip(result[name], read, strict=True)
        result[name] = [[[row[place] for place in window] for window in windows] for row, windows in cells]
        if way == "head_tail":
            result[name] = [windows[0] for windows in result[name]]
    if way == "windows":
        return {**result, "length": lengths, "cut": [False] * len(lengths)}
    return {**result, "length": [min(n, max_length) for n in lengths], "cut": [n > max_length for n in lengths]}


def describe_long(encoded: Dataset, max_length: int, way: Way) -> str | None:
    """Return in words how many of the encoded rows are longer than `max_length` tokens and what is done with them, or None."""
    lengths = np.array(encoded["length"][:])
    long = lengths > max_length if way == "windows" else np.array(encoded["cut"][:])
    if not long.any():
        return None
    share = f"{100 * long.mean():.1f} % of the rows are"
    if way == "head_tail":
        return f"{share} cut to {max_length} tokens of their beginning and end (--long_texts head_tail)"
    if way == "cut":
        return f"{share} cut to {max_length} tokens (--max_seq_length)"
    windows = pc.list_value_length(arrow_cells(encoded, "input_ids")).to_numpy()[long]
    many = f"{windows.mean():.1f} a row on average, {windows.max()} at most"
    return f"{share} read in windows of {max_length} tokens, {many} (--long_texts windows)"


def collate_windows(features: list[dict], pad: DataCollatorWithPadding) -> dict[str, torch.Tensor]:
    """Return the windows of all rows one below the other, [windows, tokens]. All other columns have a line a row.

    `present` [rows, most windows of a row] says how many of them a row has.
    """
    counts = torch.tensor([len(row["input_ids"]) for row in features])
    by_token = [name for name in features[0] if name in (*pad.tokenizer.model_input_names, "input_ids")]
    batch = {"present": torch.arange(int(counts.max())) < counts[:, None]}
    for name in (name for name in features[0] if name not in by_token):
        cells = [row[name] for row in features]
        batch[name] = torch.tensor(np.stack(cells) if isinstance(cells[0], np.ndarray) else cells)
    windows = [{name: row[name][i] for name in by_token} for row in features for i in range(len(row["input_ids"]))]
    return batch | dict(pad(windows))


def window_logits(
    model: PreTrainedModel, inputs: dict[str, torch.Tensor], present: torch.Tensor, by_row: Iterable[str], at_once: int | None
) -> torch.Tensor:
    """Return the logits [windows, labels] of a model for `inputs` as of `collate_windows`.

    A window gets its row's numbers of the columns `by_row`. Where no gradient is needed, the model reads `at_once` windows: a
    row may have any number of them.
    """
    counts = present.sum(dim=1)
    inputs = {name: value.repeat_interleave(counts, dim=0) if name in by_row else value for name, value in inputs.items()}
    windows = len(inputs["input_ids"])
    size = windows if torch.is_grad_enabled() else at_once or windows
    parts = ({name: value[start : start + size] for name, value in inputs.items()} for start in range(0, windows, size))
    return torch.cat([model(**part)["logits"] for part in parts])


def join_windows(logits: torch.Tensor, present: torch.Tensor, kind: Literal["max", "mean"]) -> torch.Tensor:
    """Return the logits [rows, labels] of those of windows [windows, labels], in float32: their maximum or mean in each row."""
    missing = -torch.inf if kind == "max" else 0.0
    by_row = torch.full((*present.shape, logits.shape[-1]), missing, device=logits.device)
    by_row = by_row.masked_scatter(present[..., None], logits.float())
    return by_row.amax(dim=1) if kind == "max" else by_row.sum(dim=1) / present.sum(dim=1, keepdim=True)
