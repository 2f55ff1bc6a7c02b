"""Load tokenizer and model, start the head at the data's prior, and build the tiny pair for smoke tests."""

import logging
import pickle
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BatchEncoding,
    DataCollatorWithPadding,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from utils.arguments import ModelArguments, UserError, shorten
from utils.data.files import used_tokens
from utils.data.labels import saved_setting

logger = logging.getLogger(__name__)


def hub_options(args: ModelArguments) -> dict:
    """Return the options that every `from_pretrained` call takes."""
    return {
        "cache_dir": args.cache_dir,
        "revision": args.model_revision,
        "token": args.token,
        "trust_remote_code": args.trust_remote_code,
    }


def load_config(args: ModelArguments) -> PreTrainedConfig:
    """Return the model's config.

    Raises:
        UserError: no model is named, or it is neither a folder nor to be had from the Hub.
    """
    name = args.config_name or args.model_name_or_path
    if not name:
        raise UserError("no model: give --model_name_or_path, a folder or a name on the Hub")
    try:
        config = AutoConfig.from_pretrained(name, **hub_options(args))
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise UserError(f"{name} brings code of its own: read it, and add --trust_remote_code to run it") from error
        raise UserError(
            f"--model_name_or_path {name} is neither a folder with a model nor to be had from the Hub "
            f"({str(error).splitlines()[0]}); for the embedded model run `make model`; without a network set HF_HUB_OFFLINE=1"
        ) from error
    if args.attention_dropout is not None:
        known = [name for name in ("attention_probs_dropout_prob", "attention_dropout") if name in config.to_dict()]
        if not known:
            raise UserError(f"--attention_dropout: a {config.model_type} model has no such setting")
        setattr(config, known[0], args.attention_dropout)
    return config


def refuse_model_of_other_script(config: PreTrainedConfig | None, script: str) -> None:
    """Raise a `UserError` if `script` cannot predict with a trained model, naming the script that can."""
    if config is None:
        return
    if any(name.endswith("ForMultipleChoice") for name in config.architectures or []):
        own, purpose = "run_multiple_choice.py", "multiple choice"
    elif saved_setting(config, "binary_form") or config.problem_type in ("single_label_classification", "regression"):
        own, purpose = "run_classification.py", "one label a text"
    elif config.problem_type == "multi_label_classification" and config.num_labels > 1:
        own, purpose = "run_multilabel.py", "any number of labels a text"
    else:
        return
    if own != script:
        raise UserError(f"{config.name_or_path} was trained for {purpose}: use {own}")


def forget_labels(config: PreTrainedConfig) -> None:
    """Take out of a config what another script wrote there, before its encoder is trained for multiple choice."""
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or []):
        for name in ("binary_form", "label_names", "label_column_name", "text_column_names", "thresholds"):
            config.__dict__.pop(name, None)
        config.problem_type, config.num_labels = None, 2
        config.id2label, config.label2id = {0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": 0, "LABEL_1": 1}


def load_tokenizer(args: ModelArguments) -> PreTrainedTokenizerBase:
    """Return the tokenizer. Raises a `UserError` if there is none, or none that can pad."""
    name = args.tokenizer_name or args.model_name_or_path
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **hub_options(args))
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer in {name}: {' '.join(str(error).split())}; see --tokenizer_name") from error
    if tokenizer.pad_token is None:
        raise UserError(f"the tokenizer of {name} has no padding token: take an encoder such as BERT; see --tokenizer_name")
    return tokenizer


def check_vocabulary(args: ModelArguments, config: PreTrainedConfig, splits: dict[str, Dataset]) -> None:
    """Raise a `UserError` if encoded rows hold tokens that the model has no embedding for."""
    size = config.to_dict().get("vocab_size")
    largest = max(int(used_tokens(split).max()) for split in splits.values())
    if size and largest >= size:
        raise UserError(
            f"the tokenizer of {args.tokenizer_name or args.model_name_or_path} does not fit {args.model_name_or_path}: it has "
            f"given token {largest}, the model knows {size} from 0 on; take the model's own, without --tokenizer_name"
        )


def check_head(args: ModelArguments, config: PreTrainedConfig, saved_labels: list[str] | None) -> None:
    """Raise a `UserError` if the checkpoint was trained for labels other than those of `config`, and its head is to be kept."""
    names = list(config.id2label.values())
    if saved_labels is not None and saved_labels != names and not args.ignore_mismatched_sizes:
        raise UserError(
            f"{args.model_name_or_path} was trained for other labels: its head has {shorten(saved_labels)}, that of this run "
            f"would have {shorten(names)}; add --ignore_mismatched_sizes to put a new head in its place"
        )


def load_model(
    auto_class: type, args: ModelArguments, config: PreTrainedConfig, saved_labels: list[str] | None, bias: torch.Tensor | None
) -> tuple[PreTrainedModel, set[str]]:
    """Load the model in float32 and return it with the names of the parameters of its new head, none if it is not new.

    A new head is what the checkpoint lacks, and the pooler; its output layer starts at `bias` [labels]. `saved_labels` are
    those the checkpoint was trained for.

    Raises:
        UserError: the checkpoint's head is of another width, or its weights cannot be read.
    """
    other_labels = saved_labels is not None and saved_labels != list(config.id2label.values())
    try:
        model, info = auto_class.from_pretrained(
            args.model_name_or_path,
            config=config,
            dtype=torch.float32,  # transformers 5 would keep a half-precision checkpoint in half precision
            ignore_mismatched_sizes=args.ignore_mismatched_sizes,
            output_loading_info=True,
            **hub_options(args),
        )
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise UserError(
            f"{args.model_name_or_path} has a head of another width than this task needs; "
            f"add --ignore_mismatched_sizes to put a new head in its place"
        ) from error
    except (OSError, SafetensorError, pickle.UnpicklingError) as error:  # of a pickle, what holds more than weights
        raise UserError(f"cannot load the weights of {args.model_name_or_path}: {str(error).splitlines()[0]}") from error
    new = set(info["missing_keys"]) | {name for name, *_ in info["mismatched_keys"]}
    layer = output_layer(model)
    own = {name for name, parameter in model.named_parameters() if any(parameter is p for p in layer.parameters())}
    if other_labels and not own & new:  # the same width by chance: those weights mean other labels
        layer.reset_parameters()
        new |= own
    if not own & new:
        return model, set()
    if bias is not None and layer.bias is None:
        logger.info("the head of %s has no bias: it cannot start at the prior", type(model).__name__)
    elif bias is not None:
        with torch.no_grad():
            layer.bias.copy_(bias)
    # Few checkpoints come with a pooler that was trained for more than next-sentence prediction, if at all.
    return model, new | {name for name, _ in model.named_parameters() if ".pooler." in name}


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """Return the layer that produces the logits: the last linear one of the head with as many outputs as labels, or one."""
    width = 1 if type(model).__name__.endswith("ForMultipleChoice") else model.config.num_labels
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return [layer for layer in layers if layer.out_features == width][-1]


def speed_up(optimizer: torch.optim.Optimizer, model: nn.Module, parameters: set[str], multiplier: float) -> None:
    """Move the named `parameters` of `model` into groups of their own, whose learning rate is `multiplier` times as high."""
    named = dict(model.named_parameters())
    chosen = {id(named[name]) for name in parameters}
    for group in list(optimizer.param_groups):
        fast = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if fast:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            optimizer.add_param_group({**group, "params": fast, "lr": group["lr"] * multiplier})


def check_optimizer(folder: str | None, model: PreTrainedModel) -> None:
    """Raise a `UserError` if the checkpoint to resume from did not train the parameters and word embeddings of `model`."""
    if not folder or not Path(folder, "optimizer.pt").is_file():
        return
    optimizer = torch.load(Path(folder, "optimizer.pt"), map_location="cpu", mmap=True, weights_only=True)
    state, groups = optimizer["state"], optimizer["param_groups"]
    found = {tuple(tensor.shape) for entry in state.values() for tensor in entry.values() if torch.is_tensor(tensor)}
    trained = [parameter for parameter in model.get_input_embeddings().parameters() if parameter.requires_grad]
    as_many = sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())
    if found and not (as_many and all(tuple(parameter.shape) in found for parameter in trained)):
        raise UserError(
            f"--resume_from_checkpoint: {folder} has trained other parameters, or the embeddings of other words: resume with the "
            f"data and options it began with (--tune_cpu and --freeze_embeddings among them)"
        )


def sequence_length(wanted: int | None, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int:
    """Return how many tokens of a text the model reads: `wanted`, or its own limit but at most 512.

    Raises:
        UserError: more is wanted than the model has positions for.
    """
    limit = min(tokenizer.model_max_length, config.to_dict().get("max_position_embeddings") or tokenizer.model_max_length)
    if wanted and wanted > limit:
        raise UserError(f"--max_seq_length {wanted}: this model reads at most {limit} tokens")
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if wanted and wanted <= special:
        raise UserError(f"--max_seq_length {wanted}: {special} of these tokens mark the ends of the texts; expected more")
    return wanted or min(limit, 512)


def was_cut(encoded: BatchEncoding) -> list[bool]:
    """Return for each text whether the tokenizer cut it; False where the tokenizer is a slow one, which does not say."""
    return [bool(text.overflowing) for text in encoded.encodings or []] or [False] * len(encoded["input_ids"])


def padding_collator(tokenizer: PreTrainedTokenizerBase, multiple: int) -> DataCollatorWithPadding:
    """Return a collator that pads to the longest text of a batch, rounded up to a `multiple`."""
    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)
