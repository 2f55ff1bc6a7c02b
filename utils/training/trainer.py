"""The trainer below every script's own: exact losses, whole checkpoints, float32 evaluation in the file's order, speed."""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedModel, Trainer
from transformers.trainer_utils import EvalLoopOutput

from utils import THREADS_SLEEP
from utils.arguments import UserError
from utils.batches.cutting import cut_batch
from utils.batches.order import complete_last_batch, longest_first, train_sampler, with_arrays
from utils.batches.padding_free import remove_padding
from utils.batches.throughput import Throughput
from utils.batches.windows import collate_windows, join_windows, window_logits
from utils.files.cells import UNKNOWN
from utils.files.rows import file_of, one_line
from utils.runtime import best_of, scores_so_far, show_progress
from utils.splits.augmented import WEIGHT
from utils.training.checkpoints import save_whole
from utils.training.cpu import train_seen_tokens, tune
from utils.training.guard import Guard, Patience, within_chance
from utils.training.head import Head, can_fit_alone, fit_alone, speed_up
from utils.training.lora import Adapters, remove_adapters
from utils.training.models import check_optimizer, settle_fsdp
from utils.training.pooling import read_mean, start_as_identity
from utils.training.task import Task

logger = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """Logits [rows, …] and targets (None where unlabelled) in the order of the file, and the loss and speed."""

    logits: np.ndarray
    targets: np.ndarray | None
    metrics: dict[str, float]


class FineTuningTrainer(Trainer):
    """`Trainer` with an exact loss, a head that is fitted first or learns faster, whole checkpoints, and float32 evaluation.

    A script's trainer says its loss in `compute_loss`, and in `weights` what each row or cell counts. The mean is over a whole
    optimizer step, with all its micro-batches and processes: 1 x 16 rows, 4 x 4 accumulated and 2 processes x 8 give the same
    loss and gradient. (transformers 5 multiplies them: https://github.com/huggingface/transformers/issues/47688.)

    Args:
        model, head: as `load_model` returns them.
        task: with encoded rows. Its `row_columns` reach `compute_loss` in `inputs`, [rows], and the model if its `forward` names
            them.
        collate: returns the batch of a list of rows, given `pad`, the padding collator; unset: `pad` itself.
    """

    token_inputs: tuple[str, ...] = ()  # inputs [rows, tokens] that a script's own `collate` adds

    def __init__(
        self,
        model: PreTrainedModel,
        head: Head,
        task: Task,
        compute_metrics: Callable | None = None,
        collate: Callable | None = None,
    ):
        args, tokenizer, splits = task.args.training, task.tokenizer, task.splits
        train, validation = splits.get("train"), splits.get("validation")
        # oneDNN builds its kernels again for each shape, 12 MB and 15 ms for a small encoder: let it meet few shapes
        longest = tokenizer.model_max_length
        self.padding_multiple = longest if args.pad_to_max_length else 4 if args.tune_cpu and longest % 4 == 0 else 1
        self.row_columns = task.row_columns
        self.windows_give = None  # the row its logits
        if task.long_texts == "windows":
            self.windows_give = "max" if task.format.evaluated_as == "labels" else "mean"
            collate = collate_windows
        pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=self.padding_multiple)
        with warnings.catch_warnings():  # Trainer says that it drops label smoothing; our losses have their own
            warnings.filterwarnings("ignore", message="Label smoothing is not compatible")
            super().__init__(
                model=model,
                args=args,
                train_dataset=train and with_arrays(complete_last_batch(train, args, task.unknown)),
                eval_dataset=validation and longest_first(validation)[0],
                processing_class=tokenizer,
                data_collator=partial(collate, pad=pad) if collate else pad,
                compute_metrics=compute_metrics,
            )
        if self.is_fsdp_enabled:
            settle_fsdp(self.accelerator.state.fsdp_plugin, model)
        self.model_accepts_loss_kwargs = True  # count `num_items_in_batch`, and do not divide by accumulation steps
        self.throughput, self.guard = Throughput(), Guard(self)
        self.add_callback(self.throughput)
        self.add_callback(self.guard)
        if args.early_stopping_patience:
            self.add_callback(Patience(args.early_stopping_patience))
        show_progress(self, lambda: self.guard.loss_sum)
        self.evaluations: dict[int, EvalLoopOutput] = {}  # by step
        self.read_by_model = set(inspect.signature(model.forward).parameters) - {"labels"}
        if "input_ids" not in self.read_by_model:  # the script's own `forward` may hand on *args and **kwargs
            self.read_by_model |= set(tokenizer.model_input_names)
        self._check_row_columns(splits)
        self.example = self._example(splits)
        reads_mean = train and args.pooling == "mean" and read_mean(model, head_is_new=bool(head.new or head.relabelled))
        self.head_parameters = head.start(model, lambda: self.model_outputs(model, self.example))
        if reads_mean:
            start_as_identity(head.below)
        self.head, self.fits_head = head, bool(train) and can_fit_alone(head.layer, self)
        if self.fits_head and "head_learning_rate_multiplier" not in task.args.given:
            args.head_learning_rate_multiplier = 1.0  # it has learned already
        self.adapters = Adapters(model, task.args.model, args) if train and task.args.model.use_peft else None
        if args.padding_free:
            remove_padding(model, lambda: self.model_outputs(model, self.example)["logits"], self.by_token)
        if args.tune_cpu:
            tune(model, lambda: self.model_outputs(model, self.example)["logits"])
        if args.freeze_embeddings:
            model.get_input_embeddings().requires_grad_(False)
        elif args.tune_cpu and train and not self.adapters:
            train_seen_tokens(model, train, tokenizer.all_special_ids, args.resume_from_checkpoint)
        check_optimizer(args.resume_from_checkpoint, model)
        if train:
            logger.info(self._speed_note())

    def _check_row_columns(self, splits: dict[str, Dataset]) -> None:
        for split in splits.values():
            for name in self.read_by_model & set(self.row_columns) - set(split.column_names):
                raise UserError(f"{file_of(split)}: the model reads the column {name!r}, which is not there: give a file with it")

    def _example(self, splits: dict[str, Dataset]) -> dict[str, torch.Tensor]:
        """Return a batch of two rows, to try the model on."""
        split = self._remove_unused_columns(next(iter(splits.values())))
        rows = [split[row] for row in range(min(2, len(split)))]
        return self._prepare_inputs(self.data_collator(rows))

    def _speed_note(self) -> str:
        """Return the line that says which choices for speed were made."""
        args = self.args
        order = {"group_by_length": "texts of similar length", "random": "random order", "sequential": "the file's order"}
        width = "their longest" + (f", a multiple of {self.padding_multiple} tokens" if self.padding_multiple > 1 else "")
        notes = [
            args.precision_note,
            f"batches: {order[args.train_sampling_strategy]}",
            "without padding" if args.padding_free else f"padded to {'the maximum' if args.pad_to_max_length else width}",
            f"at most {args.max_tokens_per_batch:,} tokens at once" if args.max_tokens_per_batch else "",
            f"optimizer: {str(getattr(args.optim, 'value', args.optim)).replace('adamw_torch_fused', 'fused AdamW')}",
            "tuned for the CPU" if args.tune_cpu else "",
            "other processes are busy, so threads sleep while they wait" if THREADS_SLEEP else "",
        ]
        return "; ".join(note for note in notes if note)

    def model_outputs(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the outputs of `model`, `logits` among them, for those `inputs` that its `forward` names, without labels."""
        read = {name: tensor for name, tensor in inputs.items() if name in self.read_by_model}
        if self.windows_give is None:
            return model(**read)
        at_once = None if self.args.sharded else self.args.eval_batch_size
        logits = window_logits(model, read, inputs["present"], self.row_columns, at_once)
        return {"logits": join_windows(logits, inputs["present"], self.windows_give)}

    def weights(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return what each row or cell of a batch counts in the mean of the losses; 0 where its target is unknown."""
        return (inputs["labels"] != UNKNOWN).float()

    def mean(
        self, losses: torch.Tensor, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the mean of `losses` [rows] or [rows, labels], already weighted, for `compute_loss`.

        In training it is divided by `num_items_in_batch`, the sum of `weights` in the whole optimizer step. In evaluation
        (None) by the weights of the batch; there sums are kept, so that `eval_loss` is exact over all batches and processes.
        """
        if WEIGHT in inputs:
            losses = losses * _of_rows(inputs[WEIGHT], losses)
        if num_items_in_batch is None:
            pair = losses, self.weights(inputs)
            self.row_sums = torch.stack([each.reshape(len(each), -1).sum(dim=1) for each in pair], dim=1)
            return pair[0].sum() / pair[1].sum().clamp(min=1e-12)
        loss = losses.sum() / num_items_in_batch.clamp(min=1e-12)
        # what all processes have is counted, and then their gradients are averaged
        return loss * self.accelerator.num_processes if self.args.average_tokens_across_devices else loss

    def _get_num_items_in_batch(self, batch_samples, device):
        weights = [self.weights(batch) for batch in batch_samples]
        if WEIGHT in batch_samples[0]:
            weights = [each * _of_rows(batch[WEIGHT], each) for each, batch in zip(weights, batch_samples, strict=True)]
        total = sum(each.sum() for each in weights).to(device)
        if self.args.world_size > 1 and self.args.average_tokens_across_devices:
            total = self.accelerator.gather(total).sum()
        return total

    @property
    def by_token(self) -> tuple[str, ...]:
        """The inputs that hold tokens, [rows, tokens]."""
        return (*self.processing_class.model_input_names, "input_ids", *self.token_inputs)

    def train(self, *args, **kwargs):
        if self.fits_head and not self.args.resume_from_checkpoint:
            fit_alone(self.head, self)
        return super().train(*args, **kwargs)

    def training_step(self, model, inputs, num_items_in_batch=None):
        *parts, last = cut_batch(inputs, self.args.max_tokens_per_batch, self.padding_multiple, self.by_token)
        self.throughput.count(*parts, last)
        loss = 0.0
        with self.accelerator.no_sync(model):  # several processes exchange gradients once, with the last part
            for part in parts:
                loss += super().training_step(model, part, num_items_in_batch)
        return self.guard.add(loss + super().training_step(model, last, num_items_in_batch))

    def create_optimizer(self, model=None):
        if self.optimizer is None:  # with DeepSpeed Trainer asks twice
            model = self.model if model is None else model
            speed_up(super().create_optimizer(model), model, self.head_parameters, self.args.head_learning_rate_multiplier)
        self.guard.remember(self.optimizer)
        return self.optimizer

    def _determine_best_metric(self, metrics, trial):
        is_best, args, state = super()._determine_best_metric(metrics, trial), self.args, self.state
        if not is_best and args.later_within_chance and state.best_global_step:
            scores = scores_so_far(args, state)
            if within_chance(scores[-1][1], best_of(args, scores), args.greater_is_better, len(self.eval_dataset)):
                state.best_global_step, state.best_metric = scores[-1]
        return is_best

    def _save_checkpoint(self, model, trial):
        save_whole(self, partial(super()._save_checkpoint, model, trial), loss_sum=self.guard.loss_sum)

    def init_hf_repo(self, *args, **kwargs):
        try:
            super().init_hf_repo(*args, **kwargs)
        except Exception as error:  # of the network, or that the Hub answers with
            told = f"--push_to_hub cannot make or find {self.args.hub_model_id or Path(self.args.output_dir).name} on the Hub"
            raise UserError(f"{told} ({one_line(error)[:200]}): see `hf auth login`, or leave it out") from error

    def save_model(self, output_dir=None, _internal_call=False):
        if not _internal_call:  # the training is over
            if self.args.should_save:
                remove_adapters(self.args.output_dir)
            if self.adapters and self.args.should_save:
                self.adapters.save(self.args.output_dir)
            if self.adapters:
                self.adapters.merge()
                self.adapters = None
        super().save_model(output_dir, _internal_call=True)  # it would be pushed to the Hub before its card is written

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, self.adapters.trained() if self.adapters else state_dict)

    def _issue_warnings_after_load(self, load_result):
        if not self.adapters:  # a checkpoint of theirs lacks the weights that are not trained
            super()._issue_warnings_after_load(load_result)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), float32_forward(self.accelerator.unwrap_model(model, keep_torch_compile=False)):
            if "labels" in inputs:
                _, outputs = self.compute_loss(model, inputs, return_outputs=True)
                self.loss_sums += self.accelerator.gather_for_metrics(self.row_sums).cpu().double().sum(dim=0)
            else:
                outputs = self.model_outputs(model, inputs)
        self.guard.check_logits(outputs["logits"])
        self.evaluated.count(inputs)
        self.evaluated.stop()
        return None, outputs["logits"], inputs.get("labels")

    def evaluation_loop(self, *args, metric_key_prefix="eval", **kwargs):
        self.evaluated, self.loss_sums = Throughput(), torch.zeros(2, dtype=torch.float64)
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        output.metrics.update(self.evaluated.rates(metric_key_prefix, self))
        if output.label_ids is not None:
            output.metrics[f"{metric_key_prefix}_loss"] = (self.loss_sums[0] / self.loss_sums[1].clamp(min=1e-12)).item()
        if self.is_in_train:  # keep those whose weights may become the final ones: the best and this one
            best = {step: kept for step, kept in self.evaluations.items() if step == self.state.best_global_step}
            self.evaluations = best | {self.state.global_step: output}
        return output

    def _set_signature_columns_if_needed(self):
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns += ["labels", WEIGHT, *self.row_columns, *self.read_by_model]

    def training_collator(self) -> Callable:
        """Return what makes a batch of training rows; `data_collator` makes those of all others."""
        return self.data_collator

    def get_train_dataloader(self):
        others, self.data_collator = self.data_collator, self.training_collator()
        loader, self.data_collator = super().get_train_dataloader(), others
        return loader

    def epoch(self) -> int:
        """Return the current epoch, from 0."""
        return int(self.state.epoch or 0)

    def _get_train_sampler(self, train_dataset=None):
        return train_sampler(self.train_dataset, self.args, self.epoch)

    def _get_eval_sampler(self, eval_dataset):
        return torch.utils.data.SequentialSampler(eval_dataset)  # Trainer's would shuffle, if training groups by length

    def fit(self) -> dict[str, Any]:
        """Train, or continue from the checkpoint of the arguments. Return the metrics. See `Guard.train` for what it raises."""
        return self.guard.train().metrics | self.throughput.rates("train", self)

    def predict_in_order(self, dataset: Dataset, prefix: str) -> Prediction:
        """Predict `dataset`, which has a column `length`, in its own order, although rows of similar length share a batch.

        If training ended with an evaluation of these very weights, that is the answer for the prefix `eval`.
        """
        longest, order = longest_first(dataset)
        output = self._final_evaluation() if prefix == "eval" else None
        if output is None:
            compute_metrics, self.compute_metrics = self.compute_metrics, None  # the script has thresholds to choose first
            output = self.predict(longest, metric_key_prefix=prefix)
            self.compute_metrics = compute_metrics
        if "epoch" in output.metrics:
            output.metrics["epoch"] = self.state.epoch  # also where they are those of an earlier evaluation
        back = np.argsort(order)
        targets = None if output.label_ids is None else output.label_ids[back]
        return Prediction(output.predictions[back], targets, output.metrics)

    def check_reload(self, model_class: type) -> None:
        """Load the saved model. Raises a `RuntimeError` if its logits differ from those of the one trained."""
        folder = self.args.output_dir
        reloaded = model_class.from_pretrained(folder).eval().to(self.args.device)
        with torch.no_grad(), float32_forward(self.model.eval()):
            logits = [self.model_outputs(model, self.example)["logits"].float() for model in (self.model, reloaded)]
        if not torch.allclose(*logits, atol=1e-5):
            raise RuntimeError(f"the model saved in {folder} gives other logits than the one trained: {logits}")

    def _final_evaluation(self) -> EvalLoopOutput | None:
        state = self.state
        if not (self.args.load_best_model_at_end and state.best_model_checkpoint):
            return self.evaluations.get(state.global_step)
        return self.evaluations.get(state.best_global_step) if Path(state.best_model_checkpoint).is_dir() else None


def _of_rows(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return `weights` [rows] so that they multiply `values` [rows, …]."""
    return weights.reshape(-1, *[1] * (values.dim() - 1))


@contextlib.contextmanager
def float32_forward(model: PreTrainedModel) -> Iterator[None]:
    """Run `model` without the autocast that accelerate wraps around its `forward`.

    Half-precision logits tie (bfloat16 has 8 bits of mantissa). Ties distort ranking metrics and tuned thresholds, and
    predictions would differ from those of the saved model in `pipeline()`.
    """
    autocast_forward = model.__dict__.pop("forward", None)  # accelerate sets it on the instance, over the class's own
    try:
        yield
    finally:
        if autocast_forward is not None:
            model.forward = autocast_forward
