"""The smoke test: the whole run on a tiny random model and a few rows, in seconds."""

import atexit
import json
import os
import random
import shutil
import tempfile

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from utils.arguments import Arguments
from utils.files.reading import EXAMPLE_FILE


def prepare_smoke_test(args: Arguments, example_rows: list[dict], row_columns: tuple[str, ...]) -> None:
    """Change the arguments to those of a smoke test: a tiny random model, and two steps on a few rows of the data given.

    Without data these are the script's `example_rows`, with random numbers in `row_columns`. All files go into a temporary
    folder. Batches are cut into parts, as long texts are in a real run.
    """
    agreed: list = [None]
    if args.training.process_index == 0:
        folder = agreed[0] = tempfile.mkdtemp(prefix="smoke_test_")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        save_tiny_model([str(list(row.values())) for row in example_rows], os.path.join(folder, "tiny"), positions=512)
        draw = random.Random(0)
        with open(os.path.join(folder, EXAMPLE_FILE), "w", encoding="utf-8") as file:
            for row in example_rows:
                file.write(json.dumps({name: round(draw.random(), 2) for name in row_columns} | row) + "\n")
    if args.training.world_size > 1:  # the others wait here until the folder is filled
        torch.distributed.broadcast_object_list(agreed)
    folder = agreed[0]
    args.model.model_name_or_path = os.path.join(folder, "tiny")
    if not (args.data.dataset_name or args.data.train_file):
        args.data.train_file = os.path.join(folder, EXAMPLE_FILE)
    if not args.data.dataset_name:
        args.data.test_file = args.data.test_file or args.data.train_file
    args.model.config_name = args.model.tokenizer_name = args.data.max_seq_length = None
    args.data.max_train_samples = args.data.max_eval_samples = args.data.max_predict_samples = 8
    training = args.training
    training.output_dir, training.asked = os.path.join(folder, "output"), []
    training.per_device_train_batch_size = training.per_device_eval_batch_size = 4
    training.max_steps, training.logging_steps, training.max_tokens_per_batch = 2, 1, 0 if training.sharded else 64


def save_tiny_model(texts: list[str], folder: str, positions: int = 64) -> None:
    """Write a random BERT of two layers and 32 units, and a WordPiece tokenizer trained on `texts`."""
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
        initializer_range=0.1,  # the usual 0.02 suits hundreds of units; so few would take thousands of steps to learn
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
