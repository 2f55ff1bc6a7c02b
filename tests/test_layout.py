"""The house rules that keep a script copyable: imports go down only, and a script with utils/ runs anywhere."""

import ast
import shutil
import subprocess

import pytest
from conftest import ROOT, launch

SCRIPTS = sorted(ROOT.glob("run_*.py"))
OPTIONAL = {"optuna", "peft", "openpyxl", "onnx", "onnx_ir", "onnxruntime"}
LATE = {"matplotlib", "jinja2"}  # imported in functions only, once training has ended


def imported(path, top_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


# From the ground up.
WINGS = ("", "files", "columns", "splits", "data", "batches", "training", "scoring", "publishing", "results")
WINGS += ("ensembles", "search")


def test_imports_go_down_only_between_files_and_between_wings():
    paths = [path for path in (ROOT / "utils").rglob("*.py") if path.name != "__init__.py"]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    floors = {name: WINGS.index(name.split(".")[1] if name.count(".") == 2 else "") for name in modules}
    assert SCRIPTS and {len(set(WINGS))} == {len(set(floors.values()))}
    needs = {name: {m for m in imported(path) if m in modules} for name, path in modules.items()}
    for path in [*SCRIPTS, *modules.values()]:
        assert not any(name.startswith("run_") for name in imported(path)), path
        assert not (OPTIONAL | LATE) & set(imported(path, top_level_only=True)), path
    assert not needs["utils.arguments"]
    for name, needed in needs.items():
        assert all(floors[other] <= floors[name] for other in needed), f"{name} imports from a wing above it: {needed}"
    for wing in WINGS[1:]:
        assert 1 < sum(name.startswith(f"utils.{wing}.") for name in modules) <= 9, wing
    while needs:  # a module that needs none of the rest can always be taken away, or there is a circle
        free = {name for name, needed in needs.items() if not needed & set(needs)}
        assert free, f"circular imports among {sorted(needs)}"
        needs = {name: needed for name, needed in needs.items() if name not in free}


# A script as it is run with --smoke_test, and where that ends well, without options.
TWICE = """
import runpy, sys
sys.path.insert(0, "")
for sys.argv in ([sys.argv[1], "--smoke_test"], [sys.argv[1]]):
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_script_runs_from_an_empty_folder(tmp_path):
    for script in SCRIPTS:
        shutil.copy(script, tmp_path)
    shutil.copytree(ROOT / "utils", tmp_path / "utils")
    for script in SCRIPTS:
        result = launch("python", "-c", TWICE, script.name, cwd=tmp_path, check=False)
        passed, _, without = result.stderr.partition("smoke test passed")
        assert result.returncode == 2 and "error: nothing to do" in without and "error: " not in passed


@pytest.mark.slow
def test_help_has_a_line_for_every_option_of_ours():
    for script in SCRIPTS:
        shown = launch("python", script.name, "--help").stdout
        assert "--train_file" in shown and "a file, a comma-separated list, or a glob" in " ".join(shown.split())


def test_no_file_is_large():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert not [name for name in tracked if (ROOT / name).exists() and (ROOT / name).stat().st_size > 300_000]
