"""Data is read as it is meant, or asked about; what a question offers to copy leads on, never back. See readings.py."""

import dataclasses
import functools
import importlib
import re
import shlex

import pytest
from readings import PUBLIC, READINGS, Reading

from utils.arguments import UserError
from utils.training.task import Task

OPTION = re.compile(r"""(?:(run_\w+)\.py\s+)?--([a-z]\w*)(?:[= ](?!--)((?:'[^']*'|"[^"]*"|[^\s'"])+))?""")
PROSE = set("to or for and if in is it with where that the as takes needs makes which says decides alone names reads".split())
MOST = 8  # suggestions of an error that are tried


def probe(script: str, options: list[str], folder) -> Task | UserError:
    """Read the data of a command line, without a model. Return what it was read as, or the error."""
    module = importlib.import_module(script)
    argv = [*options, "--check_data", "--validation_fraction=0", f"--output_dir={folder / 'out'}"]
    try:
        args = module.read_arguments(module.KINDS, argv, module.__doc__, module.SAMPLE, module.EXAMPLE_ROWS, module.ROW_COLUMNS)
        return module.prepare(module.load_splits(args.data), args)
    except UserError as error:
        return error


@functools.cache
def flags(script: str) -> set[str]:
    """Return the names of a script's options that take no value."""
    kinds = importlib.import_module(script).KINDS
    return {part.name for kind in kinds for part in dataclasses.fields(kind) if part.type in (bool, "bool")}


def suggestions(message: str, script: str) -> list[tuple[str, list[str]]]:
    """Return the commands that a message offers to copy: a script and options. An option without its value is none."""
    found: list[tuple[str, list[str]]] = []
    end = -1
    for match in OPTION.finditer(message):
        other, name, value = match.groups()
        flag = name in flags(other or script)
        written = (value or "").rstrip(",;:.)`")
        if flag:
            option = f"--{name}"
        elif not written or written in PROSE:
            continue
        else:
            option = f"--{name}={''.join(shlex.split(written))}"
        follows = found and not other and message[end : match.start()].strip(" `") == ""
        if follows:
            found[-1][1].append(option)
        else:
            found.append((other or script, [option]))
        end = match.start(3) + len(written) if written and not flag else match.start(2) + len(name)
    return found[:MOST]


def follow(script: str, options: list[str], error: UserError, folder, steps: int = 2) -> list[Task]:
    """Return what the suggestions of an error lead to. Each must lead on: to what is read, within so many `steps`."""
    tasks = []
    for other, added in suggestions(str(error), script):
        if set(added) <= set(options):  # the message quotes what was given
            continue
        files = [option for option in options if re.match(r"--(train|validation|test)_file=", option)]
        given = [*(options if other == script else files), *added]
        result = probe(other, given, folder)
        if isinstance(result, Task):
            tasks.append(result)
            continue
        further = follow(other, given, result, folder, steps - 1) if steps > 1 else []
        if steps > 1:
            assert further, f"{other}.py {' '.join(added)} is suggested, and leads to: {result}"
        tasks += further
    return tasks


def differences(task: Task, reading: Reading) -> dict[str, tuple]:
    """Return where the data was read otherwise than meant: what it was read as, and what is meant."""
    texts, label = reading.expected()
    found_texts, found_label = task.as_read("train", 0)
    pairs = {"texts": (tuple(found_texts), tuple(texts))}
    if isinstance(label, set):
        pairs["label"] = ({name for name in found_label.split(";") if name and not name.startswith("?")}, label)
    elif isinstance(label, tuple):
        pairs["label"] = (found_label, found_label if found_label in label else label)
    elif label is not None:
        pairs["label"] = (found_label, f"{label:g}" if isinstance(label, float) else label)
    if reading.labels is not None:
        pairs["labels"] = (sorted(task.labels), sorted(reading.labels))
    if reading.targets is not None:
        targets = dict(zip(task.labels, task.targets("train")[0].tolist(), strict=True))
        found = tuple(None if targets.get(name) == task.unknown else targets.get(name) for name in reading.labels)
        pairs["targets"] = (found, reading.targets)
    if reading.splits is not None:
        pairs["splits"] = (set(task.splits), reading.splits)
    if reading.unlabelled_test:
        pairs["test labels"] = (task.targets("test"), None)
    if reading.rows is not None:
        pairs["rows"] = (len(task.splits["train"]), reading.rows)
    if reading.id is not None:
        pairs["id"] = (task.id_column, reading.id)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: f"{reading.script.removeprefix('run_')}: {reading.name}")
def test_data_is_read_as_meant_or_asked_about(reading, tmp_path):
    if reading.needs:
        pytest.importorskip(reading.needs)
    if reading.public and not (PUBLIC / reading.public).exists():
        pytest.skip(f"no {reading.public} in {PUBLIC}")
    options = [*reading.write(tmp_path), *reading.options]
    result = probe(reading.script, options, tmp_path)
    if isinstance(result, Task):
        assert not reading.refused or reading.texts, f"read as {result.as_read('train', 0)}, not refused"
        assert not reading.asked or reading.or_read, f"read as {result.as_read('train', 0)}, not asked about"
        assert differences(result, reading) == {}
        return
    message = str(result)
    assert "\n" not in message
    assert reading.asked or reading.refused, f"not read: {message}"
    assert re.search(reading.asked or reading.refused, message), message
    if not reading.asked:
        return
    assert all(value in message for value in reading.shown), f"{reading.shown} should be shown: {message}"
    tasks = follow(reading.script, options, result, tmp_path, reading.steps)
    assert any(differences(task, reading) == {} for task in tasks), f"nothing to copy leads to what is meant: {message}"
    if reading.answer:
        script = reading.elsewhere or reading.script
        answered = probe(script, [*options, *reading.answer], tmp_path)
        assert isinstance(answered, Task), f"{' '.join(reading.answer)} is answered with: {answered}"
        assert differences(answered, reading) == {}


@pytest.mark.parametrize(
    "message, script, expected",
    [
        (
            "two texts: use --text_column_names query,passage or --text_column_names passage",
            "run_classification",
            [["--text_column_names=query,passage"], ["--text_column_names=passage"]],
        ),
        (
            "join them (--text_column_names 'Title,Review Text' --text_column_delimiter ' '); see --text_column_names",
            "run_classification",
            [["--text_column_names=Title,Review Text", "--text_column_delimiter= "]],
        ),
        (
            "no header? add --no_header --column_names text,label. --text_column_names to change",
            "run_multilabel",
            [["--no_header", "--column_names=text,label"]],
        ),
        (
            "use run_multilabel.py --label_column_names tags (or --label)",
            "run_classification",
            [["--label_column_names=tags"]],
        ),
    ],
)
def test_what_a_message_offers_to_copy(message, script, expected, monkeypatch):
    monkeypatch.setattr(f"{__name__}.flags", lambda _: {"no_header"})
    assert [options for _, options in suggestions(message, script)] == expected


def test_no_case_is_there_twice():
    names = [(reading.script, reading.name) for reading in READINGS]
    assert len(names) == len(set(names))


CROSSING = [reading for reading in READINGS if (reading.elsewhere or "use run_" in (reading.asked or "")) and not reading.public]


@pytest.mark.parametrize("reading", CROSSING, ids=lambda reading: f"{reading.script.removeprefix('run_')}: {reading.name}")
def test_advice_to_take_another_script_reaches_a_run(reading, tmp_path, tiny_model):
    options = [*reading.write(tmp_path), *reading.options]
    error = probe(reading.script, options, tmp_path)
    if isinstance(error, Task):
        return
    files = [option for option in options if re.match(r"--(train|validation|test)_file=", option)]
    advice = [(script, added) for script, added in suggestions(str(error), reading.script) if script != reading.script]
    for script, added in advice:
        run = [*files, *added, f"--model_name_or_path={tiny_model}", "--max_steps=1", "--validation_fraction=0"]
        module = importlib.import_module(script)
        for number in range(2):  # that script may ask for the text once
            try:
                assert module.main([*run, f"--output_dir={tmp_path / script}"])["train_loss"] > 0
                break
            except UserError as question:
                more = [extra for other, extra in suggestions(str(question), script) if other == script]
                assert number == 0 and more, f"{script}.py {' '.join(added)} ends with: {question}"
                run += more[0]
