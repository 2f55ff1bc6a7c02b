"""The loss against a computation by hand, and equal however a batch is cut: 1 x 16, 4 x 4, in parts, 2 processes x 8."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import LABELS, check_cuts, launch_two_processes, make_rows, one_hot, write_csv

import run_multilabel
from run_multilabel import multilabel_loss
from utils.files.cells import UNKNOWN
from utils.training.head import positive_weights, prior_log_odds

LOGITS = torch.tensor([[2.0, -1.0, 0.3], [-30.0, 40.0, 0.0]])
TARGETS = torch.tensor([[1.0, 0.0, UNKNOWN], [0.0, 1.0, 0.25]])
KNOWN = TARGETS != UNKNOWN


def test_binary_cross_entropy_is_that_of_torch():
    weight = torch.tensor([1.0, 2.0, 3.0])
    losses = multilabel_loss(LOGITS, TARGETS, "bce", weight)
    expected = F.binary_cross_entropy_with_logits(LOGITS, TARGETS.clamp(min=0), pos_weight=weight, reduction="none")
    torch.testing.assert_close(losses[KNOWN], expected[KNOWN])
    assert (losses[~KNOWN] == 0).all() and (multilabel_loss(LOGITS, TARGETS)[~KNOWN] == 0).all()


def test_label_smoothing_moves_targets_towards_one_half():
    expected = F.binary_cross_entropy_with_logits(LOGITS, TARGETS.clamp(min=0) * 0.8 + 0.1, reduction="none")
    torch.testing.assert_close(multilabel_loss(LOGITS, TARGETS, smoothing=0.2)[KNOWN], expected[KNOWN])


def test_focal_and_asymmetric_by_hand():
    p = torch.sigmoid(torch.tensor(0.3)).item()
    logits = torch.tensor([[0.3, 0.3]])
    focal = multilabel_loss(logits, torch.tensor([[1.0, 0.0]]), "focal")
    np.testing.assert_allclose(focal, [[-((1 - p) ** 2) * np.log(p), -(p**2) * np.log(1 - p)]], rtol=1e-5)
    asymmetric = multilabel_loss(logits, torch.tensor([[1.0, 0.0]]), "asymmetric")
    shifted = p - 0.05
    np.testing.assert_allclose(asymmetric, [[-(1 - p) * np.log(p), -(shifted**4) * np.log(1 - shifted)]], rtol=1e-5)
    assert multilabel_loss(torch.tensor([[-4.0]]), torch.zeros(1, 1), "asymmetric").item() == 0  # inside the margin


@pytest.mark.parametrize("kind", ["bce", "focal", "asymmetric"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_loss_is_float32_and_finite_in_every_precision(kind, dtype):
    logits = torch.tensor([[60.0, -60.0, 0.1]], dtype=dtype, requires_grad=True)
    loss = multilabel_loss(logits, torch.tensor([[0.0, 1.0, UNKNOWN]]), kind).sum()
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_weights_and_prior_follow_the_known_cells():
    targets = np.array([[1, 0], [1, UNKNOWN], [0, 0], [0, UNKNOWN], [0, 1]], np.float32)
    torch.testing.assert_close(positive_weights("balanced", targets), torch.tensor([1.5, 2.0]))
    torch.testing.assert_close(positive_weights("sqrt", targets), torch.tensor([1.5, 2.0]).sqrt())
    torch.testing.assert_close(positive_weights("3", targets), torch.tensor([3.0, 3.0]))
    assert positive_weights("none", targets) is None
    expected = torch.tensor([2.5 / 3.5, 1.5 / 2.5]).log()
    torch.testing.assert_close(prior_log_odds(targets, None), expected)
    torch.testing.assert_close(prior_log_odds(targets, torch.tensor([2.0, 1.0])), expected + torch.tensor([2.0, 1.0]).log())


def write_masked_rows(path):
    """72 rows, so that the last of the steps of 16 is half a batch, with cells unknown here and there."""
    rows = []
    for number, row in enumerate(make_rows(72, 5)):
        cells = one_hot(row)
        for column in range(4):
            if (number + column) % 5 == 0:
                cells[column] = -1 if number % 2 else ""
        rows.append([row["text"], *cells])
    return write_csv(path, ["text", *LABELS], rows)


# processes, rows, accumulated batches, tokens at once
SHAPES = {"1 x 16": (1, 16, 1, 0), "4 x 4": (1, 4, 4, 0), "1 x 16 in parts": (1, 16, 1, 40), "2 processes x 8": (2, 8, 1, 30)}
CASES = [
    ["--loss=bce"],
    ["--loss=bce", "--pos_weight=balanced", "--label_smoothing_factor=0.1"],
    ["--loss=focal", "--pos_weight=sqrt"],
    ["--loss=asymmetric"],
    ["--long_texts=windows", "--max_seq_length=7"],
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_model):
    """For each case the folder and arguments of a run of each shape, and of a run in one and in two processes with test data.

    Those in two processes have run.
    """
    folder = tmp_path_factory.mktemp("runs")
    train, test = write_masked_rows(folder / "train.csv"), folder / "test.csv"
    write_csv(test, ["text", *LABELS], [[r["text"], *one_hot(r)] for r in make_rows(37, 6)])
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", "--fp16=False", "--num_train_epochs=2"]
    base += ["--learning_rate=1e-4", "--linear_probe=False"]  # or the logits, and the rounding, would be large
    found = []
    for number, extra in enumerate(CASES):
        found.append({})
        for name, (_, rows, accumulated, tokens) in SHAPES.items():
            output = folder / str(number) / name.replace(" ", "")
            found[-1][name] = output, [
                *base, f"--output_dir={output}", *extra, "--logging_steps=1", "--validation_fraction=0", "--max_grad_norm=0",
                f"--per_device_train_batch_size={rows}", f"--gradient_accumulation_steps={accumulated}",
                f"--max_tokens_per_batch={tokens}",
            ]  # fmt: skip
    base += [f"--validation_file={test}", f"--test_file={test}", "--per_device_eval_batch_size=8"]
    one, two = ([*base, f"--output_dir={folder / name}"] for name in ("one", "two"))
    found.append({"one": (folder / "one", [*one, "--per_device_train_batch_size=16"])})
    found[-1]["two"] = folder / "two", [*two, "--per_device_train_batch_size=8"]
    in_two = [run[name][1] for run in found for name in ("2 processes x 8", "two") if name in run]
    launch_two_processes("run_multilabel", in_two, folder)
    return found


@pytest.mark.slow  # all in one test: its processes are started once
def test_loss_and_gradient_do_not_depend_on_how_a_step_is_cut(runs):
    for case in runs[: len(CASES)]:
        check_cuts(case, SHAPES, run_multilabel.main)


@pytest.mark.slow
def test_two_processes_give_the_metrics_and_predictions_of_one(runs):
    one, two = runs[-1]["one"], runs[-1]["two"][0]
    metrics = run_multilabel.main(one[1])
    results = json.loads((two / "all_results.json").read_text())
    for name in ("eval_loss", "predict_loss", "eval_roc_auc_macro", "predict_average_precision_macro", "predict_f1_macro"):
        assert results[name] == pytest.approx(metrics[name], abs=1e-6), name
    first, second = (np.genfromtxt(path / "predictions.csv", delimiter=",", skip_header=1)[:, :5] for path in (one[0], two))
    np.testing.assert_allclose(first, second, rtol=0, atol=2e-6)  # both are rounded to six digits
