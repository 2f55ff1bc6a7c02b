"""What --text gives: texts to predict and print, or rows as JSON objects for a model that reads more than one text."""

import io
import json
import os
import shlex
import sys
import tempfile
from typing import Any

from utils.arguments import UserError

# What --text does without: other data, and what needs data.
OTHER_DATA = ("train_file", "validation_file", "test_file", "dataset_name", "task_name", "sample_submission")
OTHER_DATA += ("label_descriptions", "do_train", "do_eval", "metrics_on_train", "check_data", "smoke_test", "search_trials")
OTHER_DATA += ("push_to_hub", "export")


def settle_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that follow from --text: nothing is written, and of the log only warnings, unless --log_level is given.

    Raises:
        UserError: --text stands beside other data, without a model, or in one of several processes.
    """
    others = [f"--{name}" for name in OTHER_DATA if given.get(name)]
    if others:
        raise UserError(f"--text is predicted alone: leave out {' and '.join(others)}")
    if not given.get("model_name_or_path"):
        raise UserError("--text needs a trained model: add --model_name_or_path with the --output_dir of a finished run")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--text runs in one process: start the script with python alone")
    quick = {"disable_tqdm": True, "log_level": "warning"}
    if "-" not in given["text"]:
        quick["tune_cpu"] = False  # to find what is fast on this machine takes longer than a few texts
    return quick | given | {"output_dir": tempfile.gettempdir()}  # Trainer would make a folder that is not there


def read_texts(texts: list[str]) -> list[str]:
    """Return the texts, with the lines of standard input in the place of `-`."""
    read = []
    for text in texts:
        read += _lines_of_standard_input() if text == "-" else [text]
    return read


def _lines_of_standard_input() -> list[str]:
    if sys.stdin.isatty():
        print("a text a line; Ctrl-D ends them", file=sys.stderr)
    content = sys.stdin.buffer.read()
    try:
        lines = list(io.StringIO(content.decode("utf-8-sig"), newline=None))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"--text -: line {line} of standard input is not UTF-8: convert it, as with iconv") from None
    if not lines:
        raise UserError("--text -: standard input is empty: expected a text a line")
    return [line.removesuffix("\n") for line in lines]


def rows_of(texts: list[str], model: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that a model reads, by column: each text is one, or a JSON object with all columns.

    Args:
        model: what to call the model in a message.
        settings: the config of the model, with what our scripts have saved in it.

    Raises:
        UserError: a text is not the object that the model needs. Shows one to copy.
    """
    choices = settings.get("choice_format") or {}
    columns = settings.get("text_column_names") or list(filter(None, (choices.get("context"), choices.get("question"))))
    candidates = [] if choices.get("descriptions") else choices.get("choices", [])
    if len(columns) == 1 and not candidates:
        return [{columns[0]: text} for text in texts]
    example: dict[str, Any] = dict.fromkeys([*columns, *candidates], "…")
    if len(candidates) == 1:
        example[candidates[0]] = ["…", "…"]
    rows = []
    for number, text in enumerate(texts, 1):
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        problem = _misfit(row, columns, candidates)
        if problem:
            shown = shlex.quote(json.dumps(example, ensure_ascii=False))
            raise UserError(f"--text, text {number}: {problem}; {model} reads rows such as --text {shown}")
        plain = {name: str(row[name]) for name in columns}
        rows.append(plain | {name: row.get(name) for name in candidates})
    return rows


def _misfit(row: Any, columns: list[str], candidates: list[str]) -> str | None:
    """Return in words why a row is not what the model reads, or None. Of columns of candidates the first two have to be there."""

    def is_text(value: Any) -> bool:
        return isinstance(value, (str, int, float))

    if not isinstance(row, dict):
        return "no JSON object"
    for name in [*columns, *candidates[:2]]:
        if name not in row:
            return f"lacks {name!r}"
        if len(candidates) == 1 and name == candidates[0]:
            if not (isinstance(row[name], list) and len(row[name]) > 1 and all(map(is_text, row[name]))):
                return f"{name!r} is no list of two texts or more"
        elif not is_text(row[name]):
            return f"{name!r} is no text"
    return None
