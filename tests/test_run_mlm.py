"""run_mlm.py: an encoder goes on learning from texts alone, and trains in the other scripts afterwards."""

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FILLER, launch_two_processes, make_rows, write_csv, write_jsonl
from safetensors.torch import load_file
from transformers import AutoTokenizer, TrainerCallback

import run_mlm
import run_multilabel
from utils.arguments import Stopped, UserError
from utils.batches.masking import NO_WORD, mask_words, number_words

draw = random.Random(0)
RUNS = [(draw.randrange(len(FILLER)), draw.randint(3, 7)) for _ in range(320)]  # of words that always follow each other
RUNS = [" ".join((FILLER * 2)[start : start + length]) for start, length in RUNS]
TEXTS = [f"{one} {other}" for one, other in zip(RUNS[::2], RUNS[1::2], strict=True)]


@pytest.fixture
def texts(tmp_path) -> str:
    return write_csv(tmp_path / "texts.csv", ["id", "text", "label"], [[row, text, row % 2] for row, text in enumerate(TEXTS)])


def learn(tiny_model: str, files: str, folder, *options: str) -> dict[str, float]:
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={files}", f"--output_dir={folder}", "--learning_rate=1e-3"]
    return run_mlm.main([*base, "--per_device_train_batch_size=16", *options])


def test_it_learns_and_the_encoder_trains_in_another_script(texts, tmp_path, tiny_model, caplog):
    caplog.set_level("INFO")
    found = learn(tiny_model, texts, tmp_path / "o", "--num_train_epochs=6", "--learning_rate=3e-3", "--max_seq_length=32")
    assert found["eval_perplexity"] < 0.8 * found["eval_perplexity_before"]
    assert found["eval_perplexity"] == pytest.approx(np.exp(found["eval_loss"]), rel=1e-5)
    assert found == json.loads((tmp_path / "o" / "all_results.json").read_text())
    assert "report" not in " ".join(caplog.messages) and "the head of" not in " ".join(caplog.messages)
    written = {path.name for path in (tmp_path / "o").iterdir()}
    assert {"model.safetensors", "args.yaml", "README.md", "tokenizer.json"} <= written and "report.json" not in written

    before, after = load_file(f"{tiny_model}/model.safetensors"), load_file(tmp_path / "o" / "model.safetensors")
    assert {f"bert.{name}" for name in before} <= set(after)  # the pooler, too
    assert torch.equal(before["pooler.dense.weight"], after["bert.pooler.dense.weight"])
    assert AutoTokenizer.from_pretrained(tmp_path / "o").model_max_length == 64  # not what this run has read
    config = json.loads((tmp_path / "o" / "config.json").read_text())
    assert not {"trained_by", "id2label", "problem_type", "thresholds"} & set(config)

    train = write_jsonl(tmp_path / "train.jsonl", make_rows(40))
    with pytest.raises(UserError, match="nothing to train on, and the model has no labels of its own"):
        run_multilabel.main([f"--model_name_or_path={tmp_path / 'o'}", f"--test_file={train}", f"--output_dir={tmp_path / 'p'}"])
    trained = [f"--model_name_or_path={tmp_path / 'o'}", f"--train_file={train}", f"--output_dir={tmp_path / 'p'}"]
    assert run_multilabel.main([*trained, "--max_steps=2"])["train_loss"] > 0
    again = learn(str(tmp_path / "p"), texts, tmp_path / "again", "--max_steps=1")  # the encoder of a classifier
    assert again["train_loss"] > 0 and "thresholds" not in (tmp_path / "again" / "config.json").read_text()


def test_whole_words_are_masked_as_in_bert_and_each_text_by_itself(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.model_max_length = 1000
    texts = [f"Kettles leaking unbelievably everywhere, refunded? {text}" for text in TEXTS]
    encoded = tokenizer(texts, text_pair=["leaking"] * len(texts))
    words = number_words(encoded, tokenizer, whole_words=True)
    assert words[0].count(2) > 1  # the third word is several tokens
    rows = [{"input_ids": ids, "labels": of_text} for ids, of_text in zip(encoded["input_ids"], words, strict=True)]
    masks = mask_words(0.15, tokenizer, len(tokenizer))

    def pad(rows):
        return tokenizer.pad(rows, return_tensors="pt")

    batch = masks(rows, pad, lambda: (1, 2))
    masked = batch["labels"] != NO_WORD
    for row, of_text in enumerate(words):
        numbers, cut = np.array(of_text), masked[row, : len(of_text)].numpy()
        assert cut.any() and not cut[numbers == NO_WORD].any()
        assert all(cut[numbers == word].all() or not cut[numbers == word].any() for word in set(of_text) - {NO_WORD})
        assert batch["labels"][row, : len(of_text)][cut].tolist() == np.array(encoded["input_ids"][row])[cut].tolist()
        largest = max(np.bincount(numbers[numbers != NO_WORD]))
        assert abs(cut.sum() - 0.15 * (numbers != NO_WORD).sum()) <= largest / 2 or len(set(numbers[cut])) == 1
    batches = [masks(rows, pad, lambda epoch=epoch: (0, epoch)) for epoch in range(10)]  # a few thousand masked tokens
    replaced = torch.cat([batch["input_ids"][batch["labels"] != NO_WORD] for batch in batches])
    original = torch.cat([batch["labels"][batch["labels"] != NO_WORD] for batch in batches])
    assert len(replaced) / 10 / sum(len(of_text) - 3 for of_text in words) == pytest.approx(0.15, abs=0.02)
    assert (replaced == tokenizer.mask_token_id).float().mean() == pytest.approx(0.8, abs=0.03)
    assert (replaced == original).float().mean() == pytest.approx(0.1, abs=0.03)
    assert not set(replaced[replaced != original].tolist()) & (set(tokenizer.all_special_ids) - {tokenizer.mask_token_id})

    for start in range(0, len(rows), 3):  # in other batches, the same masks
        for row, alone in enumerate(masks(rows[start : start + 3], pad, lambda: (1, 2))["labels"].tolist(), start):
            assert alone[: len(words[row])] == batch["labels"][row, : len(words[row])].tolist()
    other = masks(rows, pad, lambda: (1, 3))["labels"]
    assert (other != batch["labels"]).any(dim=1).float().mean() > 0.9  # another epoch, other masks
    single = number_words(encoded, tokenizer, whole_words=False)[0]
    assert [word == NO_WORD for word in single] == [word == NO_WORD for word in words[0]]
    assert max(np.bincount([word for word in single if word != NO_WORD])) == 1


def test_batches_and_the_short_cut_to_masked_tokens_do_not_change_what_is_learnt(texts, tmp_path, tiny_model, monkeypatch):
    options = ["--max_steps=3", "--eval_strategy=no", "--fp16=False"]
    whole = learn(tiny_model, texts, tmp_path / "a", *options)
    parts = [*options, "--per_device_train_batch_size=4", "--gradient_accumulation_steps=4", "--max_tokens_per_batch=40"]
    cut = learn(tiny_model, texts, tmp_path / "b", *parts)
    monkeypatch.setattr(run_mlm, "only_masked_works", lambda *_: False)
    all_tokens = learn(tiny_model, texts, tmp_path / "c", *options)
    assert cut["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-5)
    assert all_tokens["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-5)
    assert all_tokens["eval_perplexity"] == pytest.approx(whole["eval_perplexity"], rel=1e-4)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(texts, tmp_path, tiny_model):
    options = ["--num_train_epochs=1", "--validation_fraction=0.15", "--learning_rate=1e-3"]  # the last batch is not full
    options += ["--fp16=False"]
    one = learn(tiny_model, texts, tmp_path / "one", *options)
    base = [f"--model_name_or_path={tiny_model}", f"--train_file={texts}", f"--output_dir={tmp_path / 'two'}", *options]
    launch_two_processes("run_mlm", [[*base, "--per_device_train_batch_size=8"]], tmp_path)
    two = json.loads((tmp_path / "two" / "all_results.json").read_text())
    for name in ("train_loss", "eval_loss", "eval_perplexity_before"):
        assert two[name] == pytest.approx(one[name], rel=1e-6), name


class StopAt(TrainerCallback):
    def __init__(self, guard, step: int):
        self.guard, self.step = guard, step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.guard.received = 15  # as SIGTERM does


def test_a_run_that_was_stopped_ends_with_the_same_weights(texts, tmp_path, tiny_model, monkeypatch):
    options = ["--num_train_epochs=2", "--mlm_probability=0.3"]
    whole = learn(tiny_model, texts, tmp_path / "whole", *options)
    build = run_mlm.build_trainer

    def stopping(task):
        trainer = build(task)
        trainer.add_callback(StopAt(trainer.guard, 13))  # within the second epoch of 9 steps
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(run_mlm, "build_trainer", stopping)
        with pytest.raises(Stopped, match="after step 14 of 18"):
            learn(tiny_model, texts, tmp_path / "halves", *options)
    halves = learn(tiny_model, texts, tmp_path / "halves", *options)
    assert halves["eval_perplexity_before"] == whole["eval_perplexity_before"]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "halves")]
    assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())


def test_texts_come_from_files_of_any_columns_and_each_once(tmp_path, tiny_model, caplog):
    caplog.set_level("INFO")
    write_csv(tmp_path / "train.csv", ["id", "text", "label"], [[row, text, row % 2] for row, text in enumerate(TEXTS[:30])])
    write_jsonl(tmp_path / "test.jsonl", [{"text": text, "id": row} for row, text in enumerate(TEXTS[30:50])])
    (tmp_path / "more.txt").write_text("\n".join([*TEXTS[50:60], "", "  ", TEXTS[0]]))
    files = ",".join(str(tmp_path / name) for name in ("train.csv", "test.jsonl", "more.txt"))
    percent = ["--validation_split_percentage=20", "--max_steps=1", f"--test_file={tmp_path / 'test.jsonl'}"]
    learn(tiny_model, files, tmp_path / "o", *percent)
    told = " ".join(caplog.messages)
    assert re.search(r"texts: 30 in \S*train.csv, 20 in \S*test.jsonl, 11 in \S*more.txt", told)
    distinct = len(set(TEXTS[:60]))
    assert f"train: {61 - distinct} of 61 texts occur again and are left out" in told
    assert f"validation: {round(0.2 * distinct)} rows split off" in told and "test: not used; to train on its texts" in told


def test_packed_texts_fill_their_rows_and_hugging_faces_options_are_known(texts, tmp_path, tiny_model, monkeypatch):
    packed, pack = [], run_mlm.pack
    monkeypatch.setattr(run_mlm, "pack", lambda *given: packed.append(pack(*given)) or packed[-1])
    found = learn(tiny_model, texts, tmp_path / "o", "--pack_texts", "--max_seq_length=24", "--max_steps=2", "--do_train")
    assert found["train_padding_share"] < 0.05 and not any(name.startswith("eval") for name in found)
    rows = packed[0]
    assert set(rows["length"][:-1]) == {24} and all(len(row["labels"]) == len(row["input_ids"]) for row in rows)
    assert len(set(rows[0]["labels"])) > 10  # words of different texts have different numbers
    files = [f"--model_name_or_path={tiny_model}", f"--train_file={texts}", f"--validation_file={texts}", "--line_by_line"]
    phases = ["--do_train", "--do_eval", f"--output_dir={tmp_path / 'p'}", "--max_steps=1", "--pad_to_max_length"]
    assert run_mlm.main([*files, *phases])["eval_perplexity"] > 0
    evaluated = [f"--model_name_or_path={tmp_path / 'p'}", f"--validation_file={texts}", f"--output_dir={tmp_path / 'q'}"]
    assert "eval_perplexity_before" not in run_mlm.main(evaluated)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--test_file={texts}"], "nothing to train on: give --train_file, which may list the test file, too"),
        (["--train_file={texts}", "--model_type=bert"], "--model_type is not an option: leave it out, no model is trained"),
        (["--train_file={texts}", "--pack_texts", "--line_by_line"], "--pack_texts and --line_by_line are both given"),
        (["--train_file={texts}", "--mlm_probability=15"], "expected a share above 0 and below 1"),
        (["--train_file={texts}", "--do_predict"], "there is nothing to predict"),
        (["--train_file={texts},{other}"], "the files have no column in common"),
        (["--train_file={texts}", "--metric_for_best_model=f1"], "no such metric; there are loss, perplexity"),
        (["--train_file={texts}", "--model_name_or_path={gpt}"], "has no head for masked words"),
        (["--train_file={texts}", "--model_name_or_path={mean}"], "averages all tokens in its last layer (--pooling mean)"),
        (["--train_file={texts}", "--pooling=mean"], "unknown option --pooling"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_a_model_is_loaded(options, told, texts, tmp_path, tiny_model, monkeypatch):
    other = write_csv(tmp_path / "other.csv", ["comment"], [["a b c d"], ["e f g h"]])
    configs = {"gpt": {"model_type": "gpt2", "n_positions": 64}, "mean": {"model_type": "bert", "pooling": "mean"}}
    for folder, config in configs.items():
        (tmp_path / folder).mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(Path(tiny_model, name), tmp_path / folder)
        (tmp_path / folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(run_mlm, "load_model", lambda *_: pytest.fail("a model is loaded"))
    known = {"texts": texts, "other": other, "gpt": tmp_path / "gpt", "mean": tmp_path / "mean"}
    base = [f"--model_name_or_path={tiny_model}", f"--output_dir={tmp_path / 'o'}"]
    with pytest.raises(UserError, match=re.escape(told)) as error:
        run_mlm.main([*base, *(option.format(**known) for option in options)])
    assert "\n" not in str(error.value) and not (tmp_path / "o").exists()


def test_check_data_counts_repeated_texts(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "a.txt").write_text("one text here\n" * 3 + "another text there\n")
    assert run_mlm.main([f"--train_file={tmp_path / 'a.txt'}", f"--output_dir={tmp_path / 'o'}", "--check_data"]) == {}
    assert json.loads((tmp_path / "o" / "data_report.json").read_text())["train"]["duplicate_texts"] >= 1
