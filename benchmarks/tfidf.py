"""TF-IDF with logistic regression on the same files, as the plain baseline beside a model.

    python benchmarks/tfidf.py --train_file train.csv --validation_file test.csv [--class_weights balanced]

Takes the options of run_classification.py that name the data, and prints the metrics of the validation file.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

sys.path.insert(0, str(Path(__file__).parent.parent))
import run_classification as script  # noqa: E402
from utils.arguments import ModelArguments  # noqa: E402
from utils.columns.text_columns import find_text_columns  # noqa: E402
from utils.command_line import parse_arguments  # noqa: E402
from utils.data.class_shapes import find_format  # noqa: E402
from utils.data.classes import class_ids  # noqa: E402
from utils.data.targets import add_targets  # noqa: E402
from utils.files.loading import load_splits  # noqa: E402


def main(argv: list[str]) -> dict[str, float]:
    _, data_args, training_args, _ = parse_arguments(
        (ModelArguments, script.ClassificationArguments, script.ClassificationTrainingArguments), argv, __doc__, script.SAMPLE
    )
    splits = {name: split for name, split in load_splits(data_args).items() if name != "test"}
    found = find_format(splits, data_args, None)
    text_columns = find_text_columns(splits, data_args, [found.column])
    splits = add_targets(splits, found, data_args, training_args.seed)
    texts = {n: [" ".join(row) for row in zip(*(split[c] for c in text_columns), strict=True)] for n, split in splits.items()}
    weight = "balanced" if training_args.class_weights == "balanced" else None
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000, class_weight=weight)
    )
    model.fit(texts["train"], class_ids(np.array(splits["train"]["labels"])))
    metrics = script.scores(model.predict_proba(texts["validation"]), np.array(splits["validation"]["labels"]), found.names)
    print("  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    return metrics


if __name__ == "__main__":
    main(sys.argv[1:])
