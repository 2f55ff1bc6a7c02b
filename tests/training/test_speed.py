"""What makes a run fast leaves what is learnt as it was; and the rates that a run reports are those of what it read."""

import copy
import json
import os
import subprocess
import sys

import datasets
import numpy as np
import pytest
import torch
from conftest import ROOT, launch, make_choice_rows, make_rows, write_jsonl
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, BertForSequenceClassification, BertModel, Trainer

import run_classification
import run_multilabel
import run_multiple_choice
import utils.batches.encoding
import utils.results.report
import utils.training.cpu
from utils.arguments import FineTuningArguments
from utils.batches.cutting import cut_batch
from utils.batches.throughput import Throughput
from utils.training import head, trainer

SCRIPTS = {"multilabel": run_multilabel, "classification": run_classification, "multiple_choice": run_multiple_choice}


def rows_of(kind, count, seed=1):
    if kind == "multiple_choice":
        return make_choice_rows(count, seed)
    if kind == "multilabel":
        return make_rows(count, seed)
    return [{"text": row["text"], "label": "defect" if "defect" in row["labels"] else "other"} for row in make_rows(count, seed)]


def options(folder, kind, tiny_model, train=64):
    files = {"train": rows_of(kind, train), "validation": rows_of(kind, 30, 2), "test": rows_of(kind, 20, 3)}
    paths = [f"--{name}_file={write_jsonl(folder / f'{name}.jsonl', rows)}" for name, rows in files.items()]
    return [f"--model_name_or_path={tiny_model}", f"--output_dir={folder / 'output'}", "--num_train_epochs=2", *paths]


def batch(rows=5, tokens=20, seed=0):
    torch.manual_seed(seed)
    lengths = torch.randint(3, tokens, (rows,))
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    return {"input_ids": torch.randint(5, 90, (rows, tokens)) * mask, "attention_mask": mask}


def test_dropout_noise_has_its_probability_and_its_mean():
    torch.manual_seed(0)
    noise = utils.training.cpu.dropout_noise(torch.Size([701, 999]), 0.3, torch.float32)
    assert noise.shape == (701, 999) and noise.unique().numel() == 2
    assert (noise == 0).float().mean().item() == pytest.approx(0.3, abs=0.003)
    assert noise.mean().item() == pytest.approx(1, abs=0.005)
    columns = (noise == 0).float().mean(dim=0)  # four decisions come from one number: none of them may be another's shadow
    assert abs(np.corrcoef(columns[:-1], columns[1:])[0, 1]) < 0.15
    torch.manual_seed(0)
    torch.testing.assert_close(noise, utils.training.cpu.dropout_noise(torch.Size([701, 999]), 0.3, torch.float32))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("tokens", [20, 60])
def test_tuned_layers_give_the_logits_and_gradients_of_torch(tiny_model, monkeypatch, dropout, tokens):
    plain, tuned = (AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3) for _ in range(2))
    tuned.load_state_dict(plain.state_dict())
    inputs = batch(tokens=tokens)
    utils.training.cpu.tune(tuned.eval(), lambda: tuned(**inputs).logits)
    assert [name for name, _ in tuned.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert isinstance(tuned.bert.encoder.layer[0].output.dropout, utils.training.cpu.Dropout)
    assert tuned.bert.encoder.layer[-1].attention.self.first_token_only
    with torch.no_grad():
        expected = plain.eval()(**inputs).logits
        torch.testing.assert_close(tuned.eval()(**inputs).logits, expected, rtol=0, atol=1e-5)
    for module in tuned.modules():  # dropout whose noise is 1 everywhere: the path that training takes
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    monkeypatch.setattr(utils.training.cpu, "dropout_noise", lambda shape, probability, dtype: torch.ones(shape, dtype=dtype))
    for model in (plain, tuned):
        model.train()(**inputs).logits[:, 0].sum().backward()
    for (name, one), other in zip(plain.named_parameters(), tuned.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6, msg=name)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "pad_token_id": 0}
SHAPES = {"distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "pad_token_id": 0}}
SHAPES["xlnet"] = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "pad_token_id": 0}
SHAPES["gpt2"] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0}
SHAPES["modernbert"] = SMALL | {"sep_token_id": 3, "cls_token_id": 2, "bos_token_id": 2, "eos_token_id": 3}
MODELS = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet", "albert", "deberta-v2", "xlnet"]
MODELS += ["modernbert", "gpt2", "llama"]  # the last two are causal


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_models_of_every_kind_give_the_same_logits_and_gradients_when_tuned(monkeypatch, name, padded):
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, vocab_size=100, num_labels=3, initializer_range=0.2, **SHAPES.get(name, SMALL))
    # two configs, because the attention is a field of it
    plain, tuned = (AutoModelForSequenceClassification.from_config(copy.deepcopy(config)) for _ in range(2))
    tuned.load_state_dict(plain.state_dict())
    inputs = batch() if padded else {"input_ids": torch.randint(5, 90, (4, 12)), "attention_mask": torch.ones(4, 12).long()}
    inputs["input_ids"][:, 0] = 7
    utils.training.cpu.tune(tuned.eval(), lambda: tuned(**inputs).logits)
    assert plain.config._attn_implementation != utils.training.cpu.ATTENTION
    with torch.no_grad():
        torch.testing.assert_close(tuned.eval()(**inputs).logits, plain.eval()(**inputs).logits, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(utils.training.cpu, "dropout_noise", lambda shape, probability, dtype: torch.ones(shape, dtype=dtype))
    for model in (plain, tuned):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "attention_dropout") and isinstance(module.attention_dropout, float):
                module.attention_dropout = 0.0
        logits = model.train()(**inputs).logits
        logits[:, 0].sum().backward()
    for (parameter, one), other in zip(plain.named_parameters(), tuned.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-4, msg=parameter)


class MeanOfTokens(torch.nn.Module):
    """A pooler that reads every token, in the place of BERT's."""

    def forward(self, hidden):
        return hidden.mean(dim=1)


def test_what_would_change_the_logits_is_not_tuned(tiny_model):
    model = BertForSequenceClassification.from_pretrained(tiny_model, num_labels=3)
    model.bert.pooler = MeanOfTokens()
    inputs = batch()
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
        utils.training.cpu.tune(model, lambda: model(**inputs).logits)
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=1e-5)
    last = model.bert.encoder.layer[-1].attention
    assert not last.self.first_token_only and not last.output._forward_pre_hooks
    assert isinstance(model.classifier, utils.training.cpu.Linear)  # the rest is tuned all the same


def test_only_the_embeddings_of_seen_tokens_are_trained_and_all_are_saved(tiny_model):
    plain, tuned = (AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3) for _ in range(2))
    tuned.load_state_dict(plain.state_dict())
    before = plain.get_input_embeddings().weight.detach().clone()
    inputs = batch()
    texts = [ids[ids > 0].tolist() for ids in inputs["input_ids"] % 20]
    inputs["input_ids"] = inputs["input_ids"] % 20
    utils.training.cpu.train_seen_tokens(tuned, Dataset.from_dict({"input_ids": texts}), [0, 2, 3], None)
    assert tuned.get_input_embeddings().seen.shape[0] <= 20 < len(before) / 2
    for model in (plain, tuned):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
        for _ in range(3):
            model.train()(**inputs).logits[:, 0].sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    saved = tuned.state_dict()
    assert list(saved) == list(plain.state_dict())
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(saved[name], expected, rtol=1e-4, atol=1e-5, msg=name)
    assert (saved["bert.embeddings.word_embeddings.weight"] != before).any()
    other = {"input_ids": torch.arange(10, 60)[None]}  # tokens that were not trained among them
    expected = plain.eval()(**other).logits
    torch.testing.assert_close(tuned.eval()(**other).logits, expected, rtol=1e-4, atol=1e-5)
    tuned.train()(**inputs)  # weights that are loaded replace those that were trained
    tuned.load_state_dict(AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3).state_dict())
    torch.testing.assert_close(tuned.state_dict()["bert.embeddings.word_embeddings.weight"], before, rtol=0, atol=0)
    torch.testing.assert_close(tuned.get_input_embeddings().seen, before[tuned.get_input_embeddings().tokens], rtol=0, atol=0)


def test_a_run_of_few_words_resumes_to_the_same_weights_and_not_with_other_words(tmp_path, tiny_model):
    def file(name, words):
        rows = [{"text": " ".join(words[: 2 + number % 4]), "label": "ab"[number % 2]} for number in range(32)]
        return f"--train_file={write_jsonl(tmp_path / name, rows)}"

    few, others = file("few.jsonl", ["kettle", "late", "money", "parcel"]), file("others.jsonl", ["monday", "shop", "the", "was"])
    base = [f"--model_name_or_path={tiny_model}", "--max_steps=6", "--per_device_train_batch_size=8", "--validation_fraction=0"]
    base += ["--save_strategy=steps", "--save_steps=3", "--save_total_limit=3", "--keep_checkpoints"]
    run_classification.main([*base, few, f"--output_dir={tmp_path / 'whole'}"])
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    vocabulary = load_file(checkpoint / "model.safetensors")["bert.embeddings.word_embeddings.weight"].shape[0]
    assert not any(entry["exp_avg"].shape[0] == vocabulary for entry in state.values())
    resume, tokens = f"--resume_from_checkpoint={checkpoint}", (checkpoint / "trained_tokens.npy").stat().st_size
    run_classification.main([*base, few, f"--output_dir={tmp_path / 'resumed'}", resume])
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    for name, weights in whole.items():
        torch.testing.assert_close(resumed[name], weights, rtol=0, atol=0)
    run_classification.main([*base, others, f"--output_dir={tmp_path / 'more'}", resume, "--resume_anyway"])  # few are trained
    assert (tmp_path / "more" / "checkpoint-6" / "trained_tokens.npy").stat().st_size == tokens
    base = [*base, "--resume_anyway"]
    for changed in ([others, "--no_tune_cpu"], [few, "--no_tune_cpu"], [few, "--freeze_embeddings"]):
        with pytest.raises(ValueError, match="has trained other parameters, or the embeddings of other words"):
            run_classification.main([*base, *changed, f"--output_dir={tmp_path / 'other'}", resume])


def test_attention_dropout_is_drawn_anew_and_seeded(tiny_model):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, attention_probs_dropout_prob=0.3)
    inputs, logits = batch(), []
    utils.training.cpu.tune(model.eval(), lambda: model(**inputs).logits)
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        logits.append(model.train()(**inputs).logits)
    torch.testing.assert_close(logits[0], logits[2])
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_a_batch_is_cut_into_parts_that_hold_each_row_once():
    inputs = batch(rows=40, tokens=30) | {"labels": torch.arange(40)}
    parts = cut_batch(inputs, 100)
    assert len(parts) > 3 and sorted(torch.cat([part["labels"] for part in parts]).tolist()) == list(range(40))
    assert sum(part["input_ids"].numel() for part in parts) < inputs["input_ids"].numel()
    for part in parts:
        assert part["input_ids"].numel() <= 100
        for label, ids in zip(part["labels"].tolist(), part["input_ids"], strict=True):
            whole = inputs["input_ids"][label]
            assert ids[ids > 0].tolist() == whole[whole > 0].tolist()
    assert cut_batch(inputs, 0) == [inputs] and cut_batch(inputs, 1200) == [inputs]
    assert [len(part["labels"]) for part in cut_batch(inputs, 1)] == [1] * 40


@pytest.mark.parametrize(("longest", "multiple"), [(24, 4), (23, 1)])  # a multiple may not go over the longest allowed
@pytest.mark.parametrize("kind", SCRIPTS)
def test_batches_are_of_few_widths_on_a_cpu(tmp_path, tiny_model, kind, monkeypatch, longest, multiple):
    monkeypatch.setattr(utils.results.report, "describe_use", lambda *_: "")  # which tries the model on texts of any width
    widths, forward = [], BertModel.forward
    monkeypatch.setattr(BertModel, "forward", lambda self, ids, **kw: (widths.append(ids.shape), forward(self, ids, **kw))[1])
    arguments = [*options(tmp_path, kind, tiny_model), "--max_tokens_per_batch=200", f"--max_seq_length={longest}"]
    SCRIPTS[kind].main(arguments)
    assert len(set(widths)) > 2 and all(width <= longest and width % multiple == 0 for _, width in widths)
    del widths[:]
    SCRIPTS[kind].main([*arguments, "--no_tune_cpu", "--overwrite_output_dir"])
    assert any(width % 4 for _, width in widths)
    del widths[:]
    SCRIPTS[kind].main([*arguments, "--pad_to_max_length", "--overwrite_output_dir"])  # in every part of a batch
    assert {width for _, width in widths} == {longest} and max(texts for texts, _ in widths[:8]) <= 200 // longest


def test_a_part_of_a_batch_keeps_its_tokens_whatever_the_width(tiny_model):
    for side in ("left", "right"):
        mask = batch(rows=12)["attention_mask"]
        mask = mask.flip(1) if side == "left" else mask
        ids = torch.arange(mask.numel()).reshape(mask.shape) * mask
        parts = cut_batch({"input_ids": ids, "attention_mask": mask, "labels": torch.arange(12)}, 60, 4)
        assert len(parts) > 2 and all(part["input_ids"].shape[1] % 4 == 0 for part in parts)
        for part in parts:
            for row, label in enumerate(part["labels"]):
                kept = part["attention_mask"][row].bool()
                assert part["input_ids"][row][kept].tolist() == ids[label][mask[label].bool()].tolist()
                assert kept.tolist() == sorted(kept.tolist(), reverse=side == "right")  # no padding between tokens


@pytest.mark.parametrize("kind", SCRIPTS)
def test_reported_rates_are_those_of_what_was_read(tmp_path, tiny_model, kind, monkeypatch):
    seen = []
    count = Throughput.count
    monkeypatch.setattr(Throughput, "count", lambda self, *batches: (seen.append((self, batches)), count(self, *batches))[1])
    arguments = [*options(tmp_path, kind, tiny_model), "--max_seq_length=24", "--max_tokens_per_batch=200"]
    SCRIPTS[kind].main(arguments)
    results = json.loads((tmp_path / "output" / "all_results.json").read_text())
    trained = [inputs for counter, batches in seen for inputs in batches if counter is seen[0][0]]
    tokens = sum(inputs["attention_mask"].sum().item() for inputs in trained)
    cells = sum(inputs["attention_mask"].numel() for inputs in trained)
    assert sum(len(inputs["labels"]) for inputs in trained) == 2 * 64
    assert results["train_padding_share"] == pytest.approx(1 - tokens / cells)
    assert results["train_tokens_per_second"] / results["train_rows_per_second"] == pytest.approx(tokens / 128)
    for prefix in ("train", "eval", "predict"):
        assert results[f"{prefix}_flops_per_second"] > 0 and 0 <= results[f"{prefix}_padding_share"] < 0.5
    assert 0 <= results["train_truncated_share"] < 1
    short = 12 if kind == "multiple_choice" else 8
    SCRIPTS[kind].main(
        [*arguments, f"--max_seq_length={short}", "--pad_to_max_length", "--max_tokens_per_batch=0", "--overwrite_output_dir"]
    )
    padded = json.loads((tmp_path / "output" / "all_results.json").read_text())
    assert padded["predict_truncated_share"] > results["predict_truncated_share"]


@pytest.mark.parametrize("kind", SCRIPTS)
def test_the_last_evaluation_is_not_made_twice(tmp_path, tiny_model, kind, monkeypatch):
    loop, prefixes = Trainer.evaluation_loop, []

    def counted(self, *args, metric_key_prefix="eval", **kwargs):
        prefixes.append(metric_key_prefix)
        return loop(self, *args, metric_key_prefix=metric_key_prefix, **kwargs)

    monkeypatch.setattr(Trainer, "evaluation_loop", counted)
    arguments = options(tmp_path, kind, tiny_model)
    found = SCRIPTS[kind].main(arguments)
    assert prefixes == ["eval", "eval", "predict"]
    again = SCRIPTS[kind].main([f"--model_name_or_path={tmp_path / 'output'}", f"--output_dir={tmp_path / 'again'}",
                                *[a for a in arguments if a.startswith(("--validation", "--test"))], "--do_eval"])  # fmt: skip
    for name in ("eval_loss", "eval_accuracy"):
        assert found[name] == pytest.approx(again[name], abs=1e-6), name
    del prefixes[:]
    SCRIPTS[kind].main([*arguments, "--eval_strategy=no", "--overwrite_output_dir"])
    assert prefixes == ["eval", "predict"]


def test_tokens_of_many_rows_are_kept_for_the_next_run(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(utils.batches.encoding, "ROWS_WORTH_KEEPING", 50)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    kept = tmp_path / "cache" / "encoded"
    arguments = [*options(tmp_path, "multilabel", tiny_model), "--overwrite_output_dir"]
    first = run_multilabel.main(arguments)
    (file,) = kept.iterdir()  # that of the 64 training rows
    written = file.stat().st_mtime_ns
    second = run_multilabel.main(arguments)
    assert list(kept.iterdir()) == [file] and file.stat().st_mtime_ns == written
    assert first["predict_loss"] == second["predict_loss"] and first["train_loss"] == second["train_loss"]
    run_multilabel.main([*arguments, "--overwrite_cache"])
    assert list(kept.iterdir()) == [file] and file.stat().st_mtime_ns > written
    os.truncate(file, 100)
    assert run_multilabel.main(arguments)["train_loss"] == first["train_loss"] and file.stat().st_size > 1000
    run_multilabel.main([*arguments, "--max_seq_length=10"])  # other tokens
    assert len(list(kept.iterdir())) == 2


def test_every_choice_for_the_cpu_can_be_turned_off(tmp_path, tiny_model, monkeypatch):
    def fail(*args):
        raise AssertionError("tuned all the same")

    for module, name in ((trainer, "tune"), (head, "keep_memory"), (trainer, "train_seen_tokens")):
        monkeypatch.setattr(module, name, fail)
    run_multilabel.main([*options(tmp_path, "multilabel", tiny_model), "--no_tune_cpu", "--max_tokens_per_batch=0"])


@pytest.mark.parametrize("kind", SCRIPTS)
def test_frozen_embeddings_stay_and_the_rest_learns(tmp_path, tiny_model, kind):
    SCRIPTS[kind].main([*options(tmp_path, kind, tiny_model), "--freeze_embeddings"])
    before, after = (load_file(f"{folder}/model.safetensors") for folder in (tiny_model, tmp_path / "output"))
    word, layer = "embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight"
    torch.testing.assert_close(after[f"bert.{word}"], before[word], rtol=0, atol=0)
    assert (after[f"bert.{layer}"] - before[layer]).abs().max() > 1e-6


# What a script loads to read data, train and score, and what nobody waits for who asks for --help: seconds of imports.
SLOW = ("datasets", "sklearn", "evaluate", "transformers.models", "transformers.modeling_utils", "transformers.trainer")
SLOW += ("transformers.tokenization_utils_base", "transformers.configuration_utils")
# A script, as it is run with each of the options that stand alone, or a module; then the names of all that has been loaded.
LOAD = """
import runpy, sys
_, file, *options = sys.argv
sys.path.insert(0, "")
sys.modules["peft"] = None  # where it is installed, transformers loads it, and all that it needs, with TrainingArguments
for option in options:
    sys.argv = [file, *option.split()]
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        print("status", end.code)
if not options:
    __import__(file)
print("loaded", *sys.modules)
"""


def loaded_by(*command):
    """Return which of the slow imports a run of a script has made, the statuses it ended with, and its output."""
    result = launch("python", "-c", LOAD, *command)
    lines = result.stdout.splitlines()
    names = lines[-1].split()
    assert "utils.arguments" in names
    slow = {slow for slow in SLOW if any(f"{name}.".startswith(f"{slow}.") for name in names)}
    return slow, [line for line in lines if line.startswith("status")], result


@pytest.mark.slow
def test_help_and_mistakes_in_the_options_do_not_wait_for_slow_imports():
    assert loaded_by("run_multilabel")[0] == set(SLOW)  # all of these names are still those of what is used
    for script in SCRIPTS.values():
        slow, statuses, result = loaded_by(script.__file__, "--help", "--learning_rate fast")
        assert not slow and statuses == ["status 0", "status 2"] and "--train_file" in result.stdout
        assert result.stderr.splitlines()[-1].startswith("error: --learning_rate: ")


def test_threads_sleep_while_they_wait_only_where_others_need_the_cores(monkeypatch, tmp_path):
    code, alone = "import os, utils; print(os.environ.get('GOMP_SPINCOUNT'))", {"OMP_NUM_THREADS": str(os.cpu_count())}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    other = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        found = [
            subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, env=environment | more, capture_output=True, text=True, check=True
            ).stdout.strip()
            for more in (alone, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"})
        ]
    finally:
        other.kill()
        other.wait()
    assert found == ["0", "7", "None"]
    for running, threads, busy in ((1, 4, False), (2, 4, True), (2, 2, False), (4, 2, True)):
        loads = tmp_path / "loadavg"
        loads.write_text(f"0.5 0.4 0.3 {running}/200 4711\n")
        monkeypatch.setattr(utils, "Path", lambda name, loads=loads: loads)
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        assert utils.is_busy() == busy


def test_a_process_uses_one_of_several_gpus_and_says_how_to_use_all(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    args = FineTuningArguments(output_dir=str(tmp_path / "out"))
    assert args.n_gpu == 1 and args.train_batch_size == args.per_device_train_batch_size
    assert args.precision_note.endswith("one of 4 GPUs (torchrun --nproc_per_node 4 trains on all of them)")
