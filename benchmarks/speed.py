"""Our scripts at their defaults beside other ways to train the same model on the same rows, each a process of its own.

    python benchmarks/speed.py                        # `make bench`: everything, under 15 minutes on 2 cores with bf16
    python benchmarks/speed.py --hf_script path/of/hf/run_classification.py   # also that script of the HF examples, a copy

Short texts (sentences of the samples in data/) and long ones (several of them joined, at length 256), one epoch, batch 32. The
ways alternate within a seed, in reverse with every other one. Writes benchmarks/speed.md; every figure in it is from one run.
"""

import argparse
import csv
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils.arguments import fastest_precision  # noqa: E402

MODEL = str(ROOT / "models" / "all-MiniLM-L6-v2")
KINDS = ("classification", "multilabel", "multiple_choice")
# Our scripts with what the HF examples do by default: all texts padded to the maximum, in random order, in float32.
HF_DEFAULTS = ["--pad_to_max_length", "--train_sampling_strategy=random", "--fp16=False", "--no_tune_cpu"]
HF_DEFAULTS += ["--max_tokens_per_batch=0", "--eval_strategy=no", "--save_strategy=no"]
# What is learnt, as a plain Trainer learns it: for the comparison of losses.
HF_LEARNING = ["--linear_probe=False", "--head_learning_rate_multiplier=1", "--warmup_steps=0", "--weight_decay=0"]
DEVICE = [] if torch.cuda.is_available() else ["--use_cpu"]
BF16, FP16, _ = fastest_precision(bool(DEVICE))  # where both are slow, float32 is the best flag
BEST_FLAGS = [*DEVICE, "--train_sampling_strategy=group_by_length", "--optim=adamw_torch_fused"]
BEST_FLAGS += ["--bf16"] * BF16 + ["--fp16"] * FP16
PRODUCT = "bfloat16" if BF16 else "float16" if FP16 else "float32"


def read(path: str) -> list[dict]:
    with open(ROOT / "data" / path, encoding="utf-8", newline="") as file:
        return [json.loads(line) for line in file] if path.endswith(".jsonl") else list(csv.DictReader(file))


def make_rows(kind: str, long: bool, count: int, seed: int) -> list[dict]:
    """Return rows of texts of the samples: single sentences, or as many texts joined as make some 150 words."""
    draw = random.Random(seed)
    emails, news = read("multilabel/train.csv"), read("classification/train.csv")

    def padding() -> str:
        words: list[str] = []
        while len(words) < 150:
            words += draw.choice(emails)["text"].split()
        return " ".join(words)

    rows = []
    for _ in range(count):
        if kind == "multiple_choice":
            row = draw.choice([row for row in read_choices() if len(row["choices"]) == 4])
            start = f"{padding()} " if long else ""
            endings = {f"ending{i}": choice for i, choice in enumerate(row["choices"])}
            rows.append({"sentence": start + row["context"], **endings, "label": row["label"]})
            continue
        source = draw.choice(emails if kind == "multilabel" else news)
        label = source["labels"].split(";") if kind == "multilabel" else source["topic"]
        sentences = [part for part in re.split(r"(?<=[.!?]) ", source["text"]) if part.strip()]
        rows.append({"sentence": f"{source['text']} {padding()}" if long else draw.choice(sentences), "label": label})
    return rows


def read_choices(cache: list = []) -> list[dict]:  # noqa: B006
    cache += [] if cache else read("multiple_choice/train.jsonl")
    return cache


def run(command: list[str], log: Path, variables: dict[str, str] | None = None) -> tuple[float, float]:
    """Run a command in a process of its own; return its seconds and its peak memory in GB."""
    began = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **(variables or {})}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}\n{log.read_text()[-2000:]}")
    return time.perf_counter() - began, usage.ru_maxrss / 1e6


def matrix_rate() -> float:
    """Return the operations a second of a product of the size of a layer, as training does it, in a process of its own."""
    code = f"""
import time, torch
a, b = torch.randn(4096, 1536, dtype=torch.{PRODUCT}), torch.randn(1536, 1536, dtype=torch.{PRODUCT})
if torch.cuda.is_available():
    a, b = a.cuda(), b.cuda()
wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
best = 1e9
for _ in range(30):
    began = time.perf_counter(); a @ b; wait(); best = min(best, time.perf_counter() - began)
print(2 * 4096 * 1536 * 1536 / best)"""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def ways(kind: str, folder: Path, long: bool, rows: int, hf_script: str | None) -> dict[str, list[str]]:
    """Return the commands to compare; each takes --seed and --output_dir besides."""
    length = 256 if long else 128
    train, validation = folder / "train.json", folder / "validation.json"
    shared = ["--num_train_epochs=1", "--per_device_train_batch_size=32", "--learning_rate=1e-4"]
    columns = {
        "classification": ["--text_column_names=sentence", "--label_column_name=label"],
        "multilabel": ["--text_column_names=sentence", "--label_column_names=label"],
        "multiple_choice": ["--context_column_name=sentence", "--label_column_name=label"],
    }
    ours = [sys.executable, f"run_{kind}.py", f"--model_name_or_path={MODEL}", f"--train_file={train}", *columns[kind]]
    ours += [f"--validation_file={validation}", *shared, f"--max_seq_length={length}"]
    ours += ["--problem_type=multi_label_classification"] if kind == "multilabel" else []
    stock = [sys.executable, "benchmarks/stock.py"]
    plain = [*stock, "plain", f"kind={kind}", f"model={MODEL}", f"train={train}", f"validation={validation}", f"length={length}"]
    no_prior = [] if kind == "multiple_choice" else ["--no_prior_bias"]
    found = {
        "ours, a plain Trainer's learning": [*ours, *HF_LEARNING, *no_prior],
        "ours": ours,
        "plain Trainer, best flags": [*plain, *shared, "--save_strategy=no", *BEST_FLAGS],
    }
    if kind == "classification":
        found["ours, settings of the HF examples"] = [*ours, *HF_DEFAULTS, "--per_device_eval_batch_size=8"]
    if hf_script and kind == "classification":
        theirs = [*stock, hf_script, f"--model_name_or_path={MODEL}", f"--train_file={train}", f"--validation_file={validation}"]
        theirs += ["--do_train", "--do_eval", *shared, f"--max_seq_length={length}", "--save_strategy=no"]
        found["HF script, defaults"] = [*theirs, *DEVICE]
        found["HF script, best flags"] = [*theirs, "--pad_to_max_length=False", *BEST_FLAGS]
    return found


SLOW = ("ours, settings of the HF examples", "HF script, defaults")  # run once; all others with every seed


def compare(kind: str, long: bool, rows: int, seeds: int, hf_script: str | None, rate: float, folder: Path) -> list[list[str]]:
    """Return the lines of a table for one script and one length of texts."""
    for name, count, seed in (("train", rows, 1), ("validation", max(rows // 4, 8), 2)):
        text = "".join(json.dumps(row) + "\n" for row in make_rows(kind, long, count, seed))
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    found: dict[str, list[dict]] = {}
    for seed in range(seeds):
        commands = list(ways(kind, folder, long, rows, hf_script).items())
        # There and back: what follows a process that took much memory finds less of it ready.
        for name, command in commands[:: -1 if seed % 2 else 1]:
            if name in SLOW and seed:
                continue
            output = folder / "output"
            shutil.rmtree(output, ignore_errors=True)  # of the way before
            own = not any("stock.py" in part for part in command)
            began = time.time()
            seconds, memory = run(
                [*command, f"--seed={42 + seed}", f"--output_dir={output}", "--disable_tqdm=True"], folder / "log"
            )
            result = json.loads((output / ("all_results.json" if own else "stock.json")).read_text())
            measured = {"whole": seconds, "memory": memory, "loss": result["eval_loss"]}
            if own:
                trained = (output / "train_results.json").stat().st_mtime  # written at the end of training
                measured["start"] = trained - result["train_runtime"] - began
                measured["train"] = result["train_rows_per_second"]
                measured["evaluation"] = result["eval_rows_per_second"]
                operations = result["train_flops_per_second"] / result["train_rows_per_second"]  # of a row
            else:
                measured["start"] = result["training_began"] - began
                measured["train"] = rows / result["train_seconds"]
                measured["evaluation"] = result["eval_samples_per_second"]
            found.setdefault(name, []).append(measured)
            print(kind, "long" if long else "short", name, seed, {k: round(v, 3) for k, v in measured.items()}, flush=True)
    first = {name: statistics.median(run["whole"] for run in runs) for name, runs in found.items()}["ours"]
    lines = []
    for name, runs in sorted(found.items(), key=lambda item: item[0] != "ours"):
        mean = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        loss = statistics.mean(run["loss"] for run in runs)
        share = mean["train"] * operations / rate
        lines.append([
            f"run_{kind}.py", "long" if long else "short", name, str(len(runs)), f"{mean['whole']:.1f}",
            f"{mean['whole'] / first:.2f}", f"{mean['start']:.1f}",
            f"{mean['train']:.1f}", f"{100 * share:.0f} %", f"{mean['evaluation']:.1f}", f"{mean['memory']:.2f}", f"{loss:.4f}",
        ])  # fmt: skip
    return lines


PIPELINE = """
import json, sys, time, torch
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], top_k=None, batch_size=32, device="cpu", dtype=torch.float32)
texts = [json.loads(line)["sentence"] for line in open(sys.argv[2], encoding="utf-8")]
classify(texts[:32], truncation=True)
began = time.perf_counter()
rows = list(classify((text for text in texts), truncation=True))
seconds = time.perf_counter() - began
json.dump({"rate": len(texts) / seconds, "rows": [{e["label"]: e["score"] for e in row} for row in rows]}, open(sys.argv[3], "w"))
"""


def prediction(long: bool, rows: int, folder: Path) -> list[str]:
    """Return a line that compares predicting with a saved model to `pipeline` with the same model, both in float32."""
    for name, count in (("train", 64), ("test", rows)):
        text = "".join(json.dumps(row) + "\n" for row in make_rows("classification", long, count, 3))
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    model, output = folder / "model", folder / "predicted"
    script = [sys.executable, "run_classification.py"]
    columns = ["--text_column_names=sentence", "--label_column_name=label", "--disable_tqdm"]
    run([*script, f"--model_name_or_path={MODEL}", f"--train_file={folder / 'train.json'}", "--max_seq_length=256", "--do_train",
         "--max_steps=2", "--save_strategy=no", f"--output_dir={model}", "--overwrite_output_dir", *columns],
        folder / "log")  # fmt: skip
    rates: dict[str, list[float]] = {"ours": [], "pipeline": []}
    for _ in range(2):
        run([*script, f"--model_name_or_path={model}", f"--test_file={folder / 'test.json'}", f"--output_dir={output}", *columns],
            folder / "log")  # fmt: skip
        rates["ours"].append(json.loads((output / "predict_results.json").read_text())["predict_rows_per_second"])
        run(
            [sys.executable, "-c", PIPELINE, str(model), str(folder / "test.json"), str(folder / "pipeline.json")], folder / "log"
        )
        theirs = json.loads((folder / "pipeline.json").read_text())
        rates["pipeline"].append(theirs["rate"])
    with open(output / "predictions.csv", encoding="utf-8", newline="") as file:
        difference = max(
            abs(float(row[label]) - value)
            for row, other in zip(csv.DictReader(file), theirs["rows"], strict=True)
            for label, value in other.items()
        )
    ours, pipeline = (statistics.median(values) for values in rates.values())
    print("prediction", rates, difference, flush=True)
    return ["long" if long else "short", f"{ours:.0f}", f"{pipeline:.0f}", f"{ours / pipeline:.2f}", f"{difference:.1e}"]


TOKENIZATION = """
import json, sys, time
import run_classification as script
from dataclasses import replace
from functools import partial
from statistics import median
from datasets import Dataset
from transformers import AutoTokenizer
from utils.batches.encoding import encode_split
texts = [json.loads(line)["sentence"] for line in open(sys.argv[2], encoding="utf-8")] * int(sys.argv[4])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
split = Dataset.from_dict({"sentence": texts, "labels": [0] * len(texts)})
encoding = partial(script.encode, tokenizer=tokenizer, columns=["sentence"], max_length=256)
arguments = script.ClassificationArguments(train_file="x.json")
def seconds(function):
    began = time.perf_counter(); function(); return time.perf_counter() - began
def alone():
    for i in range(0, len(texts), 1000):
        tokenizer(texts[i : i + 1000], truncation=True, max_length=256)
anew, again = (replace(arguments, overwrite_cache=value) for value in (True, False))
ways = {"the tokenizer alone": alone, "ours": lambda: encode_split("train", split, encoding, anew)}
ways["ours, once more with the same data (from the cache)"] = lambda: encode_split("train", split, encoding, again)
rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(5)]  # in turns: machines have moods
taken = {name: median(each[name] for each in rounds) for name in ways}
json.dump({name: len(texts) / value for name, value in taken.items()}, open(sys.argv[3], "w"))
"""


def tokenization(long: bool, rows: int, folder: Path) -> list[list[str]]:
    """Return lines of rows a second: encoding by the tokenizer alone on one core, and as our scripts do it."""
    text = "".join(json.dumps(row) + "\n" for row in make_rows("classification", long, rows, 4))
    (folder / "texts.json").write_text(text, encoding="utf-8")
    times = str(-(-6000 // rows))  # the same texts so many times over: from 5,000 rows on they are cached
    cache = {"HF_DATASETS_CACHE": str(folder / f"cache_{long}"), "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)}
    run([sys.executable, "-c", TOKENIZATION, MODEL, str(folder / "texts.json"), str(folder / "rates.json"), times],
        folder / "log", cache)  # fmt: skip
    rates = json.loads((folder / "rates.json").read_text())
    print("tokenization", rates, flush=True)
    return [["long" if long else "short", name, f"{rate:,.0f}"] for name, rate in rates.items()]


def start_up(folder: Path) -> list[list[str]]:
    """Return lines of the seconds that a script needs before it does anything, beside those of importing what it is made of."""
    options = "from transformers import TrainingArguments, HfArgumentParser"
    trainer = "from transformers import Trainer, AutoModelForSequenceClassification"
    commands = {
        "import of TrainingArguments and HfArgumentParser": ["-c", options],
        "import of Trainer and a model": ["-c", trainer],
    }
    commands |= {f"run_{kind}.py --help": [f"run_{kind}.py", "--help"] for kind in KINDS}
    commands["run_classification.py --learning_rate x"] = ["run_classification.py", "--learning_rate", "x"]
    commands["run_classification.py --smoke_test"] = ["run_classification.py", "--smoke_test"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(3):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=False)
            seconds[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    first, second = list(median.values())[:2]
    return [[name, f"{s:.2f}", f"{s / first:.2f}", f"{s / second:.2f}"] for name, s in median.items()]


def table(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hf_script", help="a copy of run_classification.py of the HF examples")
    parser.add_argument("--rows_short", type=int, default=1600, help="training rows of short texts")
    parser.add_argument("--rows_long", type=int, default=96, help="training rows of long texts")
    parser.add_argument("--seeds", type=int, default=2, help="of run_classification.py; the other scripts are run with one")
    parser.add_argument("--scripts", nargs="+", choices=KINDS, default=KINDS, help="the scripts to compare")
    parser.add_argument("--texts", nargs="+", choices=["short", "long"], default=["short", "long"])
    parser.add_argument("--output", default=str(Path(__file__).with_suffix(".md")), help="the table")
    args = parser.parse_args()
    rate, lines, predicted, tokenized = matrix_rate(), [], [], []
    sizes = [(length == "long", args.rows_long if length == "long" else args.rows_short) for length in args.texts]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = start_up(folder)
        for kind in args.scripts:
            for long, rows in sizes:
                several = kind == "classification"
                rows = rows if several else rows // 2 if kind == "multilabel" else rows // 4
                lines += compare(kind, long, rows, args.seeds if several else 1, args.hf_script, rate, folder)
        for long, rows in sizes:
            predicted.append(prediction(long, min(rows, 160) if long else rows, folder))
            tokenized += tokenization(long, rows, folder)
    options = "".join(f" {option}" for option in sys.argv[1:])
    for place, shown in ((args.output, Path(args.output).name), (args.hf_script, "path/of/hf/run_classification.py")):
        options = options.replace(place, shown) if place else options
    text = (
        f"`python benchmarks/speed.py{options}`, {os.cpu_count()} cores, a {PRODUCT} matrix product at {rate / 1e9:.0f} GFLOP/s "
    )
    text += f"(at the end {matrix_rate() / 1e9:.0f}).\n\n"
    text += table(
        ["script", "texts", "way", "runs", "whole process, s", "times ours", "before the first step, s", "training rows/s",
         "useful arithmetic, share of the product's rate", "evaluation rows/s", "peak memory, GB", "validation loss"], lines,
    )  # fmt: skip
    text += (
        '\nPrediction with a saved model, rows/s, and the same rows through `pipeline("text-classification", batch_size=32)`, '
    )
    text += "both in float32:\n\n"
    text += table(["texts", "ours", "pipeline", "ratio", "largest difference of a probability"], predicted)
    text += "\nTokenization on one core:\n\n" + table(["texts", "way", "rows/s"], tokenized)
    text += "\nStart-up, whole processes, and their ratio to the two imports:\n\n"
    text += table(["command", "seconds", "to the first", "to the second"], started)
    Path(args.output).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
