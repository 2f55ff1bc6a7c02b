"""--augmented_files: what the model is trained on, and nothing of it where it is judged."""

from pathlib import Path

import pytest
import torch
from conftest import make_rows, write_jsonl
from datasets import Dataset
from safetensors.torch import load_file

import run_classification
import run_multilabel
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

STEPS = ["--max_steps=4", "--per_device_train_batch_size=8", "--learning_rate=1e-3", "--warmup_steps=0"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def copies_of(rows: list[dict]) -> list[dict]:
    return [{"id": row["id"], "text": f"copy {row['text']}"} for row in rows]


def trained_on(monkeypatch) -> list[Dataset]:
    """Return a list that gets the training rows of each run, before they are encoded."""
    found, encode = [], Task.encode

    def record(self, *args):
        found.append(self.splits["train"])
        encode(self, *args)

    monkeypatch.setattr(Task, "encode", record)
    return found


@pytest.mark.parametrize("folds", [[], ["--num_folds=3", "--fold=2"]])
def test_copies_follow_their_originals(tiny_model, tmp_path, monkeypatch, folds):
    rows, found = make_rows(60), trained_on(monkeypatch)
    files = [f"--train_file={write_jsonl(tmp_path / 'train.jsonl', rows)}"]
    files.append(f"--augmented_files={write_jsonl(tmp_path / 'copies.jsonl', copies_of(rows))}")
    run_multilabel.main(["--model_name_or_path", tiny_model, *files, *folds, *STEPS, f"--output_dir={tmp_path / 'o'}"])
    texts, ids, labels = (found[0][name][:] for name in ("text", "id", "labels"))
    originals = {row_id: label for row_id, text, label in zip(ids, texts, labels, strict=True) if not text.startswith("copy ")}
    copied = {row_id: label for row_id, text, label in zip(ids, texts, labels, strict=True) if text.startswith("copy ")}
    assert originals == copied and len(originals) == (40 if folds else 54)
    written = (tmp_path / "o" / ("fold-2" if folds else "") / "validation_predictions.csv").read_text()
    assert "copy" not in written and not any(f"\n{row_id}," in written for row_id in originals)


def test_a_copy_of_half_the_weight_counts_half(tiny_model, tmp_path):
    rows = make_rows(8)
    single = [row | {"labels": row["labels"][:1] or ["praise"]} for row in rows]
    for name, script, originals in (("labels", run_multilabel, rows), ("classes", run_classification, single)):
        files = {"train": originals, "twice": originals + [row | {"id": f"{row['id']}b"} for row in originals]}
        paths = {key: write_jsonl(tmp_path / f"{name}_{key}.jsonl", value) for key, value in files.items()}
        copies = write_jsonl(tmp_path / f"{name}_copies.jsonl", [{"id": row["id"], "text": row["text"]} for row in originals])
        own = ["--model_name_or_path", tiny_model, "--optim=sgd", "--max_steps=2", "--learning_rate=0.1", "--do_train"]
        own += ["--fp16=False", "--linear_probe=False"]  # whose held-out fifth would hold other rows
        for weight in ("0.5", "1"):  # copies of the same text leave the mean as it is, whatever they count
            augmented = [f"--augmented_files={copies}", f"--augmentation_weight={weight}", "--per_device_train_batch_size=16"]
            script.main(
                [
                    *own,
                    *augmented,
                    "--no_prior_bias",
                    f"--train_file={paths['train']}",
                    f"--output_dir={tmp_path / name / weight}",
                ]
            )
        plain = ["--per_device_train_batch_size=8", "--no_prior_bias", f"--train_file={paths['train']}"]
        script.main([*own, *plain, f"--output_dir={tmp_path / name / 'plain'}"])
        for key, value in weights(tmp_path / name / "plain").items():
            for weight in ("0.5", "1"):
                torch.testing.assert_close(weights(tmp_path / name / weight)[key], value, atol=1e-6, rtol=1e-5)


def test_the_weight_of_a_copy_reaches_the_loss(tiny_model, tmp_path, monkeypatch):
    rows = make_rows(6)
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    copies = write_jsonl(tmp_path / "copies.jsonl", copies_of(rows))
    pairs, mean = [], FineTuningTrainer.mean

    def record(self, losses, inputs, count):
        if count is not None:
            pairs.append((losses.detach().mean(dim=1), inputs["augmentation_weight"], mean(self, losses, inputs, count).item()))
        return mean(self, losses, inputs, count)

    monkeypatch.setattr(FineTuningTrainer, "mean", record)
    options = ["--model_name_or_path", tiny_model, f"--train_file={path}", f"--augmented_files={copies}", "--do_train"]
    run_multilabel.main([*options, "--augmentation_weight=0.25", "--max_steps=1", f"--output_dir={tmp_path / 'o'}"])
    losses, each, found = pairs[0]
    assert sorted(each.tolist()) == [0.25] * 6 + [1.0] * 6
    assert found == pytest.approx((losses * each).sum().item() / each.sum().item())


def rows_with_ids(ids: list) -> list[dict]:
    return [{"id": row_id, "text": f"text {number}", "labels": ["x"]} for number, row_id in enumerate(ids)]


@pytest.mark.parametrize(
    ("train", "copies", "error"),
    [
        ([{"text": "a b", "labels": ["x"]}] * 8, {"id": 1, "text": "c"}, "the training data has no column of ids"),
        (rows_with_ids(range(8)), {"id": 9, "text": "c"}, "line 1: no row of the training data has the id '9'"),
        (rows_with_ids([1, 1, 2, 3, 4, 5, 6, 7]), {"id": 2, "text": "c"}, "an id occurs twice"),
        (rows_with_ids(range(8)), {"text": "c"}, "copies.jsonl has no column 'id'"),
        (
            rows_with_ids(range(8)),
            {"id": 1, "body": "c"},
            "expected a column of changed texts, named as in the training data, whose columns are text",
        ),
    ],
)
def test_copies_that_cannot_be_joined(tiny_model, tmp_path, train, copies, error):
    files = [f"--train_file={write_jsonl(tmp_path / 'train.jsonl', train)}"]
    files.append(f"--augmented_files={write_jsonl(tmp_path / 'copies.jsonl', [copies])}")
    options = ["--problem_type=multi_label_classification", f"--output_dir={tmp_path}"]
    with pytest.raises(ValueError, match=error):
        run_multilabel.main(["--model_name_or_path", tiny_model, *files, *options])
