"""Low-rank adapters: small matrices are trained beside the weights, which stay as they are."""

import logging
import os
import shutil
import warnings
from pathlib import Path

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from utils.arguments import FineTuningArguments, ModelArguments, UserError

logger = logging.getLogger(__name__)

ADAPTERS = "adapter"  # in --output_dir


def remove_adapters(output_dir: str) -> None:
    """Remove the adapters that a run has left there, which this one replaces."""
    if Path(output_dir, ADAPTERS, "adapter_config.json").is_file():
        shutil.rmtree(Path(output_dir, ADAPTERS))


class Adapters:
    """Adds adapters to all linear layers of an encoder or decoder, and trains them and the head alone.

    LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685), by peft. The matrices of a layer add nothing at first. Pooler and
    output layer are trained whole. Parameters outside the adapted layers keep their names.

    Raises:
        UserError: the model has no layers to adapt, or its weights would be divided among processes.
    """

    def __init__(self, model: PreTrainedModel, args: ModelArguments, training: FineTuningArguments):
        if training.sharded:
            raise UserError("--use_peft merges whole weights, and FSDP and DeepSpeed divide them: leave one out")
        from peft import LoraConfig, LoraModel  # only now: it takes seconds, and few need it

        inside = f"{model.base_model_prefix}."
        layers = {name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))}
        adapted = sorted(name for name in layers if name.startswith(inside) and ".pooler." not in f"{name}.")
        if not adapted:
            raise UserError(f"--use_peft: {type(model).__name__} has no linear layers below its head; leave it out")
        head = [name for name, _ in model.named_parameters() if not name.startswith(inside) or ".pooler." in name]
        self.config = LoraConfig(r=args.lora_r, lora_alpha=args.lora_alpha, target_modules=adapted)
        local = Path(args.model_name_or_path).is_dir()
        self.config.base_model_name_or_path = os.path.abspath(args.model_name_or_path) if local else args.model_name_or_path
        with warnings.catch_warnings(action="ignore"):  # of peft itself: of GPT-2's layers, and of a name that will change
            self.tuner = LoraModel(model, self.config, "default")  # which changes the model itself
        self.config.modules_to_save = sorted({name.rpartition(".")[0] for name in head})
        for name in head:
            model.get_parameter(name).requires_grad_(True)
        counts = [sum(p.numel() for p in model.parameters() if p.requires_grad or not trained) for trained in (True, False)]
        logger.info("adapters: %s of %s parameters are trained (--use_peft)", *(f"{count:,}" for count in counts))

    def save(self, output_dir: str) -> None:
        """Write the adapters and the head to a folder in `output_dir`, as peft reads them."""
        folder = Path(output_dir, ADAPTERS)
        trained = {name: each for name, each in self.tuner.model.named_parameters() if each.requires_grad}
        tensors = {
            f"base_model.model.{name.replace('.default.', '.')}": each.detach().cpu().contiguous()
            for name, each in trained.items()
        }
        self.config.save_pretrained(folder)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def merge(self) -> None:
        """Add the adapters to the weights, and make the model one without adapters."""
        self.tuner.merge_and_unload()
