"""What a model is compared with: TF-IDF with logistic regression, and answers that are given without reading.

Both predict what `Evaluation.probabilities` holds. A text is a str; of choices it is the context with its question, and the list
of the candidates.
"""

import warnings
from collections.abc import Callable

import numpy as np
from scipy import sparse, special
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from utils.files.cells import UNKNOWN
from utils.scoring.evaluation import Kind, known_truth

# So that it takes seconds: training rows, characters of a text, features, and rows of the fits for all labels together.
MOST_ROWS, MOST_CHARACTERS, MOST_FEATURES, MOST_FITTED = 20_000, 1_000, 30_000, 600_000


def fit_tfidf(kind: Kind, names: list[str], texts: list, truth: np.ndarray, seed: int = 0) -> Callable[[list], np.ndarray]:
    """Fit a linear model on the TF-IDF of words and pairs of words, and return what predicts for other texts.

    Labels and classes are told one from the rest, candidates by their own words and by how similar they are to the context,
    numbers by ridge regression. Of more than `MOST_ROWS` rows a sample is used, of a long text its beginning.

    Args:
        truth: see `Evaluation`. A label that is the same in all training rows is predicted as that.

    Returns:
        a function from texts to predictions, see `Evaluation.probabilities`.
    """
    draw = np.random.default_rng(seed)
    if len(texts) > MOST_ROWS:
        kept = np.sort(draw.choice(len(texts), MOST_ROWS, replace=False))
        texts, truth = [texts[row] for row in kept], truth[kept]
    vectorizer = TfidfVectorizer(
        preprocessor=lambda text: text[:MOST_CHARACTERS].lower(),
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=MOST_FEATURES,
    )
    if kind == "choices":
        vectorizer.fit([text for context, candidates in texts for text in (context, *candidates)] + ["no words"])
        return _fit_choices(vectorizer, len(names), texts, truth)
    features = vectorizer.fit_transform([*texts, "no words"])[:-1]  # a vocabulary must not be empty
    if kind == "numbers":
        ridge = Ridge().fit(features, truth)
        return lambda others: ridge.predict(vectorizer.transform(others))[:, None]
    targets = truth if kind == "labels" else _one_hot(truth, len(names))
    if kind == "classes" and len(names) == 2:
        targets = targets[:, 1:]
    fitted = [_fit_label(features, target, MOST_FITTED // len(names), draw) for target in targets.T]
    weights, biases = sparse.vstack([weight for weight, _ in fitted], format="csr"), np.array([bias for _, bias in fitted])

    def predict(others: list) -> np.ndarray:
        probabilities = special.expit((vectorizer.transform(others) @ weights.T).toarray() + biases)
        if kind == "labels":
            return probabilities
        if len(names) == 2:
            return np.hstack([1 - probabilities, probabilities])
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    return predict


def majority(kind: Kind, names: list[str], targets: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return predictions without reading, of the shape of `like`, the `Evaluation.probabilities` of the same rows.

    They are the shares of the labels or classes in the script's `targets` of the training rows, the mean of its numbers, or of
    each candidate 1 / candidates.
    """
    if kind == "choices":
        return np.where(np.isnan(like), np.nan, 1 / (~np.isnan(like)).sum(axis=1, keepdims=True))
    if kind == "labels":
        return np.tile((targets >= 0.5).sum(axis=0) / np.maximum((targets != UNKNOWN).sum(axis=0), 1), (len(like), 1))
    _, truth = known_truth(kind, targets)
    if kind == "numbers":
        return np.full_like(like, truth.mean())
    return np.tile(np.bincount(truth, minlength=len(names)) / len(truth), (len(like), 1))


def _one_hot(ids: np.ndarray, classes: int) -> np.ndarray:
    return (ids[:, None] == np.arange(classes)).astype(float)


def _fit(features: sparse.csr_matrix, target: np.ndarray, **options) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # more iterations take longer and predict no better
        return LogisticRegression(C=10, solver="liblinear", dual=True, max_iter=10, random_state=0, **options).fit(
            features, target
        )


def _fit_label(
    features: sparse.csr_matrix, target: np.ndarray, most_negatives: int, draw: np.random.Generator
) -> tuple[sparse.csr_matrix, float]:
    """Return the weights [1, features] and the bias of a label. Of its negatives a sample is used if there are more.

    The bias is corrected for that as King and Zeng (2001, https://doi.org/10.1093/oxfordjournals.pan.a004868) do.
    """
    positives, negatives = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
    if not len(positives) or not len(negatives):
        return sparse.csr_matrix((1, features.shape[1])), np.inf if len(positives) else -np.inf
    kept = negatives if len(negatives) <= most_negatives else draw.choice(negatives, most_negatives, replace=False)
    rows = np.sort(np.concatenate([positives, kept]))
    part = features[rows]
    words, places = np.unique(np.append(part.indices, 0), return_inverse=True)  # few rows have few words, or none at all
    model = _fit(sparse.csr_matrix((part.data, places[:-1], part.indptr), (len(rows), len(words))), target[rows])
    weights = sparse.csr_matrix((model.coef_[0], words, [0, len(words)]), (1, features.shape[1]))
    return weights, model.intercept_[0] + np.log(len(kept) / len(negatives))


def _fit_choices(vectorizer: TfidfVectorizer, width: int, texts: list, truth: np.ndarray) -> Callable[[list], np.ndarray]:
    """Fit what tells the right candidate from each other of its row, by the difference of their features."""

    def read(rows: list) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Return the features of all candidates, and where they stand in [rows, width]."""
        counts = np.array([len(candidates) for _, candidates in rows])
        contexts = vectorizer.transform([context for context, _ in rows])[np.repeat(np.arange(len(rows)), counts)]
        candidates = vectorizer.transform([text for _, candidates in rows for text in candidates])
        similarity = sparse.csr_matrix(contexts.multiply(candidates).sum(axis=1))
        return sparse.hstack([candidates, similarity], format="csr"), np.arange(width) < counts[:, None]

    features, there = read(texts)
    right = np.arange(width) == truth[:, None]
    wrong = there & ~right
    differences = features[np.repeat(np.flatnonzero(right[there]), wrong.sum(axis=1))] - features[np.flatnonzero(wrong[there])]
    weights = np.zeros(features.shape[1])
    if differences.shape[0]:
        signs = np.repeat([1, -1], differences.shape[0])  # each difference in both directions: two classes, no bias
        weights = _fit(sparse.vstack([differences, -differences]), signs, fit_intercept=False).coef_[0]

    def predict(others: list) -> np.ndarray:
        features, there = read(others)
        scores = np.full(there.shape, -np.inf)
        scores[there] = features @ weights
        return np.where(there, special.softmax(scores, axis=1), np.nan)

    return predict
