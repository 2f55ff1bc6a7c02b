"""The study of a hyperparameter search, in memory, a database or a journal file. Processes can share and resume it."""

import contextlib
import hashlib
import os
import re
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock

from utils.arguments import HARMLESS, SearchArguments, UserError
from utils.files.rows import one_line
from utils.search.space import Parameter, all_combinations
from utils.training.checkpoints import changes

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

STUDY = "search"
DEAD_AFTER = 600  # seconds without a sign of life after which a process on another machine counts as dead


@dataclass
class SharedStudy:
    """A study, and the lock that a process holds while it counts trials and begins one."""

    study: "Study"
    lock: contextlib.AbstractContextManager

    def trials(self) -> list["FrozenTrial"]:
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list["FrozenTrial"]:
        """Return the trials that count: completed, pruned or failed, but not interrupted."""
        return [trial for trial in self.trials() if _counts(trial)]

    def running(self) -> list["FrozenTrial"]:
        """Return the trials that a live process is training."""
        return [trial for trial in self.trials() if _is_running(trial)]

    def begun(self) -> list["FrozenTrial"]:
        """Return the finished and the running trials, from one reading: between two of them, a running one may end."""
        return [trial for trial in self.trials() if _counts(trial) or _is_running(trial)]

    def mark_interrupted(self) -> None:
        """Fail the trials of killed processes."""
        from optuna.trial import TrialState

        for trial in self.trials():
            if trial.state == TrialState.RUNNING and not is_alive(trial.user_attrs):
                self.study.tell(trial.number, state=TrialState.FAIL)

    def best(self) -> list["FrozenTrial"]:
        """Return the completed trials, best first. Ties go to the lower validation loss, then to the earlier trial."""
        sign = -1 if self.study.direction.name == "MAXIMIZE" else 1
        completed = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        return sorted(completed, key=lambda trial: (sign * trial.value, trial.user_attrs["loss"], trial.number))

    def claim_final_training(self) -> bool:
        """Return whether this process should train with the best values. Only the first to ask does, unless it was killed."""
        with self.lock:
            taken, own = self.study.user_attrs.get("final_training"), sign_of_life()
            if taken and taken["process"] != own["process"] and is_alive(taken):
                return False
            self.study.set_user_attr("final_training", own)
            return True


def open_study(
    search_args: SearchArguments,
    space: list[Parameter],
    objective: dict[str, Any],
    options: dict[str, Any],
    settled: dict[str, Any],
) -> SharedStudy:
    """Open the study. A new one begins with a trial of the `settled` values that lie in the search space.

    If there are no more combinations than trials, each combination is tried once. Raises a `UserError` if the storage cannot be
    used, or if its study was begun with other options.
    """
    import optuna

    name = search_args.search_storage
    lock = FileLock(_lock_path(name)) if name else contextlib.nullcontext()
    begun_with = _describe(space, objective, options)
    with lock:
        study = optuna.create_study(
            direction=objective["direction"], study_name=STUDY, storage=_open_storage(name), load_if_exists=True
        )
        earlier = study.user_attrs.get("begun_with", begun_with)
        changed = "; ".join(changes(earlier, begun_with))
        if changed:
            raise UserError(
                f"--search_storage {_without_password(name)} holds a search begun with other options or data: {changed}; use "
                f"another storage"
            )
        study.set_user_attr("begun_with", begun_with)
        shared = SharedStudy(study, lock)
        shared.mark_interrupted()
        inside = {}
        for parameter in space:
            inside |= parameter.holding(settled.get(parameter.name))
        every = all_combinations(space)
        if every and len(every) <= search_args.search_trials:
            first = sorted(every, key=lambda values: values | inside != values)  # the settled values first
        else:
            first = [] if shared.begun() else [inside]
        there = [trial for trial in shared.trials() if not was_interrupted(trial)]
        tried = [trial.params or trial.system_attrs.get("fixed_params") for trial in there]
        for values in first:
            if values not in tried:
                study.enqueue_trial(values)
    return shared


def _describe(space: list[Parameter], objective: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return what must stay the same when a search is resumed: options that are not varied, objective, space and data."""
    varied = {parameter.name for parameter in space}
    begun_with = {
        name: Path(value).name if isinstance(value, str) and os.sep in value else value  # folders differ between machines
        for name, value in options.items()
        if value is not None and name not in varied and not name.startswith(HARMLESS)
    }
    begun_with["objective"] = objective["name"]
    begun_with["search_space"] = {parameter.name: {parameter.kind: list(parameter.values)} for parameter in space}
    return begun_with | {f"{name}_data": description for name, description in objective["data"].items()}


def _open_storage(name: str | None) -> "BaseStorage":
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if name is None:
        return optuna.storages.InMemoryStorage()
    try:
        if "://" in name:  # SQLite waits 60 seconds while another process writes
            options = {"connect_args": {"timeout": 60}} if name.startswith("sqlite") else {}
            return optuna.storages.RDBStorage(name, engine_kwargs=options)
        return optuna.storages.JournalStorage(JournalFileBackend(name))
    except Exception as error:  # of SQLAlchemy, a database driver, alembic, the journal or the file system
        reason = one_line(error).split(" (Background")[0]
        raise UserError(
            f"--search_storage {_without_password(name)} cannot be used: {type(error).__name__}: {reason}; expected "
            f"sqlite:///study.db, the URL of another database, or a journal file such as study.log"
        ) from error


def _without_password(name: str) -> str:
    return re.sub(r"//([^:/@]*):[^@]*@", r"//\1:***@", name)


def _lock_path(storage_name: str) -> Path:
    """Return the lock file of a storage: beside its file, which machines may share, otherwise in this machine's temp folder.

    Raises a `UserError` if the file holds something other than a study, or its folder is not writable.
    """
    is_sqlite = storage_name.startswith("sqlite:///")
    if "://" in storage_name and not is_sqlite:
        return Path(tempfile.gettempdir(), f"search_{hashlib.sha256(storage_name.encode()).hexdigest()[:16]}.lock")
    if not is_sqlite and storage_name.endswith((".db", ".sqlite", ".sqlite3")):
        raise UserError(f"--search_storage {storage_name}: write sqlite:///{storage_name}, or a journal file: study.log")
    file = Path(storage_name.removeprefix("sqlite:///").split("?")[0])
    try:
        content = file.read_bytes() if file.exists() else b""
        if content and not content.startswith(b"SQLite format 3\0" if is_sqlite else b'{"op_code":'):
            kind = "an SQLite database" if is_sqlite else "a journal file"
            raise UserError(f"--search_storage {storage_name}: {file} is not {kind}; name a new file")
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_name(f"{file.name}.lock_of_search")
        lock.touch()  # if this fails, waiting for the lock would never end
    except OSError as error:
        raise UserError(f"--search_storage {storage_name}: cannot write into {file.parent}: {error.strerror}") from error
    return lock


def sign_of_life() -> dict[str, Any]:
    """Return what identifies this process, its start time too because ids are reused, and the time now."""
    return {"process": [socket.gethostname(), os.getpid(), psutil.Process().create_time()], "alive": time.time()}


def is_alive(signs: dict[str, Any]) -> bool:
    """Return whether the process that left this `sign_of_life` is still running."""
    if "process" not in signs:  # killed after it began a trial and before its first sign, both under the lock
        return False
    host, number, began = signs["process"]
    if host != socket.gethostname():
        return time.time() - signs["alive"] < DEAD_AFTER
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        return process.create_time() == began and process.status() != psutil.STATUS_ZOMBIE
    return False


def was_interrupted(trial: "FrozenTrial") -> bool:
    """Return whether a trial ended without an error of its own."""
    return trial.state.name == "FAIL" and "error" not in trial.user_attrs


def _counts(trial: "FrozenTrial") -> bool:
    return trial.state.is_finished() and not was_interrupted(trial)


def _is_running(trial: "FrozenTrial") -> bool:
    return trial.state.name == "RUNNING" and is_alive(trial.user_attrs)
