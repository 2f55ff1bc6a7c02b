"""A plain `Trainer`, or a script of the HF examples, timed from outside; `benchmarks/speed.py` runs it.

    python benchmarks/stock.py plain kind=multilabel model=... train=... validation=... length=128 [TrainingArguments ...]
    python benchmarks/stock.py run_classification.py [--option of that script ...]

Adds a callback that measures the seconds of the steps, and writes `stock.json` to the output folder.
"""

import json
import runpy
import sys
import time
from pathlib import Path

import evaluate
import numpy as np
import transformers
from sklearn.metrics import accuracy_score, f1_score


class Steps(transformers.TrainerCallback):
    """When training began, seconds of its steps as `Throughput` has them, metrics of the last evaluation."""

    def __init__(self):
        self.seconds, self.metrics = 0.0, {}

    def on_train_begin(self, *args, **kwargs):
        self.metrics["training_began"] = time.time()

    def on_epoch_begin(self, *args, **kwargs):
        self.began = time.perf_counter()

    on_save = on_epoch_begin

    def on_step_end(self, *args, **kwargs):
        now = time.perf_counter()
        self.seconds, self.began = self.seconds + now - self.began, now

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.metrics |= {"train_seconds": self.seconds, **metrics}
        self.began = time.perf_counter()
        Path(args.output_dir, "stock.json").write_text(json.dumps(self.metrics), encoding="utf-8")


class Metric:
    """What `evaluate.load` would fetch from the Hub."""

    def compute(self, predictions, references, average=None):
        if average:
            return {"f1": f1_score(references, predictions, average=average)}
        return {"accuracy": accuracy_score(references, predictions)}


def plain(kind: str, model: str, train: str, validation: str, length: int, options: list[str]) -> None:
    """Train and evaluate as the documentation of transformers shows it."""
    from datasets import load_dataset

    (args,) = transformers.HfArgumentParser(transformers.TrainingArguments).parse_args_into_dataclasses(options)
    transformers.set_seed(args.seed)
    splits = load_dataset("json", data_files={"train": train, "validation": validation})
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    labels = splits["train"]["label"][:]
    names = sorted({name for row in labels for name in (row if kind == "multilabel" else [row])})

    def encode(rows: dict) -> dict:
        if kind == "multiple_choice":
            candidates = [list(row) for row in zip(*(rows[f"ending{i}"] for i in range(4)), strict=True)]
            contexts = [context for context in rows["sentence"] for _ in range(4)]
            flat = tokenizer(contexts, [text for row in candidates for text in row], truncation=True, max_length=length)
            encoded = {name: [values[i : i + 4] for i in range(0, len(values), 4)] for name, values in flat.items()}
            return {**encoded, "labels": rows["label"], "length": [max(map(len, row)) for row in encoded["input_ids"]]}
        encoded = tokenizer(rows["sentence"], truncation=True, max_length=length)
        targets = [names.index(label) for label in rows["label"]] if kind == "classification" else (
            [[float(name in row) for name in names] for row in rows["label"]]
        )  # fmt: skip
        return {**encoded, "labels": targets, "length": [len(ids) for ids in encoded["input_ids"]]}

    splits = splits.map(encode, batched=True, remove_columns=splits["train"].column_names, load_from_cache_file=False)
    if kind == "multiple_choice":
        network = transformers.AutoModelForMultipleChoice.from_pretrained(model)
    else:
        problem = "single_label_classification" if kind == "classification" else "multi_label_classification"
        network = transformers.AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=len(names), problem_type=problem
        )
    collator = transformers.DataCollatorForMultipleChoice(tokenizer) if kind == "multiple_choice" else None

    def compute_metrics(output) -> dict:
        if kind == "multilabel":
            return Metric().compute(output.predictions > 0, output.label_ids, average="micro")
        return Metric().compute(np.argmax(output.predictions, axis=1), output.label_ids)

    trainer = transformers.Trainer(
        model=network, args=args, train_dataset=splits["train"], eval_dataset=splits["validation"], processing_class=tokenizer,
        data_collator=collator, compute_metrics=compute_metrics, callbacks=[Steps()],
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    trainer.evaluate()


def main(script: str, *options: str) -> None:
    if script == "plain":
        named = dict(option.split("=", 1) for option in options if not option.startswith("--"))
        named["length"] = int(named.pop("length"))
        plain(**named, options=[option for option in options if option.startswith("--")])
        return
    evaluate.load = lambda *args, **kwargs: Metric()
    construct = transformers.Trainer.__init__

    def with_steps(self, *args, **kwargs):
        construct(self, *args, **kwargs)
        self.add_callback(Steps())

    transformers.Trainer.__init__ = with_steps
    sys.argv = [script, *options]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
