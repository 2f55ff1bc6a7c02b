"""--use_peft: adapters and the head are trained, and what is saved is a model like any other."""

import json
import sys

import pytest
import torch
from conftest import launch_two_processes, make_rows, write_jsonl
from safetensors.torch import load_file
from transformers import AlbertConfig, AlbertModel, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

import run_multilabel
from utils.training.lora import Adapters, widen_all_but_frozen

peft = pytest.importorskip("peft")


@pytest.fixture
def options(tmp_path, tiny_model):
    files = {
        name: write_jsonl(tmp_path / f"{name}.jsonl", make_rows(count, seed))
        for name, count, seed in (("train", 300, 0), ("test", 30, 7))
    }
    options = [f"--{name}_file={path}" for name, path in files.items()]
    return [
        *options,
        "--use_peft",
        "--lora_r=4",
        "--learning_rate=5e-3",
        "--per_device_train_batch_size=16",
        "--no_report",
        f"--model_name_or_path={tiny_model}",
    ]


def logits(model) -> torch.Tensor:
    inputs = {"input_ids": torch.arange(5, 21).reshape(2, 8), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    with torch.no_grad():
        return model.eval()(**inputs).logits


def test_adapters_learn_and_are_merged_into_the_saved_model(options, tmp_path, tiny_model, caplog):
    with caplog.at_level("INFO"):
        metrics = run_multilabel.main([*options, f"--output_dir={tmp_path / 'o'}", "--num_train_epochs=10"])
    assert metrics["predict_roc_auc_macro"] > 0.8
    assert "parameters are trained (--use_peft)" in caplog.text and "README.md, adapter, all_results.json" in caplog.text
    before, after = load_file(f"{tiny_model}/model.safetensors"), load_file(tmp_path / "o" / "model.safetensors")
    assert {f"bert.{name}" for name in before} | {"classifier.weight", "classifier.bias"} == set(after)
    assert not torch.equal(
        before["encoder.layer.0.attention.self.query.weight"], after["bert.encoder.layer.0.attention.self.query.weight"]
    )
    assert torch.equal(before["embeddings.word_embeddings.weight"], after["bert.embeddings.word_embeddings.weight"])

    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "o")
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=4)
    with_adapter = peft.PeftModel.from_pretrained(base, tmp_path / "o" / "adapter")
    torch.testing.assert_close(logits(with_adapter), logits(merged), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(with_adapter.merge_and_unload()), logits(merged), rtol=1e-5, atol=1e-5)

    again = [f"--model_name_or_path={tmp_path / 'o'}", f"--output_dir={tmp_path / 'p'}", "--max_steps=2", "--learning_rate=1e-5"]
    further = run_multilabel.main([*options[:3], *options[4:-1], *again])
    assert further["predict_loss"] == pytest.approx(metrics["predict_loss"], abs=0.02)
    with pytest.raises(ValueError, match="holds adapters without their model: name the --output_dir that contains it"):
        run_multilabel.main(
            [f"--model_name_or_path={tmp_path / 'o' / 'adapter'}", *options[:2], f"--output_dir={tmp_path / 'p'}"]
        )
    config = json.loads((tmp_path / "o" / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 4 and config["base_model_name_or_path"] == tiny_model


def in_half_precision(tiny_model, folder):
    AutoModel.from_pretrained(tiny_model).bfloat16().save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return f"--model_name_or_path={folder}"


@pytest.mark.parametrize("half", [False, True])
def test_a_resumed_run_ends_with_the_same_weights(half, options, tmp_path, tiny_model):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [*options, in_half_precision(tiny_model, tmp_path / "half")] if half else options
    epochs = ["--num_train_epochs=2", "--keep_checkpoints"]
    run_multilabel.main([*options, *epochs, f"--output_dir={whole}"])
    (parts).mkdir()
    (whole / "checkpoint-17").rename(parts / "checkpoint-17")
    saved = load_file(parts / "checkpoint-17" / "model.safetensors")
    assert saved and all("lora_" in name or name.startswith(("classifier.", "bert.pooler.")) for name in saved)
    with pytest.raises(ValueError, match="checkpoint-17 lacks most weights .* with adapters alone; let its run end"):
        run_multilabel.main([options[1], f"--model_name_or_path={parts / 'checkpoint-17'}", f"--output_dir={tmp_path / 'p'}"])
    run_multilabel.main([*options, *epochs, f"--output_dir={parts}"])
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_compute_what_the_same_weights_do_in_float32(half, autocast, tiny_model):
    kept = AutoModelForSequenceClassification.from_pretrained(tiny_model).to(half)
    full = AutoModelForSequenceClassification.from_pretrained(tiny_model, dtype=torch.float32)
    full.load_state_dict(kept.state_dict())
    widen_all_but_frozen(kept)
    assert kept.base_model.encoder.layer[0].output.dense.weight.dtype == half and kept.classifier.weight.dtype == torch.float32
    found = {}
    for model in (kept, full):
        words = model.get_input_embeddings().weight
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found[model] = model.eval()(input_ids=torch.arange(5, 21).reshape(2, 8)).logits
        found[model].float().sum().backward()
        assert words.grad.abs().sum() > 0
    assert torch.equal(*found.values())
    assert torch.equal(kept.get_input_embeddings().weight.grad, full.get_input_embeddings().weight.grad)


@pytest.mark.parametrize("precision", ["--fp16=False", "--bf16"])
def test_weights_in_half_precision_stay_so_until_the_adapters_are_merged(precision, options, tmp_path, tiny_model, monkeypatch):
    kept, merge = {}, Adapters.merge

    def look(adapters):
        kept.update({name: each.dtype for name, each in adapters.tuner.model.named_parameters()})
        merge(adapters)

    monkeypatch.setattr(Adapters, "merge", look)
    half = in_half_precision(tiny_model, tmp_path / "half")
    more = [precision, "--num_train_epochs=10"]
    metrics = run_multilabel.main([*options, *more, half, f"--output_dir={tmp_path / 'o'}"])
    in_half = [name for name, dtype in kept.items() if dtype == torch.bfloat16]
    assert len(in_half) == 12 and all(name.endswith("base_layer.weight") for name in in_half)  # six in each layer
    assert {dtype for name, dtype in kept.items() if name not in in_half} == {torch.float32}
    assert metrics["predict_roc_auc_macro"] > 0.8
    assert {tensor.dtype for tensor in load_file(tmp_path / "o" / "model.safetensors").values()} == {torch.float32}
    predicts = [f"--model_name_or_path={tmp_path / 'o'}", f"--output_dir={tmp_path / 'p'}", "--no_report", options[1]]
    assert run_multilabel.main(predicts)["predict_loss"] == pytest.approx(metrics["predict_loss"], abs=1e-6)


def test_a_pooler_of_one_layer_is_trained_whole(options, tmp_path, tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    sizes = {"hidden_size": 32, "embedding_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    AlbertModel(AlbertConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **sizes)).save_pretrained(tmp_path / "albert")
    tokenizer.save_pretrained(tmp_path / "albert")
    base = [f"--model_name_or_path={tmp_path / 'albert'}", f"--output_dir={tmp_path / 'o'}", "--max_steps=2"]
    run_multilabel.main([*options[:-1], *base])
    before, after = load_file(tmp_path / "albert" / "model.safetensors"), load_file(tmp_path / "o" / "model.safetensors")
    assert not torch.equal(before["pooler.weight"], after["albert.pooler.weight"])


def test_an_option_that_changes_nothing_is_refused(options, tmp_path):
    with pytest.raises(ValueError, match="--use_peft trains no word embeddings, so --freeze_embeddings changes nothing"):
        run_multilabel.main([*options, f"--output_dir={tmp_path / 'o'}", "--freeze_embeddings"])


def test_peft_is_asked_for_before_anything_is_loaded(options, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"--use_peft needs peft: pip install -r requirements-peft.txt, or"):
        run_multilabel.main([*options, f"--output_dir={tmp_path / 'o'}"])
    with pytest.raises(ValueError, match="--lora_r and --lora_alpha are those of adapters: add --use_peft"):
        run_multilabel.main(["--smoke_test", "--lora_r=4"])


@pytest.mark.slow
def test_two_processes_train_the_adapters_of_one(options, tmp_path):
    common = [*options, "--max_steps=3", "--optim=sgd", "--fp16=False"]
    run_multilabel.main([*common, f"--output_dir={tmp_path / 'one'}"])
    two = [*common, f"--output_dir={tmp_path / 'two'}", "--per_device_train_batch_size=8"]
    launch_two_processes("run_multilabel", [two], tmp_path)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
