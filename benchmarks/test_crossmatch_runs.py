"""The parts of the benchmark of cross-matches that need no LSDB still run, and notice what is missing, wrong or found twice."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord


@pytest.fixture(scope="module")
def crossmatch():
    return runpy.run_path(str(Path(__file__).with_name("crossmatch.py")))


@pytest.fixture(scope="module")
def lists(crossmatch):
    rng = np.random.default_rng(3)
    ours = pd.DataFrame({"field": "EGS", "source_id": np.arange(300), "ra": rng.uniform(214.8, 214.82, 300)})
    ours["dec"] = rng.uniform(52.8, 52.81, 300)
    return ours, crossmatch["others"](ours)


def test_the_pairs_are_those_of_astropy(crossmatch, lists):
    ours, theirs = lists
    found = crossmatch["all_pairs"](ours, theirs)
    places = [SkyCoord(each["ra"], each["dec"], unit="deg") for each in lists]
    one, two, *_ = places[1].search_around_sky(places[0], crossmatch["RADIUS_ARCSEC"] * u.arcsec)
    assert set(zip(found["source_id"], found["other_id"], strict=True)) == set(zip(one.tolist(), two.tolist(), strict=True))
    assert len(found) > 100


def test_differences_are_counted(crossmatch, lists):
    expected = crossmatch["all_pairs"](*lists)
    assert crossmatch["differences"](expected, expected) == {"missing": 0, "wrong": 0, "twice": 0}
    found = pd.concat([expected.iloc[2:], expected.iloc[-1:], expected.iloc[:1].assign(other_id=-1)])
    assert crossmatch["differences"](expected, found) == {"missing": 2, "wrong": 1, "twice": 1}


def test_one_fault_is_enough(crossmatch):
    good = {"missing": 0, "wrong": 0, "twice": 0, "warned_incomplete": False}
    complete = crossmatch["is_complete"]
    assert complete({"valid": True, "ours_left": good, "ours_right": good})
    assert not complete({"valid": False, "ours_left": good, "ours_right": good})
    for fault in ("missing", "wrong", "twice", "warned_incomplete"):
        assert not complete({"valid": True, "ours_left": good, "ours_right": good | {fault: 1}})
