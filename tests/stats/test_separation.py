"""ROC and precision-recall curves: scikit-learn's numbers, and intervals that hold what they claim."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.stats.ranking import area_under_roc
from surveyflow.stats.separation import SHARES, bootstrap_ratio, separation


def made(n=400, share=0.3, distance=1.0, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    member = rng.random(n) < share
    score = rng.normal(distance * member, 1)
    return (score if decimals is None else score.round(decimals)), member


@pytest.mark.parametrize("decimals", [None, 1, 0], ids=["no ties", "ties", "many ties"])
def test_numbers_are_those_of_scikit_learn(decimals):
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle is scikit-learn, of the extra train")
    score, member = made(decimals=decimals)
    found = separation(score, member, np.random.default_rng(1), 50)
    assert found.roc_area.value == pytest.approx(metrics.roc_auc_score(member, score), abs=1e-12)
    assert found.roc_area.value == pytest.approx(area_under_roc(score, member), abs=1e-12)
    assert found.average_precision.value == pytest.approx(metrics.average_precision_score(member, score), abs=1e-12)
    false_share, recall, _ = metrics.roc_curve(member, score, drop_intermediate=False)
    np.testing.assert_allclose(found.roc.value, np.interp(SHARES, false_share, recall), atol=1e-12)
    precision, recall, _ = metrics.precision_recall_curve(member, score)
    expected = [precision[:-1][recall[:-1] >= share - 1e-12].max() for share in SHARES]
    np.testing.assert_allclose(found.precision.value, expected, atol=1e-12)


def test_a_perfect_score_separates_perfectly_and_a_constant_one_not_at_all():
    _, member = made()
    perfect = separation(member.astype(float), member, np.random.default_rng(1), 50)
    assert (perfect.roc_area.value, perfect.average_precision.value, perfect.roc_area.low) == (1, 1, 1)
    constant = separation(np.zeros(len(member)), member, np.random.default_rng(1), 50)
    assert constant.roc_area.value == 0.5
    assert constant.average_precision.value == pytest.approx(member.mean())


def test_intervals_hold_the_truth_as_often_as_they_claim():
    truth = separation(*made(200_000, seed=99), np.random.default_rng(0), 2)
    held = {"area": 0, "precision": 0}
    for seed in range(300):
        found = separation(*made(300, seed=seed), np.random.default_rng(seed), 200)
        held["area"] += found.roc_area.low <= truth.roc_area.value <= found.roc_area.high
        held["precision"] += found.average_precision.low <= truth.average_precision.value <= found.average_precision.high
    assert all(0.6 < number / 300 < 0.76 for number in held.values()), held


def test_a_ratio_has_its_binomial_spread():
    rng = np.random.default_rng(3)
    whole = rng.random(2000) < 0.5
    part = whole & (rng.random(2000) < 0.8)
    found = bootstrap_ratio(part, whole, rng, 2000)
    assert found.value == part.sum() / whole.sum()
    expected = np.sqrt(found.value * (1 - found.value) / whole.sum())
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.1)
    assert np.isnan(bootstrap_ratio(part[:5] & False, whole[:5] & False, rng).value)


@pytest.mark.parametrize(
    ("score", "member", "words"),
    [
        ([1.0, 2.0], [True], "equally long"),
        ([1.0, np.nan], [True, False], "must not be NaN"),
        ([1.0, 2.0], [True, True], "members and others"),
        ([1.0, 2.0], [False, False], "members and others"),
    ],
)
def test_what_cannot_be_measured_is_refused(score, member, words):
    with pytest.raises(ValueError, match=words):
        separation(score, member, np.random.default_rng(0))


def test_the_confidence_lies_between_0_and_1():
    with pytest.raises(ValueError, match="between 0 and 1"):
        separation(*made(), np.random.default_rng(0), confidence=1.0)
