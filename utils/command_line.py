"""The parser: a command line, or a YAML/JSON file plus overrides; what is wrong with an option is said in one line."""

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
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from utils.arguments import RunError, Stopped, UserError

TUNED = ("per_label", "single")

# Options of HF's older examples, of transformers 4 and of habit, and what to write here.
RENAMED_OPTIONS = {
    "evaluation_strategy": "write --eval_strategy",
    "warmup_ratio": "write --warmup_steps; a value below 1 is a share of all steps",
    "group_by_length": "write --train_sampling_strategy group_by_length (the default here)",
    "no_cuda": "write --use_cpu",
    "use_mps_device": "leave it out, Apple's GPU is found",
    "logging_dir": "leave it out, set the variable TENSORBOARD_LOGGING_DIR",
    "save_safetensors": "leave it out, weights are always saved so",
    "fp16_opt_level": "leave it out, write --fp16 or --bf16",
    "half_precision_backend": "leave it out, write --fp16 or --bf16",
    "use_fast_tokenizer": "leave it out, fast tokenizers are the rule",
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
}


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Show each default, and the script's docstring with its line breaks."""


class ArgumentParser(HfArgumentParser):
    """`HfArgumentParser` that raises one line instead of printing the usage of 150 options."""

    def add_argument(self, *names, **options):
        if names[0] == "--resume_from_checkpoint":
            options |= {"nargs": "?", "const": "True"}
        if names[0].startswith("--no_") and options.get("action") == "store_false":
            options["help"] = f"Turn off --{names[0].removeprefix('--no_')}."
        if options.get("type") is string_to_bool and "nargs" not in options:
            options |= {"nargs": "?", "const": True}  # a flag that is unset by default: --fp16 alone means True
        return super().add_argument(*names, **options)

    def error(self, message):
        raise UserError(f"{message} (see --help)")


_checked: list[tuple] = []  # the arguments of the command line, once `check_command_line` has read them


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Make of a user's mistake one line on stderr and exit status 2, without traceback; of what ends a run, status 1.

    Of several processes the first that fails says why, and the others, who only miss it, nothing.
    """
    try:
        yield
    except Stopped as stop:
        if connected():  # all stop after the same step
            sys.modules["torch.distributed"].barrier()
        _end(str(stop), stop.status, together=True)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except (UserError, ImportError, ConnectionError) as error:  # an option may need a package that is missing, or the Hub
        _end(f"error: {error}", 2)
    except RunError as error:
        _end(f"error: {error}", 1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            _end(f"error: cannot write {error.filename or 'a file'}: {error.strerror}", 1)
        if "No space left on device" in str(error):  # of a library that writes by itself
            _end(f"error: the disk is full: {error}", 1)
        if not connected():
            raise
        if not re.search("Connection (closed|reset) by peer", str(error)):
            _end(None, 1)
        time.sleep(2)  # torchrun takes the first that it sees end for the cause
        _end("error: another process of this run has ended: it was killed, or its machine is lost", 1)


def _end(told: str | None, status: int, together: bool = False) -> None:
    """End the program, with one line on stderr; with the traceback where that is asked for, or `told` is None.

    Of several processes the first to fail tells; the others leave it some time to end first, unless all end `together`.
    """
    if _first_to_fail():
        if told is None or "--log_level debug" in " ".join(sys.argv).replace("=", " "):
            traceback.print_exc()
        if told is not None:
            told = " ".join(told.split())
            print(told, file=sys.stderr, flush=True)
        if "TORCHELASTIC_ERROR_FILE" in os.environ:  # torchrun repeats at its end what it finds there
            reason = {"py_callstack": told or traceback.format_exc(), "timestamp": str(int(time.time()))}
            report = {"message": {"message": told or "", "extraInfo": reason}}
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
    """End one of several processes; the ordinary way aborts now and then in gloo's destructors (pytorch issue 190489)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def connected() -> bool:
    """Return whether this process is connected with others."""
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed) and distributed.is_available() and distributed.is_initialized()


def _first_to_fail() -> bool:
    """Return whether no other process has failed before this one, as far as one can know."""
    if not connected():
        return int(os.environ.get("LOCAL_RANK", 0)) == 0  # all read the same options
    try:
        return sys.modules["torch.distributed"].distributed_c10d._get_default_store().add("failed", 1) == 1
    except RuntimeError:  # the process that keeps the store has ended
        return False


def check_command_line(dataclass_types, description: str, sample: Path) -> None:
    """Answer --help and mistakes in the options; what was read is what `parse_arguments` returns next."""
    gc.freeze()  # else Python looks through all that was imported for garbage once more when it ends, which takes half a second
    with one_line_errors():
        _checked.append(parse_arguments(dataclass_types, None, description, sample))
    signal.signal(signal.SIGINT, _interrupted)  # until `run`, which ends interruptions by itself
    gc.disable()  # in the imports that follow it finds nothing, and takes a fifth of their time; `run` enables it


def parse_arguments(
    dataclass_types, argv: list[str] | None, description: str, sample: Path, values: dict[str, Any] | None = None
) -> tuple:
    """Return one instance of each dataclass, then the dict of every option's value, ready for `args.yaml`.

    Args:
        dataclass_types: the dataclasses, in the order of the returned instances.
        argv: the command line without the program's name; `None` reads `sys.argv`. A first argument that ends in
            .yaml, .yml or .json is read as a file of options; the rest overrides it.
        description: the script's docstring, for `--help`.
        sample: the options of the embedded sample, used where there are no arguments at all.
        values: values that take the place of those given, None for an option that is to be unset.

    Raises:
        UserError: an unknown, renamed or ill-typed option, or a file of options that cannot be read.
    """
    if _checked and argv is None and values is None:
        return _checked.pop()
    argv = sys.argv[1:] if argv is None else [str(argument) for argument in argv]
    if not argv:
        if not sample.is_file():
            raise UserError(f"nothing to do: the sample {sample.name} is not here; give --train_file, or --smoke_test")
        argv = [str(sample)]
    parser = ArgumentParser(
        dataclass_types,
        description=description,
        usage="%(prog)s [options.yaml] [--option value ...]",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    known = {field.name for dataclass_type in dataclass_types for field in fields(dataclass_type) if field.init}
    if argv[0].endswith((".yaml", ".yml", ".json")) and not argv[0].startswith("-"):
        several = {action.dest for action in parser._actions if action.nargs in ("+", "*")}
        argv = _read_options(argv[0], known, several) + argv[1:]
    values = values or {}
    argv = [*argv, *(f"--{name}={value}" for name, value in values.items() if value is not None)]
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UserError(unknown_option(unknown[0], known))
    options = vars(namespace) | {name: None for name, value in values.items() if value is None}
    try:
        instances = parser.parse_dict(options, allow_extra_keys=True)
    except (ValueError, ImportError) as error:  # TrainingArguments checks its own combinations
        raise UserError(" ".join(str(error).split())) from error
    return *instances, {name: value for name, value in options.items() if name != "token" and not name.endswith("_token")}


def _read_options(path: str, known: set[str], several: set[str]) -> list[str]:
    """Return the options of a YAML or JSON file as a command line; a list is joined by commas if its option takes one value."""
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
        if isinstance(value, list) and value and name in several:
            arguments += [f"--{name}", *map(str, value)]
        elif isinstance(value, list) and value:
            arguments.append(f"--{name}={','.join(map(str, value))}")
        elif isinstance(value, dict):
            arguments.append(f"--{name}={json.dumps(value)}")
        elif value is not None and value != []:
            arguments.append(f"--{name}={value}")
    return arguments


def unknown_option(option: str, known: set[str]) -> str:
    """Return a message for an option that does not exist: its new name, or the nearest one."""
    name = option.split("=")[0].lstrip("-").replace("-", "_")
    if not option.startswith("-"):
        if option.endswith((".yaml", ".yml", ".json")):
            return f"unexpected argument {option!r}: a file of options comes first, before all others"
        return f"unexpected argument {option!r}: every value follows an option, such as --train_file {option}"
    if name in RENAMED_OPTIONS:
        return f"--{name} is not an option: {RENAMED_OPTIONS[name]}"
    nearest = difflib.get_close_matches(name, {*known, *(f"no_{name}" for name in known)} if name[:3] == "no_" else known, n=1)
    return f"unknown option --{name}" + (f": did you mean --{nearest[0]}?" if nearest else " (see --help)")


def parse_threshold(text: str, modes: tuple[str, ...] = TUNED) -> float | None:
    """Return a fixed threshold as a number; None for one of the `modes` that tune.

    Raises:
        UserError: neither a mode nor a number above 0 and below 1.
    """
    if text in modes:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UserError(f"--threshold {text}: expected {', '.join(modes)}, or a number above 0 and below 1 such as 0.5")
    return value


def parse_weights(text: str, option: str) -> str | list[float]:
    """Return none, balanced or sqrt as it is, anything else as a list of numbers above 0."""
    if text in ("none", "balanced", "sqrt"):
        return text
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if not weights or not all(0 < weight < float("inf") for weight in weights):
        raise UserError(f"{option} {text}: expected none, balanced, sqrt, or numbers above 0 joined by commas")
    return weights
