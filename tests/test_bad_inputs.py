"""Every mistake of `bad_inputs` ends with one line before a model is loaded, and leaves the output folder as it was."""

import importlib

import pytest
from bad_inputs import CASES

from utils.arguments import UserError

PAIRS = [(name, script) for name, case in CASES.items() for script in case.scripts]


@pytest.mark.parametrize(("name", "script"), PAIRS)
def test_bad_input_ends_with_one_line_and_good_input_trains(name, script, tmp_path, tiny_model, monkeypatch):
    case, module, output = CASES[name], importlib.import_module(script), tmp_path / "output"
    arguments = [
        f"--model_name_or_path={tiny_model}",
        f"--output_dir={output}",
        "--max_steps=1",
        *case.arguments(script, tmp_path),
    ]
    if case.error is None:
        assert module.main([*arguments, "--validation_fraction=0"])["train_loss"] > 0
        return
    output.mkdir()
    (output / "predictions.csv").write_text("precious")
    monkeypatch.setattr(module, "load_model", lambda *_: pytest.fail("a model is loaded"))
    with pytest.raises(UserError, match=case.error) as told:
        module.main(arguments)
    assert "\n" not in str(told.value)
    assert {path.name: path.read_text() for path in output.iterdir()} == {"predictions.csv": "precious"}
