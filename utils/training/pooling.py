"""What the head of a BERT model reads: the vector of the first token, or the mean of all tokens' vectors."""

import copy
import logging

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from utils.arguments import Arguments, UserError

logger = logging.getLogger(__name__)

BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")  # layers of the same parts, and a tanh below the output layer
OWN_SHARE = 0.01  # of the first token's own vector, beside the mean


def settle_pooling(args: Arguments, config: PreTrainedConfig) -> None:
    """Take over what the head of a trained model reads. Raise a `UserError` where --pooling asks for what cannot be."""
    if getattr(config, "pooling", None) == "mean":
        if "pooling" in args.given and args.training.pooling != "mean":
            raise UserError(f"--pooling first: {args.model.model_name_or_path} has a layer that reads the mean; leave it out")
        args.training.pooling = "mean"
        return
    if args.training.pooling == "mean" and config.model_type not in BERT_LIKE:
        raise UserError(f"--pooling mean: there is no way to average the tokens of a {config.model_type} model; leave it out")
    if args.training.pooling == "mean" and args.model.use_peft:
        raise UserError("--use_peft saves adapters for the encoder as it is, and --pooling mean adds a layer: leave one out")


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
    logger.info("layer %d is added: by it the head reads the mean of all tokens (--pooling mean)", len(layers))
    return True


def start_as_identity(layer: nn.Linear | None) -> None:
    """Let a pooler, if there is one, hand on what it reads. That of a sentence encoder was never trained."""
    if layer is not None and layer.in_features == layer.out_features:
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
