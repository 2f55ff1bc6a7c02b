"""The model as a graph for ONNX Runtime, made by transformers and tried before it is kept.

The files lie where text-embeddings-inference, transformers.js and other readers of the Hub look for them: model.onnx or
model_int8.onnx in the folder `onnx` beside config and tokenizer.
"""

import contextlib
import io
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from utils.arguments import RunError
from utils.batches.order import longest_first
from utils.files.rows import one_line
from utils.scoring.evaluation import Evaluation, known_truth
from utils.scoring.weighted import point_scores
from utils.training.models import hub_options, labelled
from utils.training.task import Task
from utils.training.trainer import FineTuningTrainer

logger = logging.getLogger(__name__)

FOLDER = "onnx"  # in --output_dir
JUDGED_BY = ("f1_macro", "accuracy")  # the first that the rows allow
TOLERANCE, MOST_LOST = 1e-4, 0.01
TRIED = 32  # training rows, where nothing is evaluated
ONE_FILE = 2_000_000_000  # bytes; protobuf allows no more


class Graph:
    """A saved graph that is called as its model is, with tensors by name."""

    def __init__(self, path: Path):
        from onnxruntime import InferenceSession

        self.session = InferenceSession(path, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in self.session.get_inputs()]

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        (logits,) = self.session.run(["logits"], {name: inputs[name].cpu().numpy() for name in self.names})
        return {"logits": torch.from_numpy(logits)}


def export_onnx(
    trainer: FineTuningTrainer,
    task: Task,
    model_class: type,
    to_probabilities: Callable[[np.ndarray], np.ndarray],
    predicted: dict[str, np.ndarray],
    thresholds: np.ndarray,
) -> None:
    """Write the graph that --export names. It holds labels and thresholds too.

    Args:
        model_class, to_probabilities: see `Results`.
        predicted: the probabilities [rows, labels] of each split that the run has predicted.

    Raises:
        RunError: the graph gives other probabilities than the model, or of 8-bit weights a score that is lower by more than
            `MOST_LOST`. It is not kept then.
    """
    args, labels = trainer.args, task.labels[-len(thresholds) :] if len(thresholds) else []
    name = {"onnx": "model.onnx", "onnx_int8": "model_int8.onnx"}[args.export]
    folder, untried = Path(args.output_dir, FOLDER), Path(args.output_dir, f"{FOLDER}.untried")
    logger.info("exporting the model to %s (--export)", folder / name)
    source = args.output_dir if task.training else task.args.model.model_name_or_path
    model = model_class.from_pretrained(source, dtype=torch.float32, **hub_options(task.args.model)).eval()
    shutil.rmtree(untried, ignore_errors=True)
    untried.mkdir()
    facts = {"labels": task.labels, "thresholds": dict(zip(labels, thresholds.tolist(), strict=True))}
    facts |= {"max_length": task.max_length}
    try:
        _write(model, sample_inputs(trainer), untried / name, facts, args.export == "onnx_int8")
        told = _try(trainer, task, model, Graph(untried / name), to_probabilities, predicted, thresholds)
        folder.mkdir(exist_ok=True)
        for path in untried.iterdir():
            os.replace(path, folder / path.name)
    except (OSError, RunError):
        raise
    except Exception as error:  # whatever the exporters meet in a model of another shape
        told = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise RunError(
            f"--export {args.export}: this model cannot be exported ({told}); the rest of the run is as it should be"
        ) from error
    finally:
        shutil.rmtree(untried)
    logger.info("%s: %s", folder / name, told)


def sample_inputs(trainer: FineTuningTrainer) -> dict[str, torch.Tensor]:
    """Return inputs to trace the model with: four rows, those of multiple choice as two with two candidates each."""
    read = {name: tensor.cpu() for name, tensor in trainer.example.items() if name in trainer.read_by_model}
    read = {name: tensor[torch.arange(4) % len(tensor)] for name, tensor in read.items()}
    return {name: tensor.reshape(2, 2, -1) if tensor.dim() == 3 else tensor for name, tensor in read.items()}


def _write(model: torch.nn.Module, inputs: dict[str, torch.Tensor], path: Path, facts: dict, int8: bool) -> None:
    import onnx_ir  # only now: they take seconds, and few need them
    from transformers.exporters import OnnxConfig, OnnxExporter, OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer

    # a scale for each row of a matrix is exact enough for more models; 7 bits do not overflow on CPUs without VNNI
    quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig(per_channel=True, reduce_range=True)) if int8 else None
    with silent():
        program = OnnxExporter().export(model, inputs, config=OnnxConfig(dynamic=True, quantizer=quantizer)).program
    program.metadata_props.update({name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()})
    weights = sum(value.const_value.nbytes for value in program.graph.initializers.values() if value.const_value is not None)
    onnx_ir.save(program, path, external_data=f"{path.name}.data" if weights > ONE_FILE else None)


def _try(
    trainer: FineTuningTrainer,
    task: Task,
    model: PreTrainedModel,
    graph: Graph,
    to_probabilities: Callable[[np.ndarray], np.ndarray],
    predicted: dict[str, np.ndarray],
    thresholds: np.ndarray,
) -> str:
    """Return in words how near the graph comes to the model."""
    kind, int8 = task.format.evaluated_as, trainer.args.export == "onnx_int8"
    split = next((name for name in labelled(task.splits) or predicted if name in predicted), "train")
    rows = task.splits[split]
    if split in predicted:
        told, expected = f"the {split} rows", predicted[split]
    else:
        rows = rows.select(range(min(TRIED, len(rows))))
        told, expected = f"{len(rows)} training rows", to_probabilities(logits_of(trainer, model, rows))
    found = to_probabilities(logits_of(trainer, graph, rows))
    what = "predictions" if kind == "numbers" else "probabilities"
    told = f"{what} of {told} differ from the model's by {np.nanmax(np.abs(found - expected)):.2g} at most"
    if not int8 and not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise RunError(f"--export onnx is not kept: its {told}; the rest of the run is as it should be")
    if int8:
        known, truth = known_truth(kind, task.targets(split))
        of_both = [Evaluation(kind, task.labels, each[known], truth, thresholds) for each in (expected, found)]
        before, after = map(point_scores, of_both)
        metric = next(name for name in JUDGED_BY if name in before and name in after)
        told += f"; {metric} is {after[metric]:.3f} instead of {before[metric]:.3f}"
        if before[metric] - after[metric] > MOST_LOST:
            raise RunError(f"--export onnx_int8 is not kept: its {told}; --export onnx keeps all bits")
    return told


def remove_graphs(output_dir: Path) -> None:
    """Remove the graphs of an earlier model from the folder of a run."""
    for path in Path(output_dir, FOLDER).glob("model*.onnx*"):
        path.unlink()


def logits_of(trainer: FineTuningTrainer, model: PreTrainedModel | Graph, rows: Dataset) -> np.ndarray:
    """Return the logits [rows, …] that `model`, on the CPU, gives for encoded rows, in their order."""
    longest, order = longest_first(rows)
    batches = DataLoader(
        trainer._remove_unused_columns(longest), batch_size=trainer.args.eval_batch_size, collate_fn=trainer.data_collator
    )
    with torch.no_grad():
        logits = [trainer.model_outputs(model, dict(batch))["logits"].numpy() for batch in batches]
    return np.concatenate(logits)[np.argsort(order)]


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the exporters from printing what they do. They say of themselves that they are experimental, so it is tried."""
    level, verbosity = logging.root.manager.disable, transformers.logging.get_verbosity()
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)
        transformers.logging.set_verbosity(verbosity)
