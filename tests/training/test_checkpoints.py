"""A checkpoint is there whole or not at all, and a run that goes on from one ends as if nothing had happened."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LABELS, ROOT, make_choice_rows, make_rows, write_jsonl
from safetensors.torch import load_file
from transformers import Trainer

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import RunError, Stopped
from utils.training import checkpoints

SCRIPTS = {"classification": run_classification, "multilabel": run_multilabel, "multiple_choice": run_multiple_choice}
KEEP = "--keep_checkpoints"
EVERY_STEP = ["--save_strategy=steps", "--save_steps=1", "--save_total_limit=20", KEEP]


def rows_of(script: str, count: int, seed: int = 0) -> list[dict]:
    if script == "multiple_choice":
        return make_choice_rows(count, seed)
    rows = make_rows(count, seed)
    return rows if script == "multilabel" else [{"text": r["text"], "label": (r["labels"] or LABELS)[0]} for r in rows]


@pytest.fixture(scope="module")
def model_with_dropout(tiny_model, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("dropout") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["hidden_dropout_prob"] = config["attention_probs_dropout_prob"] = 0.1
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.fixture(params=SCRIPTS)
def setting(request, tmp_path, model_with_dropout) -> tuple:
    """A script, and arguments of a run of it of 12 steps in three epochs."""
    script = request.param
    files = [f"--{name}_file={write_jsonl(tmp_path / f'{name}.jsonl', rows_of(script, count, seed))}"
             for name, count, seed in (("train", 30, 0), ("validation", 12, 1), ("test", 9, 2))]  # fmt: skip
    base = [*files, f"--model_name_or_path={model_with_dropout}", "--per_device_train_batch_size=4", "--num_train_epochs=3"]
    return SCRIPTS[script], [*base, "--gradient_accumulation_steps=2", "--learning_rate=1e-3", "--logging_steps=1"]


def outcome(folder: Path) -> tuple:
    """What must be equal to the last bit: weights, predictions, scores and the course of the training."""
    results = json.loads((folder / "all_results.json").read_text())
    speed = ("_second", "runtime", "padding_share", "_flos")
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return (
        {name: weights.numpy().tobytes() for name, weights in load_file(folder / "model.safetensors").items()},
        (folder / "predictions.csv").read_bytes(),
        {name: value for name, value in results.items() if not name.endswith(speed)},
        [entry["loss"] for entry in history if "loss" in entry],
    )


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(setting, tmp_path, caplog):
    script, base = setting
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    caplog.set_level("INFO", logger="utils")
    script.main([*base, *EVERY_STEP, f"--output_dir={whole}"])
    told = [line for line in caplog.messages if line.startswith("epoch")]
    assert sorted(path.name for path in whole.glob("checkpoint-*")) == sorted(f"checkpoint-{step}" for step in range(1, 13))
    expected = outcome(whole)
    for step in (3, 4, 7, 12):  # within an epoch, at the end of one, behind the best, and the last
        shutil.rmtree(resumed, ignore_errors=True)
        resumed.mkdir()
        for path in whole.glob("checkpoint-*"):
            if int(path.name.split("-")[1]) <= step:
                shutil.copytree(path, resumed / path.name)
        caplog.clear()
        script.main([*base, *EVERY_STEP, f"--output_dir={resumed}"])  # the same command
        assert f"continuing from {resumed}/checkpoint-{step}, left by an unfinished run" in caplog.text
        weights, predictions, results, losses = outcome(resumed)
        assert weights == expected[0] and predictions == expected[1] and results == expected[2], step
        assert losses == expected[3], step
        told_again = [line for line in caplog.messages if line.startswith("epoch")]
        assert told_again == told[len(told) - len(told_again) :], step


def test_a_run_with_its_last_step_within_an_epoch_goes_on_without_another_step(setting, tmp_path):
    script, base = setting
    base = [*base, "--max_steps=6", "--save_strategy=steps", "--save_steps=3", KEEP]
    script.main([*base, f"--output_dir={tmp_path / 'o'}"])
    expected = outcome(tmp_path / "o")
    (tmp_path / "o" / "args.yaml").unlink()  # as if it had been killed before its end
    (tmp_path / "o" / "predictions.csv").unlink()
    script.main([*base, f"--output_dir={tmp_path / 'o'}", "--disable_tqdm=False"])  # a bar that never began can end
    assert outcome(tmp_path / "o") == expected
    assert json.loads((tmp_path / "o" / "trainer_state.json").read_text())["global_step"] == 6
    found = json.loads((tmp_path / "o" / "train_results.json").read_text())
    assert not [name for name in found if "second" in name or "runtime" in name]  # no step has a speed


def damage(checkpoint: Path, how: str) -> None:
    if how == "missing":
        (checkpoint / "optimizer.pt").unlink()
    elif how == "no rng":
        (checkpoint / "rng_state.pth").unlink()
    elif how == "no schedule":
        (checkpoint / "scheduler.pt").unlink()
    elif how == "cut":
        os.truncate(checkpoint / "model.safetensors", 1000)
    elif how == "other bytes":
        content = bytearray((checkpoint / "optimizer.pt").read_bytes())
        content[len(content) // 2] ^= 255
        (checkpoint / "optimizer.pt").write_bytes(content)
    elif how == "empty state":
        (checkpoint / "trainer_state.json").write_text("")
    elif how == "no run":
        (checkpoint / "run.json").unlink()
    elif how == "empty":
        shutil.rmtree(checkpoint)
        checkpoint.mkdir()
    elif how == "no best":
        best = json.loads((checkpoint / "run.json").read_text())["best"]
        (checkpoint.parent / best / "model.safetensors").unlink()


DAMAGES = {
    "missing": "optimizer.pt is missing",
    "no rng": "rng_state.pth is missing",
    "no schedule": "scheduler.pt is missing",
    "cut": "model.safetensors has 1,000 bytes, expected",
    "other bytes": "the content of optimizer.pt has changed since it was saved",
    "empty state": "trainer_state.json has 0 bytes",
    "no run": "run.json is missing",
    "empty": "run.json is missing",
}


def test_the_newest_sound_checkpoint_is_taken_and_the_others_are_named(tmp_path, tiny_model, caplog):
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={write_jsonl(tmp_path / 'a.jsonl', make_rows(24))}"]
    base += ["--max_steps=4", "--save_strategy=steps", "--save_steps=1", "--save_total_limit=9", "--validation_fraction=0", KEEP]
    run_multilabel.main([*base, f"--output_dir={tmp_path / 'whole'}"])
    (tmp_path / "whole" / "args.yaml").unlink()
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    for how, told in DAMAGES.items():
        folder = tmp_path / how
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / "checkpoint-4", how)
        damage(folder / "checkpoint-3", "cut")
        caplog.clear()
        run_multilabel.main([*base, f"--output_dir={folder}", "--resume_from_checkpoint=True"])
        assert f"skipped checkpoint-4: {told}" in caplog.text and "skipped checkpoint-3: model.safetensors has" in caplog.text
        assert f"continuing from {folder}/checkpoint-2" in caplog.text
        for name, weights in load_file(folder / "model.safetensors").items():
            assert torch.equal(weights, expected[name]), how
        for step in (3, 4):
            assert checkpoints.find_damage(folder / f"checkpoint-{step}") is None  # saved anew
        assert not [path for path in folder.glob("checkpoint-*") if checkpoints.find_damage(path)]
    for number in (1, 2, 3, 4):
        damage(tmp_path / "whole" / f"checkpoint-{number}", "missing")
    before = sorted(tmp_path.joinpath("whole").rglob("*"))
    with pytest.raises(ValueError, match=r"without a sound checkpoint \(checkpoint-4: optimizer.pt is missing; checkpoint-3"):
        run_multilabel.main([*base, f"--output_dir={tmp_path / 'whole'}"])
    with pytest.raises(ValueError, match="checkpoint-2: optimizer.pt is missing; take another checkpoint"):
        run_multilabel.main(
            [*base, f"--output_dir={tmp_path / 'other'}", f"--resume_from_checkpoint={tmp_path / 'whole' / 'checkpoint-2'}"]
        )
    assert sorted(tmp_path.joinpath("whole").rglob("*")) == before


def test_a_checkpoint_of_the_model_alone_is_not_resumed(tmp_path, tiny_model):
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={write_jsonl(tmp_path / 'a.jsonl', make_rows(24))}"]
    base += ["--max_steps=2", "--validation_fraction=0", f"--output_dir={tmp_path / 'o'}"]
    run_multilabel.main([*base, "--save_strategy=steps", "--save_steps=1", "--save_only_model", KEEP])
    with pytest.raises(ValueError, match=r"checkpoint-2: it holds only the model \(--save_only_model\)"):
        run_multilabel.main([*base, "--resume_from_checkpoint"])


def test_a_folder_of_the_user_is_not_cleared(tmp_path, tiny_model):
    (tmp_path / "o").mkdir()
    for name in ("README.md", "predictions.csv", "config.json"):
        (tmp_path / "o" / name).write_text("precious")
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={write_jsonl(tmp_path / 'a.jsonl', make_rows(24))}"]
    base += [
        "--max_steps=1",
        f"--output_dir={tmp_path / 'o'}",
        "--overwrite_output_dir",
        "--save_strategy=no",
        "--eval_strategy=no",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train", lambda *_, **__: (_ for _ in ()).throw(RunError("ended")))
        with pytest.raises(RunError, match="ended"):
            run_multilabel.main(base)
    assert {path.read_text() for path in (tmp_path / "o").iterdir()} == {"precious"}


def test_the_best_weights_so_far_are_a_piece_of_a_checkpoint(tmp_path, tiny_model):
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={write_jsonl(tmp_path / 'a.jsonl', make_rows(40))}"]
    base += ["--num_train_epochs=4", "--metric_for_best_model=eval_loss", "--learning_rate=1e-2", "--save_total_limit=9", KEEP]
    run_multilabel.main([*base, f"--output_dir={tmp_path / 'o'}"])
    newest = max((tmp_path / "o").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    best = json.loads((newest / "run.json").read_text())["best"]
    state = json.loads((newest / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(tmp_path / "o" / best)
    if best != newest.name:
        damage(newest, "no best")
        told = f"the best weights so far are in {best}, but model.safetensors is missing (--resume_anyway continues without them)"
        assert checkpoints.find_damage(newest) == told
        (tmp_path / "o" / "args.yaml").unlink()
        run_multilabel.main([*base, f"--output_dir={tmp_path / 'o'}", "--resume_anyway", "--num_train_epochs=5"])
        assert json.loads((tmp_path / "o" / "trainer_state.json").read_text())["best_model_checkpoint"] != str(
            tmp_path / "o" / best
        )


@pytest.fixture
def unfinished(tmp_path, tiny_model) -> tuple[list[str], Path]:
    """Arguments of a run of six steps, of which the first three are done."""
    train = write_jsonl(tmp_path / "train.jsonl", make_rows(48))
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}", "--max_steps=6"]
    base += ["--per_device_train_batch_size=8", "--save_strategy=steps", "--save_steps=3", "--validation_fraction=0", KEEP]
    run_multilabel.main(base)
    for path in (tmp_path / "o").iterdir():
        if path.name != "checkpoint-3":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return base, tmp_path / "o"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("--learning_rate=1e-3", "--learning_rate was 0.0002, is 0.001"),
        ("--per_device_train_batch_size=4", "--per_device_train_batch_size was 8, is 4"),
        ("--seed=7", "--seed was 42, is 7"),
        ("--max_steps=12", "--max_steps was 6, is 12"),
        ("--loss=focal", "--loss was bce, is focal"),
        ("--tokenizer_name={tiny_model}", "--tokenizer_name was None, is .*tiny"),
        ("other rows", r"the train data was 48 rows [0-9a-f]{8}, is 48 rows [0-9a-f]{8};"),
        ("more rows", "the train data was 48 rows [0-9a-f]{8}, is 49 rows "),
        ("other labels", "the labels were defect, delivery, praise, refund, are broken, delivery, praise, refund"),
    ],
)
def test_what_has_changed_since_the_checkpoint_is_refused_by_name_or_accepted(
    unfinished, tmp_path, tiny_model, changed, told, caplog
):
    base, folder = unfinished
    changed = changed.format(tiny_model=tiny_model)
    rows = make_rows(48)
    if changed.startswith("--"):
        base = [*base, changed]
    else:
        if changed == "other rows":
            rows[5]["text"] += " again"
        elif changed == "more rows":
            rows = make_rows(49)
        elif changed == "other labels":
            rows = [{**row, "labels": ["broken" if label == "defect" else label for label in row["labels"]]} for row in rows]
        base = [*base, f"--train_file={write_jsonl(tmp_path / 'changed.jsonl', rows)}"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(ValueError, match=f"checkpoint-3 belongs to a run with other options or data: {told}.*--resume_anyway"):
        run_multilabel.main(base)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    run_multilabel.main([*base, "--resume_anyway"])
    assert "continuing from" in caplog.text and "although" in caplog.text
    history = json.loads((folder / "trainer_state.json").read_text())
    assert history["global_step"] == (12 if changed == "--max_steps=12" else 6)


def test_a_checkpoint_of_other_parameters_is_not_offered_to_be_continued(unfinished):
    base, folder = unfinished
    with pytest.raises(ValueError, match="--freeze_embeddings was False, is True; add --overwrite_output_dir to replace it"):
        run_multilabel.main([*base, "--freeze_embeddings"])
    with pytest.raises(ValueError, match="has trained other parameters"):
        run_multilabel.main([*base, "--freeze_embeddings", "--resume_anyway"])


def test_what_is_accepted_on_resuming_holds(unfinished):
    base, folder = unfinished
    run_multilabel.main([*base, "--resume_anyway", "--learning_rate=1e-3", "--weight_decay=0.5", "--save_total_limit=5"])
    groups = torch.load(folder / "checkpoint-6" / "optimizer.pt", weights_only=True)["param_groups"]
    assert {group["initial_lr"] for group in groups} == {1e-3}  # of the head, too, as it was fitted first
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}


def test_other_paths_log_steps_and_test_data_are_the_same_run(unfinished, tmp_path, caplog):
    base, folder = unfinished
    shutil.copy(tmp_path / "train.jsonl", tmp_path / "moved.jsonl")
    shutil.move(folder, tmp_path / "elsewhere")
    test = write_jsonl(tmp_path / "test.jsonl", make_rows(5, 3))
    more = [f"--train_file={tmp_path / 'moved.jsonl'}", f"--output_dir={tmp_path / 'elsewhere'}", f"--test_file={test}"]
    run_multilabel.main([*base, *more, "--logging_steps=1"])
    assert "continuing from" in caplog.text and "although" not in caplog.text


def test_a_finished_run_is_not_trained_over(unfinished, tmp_path, caplog):
    base, folder = unfinished
    run_multilabel.main(base)
    finished = (folder / "model.safetensors").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for arguments in (base, [*base, "--seed=3"], [*base, "--resume_from_checkpoint=False"]):
        with pytest.raises(ValueError, match=f"{folder} holds a finished run: name another folder, replace it .* True$"):
            run_multilabel.main(arguments)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    predict = [f"--model_name_or_path={folder}", f"--output_dir={folder}", f"--test_file={tmp_path / 'train.jsonl'}"]
    run_multilabel.main(predict)  # predicting there is no training
    assert (folder / "predictions.csv").is_file()
    run_multilabel.main([*base, "--overwrite_output_dir", "--seed=3"])
    assert (folder / "model.safetensors").read_bytes() != finished
    assert not (folder / "predictions.csv").exists()  # those of the model before


def test_a_finished_run_keeps_no_checkpoints_unless_asked(unfinished):
    base, folder = unfinished
    base.remove(KEEP)
    (folder / ".checkpoint-2").mkdir()  # as a kill amid a save leaves it
    run_multilabel.main(base)
    assert not [path for path in folder.iterdir() if path.is_dir()] and (folder / "args.yaml").is_file()
    with pytest.raises(ValueError, match="name another folder, or replace it with --overwrite_output_dir$"):
        run_multilabel.main(base)
    with pytest.raises(ValueError, match="there is no checkpoint in .*; a finished run has none without --keep_checkpoints"):
        run_multilabel.main([*base, "--resume_from_checkpoint"])
    run_multilabel.main([*base, KEEP, "--overwrite_output_dir"])
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    test = write_jsonl(folder.parent / "test.jsonl", make_rows(5, 3))
    run_multilabel.main([f"--model_name_or_path={folder}", f"--test_file={test}", f"--output_dir={folder}"])
    assert len(list(folder.glob("checkpoint-*"))) == 2  # predicting there removes none


def test_overwriting_continues_an_interrupted_run_of_the_same_options_and_replaces_others(unfinished, caplog):
    base, folder = unfinished
    run_multilabel.main([*base, "--overwrite_output_dir", "--seed=3"])
    assert "checkpoint-3, which belongs to a run with other options or data: --seed was 42, is 3" in caplog.text
    (folder / "args.yaml").unlink()
    run_multilabel.main([*base, "--overwrite_output_dir", "--seed=3"])
    assert "checkpoint-6, left by an unfinished run" in caplog.text
    (folder / "args.yaml").unlink()
    caplog.clear()
    run_multilabel.main([*base, "--resume_from_checkpoint=False", "--seed=3"])
    assert "continuing" not in caplog.text
    assert [entry["step"] for entry in json.loads((folder / "trainer_state.json").read_text())["log_history"]] == [6]


def test_a_full_disk_leaves_the_older_checkpoint_and_nothing_else(unfinished, monkeypatch, capsys):
    base, folder = unfinished
    before = sorted(folder.rglob("*"))

    def no_space(self, path):
        Path(path).write_text('{"half')
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformers.trainer_callback.TrainerState.save_to_json", no_space)
    with pytest.raises(
        RunError,
        match=r"checkpoint-6 could not be saved: .*No space left on device \(.* MB are free\); .* continues from .*-3$",
    ):
        run_multilabel.main(base)
    assert sorted(folder.rglob("*")) == before
    monkeypatch.undo()
    run_multilabel.main(base)
    assert (folder / "args.yaml").is_file()


def test_a_loss_that_is_not_finite_ends_the_run_with_the_rows_of_its_step(setting, tmp_path, monkeypatch):
    script, base = setting
    original = Trainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        loss = original(self, model, inputs, *args, **kwargs)
        return loss * np.nan if self.state.global_step == 5 else loss

    monkeypatch.setattr(Trainer, "training_step", training_step)
    with pytest.raises(
        RunError, match="the loss is not finite: the training has diverged, at step 6 with .*train.jsonl rows"
    ) as told:
        script.main([*base, *EVERY_STEP, f"--output_dir={tmp_path / 'o'}"])
    numbers = str(told.value).split("rows ")[1].split(";")[0].split(", ")
    assert len(numbers) == len(set(numbers)) == 8 and all(1 <= int(number) <= 30 for number in numbers)
    assert "checkpoint-5 is the last good checkpoint" in str(told.value)
    assert checkpoints.find_damage(tmp_path / "o" / "checkpoint-5") is None
    assert not (tmp_path / "o" / "checkpoint-6").exists()


def test_a_gradient_that_is_not_finite_is_found_in_its_own_step(tmp_path, tiny_model, monkeypatch):
    train = write_jsonl(tmp_path / "a.jsonl", make_rows(32))
    original = Trainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        loss = original(self, model, inputs, *args, **kwargs)
        if self.state.global_step == 1:
            next(parameter for parameter in model.parameters() if parameter.grad is not None).grad.view(-1)[0] = torch.nan
        return loss

    monkeypatch.setattr(Trainer, "training_step", training_step)
    with pytest.raises(RunError, match="diverged, at step 2"):
        run_multilabel.main(
            [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'o'}",
             "--per_device_train_batch_size=8", "--freeze_embeddings", "--no_tune_cpu"]
        )  # fmt: skip


def test_a_signal_within_python_saves_and_the_same_command_goes_on(setting, tmp_path, monkeypatch):
    script, base = setting
    script.main([*base, f"--output_dir={tmp_path / 'whole'}"])
    original = Trainer.training_step
    strike = {"at": set()}

    def training_step(self, *args, **kwargs):
        if self.state.global_step in strike["at"]:
            strike["at"].discard(self.state.global_step)
            os.kill(os.getpid(), strike["signal"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    for number, at, name in ((signal.SIGTERM, 1, "SIGTERM"), (signal.SIGINT, 3, "SIGINT"), (signal.SIGTERM, 10, "SIGTERM")):
        strike.update(signal=number, at={at})  # within the first epoch, at its end, in the last one
        with pytest.raises(
            Stopped, match=f"stopped by {name} after step {at + 1} of 12; .* goes on from .*/checkpoint-{at + 1}$"
        ) as stop:
            script.main([*base, "--save_total_limit=1", f"--output_dir={tmp_path / 'o'}"])
        assert stop.value.status == 128 + number
        assert not (tmp_path / "o" / "args.yaml").exists() and not (tmp_path / "o" / "model.safetensors").exists()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    script.main([*base, f"--output_dir={tmp_path / 'o'}"])
    found, expected = outcome(tmp_path / "o"), outcome(tmp_path / "whole")
    assert found[2] == expected[2]
    assert found == expected


@pytest.mark.slow
def test_kills_at_random_moments_do_no_harm(tmp_path, model_with_dropout):
    train = write_jsonl(tmp_path / "a.jsonl", make_rows(120))
    arguments = [f"--model_name_or_path={model_with_dropout}", f"--train_file={train}", *EVERY_STEP[:2], "--learning_rate=1e-3"]
    arguments += ["--num_train_epochs=3", "--per_device_train_batch_size=8"]
    run_multilabel.main([*arguments, f"--output_dir={tmp_path / 'whole'}"])
    arguments += [f"--output_dir={tmp_path / 'o'}"]
    draw = np.random.default_rng(0)
    for _ in range(3):
        command = [sys.executable, "run_multilabel.py", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        began = set((tmp_path / "o").glob("*checkpoint-*"))
        while process.poll() is None and set((tmp_path / "o").glob("*checkpoint-*")) == began:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        process.wait()
        assert not (tmp_path / "o" / "args.yaml").exists()
    run_multilabel.main(arguments)
    assert (tmp_path / "o" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert not list((tmp_path / "o").glob(".checkpoint-*"))
