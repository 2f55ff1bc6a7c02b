"""What the prior bias and the faster head are worth, everything else equal.

    python benchmarks/head_start.py run_multilabel.py --train_file train.csv --validation_file validation.csv [more options]

Trains the script once for each setting on the same rows and seed, and writes a table to benchmarks/head_start_<script>.md.
"""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
SCORES = {
    "run_multilabel": ("roc_auc_macro", "average_precision_macro", "f1_macro_at_0.5"),
    "run_classification": ("accuracy", "f1_macro", "log_loss"),
    "run_multiple_choice": ("accuracy", "mean_reciprocal_rank", "loss"),
}


def main(script: str, *options: str) -> None:
    name = Path(script).stem
    priors = (False, True) if name != "run_multiple_choice" else (None,)  # its one logit has no prior
    lines = [
        "| prior bias | head learning rate | " + " | ".join(SCORES[name]) + " |",
        "| --- | --- |" + " --- |" * len(SCORES[name]),
    ]
    for prior in priors:
        for multiplier in (1, 10, 30):
            setting = [f"--head_learning_rate_multiplier={multiplier}", "--output_dir=outputs/head_start", "--save_strategy=no"]
            setting += ["--overwrite_output_dir", "--linear_probe=False"]
            setting += [f"--prior_bias={prior}"] if prior is not None else []
            metrics = importlib.import_module(name).main([*options, *setting, "--load_best_model_at_end=False"])
            scores = " | ".join(f"{metrics[f'eval_{score}']:.3f}" for score in SCORES[name])
            lines.append(f"| {({True: 'yes', False: 'no', None: '–'})[prior]} | {multiplier}x | {scores} |")
            print("\n".join(lines), flush=True)
    text = f"`python benchmarks/head_start.py {script} {' '.join(options)}`\n\n" + "\n".join(lines) + "\n"
    Path(__file__).with_name(f"head_start_{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
