"""The data of a config of run_multiple_choice.py through a stock `Trainer` with the collator of transformers.

    python benchmarks/stock_multiple_choice.py configs/hellaswag.yaml

Same texts, model, learning rate, epochs, batch size and half precision, padding to the longest of a batch; what is left is
what the script adds: a faster head, batches of similar length, the best epoch, and rows of any number of candidates.
Prints the accuracy on the test file, and the seconds of training.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForMultipleChoice, DataCollatorForMultipleChoice, Trainer, TrainingArguments, set_seed

sys.path.insert(0, str(Path(__file__).parent.parent))
import run_multiple_choice as script  # noqa: E402
from utils.arguments import ModelArguments  # noqa: E402
from utils.command_line import parse_arguments  # noqa: E402
from utils.data.choice_shapes import add_candidates, find_choices  # noqa: E402
from utils.data.targets import add_targets  # noqa: E402
from utils.files.cells import UNKNOWN  # noqa: E402
from utils.files.loading import load_splits  # noqa: E402
from utils.files.rows import flatten  # noqa: E402
from utils.training.models import load_config, load_tokenizer, sequence_length  # noqa: E402


def accuracy(output) -> dict[str, float]:
    known = output.label_ids != UNKNOWN
    return {"accuracy": np.mean((output.predictions.argmax(axis=1) == output.label_ids)[known])}


def main(argv: list[str]) -> dict[str, float]:
    model_args, data_args, training_args, _ = parse_arguments(
        (ModelArguments, script.MultipleChoiceArguments, script.MultipleChoiceTrainingArguments), argv, __doc__, script.SAMPLE
    )
    set_seed(training_args.seed)
    splits = flatten(load_splits(data_args))
    found = find_choices(splits, data_args, None)
    splits = add_targets(splits, found, data_args, training_args.seed)
    splits = {name: add_candidates(split, found) for name, split in splits.items()}
    config, tokenizer = load_config(model_args), load_tokenizer(model_args)
    encode = partial(script.encode, tokenizer=tokenizer, max_length=sequence_length(data_args.max_seq_length, tokenizer, config))
    for name, split in splits.items():
        unused = [column for column in split.column_names if column != "labels"]
        splits[name] = split.map(encode, batched=True, remove_columns=unused).remove_columns(["length", "cut"])
    model = AutoModelForMultipleChoice.from_pretrained(model_args.model_name_or_path, config=config, dtype=torch.float32)
    shared = ("num_train_epochs", "learning_rate", "warmup_steps", "weight_decay", "seed", "bf16", "use_cpu")
    shared += ("per_device_train_batch_size", "per_device_eval_batch_size", "logging_steps")
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=f"{training_args.output_dir}_stock",
            save_strategy="no",
            report_to="none",
            **{name: getattr(training_args, name) for name in shared},
        ),
        train_dataset=splits["train"],
        data_collator=DataCollatorForMultipleChoice(tokenizer),
        compute_metrics=accuracy,
    )
    trained = trainer.train().metrics
    found = trainer.predict(splits["test"]).metrics
    print(f"accuracy {found['test_accuracy']:.4f}  training {trained['train_runtime']:.0f} s")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
