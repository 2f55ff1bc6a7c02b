"""Run a script with a technique that it does not have, to see what that would be worth. benchmarks/recipes.py calls this.

    python benchmarks/techniques.py r_drop run_classification.py --model_name_or_path models/all-MiniLM-L6-v2 …

A technique is a class that stands over the script's own trainer. It is for BERT models, evaluation at the end of each epoch, and
new runs.
"""

import importlib
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.runtime import run  # noqa: E402
from utils.training.pooling import start_as_identity  # noqa: E402
from utils.training.trainer import FineTuningTrainer  # noqa: E402

DECAY = 0.999  # of the moving average; less at first
LAYER_DECAY = 0.9  # the learning rate of a layer, in those of the layer above it
DROPOUT_SAMPLES = 5


class RDrop:
    """Two passes of each batch, whose probabilities are to agree (Liang et al. 2021, https://arxiv.org/abs/2106.14448)."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if getattr(model, "training", False):
            again, others = super().compute_loss(model, inputs, True, num_items_in_batch)
            one, other = outputs["logits"].float(), others["logits"].float()
            if inputs["labels"].shape == one.shape:  # a question each
                apart = (one.sigmoid() - other.sigmoid()) * (one - other)
            else:
                apart = (F.softmax(one, 1) - F.softmax(other, 1)) * (F.log_softmax(one, 1) - F.log_softmax(other, 1))
                apart = apart.nan_to_num(0.0).sum(dim=1)  # a candidate that is not there has a logit of -inf
            loss = (loss + again) / 2 + self.mean(apart / 2 * self.weights(inputs), inputs, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class MovingAverage:
    """Evaluate and keep a moving average of the weights, and train on with the weights themselves."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.add_callback(_Averaging(trained))


class _Averaging(TrainerCallback):
    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters, self.average, self.own = parameters, None, None

    def on_step_end(self, args, state, control, **kwargs):
        values = [parameter.detach() for parameter in self.parameters]
        if self.average is None:
            self.average = [value.clone() for value in values]
        kept = min(DECAY, (1 + state.global_step) / (10 + state.global_step))
        torch._foreach_lerp_(self.average, values, 1 - kept)

    def on_epoch_end(self, args, state, control, **kwargs):
        self.own = [parameter.detach().clone() for parameter in self.parameters]
        self._take(self.average)

    def on_epoch_begin(self, args, state, control, **kwargs):
        if self.own:
            self._take(self.own)

    def _take(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.data.copy_(value)


class LayerwiseDecay:
    """A lower learning rate for each lower layer (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146)."""

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        layers = self.model.config.num_hidden_layers
        for group in list(optimizer.param_groups):
            of_depth: dict[int, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                name = names[id(parameter)]
                found = re.search(r"\.layer\.(\d+)\.", name)
                depth = layers - int(found[1]) if found else layers + 1 if ".embeddings." in name else 0
                of_depth.setdefault(depth, []).append(parameter)
            group["params"] = of_depth.pop(0, [])
            for depth, parameters in of_depth.items():
                optimizer.add_param_group({**group, "params": parameters, "lr": group["lr"] * LAYER_DECAY**depth})
        self.guard.remember(optimizer)
        return optimizer


class LastLayerAnew:
    """The last layer of the encoder starts at random (Zhang et al. 2021, https://arxiv.org/abs/2006.05987)."""

    def __init__(self, model, *args, **kwargs):
        for module in model.base_model.encoder.layer[-1].modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=model.config.initializer_range)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        super().__init__(model, *args, **kwargs)


class MultiSampleDropout:
    """The mean loss of several samples of the dropout before the output layer (Inoue 2019, https://arxiv.org/abs/1905.09788)."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not getattr(model, "training", False):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        read = []
        hook = self.model.dropout.register_forward_pre_hook(lambda _, given: read.append(given[0]))
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        hook.remove()
        for _ in range(DROPOUT_SAMPLES - 1):
            sample = {"logits": self.model.classifier(self.model.dropout(read[0]))}
            loss = loss + super().compute_loss(lambda _sample=sample, **_: _sample, inputs, False, num_items_in_batch)
        loss = loss / DROPOUT_SAMPLES
        return (loss, outputs) if return_outputs else loss


class IdentityPooler:
    """The pooler starts as the identity, instead of weights that the encoder was not trained with."""

    def __init__(self, model, *args, **kwargs):
        start_as_identity(model.base_model.pooler.dense)
        super().__init__(model, *args, **kwargs)


TECHNIQUES = {
    "r_drop": RDrop,
    "moving_average": MovingAverage,
    "layerwise_decay": LayerwiseDecay,
    "last_layer_anew": LastLayerAnew,
    "multi_sample_dropout": MultiSampleDropout,
    "identity_pooler": IdentityPooler,
}


def main() -> None:
    technique, script, *argv = sys.argv[1:]
    module = importlib.import_module(Path(script).stem)
    ours = {name: each for name, each in vars(module).items() if isinstance(each, type) and issubclass(each, FineTuningTrainer)}
    for name in set(ours) - {"FineTuningTrainer"}:
        setattr(module, name, type(name, (TECHNIQUES[technique], ours[name]), {}))
    sys.argv = [script, *argv]
    run(module.main)


if __name__ == "__main__":
    main()
