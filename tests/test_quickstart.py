"""What the README's first command does: the sample, the pretrained encoder, `accelerate launch`."""

import csv
import json

import pytest
from conftest import CHROMIUM, ROOT, check_pages, launch


@pytest.mark.slow
def test_quickstart_learns_the_sample_but_not_by_heart(tmp_path):
    options = ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    result = launch(
        "accelerate", "launch", *options, "run_multilabel.py", "configs/quickstart.yaml", "--output_dir", str(tmp_path),
        "--no_report", "False",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "all_results.json").read_text())
    assert 0.85 < metrics["predict_roc_auc_macro"] < 1 and 0.6 < metrics["predict_f1_macro"] < 1
    assert metrics["predict_f1_macro_low"] < metrics["predict_f1_macro"] < metrics["predict_f1_macro_high"]
    if CHROMIUM:
        check_pages(tmp_path / "report.html")
    assert "Test scores" in result.stderr and "predictions.csv" in result.stderr and "Traceback" not in result.stderr


def test_sample_is_as_large_and_varied_as_promised():
    sizes, texts = {}, []
    for split in ("train", "validation", "test"):
        with (ROOT / "data" / "multilabel" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        sizes[split] = len(rows)
        texts += [row["text"] for row in rows]
        counts = {row["labels"].count(";") + bool(row["labels"]) for row in rows}
        assert {0, 1, 2, 3} <= counts
    assert sizes["train"] >= 400 and sizes["validation"] >= 100 and sizes["test"] >= 100
    assert len(set(texts)) == len(texts)
