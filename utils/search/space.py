"""The search space of a hyperparameter search, and a check that all its combinations can be trained."""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from utils.arguments import DataArguments, SearchArguments, UserError
from utils.command_line import unknown_option
from utils.files.rows import one_line

if TYPE_CHECKING:
    from optuna import Trial

logger = logging.getLogger(__name__)

KINDS = ("log", "linear", "int", "choice")
MOST_COMBINATIONS = 500  # if there are more, every pair of values is checked instead of every combination
EVERY = "every combination: "
# If these varied, trials would be scored on different rows or by different metrics, and could not be compared.
FIXED = {field.name for arguments in (DataArguments, SearchArguments) for field in fields(arguments)}
FIXED -= {"max_seq_length", "long_texts", "pad_to_max_length", "max_train_samples"}
FIXED |= {"do_train", "do_eval", "do_predict", "output_dir", "resume_from_checkpoint", "seed", "metric_for_best_model"}
FIXED |= {"greater_is_better", "task_name", "problem_type", "label_column_name", "label_column_names", "label_delimiter"}
# These change the scale of the loss. If they vary, losses cannot be compared.
LOSS_OPTIONS = {"loss", "class_weights", "pos_weight", "label_smoothing_factor", "binary_form"}


@dataclass(frozen=True)
class Parameter:
    """One option to vary. `values` is [low, high], both included, for log, linear and int, or the list of a choice."""

    name: str
    kind: str
    values: tuple

    def suggest(self, trial: "Trial") -> Any:
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, self.values)
        if self.kind == "int":
            return trial.suggest_int(self.name, *self.values)
        return trial.suggest_float(self.name, *self.values, log=self.kind == "log")

    def listed(self) -> Sequence:
        """Return every value of a choice or of an int range."""
        return range(self.values[0], self.values[1] + 1) if self.kind == "int" else self.values

    def holding(self, value: Any) -> dict[str, Any]:
        """Return {name: value} if this parameter can take `value`, otherwise {}. Choices are compared as text."""
        if self.kind == "choice":
            return next(({self.name: own} for own in self.values if str(own) == str(value)), {})
        return {self.name: value} if self._is_possible(value) and self.values[0] <= value <= self.values[1] else {}

    def reaching(self, value: Any) -> "Parameter":
        """Return this parameter with a range that holds `value` too. A choice, and what no range can hold, leave it as it is."""
        if self.kind == "choice" or not self._is_possible(value) or self.holding(value):
            return self
        value = int(value) if self.kind == "int" else float(value)
        wider = replace(self, values=(min(self.values[0], value), max(self.values[1], value)))
        logger.info("search space: %s from %g to %g, to hold the value of a run without a search", self.name, *wider.values)
        return wider

    def _is_possible(self, value: Any) -> bool:
        """Return whether a range could hold `value`."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return value == int(value) if self.kind == "int" else self.kind == "linear" or value > 0


def read_space(own: dict[str, dict], given: str | None, options: Iterable[str]) -> list[Parameter]:
    """Return what to vary: the space `given` as a file or as text, otherwise the script's `own`.

    Raises a `UserError` if a name is not among `options` or must not vary, or if its values make no sense.
    """
    where, space = ("SEARCH_SPACE", own) if given is None else ("search_space", given)
    if given is not None:
        try:
            is_file = given.endswith((".yaml", ".yml", ".json"))
            space = yaml.safe_load(Path(given).read_text(encoding="utf-8") if is_file else given)  # JSON is YAML
        except OSError as error:
            raise UserError(f"--search_space: cannot read {given}: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"--search_space is not valid YAML or JSON: {one_line(error)}") from error
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
    if kind == "choice":  # YAML reads 1e-3, which has no point, as text
        values = [float(v) if isinstance(v, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", v) else v for v in values]
        if not values or len(set(map(repr, values))) < len(values):
            raise UserError(f"{where}: expected different values")
        if not all(value is None or isinstance(value, (bool, int, float, str)) for value in values):
            raise UserError(f"{where}: expected numbers, texts, true, false or null")
        return Parameter(name, kind, tuple(values))
    try:
        low, high = map(float, values)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise UserError(f"{where}: expected two numbers, the lower one first")
    if kind == "log" and low <= 0:
        raise UserError(f"{where}: expected numbers above 0")
    if kind != "int":
        return Parameter(name, kind, (low, high))
    if not (low.is_integer() and high.is_integer()):
        raise UserError(f"{where}: expected whole numbers")
    return Parameter(name, kind, (int(low), int(high)))


def all_combinations(space: list[Parameter]) -> list[dict[str, Any]]:
    """Return every combination of a space; none if it has log or linear ranges, or more than `MOST_COMBINATIONS`."""
    countable = all(parameter.kind in ("int", "choice") for parameter in space)
    return list(_combine(space)) if countable and _number_of_combinations(space) <= MOST_COMBINATIONS else []


def _number_of_combinations(parameters: list[Parameter]) -> int:
    return math.prod(len(parameter.listed()) for parameter in parameters)


def choice_combinations(space: list[Parameter]) -> list[dict[str, Any]]:
    """Return every combination of choices, with ranges at their low end.

    If there are more than `MOST_COMBINATIONS`, return every pair of values, with the other options at their first value.
    """
    first = {parameter.name: parameter.values[0] for parameter in space}
    choices = [parameter for parameter in space if parameter.kind == "choice"]
    groups = [choices]
    if _number_of_combinations(choices) > MOST_COMBINATIONS:
        groups = list(combinations(choices, 2))
        logger.info("search space: there are too many combinations to check them all, so every pair of values is checked")
    found = [first | values for group in groups for values in _combine(group)]
    return list({repr(values): values for values in found}.values())


def _combine(parameters: Iterable[Parameter]) -> Iterator[dict[str, Any]]:
    names = [parameter.name for parameter in parameters]
    for values in product(*(parameter.listed() for parameter in parameters)):
        yield dict(zip(names, values, strict=True))


def check_combinations(space: list[Parameter], check: Callable[[dict[str, Any]], None]) -> None:
    """Check the combinations of choices and both ends of each range. Raise one `UserError` that names all invalid ones."""

    def error_of(values: dict[str, Any]) -> str | None:
        try:
            check(values)
        except UserError as error:
            return str(error)
        return None

    tried = choice_combinations(space)
    errors = [error_of(values) for values in tried]
    reasons = _blame([parameter for parameter in space if parameter.kind == "choice"], tried, errors)
    valid = next((values for values, error in zip(tried, errors, strict=True) if error is None), None)
    for parameter in space if valid else ():
        if parameter.kind != "choice":
            error = error_of(valid | {parameter.name: parameter.values[1]})
            reasons += [f"{parameter.name}={parameter.values[1]}: {error}"] if error else []
    if len(reasons) == 1 and reasons[0].startswith(EVERY):
        raise UserError(reasons[0].removeprefix(EVERY))  # the data is wrong, or an option that is not varied
    if reasons:
        raise UserError(f"the search space holds combinations that cannot be trained; {' | '.join(reasons)}")


def _blame(choices: list[Parameter], tried: list[dict[str, Any]], errors: list[str | None]) -> list[str]:
    """Return the smallest sets of values that are never valid in `tried`, each with its most frequent error."""
    reasons, unexplained = [], {row for row, error in enumerate(errors) if error}
    for size in range(len(choices) + 1):
        for group in combinations(choices, size):
            for named in _combine(group):
                rows = [row for row, other in enumerate(tried) if named.items() <= other.items()]
                if not rows or not all(errors[row] for row in rows) or not unexplained & set(rows):
                    continue
                error, count = Counter(errors[row] for row in rows).most_common(1)[0]
                if 2 * count > len(rows) and (named or count == len(rows)):
                    unexplained -= set(rows)
                    shown = ", ".join(f"{name}={value}" for name, value in named.items())
                    reasons.append(f"{shown}: {error}" if named else f"{EVERY}{error}")
    return reasons
