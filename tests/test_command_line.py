"""What a user sees: --help, the first line, the lines of a training, and the options in args.yaml."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from conftest import make_choice_rows, make_rows, write_jsonl
from transformers import TrainingArguments

import run_classification
import run_mlm
import run_multilabel
import run_multiple_choice
from utils.arguments import FineTuningArguments
from utils.command_line import check_command_line, defaults, in_full
from utils.help import GROUPS, OTHERS

SCRIPTS = (run_classification, run_mlm, run_multilabel, run_multiple_choice)


def shown(script, capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        script.main(list(argv))
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_the_recipes_own_options_on_two_screens(script, capsys):
    text = shown(script, capsys, "--help")
    lines = text.splitlines()
    assert len(lines) <= 118 and text == shown(script, capsys, "-h")
    usage = f"    python {Path(script.__file__).name} --model_name_or_path bert-base-uncased --output_dir out \\"
    assert usage in lines and "To adapt" not in text
    assert max(map(len, lines[10:])) <= 100
    options = re.findall(r"^  --(\w+)", text, flags=re.MULTILINE)
    own = {name for kind in script.KINDS for name in (field.name for field in fields(kind) if field.init)}
    inherited = {field.name for field in fields(TrainingArguments)} - set(FineTuningArguments.__annotations__)
    inherited -= {name for names in GROUPS.values() for name in names}
    inherited |= set(GROUPS[OTHERS])
    assert len(options) == len(set(options))
    assert {option if option in own else option.removeprefix("no_") for option in options} == own - inherited
    narrow = "" if script is run_mlm else " Unset: higher for narrow encoders."
    assert f"Peak learning rate.{narrow} [5e-05]" in text and "Unset: the hardware decides." in text
    assert re.fullmatch(r"--help all .* of \d+ further ones\.", lines[-1])


def test_help_all_shows_everything_in_one_spelling(capsys):
    text = shown(run_multilabel, capsys, "--help", "all")
    options = re.findall(r"^  --(\w+)", text, flags=re.MULTILINE)
    expected = {*defaults(run_multilabel.KINDS), "token", "hub_token"}
    assert {option if option in expected else option.removeprefix("no_") for option in options} == expected
    assert (
        "To adapt" in text and "--train-file" not in text and "A folder: continue from that checkpoint." in " ".join(text.split())
    )


@pytest.mark.parametrize(
    ("argv", "rank", "told"),
    [
        (["--train_file=a.csv", "--test_file=b.csv"], None, "reading a.csv …\n"),
        (["--test_file=b.csv"], "0", "reading b.csv …\n"),
        (["--dataset_name=imdb"], None, "loading imdb …\n"),
        (["--smoke_test"], None, "reading the example rows …\n"),
        ([], None, "reading data/multilabel/train.csv …\n"),
        (["--train_file=a.csv"], "1", ""),
        (["--train_file=a.csv", "--log_level=error"], None, ""),
        (["--text=a", "--model_name_or_path=out"], None, ""),
        (["--train_file=a.csv", "--log_level", "warning"], None, ""),
    ],
)
def test_the_first_line_says_what_is_read_before_anything_else_is_imported(argv, rank, told, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run_multilabel.py", *argv])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("gc.disable", lambda: None)
    monkeypatch.setattr("utils.command_line._checked", [])
    monkeypatch.setenv("RANK", rank) if rank else monkeypatch.delenv("RANK", raising=False)
    order = []
    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda _: order.append(capsys.readouterr().err))
    check_command_line(run_multilabel.KINDS, "", run_multilabel.SAMPLE)
    assert order == [told] and capsys.readouterr().err == ""


@pytest.fixture
def files(tmp_path, tiny_model) -> list[str]:
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", make_rows(40, seed)) for seed, name in enumerate(("train", "validation"))]
    base = [f"--train_file={paths[0]}", f"--validation_file={paths[1]}", "--per_device_train_batch_size=10"]
    return [*base, f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}"]


NUMBER = r"[-\d.e]+"


def test_a_training_tells_each_epoch_in_a_line_and_which_weights_it_kept(files, tmp_path, caplog, capsys):
    caplog.set_level("INFO", logger="utils")
    run_multilabel.main([*files, "--num_train_epochs=3", "--logging_steps=4", "--learning_rate=1e-3", "--load_best_model_at_end"])
    lines = caplog.messages
    for epoch in (1, 2, 3):
        line = next(line for line in lines if line.startswith(f"epoch {epoch}/3  "))
        words = rf"loss {NUMBER}  validation loss {NUMBER}  average_precision_micro {NUMBER}(  best so far)?"
        assert re.fullmatch(rf"epoch {epoch}/3  {words}", line)
    assert (
        sum(
            bool(re.fullmatch(rf"step {step}/12  loss {NUMBER}  learning_rate {NUMBER}", line))
            for line in lines
            for step in (4, 8, 12)
        )
        == 3
    )
    kept = rf"\nkept the weights of epoch \d of 3: average_precision_micro {NUMBER} on the validation data was the highest"
    position = next(number for number, line in enumerate(lines) if re.fullmatch(kept, line))
    scores, speed = (
        lines.index("\nValidation scores"),
        next(n for n, line in enumerate(lines) if line.startswith("\nrows per second: training")),
    )
    assert position < scores < speed and "FLOP" not in caplog.text
    assert capsys.readouterr().out == ""


def test_without_evaluations_an_epoch_tells_its_loss_and_the_last_weights_are_kept(files, caplog):
    caplog.set_level("INFO", logger="utils")
    run_multilabel.main([*files, "--num_train_epochs=2", "--eval_strategy=no", "--disable_tqdm=True"])
    assert [
        bool(re.fullmatch(rf"epoch {n}/2  loss {NUMBER}", line))
        for n, line in enumerate((m for m in caplog.messages if m.startswith("epoch")), 1)
    ] == [True] * 2
    assert "\nkept the weights of the last step, 8 of 8" in caplog.messages


def test_evaluations_by_steps_and_a_loss_that_chooses(files, caplog):
    caplog.set_level("INFO", logger="utils")
    run_multilabel.main([*files, "--max_steps=4", "--eval_strategy=steps", "--eval_steps=2", "--metric_for_best_model=loss"])
    assert any(re.fullmatch(rf"step 2/4  loss {NUMBER}  validation loss {NUMBER}  best so far", line) for line in caplog.messages)
    assert any(
        re.fullmatch(rf"\nkept the weights of step \d of 4: loss {NUMBER} on the validation data was the lowest", m)
        for m in caplog.messages
    )
    assert not any("learning_rate" in line for line in caplog.messages if line.startswith("step"))  # it would be a second line


@pytest.mark.parametrize("evaluated", [("--num_train_epochs=2",), ("--max_steps=4", "--eval_strategy=steps", "--eval_steps=2")])
def test_the_model_card_has_a_training_loss_beside_each_evaluation(files, tmp_path, evaluated):
    run_multilabel.main([*files, *evaluated])
    table = (tmp_path / "o" / "README.md").read_text().split("| Training Loss |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 2 and all(re.match(r"\| \d\.\d+ +\| \d", line) for line in table), table


def test_log_level_info_keeps_the_lines_of_transformers(files, caplog, monkeypatch):
    told = []
    for callback in ("ProgressCallback", "PrinterCallback"):
        monkeypatch.setattr(f"transformers.{callback}.on_log", lambda self, args, state, control, logs, **_: told.extend(logs))
    run_multilabel.main([*files, "--num_train_epochs=1"])
    assert not told
    caplog.clear()
    run_multilabel.main([*files, "--num_train_epochs=1", "--overwrite_output_dir", "--log_level=info"])
    assert "eval_loss" in told and not any(line.startswith("epoch") for line in caplog.messages)


def test_args_yaml_holds_what_was_given_and_runs_in_another_folder(tmp_path, tiny_model, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for number in (1, 2):
        write_jsonl(tmp_path / "data" / f"part{number}.jsonl", make_rows(20, number))
    write_jsonl(tmp_path / "test.jsonl", make_rows(9, 3))
    (tmp_path / "model").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    options = {"train_file": "data/part*.jsonl", "test_file": "test.jsonl, data/part1.jsonl", "model_name_or_path": "model"}
    options["test_file"] = "test.jsonl,test.jsonl"
    options |= {"output_dir": "o", "max_steps": 2, "no_prior_bias": True, "id_column_name": "id", "token": "secret"}
    first = run_multilabel.main([f"--{name}={value}" if value is not True else f"--{name}" for name, value in options.items()])
    text = (tmp_path / "o" / "args.yaml").read_text()
    assert text.startswith(
        "# Given, or found in the data. The run again: python run_multilabel.py args.yaml --output_dir other\n"
    )
    test = str(tmp_path / "test.jsonl")
    assert yaml.safe_load(text) == {
        "train_file": str(tmp_path / "data" / "part*.jsonl"), "test_file": f"{test},{test}", "output_dir": str(tmp_path / "o"),
        "model_name_or_path": str(tmp_path / "model"), "max_steps": 2, "prior_bias": False, "id_column_name": "id",
        "text_column_names": "text", "label_column_names": "labels",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run_multilabel.main([str(tmp_path / "o" / "args.yaml"), "--output_dir=other"])
    assert again["predict_loss"] == first["predict_loss"] and again["eval_loss"] == first["eval_loss"]
    assert (tmp_path / "elsewhere" / "other" / "predictions.csv").read_text() == (tmp_path / "o" / "predictions.csv").read_text()


def test_args_yaml_has_what_was_found(tmp_path, tiny_model):
    train = write_jsonl(tmp_path / "a.jsonl", make_choice_rows(20))
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", "--max_steps=1", f"--output_dir={tmp_path / 'o'}"]
    run_multiple_choice.main(base)
    options = yaml.safe_load((tmp_path / "o" / "args.yaml").read_text())
    found = {name: value for name, value in options.items() if name.endswith(("column_name", "column_names"))}
    assert found == {
        "context_column_name": "context", "choice_column_names": "choices", "label_column_name": "label",
    }  # fmt: skip


def test_names_on_the_hub_and_texts_are_no_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "a,b.csv").touch()
    options = {"model_name_or_path": "bert-base-uncased", "text_column_names": "text", "tokenizer_name": "text"}
    options |= {"train_file": "a,b.csv", "test_file": "hf://x/y.csv,b.csv", "search_space": "{loss: {choice: [bce]}}"}
    here = str(tmp_path)
    assert in_full(options) == options | {
        "tokenizer_name": f"{here}/text", "train_file": f"{here}/a,b.csv", "test_file": f"hf://x/y.csv,{here}/b.csv"
    }  # fmt: skip
