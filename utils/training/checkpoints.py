"""Checkpoints, saved completely or not at all, and the choice of the one to continue from."""

import ast
import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints, sort_checkpoints

from utils.arguments import HARMLESS, RunError, UserError, shorten
from utils.files.loading import describe_data
from utils.files.rows import one_line
from utils.training.cpu import TOKENS_FILE, seen_tokens
from utils.training.task import Task

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"  # in each checkpoint: its run, and the size and hash of each of its files
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# What a run writes into --output_dir besides its checkpoints. args.yaml comes last and marks a finished run.
OUTPUTS = (*WEIGHTS, "args.yaml", "config.json", "training_args.bin", TRAINER_STATE_NAME, "thresholds.json")
OUTPUTS += ("train_results.json", "eval_results.json", "predict_results.json", "all_results.json")
OUTPUTS += ("predictions.csv", "predictions.npy", "submission.csv")
# Options that say which parameters there are and are trained: a checkpoint of other ones cannot be continued.
OF_PARAMETERS = {"pooling", "use_peft", "lora_r", "freeze_embeddings"}


def describe_run(task: Task) -> dict[str, Any]:
    """Return what must be the same in a run and in the run whose checkpoint it continues."""
    groups = (task.args.model, task.args.data, task.args.training)
    settled = {field.name: getattr(group, field.name) for group in groups for field in fields(group) if field.init}
    options = {name: value for name, value in sorted(settled.items()) if not name.startswith(HARMLESS) and name != "token"}
    return {
        "options": json.loads(json.dumps(options, default=str)),
        "data": {name: describe_data(split) for name, split in task.splits.items() if name != "test"},
        "labels": task.labels,
        "processes": task.args.training.world_size,
        "script": describe_script(task.script.read_text(encoding="utf-8")),
    }


def describe_test(task: Task) -> str | None:
    """Return what tells whether the test data of two runs are the same, None without any; before or after it is encoded."""
    rows = task.read.get("test", task.splits.get("test"))
    return None if rows is None else describe_data(rows)


def describe_script(source: str) -> str:
    """Return a hash of a script that ignores comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def changes(before: dict[str, Any], now: dict[str, Any], subject: str = "{}") -> list[str]:
    """Return in words which values have changed."""
    old_and_new = {name: (before.get(name), now.get(name)) for name in sorted(before | now)}
    return [f"{subject.format(name)} was {old}, is {new}" for name, (old, new) in old_and_new.items() if old != new]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words what differs between two descriptions by `describe_run`."""
    found = changes(before["options"], now["options"], "--{}") + changes(before["data"], now["data"], "the {} data")
    if before["labels"] != now["labels"]:
        found.append(f"the labels were {shorten(before['labels'])}, are {shorten(now['labels'])}")
    if before["processes"] != now["processes"]:
        found.append(f"the number of processes was {before['processes']}, is {now['processes']}")
    if before.get("script", now["script"]) != now["script"]:  # earlier versions did not keep it
        found.append("the code of the script has changed")
    return found


def find_damage(checkpoint: Path, also_of_best: bool = True) -> str | None:
    """Return what is missing or damaged in a checkpoint, or in the one that has the best weights so far; None if nothing is."""
    try:
        saved = read_run(checkpoint)
        pieces, best, only_model = saved["pieces"], saved["best"], saved["only_model"]
    except FileNotFoundError:
        return f"{RUN_FILE} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{RUN_FILE} is damaged"
    if only_model:
        return "it holds only the model (--save_only_model)"
    for name, (size, digest) in pieces.items():
        piece = checkpoint / name
        if not piece.is_file():
            return f"{name} is missing"
        if piece.stat().st_size != size:
            return f"{name} has {piece.stat().st_size:,} bytes, expected {size:,}"
        if _digest(piece) != digest:
            return f"the content of {name} has changed since it was saved"
    if also_of_best and best not in (None, checkpoint.name):
        damage = find_damage(checkpoint.parent / best)
        return damage and f"the best weights so far are in {best}, but {damage} (--resume_anyway continues without them)"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settle_checkpoint(task: Task) -> None:
    """Set `resume_from_checkpoint` to the folder that the training continues from, or to None. The main process chooses it.

    Raises a `UserError` if --output_dir holds a finished run, a run that differs from this one, or no sound checkpoint.
    """
    args = task.args.training
    if not task.training:
        return
    chosen: list[str | UserError | None] = [None]
    if args.process_index == 0:
        args.description = describe_run(task)
        try:
            chosen = [_choose(args)]
        except UserError as error:
            chosen = [error]
    if args.world_size > 1:
        torch.distributed.broadcast_object_list(chosen)
    checkpoint = chosen[0]
    if isinstance(checkpoint, UserError):
        raise checkpoint
    if checkpoint and not Path(checkpoint).is_dir():
        raise UserError(f"{checkpoint} is not on this machine: processes of several machines need a common --output_dir")
    args.resume_from_checkpoint = checkpoint


def is_finished(args: TrainingArguments) -> bool:
    """Return whether --output_dir holds a model whose training has ended."""
    folder = Path(args.output_dir)
    holds_model = any((folder / name).is_file() for name in WEIGHTS)
    return holds_model and ((folder / "args.yaml").is_file() or not sort_checkpoints(args.output_dir))


def refuse_finished(args: TrainingArguments) -> None:
    """Raise a `UserError` if --output_dir holds a finished run that may not be replaced."""
    if is_finished(args) and not args.overwrite_output_dir:
        held = "a finished run" if Path(args.output_dir, "args.yaml").is_file() else "a model"
        ways = ["name another folder", "replace it with --overwrite_output_dir"]
        if sort_checkpoints(args.output_dir):
            ways.append("continue from its end with --resume_from_checkpoint True")
        raise UserError(f"--output_dir {args.output_dir} holds {held}: {', '.join(ways[:-1])}, or {ways[-1]}")


def _choose(args: TrainingArguments) -> str | None:
    folder, wanted = Path(args.output_dir), args.resume_from_checkpoint
    newest_first = [Path(path) for path in reversed(sort_checkpoints(args.output_dir))]
    if isinstance(wanted, str):
        damage = find_damage(Path(wanted), also_of_best=not args.resume_anyway)
        if damage:
            raise UserError(f"--resume_from_checkpoint {wanted}: {damage}; take another checkpoint")
        return _compare(Path(wanted), args)
    if is_finished(args) and wanted is not True:
        refuse_finished(args)
        return None
    if wanted is False or (not newest_first and not wanted):
        return None
    skipped = []
    for checkpoint in newest_first:
        damage = find_damage(checkpoint, also_of_best=not args.resume_anyway)
        if damage is None:
            return _compare(checkpoint, args)
        skipped.append(f"{checkpoint.name}: {damage}")
        args.damaged.append(str(checkpoint))
        logger.warning("skipped %s", skipped[-1])
    if args.overwrite_output_dir and not wanted:
        return None
    if not skipped:
        kept = "; a finished run has none without --keep_checkpoints" if is_finished(args) else ""
        raise UserError(f"--resume_from_checkpoint: there is no checkpoint in {folder}{kept}")
    raise UserError(
        f"{folder} holds an unfinished run without a sound checkpoint ({'; '.join(skipped)}): add --overwrite_output_dir to "
        f"replace it and start over"
    )


def _compare(checkpoint: Path, args: TrainingArguments) -> str | None:
    """Return the checkpoint if it belongs to the run of `args`; None if this run replaces that one."""
    before, now = read_run(checkpoint)["run"], args.description
    changed = "; ".join(differences(before, now))
    if changed and not args.resume_anyway:
        if args.overwrite_output_dir and not args.resume_from_checkpoint:
            logger.info("replacing %s, which belongs to a run with other options or data: %s", checkpoint, changed)
            return None
        earlier, options = before["options"], now["options"]
        possible = all(earlier.get(name, options[name]) == options[name] for name in OF_PARAMETERS & options.keys())
        ways = ["add --resume_anyway to continue it anyway"] if possible else []
        ways += ["add --overwrite_output_dir to replace it and start over", "or name another --output_dir"]
        raise UserError(f"{checkpoint} belongs to a run with other options or data: {changed}; {', '.join(ways)}")
    origin = "" if args.resume_from_checkpoint else ", left by an unfinished run (--resume_from_checkpoint False starts over)"
    logger.info("continuing from %s%s%s", checkpoint, origin, f", although {changed}" if changed else "")
    return str(checkpoint)


def read_run(checkpoint: str | Path) -> dict[str, Any]:
    return json.loads(Path(checkpoint, RUN_FILE).read_text(encoding="utf-8"))


def clear_output_dir(args: TrainingArguments) -> None:
    """Remove what an interrupted save left in --output_dir; unless this run resumes, also what an earlier run left."""
    folder = Path(args.output_dir)
    leftovers = [*folder.glob(".checkpoint-*")]
    if args.resume_from_checkpoint is None:
        leftovers += map(Path, sort_checkpoints(args.output_dir))
        leftovers += [folder / name for name in OUTPUTS] if (folder / "args.yaml").is_file() else []
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_checkpoints(args: TrainingArguments) -> None:
    """Remove the checkpoints of a finished run, once what it has saved is on the disk."""
    folder = Path(args.output_dir)
    for path in (*filter(Path.is_file, folder.iterdir()), folder):
        _force_to_disk(path)
    for checkpoint in sort_checkpoints(args.output_dir):
        shutil.rmtree(checkpoint)


def save_whole(trainer: Trainer, save: Callable[[], None], **more: Any) -> None:
    """Save a checkpoint completely or not at all, even if the process is killed or the disk is full.

    Its files are written into a hidden folder and forced to the disk; then the folder gets its name. `save` is
    `Trainer._save_checkpoint` without arguments, `more` goes into `RUN_FILE`. Raises a `RunError` if the checkpoint cannot be
    written. Earlier ones stay untouched.
    """
    args, state = trainer.args, trainer.state
    checkpoint = Path(args.output_dir, f"checkpoint-{state.global_step}")
    staging = checkpoint.with_name(f".{checkpoint.name}")
    push, args.push_to_hub = args.push_to_hub, False  # not before the checkpoint has its own name
    trainer._get_output_dir = lambda trial=None: str(staging)
    try:
        if trainer.is_world_process_zero():
            shutil.rmtree(staging, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()
        save()
        if state.best_global_step:  # transformers has recorded the hidden folder
            best = checkpoint.with_name(f"checkpoint-{state.best_global_step}")
            state.best_model_checkpoint = str(best) if best == checkpoint or best.is_dir() else None
        trainer.accelerator.wait_for_everyone()  # until the others have written their files
        if trainer.is_world_process_zero():
            _complete(staging / checkpoint.name, trainer, more)
            _put_in_place(staging / checkpoint.name, checkpoint)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise RunError(_not_saved(checkpoint, error)) from error
    finally:
        del trainer._get_output_dir
        args.push_to_hub = push
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(staging, ignore_errors=True)
    if trainer.is_world_process_zero():
        for damaged in set(args.damaged) - {str(checkpoint)}:  # this one is sound
            shutil.rmtree(damaged, ignore_errors=True)
        args.damaged = []
        rotate_checkpoints(args.output_dir, args.save_total_limit, state.best_model_checkpoint, use_mtime=True)
        if push:
            trainer._push_from_checkpoint(str(checkpoint))


def _complete(folder: Path, trainer: Trainer, more: dict[str, Any]) -> None:
    """Write what transformers leaves out of a checkpoint, and force everything to the disk."""
    trainer.state.save_to_json(str(folder / TRAINER_STATE_NAME))
    tokens = seen_tokens(trainer.model)
    if tokens is not None:
        np.save(folder / TOKENS_FILE, tokens)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    best = trainer.state.best_model_checkpoint
    content = {
        "run": trainer.args.description,
        "best": best and Path(best).name,
        "only_model": trainer.args.save_only_model,
        "pieces": {str(path.relative_to(folder)): [path.stat().st_size, _digest(path)] for path in files},
        **more,
    }
    (folder / RUN_FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in (*files, folder / RUN_FILE, folder):
        _force_to_disk(path)


def _put_in_place(folder: Path, place: Path) -> None:
    """Rename a complete `folder` to `place`, where a damaged one may be."""
    old = place.with_name(f".{place.name}.old")
    if place.exists():
        place.rename(old)
    folder.rename(place)
    _force_to_disk(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def _force_to_disk(path: Path) -> None:
    unable = contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext()  # not all file systems can sync a folder
    opened = os.open(path, os.O_RDONLY)
    try:
        with unable:
            os.fsync(opened)
    finally:
        os.close(opened)


def _not_saved(checkpoint: Path, error: Exception) -> str:
    """Return a message that says why a checkpoint could not be saved, and what to continue from."""
    free, kept = shutil.disk_usage(checkpoint.parent).free, sort_checkpoints(str(checkpoint.parent))
    reason = one_line(error)[:200]
    if "inline_container" in reason or "PytorchStreamWriter" in reason:  # PyTorch's words for a short write
        reason = "a file could not be written to its end, as on a full disk"
    return (
        f"{checkpoint} could not be saved: {reason} ({free / 1e6:,.1f} MB are free); make room and run the same command again: "
        + (f"it continues from {kept[-1]}" if kept else "it starts over, because there is no earlier checkpoint")
    )
