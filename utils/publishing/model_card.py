"""The model card: what transformers writes of the training, how to use the model (after trying it), and the scores."""

import logging
import re
from pathlib import Path

import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer, pipeline
from transformers.modelcard import TrainingSummary

from utils.files.rows import one_line
from utils.training.trainer import FineTuningTrainer

logger = logging.getLogger(__name__)

TEXT, CHOICE, FILL_MASK = "text-classification", "multiple-choice", "fill-mask"  # the Hub's names of the tasks
PAIR = "pairs"
CLASSIFY = """```python
from transformers import pipeline

classify = pipeline("text-classification", model="<this folder>", top_k=None)
classify([{}], truncation=True)  # for each {}, a probability of each label
```"""
HOW_TO_USE = {
    TEXT: CLASSIFY.format('"a text"', "text"),
    PAIR: CLASSIFY.format('{"text": "a text", "text_pair": "another"}', "pair"),
    CHOICE: """```python
import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer

model, tokenizer = (auto.from_pretrained("<this folder>") for auto in (AutoModelForMultipleChoice, AutoTokenizer))
context, candidates = "a context", ["one candidate", "another"]  # a question stands before each candidate
inputs = tokenizer([context] * len(candidates), candidates, truncation="only_first", padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**{name: tensor[None] for name, tensor in inputs.items()}).logits  # [1, candidates]
print(logits.softmax(dim=-1))
```""",
}
ENCODER = """This encoder has gone on with masked-language-model training on the texts of a task. Fine-tune it:

```bash
python run_classification.py --model_name_or_path <this folder> --train_file train.csv --output_dir out
```"""
THRESHOLDS = "\n\nA label is decided where its probability reaches its threshold, in `thresholds.json` and `config.json`."


def use_as_described(task: str, folder: Path, texts: list) -> list[list[float] | dict[str, float]]:
    """Return the probabilities that `HOW_TO_USE` gives for `texts`: by label; of multiple choice in the candidates' order."""
    if task != CHOICE:
        found = pipeline(TEXT, model=str(folder), top_k=None, device="cpu")(texts, truncation=True)
        return [{score["label"]: score["score"] for score in row} for row in found]
    model, tokenizer = (auto.from_pretrained(folder) for auto in (AutoModelForMultipleChoice, AutoTokenizer))
    found = []
    for context, candidates in texts:
        pairs = [context] * len(candidates), candidates
        inputs = tokenizer(*pairs, truncation="only_first", padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**{name: tensor[None] for name, tensor in inputs.items()}).logits
        found.append({f"choice{position}": value for position, value in enumerate(logits.softmax(dim=-1)[0].tolist())})
    return found


def describe_use(
    task: str, folder: Path, script: str, texts: list, expected: list[dict[str, float]], limit: int | None = None
) -> str:
    """Return how to use the model in `folder`: by `HOW_TO_USE` if that gives the probabilities `expected` for `texts`.

    Otherwise the script that trained it predicts with it, and the reason is said: what the model reads, or its class, is the
    script's own. Texts of more than `limit` tokens need the script in any case.
    """
    what = "`AutoModelForMultipleChoice`" if task == CHOICE else "`pipeline()`"
    with_script = f"```bash\npython {script} --model_name_or_path <this folder> --test_file new.csv --output_dir predicted\n```"
    short, beyond = "", ""
    if limit:
        short = f" of at most {limit} tokens"
        beyond = f"\n\nOf a text of more than {limit} tokens {what} reads only the beginning. The script reads it as in training:"
        beyond += f"\n\n{with_script}"
    if not texts:
        return f"{HOW_TO_USE[task]}\n\nThis was not tried: the run had no rows{short} to evaluate or to predict.{beyond}"
    try:
        found = use_as_described(task, folder, texts)
        pairs = [(label, value, own.get(label)) for row, own in zip(found, expected, strict=True) for label, value in row.items()]
        odd = next(((label, value, own) for label, value, own in pairs if own is None or abs(value - own) > 1e-3), None)
        reason = odd and f"it gives {odd[0]!r} {odd[1]:.3f}, the script {'nothing' if odd[2] is None else f'{odd[2]:.3f}'}"
    except Exception as error:  # whatever it meets in a model of another shape
        reason = f"it ends with {type(error).__name__}: {one_line(error).replace(str(folder), '<this folder>')[:200]}"
    if reason is None:
        rows = f"{len(texts)} rows{short} of this run"
        return f"{HOW_TO_USE[task]}\n\nTried on {rows}: these lines give the script's probabilities.{beyond}"
    logger.warning("the model card says not to use %s with this model: %s", what, reason)
    return f"{what} does not give this model's probabilities: {reason}. Predict with the script that trained it:\n\n{with_script}"


def write_model_card(trainer: FineTuningTrainer, task: str, base_model: str, data: str, sections: dict[str, str]) -> None:
    """Write README.md: the card of transformers, then `sections`, texts by heading. `data` names what it was trained on.

    The scores are those of `sections`. transformers would add those of the last evaluation during training, whose weights and
    thresholds need not be the saved ones. Of each evaluation there remain the losses and the metric that chose.
    """
    on_the_hub = None if Path(base_model).is_dir() else base_model  # the card links it
    summary = TrainingSummary.from_trainer(trainer, tasks=task, finetuned_from=on_the_hub, dataset=data)
    if trainer.fits_head:
        summary.hyperparameters["linear_probe"] = "the new head was fitted alone first"
    if trainer.args.pooling == "mean":
        summary.hyperparameters["pooling"] = "the head reads the mean of all tokens, by the last layer"
    summary.hyperparameters["weights"] = trainer.guard.kept_weights()
    metric = trainer.args.metric_for_best_model.removeprefix("eval_").replace("_", " ").title()
    lines, summary.eval_results = summary.eval_lines or [], None
    shown = [
        name for name in ("Training Loss", "Epoch", "Step", "Validation Loss", metric) if any(name in line for line in lines)
    ]
    summary.eval_lines = [{name: line.get(name, "–") for name in shown} for line in lines] or None
    card = re.sub(r"\n## [^\n]+\n\nMore information needed\n", "", summary.to_model_card())
    card = card.replace("This model was trained from scratch", f"This model is a fine-tuned version of {Path(base_model).name}")
    card += "".join(f"\n## {heading}\n\n{text}\n" for heading, text in sections.items())
    Path(trainer.args.output_dir, "README.md").write_text(card, encoding="utf-8")


def markdown_table(table: list[list[str]]) -> str:
    """Return a table, the header first, in Markdown."""
    rows = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([*rows[:1], *["|" + " --- |" * len(row) for row in table[:1]], *rows[1:]])
