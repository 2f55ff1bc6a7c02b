"""A model in ONNX Runtime beside PyTorch and pipeline(): scores, largest difference, size, and rows a second, in one run.

    python benchmarks/serving.py OUTPUT_DIR FILE [--rows 1000] > benchmarks/serving.md

OUTPUT_DIR is that of a run of run_multilabel.py. It is evaluated on the rows of the file, which have labels and a column `text`,
and exported twice.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging, pipeline  # noqa: E402

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.files.reading import read_files  # noqa: E402
from utils.publishing.onnx import Graph  # noqa: E402
from utils.results.finished import read_run  # noqa: E402
from utils.scoring.weighted import point_scores  # noqa: E402

FILES = ("model.onnx", "model_int8.onnx")
METRICS = ("f1_macro", "average_precision_macro")


def rates(ways: dict[str, Callable[[list[str]], object]], texts: list[str], at_once: int, rounds: int = 3) -> dict[str, float]:
    """Return the rows a second of each way: the median of rounds in which all take their turn."""
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, classify in ways.items():
            began = time.perf_counter()
            for start in range(0, len(texts), at_once):
                classify(texts[start : start + at_once])
            seconds[name].append(time.perf_counter() - began)
    return {name: len(texts) / float(np.median(each)) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=1000, help="how many are timed [1000]")
    args = parser.parse_args()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(args.run, Path(folder, "run"), ignore=shutil.ignore_patterns("checkpoint-*", "onnx")))
        command = [
            sys.executable,
            ROOT / "run_multilabel.py",
            f"--model_name_or_path={copy}",
            f"--output_dir={copy}",
            "--no_report",
        ]
        for form in ("onnx", "onnx_int8"):
            subprocess.run([*command, f"--validation_file={args.file}", f"--export={form}", "--no_report"], check=True)
        run, texts = read_run(copy), list(read_files(str(args.file))["text"])
        tokenizer, graphs = AutoTokenizer.from_pretrained(copy), {name: Graph(copy / "onnx" / name) for name in FILES}
        model = AutoModelForSequenceClassification.from_pretrained(copy).eval()
        answer = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu")

        def read_with(read: Callable, texts: list[str]) -> np.ndarray:
            tokens = tokenizer(texts, padding=True, truncation=True, max_length=run.facts["max_length"], return_tensors="pt")
            with torch.no_grad():
                return read(**tokens)["logits"].sigmoid().double().numpy()

        def read_with_pipeline(texts: list[str]) -> np.ndarray:
            answers = answer(texts, truncation=True, max_length=run.facts["max_length"], batch_size=len(texts))
            found = ({each["label"]: each["score"] for each in row} for row in answers)
            return np.array([[row[name] for name in run.names] for row in found])

        ways = {"PyTorch": partial(read_with, model), "`pipeline()`": read_with_pipeline}
        ways |= {f"`{name}`": partial(read_with, graph) for name, graph in graphs.items()}
        few, many = rates(ways, texts[: args.rows // 10], 1), rates(ways, texts[: args.rows], 32)
        print(f"`{shlex.join(['python', 'benchmarks/serving.py', *sys.argv[1:]])}`\n")
        print(f"Scores and differences from the script's own probabilities on {len(texts):,} rows, speed on the first")
        print(f"{args.rows:,}, one by one on a tenth of them. {torch.get_num_threads()} threads, tokenizing included.\n")
        print(f"| | {' | '.join(METRICS)} | largest difference | MB | rows/s one by one | rows/s 32 at once |\n{'| --- ' * 7}|")
        sizes = dict(zip(ways, ("model.safetensors", "model.safetensors", *(f"onnx/{name}" for name in graphs)), strict=True))
        expected = run.evaluations["validation"]
        for name, read in ways.items():
            found = np.concatenate([read(texts[start : start + 32]) for start in range(0, len(texts), 32)])
            scores = point_scores(replace(expected, probabilities=found))
            cells = [*(f"{scores[metric]:.4f}" for metric in METRICS), f"{np.abs(found - expected.probabilities).max():.2g}"]
            cells += [f"{(copy / sizes[name]).stat().st_size / 1e6:.1f}", f"{few[name]:.0f}", f"{many[name]:.0f}"]
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
