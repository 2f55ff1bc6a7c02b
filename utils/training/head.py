"""Load a model, find its head, start it where the data is, and let it learn faster; weights for rare labels."""

import logging
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer

from utils.arguments import UserError, shorten
from utils.batches.order import longest_first
from utils.command_line import parse_weights
from utils.data.classes import ClassFormat
from utils.files.cells import UNKNOWN
from utils.training.cpu import keep_memory
from utils.training.lora import widen_all_but_frozen
from utils.training.models import below_head, check_weights, hub_options, is_decoder, load_whole
from utils.training.task import FEWEST_ROWS, MOST_CELLS, MOST_ROWS, Task

logger = logging.getLogger(__name__)

# Of a linear probe: the most rows that the layer below it is scaled by; how weak the penalty of its weights may be, C as in
# scikit-learn's LogisticRegression.
SCALE_ROWS, STRENGTHS = 500, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)


@dataclass
class Head:
    """What loading a model has told about its head.

    Attributes:
        new: names of its parameters that the checkpoint lacks, or has in another shape.
        relabelled: whether the checkpoint's head was trained for other labels.
        bias: [logits], where the output layer of a new head starts; None leaves it.
        known: the parameters by name of the checkpoint's head, if labels are added to it, and the place of each of its labels
            among all.
        layer: the output layer, once a new head was started.
        below: the layer before it, if that is new too, or a pooler.
    """

    new: set[str]
    relabelled: bool
    bias: torch.Tensor | None
    known: tuple[dict[str, torch.Tensor], list[int]] = ({}, [])
    layer: nn.Linear | None = None
    below: nn.Linear | None = None

    def start(self, model: PreTrainedModel, forward: Callable[[], object]) -> set[str]:
        """Start the head at its bias if it is new. Return the names of the parameters that are to learn faster, none if not.

        Few checkpoints come with a pooler that was trained for more than next-sentence prediction, if at all. It counts as new.
        So it does where labels are added, or these would learn only from what it tells of the known ones (measured in
        benchmarks/extended_labels.md).
        """
        parameters, places = self.known
        poolers = {name for name, _ in model.named_parameters() if ".pooler." in name}
        for name, rows in parameters.items():  # the others stay as new ones begin
            with torch.no_grad():
                if rows.dim() == 1 and self.bias is not None:
                    model.get_parameter(name).copy_(self.bias)
                model.get_parameter(name)[places] = rows
        if parameters:
            return {*parameters, *poolers}
        if not (self.new or self.relabelled):
            return set()
        *others, layer = linear_layers(model, forward)
        own = names_of(layer, model)
        new = set(self.new)
        if self.relabelled and not own & new:  # of the same width by chance: these weights mean other labels
            layer.reset_parameters()
            new |= own
        if not own & new:
            return set()
        self.layer = layer
        self.below = others[-1] if others and names_of(others[-1], model) & {*new, *poolers} else None
        if self.bias is not None and (layer.bias is None or layer.bias.shape != self.bias.shape):
            logger.info("the head of %s has no bias for each logit, so it cannot start at the prior", type(model).__name__)
        elif self.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(self.bias)
        return new | poolers


def load_model(model_class: type, task: Task) -> tuple[PreTrainedModel, Head]:
    """Load the model of a task in float32. Return it with what is known of its head, which is new if the checkpoint lacks it.

    Weights that adapters are put beside stay in the half precision of their checkpoint.

    `model_class` is a class of transformers such as `AutoModelForSequenceClassification`, or the script's own.

    Raises:
        UserError: the checkpoint's head has another width, or its weights cannot be read.
    """
    args, extend = task.args.model, task.training and task.args.training.extend_labels
    adapted = task.training and args.use_peft
    if task.args.training.tune_cpu:
        keep_memory()
    if task.args.training.sharded:
        load_whole(task.args.training, task.training)
    try:
        model, info = model_class.from_pretrained(
            args.model_name_or_path,
            config=task.config,
            dtype="auto" if adapted else torch.float32,  # unset, transformers 5 would keep half precision in all
            ignore_mismatched_sizes=True,  # `check_weights` says which
            output_loading_info=True,
            attn_implementation=args.attn_implementation,
            **hub_options(args),
        )
    except (ImportError, ValueError) as error:
        if "Unrecognized configuration class" in str(error):
            kind, head = task.config.model_type, model_class.__name__
            told = f"transformers has no {head} for a {kind} model; use an encoder such as BERT"
            raise UserError(f"{args.model_name_or_path}: {told}") from error
        if args.attn_implementation is None:
            raise
        raise UserError(f"--attn_implementation {args.attn_implementation}: {' '.join(str(error).split())}") from error
    except (OSError, SafetensorError, pickle.UnpicklingError) as error:  # a pickle that holds more than weights
        raise UserError(f"cannot load the weights of {args.model_name_or_path}: {str(error).splitlines()[0]}") from error
    check_weights(args, model, info, extend)
    if adapted:
        widen_all_but_frozen(model)
    missing = set(info["missing_keys"]) - set(below_head(model))
    changed, names = {name for name, *_ in info["mismatched_keys"]}, list(task.config.id2label.values())
    if extend:
        saved = model_class.from_pretrained(args.model_name_or_path, dtype=torch.float32, **hub_options(args))
        known = {name: saved.get_parameter(name) for name in changed}, [names.index(label) for label in task.saved_labels]
        added = [name for name in names if name not in task.saved_labels]
        logger.info("labels added to those of the model: %s", shorten(added) or "none")
        return model, Head(missing, False, task.bias, known)
    return model, Head(missing | changed, task.saved_labels not in (None, names), task.bias)


def linear_layers(model: nn.Module, forward: Callable[[], object]) -> list[nn.Linear]:
    """Return the linear layers as `forward`, a pass through `model`, calls them. The last makes the logits."""
    called: list[nn.Linear] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda module, *_: called.append(module)) for layer in layers]
    with torch.no_grad():
        forward()
    for hook in hooks:
        hook.remove()
    return called


def names_of(layer: nn.Linear, model: nn.Module) -> set[str]:
    """Return the names that the parameters of a layer have in `model`."""
    return {name for name, parameter in model.named_parameters() if any(parameter is own for own in layer.parameters())}


def can_fit_alone(layer: nn.Linear | None, trainer: Trainer) -> bool:
    """Return whether `fit_alone` is asked for and possible; warn if it is not. `layer` is None where the head is not new."""
    obstacles = {
        "the model's head is not new": layer is None,
        "its output layer has no bias": layer is not None and layer.bias is None,
        "a decoder's output layer reads each token": is_decoder(trainer.model.config),
        "--long_texts windows gives a row several vectors": trainer.windows_give is not None,
        f"there are fewer than {FEWEST_ROWS} training rows": len(trainer.train_dataset) < FEWEST_ROWS,
    }
    found = next((obstacle for obstacle, holds in obstacles.items() if holds), None)
    if trainer.args.linear_probe and found:
        logger.warning("--linear_probe: the head is not fitted alone, because %s", found)
    return bool(trainer.args.linear_probe) and found is None


def scale_up(layer: nn.Linear, trainer: Trainer) -> None:
    """Scale the layer below the output layer up, where what it gives hardly differs between rows.

    Each unit gets a mean of 0, and a standard deviation of 1 if it had less, over some training rows: an initialization that
    depends on data (Krähenbühl et al. 2016, https://arxiv.org/abs/1511.06856). The pooler of a sentence encoder, which nothing
    has trained, gives all-MiniLM-L6-v2 a deviation of 0.03. The output layer would need huge weights, and each step of the
    encoder would change the logits too much.
    """
    read = torch.cat(encoded_once(layer, trainer, SCALE_ROWS)[1])
    with torch.no_grad():
        given = layer(read)
        scale = 1 / given.std(dim=0).clamp(1e-3, 1)
        layer.weight.mul_(scale[:, None])
        layer.bias.sub_(given.mean(dim=0)).mul_(scale)


def fit_alone(head: Head, trainer: Trainer) -> None:
    """Fit the output layer of a new head before the training, as a linear probe: to what the encoder, as it is, tells of rows.

    A head that starts at random first distorts what the encoder knows (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
    The loss is the script's own, plus the squares of the weights. Their penalty is that of `STRENGTHS` whose loss on a fifth of
    the rows is lowest; then all of them are fitted. These are some of the training rows, the same in each process. Before that
    the layer below it is scaled up.
    """
    layer = head.layer
    if head.below is not None and head.below.bias is not None:
        scale_up(head.below, trainer)
    batches, told = encoded_once(layer, trainer, MOST_ROWS)
    center = torch.cat(told).mean(dim=0)
    scale = (torch.cat(told) - center).square().mean().sqrt().clamp(min=1e-3)  # one for all, or some weights would be huge
    weight, bias = torch.zeros_like(layer.weight).requires_grad_(), layer.bias.detach().clone().requires_grad_()

    def rows_of(numbers: Iterable[int]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        inputs = {name: torch.cat([batches[number][name] for number in numbers]) for name in batches[0]}
        features = (torch.cat([told[number] for number in numbers]) - center) / scale
        return inputs, features

    def loss(inputs: dict[str, torch.Tensor], features: torch.Tensor) -> torch.Tensor:
        outputs = {"logits": nn.functional.linear(features, weight, bias)}
        return trainer.compute_loss(lambda **_: outputs, inputs)

    def fit(strength: float, inputs: dict[str, torch.Tensor], features: torch.Tensor) -> None:
        count = trainer.weights(inputs).sum()
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            penalized = loss(inputs, features) + weight.square().sum() / (2 * strength * count)
            penalized.backward()
            return penalized

        optimizer.step(closure)

    every = range(len(batches))
    others, held_out = rows_of([number for number in every if number % 5 != 2]), rows_of(every[2::5])
    losses, before = {}, loss(*held_out).item()
    for strength in STRENGTHS:
        fit(strength, *others)
        losses[strength] = loss(*held_out).item()
    best = min(losses, key=losses.get)
    fit(best, *rows_of(every))
    with torch.no_grad():
        layer.weight.copy_(weight / scale)
        layer.bias.copy_(bias - layer.weight @ center)
    told = "the new head was fitted alone first; held-out loss %.3f, before %.3f (--linear_probe False turns this off)"
    logger.info(told, losses[best], before)


def encoded_once(layer: nn.Linear, trainer: Trainer, most: int) -> tuple[list[dict[str, torch.Tensor]], list[torch.Tensor]]:
    """Return batches of at most so many training rows, without their tokens, and what the layer reads of each [rows, …]."""
    told: list[torch.Tensor] = []
    rows = np.flatnonzero(trainer.train_dataset["length"][:])  # the others only fill a batch
    most = min(most, max(MOST_CELLS // layer.out_features, 100))
    rows = np.random.default_rng(trainer.args.seed).permutation(rows)[:most]
    dataset = trainer._remove_unused_columns(longest_first(trainer.train_dataset.select(rows))[0])
    loader = DataLoader(dataset, min(32, max(len(rows) // 10, 1)), collate_fn=trainer.data_collator)
    batches = [trainer._prepare_inputs(batch) for batch in loader]
    hook = layer.register_forward_hook(lambda module, read, _: told.append(read[0].float()))
    trainer.model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        for batch in batches:
            trainer.model_outputs(trainer.model, batch)
    trainer.model.train()
    hook.remove()
    return [{name: each for name, each in batch.items() if name not in trainer.by_token} for batch in batches], told


def speed_up(optimizer: torch.optim.Optimizer, model: nn.Module, parameters: set[str], multiplier: float) -> None:
    """Move the named `parameters` of `model` into groups of their own, with `multiplier` times the learning rate."""
    named = dict(model.named_parameters(remove_duplicate=False))  # tied parameters have several names
    chosen = {id(named[name]) for name in parameters}
    for group in list(optimizer.param_groups):
        fast = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if fast:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            optimizer.add_param_group({**group, "params": fast, "lr": group["lr"] * multiplier})


def positive_weights(text: str, targets: np.ndarray) -> torch.Tensor | None:
    """Return `--pos_weight` as [labels], given the training targets [rows, labels]. None means weights of 1."""
    positives, negatives = _count(targets)
    balanced = np.where(positives > 0, negatives / np.maximum(positives, 1e-9), 1.0).clip(min=1e-3)
    return _read_weights(text, "--pos_weight", balanced, one_for_all=True)


def class_weights(text: str, shares: np.ndarray) -> torch.Tensor | None:
    """Return `--class_weights` as [classes], given the training rows' shares [rows, classes]. None means weights of 1.

    "balanced" is defined as in scikit-learn: rows / (classes x rows of the class).
    """
    counts = shares.sum(axis=0)
    balanced = np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1e-9)), 1.0)
    return _read_weights(text, "--class_weights", balanced, one_for_all=False)


def _read_weights(text: str, option: str, balanced: np.ndarray, one_for_all: bool) -> torch.Tensor | None:
    choice, labels = parse_weights(text, option), len(balanced)
    if choice == "none":
        return None
    if isinstance(choice, list):
        if len(choice) != labels and not (one_for_all and len(choice) == 1):
            expected = f"{'1, or ' if one_for_all else ''}one for each of {labels} labels"
            raise UserError(f"{option} has {len(choice)} numbers; expected {expected}")
        return torch.tensor(choice * (labels // len(choice)))
    return torch.tensor(np.sqrt(balanced) if choice == "sqrt" else balanced, dtype=torch.float32)


def prior_log_odds(targets: np.ndarray, pos_weight: torch.Tensor | None) -> torch.Tensor:
    """Return the bias [labels] that minimises the binary cross-entropy of a head that ignores its input.

    It is the log-odds of each label in the training targets [rows, labels], with half a row added to each side, plus the log
    of the label's weight. The idea is the prior in section 3.3 of Lin et al. 2017, https://arxiv.org/abs/1708.02002.
    """
    positives, negatives = _count(targets)
    bias = torch.tensor(np.log((positives + 0.5) / (negatives + 0.5)), dtype=torch.float32)
    return bias if pos_weight is None else bias + pos_weight.log()


def _count(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive and the negative rows of each label [labels]; a fraction counts towards both."""
    known = targets != UNKNOWN
    positives = targets.sum(axis=0, where=known, dtype=np.float64)
    return positives, known.sum(axis=0) - positives


def class_prior(shares: np.ndarray, weights: torch.Tensor | None, form: ClassFormat) -> torch.Tensor:
    """Return the bias that minimises the loss of a head that ignores its input, given shares [rows, classes].

    These are log-frequencies [classes], or log-odds [classes] if the logits are independent questions. For one logit it
    is the log-odds [1] of the second class. Half a row is added to each class, and `weights` [classes] multiply its rows.
    """
    counts = torch.tensor(shares.sum(axis=0) + 0.5, dtype=torch.float32) * (1.0 if weights is None else weights)
    if form.width == 1:
        return (counts[1:] / counts[:1]).log()
    frequencies = counts / counts.sum()
    return torch.logit(frequencies) if form.independent else frequencies.log()
