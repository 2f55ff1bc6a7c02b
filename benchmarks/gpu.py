"""What a GPU makes of these scripts: precisions, padding, compiling, batch sizes, and whether the scores stay the same.

    python benchmarks/gpu.py [--minutes 9]

Offline, with random models of the sizes of MiniLM, BERT-base and ModernBERT-base, on made-up token rows as long as the texts of
GoEmotions and Jigsaw. Then run_multilabel.py on its sample in float32, bf16 and fp16, and beside a plain Trainer. Writes
benchmarks/gpu.md. What fails, or has no time left, is named there with its reason.

`--tiny` tries the same on any machine, a CPU too, with models of a few units. Such figures mean nothing: they are only printed.
"""

import argparse
import contextlib
import copy
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForSequenceClassification, BertConfig, ModernBertConfig, PreTrainedConfig  # noqa: E402

from benchmarks import speed  # noqa: E402
from utils.batches.padding_free import remove_padding  # noqa: E402
from utils.batches.throughput import encoder_size  # noqa: E402
from utils.files.rows import one_line  # noqa: E402

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
LABELS, VOCABULARY, BATCH, LARGEST_BATCH = 6, 30_000, 32, 4096
# Median, spread of the logarithm and limit of the number of tokens, with MiniLM's tokenizer.
LENGTHS = {"as in GoEmotions": (18, 0.5, 64), "as in Jigsaw": (52, 1.0, 512)}


class Way(NamedTuple):
    """How a step is computed."""

    dtype: torch.dtype = torch.float32
    tf32: bool = False
    by_length: bool = True
    pad_to_limit: bool = False
    compiled: bool = False
    padding_free: bool = False
    attention_dropout: bool = True


WAYS = {
    "float32, padded to the limit": Way(by_length=False, pad_to_limit=True),
    "float32, random order": Way(by_length=False),
    "float32, by length": Way(),
    "tf32, by length": Way(tf32=True),
    "bf16, random order": Way(torch.bfloat16, by_length=False),
    "bf16, by length (the scripts)": Way(torch.bfloat16),
    "fp16, by length": Way(torch.float16),
    "bf16, by length, no attention dropout": Way(torch.bfloat16, attention_dropout=False),
    "bf16, by length, --padding_free": Way(torch.bfloat16, padding_free=True),
    "bf16, by length, --padding_free, no attention dropout": Way(torch.bfloat16, padding_free=True, attention_dropout=False),
    "bf16, random order, --padding_free, no attention dropout": Way(
        torch.bfloat16, by_length=False, padding_free=True, attention_dropout=False
    ),
    "bf16, by length, torch.compile": Way(torch.bfloat16, compiled=True),
}
COMPILED = "- torch.compile with other models than BERT-base: to compile takes a minute each time"
COLUMNS = ["model", "lengths", "way", "rows/s", "tokens/s", "padding", "useful TFLOP/s", "of a matrix product", "GB", "mean loss"]


def models(tiny: bool) -> dict[str, PreTrainedConfig]:
    shared = {"num_labels": LABELS, "problem_type": "multi_label_classification", "vocab_size": VOCABULARY}
    if tiny:
        small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        return {"tiny BERT": BertConfig(**shared, **small)}
    return {
        "MiniLM": BertConfig(**shared, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
        "BERT-base": BertConfig(**shared),
        "ModernBERT-base": ModernBertConfig(**shared | {"vocab_size": 50_368}),
    }


def wait() -> None:
    if GPU:
        torch.cuda.synchronize()


def release() -> None:
    gc.collect()
    if GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> str:
    return f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if GPU else ""


def matrix_rate(dtype: torch.dtype, tf32: bool, size: int) -> float:
    """Return the operations a second of a product of two matrices [size, size]."""
    set_tf32(tf32)
    one, other = (torch.randn(size, size, device=DEVICE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(12):
        wait()
        began = time.perf_counter()
        one @ other
        wait()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / float(np.median(seconds[2:]))


def set_tf32(on: bool) -> None:
    torch.set_float32_matmul_precision("high" if on else "highest")


def make_rows(count: int, median: int, spread: float, limit: int, seed: int = 0) -> list[np.ndarray]:
    """Return rows of random tokens, of which some say the labels: token 10 + n is there where label n is."""
    draw = np.random.default_rng(seed)
    lengths = np.clip(np.exp(draw.normal(np.log(median), spread, count)).astype(int), 3, limit)
    rows = [draw.integers(100, VOCABULARY, length) for length in lengths]
    for row in rows:
        row[:2] = [10 + draw.integers(LABELS), 2]
    return rows


def batches(rows: list[np.ndarray], size: int, way: Way, limit: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of all rows, in random order; by length: each of rows of similar length."""
    draw = np.random.default_rng(1)
    order = np.argsort([len(row) for row in rows], kind="stable")[::-1] if way.by_length else draw.permutation(len(rows))
    parts = [order[start : start + size] for start in range(0, len(rows) - size + 1, size)]
    for part in [parts[number] for number in draw.permutation(len(parts))]:
        own = [rows[number] for number in part]
        width = limit if way.pad_to_limit else max(map(len, own))
        width = min(-(-width // 8) * 8, limit)
        tokens, mask = np.zeros((size, width), np.int64), np.zeros((size, width), np.int64)
        labels = np.zeros((size, LABELS), np.float32)
        for place, row in enumerate(own):
            tokens[place, : len(row)], mask[place, : len(row)], labels[place, row[0] - 10] = row, 1, 1
        found = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
        yield {name: torch.from_numpy(values) for name, values in found.items()}


def remove_attention_dropout(model: torch.nn.Module) -> None:
    """Set the dropout of attention weights to 0. Flash attention for texts of different length has none."""
    for name, module in model.named_modules():
        if name.endswith("attention.self"):
            module.dropout.p = 0.0


class Steps:
    """A model that is trained step by step in one way, as accelerate does it."""

    def __init__(self, model: torch.nn.Module, way: Way, synchronise: bool = False):
        set_tf32(way.tf32)
        self.way, self.synchronise = way, synchronise
        self.start, self.model = model, copy.deepcopy(model).to(DEVICE).eval()
        if not way.attention_dropout:
            remove_attention_dropout(self.model)
        if way.padding_free:
            tokens = torch.randint(100, 200, (2, 16), device=DEVICE)
            remove_padding(self.model, lambda: self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits)
        self.model.train()
        self.forward = torch.compile(self.model, dynamic=True) if way.compiled else self.model
        self.begin()

    def begin(self) -> None:
        """Go back to the weights that the model came with."""
        torch.manual_seed(0)
        self.model.load_state_dict(self.start.state_dict())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5, fused=True)
        self.scaler = torch.amp.GradScaler(DEVICE, enabled=self.way.dtype == torch.float16)

    def step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = {name: tensor.to(DEVICE, non_blocking=True) for name, tensor in batch.items()}
        labels = inputs.pop("labels")
        with torch.autocast(DEVICE, self.way.dtype, enabled=self.way.dtype != torch.float32):
            logits = self.forward(**inputs).logits
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.synchronise:
            loss.item()
        return loss.detach()


def measure(model: torch.nn.Module, rows: list[np.ndarray], size: int, way: Way, limit: int, synchronise: bool = False) -> dict:
    """Train on all rows once, after three steps that are not counted. Return rates, padding, and the mean of the losses."""
    release()
    steps, found = Steps(model, way, synchronise), list(batches(rows, size, way, limit))
    for batch in sorted(found, key=lambda batch: -batch["input_ids"].numel())[:3]:
        steps.step(batch)
    steps.begin()
    wait()
    began = time.perf_counter()
    losses = [steps.step(batch) for batch in found]
    wait()
    seconds = time.perf_counter() - began
    lengths = np.array([mask.sum() for batch in found for mask in batch["attention_mask"]], dtype=np.float64)
    cells = sum(batch["input_ids"].numel() for batch in found)
    weights, width, layers = encoder_size(model)
    operations = 3 * (2 * weights * lengths.sum() + 4 * width * layers * (lengths**2).sum())
    return {
        "rows/s": len(lengths) / seconds,
        "tokens/s": lengths.sum() / seconds,
        "padding": 1 - lengths.sum() / cells,
        "flops": operations / seconds,
        "loss": torch.stack(losses).mean().item(),
    }


class Report:
    """Lines of Markdown, and the time that is left."""

    def __init__(self, minutes: float):
        self.until, self.lines, self.skipped = time.monotonic() + 60 * minutes, [], []

    def add(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)

    def table(self, title: str, columns: list[str]) -> None:
        self.add("", title, "", "| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|")

    def check_time(self) -> None:
        if time.monotonic() > self.until:
            raise TimeoutError("no time was left")

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Go on after an error, and name it."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self.skipped.append(f"- {name}: {type(error).__name__}: {one_line(error)[:200]}")
            print(self.skipped[-1], flush=True)


def compare_ways(report: Report, tiny: bool) -> None:
    size = 256 if tiny else 8192
    rates = {}
    report.table("Products of matrices", ["type", "TFLOP/s"])
    for name, dtype, tf32 in (
        ("float32", torch.float32, False), ("tf32", torch.float32, True), ("bf16", torch.bfloat16, False),
        ("fp16", torch.float16, False),
    ):  # fmt: skip
        with report.part(f"product of matrices, {name}"):
            report.check_time()
            rates[dtype, tf32] = matrix_rate(dtype, tf32, size)
            report.add(f"| {name} | {rates[dtype, tf32] / 1e12:.3g} |")
    report.table(f"Training steps of {BATCH} rows", COLUMNS)
    for name, config in models(tiny).items():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config)
        for lengths, (median, spread, limit) in LENGTHS.items():
            rows = make_rows(BATCH * (1 if tiny else 60), median, spread, limit)
            for way_name, way in WAYS.items():
                if way.compiled and name != "BERT-base":  # it takes a minute each time
                    continue
                with report.part(f"{name}, {lengths}, {way_name}"):
                    report.check_time()
                    found = measure(model, rows, BATCH, way, limit)
                    share = found["flops"] / rates[way.dtype, way.tf32]
                    report.add(
                        f"| {name} | {lengths} | {way_name} | {found['rows/s']:,.0f} | {found['tokens/s']:,.0f} "
                        f"| {found['padding']:.0%} | {found['flops'] / 1e12:.3g} | {share:.0%} | {peak_memory()} "
                        f"| {found['loss']:.4f} |"
                    )


def compare_batches(report: Report, tiny: bool) -> None:
    """Double the batch until the memory is full; then what it costs to read the loss in every step."""
    way = WAYS["bf16, by length (the scripts)"]
    name, config = list(models(tiny).items())[-1 if tiny else 1]
    model = AutoModelForSequenceClassification.from_config(config)
    median, spread, limit = LENGTHS["as in Jigsaw"]
    report.table(f"{name}, lengths as in Jigsaw, bf16, by length: rows in a batch", ["rows", "rows/s", "GB"])
    size = 8
    while size <= (16 if tiny else LARGEST_BATCH):
        with report.part(f"batches of {size}"):
            report.check_time()
            found = measure(
                model, make_rows(size * (1 if tiny else max(4, 512 // size)), median, spread, limit), size, way, limit
            )
            report.add(f"| {size} | {found['rows/s']:,.0f} | {peak_memory()} |")
            size *= 2
            continue
        break
    with report.part("reading the loss in every step"):
        report.check_time()
        rows = make_rows(BATCH * (1 if tiny else 60), *LENGTHS["as in GoEmotions"])
        pair = [measure(model, rows, BATCH, way, 64, each)["rows/s"] for each in (False, True, False, True)]
        ratio = (pair[1] + pair[3]) / (pair[0] + pair[2])
        report.add("", f"Reading the loss in every step: {ratio:.2f} times the rows/s of short rows (two pairs in turn).")


def compare_scripts(report: Report, folder: Path, tiny: bool) -> None:
    """Run the multi-label script on its sample in each precision, and beside a plain Trainer with the best flags."""
    sample = [sys.executable, "run_multilabel.py", "configs/quickstart.yaml", "--no_report"]
    few = ["--max_steps=1", "--per_device_train_batch_size=4", "--max_eval_samples=32", "--max_predict_samples=32"]
    sample += few if tiny else []
    report.table(
        "run_multilabel.py on its sample, configs/quickstart.yaml",
        ["precision", "test macro ROC-AUC", "training rows/s", "prediction rows/s"],
    )
    precisions = {"float32": ["--bf16=False", "--fp16=False"], "bf16": ["--bf16"], "fp16": ["--fp16"]}
    for name, options in precisions.items():
        with report.part(f"run_multilabel.py, {name}"):
            report.check_time()
            if name == "fp16" and not GPU:
                raise RuntimeError("fp16 needs a GPU")
            found = run([*sample, *options], folder / name)
            speeds = [f"{found[f'{part}_rows_per_second']:,.0f}" for part in ("train", "predict")]
            report.add(f"| {name} | {found['predict_roc_auc_macro']:.4f} | {' | '.join(speeds)} |")
    rows = 32 if tiny else 20_000
    report.table(
        f"{rows:,} short texts, MiniLM, one epoch, batches of {BATCH}, bf16", ["way", "training rows/s", "seconds in all"]
    )
    for split, count, seed in (("train", rows, 1), ("validation", max(rows // 10, 8), 2)):
        lines = (json.dumps(row) + "\n" for row in speed.make_rows("multilabel", False, count, seed))
        (folder / f"{split}.json").write_text("".join(lines), encoding="utf-8")
    commands = speed.ways("multilabel", folder, False, rows, None)
    for name in ("plain Trainer, best flags", "ours") * (1 if tiny else 2):
        with report.part(name):
            report.check_time()
            output, began = folder / name.replace(" ", "_"), time.perf_counter()
            command = [*commands[name], "--overwrite_output_dir"] if name == "ours" else commands[name]
            found = run([option for option in command if option != ("--use_cpu" if GPU else "--bf16")], output)
            seconds = time.perf_counter() - began
            if name != "ours":
                found["train_rows_per_second"] = rows / json.loads((output / "stock.json").read_text())["train_seconds"]
            report.add(f"| {name} | {found['train_rows_per_second']:,.0f} | {seconds:.1f} |")
    with report.part("FSDP2"):
        report.check_time()
        if not GPU:
            raise RuntimeError("it needs a GPU; tests/training/test_engines.py tries it on a CPU")
        count = torch.cuda.device_count()
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file=configs/accelerate/fsdp2.yaml"]
        found = run([*launch, f"--num_processes={count}", *sample[1:], "--bf16"], folder / "fsdp2")
        AutoModelForSequenceClassification.from_pretrained(folder / "fsdp2")
        auc = found["predict_roc_auc_macro"]
        report.add(
            "", f"FSDP2 on {count} GPU{'s' * (count > 1)} trains, saves, and is loaded again: test macro ROC-AUC {auc:.4f}."
        )


def run(command: list[str], output: Path) -> dict[str, float]:
    """Run a script in a process of its own, and return its metrics, if it writes them."""
    done = subprocess.run([*command, f"--output_dir={output}"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-200:])
    results = output / "all_results.json"
    return json.loads(results.read_text()) if results.is_file() else {}


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="no part begins later")
    parser.add_argument("--tiny", action="store_true", help="small models and few rows, on any machine")
    args = parser.parse_args(argv)
    if not (GPU or args.tiny):
        sys.exit("benchmarks/gpu.py: torch finds no GPU here; --tiny tries the kit on a CPU")
    report = Report(args.minutes)
    device = torch.cuda.get_device_name() if GPU else "a CPU"
    report.add(
        f"`python benchmarks/gpu.py{' --tiny' if args.tiny else ''}` on {device}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}."
    )
    with tempfile.TemporaryDirectory() as folder:
        compare_scripts(report, Path(folder), args.tiny)
    compare_ways(report, args.tiny)
    compare_batches(report, args.tiny)
    report.add("", "Not measured:", "", *report.skipped, COMPILED)
    text = "\n".join(report.lines) + "\n"
    if not args.tiny:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
