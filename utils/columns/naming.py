"""Columns that are named: by the user, or by what they hold. Where several may be meant, the user is asked."""

import difflib
import logging
import shlex
from collections import Counter

from datasets import Dataset

from utils.arguments import DataArguments, UserError
from utils.columns.profile import Profile, describe_columns, same_name
from utils.files.rows import columns, file_of

logger = logging.getLogger(__name__)


def require_columns(dataset: Dataset, names: list[str], advice: str) -> None:
    """Raise a `UserError` that lists the columns of `dataset` if one of `names` is missing; `advice` is an option to see."""
    for name in names:
        if name not in columns(dataset):
            near = difflib.get_close_matches(name, columns(dataset), n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                f"{file_of(dataset)} has no column {name!r}{meant}; its columns: {', '.join(columns(dataset))}; see {advice}"
            )


def named_columns(dataset: Dataset, option: str | None) -> list[str]:
    """Return the columns that the value of an option names, joined by commas; a name may differ in case and punctuation."""
    wanted = [name.strip() for name in option.split(",")] if option else []
    if option and option.strip() in columns(dataset):  # a name with a comma in it
        return [option.strip()]
    return [same_name([name], columns(dataset)) or name for name in wanted]


def ask(dataset: Dataset, what: str, candidates: list[Profile], answers: list[str]) -> UserError:
    """Return the question which of the `candidates` is `what`, with the options to copy as `answers`."""
    shown = "; ".join(map(str, candidates[:8])) + (f" … ({len(candidates)} in all)" if len(candidates) > 8 else "")
    return UserError(f"{file_of(dataset)}: {what} may be in more than one way: {shown}. Say how: {', or '.join(answers)}")


def quoted(names: list[str]) -> str:
    """Return names joined by commas, as one argument of a command line."""
    return shlex.quote(",".join(names))


def find_ids(splits: dict[str, Dataset], args: DataArguments) -> tuple[str, list]:
    """Return the name and the values of what identifies the test rows: a column that is named so, or row numbers.

    Without test rows it is the name of that column in the others, and no values.
    """
    test = splits.get("test", splits.get("validation", splits.get("train")))
    if args.id_column_name and "test" not in splits:
        return args.id_column_name, []
    if args.id_column_name:
        names = named_columns(test, args.id_column_name)
        require_columns(test, names, "--id_column_name")
    else:
        found = [profile for profile in describe_columns(test) if profile.key == "id" or (profile.kind == "id" and profile.words)]
        names = [profile.name for profile in found if profile.key == "id"] or [profile.name for profile in found]
        if len(names) > 1:
            logger.info("ids: %s; rows are numbered instead (--id_column_name to choose)", ", ".join(names))
        if len(names) == 1:
            logger.info("id column: %s (found; --id_column_name to change)", names[0])
    if "test" not in splits:
        return names[0] if len(names) == 1 else "row", []
    if len(names) != 1:
        return "row", list(range(len(test)))
    ids = test[names[0]][:]
    value, count = Counter(ids).most_common(1)[0]
    if count > 1:
        logger.warning("ids: %r stands in %d rows of %s, and in as many predictions", value, count, file_of(test))
    return names[0], ids
