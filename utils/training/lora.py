"""Low-rank adapters: small matrices are trained beside the weights, which stay as they are."""

import logging
import os
import shutil
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from utils.arguments import FineTuningArguments, ModelArguments, UserError
from utils.training.models import below_head

logger = logging.getLogger(__name__)

ADAPTERS = "adapter"  # in --output_dir


def remove_adapters(output_dir: str) -> None:
    """Remove the adapters that a run has left there, which this one replaces."""
    if Path(output_dir, ADAPTERS, "adapter_config.json").is_file():
        shutil.rmtree(Path(output_dir, ADAPTERS))


class HalfPrecisionLinear(nn.Linear):
    """A layer whose weight is not trained, and stays in the half precision of its checkpoint.

    Products are those of the same weight in float32: autocast would round it to half precision, and without autocast it is
    widened for each of them.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        return nn.functional.linear(input, self.weight.to(input.dtype), self.bias)

    def widen(self) -> None:
        self.weight.data, self.__class__ = self.weight.data.float(), nn.Linear


def layers_to_adapt(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the linear layers below the head of a model, by name, without those of a pooler."""
    inside = f"{model.base_model_prefix}."
    layers = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))}
    return {name: each for name, each in layers.items() if name.startswith(inside) and ".pooler." not in f"{name}."}


def widen_all_but_frozen(model: PreTrainedModel) -> None:
    """Make a model of half precision one of float32, but for the weights of the layers that are adapted."""
    for layer in layers_to_adapt(model).values():
        if type(layer) is nn.Linear and layer.weight.dtype != torch.float32:
            layer.__class__ = HalfPrecisionLinear
    frozen = {id(module.weight) for module in model.modules() if isinstance(module, HalfPrecisionLinear)}
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and id(tensor) not in frozen:
            tensor.data = tensor.data.float()


class Adapters:
    """Adds adapters to all linear layers of an encoder or decoder, and trains them and the head alone.

    LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685), by peft. The matrices of a layer add nothing at first. Pooler and
    output layer are trained whole. Parameters outside the adapted layers keep their names.

    Raises:
        UserError: the model has no layers to adapt, its weights would be divided among processes, or an option changes nothing.
    """

    def __init__(self, model: PreTrainedModel, args: ModelArguments, training: FineTuningArguments):
        if training.sharded:
            raise UserError("--use_peft merges whole weights, and FSDP and DeepSpeed divide them: leave one out")
        if training.freeze_embeddings:
            raise UserError("--use_peft trains no word embeddings, so --freeze_embeddings changes nothing: leave one out")
        from peft import LoraConfig, LoraModel  # only now: it takes seconds, and few need it

        adapted, below = sorted(layers_to_adapt(model)), below_head(model)
        if not adapted:
            raise UserError(f"--use_peft: {type(model).__name__} has no linear layers below its head; leave it out")
        head = [name for name, _ in model.named_parameters() if name not in below]
        self.config = LoraConfig(r=args.lora_r, lora_alpha=args.lora_alpha, target_modules=adapted)
        local = Path(args.model_name_or_path).is_dir()
        self.config.base_model_name_or_path = os.path.abspath(args.model_name_or_path) if local else args.model_name_or_path
        with warnings.catch_warnings(action="ignore"):  # of peft itself: of GPT-2's layers, and of a name that will change
            self.tuner = LoraModel(model, self.config, "default")  # which changes the model itself
        self.config.modules_to_save = sorted({name.rpartition(".")[0] for name in head})
        for name in head:
            model.get_parameter(name).requires_grad_(True)
        for each in self.trained().values():
            each.data = each.data.float()  # those beside weights of half precision, too
        counts = [sum(p.numel() for p in model.parameters() if p.requires_grad or not trained) for trained in (True, False)]
        logger.info("adapters: %s of %s parameters are trained (--use_peft)", *(f"{count:,}" for count in counts))

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the adapters and of the head by name: all that a checkpoint needs."""
        return {name: each for name, each in self.tuner.model.named_parameters() if each.requires_grad}

    def save(self, output_dir: str) -> None:
        """Write the adapters and the head to a folder in `output_dir`, as peft reads them."""
        folder = Path(output_dir, ADAPTERS)
        tensors = {
            f"base_model.model.{name.replace('.default.', '.')}": each.detach().cpu().contiguous()
            for name, each in self.trained().items()
        }
        self.config.save_pretrained(folder)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def merge(self) -> None:
        """Add the adapters to the weights, in float32, and make the model one without adapters."""
        for module in self.tuner.model.modules():
            if isinstance(module, HalfPrecisionLinear):
                module.widen()
        self.tuner.merge_and_unload()
