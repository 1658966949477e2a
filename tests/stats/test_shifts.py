import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surveyflow.stats.shifts import Shifts

fractions = arrays(np.float32, st.shared(st.integers(1, 60), key="n"), elements=st.floats(0, 1, width=32))


@given(before=fractions, after=fractions)
def test_summary_agrees_with_the_changes_themselves(before, after):
    change = after.astype(float) - before
    summary = Shifts.between(before, after).summary()
    assert summary["rows"] == len(change)
    assert summary["mean"] == pytest.approx(change.mean(), abs=1e-9)
    assert summary["std"] == pytest.approx(change.std(), abs=1e-6)
    assert summary["min"] == pytest.approx(change.min(), abs=0.00051)
    assert summary["max"] == pytest.approx(change.max(), abs=0.00051)
    for name, fraction in {"q05": 0.05, "q50": 0.5, "q84": 0.84}.items():
        assert summary[name] == pytest.approx(np.quantile(change, fraction, method="inverted_cdf"), abs=0.00051)


@given(before=fractions, after=fractions, cut=st.integers(0, 60))
def test_changes_may_be_counted_in_parts(before, after, cut):
    whole = Shifts.between(before, after)
    parts = Shifts.between(before[:cut], after[:cut]) | Shifts.between(before[cut:], after[cut:])
    assert (parts.counts == whole.counts).all()
    assert parts.total == pytest.approx(whole.total, abs=1e-9)
    assert parts.total_of_squares == pytest.approx(whole.total_of_squares, abs=1e-9)


def test_histogram_has_a_bin_for_each_tenth_and_the_last_holds_one():
    before = np.array([0.0, 0.0, 1.0, 0.5, 0.0], np.float32)
    after = np.array([1.0, 0.95, 0.0, 0.45, 0.1], np.float32)
    histogram = Shifts.between(before, after).summary()["histogram"]
    assert len(histogram) == 20
    assert {number: count for number, count in enumerate(histogram) if count} == {0: 1, 9: 1, 11: 1, 19: 2}


def test_of_no_changes_there_is_nothing_to_say_but_their_number():
    assert Shifts.none().summary() == {"rows": 0}
    assert len(Shifts.none() | Shifts.between(np.zeros(3, np.float32), np.ones(3, np.float32))) == 3
