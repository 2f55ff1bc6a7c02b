"""Candidates a second of run_multiple_choice.py beside texts a second of run_classification.py, on the same pairs of texts.

    python benchmarks/choice_throughput.py configs/hellaswag.yaml [--max_train_samples 300]

Trains on the same rows, alternating, each script twice: a batch of the one has as many texts as a batch of the other has
candidates. Prints the rates of the training loops and the ratio of their medians.
"""

import csv
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import run_classification  # noqa: E402
import run_multiple_choice as script  # noqa: E402
from utils.arguments import ModelArguments  # noqa: E402
from utils.command_line import parse_arguments  # noqa: E402
from utils.data.choice_shapes import add_candidates, find_choices  # noqa: E402
from utils.files.loading import load_splits  # noqa: E402
from utils.files.rows import flatten  # noqa: E402
from utils.splits.taking_part import first_rows  # noqa: E402


def main(argv: list[str]) -> None:
    model_args, data_args, training_args, _ = parse_arguments(
        (ModelArguments, script.MultipleChoiceArguments, script.MultipleChoiceTrainingArguments), argv, __doc__, script.SAMPLE
    )
    data_args.max_train_samples = data_args.max_train_samples or 300
    splits = flatten({"train": load_splits(data_args)["train"]})
    data_args.validation_fraction = 0.0
    rows = add_candidates(first_rows(splits, data_args, 0)["train"], find_choices(splits, data_args, None))
    pairs = [[row["context"], text, position % 2] for row in rows for position, text in enumerate(row["candidates"])]
    width = len(pairs) // len(rows)
    rates: dict[str, list[float]] = {"multiple choice": [], "classification": []}
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/pairs.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["premise", "hypothesis", "label"], *pairs])
        size = training_args.per_device_train_batch_size
        shared = [
            f"--model_name_or_path={model_args.model_name_or_path}", f"--output_dir={folder}/o", "--num_train_epochs=1",
            f"--max_seq_length={data_args.max_seq_length or 512}", "--save_strategy=no", "--validation_fraction=0", "--do_train",
            f"--attention_dropout={model_args.attention_dropout or 0}", "--overwrite_output_dir",
        ]  # fmt: skip
        choice = [f"--train_file={data_args.train_file}", f"--max_train_samples={len(rows)}"]
        commands = {
            "multiple choice": (script.main, [*shared, *choice, f"--per_device_train_batch_size={size}"]),
            "classification": (
                run_classification.main,
                [*shared, f"--train_file={folder}/pairs.csv", f"--per_device_train_batch_size={size * width}"],
            ),
        }
        for _ in range(2):
            for name, (run, arguments) in commands.items():
                rates[name].append(len(pairs) / run(arguments)["train_runtime"])
    for name, values in rates.items():
        print(f"{name}: {' and '.join(f'{value:.1f}' for value in values)} texts a second")
    ratio = statistics.median(rates["multiple choice"]) / statistics.median(rates["classification"])
    print(f"ratio of the medians: {ratio:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
