"""Folds: even by label, and nothing that belongs together is torn apart."""

import numpy as np
import pytest

from utils.files.rows import GROUP, rows_to_dataset
from utils.splits.folds import as_labels, assign_folds, find_units
from utils.splits.repeats import near_repeats


def test_each_fold_has_its_share_of_every_label():
    draw = np.random.default_rng(0)
    labels = draw.random((2000, 8)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005]
    folds = assign_folds(np.arange(2000), labels, 5, seed=1)
    counts = np.array([labels[folds == fold].sum(axis=0) for fold in range(5)])
    assert (np.abs(np.bincount(folds) - 400) <= 1).all()
    assert (np.abs(counts - labels.sum(axis=0) / 5) < 2.5).all()  # the rarest label has ten rows
    assert (folds == assign_folds(np.arange(2000), labels, 5, seed=1)).all()
    assert (folds != assign_folds(np.arange(2000), labels, 5, seed=2)).any()


def test_a_class_of_fewer_rows_than_folds_goes_to_different_folds():
    strata = np.repeat([0, 1, 2], [50, 31, 3])
    folds = assign_folds(np.arange(84), as_labels(strata), 5, seed=0)
    assert len(set(folds[strata == 2])) == 3
    assert np.ptp([np.sum(folds[strata == 1] == fold) for fold in range(5)]) <= 1


def test_rows_of_a_group_and_repeated_texts_stay_together():
    rows = rows_to_dataset(
        [{"text": f"text number {n}", GROUP: f"author {n // 7}"} for n in range(70)]
        + [{"text": "Text, NUMBER 3!", GROUP: "author 9"}, {"text": "alone", GROUP: None}, {"text": "also alone", GROUP: None}]
    )
    units = find_units(rows, ["text"])
    assert units[70] == units[3] == units[63]  # a copy of one author's text by another links both
    assert len(set(units)) == 9 + 2
    folds = assign_folds(units, np.ones((73, 1)), 3, seed=0)
    for unit in set(units):
        assert len(set(folds[units == unit])) == 1


@pytest.mark.parametrize("pair", [True, False])
def test_a_row_repeats_another_if_all_of_its_texts_do(pair):
    rows = rows_to_dataset([{"a": "one", "b": "two"}, {"a": "one", "b": "three"}, {"a": "One.", "b": "two"}])
    assert find_units(rows, ["a", "b"] if pair else ["a"]).tolist() == ([0, 1, 0] if pair else [0, 0, 0])


def test_symbols_alone_are_no_repeated_text():
    rows = rows_to_dataset([{"text": "!!!"}, {"text": "???"}, {"text": "🙂"}])
    assert len(set(find_units(rows, ["text"]))) == 3


def test_near_repeats_are_found_and_others_are_not():
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(list("abcdefghijklmnop"), 40)) for _ in range(300)]
    texts[7] = "  ".join(texts[3].upper().split()) + " q"  # one word more
    texts[200] = " ".join(["z", *texts[50].split()[1:]])  # another first word
    texts[250] = " ".join(texts[60].split()[:20])  # only half of it
    assert near_repeats([*texts, "", "!"]) == [(3, 7), (50, 200)]
    assert near_repeats([]) == []
