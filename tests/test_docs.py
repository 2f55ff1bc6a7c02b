"""README.md and docs/ tell of what exists: commands run as they are written, options, targets, files and headings are there."""

import gzip
import importlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import LABELS, ROOT, make_choice_rows, make_rows, write_csv, write_jsonl
from datasets import Dataset, DatasetDict

from utils.command_line import ArgumentParser

TELL_OF_COPIES = {"adapting.md", "new_script.md"}  # whose options are not those of the scripts here
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = ("run_classification", "run_mlm", "run_multilabel", "run_multiple_choice")
PROGRAMS = {"export", "python", "accelerate", "torchrun", "make", "pip", "cp", "cd", "git"}
OURS = ("configs/", "data/", "benchmarks/")  # what a command names there is not the reader's to bring
SMALL = ["--max_steps=2", "--max_train_samples=24", "--max_eval_samples=8", "--max_predict_samples=8"]
OPTION = re.compile(r"(?<![\w-])--[a-z]\w*(?:-\w+)*")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shell_commands(text: str) -> list[list[str]]:
    """Return the commands of a shell script as lists of words; of a loop those within it, without variables set before one."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                if words and words[0] not in ("for", "done", "wait"):
                    found.append(words)
                words = []
            elif word != "do" and (words or not re.match(r"[A-Z_]+=", word)):
                words.append(word)
    return found


def commands_of(page: Path) -> list[list[str]]:
    """Return the commands in the ```bash blocks of a page, and those of a script in a `code span`."""
    text = page.read_text(encoding="utf-8")
    found = [command for language, block in FENCE.findall(text) if language == "bash" for command in shell_commands(block)]
    spans = re.findall(rf"`(?:python )?((?:{'|'.join(SCRIPTS)})\.py(?: [^`]*)?)`", FENCE.sub("", text))
    return found + [["python", *shlex.split(span)] for span in spans]


def split_at_script(command: list[str]) -> tuple[list[str], str, list[str]] | None:
    """Return the launcher with its options, the name of the script, and the script's options; None if none of ours is run."""
    place = next((i for i, word in enumerate(command) if word.removesuffix(".py") in SCRIPTS and word.endswith(".py")), None)
    return None if place is None else (command[:place], command[place].removesuffix(".py"), command[place + 1 :])


COMMANDS = [(page, command) for page in PAGES for command in commands_of(page)]
RUNS = {(script, *argv): None for _, command in COMMANDS for _, script, argv in filter(None, [split_at_script(command)])}


# --- What only has to be read ---


def test_pages_are_short():
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    lines = {name: len(text.splitlines()) for name, text in texts.items()}
    assert lines.pop("README.md") <= 180
    assert {name: count for name, count in lines.items() if count >= 150} == {}


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8")))
    for link in links:
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if link.startswith("https://"):
            continue
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def test_every_page_is_linked_from_the_readme():
    readme = PAGES[0].read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"](docs/{page.name})" not in readme] == []


def make_targets() -> list[str]:
    spans = [target for page in PAGES for target in re.findall(r"`make ([\w-]+)`", page.read_text(encoding="utf-8"))]
    return sorted({*spans, *(command[1] for _, command in COMMANDS if command[0] == "make")})


@pytest.mark.parametrize("target", make_targets())
def test_make_has_the_target(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda value: value.name if isinstance(value, Path) else None)
def test_commands_name_programs_and_files_that_exist(page, command):
    assert command[0] in PROGRAMS, command
    ours = [word for word in command if word.startswith(OURS) or (word.endswith(".py") and not word.startswith("path/"))]
    required = [after for word, after in zip(command, command[1:], strict=False) if word in ("-r", "--config_file")]
    assert [name for name in ours + required if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    "command", [command for _, command in COMMANDS if command[0] in ("accelerate", "torchrun")], ids=" ".join
)
def test_launchers_take_their_options(command):
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    launcher, script, argv = split_at_script(command)
    if launcher[0] == "accelerate":
        assert launcher[1] == "launch"
        known, options = launch_command_parser(), launcher[2:]
    else:
        known, options = get_args_parser(), launcher[1:]
    parsed = known.parse_args([*options, f"{script}.py", *argv])  # exits for an option that there is not
    assert parsed.training_script == f"{script}.py"


def test_options_in_the_text_exist():
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    known = {"--index-url", "--help"}  # the first is pip's
    for script in SCRIPTS:
        parser = ArgumentParser(importlib.import_module(script).KINDS, add_help=False)
        known |= {option for action in parser._actions for option in action.option_strings}
    for path in (*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tools/*.py")):
        known |= set(OPTION.findall(path.read_text(encoding="utf-8")))
    for parser in (launch_command_parser(), get_args_parser()):
        known |= {option for action in parser._actions for option in action.option_strings}
    for page in PAGES:
        if page.name not in TELL_OF_COPIES:
            assert set(OPTION.findall(page.read_text(encoding="utf-8"))) - known == set(), page.name


# --- What has to be run ---


def read_options(argv: list[str]) -> dict[str, str]:
    """Return the options that a command gives, in its file of options or after it."""
    options = yaml.safe_load(Path(argv[0]).read_text(encoding="utf-8")) if argv and argv[0].endswith(".yaml") else {}
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            options[word.removeprefix("--")] = True if after.startswith("--") else after
    return options


def rows_of(script: str, options: dict[str, str], count: int, seed: int) -> list[dict]:
    """Return rows of the shape that a script reads, in the columns that the options name."""
    described = "label_descriptions" in options
    if script == "run_multiple_choice" and not described:
        return make_choice_rows(count, seed)
    several = script == "run_multilabel"
    label = options.get("label_column_names") or options.get("label_column_name") or ("labels" if several else "label")
    texts = options.get("text_column_names", "text").split(",")
    return [
        {"id": row["id"]}
        | {column: row["text"] for column in texts}
        | {label: ";".join(row["labels"]) if several else "praise" if "praise" in row["labels"] else "other"}
        for row in make_rows(count, seed)
    ]


def write_rows(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".jsonl" in path.suffixes:
        write_jsonl(path, rows)
        return
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows], delimiter)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))


def furnish(script: str, options: dict[str, str], model: Callable[[], str]) -> None:
    """Put what a command names, and the repository does not hold, into the current folder: small, and of the right shape."""
    seeds = {"train_file": 1, "validation_file": 2, "test_file": 3, "augmented_files": 1}
    for name, seed in seeds.items():
        for path in map(Path, options.get(name, "").split(",") if name in options else ()):
            if not path.exists():
                write_rows(path, rows_of(script, options, 24 if name in ("train_file", "augmented_files") else 8, seed))
    if "dataset_name" in options:
        splits = {name: Dataset.from_list(rows_of(script, options, 24, seed)) for seed, name in enumerate(("train", "test"))}
        DatasetDict(splits).save_to_disk(options["dataset_name"])
    if "sample_submission" in options:
        rows = [{"id": row["id"]} | dict.fromkeys(LABELS, 0.5) for row in rows_of(script, options, 8, seeds["test_file"])]
        write_rows(Path(options["sample_submission"]), rows)
    if "pseudo_labels" in options:
        (folder := Path(options["pseudo_labels"])).mkdir(parents=True)
        rows = rows_of(script, options, 8, seeds["test_file"])
        write_rows(folder / "predictions.csv", [{"id": row["id"], "prediction": LABELS[0]} for row in rows])
        (folder / "report.json").write_text(json.dumps({"kind": "labels", "labels": LABELS}))
    if "label_descriptions" in options:
        Path(options["label_descriptions"]).write_text("praise: The customer is happy\nother: The customer is not\n")
    if "model_name_or_path" in options:
        shutil.copytree(model(), options["model_name_or_path"])


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> str:
    """A tiny random model that reads as many tokens as those that the commands name."""
    from transformers import set_seed

    from utils.splits.smoke_test import save_tiny_model

    folder = tmp_path_factory.mktemp("encoder")
    set_seed(0)
    save_tiny_model([row["text"] for row in make_rows(200)], str(folder), positions=512)
    return str(folder)


def train(script: str, encoder: str, folder: Path) -> str:
    """Train a model of a script, for the commands that predict with one, and return its folder."""
    write_rows(folder / "train.csv", rows_of(script, {}, 24, 0))
    options = [f"--model_name_or_path={encoder}", f"--train_file={folder / 'train.csv'}", f"--output_dir={folder / 'trained'}"]
    importlib.import_module(script).main([*options, *SMALL])
    return str(folder / "trained")


@pytest.mark.parametrize(("script", "argv"), [(run[0], list(run[1:])) for run in RUNS], ids=[" ".join(run) for run in RUNS])
def test_command_runs(script, argv, encoder, tmp_path, monkeypatch):
    """Run a command as it is written, its options all kept, but small: in a folder that holds what it names."""
    main, sample = importlib.import_module(script).main, importlib.import_module(script).SAMPLE
    if argv == ["--help"]:
        with pytest.raises(SystemExit, match="0"):
            main(argv)
        return
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("configs", "data"):  # copies, so that nothing can be written into the repository
        shutil.copytree(ROOT / name, name)
    argv = argv or [str(sample)]
    if argv[0].endswith(".yaml") and not Path(argv[0]).exists():  # a file of the reader's own
        Path(argv[0]).parent.mkdir(exist_ok=True)
        validation = "" if "--num_folds" in argv else "validation_file: validation.csv\n"
        Path(argv[0]).write_text(f"model_name_or_path: tiny\ntrain_file: train.csv\n{validation}")
    options = read_options(argv)
    learns = ("train_file" in options or "dataset_name" in options) and "extend_labels" not in options
    furnish(script, options, lambda: encoder if learns else train(script, encoder, tmp_path))
    small = [option for option in SMALL if script != "run_mlm" or "predict" not in option]
    main([*argv, *small, *(["--search_trials=1"] if "search_trials" in options else [])])
    if "text" in options:  # is printed
        assert not Path(options.get("output_dir", "outputs")).exists()
    elif "smoke_test" not in options:
        written = {path.name for path in Path(options.get("output_dir", "outputs")).rglob("*")}
        assert "data_report.json" in written if "check_data" in options else "args.yaml" in written
        assert "predictions.csv" in written or "test_file" not in options or "check_data" in options
