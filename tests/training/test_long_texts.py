"""Texts longer than the model reads: what is read of them, and that a label behind the limit is learnt where that is read."""

import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FILLER, WORDS, make_rows, one_hot, write_csv
from transformers import AutoTokenizer

import run_classification
import run_multilabel
from utils.batches.windows import encode_long, join_windows, places, window_logits


def test_head_tail_keeps_a_quarter_from_the_beginning():
    (kept,) = places(1000, 1, 1, 512, "head_tail")
    assert kept == [*range(129), *range(617, 1000)]  # with the special tokens; Sun et al. keep 128 and 382 beside these
    assert places(512, 1, 1, 512, "head_tail") == [[*range(512)]]


@pytest.mark.parametrize(("before", "behind"), [(1, 1), (0, 1), (0, 0), (2, 2)])
@pytest.mark.parametrize("max_length", [5, 8, 21])
def test_windows_cover_a_text_and_overlap(before, behind, max_length):
    room = max_length - before - behind
    for length in range(1, 80):
        found = places(length, before, behind, max_length, "windows")
        assert set().union(*found) == set(range(length))
        if length <= max_length:
            assert len(found) == 1
            continue
        texts = [window[before : len(window) - behind] for window in found]
        assert {len(window) for window in found} == {max_length}
        assert all(window[:before] == [*range(before)] for window in found)
        assert all(window[len(window) - behind :] == [*range(length - behind, length)] for window in found)
        overlaps = [len({*first} & {*second}) for first, second in zip(texts, texts[1:], strict=False)]
        assert all(overlap == room // 4 for overlap in overlaps[:-1]) and overlaps[-1] >= room // 4


def test_tokens_of_a_text_with_the_words_of_special_tokens(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["kettle", "[SEP] " + "kettle " * 9 + "[CLS]"]
    found = encode_long({}, lambda _: tokenizer(texts), tokenizer, 8, "windows")
    assert found["length"] == [3, 13] and [len(row) for row in found["input_ids"]] == [1, 2]
    first, last = [tokenizer.decode(ids) for ids in found["input_ids"][1]]
    assert first == "[CLS] [SEP] kettle kettle kettle kettle kettle [SEP]" and last.endswith("kettle [CLS] [SEP]")


def test_logits_of_windows_become_those_of_rows():
    present = torch.tensor([[True, False, False], [True, True, True]])
    logits = torch.tensor([[-5.0, 1.0], [0.0, 3.0], [6.0, -4.0], [0.0, 4.0]])
    assert join_windows(logits, present, "max").tolist() == [[-5, 1], [6, 4]]
    assert join_windows(logits, present, "mean").tolist() == [[-5, 1], [2, 1]]


def test_a_window_gets_the_numbers_of_its_row():
    inputs = {"input_ids": torch.arange(8).reshape(4, 2), "price": torch.tensor([10, 20])}
    present = torch.tensor([[True, False, False], [True, True, True]])

    def model(input_ids, price):
        return {"logits": input_ids + price[:, None]}

    expected = [[10, 11], [22, 23], [24, 25], [26, 27]]
    assert window_logits(model, inputs, present, ("price",), 3).tolist() == expected
    with torch.no_grad():
        assert window_logits(model, inputs, present, ("price",), 3).tolist() == expected


LABELS = ["praise", "refund"]


def long_rows(count: int, seed: int, place: str) -> list[list]:
    """Rows of about 20 words whose labels' words stand at their end or in their middle; `label` says whether praise is there."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        labels = [label for label in LABELS if draw.random() < 0.5]
        words = draw.choices(FILLER[:5], k=18)
        at = 18 if place == "end" else 10
        words[at:at] = [WORDS[label][0] for label in labels]
        rows.append([" ".join(words), "happy" if "praise" in labels else "other", *(int(label in labels) for label in LABELS)])
    return rows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for place in ("end", "middle"):
        for split, count in (("train", 320), ("test", 60)):
            write_csv(folder / f"{place}_{split}.csv", ["text", "label", *LABELS], long_rows(count, count, place))
    return folder


def arguments(data, place, model, output, *more):
    files = [f"--{split}_file={data / f'{place}_{split}.csv'}" for split in ("train", "test")]
    options = ["--validation_fraction=0", "--max_seq_length=12", "--num_train_epochs=8", "--per_device_train_batch_size=16"]
    options += ["--learning_rate=4e-3", "--head_learning_rate_multiplier=1", "--text_column_names=text"]
    options += [f"--output_dir={output}", f"--model_name_or_path={model}"]
    return [*files, *options, *more]


@pytest.mark.parametrize(
    ("place", "way", "learns"),
    [("end", "cut", False), ("end", "head_tail", True), ("middle", "windows", True)],
)
def test_labels_behind_the_limit_are_learnt_where_they_are_read(place, way, learns, data, tiny_model, tmp_path, caplog):
    options = ["--label_column_names=praise,refund", f"--long_texts={way}"]
    metrics = run_multilabel.main(arguments(data, place, tiny_model, tmp_path, *options))
    assert (metrics["predict_roc_auc_macro"] > 0.95) == learns
    assert metrics["predict_truncated_share"] == (way != "windows")
    told = {"cut": "cut to 12 tokens (", "head_tail": "cut to 12 tokens of their", "windows": "read in windows of 12 tokens, 2."}
    assert f"train: 100.0 % of the rows are {told[way]}" in caplog.text


def test_a_saved_model_reads_long_texts_as_in_training(data, tiny_model, tmp_path, capsys):
    out, test = tmp_path / "out", data / "middle_test.csv"
    given = ["--label_column_name=label", "--long_texts=windows", "--max_steps=2"]
    padded = ["--pad_to_max_length", "--max_tokens_per_batch=60", "--per_device_eval_batch_size=3"]
    run_classification.main(arguments(data, "middle", tiny_model, out, *given, f"--validation_file={test}"))
    card = (out / "README.md").read_text()
    assert "not tried: the run had no rows of at most 12 tokens to evaluate" in card
    assert "Of a text of more than 12 tokens `pipeline()` reads only the beginning." in card
    again = [f"--model_name_or_path={out}", f"--test_file={test}"]
    run_classification.main([*again, f"--output_dir={tmp_path / 'again'}", *padded])
    run_classification.main([*again, f"--output_dir={tmp_path / 'cut'}", "--long_texts=cut"])
    found = [pd.read_csv(tmp_path / folder / "predictions.csv")["happy"] for folder in ("out", "again", "cut")]
    np.testing.assert_allclose(found[0], found[1], atol=2e-6)
    assert (found[0] - found[2]).abs().max() > 1e-4
    text = pd.read_csv(test)["text"][0]
    capsys.readouterr()
    run_classification.main([f"--model_name_or_path={out}", f"--text={text}"])
    assert f"happy {found[0][0]:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize(("way", "share"), [("head_tail", "truncated_share_at"), ("windows", "share_in_windows_of")])
def test_the_card_tries_short_texts_and_sends_long_ones_to_the_script(way, share, tiny_model, tmp_path):
    """Also where the probabilities are calibrated, and in the data report."""
    rows = [[f"{row['text']} {'kettle ' * 20 * (number % 2)}", *one_hot(row)] for number, row in enumerate(make_rows(60))]
    train = write_csv(tmp_path / "train.csv", ["text", "a", "b", "c", "d"], rows)
    options = [f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={tmp_path / 'out'}", "--max_steps=2"]
    options += [f"--long_texts={way}", "--max_seq_length=14", "--calibrate=temperature", "--validation_fraction=0.4"]
    run_multilabel.main([*options, "--check_data"])
    report = json.loads((tmp_path / "out" / "data_report.json").read_text())
    assert 0.4 < report["train"][f"{share}_14_tokens"] < 0.8 and report["train"]["tokens_maximum"] > 20
    metrics = run_multilabel.main(options)
    assert metrics["eval_a_temperature"] != 1
    assert (metrics["train_truncated_share"] > 0.4) == (way == "head_tail")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Tried on 2 rows of at most 14 tokens of this run: these lines give the script's probabilities." in card
    assert "Of a text of more than 14 tokens `pipeline()` reads only the beginning." in card
