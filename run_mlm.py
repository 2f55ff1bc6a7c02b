r"""Continue the pretraining of an encoder on the texts of a task, before it is fine-tuned.

Some words of each text are masked, and the model learns to fill them in (masked-language modelling). No labels are needed.
The --output_dir is a --model_name_or_path for the other scripts (Gururangan et al. 2020, https://arxiv.org/abs/2004.10964).

    python run_mlm.py                                            # the embedded sample: customer emails
    python run_mlm.py --model_name_or_path bert-base-uncased --output_dir out \
        --train_file train.csv,unlabelled.txt --validation_file validation.csv
    accelerate launch --num_processes 4 run_mlm.py configs/mlm.yaml --learning_rate 1e-4

A row is a text, or a pair, as in `EXAMPLE_ROWS` at the end; other columns are not read. A .txt file has a text a line.

To adapt: the loss in `masked_loss`, what the model reads in `encode`, the masks in `utils/batches/masking.py`, the metrics in
`scores`, the model in `MODEL_CLASS`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from transformers.hf_argparser import HfArg

from utils.arguments import Arguments, FineTuningArguments, ModelArguments, SearchArguments, TextArguments, UserError, require
from utils.command_line import check_command_line

SAMPLE = Path(__file__).parent / "configs" / "mlm.yaml"


@dataclass
class MaskedLanguageArguments(TextArguments):
    """Columns and choices of this task."""

    test_file: str | None = HfArg(default=None, help="Left alone. To train on its texts list it in --train_file, too.")
    mlm_probability: float = HfArg(default=0.15, help="Share of the tokens to mask.")
    mask_whole_words: bool = HfArg(default=True, help="Mask whole words, not single tokens.")
    pack_texts: bool = HfArg(
        default=False, help="Join texts, and cut them into rows of --max_seq_length. Otherwise a text is a row, and cut to it."
    )
    line_by_line: bool = HfArg(default=False, help="One text per row: HF's name for the default here.")
    validation_split_percentage: float | None = HfArg(default=None, help="--validation_fraction in percent, as HF calls it.")
    text: None = field(default=None, init=False)  # options of the other scripts that mean nothing here: nothing is predicted
    id_column_name: None = field(default=None, init=False)
    unknown_label: None = field(default=None, init=False)
    max_predict_samples: None = field(default=None, init=False)
    num_folds: None = field(default=None, init=False)
    fold: None = field(default=None, init=False)
    augmented_files: None = field(default=None, init=False)
    pseudo_labels: None = field(default=None, init=False)
    augmentation_weight: float = field(default=1.0, init=False)
    group_column_name: None = field(default=None, init=False)
    long_texts: None = field(default=None, init=False)

    def __post_init__(self):
        require("mlm_probability", self.mlm_probability, lambda value: 0 < value < 1, "a share above 0 and below 1")
        if self.pack_texts and self.line_by_line:
            raise UserError("--pack_texts and --line_by_line are both given: keep one")
        if self.validation_split_percentage is not None:
            self.validation_fraction = self.validation_split_percentage / 100
        super().__post_init__()


@dataclass
class MaskedLanguageTrainingArguments(FineTuningArguments):
    """This recipe's own defaults, for a pretrained encoder of BERT's size."""

    output_dir: str | None = HfArg(default="outputs/mlm", help="Where the files of the run go.")
    prior_bias: bool = HfArg(default=True, help="Start a new head's bias at each token's frequency. That in the training texts.")
    learning_rate: float = HfArg(default=5e-5, help="Peak learning rate.")
    metric_for_best_model: str | None = HfArg(
        default="perplexity", aliases=["--metric_name"], help="Metric that chooses the best weights. On the validation data."
    )
    label_smoothing_factor: float = field(default=0.0, init=False)  # those that mean nothing without labels
    extend_labels: bool = field(default=False, init=False)
    linear_probe: bool = field(default=False, init=False)
    pooling: str = field(default="first", init=False)
    calibrate: None = field(default=None, init=False)
    padding_free: bool = field(default=False, init=False)
    export: None = field(default=None, init=False)
    metrics_on_train: bool = field(default=False, init=False)
    no_report: bool = field(default=True, init=False)
    no_baseline: bool = field(default=True, init=False)
    no_text: bool = field(default=True, init=False)
    safe_csv: bool = field(default=False, init=False)
    all_probabilities: bool = field(default=False, init=False)

    def __post_init__(self):
        if self.do_predict:
            raise UserError("--do_predict: there is nothing to predict, the trained model is an encoder; leave it out")
        if self.dataloader_persistent_workers:
            raise UserError("--dataloader_persistent_workers: new masks are drawn in each epoch; leave it out")
        super().__post_init__()


KINDS = (ModelArguments, MaskedLanguageArguments, MaskedLanguageTrainingArguments, SearchArguments)
if __name__ == "__main__":
    check_command_line(KINDS, __doc__, SAMPLE)  # --help and a mistake in the options do not wait for the imports below

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForMaskedLM

from utils.batches.masking import log_frequencies, mask_words, number_words, only_masked, only_masked_works
from utils.batches.packing import pack
from utils.columns.text_columns import find_text_columns
from utils.data.row_texts import warn_of_shared_texts
from utils.files.cells import UNKNOWN
from utils.files.loading import load_splits
from utils.publishing.model_card import FILL_MASK
from utils.results.data_report import report_data
from utils.results.report import Results
from utils.runtime import run
from utils.scoring.selection import settle_evaluation
from utils.search.several import several_runs
from utils.splits.texts import only_columns, read_texts, settle_texts, without_test
from utils.training.checkpoints import settle_checkpoint
from utils.training.head import load_model
from utils.training.models import check_masks, describe_encoder, keep_pooler
from utils.training.task import Task, read_arguments
from utils.training.trainer import FineTuningTrainer

MODEL_CLASS = AutoModelForMaskedLM
METRIC_DIRECTIONS = {"perplexity": "lower"}  # for each metric in `scores`: is "higher" or "lower" better?
# What --search_trials varies; `search_space` in a file of options replaces it. Other masks would make other perplexities.
SEARCH_SPACE = {
    "learning_rate": {"log": [2e-5, 5e-4]},
    "num_train_epochs": {"int": [1, 10]},
    "head_learning_rate_multiplier": {"log": [1.0, 30.0]},
}


def masked_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of every token [rows, tokens] in float32; 0 where the target is `UNKNOWN`.

    Args:
        logits: [masked, vocabulary], of the masked tokens only, row by row.
        targets: [rows, tokens]; the tokens that were masked, elsewhere `UNKNOWN`.
    """
    masked = targets != UNKNOWN
    losses = F.cross_entropy(logits.float(), targets[masked], reduction="none")
    return torch.zeros(targets.shape, device=logits.device).masked_scatter(masked, losses)


class MaskedLanguageTrainer(FineTuningTrainer):
    """`FineTuningTrainer` with `masked_loss`, averaged over the masked tokens (its `weights`)."""

    token_inputs = ("labels",)
    masked_only = False  # whether the head computes the logits of the masked tokens alone

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        computed = partial(super().model_outputs, self.model)
        self.masked_only = not self.args.torch_compile and only_masked_works(self.model, self.example, computed)

    def model_outputs(self, model, inputs):
        """Return `logits` [masked, vocabulary]."""
        masked, computed = inputs["labels"] != UNKNOWN, super().model_outputs
        if not self.masked_only:
            return {"logits": computed(model, inputs)["logits"][masked]}
        with only_masked(self.accelerator.unwrap_model(model), masked):
            return {"logits": computed(model, inputs)["logits"][0]}

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        losses = masked_loss(self.model_outputs(model, inputs)["logits"], inputs["labels"])
        loss = self.mean(losses, inputs, num_items_in_batch)
        return (loss, {"logits": losses.sum(dim=1)}) if return_outputs else loss  # [rows]: all logits would fill the memory

    def training_collator(self):
        """Return the collator whose masks differ from epoch to epoch; those of the validation texts never do."""
        return partial(self.data_collator, seeds=lambda: (self.args.seed, self.epoch() + 1))


def encode(rows: dict[str, list], tokenizer, columns: list[str], max_length: int, data: MaskedLanguageArguments) -> dict:
    """Return what the model reads of some rows: the tokens of a text, or of a pair, and in `labels` the word of each token."""
    texts = [[str(text) for text in rows[name]] for name in columns]
    encoded = tokenizer(*texts, truncation=not data.pack_texts, max_length=max_length)
    encoded["labels"] = number_words(encoded, tokenizer, data.mask_whole_words)
    return encoded


def scores(losses: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the perplexity of the masked tokens, given the summed losses [rows] of texts and their targets [rows, tokens]."""
    return {"perplexity": math.exp(losses.sum(dtype=np.float64) / max((targets != UNKNOWN).sum(), 1))}


def scores_before(trainer: MaskedLanguageTrainer) -> dict[str, float]:
    """Return the perplexity before the first step as `perplexity_before`; nothing if there was none."""
    logged = [entry for entry in trainer.state.log_history if entry["step"] == 0 and "eval_perplexity" in entry]
    return {"perplexity_before": logged[0]["eval_perplexity"]} if logged else {}


def prepare(splits: dict[str, Dataset], args: Arguments) -> Task:
    """Find out what the texts are, and fill in the `Task`. Raises `UserError` where data and options do not fit."""
    data, splits = args.data, without_test(splits, args.data)
    columns = find_text_columns(splits, data, taken=[])
    task = Task(only_columns(splits, columns), args, __file__)
    task.format = SimpleNamespace(evaluated_as="texts", label_columns=[], columns_by_option={})  # no labels
    task.text_columns, task.delimiter, task.saved_labels = columns, data.text_column_delimiter, None
    task.settle_empty_texts(columns)
    warn_of_shared_texts(task.splits, columns)
    task.splits = settle_texts(task.splits, columns, data, args.training.seed)
    settle_evaluation(args.training, {"perplexity": 1.0} if "validation" in task.splits else {}, METRIC_DIRECTIONS)
    if task.config is not None:  # --check_data needs no model
        task.load_tokenizer()
        check_masks(args.model, task.config, task.tokenizer)
        describe_encoder(task.config)
    return task


def build_trainer(task: Task) -> MaskedLanguageTrainer:
    """Encode the rows of `task`, load a model that fills in masked tokens, and return the trainer."""
    # 4. Encode the examples.
    data, vocabulary = task.args.data, task.config.vocab_size
    task.encode(partial(encode, data=data))
    if data.pack_texts:
        task.splits = {name: pack(split, task.max_length) for name, split in task.splits.items()}
    if task.training and task.args.training.prior_bias:
        task.bias = log_frequencies(task.splits["train"], vocabulary)

    # 5. Load the model.
    model, head = load_model(MODEL_CLASS, task)
    keep_pooler(model, task.args.model)

    # 6. Build the trainer.
    training = task.args.training  # which a resumed run did not begin
    training.eval_on_start = "validation" in task.splits and not training.resume_from_checkpoint
    masks = mask_words(data.mlm_probability, task.tokenizer, vocabulary)
    return MaskedLanguageTrainer(model, head, task, lambda output: scores(output.predictions, output.label_ids), masks)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Run the recipe and return its metrics. Raises `UserError`, a `ValueError`, for a mistake in data or options."""
    # 1. Read the arguments.
    args = read_arguments(KINDS, argv, __doc__, SAMPLE, EXAMPLE_ROWS)

    # 2. Load the data and check its shape.
    splits = load_splits(args.data, read=partial(read_texts, options=args.data))
    if args.several:
        # 3. Search, if asked.
        metrics = several_runs(main, args, splits, prepare, build_trainer, None, SEARCH_SPACE)
        if metrics is not None:
            return metrics
    task = prepare(splits, args)
    if args.data.check_data:
        return report_data(task, partial(encode, data=args.data), lambda targets: {})

    # 4. Encode the examples. 5. Load the model. 6. Build the trainer.
    settle_checkpoint(task)
    trainer = build_trainer(task)
    results = Results(trainer, task, MODEL_CLASS, np.asarray, FILL_MASK, table=lambda *_: [])

    # 7. Train.
    if task.training:
        results.train()

    # 8. Evaluate.
    if "validation" in task.splits:
        results.add_scores("validation", scores_before(trainer) | scores(*results.predict("validation")))
    task.tokenizer.model_max_length = task.own_limit  # the encoder may read longer texts later
    results.save_model()

    # 9. Report.
    return results.finish()


EXAMPLE_ROWS = [  # what --smoke_test trains on where no data is given
    {"text": "The kettle leaks and I want my money back."},
    {"text": "Where is my parcel? It was due on Monday."},
    {"text": "Lovely teapot, thank you all!"},
    {"text": "Please send a new lid, this one came cracked."},
    {"text": "Third late parcel this year. Cancel my order and refund me."},
]

if __name__ == "__main__":
    run(main)
