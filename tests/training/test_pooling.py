"""--pooling: a new head reads the first token, or the mean of all tokens by one more layer."""

import json
import shutil

import pytest
import torch
from conftest import make_rows, write_jsonl
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

import run_classification
import run_multilabel
import run_multiple_choice
from utils.arguments import UserError
from utils.training.pooling import read_mean

UNMOVED = ("--learning_rate=1e-12", "--max_steps=1", "--fp16=False", "--validation_fraction=0")


def train(script, model, folder, *more, rows=None) -> dict[str, float]:
    path = write_jsonl(folder / "train.jsonl", rows or make_rows(60))
    return script.main([f"--model_name_or_path={model}", f"--train_file={path}", f"--output_dir={folder / 'o'}", *more])


def layers(folder) -> int:
    return AutoConfig.from_pretrained(folder).num_hidden_layers


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BertConfig, BertModel),
        (RobertaConfig, RobertaModel),
        (XLMRobertaConfig, XLMRobertaModel),
        (CamembertConfig, CamembertModel),
    ],
)
def test_the_first_token_gets_the_mean_of_all_that_are_no_padding(config, kind):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}
    model = kind(config(**sizes, pad_token_id=1)).eval()
    tokens, mask = torch.randint(2, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, 4:] = 0
    with torch.no_grad():
        states = model(tokens, attention_mask=mask).last_hidden_state
        assert read_mean(model, head_is_new=True) and not read_mean(model, head_is_new=True)  # once
        first = model(tokens, attention_mask=mask).last_hidden_state[:, 0]
    mean = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    assert torch.allclose(first, torch.nn.functional.layer_norm(100 * mean + states[:, 0], (32,)), atol=1e-5)
    assert model.config.num_hidden_layers == len(model.encoder.layer) == 3


def test_a_model_that_reads_the_mean_is_one_that_any_program_loads(tiny_model, tmp_path):
    metrics = train(run_multilabel, tiny_model, tmp_path, "--metrics_on_train", "--pooling=mean", *UNMOVED)
    assert layers(tmp_path / "o") == 3
    model, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "o", output_loading_info=True)
    assert not any(info.values())
    rows = make_rows(60)
    tokens = AutoTokenizer.from_pretrained(tmp_path / "o")([row["text"] for row in rows], padding=True, return_tensors="pt")
    encoder = BertModel.from_pretrained(tiny_model).eval()
    with torch.no_grad():
        states, mask = encoder(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
        read = torch.nn.functional.layer_norm(100 * mean + states[:, 0], (states.shape[-1],))
        assert torch.allclose(model.eval().bert(**tokens).last_hidden_state[:, 0], read, atol=1e-4)
        given = model.bert.pooler.dense(read)
    correlations = torch.corrcoef(torch.cat([read, given], dim=1).T)[: read.shape[1], read.shape[1] :].diagonal()
    assert correlations.min() > 0.999  # the pooler hands each number on, scaled
    first = train(run_multilabel, tiny_model, tmp_path, "--metrics_on_train", "--overwrite_output_dir", *UNMOVED)
    assert layers(tmp_path / "o") == 2 and metrics["train_log_loss"] < first["train_log_loss"]


@pytest.mark.parametrize("script", [run_classification, run_multiple_choice])
def test_a_saved_model_predicts_and_learns_other_labels_with_the_same_layers(script, tiny_model, tmp_path):
    rows = [{"text": row["text"], "label": f"{len(row['labels']) > 1}"} for row in make_rows(60)]
    if script is run_multiple_choice:
        rows = [{"question": "which", "choices": [row["text"], "none of them"], "label": 0} for row in rows]
    test = f"--test_file={write_jsonl(tmp_path / 'test.jsonl', rows[:20])}"
    train(script, tiny_model, tmp_path, test, "--pooling=mean", *UNMOVED, rows=rows)
    script.main([f"--model_name_or_path={tmp_path / 'o'}", test, f"--output_dir={tmp_path / 'p'}"])
    assert (tmp_path / "o" / "predictions.csv").read_text() == (tmp_path / "p" / "predictions.csv").read_text()
    with pytest.raises(UserError, match="--pooling first: .* has a layer that reads the mean; leave it out"):
        train(script, tmp_path / "o", tmp_path / "p", "--pooling=first", rows=rows)
    assert "pooling: the head reads the mean of all tokens" in (tmp_path / "o" / "README.md").read_text()
    if script is run_classification:
        others = [row | {"label": "other " + row["label"]} for row in rows]
        more = ["--ignore_mismatched_sizes", *UNMOVED]
        train(script, shutil.move(tmp_path / "o", tmp_path / "of others"), tmp_path, *more, rows=others)
        assert layers(tmp_path / "o") == 3
        train(script, tmp_path / "of others", tmp_path, "--use_peft", "--overwrite_output_dir", *more, rows=others)
        assert layers(tmp_path / "o") == 3


def test_batches_without_padding_give_the_same_loss(tiny_model, tmp_path):
    options = ["--pooling=mean", "--max_steps=3", "--linear_probe=False", "--overwrite_output_dir", "--metrics_on_train"]
    found = []
    for more in ((), ("--padding_free",)):
        found.append(train(run_multilabel, tiny_model, tmp_path, *options, *more)["train_log_loss"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_run_that_reads_the_mean_continues(tiny_model, tmp_path):
    options = ["--eval_strategy=no", "--save_strategy=steps", "--save_steps=2", "--learning_rate=1e-3", "--num_train_epochs=3"]
    options += ["--pooling=mean", "--keep_checkpoints", "--metrics_on_train"]
    whole = train(run_multilabel, tiny_model, tmp_path, *options)
    (tmp_path / "o" / "all_results.json").unlink()
    checkpoint = min((tmp_path / "o").glob("checkpoint-*"))
    again = train(run_multilabel, tiny_model, tmp_path, *options, f"--resume_from_checkpoint={checkpoint}")
    assert again["train_log_loss"] == pytest.approx(whole["train_log_loss"], abs=1e-6)


def test_what_cannot_read_the_mean_says_why(tiny_model, tmp_path):
    train(run_multilabel, tiny_model, tmp_path, *UNMOVED)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "distilbert"}')
    for model, more, told in (
        (tiny_model, ["--use_peft"], "--use_peft saves adapters for the encoder as it is"),
        (shutil.move(tmp_path / "o", tmp_path / "saved"), [], "the model's head is not new"),
        (other, ["--check_data"], "there is no way to average the tokens of a distilbert model"),
    ):
        with pytest.raises(UserError, match=told):
            train(run_multilabel, model, tmp_path, "--pooling=mean", *more)


@pytest.mark.parametrize(
    ("says", "classes", "more", "expected"),
    [
        ({"pooling_mode_mean_tokens": True}, 20, (), 3),
        ({"pooling_mode": "mean"}, 20, (), 3),
        ({"pooling_mode_mean_tokens": True}, 20, ("--pooling=first",), 2),
        ({"pooling_mode_mean_tokens": True}, 20, ("--text_column_names=text,other",), 2),
        ({"pooling_mode_mean_tokens": True}, 19, (), 2),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, 20, (), 2),
        (None, 20, (), 2),
    ],
)
def test_many_classes_of_few_rows_are_read_from_the_mean_by_which_the_encoder_was_trained(
    tiny_model, tmp_path, caplog, says, classes, more, expected
):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    if says:
        (model / "1_Pooling").mkdir()
        (model / "1_Pooling" / "config.json").write_text(json.dumps(says))
    rows = [{"text": f"number {n}", "other": "text", "label": f"class {n % classes}"} for n in range(2 * classes)]
    column = () if any("text_column" in option for option in more) else ("--text_column_names=text",)
    train(run_classification, model, tmp_path, *column, *more, *UNMOVED, rows=rows)
    assert layers(tmp_path / "o") == expected
    assert ("the head reads the mean of all tokens: the encoder was trained by it" in caplog.text) == (expected == 3)
    if expected == 3:  # nothing about the encoder is known any more, and nothing is added
        again = {"--ignore_mismatched_sizes", "--overwrite_output_dir"}
        moved = shutil.move(tmp_path / "o", tmp_path / "trained")
        train(run_classification, moved, tmp_path, *column, *again, *UNMOVED, rows=rows)
        assert layers(tmp_path / "o") == 3
