"""What --help shows: a recipe's own options by what one wants to do; with `--help all` those of TrainingArguments too."""

import argparse
import inspect
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from transformers import TrainingArguments

ENDINGS = ("file", "dir", "path", "name", "names")  # what they take stands for itself
WIDTH_OF_NAMES = 37  # a longer name with its value would take a line of its own
OTHERS = "Further options, most of them of transformers' TrainingArguments"
# The options of a dataclass stand under the heading of the class below that it inherits from, but for those named here.
HEADINGS = {
    "ModelArguments": "Model",
    "DataArguments": "Data and columns",
    "FineTuningArguments": "Training",
    "SearchArguments": "Searching hyperparameters",
}
GROUPS = {
    "Model": (),
    "Data and columns": (),
    "Trying out": ("check_data", "smoke_test"),
    "Training": ("max_steps", "gradient_accumulation_steps", "label_smoothing_factor", "seed"),
    "Choosing the best weights and the threshold": (
        *("metric_for_best_model", "eval_strategy", "load_best_model_at_end", "threshold", "calibrate"),
        *("save_strategy", "early_stopping_patience"),
    ),
    "Folds and copies": ("num_folds", "fold", "group_column_name", "augmented_files", "augmentation_weight", "pseudo_labels"),
    "Speed and memory": (
        *("bf16", "fp16", "per_device_eval_batch_size", "train_sampling_strategy", "pad_to_max_length", "max_tokens_per_batch"),
        *("freeze_embeddings", "use_peft", "tune_cpu"),
    ),
    "Searching hyperparameters": (),
    "Output, and continuing a run": (
        *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "resume_anyway", "keep_checkpoints"),
        *("save_total_limit", "metrics_on_train", "no_text", "no_report", "no_baseline", "safe_csv", "sample_submission"),
        *("export", "logging_steps"),
    ),
    OTHERS: (
        *("config_name", "cache_dir", "overwrite_cache", "logging_nan_inf_filter", "remove_splits", "attn_implementation"),
        *("save_steps", "preprocessing_num_workers", "lora_r", "lora_alpha", "extend_labels", "hub_strategy", "streaming"),
        *("all_probabilities", "padding_free"),
    ),
}


def help_text(program: str, dataclass_types: tuple[type, ...], description: str, everything: bool) -> str:
    """Return what --help prints; `everything` is for `--help all`."""
    parser = argparse.ArgumentParser(
        program,
        usage=f"python {program} [options.yaml] [--option value ...]",
        description=description if everything else _usage_of(description),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=WIDTH_OF_NAMES, width=100),
        add_help=False,
        epilog=None if everything else "--help all shows the whole help of every option, also of {} further ones.",
    )
    groups = {heading: parser.add_argument_group(heading) for heading in GROUPS}
    hidden = 0
    for dataclass_type in dataclass_types:
        types = get_type_hints(dataclass_type)
        for field in filter(lambda field: field.init, fields(dataclass_type)):
            heading = _heading(field, dataclass_type)
            if heading == OTHERS and not everything:
                hidden += 1
                continue
            flag, metavar = _spelling(field, types[field.name])
            value = {"action": "store_true"} if metavar is None else {"metavar": metavar}
            groups[heading].add_argument(flag, help=_explain(field, everything).replace("%%", "%").replace("%", "%%"), **value)
    if parser.epilog:
        parser.epilog = parser.epilog.format(hidden)
    return parser.format_help()


def _usage_of(description: str) -> str:
    """Return the first paragraph of a script's docstring, and its commands."""
    first, *others = description.strip().split("\n\n")
    return "\n\n".join([first, *(paragraph for paragraph in others if paragraph.startswith("    "))])


def _heading(field: Field, dataclass_type: type) -> str:
    for heading, names in GROUPS.items():
        if field.name in names:
            return heading
    if TrainingArguments.__dataclass_fields__.get(field.name) is field:  # not given a default of its own
        return OTHERS
    return next((HEADINGS[parent.__name__] for parent in dataclass_type.__mro__ if parent.__name__ in HEADINGS), "Training")


def default_of(field: Field) -> Any:
    """Return the default of an option."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _spelling(field: Field, kind: Any) -> tuple[str, str | None]:
    """Return how an option is written, and what stands for its value; None for a flag."""
    parts = [part for part in get_args(kind) if part is not type(None)] if get_origin(kind) is not Literal else []
    kind = parts[0] if len(parts) == 1 or bool in parts else kind
    if kind is bool:
        return f"--no_{field.name}" if field.default is True else f"--{field.name}", None
    if get_origin(kind) is Literal:
        choices = "{" + ",".join(map(str, get_args(kind))) + "}"
        if len(f"--{field.name} {choices}") <= WIDTH_OF_NAMES - 4:
            return f"--{field.name}", choices
    last = field.name.split("_")[-1]
    return f"--{field.name}", "N" if kind in (int, float) else last.upper() if last in ENDINGS else "VALUE"


def _explain(field: Field, everything: bool) -> str:
    """Return the help of an option with its default; in short, its first sentence and what holds where it is not given."""
    text, default = inspect.cleandoc(field.metadata.get("help", "")), default_of(field)
    if not everything:
        first, *others = text.replace("\n", " ").split(". ")
        text = ". ".join([first, *(sentence for sentence in others if sentence.startswith("Unset:"))]).rstrip(".") + "."
    if default is True:
        text = f"Turn off: {text}" if text.startswith(("Whether", "If ")) else f"Do not {text[:1].lower()}{text[1:]}"
    shown = default is not None and not isinstance(default, bool) and default not in ("", [], {})
    return f"{text} [{getattr(default, 'value', default)}]" if shown else text
