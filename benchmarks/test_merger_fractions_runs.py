import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def campaign():
    spec = spec_from_file_location("merger_fractions", Path(__file__).with_name("merger_fractions.py"))
    benchmark = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "merger_fractions", benchmark)  # dataclasses look their module up
        spec.loader.exec_module(benchmark)
    return benchmark


def test_intervals_of_simulated_surveys_hold_the_truth_after_a_cut_and_by_magnitude(campaign):
    (case,) = [one for one in campaign.CASES if (one.fraction, one.n, one.cut) == (0.1, 2000, True) and one.bins[0] == "mag"]
    found = campaign.held(case, 60, seed=1)
    assert found["stated"] == 240
    assert 0.60 < found["0.6827"] < 0.76
    assert 0.91 < found["0.95"] < 0.985
    assert abs(found["bias"]) < 0.01
    assert found["one matrix"] > 0.05


def test_intervals_over_redshifts_hold_the_truth(campaign):
    (case,) = [one for one in campaign.CASES if one.p_z and (one.fraction, one.n) == (0.1, 300)]
    found = campaign.held(case, 60, seed=1)
    assert 0.50 < found["0.6827"] < 0.86
    assert 0.88 < found["0.95"] <= 1.0


def test_another_selection_is_refused(campaign):
    told = campaign.refusals(seed=2)
    assert len(told) == 3
    assert all(re.search("no confusion matrix of COSMOS/F814W|rates depend on magnitude", one) for one in told)
