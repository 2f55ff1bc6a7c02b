"""Reads the options, from the command line or from a YAML/JSON file that it overrides. Reports an error in one line."""

import contextlib
import difflib
import errno
import gc
import json
import os
import re
import signal
import sys
import time
import traceback
from argparse import SUPPRESS
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from utils.arguments import RunError, Stopped, UserError
from utils.help import default_of, help_text
from utils.texts import settle_options

TUNED = ("per_label", "single")
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR)

# Options that people know from HF's older examples, transformers 4 or elsewhere, and what to write instead.
RENAMED_OPTIONS = {
    "evaluation_strategy": "write --eval_strategy",
    "warmup_ratio": "write --warmup_steps; a value below 1 is a share of all steps",
    "group_by_length": "write --train_sampling_strategy group_by_length (the default here)",
    "no_cuda": "write --use_cpu",
    "use_mps_device": "leave it out, Apple's GPU is found",
    "logging_dir": "leave it out, set the variable TENSORBOARD_LOGGING_DIR",
    "save_safetensors": "leave it out, weights are always saved as safetensors",
    "fp16_opt_level": "leave it out, write --fp16 or --bf16",
    "half_precision_backend": "leave it out, write --fp16 or --bf16",
    "use_fast_tokenizer": "leave it out, fast tokenizers are the default",
    "use_auth_token": "write --token",
    "shuffle_seed": "write --data_seed",
    "batch_size": "write --per_device_train_batch_size",
    "lr": "write --learning_rate",
    "epochs": "write --num_train_epochs",
    "num_epochs": "write --num_train_epochs",
    "max_length": "write --max_seq_length",
    "do_regression": "write --problem_type regression",
    "labels": "write --label_column_name or --label_column_names",
    "remove_columns": "leave it out, only the columns that are named or found are used",
    "train_split_name": "leave it out; splits are found by name, others are dropped with --remove_splits",
    "validation_split_name": "leave it out; splits are found by name, others are dropped with --remove_splits",
    "test_split_name": "leave it out; splits are found by name, others are dropped with --remove_splits",
    "adafactor": "write --optim adafactor",
    "torchdynamo": "write --torch_compile",
    "dtype": "leave it out, weights are trained in float32; --bf16 and --fp16 make it faster",
    "torch_dtype": "leave it out, weights are trained in float32; --bf16 and --fp16 make it faster",
    "model_type": "leave it out, no model is trained from nothing here: name one with --model_name_or_path",
    "config_overrides": "leave it out, no model is trained from nothing here: name one with --model_name_or_path",
    "low_cpu_mem_usage": "leave it out, weights are loaded so by default",
    "whole_word_mask": "write --mask_whole_words (the default here)",
}


# Options that name files and folders. `args.yaml` has them in full, so that it runs from another folder.
PATHS = ("train_file", "validation_file", "test_file", "augmented_files", "sample_submission", "label_descriptions")
PATHS += ("pseudo_labels", "output_dir", "cache_dir")
PATHS_OR_NAMES = ("model_name_or_path", "tokenizer_name", "config_name", "dataset_name", "search_space")  # on the Hub, or a text


class ArgumentParser(HfArgumentParser):
    """`HfArgumentParser` that finds only what is given, and raises one line instead of printing the usage of 150 options."""

    def add_argument(self, *names, **options):
        options["default"] = SUPPRESS  # the dataclasses have the defaults
        if names[0] == "--resume_from_checkpoint":
            options |= {"nargs": "?", "const": "True"}
        if names[0] == "--text":  # one for each, so that a text of several words without quotes is no list of texts
            options |= {"action": "append", "nargs": None}
        if options.get("type") is string_to_bool and "nargs" not in options:
            options |= {"nargs": "?", "const": True}  # a flag that is unset by default: --fp16 alone means True
        return super().add_argument(*names, **options)

    def error(self, message):
        message = re.sub(r"^argument (--\w+)\S*: (Truthy value expected: )?", r"\1: ", message)  # it lists all spellings
        raise UserError(f"{message.rstrip('.')} (see --help)")


_checked: list[tuple] = []  # what `check_command_line` has parsed, for `parse_arguments`


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Report a user's mistake in one line on stderr with exit status 2, and what ends a valid run with status 1.

    Of several processes only the first to fail says why. The others fail because they lose it.
    """
    try:
        yield
    except Stopped as stop:
        if connected():  # all processes stop after the same step
            sys.modules["torch.distributed"].barrier()
        _end(str(stop), stop.status, together=True)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except (UserError, ImportError, ConnectionError) as error:  # an option may need a missing package or the Hub
        _end(f"error: {error}", 2)
    except RunError as error:
        _end(f"error: {error}", 1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
            _end(f"error: cannot write {error.filename or 'a file'}: {error.strerror}", 1)
        if "No space left on device" in str(error):  # from a library that writes with its own code
            _end(f"error: the disk is full: {error}", 1)
        if not connected():
            raise
        if not re.search("Connection (closed|reset) by peer", str(error)):
            _end(None, 1)
        time.sleep(2)  # torchrun reports the first process that ends as the cause
        _end("error: another process of this run has ended: it was killed, or its machine was lost", 1)


def _end(message: str | None, status: int, together: bool = False) -> None:
    """End the program with `message` on stderr. Print the traceback too for --log_level debug, or if `message` is None.

    Of several processes only the first to fail prints. The others wait, so that it ends first, unless all end `together`.
    """
    if _first_to_fail():
        if message is None or "--log_level debug" in " ".join(sys.argv).replace("=", " "):
            traceback.print_exc()
        if message is not None:
            message = " ".join(message.split())
            print(message, file=sys.stderr, flush=True)
        if "TORCHELASTIC_ERROR_FILE" in os.environ:  # torchrun prints the content when it ends
            reason = {"py_callstack": message or traceback.format_exc(), "timestamp": str(int(time.time()))}
            report = {"message": {"message": message or "", "extraInfo": reason}}
            Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report), encoding="utf-8")
    elif connected() and not together:
        time.sleep(3)
    if connected():
        leave(status)
    sys.exit(status)


def _interrupted(number: int, frame: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


def leave(status: int) -> None:
    """End one of several processes. An ordinary exit sometimes aborts in gloo's destructors (pytorch issue 190489)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def connected() -> bool:
    """Return whether this process is connected to others."""
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed) and distributed.is_available() and distributed.is_initialized()


def _first_to_fail() -> bool:
    """Return whether no other process has failed before this one, as far as can be known."""
    if not connected():
        return int(os.environ.get("LOCAL_RANK", 0)) == 0  # all find the same mistake in the options
    try:
        return sys.modules["torch.distributed"].distributed_c10d._get_default_store().add("failed", 1) == 1
    except RuntimeError:  # the process that keeps the store has ended
        return False


def check_command_line(dataclass_types, description: str, sample: Path) -> None:
    """Answer --help and report mistakes in the options. The next call of `parse_arguments` returns what was parsed here."""
    gc.freeze()  # otherwise Python takes half a second at exit to search all imported objects for garbage
    with one_line_errors():
        _checked.append(parse_arguments(dataclass_types, None, description, sample))
    signal.signal(signal.SIGINT, _interrupted)  # until `run`, which handles interruptions
    gc.disable()  # `run` enables it: it would find nothing in the imports that follow, and take a fifth of their time


def parse_arguments(
    dataclass_types, argv: list[str] | None, description: str, sample: Path, values: dict[str, Any] | None = None
) -> tuple:
    """Return one instance of each dataclass, then the dict of the options that were given. Answer --help and end.

    Args:
        dataclass_types: the dataclasses, in the order of the returned instances.
        description: the script's docstring, for `--help`.
        argv: the command line without the program's name; `None` reads `sys.argv`. A first argument that ends in
            .yaml, .yml or .json is read as a file of options; the rest overrides it.
        sample: the options of the embedded sample, used where there are no arguments at all.
        values: replace the given values; None unsets an option.

    Raises a `UserError` for an option that is unknown, renamed or of the wrong type, or a file that cannot be read.
    """
    if _checked and argv is None and values is None:
        return _checked.pop()
    says = argv is None and values is None
    argv = sys.argv[1:] if argv is None else [str(argument) for argument in argv]
    asked = next((position for position, argument in enumerate(argv) if argument in ("-h", "--help")), None)
    if asked is not None:
        print(help_text(Path(sys.argv[0]).name, dataclass_types, description, argv[asked + 1 : asked + 2] == ["all"]), end="")
        sys.exit(0)
    if not argv:
        if not sample.is_file():
            raise UserError(f"nothing to do: the sample {sample.name} is missing; give --train_file, or --smoke_test")
        argv = [str(sample)]
    parser = ArgumentParser(dataclass_types, add_help=False, allow_abbrev=False)
    known = {field.name for dataclass_type in dataclass_types for field in fields(dataclass_type) if field.init}
    if argv[0].endswith((".yaml", ".yml", ".json")) and not argv[0].startswith("-"):
        several = {action.dest for action in parser._actions if action.nargs in ("+", "*")}
        argv = _read_options(argv[0], known, several) + argv[1:]
    values = values or {}
    argv = [*argv, *(f"--{name}={value}" for name, value in values.items() if value is not None)]
    namespace, unknown = parser.parse_known_args(argv)
    if unknown and "text" in namespace and not unknown[0].startswith("-"):
        raise UserError(f"unexpected argument {unknown[0]!r}: put a text of several words into quotes, and --text before each")
    if unknown:
        raise UserError(unknown_option(unknown[0], known))
    given = vars(namespace) | {name: None for name, value in values.items() if value is None}
    given = settle_options(given) if given.get("text") else given
    if says:
        _say_what_is_read(given)
    try:
        instances = parser.parse_dict(given, allow_extra_keys=True)
    except (ValueError, ImportError) as error:  # TrainingArguments checks its own combinations
        raise UserError(" ".join(str(error).split())) from error
    return *instances, _without_tokens(given)


def _say_what_is_read(given: dict[str, Any]) -> None:
    """Print the first line of a run. What TrainingArguments and then the script import takes seconds."""
    if os.environ.get("RANK", "0") != "0" or given.get("log_level") in ("warning", "error", "critical"):
        return
    files = [given[name] for name in ("train_file", "validation_file", "test_file") if given.get(name)]
    dataset = given.get("dataset_name") or given.get("task_name")
    example = "the example rows" if given.get("smoke_test") else None
    if files or dataset or example:
        print(f"loading {dataset} …" if dataset else f"reading {(*files, example)[0]} …", file=sys.stderr, flush=True)


def defaults(dataclass_types) -> dict[str, Any]:
    """Return the default of every option."""
    return _without_tokens({field.name: default_of(field) for kind in dataclass_types for field in fields(kind) if field.init})


def _without_tokens(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "token" and not name.endswith("_token")}


def in_full(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with the files and folders that they name, also in lists and as globs, as absolute paths."""

    def full(value: str) -> str:
        parts = [value] if os.path.exists(value) else value.split(",")
        return ",".join(part if "://" in part else os.path.abspath(part.strip()) for part in parts)

    named = {name for name in PATHS if options.get(name)}
    named |= {name for name in PATHS_OR_NAMES if options.get(name) and os.path.exists(options[name])}
    return options | {name: full(options[name]) for name in named}


def _read_options(path: str, known: set[str], several: set[str]) -> list[str]:
    """Return the options of a YAML or JSON file as a command line. A list is joined by commas if its option takes one value."""
    try:
        options = yaml.safe_load(Path(path).read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not valid YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(options, dict):
        raise UserError(f"{path} holds no options: expected lines such as `learning_rate: 3.0e-5`")
    arguments = []
    for name, value in options.items():
        if name not in known:
            raise UserError(f"{path}: {unknown_option(f'--{name}', known)}")
        if value is None or value == []:
            continue
        if isinstance(value, list):
            words = [json.dumps(each) if isinstance(each, dict) else str(each) for each in value]
            if name == "text":
                arguments += [f"--text={word}" for word in words]
            else:
                arguments += [f"--{name}", *words] if name in several else [f"--{name}={','.join(words)}"]
        else:
            arguments.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return arguments


def unknown_option(option: str, known: set[str]) -> str:
    """Return a message that says what to write instead of an option that does not exist."""
    name = option.split("=")[0].lstrip("-").replace("-", "_")
    if not option.startswith("-"):
        if option.endswith((".yaml", ".yml", ".json")):
            return f"unexpected argument {option!r}: a file of options comes first, before all others"
        return f"unexpected argument {option!r}: every value follows an option, such as --train_file {option}"
    if name in RENAMED_OPTIONS:
        return f"--{name} is not an option: {RENAMED_OPTIONS[name]}"
    if name.removeprefix("no_") in known:
        return f"unknown option --{name}: write --{name.removeprefix('no_')} False"
    nearest = difflib.get_close_matches(name, {*known, *(f"no_{name}" for name in known)} if name[:3] == "no_" else known, n=1)
    return f"unknown option --{name}" + (f": did you mean --{nearest[0]}?" if nearest else " (see --help all)")


def parse_threshold(text: str, modes: tuple[str, ...] = TUNED) -> float | None:
    """Return a fixed threshold as a number, or None for one of the `modes` that tune it. Raises `UserError` otherwise."""
    if text in modes:
        return None
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise UserError(f"--threshold {text}: expected {', '.join(modes)}, or a number above 0 and below 1 such as 0.5")


def parse_weights(text: str, option: str) -> str | list[float]:
    """Return none, balanced or sqrt as it is, anything else as a list of numbers above 0. Raises `UserError` otherwise."""
    if text in ("none", "balanced", "sqrt"):
        return text
    with contextlib.suppress(ValueError):
        weights = [float(part) for part in text.split(",")]
        if all(0 < weight < float("inf") for weight in weights):
            return weights
    raise UserError(f"{option} {text}: expected none, balanced, sqrt, or numbers above 0 joined by commas")
