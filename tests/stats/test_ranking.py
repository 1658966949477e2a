"""Scores that tell members from others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from surveyflow.stats.ranking import area_under_roc, best_cut, cut_at

scored = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=60).filter(
    lambda pairs: len({member for _, member in pairs}) == 2
)


def columns(pairs):
    return np.array([score for score, _ in pairs], float), np.array([member for _, member in pairs])


@given(scored)
def test_the_area_is_that_of_scikit_learn_ties_included(pairs):
    score, member = columns(pairs)
    assert area_under_roc(score, member) == pytest.approx(roc_auc_score(member, score))


@given(scored)
def test_no_threshold_beats_the_best_cut(pairs):
    score, member = columns(pairs)
    best = best_cut(score, member)
    f1 = {threshold: f1_score(member, score >= threshold, zero_division=0) for threshold in np.unique(score)}
    assert f1[best.threshold] == pytest.approx(max(f1.values()))


@given(scored, st.integers(0, 9))
def test_completeness_is_recall_and_purity_is_precision(pairs, threshold):
    score, member = columns(pairs)
    cut = cut_at(score, member, threshold)
    chosen = score >= threshold
    assert cut.n_chosen == chosen.sum()
    assert cut.completeness == pytest.approx(recall_score(member, chosen))
    np.testing.assert_allclose(cut.purity, precision_score(member, chosen, zero_division=np.nan))


def test_one_class_alone_has_no_area():
    assert np.isnan(area_under_roc([1, 2], [True, True]))


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match="must not be NaN"):
        area_under_roc([np.nan, 1], [True, False])
    with pytest.raises(ValueError, match="equally long"):
        cut_at([1, 2], [True], 1)
    with pytest.raises(ValueError, match="at least one member"):
        best_cut([1, 2], [False, False])
