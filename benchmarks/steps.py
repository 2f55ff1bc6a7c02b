"""Where a training step goes: milliseconds of a step of 32 texts with and without each of the choices for speed.

    python benchmarks/steps.py [--lengths 20 128]

MiniLM with 28 labels and random tokens, half precision where the hardware has it, AdamW; the ways alternate in one process, but
for memory, whose setting is a process's: the first table is of a process with glibc's own, the second of one that keeps it. Then
what the operations of a tuned step take (torch.profiler). Writes benchmarks/steps.md.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
import numpy as np  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForSequenceClassification  # noqa: E402

from utils.training import cpu  # noqa: E402

MODEL = str(Path(__file__).parent.parent / "models" / "all-MiniLM-L6-v2")
WORDS = 3000  # of 30,522 occur in the texts
SEEN = "tuned, only the embeddings of words that occur"  # what the scripts do


def ways(compiled: bool) -> dict[str, tuple]:
    """Return what to compare: for each name the model, and the seconds that compiling it took."""

    def load(**settings):
        return AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=28, **settings).train()

    found = {"as transformers has it": load(), "the same, attention dropout 0": load(attention_probs_dropout_prob=0.0)}
    found["tuned"] = load()
    found["tuned, attention dropout 0"] = load(attention_probs_dropout_prob=0.0)
    found[SEEN] = load()
    found["tuned, word embeddings frozen"] = load()
    for name, model in found.items():
        if name.startswith("tuned"):
            tokens = torch.randint(1, WORDS, (2, 12))
            cpu.tune(model.eval(), lambda model=model, tokens=tokens: model(input_ids=tokens).logits)
            model.train()
    words = Dataset.from_dict({"input_ids": [list(range(WORDS))]})
    cpu.train_seen_tokens(found[SEEN], words, [0], None)
    found["tuned, word embeddings frozen"].get_input_embeddings().requires_grad_(False)
    if compiled:
        found["torch.compile, dynamic lengths"] = torch.compile(load(), dynamic=True)
    return {
        name: (model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True))
        for name, model in found.items()
    }


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, length: int, most: int | None) -> float:
    """Return the milliseconds of one step, in parts of at most `most` tokens."""
    parts = torch.randint(1, WORDS, (32, length)).split(max(1, most // length) if most else 32)
    began = time.perf_counter()
    for tokens in parts:
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits.float()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return 1000 * (time.perf_counter() - began)


def profile(lengths: list[int], most: int | None) -> list[str]:
    """Return lines of what each operation takes of a tuned step, in milliseconds."""
    model, optimizer = ways(compiled=False)[SEEN]
    spent: dict[str, list[float]] = {}
    for place, length in enumerate(lengths):
        for _ in range(8):
            step(model, optimizer, length, most)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(5):
                step(model, optimizer, length, most)
        for event in profiler.key_averages():
            spent.setdefault(event.key, [0.0] * len(lengths))[place] = event.self_cpu_time_total / 5000
    order = sorted(spent, key=lambda name: -sum(spent[name]))
    rows = {name: spent[name] for name in order[:16]}
    rows["all others"] = [sum(spent[name][place] for name in order[16:]) for place in range(len(lengths))]
    head = ["| operation | " + " | ".join(f"{length} tokens" for length in lengths) + " |", "| --- " * (len(lengths) + 1) + "|"]
    return head + [f"| `{name[:60]}` | " + " | ".join(f"{value:.1f}" for value in row) + " |" for name, row in rows.items()]


def measure(lengths: list[int], compiled: bool, most: int | None) -> list[str]:
    found = ways(compiled)
    lines = ["| way | " + " | ".join(f"{length} tokens" for length in lengths) + " |", "| --- " * (len(lengths) + 1) + "|"]
    cells: dict[str, list[str]] = {name: [] for name in found}
    for length in lengths:
        seconds: dict[str, list[float]] = {name: [] for name in found}
        for turn in range(3):
            for name, (model, optimizer) in found.items():
                began = time.perf_counter()
                own = [
                    step(model, optimizer, length, most if name.startswith("tuned") else None)
                    for _ in range(2 + max(2, 160 // length))
                ]
                if turn:
                    seconds[name] += own[2:]
                elif "compile" in name and length == lengths[0]:
                    lines.append(f"| (to compile: {time.perf_counter() - began:.0f} s) |" + " |" * len(lengths))
        for name, values in seconds.items():
            cells[name].append(f"{np.median(values):.0f}" if values else "")
    notes = [line for line in lines if "to compile" in line]
    lines = [line for line in lines if "to compile" not in line]
    return [*lines, *(f"| {name} | " + " | ".join(row) + " |" for name, row in cells.items()), *notes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 128])
    parser.add_argument("--max_tokens", type=int, default=1024, help="at once, in the tuned ways")
    parser.add_argument("--memory", choices=["as it is", "kept"], help="measure in this process, and print the table")
    args = parser.parse_args()
    if args.memory:
        if args.memory == "kept":
            cpu.keep_memory()
        print("\n".join(measure(args.lengths, args.memory == "kept", args.max_tokens)))
        if args.memory == "kept":
            print("\nMilliseconds of its operations, with the profiler's own, in the way that the scripts take:\n")
            print("\n".join(profile(args.lengths, args.max_tokens)))
        return
    text = f"`python benchmarks/steps.py`: milliseconds of a step of 32 texts, median, {torch.get_num_threads()} threads.\n"
    for memory in ("as it is", "kept"):
        command = [sys.executable, __file__, "--lengths", *map(str, args.lengths), f"--max_tokens={args.max_tokens}"]
        command += ["--memory", memory]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        text += f"\nFreed memory: {memory}\n\n{shown}"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
