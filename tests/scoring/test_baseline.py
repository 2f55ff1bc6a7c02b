"""TF-IDF and answers without reading, on texts whose words tell the answer."""

import warnings

import numpy as np
import pytest

from utils.files.cells import UNKNOWN
from utils.scoring import baseline
from utils.scoring.baseline import fit_tfidf, majority

WORDS = [["goal", "match"], ["vote", "budget"], ["shares", "profit"]]
NAMES = ["sports", "politics", "business"]


def rows_of(kind, rows=60, seed=0):
    """Return texts and their truth; of choices with 2 or 3 candidates, the right one about what the context is about."""
    draw = np.random.default_rng(seed)

    def sentence(topics):
        words = [draw.choice(WORDS[topic]) for topic in topics]
        return " ".join(draw.permutation([*words, *draw.choice(["the", "late", "long", "new"], 3)]))

    if kind == "labels":
        truth = (draw.random((rows, 3)) < 0.5).astype(float)
        return [sentence(np.flatnonzero(row)) for row in truth], truth
    topics = draw.integers(0, 3, rows)
    if kind == "choices":
        truth, texts = np.empty(rows, int), []
        for row, topic in enumerate(topics):
            offered = [topic, *draw.permutation([t for t in range(3) if t != topic])[: draw.integers(1, 3)]]
            order = draw.permutation(len(offered))
            texts.append((" ".join(WORDS[topic]), [sentence([offered[i]]) for i in order]))
            truth[row] = order.tolist().index(0)
        return texts, truth
    return [sentence([topic]) for topic in topics], topics if kind == "classes" else topics * 1.5


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("kind", ["labels", "classes", "choices", "numbers"])
def test_it_learns_and_majority_does_not(kind, monkeypatch):
    texts, truth = rows_of(kind)
    others, expected = rows_of(kind, seed=1)
    predicted = fit_tfidf(kind, NAMES, texts, truth)(others)
    unread = majority(kind, NAMES, truth, predicted)
    assert predicted.shape == unread.shape == (60, 1 if kind == "numbers" else 3)
    assert np.array_equal(np.isnan(predicted), np.isnan(unread))
    if kind == "numbers":
        assert np.mean((predicted[:, 0] - expected) ** 2) < 0.2 * expected.var() and (unread == truth.mean()).all()
    elif kind == "labels":
        assert np.mean((predicted >= 0.5) == expected) > 0.85
        assert unread[0] == pytest.approx(truth.mean(axis=0))
    else:
        assert np.mean(np.nan_to_num(predicted).argmax(axis=1) == expected) > 0.95
        assert np.nansum(predicted, axis=1) == pytest.approx(1) and np.nansum(unread, axis=1) == pytest.approx(1)
    if kind == "choices":
        assert [np.isnan(row).sum() for row in predicted] == [3 - len(candidates) for _, candidates in others]
        assert set(unread[~np.isnan(unread)]) == {1 / 2, 1 / 3}
    monkeypatch.setattr(baseline, "MOST_ROWS", 30)
    sampled = [fit_tfidf(kind, NAMES, texts, truth, seed)(others) for seed in (0, 0, 1)]
    assert np.array_equal(sampled[0], sampled[1], equal_nan=True) and not np.array_equal(sampled[0], sampled[2], equal_nan=True)


def test_two_classes_and_one():
    texts, truth = rows_of("classes")
    two = fit_tfidf("classes", NAMES[:2], texts, (truth > 0).astype(int))(texts)
    assert two.sum(axis=1) == pytest.approx(1) and np.mean(two.argmax(axis=1) == (truth > 0)) > 0.95
    one = fit_tfidf("classes", NAMES, texts, np.ones(60, int))(texts[:4])
    assert one.tolist() == [[0, 1, 0]] * 4
    assert fit_tfidf("classes", ["a"], texts, np.zeros(60, int))(texts[:2]).tolist() == [[1], [1]]


def test_unknown_cells_and_labels_that_are_the_same_in_all_rows(monkeypatch):
    texts, truth = rows_of("labels")
    truth[:, 1], truth[::2, 0] = 1, np.nan
    predicted = fit_tfidf(
        "labels", [*NAMES, "none", "unknown"], texts, np.hstack([truth, np.zeros((60, 1)), truth[:, :1] * np.nan])
    )
    assert predicted(texts)[:, [1, 3, 4]].tolist() == [[1, 0, 0]] * 60
    assert np.mean((predicted(texts)[:, 0] >= 0.5) == rows_of("labels")[1][:, 0]) > 0.9
    unread = majority("labels", NAMES, np.nan_to_num(truth, nan=UNKNOWN), np.empty((2, 3)))
    assert unread[0] == pytest.approx(np.nanmean(truth, axis=0))
    monkeypatch.setattr(baseline, "MOST_FITTED", 30)  # ten negatives of each label
    assert np.mean((fit_tfidf("labels", NAMES, texts, truth)(texts)[:, 2] >= 0.5) == truth[:, 2]) > 0.9


@pytest.mark.parametrize("text", ["", "a", "the", "!!!"])
@pytest.mark.parametrize("rows", [1, 3])
def test_texts_that_say_nothing(text, rows):
    ids = np.arange(rows)
    assert fit_tfidf("classes", NAMES, [text] * rows, ids)([text, "goal"]).shape == (2, 3)
    assert fit_tfidf("labels", NAMES, [text] * rows, np.eye(3)[ids])([text]).shape == (1, 3)
    assert fit_tfidf("numbers", [], [text] * rows, ids.astype(float))([text])[0, 0] == pytest.approx(ids.mean())
    choices = [(text, [text, text]), (text, [text]), (text, [text] * 3)][:rows]
    predicted = fit_tfidf("choices", NAMES, choices, np.zeros(rows, int))(choices)
    assert predicted[0] == pytest.approx([0.5, 0.5, np.nan], nan_ok=True)
