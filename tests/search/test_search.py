"""Hyperparameter search: every trial is a run of the script, a search can be continued and shared, nothing impossible begins."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
import yaml
from conftest import FILLER, ROOT, WORDS, launch, make_choice_rows, make_rows, write_csv, write_jsonl

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import UserError
from utils.search.space import Parameter, check_combinations, choice_combinations, read_space
from utils.search.study import SharedStudy, sign_of_life

FORMS = ["two_logits", "one_logit", "one_hot"]


def binary_rows(count: int, seed: int) -> list[list[str]]:
    return [
        [" ".join([*FILLER[number % 7 : number % 7 + 4], WORDS["praise" if number % 3 else "refund"][number % 2]]), label]
        for number in range(seed, seed + count)
        for label in ["praise" if number % 3 else "complaint"]
    ]


@pytest.fixture(scope="module")
def binary_data(tmp_path_factory, tiny_model) -> list[str]:
    folder = tmp_path_factory.mktemp("binary")
    options = ["--model_name_or_path", tiny_model, "--bf16", "False"]
    for name, count, seed in (("train", 64, 0), ("validation", 32, 101), ("test", 16, 202)):
        options += [f"--{name}_file", write_csv(folder / f"{name}.csv", ["text", "label"], binary_rows(count, seed))]
    return options


def searched(folder: Path) -> dict:
    return json.loads((folder / "search.json").read_text())


def test_every_binary_form_is_trained_and_the_final_run_is_that_of_best_args(binary_data, tmp_path, monkeypatch, caplog):
    seen = []
    predict = run_classification.ClassificationTrainer.predict
    monkeypatch.setattr(
        run_classification.ClassificationTrainer,
        "predict",
        lambda self, *args, **kwargs: seen.append(kwargs["metric_key_prefix"]) or predict(self, *args, **kwargs),
    )
    space = {
        "binary_form": {"choice": FORMS},
        "class_weights": {"choice": ["none", "balanced"]},
        "num_train_epochs": {"int": [1, 2]},
    }
    options = [*binary_data, "--output_dir", tmp_path, "--search_trials", "20", "--search_space", json.dumps(space)]
    options += ["--learning_rate", "3e-3", "--num_train_epochs", "2"]
    metrics = run_classification.main([*options, "--metric_for_best_model", "average_precision", "--search_pruning", "False"])
    found = searched(tmp_path)
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 12  # every combination, once
    assert {trial["params"]["binary_form"] for trial in found["trials"]} == set(FORMS)
    # what a run without a search would do comes first, also where the data decided it
    assert found["trials"][0]["params"] == {"binary_form": "two_logits", "class_weights": "none", "num_train_epochs": 2}
    best = max(found["trials"], key=lambda trial: trial["value"])
    assert found["direction"] == "maximize" and found["trials"][found["best_trial"]]["value"] == best["value"]
    # the trial, the final training, and the file run by hand are the same run
    assert metrics["eval_average_precision"] == best["value"]
    assert seen == ["predict"]  # of all runs only the last looked at the test data
    arguments = yaml.safe_load((tmp_path / "best_args.yaml").read_text())
    assert arguments["binary_form"] == found["trials"][found["best_trial"]]["params"]["binary_form"]
    assert not [name for name in arguments if name.startswith("search_")]
    predictions = (tmp_path / "predictions.csv").read_text()
    by_hand = run_classification.main([tmp_path / "best_args.yaml", "--output_dir", tmp_path / "by_hand"])
    assert by_hand["eval_average_precision"] == metrics["eval_average_precision"]
    assert (tmp_path / "by_hand" / "predictions.csv").read_text() == predictions
    assert yaml.safe_load((tmp_path / "args.yaml").read_text()).items() >= arguments.items()
    # nothing is left of the trials, and there is a figure of each kind
    assert not list(tmp_path.glob("run-*"))
    names = {"search_history.png", "search_importances.png", "search_parallel_coordinates.png"}
    assert names <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("script", [run_multilabel, run_multiple_choice])
def test_the_own_space_of_each_script_is_searched(script, tiny_model, tmp_path, caplog):
    make = make_rows if script is run_multilabel else make_choice_rows
    options = ["--model_name_or_path", tiny_model, "--output_dir", tmp_path, "--bf16", "False", "--learning_rate", "1e-3"]
    for name, count, seed in (("train", 48, 0), ("validation", 24, 1)):
        options += [f"--{name}_file", write_jsonl(tmp_path / f"{name}.jsonl", make(count, seed))]
    caplog.set_level("INFO")
    metrics = script.main([*options, "--search_trials", "3", "--num_train_epochs", "2"])
    found = searched(tmp_path)
    assert set(found["trials"][0]["params"]) == set(script.SEARCH_SPACE)
    first = found["trials"][0]["params"]  # the values given come first, where the space holds them
    fitted = script is run_multilabel  # a head for few rows, which then learns as fast as the encoder
    assert first["num_train_epochs"] == 2 and first["head_learning_rate_multiplier"] == (1.0 if fitted else 10.0)
    assert first["learning_rate"] == 1e-3  # which is beyond the script's own range
    assert "search space: learning_rate from 1e-05 to 0.001, to hold the value of a run without a search" in caplog.text
    best = found["trials"][found["best_trial"]]
    assert metrics[f"eval_{found['objective']}"] == best["value"]
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("[") for line in lines) == 3
    assert sum("rows from" in line for line in lines) == 4  # data is read by the search and by the final run, not by trials


def test_threshold_mode_is_part_of_the_objective(tiny_model, tmp_path):
    options = ["--model_name_or_path", tiny_model, "--output_dir", tmp_path, "--bf16", "False", "--max_steps", "4"]
    for name, count, seed in (("train", 48, 0), ("validation", 40, 1)):
        options += [f"--{name}_file", write_jsonl(tmp_path / f"{name}.jsonl", make_rows(count, seed))]
    space = {"threshold": {"choice": ["0.9", "per_label"]}}
    metrics = run_multilabel.main(
        [*options, "--metric_for_best_model", "f1_macro", "--search_trials", "4", "--search_space", json.dumps(space)]
    )
    found = searched(tmp_path)
    values = {trial["params"]["threshold"]: trial["value"] for trial in found["trials"]}
    assert values["per_label"] > values["0.9"]
    assert metrics["eval_f1_macro"] == values["per_label"]
    assert len(found["trials"]) == 2  # there are no more combinations


def test_loss_objective_is_minimized_and_a_tie_goes_to_the_lower_loss(binary_data, tmp_path):
    options = [*binary_data, "--output_dir", tmp_path, "--search_trials", "3", "--num_train_epochs", "1"]
    space = json.dumps({"learning_rate": {"choice": [1e-6, 1e-3, 1e-2]}})
    run_classification.main([*options, "--metric_for_best_model", "loss", "--search_space", space])
    found = searched(tmp_path)
    assert found["direction"] == "minimize"
    assert found["trials"][found["best_trial"]]["value"] == min(trial["value"] for trial in found["trials"])

    study = optuna.create_study(direction="maximize")
    for value, loss in ((0.5, 0.1), (0.9, 0.4), (0.9, 0.3), (0.9, 0.3)):
        trial = optuna.trial.create_trial(value=value, user_attrs={"loss": loss})
        study.add_trial(trial)
    assert [trial.number for trial in SharedStudy(study, None).best()] == [2, 3, 1, 0]


def test_impossible_combinations_are_all_named_before_a_model_is_loaded(binary_data, tmp_path, monkeypatch):
    monkeypatch.setattr(run_classification, "load_model", lambda *args: pytest.fail("a model was loaded"))
    space = {
        "binary_form": {"choice": FORMS},
        "loss": {"choice": ["cross_entropy", "bce"]},
        "class_weights": {"choice": ["none", "sqrt", "1,2,3"]},
        "label_smoothing_factor": {"linear": [0.0, 1.0]},
    }
    options = [*binary_data, "--output_dir", tmp_path / "out", "--search_trials", "3", "--search_space", json.dumps(space)]
    with pytest.raises(UserError) as refused:
        run_classification.main(options)
    message = str(refused.value)
    assert "binary_form=two_logits, loss=bce: --loss bce takes float targets" in message
    assert "class_weights=1,2,3: --class_weights" in message and "has 3 numbers; expected one for each of 2 labels" in message
    assert "label_smoothing_factor=1.0: --label_smoothing_factor" in message
    assert message.count("|") == 2 and not (tmp_path / "out").exists()


def test_a_failing_trial_is_recorded_and_three_alike_stop_the_search(binary_data, tmp_path, monkeypatch, caplog):
    compute_loss = run_classification.ClassificationTrainer.compute_loss

    def fail(self, *args, **kwargs):
        if self.args.per_device_train_batch_size == 16:
            raise torch.OutOfMemoryError(f"tried to allocate {time.time()} MiB")
        return compute_loss(self, *args, **kwargs)

    monkeypatch.setattr(run_classification.ClassificationTrainer, "compute_loss", fail)
    caplog.set_level("INFO")
    space = {"per_device_train_batch_size": {"choice": [8, 16]}, "learning_rate": {"log": [1e-4, 1e-2]}}
    options = [*binary_data, "--max_steps", "2", "--search_trials", "5"]
    run_classification.main([*options, "--output_dir", tmp_path / "some", "--search_space", json.dumps(space)])
    states = {trial["params"]["per_device_train_batch_size"]: trial["state"] for trial in searched(tmp_path / "some")["trials"]}
    assert states == {8: "complete", 16: "fail"}
    failed = next(trial for trial in searched(tmp_path / "some")["trials"] if trial["state"] == "fail")
    assert failed["error"].startswith("OutOfMemoryError: tried to allocate")
    assert "failed: OutOfMemoryError" in caplog.text

    space["per_device_train_batch_size"] = {"choice": [16]}
    with pytest.raises(UserError, match="last 3 trials failed in the same way.*OutOfMemoryError: tried"):
        run_classification.main([*options, "--output_dir", tmp_path / "all", "--search_space", json.dumps(space)])
    assert len(searched(tmp_path / "all")["trials"]) == 3


def test_scores_that_are_not_defined_are_failures(binary_data, tmp_path, monkeypatch):
    scores = run_classification.scores
    monkeypatch.setattr(run_classification, "scores", lambda *a, **k: scores(*a, **k) | {"accuracy": float("nan")})
    with pytest.raises(UserError, match="in the same way.*not defined after any evaluation"):
        run_classification.main([*binary_data, "--max_steps", "1", "--output_dir", tmp_path, "--search_trials", "4"])


def test_hopeless_trials_are_pruned(binary_data, tmp_path):
    space = {"learning_rate": {"choice": [3e-3, 4e-3, 2e-3, 2.5e-3, 3.5e-3, 1e-9, 1e-8, 1e-7]}}
    options = [*binary_data, "--num_train_epochs", "3", "--output_dir", tmp_path, "--search_trials", "12"]
    options += ["--metric_for_best_model", "log_loss", "--search_space", json.dumps(space), "--linear_probe", "False"]
    run_classification.main(options)
    trials = searched(tmp_path)["trials"]
    assert len(trials) == 8  # each value once
    pruned = [trial for trial in trials if trial["state"] == "pruned"]
    completed = sorted(trial["value"] for trial in trials if trial["state"] == "complete")
    assert pruned and all(len(trial["evaluations"]) < 3 for trial in pruned)
    assert all(trial["value"] > completed[len(completed) // 2] for trial in pruned)


def test_the_same_seed_draws_the_same_values(binary_data, tmp_path):
    options = [*binary_data, "--max_steps", "1", "--search_trials", "3"]
    for folder, seed in (("one", "1"), ("again", "1"), ("other", "2")):
        run_classification.main([*options, "--output_dir", tmp_path / folder, "--seed", seed])
    one, again, other = ([t["params"] for t in searched(tmp_path / name)["trials"]] for name in ("one", "again", "other"))
    assert one == again and one[0] == other[0] and one[1:] != other[1:]


def test_a_saved_head_of_another_form_is_refused_before_trials(binary_data, tmp_path):
    saved = tmp_path / "saved"
    run_classification.main([*binary_data, "--max_steps", "1", "--binary_form", "one_logit", "--output_dir", saved])
    space = json.dumps({"binary_form": {"choice": FORMS}})
    options = [*binary_data, "--model_name_or_path", saved, "--max_steps", "1", "--output_dir", tmp_path / "out"]
    with pytest.raises(UserError, match="binary_form=two_logits: .* was trained for other labels.* binary_form=one_hot: "):
        run_classification.main([*options, "--search_trials", "3", "--search_space", space])
    run_classification.main([*options, "--search_trials", "3", "--search_space", space, "--ignore_mismatched_sizes", "True"])
    assert [trial["state"] for trial in searched(tmp_path / "out")["trials"]] == ["complete"] * 3


SPACE = json.dumps({"learning_rate": {"log": ["1e-4", "1e-2"]}, "binary_form": {"choice": FORMS}})


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite:///{}/study.db", "{}/study.log"])
def test_a_killed_search_continues_to_the_total(binary_data, tmp_path, storage):
    storage = storage.format(tmp_path)
    command = [sys.executable, "run_classification.py", *binary_data, "--output_dir", str(tmp_path / "out")]
    command += ["--num_train_epochs", "2", "--search_trials", "6", "--search_space", SPACE, "--search_storage", storage]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("[3/6]"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    run_classification.main(command[2:])
    ended = searched(tmp_path / "out")["trials"]
    assert sum(trial["state"] in ("complete", "pruned") for trial in ended) == 6
    assert len({json.dumps(trial["params"]) for trial in ended if trial["state"] != "interrupted"}) == 6
    assert len(ended) <= 7  # the one that was killed, if it had begun, is the only one more
    # to a higher total it goes on from there, with other options it does not
    run_classification.main([*command[2:], "--search_trials", "7", "--overwrite_output_dir"])
    assert len(searched(tmp_path / "out")["trials"]) == len(ended) + 1
    command += ["--overwrite_output_dir"]
    data = Path(command[command.index("--train_file") + 1])
    changed = write_csv(tmp_path / data.name, ["text", "label"], binary_rows(64, 1))
    with pytest.raises(UserError, match="begun with other options or data: train_data was 64 rows .*, is 64 rows"):
        run_classification.main([*command[2:], "--train_file", changed])
    with pytest.raises(UserError, match="begun with other options or data: num_train_epochs was 2.0, is 3.0"):
        run_classification.main([*command[2:], "--num_train_epochs", "3"])


@pytest.mark.slow
def test_processes_share_a_study(binary_data, tmp_path):
    command = [sys.executable, "run_classification.py", *binary_data, "--output_dir", str(tmp_path / "out"), "--max_steps", "3"]
    command += ["--search_trials", "8", "--search_space", SPACE, "--search_storage", f"sqlite:///{tmp_path}/study.db"]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    trials = searched(tmp_path / "out")["trials"]
    assert [trial["number"] for trial in trials] == list(range(8))
    assert len({json.dumps(trial["params"]) for trial in trials}) == 8
    assert sum("training with the values of trial" in text for text in told) == 1
    assert sum(text.count("] trial ") for text in told) == 8


def test_a_trial_that_ends_while_trials_are_counted_is_counted_once():
    class Ending(SharedStudy):
        """Each reading is followed by the end of the running trial, as another process may end it."""

        def trials(self):
            seen = self.study.get_trials()
            if seen[0].state.name == "RUNNING":
                self.study.tell(0, 1.0)
            return seen

    study = optuna.create_study()
    study.ask().set_user_attr("process", sign_of_life()["process"])
    assert [trial.number for trial in Ending(study, contextlib.nullcontext()).begun()] == [0]


@pytest.mark.slow
def test_several_processes_in_one_trial_are_refused():
    result = launch(
        "torchrun", "--nproc_per_node", "2", "run_classification.py", "--smoke_test", "--search_trials", "2", check=False
    )
    assert result.returncode != 0 and "--search_trials trains each trial in one process, found 2" in result.stderr
    assert "--search_storage" in result.stderr


def test_optuna_is_asked_for_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="needs Optuna: pip install -r requirements-search.txt"):
        run_classification.main(["--smoke_test", "--search_trials", "2"])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{learning_rat: {log: [1e-5, 1e-3]}}", "unknown option --learning_rat: did you mean --learning_rate?"),
        ("{seed: {int: [1, 5]}}", "seed must be the same in all trials"),
        ("{max_eval_samples: {int: [1, 5]}}", "max_eval_samples must be the same in all trials"),
        ("{learning_rate: {log: [0, 1e-3]}}", "expected numbers above 0"),
        ("{learning_rate: {linear: [1e-3, 1e-5]}}", "the lower one first"),
        ("{learning_rate: {log: [low, high]}}", "expected two numbers"),
        ("{learning_rate: [1e-5, 1e-3]}", "expected one of {log: [low, high]}"),
        ("{num_train_epochs: {int: [1, 2.5]}}", "expected whole numbers"),
        ("{loss: {choice: []}}", "expected different values"),
        ("{loss: {choice: [bce, bce]}}", "expected different values"),
        ("{loss: {choice: [[bce], focal]}}", "expected numbers, texts"),
        ("{}", "expected lines such as"),
        ("learning_rate", "expected lines such as"),
        ("{learning_rate: ", "not valid YAML"),
        ("nowhere.yaml", "cannot read nowhere.yaml"),
    ],
)
def test_search_spaces_that_say_nothing(space, message):
    options = {"learning_rate", "seed", "max_eval_samples", "num_train_epochs", "loss"}
    with pytest.raises(UserError, match=message.replace("[", r"\[").replace("?", r"\?")):
        read_space({}, space, options)


def test_a_range_becomes_wider_for_the_run_without_a_search():
    epochs, rate = Parameter("num_train_epochs", "int", (1, 5)), Parameter("learning_rate", "log", (1e-5, 3e-4))
    assert epochs.reaching(12.0).values == (1, 12) and epochs.reaching(3.0) == epochs == epochs.reaching(5.5)
    assert rate.reaching(1e-6).values == (1e-6, 3e-4) and rate.reaching(0.0) == rate == rate.reaching(None)
    batch = Parameter("per_device_train_batch_size", "choice", (16, 32))
    assert batch.reaching(8) == batch


def test_of_many_combinations_every_pair_is_checked():
    space = [Parameter(name, "choice", tuple(range(8))) for name in "abcd"]
    tried = choice_combinations(space)
    assert len(tried) < 500

    def check(values):
        if values["b"] == 3 and values["d"] == 5:
            raise UserError("no")

    with pytest.raises(UserError, match="combinations that cannot be trained; b=3, d=5: no$"):
        check_combinations(space, check)


def test_where_nothing_is_valid_every_reason_is_named():
    def check(values):
        raise UserError("B" if values["a"] == 2 else "A")

    with pytest.raises(UserError, match="combinations that cannot be trained; a=0: A | a=1: A | a=2: B$".replace("|", r"\|")):
        check_combinations([Parameter("a", "choice", (0, 1, 2)), Parameter("b", "choice", (0, 1))], check)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("study.db", "write sqlite:///study.db"),
        ("nosuch://user:secret@study", r"nosuch://user:\*\*\*@study cannot be used"),
        ("{}/train.csv", "is not a journal file"),
        ("sqlite:///{}/train.csv", "is not an SQLite database"),
        ("sqlite:////proc/study.db", "cannot write into /proc"),
    ],
)
def test_storages_that_cannot_be_used(storage, message, binary_data, tmp_path):
    shutil.copy(ROOT / "data" / "pairs" / "train.csv", tmp_path)
    options = [*binary_data, "--output_dir", tmp_path / "o", "--search_trials", "2", "--search_storage", storage.format(tmp_path)]
    with pytest.raises(UserError, match=message):
        run_classification.main(options)
    assert not list(tmp_path.glob("*lock*"))


def test_check_data_checks_the_search_and_ctrl_c_is_one_line(binary_data, tmp_path):
    options = [*binary_data, "--output_dir", str(tmp_path), "--search_trials", "9"]
    with pytest.raises(UserError, match="loss=bce: --loss bce takes float targets"):
        space = json.dumps({"loss": {"choice": ["bce", "focal"]}})
        run_classification.main([*options, "--check_data", "--search_space", space])
    command = [sys.executable, "run_classification.py", *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "[1/9]" in line:
            process.send_signal(signal.SIGINT)
    process.stderr.close()
    assert process.wait() == 130 and "interrupted after" in "".join(lines) and lines[-1] == "interrupted\n"
    assert "Traceback" not in "".join(lines)
    assert len(searched(tmp_path)["trials"]) >= 1


def test_epochs_are_not_varied_where_steps_decide(binary_data, tmp_path, caplog):
    caplog.set_level("INFO")
    run_classification.main([*binary_data, "--output_dir", tmp_path, "--max_steps", "1", "--search_trials", "1"])
    assert "num_train_epochs" not in searched(tmp_path)["trials"][0]["params"]
    assert "num_train_epochs is not varied" in caplog.text


def test_a_loss_on_another_scale_is_no_objective(binary_data, tmp_path):
    space = json.dumps({"loss": {"choice": ["cross_entropy", "focal"]}})
    options = [*binary_data, "--metric_for_best_model", "loss", "--search_trials", "2", "--output_dir", tmp_path]
    with pytest.raises(UserError, match="objective is the loss, and the search varies loss"):
        run_classification.main([*options, "--search_space", space])
