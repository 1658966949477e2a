"""Recall by class, and the smallest of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score

from surveyflow.stats.metrics import accuracy, confusion_matrix, precision, recall, upsilon

classes = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=60)


@given(classes)
def test_confusion_counts_every_pair_with_the_truth_in_rows(pairs):
    matrix = confusion_matrix([truth for truth, _ in pairs], [guess for _, guess in pairs], 3)
    assert all(matrix[i, j] == pairs.count((i, j)) for i in range(3) for j in range(3))


@given(classes)
def test_upsilon_is_the_worst_completeness_among_classes_that_have_members(pairs):
    matrix = confusion_matrix([truth for truth, _ in pairs], [guess for _, guess in pairs], 3)
    found = [[guess == truth for truth, guess in pairs if truth == label] for label in range(3)]
    expected = min((sum(hits) / len(hits) for hits in found if hits), default=float("nan"))
    np.testing.assert_allclose(upsilon(matrix), expected)


def test_published_matrices():
    assert upsilon([[1827, 481], [491, 1959]]) == pytest.approx(1827 / 2308)
    assert upsilon([[573, 55], [51, 541]]) == pytest.approx(573 / 628)


def test_an_empty_class_has_no_recall_and_does_not_count():
    np.testing.assert_array_equal(recall([[3, 1], [0, 0]]), [0.75, np.nan])
    assert upsilon([[3, 1], [0, 0]]) == 0.75
    assert np.isnan(upsilon(np.zeros((2, 2))))


@pytest.mark.parametrize(("truth", "predicted"), [([0, 2], [0, 1]), ([0], [-1]), ([0, 1], [0]), ([[0]], [[0]])])
def test_impossible_classes_are_refused(truth, predicted):
    with pytest.raises(ValueError, match=r"classes must lie between 0 and 1|equally long"):
        confusion_matrix(truth, predicted, 2)


@given(classes)
def test_purity_and_accuracy_count_what_was_recognised(pairs):
    matrix = confusion_matrix([truth for truth, _ in pairs], [guess for _, guess in pairs], 3)
    truth, guess = [t for t, _ in pairs], [g for _, g in pairs]
    if pairs:
        expected = precision_score(truth, guess, labels=[0, 1, 2], average=None, zero_division=np.nan)
        np.testing.assert_allclose(precision(matrix), expected)
        assert accuracy(matrix) == pytest.approx(np.mean([t == g for t, g in pairs]))
    else:
        assert np.isnan(accuracy(matrix))
