"""Kappa against scikit-learn's, and against the numbers of the papers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from surveyflow.stats.agreement import cohen_kappa, fleiss_kappa, with_interval

FLEISS_1971 = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]
"""The example that textbooks give: 14 people, 10 things, 5 classes; kappa is 0.210."""


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60))
def test_cohens_kappa_is_that_of_scikit_learn(pairs):
    first, second = (np.array(classes) for classes in zip(*pairs, strict=True))
    ours = cohen_kappa(first, second, 5)
    if np.isnan(ours):
        assert len(set(first) | set(second)) == 1
    else:
        assert ours == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_fleiss_kappa_of_the_known_example():
    assert fleiss_kappa(FLEISS_1971) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_of_two_people_is_scotts_pi():
    pairs = np.random.default_rng(3).integers(0, 3, (200, 2))
    shares = np.bincount(pairs.ravel(), minlength=3) / pairs.size
    expected = np.square(shares).sum()
    counts = np.array([np.bincount(pair, minlength=3) for pair in pairs])
    assert fleiss_kappa(counts) == pytest.approx((np.mean(pairs[:, 0] == pairs[:, 1]) - expected) / (1 - expected))


def test_rows_of_different_sums_are_refused():
    with pytest.raises(ValueError, match="same sum"):
        fleiss_kappa([[2, 0], [1, 0]])


def test_the_interval_holds_the_value_and_shrinks():
    rng = np.random.default_rng(5)
    widths = []
    for n in (40, 4000):
        truth = rng.integers(0, 3, n)
        other = np.where(rng.random(n) < 0.7, truth, rng.integers(0, 3, n))
        found = with_interval(lambda rows, a=truth, b=other: cohen_kappa(a[rows], b[rows], 3), n, rng, 200, 0.68)
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 5
