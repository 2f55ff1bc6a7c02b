"""What a hyperparameter search varies, and the check that every combination of it can be trained."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from utils.arguments import DataArguments, SearchArguments, UserError, shorten
from utils.parsing import unknown_option

if TYPE_CHECKING:
    from optuna import Trial

logger = logging.getLogger(__name__)

KINDS = ("log", "linear", "int", "choice")
MOST_COMBINATIONS = 500  # beyond, every pair of values is checked instead of every combination
# A trial with another value of these would be judged on other rows, or by another measure, than the others.
FIXED = {field.name for arguments in (DataArguments, SearchArguments) for field in fields(arguments)}
FIXED -= {"max_seq_length", "pad_to_max_length", "max_train_samples"}
FIXED |= {"do_train", "do_eval", "do_predict", "output_dir", "resume_from_checkpoint", "seed", "metric_for_best_model"}
FIXED |= {"greater_is_better", "task_name", "problem_type", "label_column_name", "label_column_names", "label_delimiter"}
# These change the scale of the loss.
LOSS_OPTIONS = {"loss", "class_weights", "pos_weight", "label_smoothing_factor", "binary_form"}


@dataclass(frozen=True)
class Parameter:
    """One option to vary: `values` are [low, high], both included, of a log, linear or int `kind`, or the list of a choice."""

    name: str
    kind: str
    values: tuple

    def suggest(self, trial: "Trial") -> Any:
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, self.values)
        if self.kind == "int":
            return trial.suggest_int(self.name, *self.values)
        return trial.suggest_float(self.name, *self.values, log=self.kind == "log")

    def __contains__(self, value: Any) -> bool:
        if self.kind == "choice":
            return value in self.values
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.values[0] <= value <= self.values[1] and (self.kind != "int" or value == int(value))


def read_space(own: dict[str, dict], given: str | None, options: Iterable[str]) -> list[Parameter]:
    """Return what to vary: `given`, a file or its text, or else the script's `own`; `options` are the names there are.

    Raises:
        UserError: an option that does not exist or must be the same in all trials, or values that are none.
    """
    where, space = "SEARCH_SPACE", own
    if given is not None:
        where = "search_space"
        try:
            is_file = given.endswith((".yaml", ".yml", ".json"))
            space = yaml.safe_load(Path(given).read_text(encoding="utf-8") if is_file else given)  # JSON is YAML
        except OSError as error:
            raise UserError(f"--search_space: cannot read {given}: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"--search_space is not valid YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(space, dict) or not space:
        raise UserError(f"{where}: found {space!r}, expected lines such as `learning_rate: {{log: [1e-5, 1e-3]}}`")
    return [_read_parameter(str(name), entry, where, set(options)) for name, entry in space.items()]


def _read_parameter(name: str, entry: Any, where: str, options: set[str]) -> Parameter:
    if name not in options:
        raise UserError(f"{where}: {unknown_option(f'--{name}', options)}")
    if name in FIXED:
        raise UserError(f"{where}: {name} must be the same in all trials, or their scores could not be compared")
    kind, values = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (None, None)
    if kind not in KINDS or not isinstance(values, (list, tuple)):
        raise UserError(
            f"{where}: {name}: found {entry!r}, expected one of {{log: [low, high]}}, {{linear: [low, high]}}, "
            f"{{int: [low, high]}}, {{choice: [a, b, …]}}"
        )
    where = f"{where}: {name}: {kind}: {list(values)}"
    if kind == "choice":
        if not values or len(set(map(repr, values))) < len(values):
            raise UserError(f"{where}: expected different values")
        if not all(value is None or isinstance(value, (bool, int, float, str)) for value in values):
            raise UserError(f"{where}: expected numbers, texts, true, false or null")
        return Parameter(name, kind, tuple(values))
    try:
        low, high = map(float, values)  # YAML reads 1e-5, without a point, as text
    except (TypeError, ValueError):
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise UserError(f"{where}: expected two numbers, the lower one first")
    if kind == "log" and low <= 0:
        raise UserError(f"{where}: expected numbers above 0")
    if kind == "int":
        if not (low.is_integer() and high.is_integer()):
            raise UserError(f"{where}: expected whole numbers")
        low, high = int(low), int(high)
    return Parameter(name, kind, (low, high))


def all_combinations(space: list[Parameter]) -> list[dict[str, Any]]:
    """Return every combination of a space without log and linear ranges, none of one with them or with very many."""
    listed = [range(p.values[0], p.values[1] + 1) if p.kind == "int" else p.values for p in space]
    if any(parameter.kind in ("log", "linear") for parameter in space) or math.prod(map(len, listed)) > MOST_COMBINATIONS:
        return []
    return [dict(zip([parameter.name for parameter in space], values, strict=True)) for values in product(*listed)]


def find_combinations(space: list[Parameter]) -> list[dict[str, Any]]:
    """Return what is to be checked: every combination of choices, with all ranges at their low end; each range's high end.

    Of more than `MOST_COMBINATIONS` every pair of values is among them, the other options at their first value.
    """
    first = {parameter.name: parameter.values[0] for parameter in space}
    choices = [parameter for parameter in space if parameter.kind == "choice"]
    if math.prod(len(parameter.values) for parameter in choices) <= MOST_COMBINATIONS:
        groups = [choices]
    else:
        groups = list(combinations(choices, 2))
        logger.info("search space: too many combinations to check them all; every pair of values is checked")
    found = [first | dict(zip([p.name for p in group], values, strict=True))
             for group in groups for values in product(*(p.values for p in group))]  # fmt: skip
    found += [first | {parameter.name: parameter.values[1]} for parameter in space if parameter.kind != "choice"]
    return list({repr(values): values for values in found}.values())


def check_combinations(space: list[Parameter], check: Callable[[dict[str, Any]], None]) -> None:
    """Raise one `UserError` that names every combination of values that `check` raises one for, and why."""
    tried = find_combinations(space)
    failed: dict[str, list[dict[str, Any]]] = {}
    for values in tried:
        try:
            check(values)
        except UserError as error:
            failed.setdefault(str(error), []).append(values)
    if not failed:
        return
    reasons = []
    for message, group in failed.items():
        # An option is to blame only if another value of it, all else equal, is not refused for the same reason.
        to_blame = [
            name
            for name in tried[0]
            if any(
                others[name] != values[name] and others not in group
                for values in group
                for others in tried
                if all(others[other] == values[other] for other in tried[0] if other != name)
            )
        ]
        kept = list({repr(v): v for v in ({name: values[name] for name in to_blame} for values in group)}.values())
        named = [", ".join(f"{name}={value}" for name, value in values.items()) or "all of them" for values in kept]
        reasons.append(f"{shorten(named, 6)}: {message}")
    count = sum(map(len, failed.values()))
    raise UserError(f"{count} of the search space's {len(tried)} combinations cannot be trained. {' | '.join(reasons)}")
