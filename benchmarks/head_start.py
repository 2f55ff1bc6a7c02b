"""What the prior bias and the faster head are worth, everything else equal.

    python benchmarks/head_start.py --train_file train.jsonl.gz --validation_file validation.jsonl.gz [more options]

Trains run_multilabel.py once for each setting on the same rows and seed, and writes a table to benchmarks/head_start.md.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import run_multilabel  # noqa: E402

SETTINGS = [(False, 1), (True, 1), (False, 10), (True, 3), (True, 10), (True, 30)]
SCORES = ("roc_auc_macro", "average_precision_macro", "f1_macro_at_0.5")


def main(options: list[str]) -> None:
    lines = ["| prior bias | head learning rate | " + " | ".join(SCORES) + " |", "| --- | --- |" + " --- |" * len(SCORES)]
    for prior, multiplier in SETTINGS:
        setting = [f"--prior_bias={prior}", f"--head_learning_rate_multiplier={multiplier}"]
        metrics = run_multilabel.main([*options, *setting, "--output_dir=outputs/head_start", "--save_strategy=no",
                                       "--load_best_model_at_end=False"])  # fmt: skip
        scores = " | ".join(f"{metrics[f'eval_{name}']:.3f}" for name in SCORES)
        lines.append(f"| {'yes' if prior else 'no'} | {multiplier}x | {scores} |")
        print("\n".join(lines), flush=True)
    text = f"`python benchmarks/head_start.py {' '.join(options)}`\n\n" + "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
