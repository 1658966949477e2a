"""What must become of a source, against astropy's cutouts."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import Cutout2D, NoOverlapError
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.simulation.footprints import footprint
from surveyflow.simulation.outcomes import expected_outcome
from surveyflow.values.codes import Flag, Status

ACS_VALID = footprint("F814W", (900, 800))
VALID = {"F814W": ACS_VALID, "F125W_F160W": footprint("F125W_F160W", (450, 400))}


def outcome(redshift, y_pix=450.2, x_pix=400.1):
    return expected_outcome(redshift, {"F814W": (y_pix, x_pix), "F125W_F160W": (y_pix / 2, x_pix / 2)}, VALID)


@given(st.floats(-80, 880), st.floats(-80, 980))
def test_cutout_statuses_agree_with_astropys_cutout(x_pix, y_pix):
    got = outcome(0.9, y_pix, x_pix)
    try:
        cutout = Cutout2D(ACS_VALID.astype(float), (x_pix, y_pix), 128, mode="partial", fill_value=-1)
    except NoOverlapError:
        assert got.status == Status.OFF_MOSAIC
        return
    if got.status == Status.OFF_MOSAIC:
        return
    assert got.valid_fraction == np.mean(cutout.data == 1)
    assert bool(got.flags & Flag.EDGE) == bool((cutout.data == -1).any())
    assert bool(got.flags & Flag.PARTIAL_COVERAGE) == (got.valid_fraction < 1)
    assert (got.status == Status.BAD_PIXELS) <= (got.valid_fraction < 0.5)


@pytest.mark.parametrize(
    ("redshift", "instrument", "status"),
    [
        (np.nan, None, Status.NO_REDSHIFT),
        (0.4999, None, Status.NO_MODEL),
        (0.5, "F814W", Status.OK),
        (1.4999, "F814W", Status.OK),
        (1.5, "F125W_F160W", Status.OK),
        (2.9999, "F125W_F160W", Status.OK),
        (3.0, None, Status.NO_MODEL),
    ],
)
def test_redshift_ranges_are_half_open(redshift, instrument, status):
    got = outcome(redshift)
    assert got.instrument == instrument
    assert got.status == status


@pytest.mark.parametrize(("x_pix", "inside"), [(-0.51, False), (-0.5, True), (799.49, True), (799.5, False)])
def test_the_centres_pixel_decides_what_is_off_the_mosaic(x_pix, inside):
    assert (outcome(0.9, 450.0, x_pix).status != Status.OFF_MOSAIC) == inside
