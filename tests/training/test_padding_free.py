"""--padding_free: the texts of a batch joined into one row give the logits and gradients of the padded batch."""

import csv

import pytest
import torch
from conftest import make_choice_rows, make_rows, write_jsonl
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import UserError
from utils.batches.padding_free import remove_padding

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 200}
MODERN = {"pad_token_id": 0, "cls_token_id": 1, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2, "num_labels": 5}
LENGTHS = [50, 3, 17, 33]


def model_of(config):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.15)
    return model


def batch(padding):
    torch.manual_seed(1)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return {"input_ids": torch.randint(5, 200, mask.shape).where(mask.bool(), padding), "attention_mask": mask}


@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**SIZES, num_labels=5),
        RobertaConfig(**SIZES, num_labels=5),  # counts positions from 2
        ElectraConfig(**SIZES, num_labels=5),
        DistilBertConfig(vocab_size=200, dim=32, n_layers=3, n_heads=4, hidden_dim=48, num_labels=5),
        ModernBertConfig(**SIZES, **MODERN, local_attention=8, global_attn_every_n_layers=2),  # windows shorter than the texts
    ],
    ids=lambda config: config.model_type,
)
def test_logits_and_gradients_are_those_of_padded_texts(config):
    model, inputs = model_of(config), batch(config.pad_token_id or 0)
    seen = []
    layer = next(module for name, module in model.named_modules() if name.endswith((".0.mlp", "layer.0.intermediate", "0.ffn")))
    layer.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[:2].numel()))

    def step():
        model.zero_grad()
        logits = model(**inputs).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
        return logits.detach(), {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}

    logits, gradients = step()
    remove_padding(model, lambda: model(**{name: tensor[:2] for name, tensor in inputs.items()}).logits)
    joined, own = step()
    assert joined.std() > 0.01 and torch.allclose(joined, logits, atol=1e-5)
    assert own.keys() == gradients.keys() and all(torch.allclose(own[name], gradients[name], atol=1e-6) for name in own)
    assert seen[0] == max(LENGTHS) * len(LENGTHS) and seen[-1] == sum(LENGTHS)


@pytest.mark.parametrize(
    "config",
    [
        AlbertConfig(**SIZES, embedding_size=16),  # one layer, many times
        DebertaV2Config(**SIZES),  # an attention of its own
        ModernBertConfig(**SIZES, **MODERN, classifier_pooling="mean"),  # reads all tokens
    ],
    ids=lambda config: config.model_type,
)
def test_a_model_that_it_does_not_fit_is_refused(config):
    model, inputs = model_of(config), batch(0)
    with pytest.raises(UserError, match=f"--padding_free does not fit {type(model).__name__}, which .* leave it out"):
        remove_padding(model, lambda: model(**inputs).logits)


def rows_of(script, seed):
    if script is run_multiple_choice:
        return make_choice_rows(40, seed)
    rows = make_rows(40, seed)
    return rows if script is run_multilabel else [{"text": row["text"], "label": "ab"["defect" in row["labels"]]} for row in rows]


@pytest.mark.parametrize("script", [run_classification, run_multilabel, run_multiple_choice], ids=lambda script: script.__name__)
def test_a_run_learns_and_predicts_the_same(script, tmp_path, tiny_model):
    train, test = (write_jsonl(tmp_path / f"{seed}.jsonl", rows_of(script, seed)) for seed in (1, 2))
    found = {}
    for option in ("--padding_free=False", "--padding_free"):
        output = tmp_path / option
        options = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--test_file={test}", "--max_steps=6"]
        metrics = script.main([*options, f"--output_dir={output}", "--linear_probe=False", "--fp16=False", option])
        with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
            found[option] = metrics, list(csv.DictReader(file))
    (padded, rows), (joined, other_rows) = found.values()
    assert joined["train_loss"] == pytest.approx(padded["train_loss"], abs=1e-5)
    assert joined["eval_loss"] == pytest.approx(padded["eval_loss"], abs=1e-5)
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in other_rows]


def test_windows_are_joined_too(tmp_path, tiny_model):
    rows = [row | {"text": " ".join([row["text"]] * 4)} for row in make_rows(20)]
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    options = [f"--model_name_or_path={tiny_model}", f"--train_file={file}", "--max_seq_length=16", "--long_texts=windows"]
    options += ["--fp16=False"]
    losses = [
        run_multilabel.main([*options, f"--output_dir={tmp_path / name}", "--max_steps=2", f"--{name}"])["eval_loss"]
        for name in ("padding_free", "padding_free=False")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_padding_to_the_maximum_and_none_contradict():
    with pytest.raises(UserError, match=r"^--padding_free and --pad_to_max_length are both given: keep one"):
        run_multilabel.main(["--padding_free", "--pad_to_max_length"])
