"""Load a model, its config and its tokenizer, and check that they fit each other and the data."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from accelerate import FullyShardedDataParallelPlugin
from datasets import Dataset
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import deepspeed

from utils.arguments import FineTuningArguments, ModelArguments, UserError, shorten
from utils.batches.encoding import used_tokens
from utils.data.label_names import saved_setting

logger = logging.getLogger(__name__)

# What our scripts write into a model's config.
OWN_SETTINGS = ("trained_by", "binary_form", "label_names", "label_column_name", "text_column_names", "text_column_delimiter")
OWN_SETTINGS += ("choice_format", "thresholds", "long_texts", "unknown_label")
# Which script a model belongs to that does not say which one trained it: by its task, or by the end of its class's name.
TRAINED_BY = {
    "multi_label_classification": "run_multilabel.py",
    "single_label_classification": "run_classification.py",
    "regression": "run_classification.py",
    "ForMultipleChoice": "run_multiple_choice.py",
}


def hub_options(args: ModelArguments) -> dict[str, Any]:
    """Return the options that every `from_pretrained` takes."""
    return {
        "cache_dir": args.cache_dir,
        "revision": args.model_revision,
        "token": args.token,
        "trust_remote_code": args.trust_remote_code,
    }


def load_config(args: ModelArguments) -> PreTrainedConfig:
    """Return the model's config.

    Raises:
        UserError: no model is named, or it is neither a folder nor on the Hub.
    """
    name = args.config_name or args.model_name_or_path
    if name and Path(name, "fold-1").is_dir() and not Path(name, "config.json").is_file():
        raise UserError(
            f"--model_name_or_path {name} holds a model for each fold: name one, such as {Path(name, 'fold-1')}; all of them "
            f"together predict the rows of --test_file"
        )
    if name and Path(name, "adapter_config.json").is_file() and not Path(name, "config.json").is_file():
        raise UserError(
            f"--model_name_or_path {name} holds adapters without their model: name the --output_dir that contains it, whose "
            f"model has them; adapters from elsewhere first have to be merged into their model (merge_and_unload of peft)"
        )
    if name and not Path(name, "config.json").is_file() and next(Path(name).glob("checkpoint-*/config.json"), None):
        raise UserError(f"--model_name_or_path {name} holds a run that has not ended: run its command again, which continues it")
    if not name:
        raise UserError("no model: give --model_name_or_path, a folder or a name on the Hub")
    try:
        config = AutoConfig.from_pretrained(name, **hub_options(args))
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise UserError(f"{name} brings its own code: read it, then add --trust_remote_code to run it") from error
        offline = "" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else "; without a network set HF_HUB_OFFLINE=1"
        raise UserError(
            f"--model_name_or_path {name} is neither a folder with a model nor a name on the Hub that can be loaded "
            f"({str(error).splitlines()[0]}); for the embedded model run `make model`{offline}"
        ) from error
    if args.attention_dropout is not None:
        known = [name for name in ("attention_probs_dropout_prob", "attention_dropout") if name in config.to_dict()]
        if not known:
            raise UserError(f"--attention_dropout: a {config.model_type} model has no such setting")
        setattr(config, known[0], args.attention_dropout)
    return config


def refuse_model_of_other_script(config: PreTrainedConfig | None, script: str) -> None:
    """Raise a `UserError` if another script than `script` trained a model, as its config says.

    A copy under another name may predict with the models of its original.
    """
    if config is None or script not in TRAINED_BY.values():
        return
    picks = any(name.endswith("ForMultipleChoice") for name in config.architectures or [])
    told = saved_setting(config, "trained_by") or TRAINED_BY.get("ForMultipleChoice" if picks else config.problem_type)
    if config.problem_type == "multi_label_classification" and config.num_labels == 1:  # a yes/no question
        told = "run_classification.py"
    if told not in (None, script):
        by = "by" if saved_setting(config, "trained_by") else "for the task of"
        raise UserError(f"{config.name_or_path} was trained {by} {told}: use {told} to predict with it")
    if told is None and script == TRAINED_BY["ForMultipleChoice"]:
        raise UserError(f"nothing to train on, and {config.name_or_path} has no head for multiple choice: give --train_file")


def describe_logits(config: PreTrainedConfig, script: Path, problem_type: str | None, names: list[str], **settings: Any) -> None:
    """Write into the config of a model to be trained by `script` what its logits mean, and other `settings` of ours.

    Args:
        problem_type: what transformers calls the task. It makes `pipeline()` take the sigmoid or the softmax.
        names: what each logit stands for.
    """
    describe_encoder(config)
    config.problem_type, config.num_labels = problem_type, len(names)
    config.id2label, config.label2id = dict(enumerate(names)), {name: index for index, name in enumerate(names)}
    for name, value in {"trained_by": script.name, **settings}.items():
        setattr(config, name, value)


def describe_encoder(config: PreTrainedConfig) -> None:
    """Take out of a config what a script has written about the task that the model was trained for before."""
    for name in OWN_SETTINGS:
        config.__dict__.pop(name, None)
    config.problem_type, config.num_labels = None, 2  # as transformers has it where nothing is known


def keep_pooler(model: PreTrainedModel, args: ModelArguments) -> None:
    """Give a language model the pooler of its checkpoint, untrained, so that it is saved with the rest.

    transformers leaves it out where the head does not read it. A classifier may do so.
    """
    if getattr(model.base_model, "pooler", model) is not None:  # no such layer, or one that is read
        return
    options = {"dtype": torch.float32, "output_loading_info": True, **hub_options(args)}
    whole, info = AutoModel.from_pretrained(args.model_name_or_path, **options)
    if getattr(whole, "pooler", None) is not None and not any("pooler" in name for name in info["missing_keys"]):
        model.base_model.pooler = whole.pooler.requires_grad_(False)


def load_whole(args: FineTuningArguments, training: bool) -> None:
    """Let each process load whole models. FSDP and DeepSpeed divide them when a `training` begins, or else not at all.

    All processes try the model before its weights are divided, and the main one alone tries the finished model.
    """
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    deepspeed.unset_hf_deepspeed_config()
    deepspeed.set_hf_deepspeed_config = lambda config: None  # or Trainer and accelerate set it again
    if not training:  # accelerate divides weights together with their optimizer only
        os.environ["ACCELERATE_USE_FSDP"] = os.environ["ACCELERATE_USE_DEEPSPEED"] = "false"
        args.deepspeed_plugin = None


def settle_fsdp(plugin: FullyShardedDataParallelPlugin, model: PreTrainedModel) -> None:
    """Let FSDP save what `from_pretrained` can load, and divide models whose word embeddings lie in a layer of their own.

    accelerate 1.15 divides the layers that a model must not split, and then the word embeddings. BERT names its embeddings among
    those layers; their weights would be divided twice, which fails.
    """
    plugin.state_dict_config = plugin.optim_state_dict_config = None  # those of another type would stay
    plugin.set_state_dict_type("FULL_STATE_DICT")
    if plugin.transformer_cls_names_to_wrap is None:
        words = model.get_input_embeddings()
        layers = {type(module).__name__ for module in model.modules() if words not in module.modules()}
        plugin.transformer_cls_names_to_wrap = sorted(layers & set(model._no_split_modules or ()))


def load_tokenizer(args: ModelArguments, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Return the tokenizer. That of a decoder pads at the end, with a token that `config` knows too.

    A decoder's logits are those of the last token that is no padding, and it finds that token by `config.pad_token_id`.

    Raises:
        UserError: there is no tokenizer, or it has no token to pad with.
    """
    name = args.tokenizer_name or args.model_name_or_path
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **hub_options(args))
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer in {name}: {' '.join(str(error).split())}; see --tokenizer_name") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # transformers makes an empty one where its file is missing
        raise UserError(f"the tokenizer of {name} knows no words: is its tokenizer.json missing? see --tokenizer_name")
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        raise UserError(f"the tokenizer of {name} has no padding token, and no end of text to take for it; see --tokenizer_name")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        logger.info("the tokenizer has no padding token: it pads with the end of text, %s", tokenizer.eos_token)
    if is_decoder(config):
        tokenizer.padding_side = "right"  # at the left it would shift the positions of the tokens
        config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def is_decoder(config: PreTrainedConfig) -> bool:
    """Return whether a model reads a text from left to right, so that only its last token knows all of it."""
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return causal and config.model_type != "xlnet"  # which learns to predict tokens in any order


def sequence_length(wanted: int | None, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int:
    """Return how many tokens of a text the model reads: `wanted`, or its own limit, but at most 512.

    Raises:
        UserError: more tokens are wanted than the model has positions, or too few to hold any text.
    """
    limit = min(tokenizer.model_max_length, config.to_dict().get("max_position_embeddings") or tokenizer.model_max_length)
    if wanted and wanted > limit:
        raise UserError(f"--max_seq_length {wanted}: this model reads at most {limit} tokens")
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if wanted and wanted <= special:
        raise UserError(f"--max_seq_length {wanted}: {special} of these tokens mark the ends of the texts; expected more")
    return wanted or min(limit, 512)


def below_head(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """Return the parameters below the head by name, without those of a pooler."""
    inside = f"{model.base_model_prefix}."
    return {name: each for name, each in model.named_parameters() if name.startswith(inside) and ".pooler." not in name}


def check_weights(args: ModelArguments, model: PreTrainedModel, info: dict[str, Any], extend: bool) -> None:
    """Check what loading has told of a model's weights. transformers starts at random where a file has none that fit.

    Raises a `UserError` if weights below the head do not fit or most of them are missing, or if the head does not fit and is
    not to be replaced or to `extend`. Warns of single weights that are missing or have no place.
    """
    path, inside, missing = args.model_name_or_path, below_head(model), info["missing_keys"]
    misfits = {name: (list(found), list(wanted)) for name, found, wanted in info["mismatched_keys"]}
    for name in sorted(misfits.keys() & inside.keys()):
        told = "its config.json wants {1}, its weights have {0}".format(*misfits[name])
        raise UserError(f"{path} does not fit together: for {name} {told}; the two are of different models")
    if misfits and not (args.ignore_mismatched_sizes or extend):
        raise UserError(
            f"{path} has a head of another width than this task needs; add --ignore_mismatched_sizes to replace it with a new one"
        )
    new = [name for name in inside if name in missing]
    if 2 * sum(inside[name].numel() for name in new) > sum(each.numel() for each in inside.values()):
        adapters = any("lora_" in name for name in info["unexpected_keys"])
        told = "it is a checkpoint of --use_peft, with adapters alone; let its run end, and name its --output_dir"
        raise UserError(f"{path} lacks most weights of its model, such as {new[0]}" + (f": {told}" if adapters else ""))
    if new:
        logger.warning("%s lacks weights, which start anew: %s", path, shorten(new))
    layers = {name for name, _ in model.base_model.named_modules() if name}
    others = {name.removeprefix(f"{model.base_model_prefix}."): name for name in sorted(info["unexpected_keys"])}
    odd = [name for short, name in others.items() if short.rpartition(".")[0] in layers and "pooler" not in name]
    if odd:
        logger.warning("%s has weights that have no place in a %s model: %s", path, model.config.model_type, shorten(odd))


def check_vocabulary(args: ModelArguments, config: PreTrainedConfig, splits: dict[str, Dataset]) -> None:
    """Raise a `UserError` if encoded rows hold tokens that the model does not know."""
    size = config.to_dict().get("vocab_size")
    largest = max(int(used_tokens(split).max()) for split in splits.values())
    if size and largest >= size:
        raise UserError(
            f"the tokenizer of {args.tokenizer_name or args.model_name_or_path} does not fit {args.model_name_or_path}: it gave "
            f"token {largest}, but the model knows tokens 0 to {size - 1}; leave out --tokenizer_name to use the model's own"
        )


def check_masks(args: ModelArguments, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise a `UserError` if the model has no head for masked tokens, or averages them, or its tokenizer has no mask token."""
    name = args.model_name_or_path
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING and not hasattr(config, "auto_map"):
        raise UserError(f"{name}: a {config.model_type} model has no head for masked words; use an encoder such as BERT")
    if getattr(config, "pooling", None) == "mean":
        raise UserError(f"{name} averages all tokens in its last layer (--pooling mean): train the encoder it was made from")
    if tokenizer.mask_token is None:
        raise UserError(f"the tokenizer of {name} has no mask token: use an encoder such as BERT; see --tokenizer_name")


def check_calibration(args: FineTuningArguments, kind: str, splits: dict[str, Dataset]) -> None:
    """Raise a `UserError` if --calibrate is given, and nothing can be fitted; `kind` is what the targets are evaluated as."""
    option = f"--calibrate {args.calibrate}"
    if args.calibrate is None:
        return
    if kind == "numbers":
        raise UserError(f"{option}: a regression gives numbers, which are no probabilities; leave it out")
    if "train" not in splits:
        raise UserError(f"{option} is fitted after a training, and this run only predicts: give --train_file, or leave it out")
    if "validation" not in splits:
        raise UserError(f"{option} is fitted on validation data, and there is none: give --validation_file")


def check_export(args: FineTuningArguments, kind: str, splits: dict[str, Dataset]) -> None:
    """Raise a `UserError` if nothing can show how good 8-bit weights are; `kind` is what the targets are evaluated as."""
    if args.export != "onnx_int8":
        return
    if kind == "numbers":
        raise UserError("--export onnx_int8 is judged by its decisions, and a regression has none: take --export onnx")
    if not labelled(splits):
        raise UserError("--export onnx_int8 is judged on labelled rows: give --validation_file, or take --export onnx")


def labelled(splits: dict[str, Dataset]) -> list[str]:
    """Return which splits a graph can be judged on."""
    return [name for name in ("validation", "test") if name in splits and "labels" in splits[name].column_names]


def check_head(args: ModelArguments, config: PreTrainedConfig, saved_labels: list[str] | None, extend: bool) -> None:
    """Raise a `UserError` if the checkpoint's labels differ from those of `config`, and its head is to be kept.

    To `extend` them they have to be some of them, each with a logit of its own.
    """
    model, names = args.model_name_or_path, list(config.id2label.values())
    if extend:
        if saved_labels is None or len(saved_labels) < 2:
            raise UserError(f"--extend_labels: {model} has no head with a logit for each of several labels; leave it out")
        gone = [name for name in saved_labels if name not in names]
        if gone:
            told = f"the training data lacks {shorten(gone)}, which {model} knows, and would make it forget them"
            raise UserError(f"--extend_labels: {told}: expected rows of all its labels, old and new")
    elif saved_labels is not None and saved_labels != names and not args.ignore_mismatched_sizes:
        raise UserError(
            f"{model} was trained for other labels: its head has {shorten(saved_labels)}, this run needs {shorten(names)}; add "
            f"--ignore_mismatched_sizes to replace the head with a new one, or --extend_labels to add labels to it"
        )


def check_optimizer(folder: str | None, model: PreTrainedModel) -> None:
    """Raise a `UserError` if the checkpoint in `folder` trained other parameters or word embeddings than `model` would."""
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
            f"data and options it began with (--tune_cpu, --freeze_embeddings, --pooling)"
        )
