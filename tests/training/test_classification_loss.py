"""The loss against torch's own, and equal however a batch is cut: 1 x 16, 4 x 4, in parts, 2 processes x 8."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import check_cuts, launch_two_processes, make_rows, write_jsonl

import run_classification
from run_classification import classification_loss, row_weights
from utils.data.classes import ClassFormat
from utils.files.cells import UNKNOWN
from utils.training.head import class_prior, class_weights

LOGITS = torch.tensor([[2.0, -1.0, 0.3], [-3.0, 4.0, 0.0], [0.1, 0.2, 0.3]])
IDS = torch.tensor([0, 2, 1])
WEIGHTS = torch.tensor([1.0, 2.0, 3.0])


def mean(logits, targets, kind="cross_entropy", weights=None, smoothing=0.0):
    losses = classification_loss(logits, targets, kind, weights, smoothing)
    return losses.sum() / row_weights(targets, weights).sum()


def test_cross_entropy_is_that_of_torch():
    torch.testing.assert_close(mean(LOGITS, IDS), F.cross_entropy(LOGITS, IDS))
    torch.testing.assert_close(
        mean(LOGITS, IDS, weights=WEIGHTS, smoothing=0.2),
        F.cross_entropy(LOGITS, IDS, weight=WEIGHTS, label_smoothing=0.2),
    )
    shares = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    torch.testing.assert_close(mean(LOGITS, shares), F.cross_entropy(LOGITS, shares))
    masked = torch.tensor([0, UNKNOWN, 1]).long()
    torch.testing.assert_close(mean(LOGITS, masked), F.cross_entropy(LOGITS, masked))


def test_the_three_binary_forms():
    logits, targets = LOGITS[:, :2], torch.tensor([[0.0], [1.0], [0.3]])
    rows = torch.cat([1 - targets, targets], dim=1)
    expected = F.binary_cross_entropy_with_logits(logits[:, :1], targets)
    for kind in ("cross_entropy", "bce"):
        torch.testing.assert_close(mean(logits[:, :1], targets, kind), expected)
    torch.testing.assert_close(mean(logits, rows, "bce"), F.binary_cross_entropy_with_logits(logits, rows))
    torch.testing.assert_close(mean(logits[:2], torch.tensor([0, 1])), mean(logits[:2], rows[:2]))
    rows[1] = torch.nan
    known = [0, 2]
    torch.testing.assert_close(mean(logits, rows, "bce"), F.binary_cross_entropy_with_logits(logits[known], rows[known]))


def test_focal_and_squared_error_by_hand():
    p = LOGITS.softmax(dim=1)[torch.arange(3), IDS]
    torch.testing.assert_close(classification_loss(LOGITS, IDS, "focal"), -((1 - p) ** 2) * p.log())
    numbers = torch.tensor([1.0, torch.nan, 0.1])
    losses = classification_loss(LOGITS[:, :1], numbers, "squared_error")
    torch.testing.assert_close(losses, torch.tensor([1.0, 0.0, 0.0]))
    assert row_weights(numbers).tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", ["cross_entropy", "bce", "focal"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("targets", [torch.tensor([0, 1, UNKNOWN]).long(), torch.tensor([[0.0], [1.0], [torch.nan]])])
def test_loss_is_float32_and_finite_in_every_precision(kind, dtype, targets):
    logits = torch.tensor([[60.0, -60.0], [60.0, -60.0], [1.0, 1.0]], dtype=dtype)[:, : 2 if targets.ndim == 1 else 1]
    logits.requires_grad_()
    losses = classification_loss(logits, targets, kind)
    losses.sum().backward()
    assert losses.dtype == torch.float32 and torch.isfinite(losses).all() and torch.isfinite(logits.grad).all()
    assert losses[2] == 0 and row_weights(targets).tolist() == [1, 1, 0]


def test_weights_and_prior():
    shares = np.array([[1, 0]] * 6 + [[0, 1]] * 2, np.float32)
    torch.testing.assert_close(class_weights("balanced", shares), torch.tensor([8 / 12, 8 / 4]))
    torch.testing.assert_close(class_weights("sqrt", shares), torch.tensor([8 / 12, 8 / 4]).sqrt())
    torch.testing.assert_close(class_weights("1,3", shares), torch.tensor([1.0, 3.0]))
    assert class_weights("none", shares) is None
    frequencies = torch.tensor([6.5, 2.5]) / 9
    two, one, apart = (
        ClassFormat("binary", form, "label", ["no", "yes"], independent=form == "one_hot")
        for form in ("two_logits", "one_logit", "one_hot")
    )
    torch.testing.assert_close(class_prior(shares, None, two), frequencies.log())
    torch.testing.assert_close(class_prior(shares, None, one), torch.tensor([2.5 / 6.5]).log())
    torch.testing.assert_close(class_prior(shares, None, apart), frequencies.logit())
    weighted = class_prior(shares, torch.tensor([1.0, 2.0]), one)
    torch.testing.assert_close(weighted, torch.tensor([5 / 6.5]).log())


# processes, rows, accumulated batches, tokens at once
SHAPES = {"1 x 16": (1, 16, 1, 0), "4 x 4": (1, 4, 4, 0), "1 x 16 in parts": (1, 16, 1, 40), "2 processes x 8": (2, 8, 1, 30)}
CASES = [
    ("binary", ["--class_weights=balanced"]),
    ("binary", ["--binary_form=one_logit", "--class_weights=sqrt", "--loss=focal"]),
    ("binary", ["--binary_form=one_hot", "--loss=bce", "--class_weights=balanced"]),
    ("multi", ["--class_weights=balanced", "--label_smoothing_factor=0.1"]),
    ("multi", ["--loss=focal"]),
    ("regression", []),
]


@pytest.fixture(scope="module")
def cuts(tmp_path_factory, tiny_model):
    """For each case the folder and arguments of a run of each shape; those in two processes have run."""
    found = []
    for kind, extra in CASES:
        folder = tmp_path_factory.mktemp(kind)
        rows = [
            {
                "text": row["text"],
                "label": {
                    "binary": "yes" if "defect" in row["labels"] else "no",
                    "multi": (row["labels"] or ["none"])[0],
                    "regression": len(row["labels"]) + 0.5,
                }[kind],
            }
            for row in make_rows(72, 5)  # the last of the steps of 16 is half a batch
        ]
        train = write_jsonl(folder / "train.jsonl", rows)
        found.append({})
        for name, (_, batch, accumulated, tokens) in SHAPES.items():
            output = folder / name.replace(" ", "")
            found[-1][name] = output, [
                f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={output}", *extra, "--fp16=False",
                f"--per_device_train_batch_size={batch}", f"--gradient_accumulation_steps={accumulated}", "--logging_steps=1",
                "--validation_fraction=0", "--num_train_epochs=2", "--learning_rate=1e-4", "--max_grad_norm=0",
                "--linear_probe=False",
                f"--max_tokens_per_batch={tokens}",
            ]  # fmt: skip
    in_two = [case["2 processes x 8"][1] for case in found]
    launch_two_processes("run_classification", in_two, tmp_path_factory.mktemp("two"))
    return found


@pytest.mark.slow  # all in one test: its processes are started once
def test_loss_and_gradient_do_not_depend_on_how_a_step_is_cut(cuts):
    for case in cuts:
        check_cuts(case, SHAPES, run_classification.main)
