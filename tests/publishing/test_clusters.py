"""The recipes of docs/serving.md for Ray and Spark decide what the script decides. Skipped where these are not installed."""

import csv
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT, make_rows, write_jsonl

import run_multilabel

RECIPES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["ray", "pyspark"])
def test_a_cluster_decides_what_the_script_does(package, tmp_path, tiny_model):
    pytest.importorskip(package)
    files = [write_jsonl(tmp_path / f"{name}.jsonl", make_rows(many, many)) for name, many in (("train", 100), ("test", 150))]
    more = [f"--train_file={files[0]}", f"--test_file={files[1]}", "--num_train_epochs=10", "--learning_rate=5e-3", "--no_report"]
    run_multilabel.main([f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'out'}", *more])
    (recipe,) = [each for each in RECIPES if f"{package}." in each]
    assert len(list(filter(str.strip, recipe.splitlines()))) <= 20
    pd.read_json(files[1], lines=True)[["id", "text"]].to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "recipe.py").write_text(recipe, encoding="utf-8")
    alone = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable, "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run([sys.executable, "recipe.py"], cwd=tmp_path, env=os.environ | alone, check=True, timeout=300)
    found = pd.concat([pd.read_parquet(path) for path in (tmp_path / "predicted").glob("*.parquet")])
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        expected = {row["id"]: row["prediction"] for row in csv.DictReader(file)}
    assert dict(zip(found["id"].astype(str), found["prediction"], strict=True)) == expected and len(set(expected.values())) > 1
