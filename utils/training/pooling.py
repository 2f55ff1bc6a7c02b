"""What the head of a BERT model reads: the vector of the first token, or the mean of all tokens' vectors."""

import copy
import json
import logging
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from utils.arguments import Arguments, ModelArguments, UserError
from utils.training.models import hub_options

logger = logging.getLogger(__name__)

BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")  # layers of the same parts, and a tanh below the output layer
OWN_SHARE = 0.01  # of the first token's own vector, beside the mean


def settle_pooling(args: Arguments, config: PreTrainedConfig, suited: bool) -> None:
    """Take over what the head of a trained model reads; where nothing is said, let it read the mean if that was better.

    It was for the classes of single texts if they are many and have few rows each (benchmarks/recipes.md), as `suited` says,
    and the encoder was trained by it. Raises a `UserError` where --pooling asks for what cannot be.
    """
    if getattr(config, "pooling", None) == "mean":
        if "pooling" in args.given and args.training.pooling != "mean":
            raise UserError(f"--pooling first: {args.model.model_name_or_path} has a layer that reads the mean; leave it out")
        args.training.pooling = "mean"
        return
    if args.training.pooling is None:
        able = suited and config.model_type in BERT_LIKE and not args.model.use_peft
        args.training.pooling = "mean" if able and trained_by_mean(args.model) else "first"
        if args.training.pooling == "mean":
            why = "the encoder was trained by it, and the classes are many, with few rows each"
            logger.info("the head reads the mean of all tokens: %s (--pooling first turns this off)", why)
    if args.training.pooling == "mean" and config.model_type not in BERT_LIKE:
        raise UserError(f"--pooling mean: there is no way to average the tokens of a {config.model_type} model; leave it out")
    if args.training.pooling == "mean" and args.model.use_peft:
        raise UserError("--use_peft saves adapters for the encoder as it is, and --pooling mean adds a layer: leave one out")


def trained_by_mean(args: ModelArguments) -> bool:
    """Return whether an encoder comes with the file in which sentence-transformers says that it averages all tokens."""
    problems = ("gated_repo", "missing_entries", "connection_errors")
    options = hub_options(args) | {f"_raise_exceptions_for_{problem}": False for problem in problems}
    options.pop("trust_remote_code")
    path = cached_file(args.model_name_or_path, "1_Pooling/config.json", **options)
    says = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    return bool(says.get("pooling_mode_mean_tokens")) or says.get("pooling_mode") == "mean"


def read_mean(model: PreTrainedModel, head_is_new: bool) -> bool:
    """Add a layer to an encoder by which its first token gets the mean of all tokens' vectors, brought to unit variance.

    The head of a BERT model reads the first token, and that cannot be changed in a model that all programs are to load. The
    layer attends to all tokens equally, hands on what it reads, and adds nothing of its own, at first. It is trained as the
    others. Returns False if an earlier run has added it, as the config says.

    Raises a `UserError` if the head has learned already, from the first token.
    """
    if getattr(model.config, "pooling", None) == "mean":
        return False
    if not head_is_new:
        raise UserError("--pooling mean: the model's head is not new, and was trained on the first token; leave it out")
    layers, eye = model.base_model.encoder.layer, torch.eye(model.config.hidden_size)
    layer = copy.deepcopy(layers[-1], {id(model.config): model.config})  # which says how all layers attend
    own, attended, output = layer.attention.self, layer.attention.output, layer.output
    with torch.no_grad():
        for part in (own.query, own.value, attended.dense, output.dense):
            part.bias.zero_()
        own.query.weight.zero_()
        own.value.weight.copy_(eye)
        attended.dense.weight.copy_(eye / OWN_SHARE)  # its own vector is added, and a norm follows
        output.dense.weight.zero_()
    attended.LayerNorm.reset_parameters()
    output.LayerNorm.reset_parameters()
    layers.append(layer)
    model.config.num_hidden_layers, model.config.pooling = len(layers), "mean"
    logger.info("layer %d is added, which averages all tokens (--pooling mean)", len(layers))
    return True


def start_as_identity(layer: nn.Linear | None) -> None:
    """Let a pooler, if there is one, hand on what it reads. That of a sentence encoder was never trained."""
    if layer is not None and layer.in_features == layer.out_features:
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
