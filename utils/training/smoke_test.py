"""The smoke test."""

import atexit
import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerFast, TrainingArguments

from utils.arguments import DataArguments, ModelArguments

logger = logging.getLogger(__name__)


def prepare_smoke_test(
    model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, example_rows: list[dict]
) -> None:
    """Change the arguments to those of a smoke test: a tiny random model and two steps on a few rows of what data there is.

    Without data these are the script's `example_rows`. All that is written goes into a temporary folder.
    """
    agreed: list = [None]
    if training_args.process_index == 0:
        folder = agreed[0] = tempfile.mkdtemp(prefix="smoke_test_")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        save_tiny_model([str(list(row.values())) for row in example_rows], os.path.join(folder, "tiny"), positions=512)
        with open(os.path.join(folder, "example_rows.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in example_rows)
    if training_args.world_size > 1:  # the others wait here until the folder is filled
        torch.distributed.broadcast_object_list(agreed)
    folder = agreed[0]
    model_args.model_name_or_path = os.path.join(folder, "tiny")
    if not (data_args.dataset_name or data_args.train_file):
        data_args.train_file = os.path.join(folder, "example_rows.jsonl")
    if not data_args.dataset_name:
        data_args.test_file = data_args.test_file or data_args.train_file
    model_args.config_name = model_args.tokenizer_name = data_args.max_seq_length = None
    data_args.max_train_samples = data_args.max_eval_samples = data_args.max_predict_samples = 8
    training_args.output_dir = os.path.join(folder, "output")
    training_args.per_device_train_batch_size = training_args.per_device_eval_batch_size = 4
    training_args.max_steps, training_args.logging_steps, training_args.asked = 2, 1, []


@contextlib.contextmanager
def float32_forward(model: PreTrainedModel) -> Iterator[None]:
    """Run `model` without the autocast that accelerate wraps around its `forward`.

    Half-precision logits tie (bfloat16 has 8 bits of mantissa), which distorts ranking metrics and tuned thresholds, and
    predictions would differ from those of the saved model in `pipeline()`.
    """
    autocast_forward = model.__dict__.pop("forward", None)  # accelerate sets it on the instance, over the class's own
    try:
        yield
    finally:
        if autocast_forward is not None:
            model.forward = autocast_forward


def check_reload(folder: Path, auto_class: type, model: PreTrainedModel, shape: tuple[int, ...]) -> None:
    """Load what was saved and raise a `RuntimeError` if its logits for tokens of `shape` differ from those of `model`."""
    reloaded = auto_class.from_pretrained(folder).eval()
    tokens = torch.arange(5).expand(shape)
    with torch.no_grad(), float32_forward(model):
        logits = [m.cpu().eval()(input_ids=tokens).logits.float() for m in (model, reloaded)]
    if not torch.allclose(*logits, atol=1e-5):
        raise RuntimeError(f"the model saved in {folder} gives other logits than the one trained: {logits}")
    logger.info("smoke test passed: trained, evaluated, predicted, saved and loaded again")


def save_tiny_model(texts: list[str], folder: str, positions: int = 64) -> None:
    """Write a random BERT of two layers and 32 units, and a WordPiece tokenizer trained on `texts`, for smoke tests."""
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer()
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=list(special.values()), show_progress=False)
    wordpiece.train_from_iterator(texts, trainer)
    wordpiece.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=wordpiece, model_max_length=positions, **special)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.1,  # the usual 0.02 is for hundreds of units: so few would take thousands of steps to learn
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
