"""The study of a hyperparameter search: kept in memory, a database or a journal file; shared by processes; continued."""

import atexit
import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock

from utils.arguments import HARMLESS, SearchArguments, UserError
from utils.search.space import Parameter, all_combinations

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

STUDY = "search"
DEAD_AFTER = 600  # seconds without a sign of life from another machine


@dataclass
class SharedStudy:
    """A study, where it is kept, and the lock under which a process counts trials and begins one."""

    study: "Study"
    storage: "BaseStorage"
    lock: FileLock

    def trials(self) -> list["FrozenTrial"]:
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list["FrozenTrial"]:
        """Return the trials that count: completed, pruned or failed. One that was interrupted (it has no error) does not."""
        return [trial for trial in self.trials() if trial.state.is_finished() and not was_interrupted(trial)]

    def running(self) -> list["FrozenTrial"]:
        """Return the trials that a process is training now; a process that was killed leaves one that nobody trains."""
        return [t for t in self.trials() if t.state.name == "RUNNING" and is_alive(t.user_attrs)]

    def enqueue(self, values: dict[str, Any]) -> None:
        """Have a trial run with these values next, unless there is one already that was not interrupted."""
        there = [t.params or t.system_attrs.get("fixed_params") for t in self.trials() if not was_interrupted(t)]
        if values not in there:
            self.study.enqueue_trial(values)

    def mark_interrupted(self) -> None:
        from optuna.trial import TrialState

        for trial in self.trials():
            if trial.state == TrialState.RUNNING and not is_alive(trial.user_attrs):
                self.study.tell(trial.number, state=TrialState.FAIL)

    def best(self) -> list["FrozenTrial"]:
        """Return the completed trials, the best first; among equal ones that with the lower validation loss, then the earlier."""
        sign = -1 if self.study.direction.name == "MAXIMIZE" else 1
        completed = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        return sorted(completed, key=lambda trial: (sign * trial.value, trial.user_attrs["loss"], trial.number))

    def claim_final_training(self) -> bool:
        """Return whether this process is to train with the best values: the first that asks, unless that one was killed."""
        with self.lock:
            taken = self.study.user_attrs.get("final_training")
            if taken and taken["process"] != this_process() and is_alive(taken):
                return False
            self.study.set_user_attr("final_training", sign_of_life())
            return True


def open_study(
    search_args: SearchArguments,
    space: list[Parameter],
    objective: dict[str, Any],
    options: dict[str, Any],
    settled: dict[str, Any],
) -> SharedStudy:
    """Open the study, or begin it with a trial of the `settled` values, as far as the search space holds them.

    Of a space with no more combinations than trials every one is tried, once.

    Raises:
        UserError: the storage cannot be used, or its study was begun with other options.
    """
    import optuna

    storage_name, trials = search_args.search_storage, search_args.search_trials
    lock = FileLock(_lock_path(storage_name))
    varied = {parameter.name for parameter in space}
    begun_with = {
        name: Path(value).name if isinstance(value, str) and os.sep in value else value  # folders differ between machines
        for name, value in options.items()
        if value is not None and name not in varied and not name.startswith(HARMLESS)
    }
    begun_with["objective"] = objective["name"]
    begun_with["search_space"] = {parameter.name: {parameter.kind: list(parameter.values)} for parameter in space}
    begun_with |= {f"{name}_data": description for name, description in objective["data"].items()}
    with lock:
        storage = _open_storage(storage_name)
        study = optuna.create_study(direction=objective["direction"], study_name=STUDY, storage=storage, load_if_exists=True)
        earlier = study.user_attrs.setdefault("begun_with", begun_with)
        differing = [name for name in sorted(earlier | begun_with) if earlier.get(name) != begun_with.get(name)]
        if differing:
            told = "; ".join(f"{name} was {earlier.get(name)}, is {begun_with.get(name)}" for name in differing)
            raise UserError(
                f"--search_storage {_without_password(storage_name)} holds a search begun with other options or data: {told}; "
                f"take another storage"
            )
        study.set_user_attr("begun_with", begun_with)
        shared = SharedStudy(study, storage, lock)
        shared.mark_interrupted()
        inside = {}
        for parameter in space:
            inside |= parameter.holding(settled.get(parameter.name))
        every = all_combinations(space)
        if every and len(every) <= trials:
            for values in sorted(every, key=lambda values: values | inside != values):
                shared.enqueue(values)
        elif not shared.finished() and not shared.running():
            shared.enqueue(inside)
    return shared


def _open_storage(name: str | None) -> "BaseStorage":
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if name is None:
        return optuna.storages.InMemoryStorage()
    waiting = {"connect_args": {"timeout": 60}} if name.startswith("sqlite") else {}  # for another process's transaction
    try:
        if "://" in name:
            return optuna.storages.RDBStorage(name, engine_kwargs=waiting)
        return optuna.storages.JournalStorage(JournalFileBackend(name))
    except Exception as error:  # of SQLAlchemy, a database driver, alembic, the journal or the file system
        reason = " ".join(str(error).split("\n(Background")[0].split())
        raise UserError(
            f"--search_storage {_without_password(name)} cannot be used: {type(error).__name__}: {reason}; expected "
            f"sqlite:///study.db, the URL of another database, or a journal file such as study.log"
        ) from error


def _without_password(name: str) -> str:
    return re.sub(r"//([^:/@]*):[^@]*@", r"//\1:***@", name)


def _lock_path(storage_name: str | None) -> Path:
    """Return the lock of a storage: beside its file, which several machines may share, or else on this machine.

    Raises:
        UserError: the file is none of a study, or its folder cannot be written to.
    """
    if storage_name is None:
        folder = tempfile.mkdtemp(prefix="search_")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder, "lock")
    is_sqlite = storage_name.startswith("sqlite:///")
    if "://" in storage_name and not is_sqlite:
        return Path(tempfile.gettempdir(), f"search_{hashlib.sha256(storage_name.encode()).hexdigest()[:16]}.lock")
    if not is_sqlite and storage_name.endswith((".db", ".sqlite", ".sqlite3")):
        raise UserError(f"--search_storage {storage_name}: write sqlite:///{storage_name}, or a journal file: study.log")
    file = Path(storage_name.removeprefix("sqlite:///").split("?")[0])
    try:
        if file.exists() and file.stat().st_size:  # nothing is written into a file that is something else
            with file.open("rb") as opened:
                begins = opened.read(16)
            if not begins.startswith(b"SQLite format 3\0" if is_sqlite else b'{"op_code":'):
                kind = "an SQLite database" if is_sqlite else "a journal file"
                raise UserError(f"--search_storage {storage_name}: {file} is not {kind}; name a new file")
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_name(f"{file.name}.lock_of_search")
        lock.touch()  # where it cannot, waiting for the lock would never end
    except OSError as error:
        raise UserError(f"--search_storage {storage_name}: cannot write into {file.parent}: {error.strerror}") from error
    return lock


def this_process() -> list:
    """Return what tells this process from all others: machine, number, and when it began (numbers are used again)."""
    return [socket.gethostname(), os.getpid(), psutil.Process().create_time()]


def sign_of_life() -> dict[str, Any]:
    return {"process": this_process(), "alive": time.time()}


def is_alive(signs: dict[str, Any]) -> bool:
    """Return whether the process that left these `sign_of_life` attributes is still there."""
    if "process" not in signs:
        return False  # killed between asking for a trial and the first sign, both under the lock
    host, number, began = signs["process"]
    if host != socket.gethostname():
        return time.time() - signs["alive"] < DEAD_AFTER
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        return process.create_time() == began and process.status() != psutil.STATUS_ZOMBIE
    return False


def was_interrupted(trial: "FrozenTrial") -> bool:
    return trial.state.name == "FAIL" and "error" not in trial.user_attrs
