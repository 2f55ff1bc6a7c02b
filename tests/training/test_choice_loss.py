"""The loss over the candidates that a row has, rows of different widths on seven architectures, and steps cut in any way."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import check_same_steps, launch_two_processes, make_choice_rows, make_rows, steps, write_jsonl
from transformers import AutoConfig, AutoModelForMultipleChoice, AutoTokenizer, DataCollatorWithPadding

import run_multiple_choice
from run_multiple_choice import choice_logits, choice_loss, collate, encode
from utils.batches.encoding import add_length
from utils.files.cells import UNKNOWN

ABSENT = -torch.inf
LOGITS = torch.tensor([[2.0, -1.0, 0.5, ABSENT], [0.3, 0.1, ABSENT, ABSENT], [-2.0, 1.0, 0.0, 3.0]])


def test_loss_is_the_cross_entropy_over_the_candidates_that_exist():
    targets = torch.tensor([2, 1, UNKNOWN]).long()
    expected = [F.cross_entropy(LOGITS[:1, :3], targets[:1]), F.cross_entropy(LOGITS[1:2, :2], targets[1:2]), torch.tensor(0.0)]
    torch.testing.assert_close(choice_loss(LOGITS, targets), torch.stack(expected))


def test_label_smoothing_is_spread_over_the_candidates_that_exist():
    targets = torch.tensor([2, 1, 3])
    found = choice_loss(LOGITS, targets, smoothing=0.2)
    for row, count in enumerate((3, 2, 4)):
        expected = F.cross_entropy(LOGITS[row : row + 1, :count], targets[row : row + 1], label_smoothing=0.2)
        torch.testing.assert_close(found[row], expected)
    # by hand: log-softmax of (0.3, 0.1) is (-0.5981, -0.7981); 0.9 of the target on the second, 0.1 on the first
    assert found[1].item() == pytest.approx(0.9 * 0.79814 + 0.1 * 0.59814, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_loss_is_float32_and_finite_in_every_precision(dtype):
    logits = torch.tensor([[60.0, -60.0, ABSENT], [1.0, 1.0, 1.0]], dtype=dtype, requires_grad=True)
    losses = choice_loss(logits, torch.tensor([1, int(UNKNOWN)]), smoothing=0.1)
    losses.sum().backward()
    assert losses.dtype == torch.float32 and torch.isfinite(losses).all() and losses[1] == 0
    assert torch.isfinite(logits.grad).all() and logits.grad[0, 2] == 0


ARCHITECTURES = {
    "bert": {},
    "roberta": {"type_vocab_size": 1, "max_position_embeddings": 80},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 2},
    "electra": {"embedding_size": 32},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "modernbert": {"global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3, "pad_token_id": 0},
}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_of_three_and_four_candidates_have_the_logits_of_each_row_alone(tiny_model, name):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    if name in ("roberta", "distilbert", "modernbert"):
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    if name == "xlnet":
        tokenizer.padding_side = "left"
    own = ARCHITECTURES[name] if name in ("distilbert", "xlnet") else {**SMALL, **ARCHITECTURES[name]}
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, vocab_size=len(tokenizer), initializer_range=0.2, **own)
    model = AutoModelForMultipleChoice.from_config(config).eval()
    rows = [row for row in make_choice_rows(60, 3) if len(row["choices"]) in (3, 4)]
    three, four = (next(row for row in rows if len(row["choices"]) == count) for count in (3, 4))
    pad = DataCollatorWithPadding(tokenizer)

    def logits(rows):
        examples = {"context": [r["context"] for r in rows], "candidates": [r["choices"] for r in rows]}
        examples |= {"question": ["why"] * len(rows), "__place__": ["rows.jsonl, line 1"] * len(rows)}
        encoded = encode(examples, tokenizer, 64)
        inputs = ("input_ids", "attention_mask", "token_type_ids")
        features = [{k: encoded[k][i] for k in inputs if k in encoded} | {"labels": r["label"]} for i, r in enumerate(rows)]
        with torch.no_grad():
            batch = collate(features, pad, 4)
            return choice_logits(model(**{n: t for n, t in batch.items() if n in inputs}).logits, batch["present"])

    for batch in ((three, four), (four, three)):
        together = logits(batch)
        for row, found in zip(batch, together, strict=True):
            count = len(row["choices"])
            torch.testing.assert_close(found[:count], logits([row])[0, :count], rtol=0, atol=1e-5)
            assert (found[count:] == -torch.inf).all() and len(set(found[:count].tolist())) == count
        # and those of the model's own way, [rows, choices, tokens], where that works at all: a single row
        texts = [[row["context"]] * len(row["choices"]) for row in batch]
        seconds = [[f"why {text}" for text in row["choices"]] for row in batch]
        for first, second, found in zip(texts, seconds, together, strict=True):
            inputs = tokenizer(first, second, padding=True, return_tensors="pt")
            with torch.no_grad():
                usual = model(**{key: tensor[None] for key, tensor in inputs.items()}).logits[0]
            torch.testing.assert_close(found[: len(usual)], usual, rtol=0, atol=1e-5)


# processes, rows, accumulated batches, tokens at once
SHAPES = {"1 x 8": (1, 8, 1, 0), "4 x 2": (1, 2, 4, 0), "1 x 8 in parts": (1, 8, 1, 150), "2 x 4": (2, 4, 1, 100)}
SMOOTHING = ["0", "0.1"]


@pytest.fixture(scope="module")
def cuts(tmp_path_factory, tiny_model):
    """For each degree of smoothing the folder and arguments of a run of each shape; those in two processes have run."""
    folder = tmp_path_factory.mktemp("cuts")
    rows = make_choice_rows(36, 5)
    rows[7]["label"] = rows[20]["label"] = None
    train, test = write_jsonl(folder / "train.jsonl", rows), write_jsonl(folder / "test.jsonl", make_choice_rows(23, 6))
    found = {}
    for smoothing in SMOOTHING:
        found[smoothing] = {}
        for name, (_, size, accumulated, tokens) in SHAPES.items():
            output = folder / smoothing / name.replace(" ", "")
            found[smoothing][name] = output, [
                f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={output}", "--fp16=False",
                f"--per_device_train_batch_size={size}", f"--gradient_accumulation_steps={accumulated}", "--logging_steps=1",
                f"--validation_file={test}", f"--test_file={test}", "--num_train_epochs=2", "--learning_rate=1e-4",
                "--max_grad_norm=0", f"--label_smoothing_factor={smoothing}", "--per_device_eval_batch_size=8",
                f"--max_tokens_per_batch={tokens}",
            ]  # fmt: skip
    launch_two_processes("run_multiple_choice", [shapes["2 x 4"][1] for shapes in found.values()], folder)
    return found


@pytest.mark.slow  # all in one test: its processes are started once
def test_loss_and_gradient_do_not_depend_on_how_a_step_is_cut(cuts):
    for shapes in cuts.values():
        found, results = {}, {}
        for name, (output, arguments) in shapes.items():
            if SHAPES[name][0] == 1:
                run_multiple_choice.main(arguments)
            found[name] = steps(output)
            results[name] = json.loads((output / "all_results.json").read_text())
            results[name]["predictions"] = np.genfromtxt(output / "predictions.csv", delimiter=",", skip_header=1)[:, 1:6]
        assert found["1 x 8"].shape == (10, 2)  # 34 rows with an answer, the last step of an epoch has two
        check_same_steps(found)
        for name in ("4 x 2", "1 x 8 in parts", "2 x 4"):
            for key in ("eval_loss", "predict_loss", "eval_accuracy", "predict_mean_reciprocal_rank"):
                assert results[name][key] == pytest.approx(results["1 x 8"][key], abs=1e-6), key
            predictions = (each["predictions"] for each in (results[name], results["1 x 8"]))
            np.testing.assert_allclose(*predictions, rtol=0, atol=2e-6)  # both are rounded to six digits


def test_the_context_is_cut_and_never_the_candidate(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    context = " ".join(make_rows(1, 1)[0]["text"].split() * 20)
    fits = " ".join(context.split()[:17])  # exactly: 4 tokens of the longer candidate, and 3 special ones
    examples = {"context": [context, fits], "question": ["", ""], "candidates": [["the kettle", "a parcel on monday"]] * 2}
    examples["__place__"] = ["rows.jsonl, line 1", "rows.jsonl, line 2"]
    encoded = encode(examples, tokenizer, 24)
    assert [len(ids) for ids in encoded["input_ids"][0]] == [24, 24] and encoded["cut"] == [True, False]
    assert add_length(examples, lambda rows: encode(rows, tokenizer, 24), [])["length"] == [24, 24]
    for ids, text in zip(encoded["input_ids"][0], examples["candidates"][0], strict=True):
        assert tokenizer.decode(ids, skip_special_tokens=False).endswith(f"[SEP] {text} [SEP]")
