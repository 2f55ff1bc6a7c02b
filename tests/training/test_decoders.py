"""Decoders such as Llama, Qwen and Gemma as classifiers: their tokenizers often cannot pad, and only the last token knows all."""

import json

import numpy as np
import pytest
import torch
from conftest import LABELS, make_choice_rows, make_rows, write_jsonl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    pipeline,
    set_seed,
)

import run_classification
import run_multilabel
import run_multiple_choice

SIZE = {"vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
SIZE |= {"num_key_value_heads": 2, "intermediate_size": 64, "head_dim": 16, "initializer_range": 0.1}
CONFIGS = {
    "llama": LlamaConfig(**SIZE, pad_token_id=None),
    "qwen": Qwen3Config(**SIZE),
    "gemma": Gemma3TextConfig(**SIZE, pad_token_id=None),
    "gpt2": GPT2Config(vocab_size=500, n_embd=32, n_layer=2, n_head=2, n_positions=128, initializer_range=0.1),
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """Returns the folder of a tiny random decoder of a kind, whose tokenizer has an end of text and no padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {"special_tokens": ["<|end|>"], "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, **special)
    tokenizer.train_from_iterator([row["text"] for row in make_rows(200)], trainer)
    folder = tmp_path_factory.mktemp("decoders")

    def save(kind: str) -> str:
        set_seed(0)
        AutoModelForCausalLM.from_config(CONFIGS[kind]).save_pretrained(folder / kind)
        # as some decoders' tokenizers do, it would pad at the beginning
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", padding_side="left").save_pretrained(
            folder / kind
        )
        return str(folder / kind)

    return save


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_decoder_learns_and_padding_changes_nothing(decoder, kind, tmp_path, caplog):
    train, test = (write_jsonl(tmp_path / f"{seed}.jsonl", make_rows(count, seed)) for count, seed in ((120, 0), (30, 7)))
    options = [f"--train_file={train}", f"--test_file={test}", "--learning_rate=4e-3", "--num_train_epochs=6", "--no_report"]
    with caplog.at_level("INFO"):
        model = [f"--model_name_or_path={decoder(kind)}", f"--output_dir={tmp_path / 'o'}", "--per_device_train_batch_size=16"]
        metrics = run_multilabel.main([*model, *options, "--metrics_on_train"])
    assert "no padding token: it pads with the end of text, <|end|>" in caplog.text
    assert metrics["train_roc_auc_macro"] > 0.75
    alone = [f"--model_name_or_path={tmp_path / 'o'}", f"--output_dir={tmp_path / 'p'}", f"--test_file={test}", "--no_report"]
    assert run_multilabel.main([*alone, "--per_device_eval_batch_size=1"])["predict_loss"] == pytest.approx(
        metrics["predict_loss"], abs=1e-5
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "o")
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("<|end|>", "right")
    assert json.loads((tmp_path / "o" / "config.json").read_text())["pad_token_id"] == tokenizer.pad_token_id
    read = pipeline("text-classification", model=str(tmp_path / "o"), top_k=None)
    texts = [row["text"] for row in make_rows(30, 7)]
    found = [{entry["label"]: entry["score"] for entry in row} for row in read(texts, batch_size=8)]
    written = np.genfromtxt(tmp_path / "o" / "predictions.csv", delimiter=",", skip_header=1)[:, 1 : len(LABELS) + 1]
    np.testing.assert_allclose([[row[label] for label in LABELS] for row in found], written, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_adapters_of_a_decoder(decoder, kind, tmp_path):
    peft = pytest.importorskip("peft")
    base, train = decoder(kind), write_jsonl(tmp_path / "train.jsonl", make_rows(60))
    options = [f"--train_file={train}", "--max_steps=5", "--learning_rate=1e-2", "--no_report", f"--output_dir={tmp_path / 'o'}"]
    run_multilabel.main([f"--model_name_or_path={base}", *options, "--use_peft"])
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "o").eval()
    single = AutoModelForSequenceClassification.from_pretrained(base, config=AutoConfig.from_pretrained(tmp_path / "o"))
    adapted = peft.PeftModel.from_pretrained(single, tmp_path / "o" / "adapter").eval()
    tokens = {"input_ids": torch.arange(5, 21).reshape(2, 8), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    with torch.no_grad():
        torch.testing.assert_close(adapted(**tokens).logits, merged(**tokens).logits, rtol=1e-5, atol=1e-5)
        assert (adapted(**tokens).logits - adapted.unload()(**tokens).logits).abs().max() > 1e-3
    run_multilabel.main([f"--model_name_or_path={base}", *options, "--overwrite_output_dir"])
    assert not (tmp_path / "o" / "adapter").exists()  # which would be those of another model


def test_a_decoder_names_one_class_of_a_text_or_of_no_text(decoder, tmp_path, caplog):
    rows = [{"text": row["text"], "label": "yes" if "defect" in row["labels"] else "no"} for row in make_rows(120)]
    train, test = (
        write_jsonl(tmp_path / "train.jsonl", rows),
        write_jsonl(tmp_path / "test.jsonl", [{"text": ""}, {"text": "late"}]),
    )
    options = [f"--train_file={train}", f"--test_file={test}", "--max_steps=3", "--no_report", f"--output_dir={tmp_path / 'o'}"]
    run_classification.main([f"--model_name_or_path={decoder('llama')}", *options, "--per_device_eval_batch_size=1"])
    assert len((tmp_path / "o" / "predictions.csv").read_text().splitlines()) == 3
    assert "classify = pipeline" in (tmp_path / "o" / "README.md").read_text()  # tried on the other row
    assert "the tokenizer puts nothing between two texts" not in caplog.text
    pairs = write_jsonl(tmp_path / "pairs.jsonl", [row | {"second": "late"} for row in rows])
    options = [f"--train_file={pairs}", "--text_column_names=text,second", "--max_steps=1", "--no_report"]
    run_classification.main([f"--model_name_or_path={decoder('llama')}", *options, f"--output_dir={tmp_path / 'p'}"])
    assert "the tokenizer puts nothing between two texts" in caplog.text


def test_a_decoder_does_not_choose_among_candidates(decoder, tmp_path):
    train = write_jsonl(tmp_path / "train.jsonl", make_choice_rows(20))
    with pytest.raises(ValueError, match="transformers has no AutoModelForMultipleChoice for a llama model; use an encoder"):
        run_multiple_choice.main(
            [f"--model_name_or_path={decoder('llama')}", f"--train_file={train}", f"--output_dir={tmp_path}"]
        )
