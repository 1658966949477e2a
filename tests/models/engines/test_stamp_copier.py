"""Cutouts around scattered positions that native code copies out of the page cache."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

import surveyflow
from surveyflow.api import catalogs
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.models.engines import native_library
from surveyflow.models.engines.native_library import absence
from surveyflow.sky.scattered import cut_from_mosaic

pytestmark = pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")

SHAPE = (700, 900)
_CARDS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 450.0, "CRPIX2": 350.0}
_SCALES = {"CD1_1": -0.03 / 3600, "CD2_2": 0.03 / 3600}


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    """A science image with NaN and 0, and weights with holes, both read once, so that they are in the page cache."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("stamps")
    science = rng.normal(size=SHAPE).astype(np.float32)
    weight = rng.uniform(1, 2, SHAPE).astype(np.float32)
    science[rng.random(SHAPE) < 0.01], science[rng.random(SHAPE) < 0.01] = np.nan, 0
    weight[rng.random(SHAPE) < 0.01], weight[300:340], weight[100:110, 200:300] = -1, 0, np.inf
    files = folder / "science.fits", folder / "weight.fits"
    for file, image in zip(files, (science, weight), strict=True):
        fits.writeto(file, image, fits.Header({**_CARDS, **_SCALES, "BUNIT": "ELECTRONS/S"}))
        file.read_bytes()
    return files


def somewhere(n):
    """Positions on the image, at its edges, beyond them, far away and nowhere; the first few at borders of pixels."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-80, SHAPE[1] + 80, n), rng.uniform(-80, SHAPE[0] + 80, n)
    x[:4], y[:4] = [-0.5, 0.5, SHAPE[1] - 0.5, 200.5], [-0.5, 20.5, SHAPE[0] - 0.5, 100.5]
    x[4:8], y[4:8] = [np.nan, 1e18, -1e18, 5.0], [5.0, 5.0, np.inf, -np.inf]
    return x, y


def copying(opened):
    found = []

    def copy(tops, lefts, size):
        found.append(opened.copy_stamps(native_library.run_stamps, tops, lefts, size))
        return found[-1]

    return copy, found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [2, 33, 128])
def test_copies_equal_what_is_cut_from_windows_bit_for_bit(mosaic, size, weighted):
    x, y = somewhere(40)
    with open_mosaic(mosaic[0], mosaic[1] if weighted else None) as opened:
        copy, found = copying(opened)
        copied, expected = cut_from_mosaic(opened, x, y, size, copy), cut_from_mosaic(opened, x, y, size)
    assert found
    assert found[0] is not None
    for name in ("pixels", "valid", "weight_median", "centre_valid", "beyond_edge"):
        assert getattr(copied, name).tobytes() == getattr(expected, name).tobytes(), name


def test_single_pixels_and_crowded_positions_are_cut_from_windows(mosaic):
    with open_mosaic(mosaic[0]) as opened:
        copy, found = copying(opened)
        cut_from_mosaic(opened, np.full(5, 100.0), np.full(5, 100.0), 1, copy)
        cut_from_mosaic(opened, np.full(300, 100.0), np.full(300, 100.0), 128, copy)
    assert [len(each.pixels) for each in found] == [0]


def test_what_is_not_in_the_page_cache_is_cut_from_windows(mosaic, monkeypatch):
    x, y = np.array([100.3, 400.3]), np.array([50.3, 600.3])
    with open_mosaic(mosaic[0]) as opened:
        expected = cut_from_mosaic(opened, x, y, 64)
        ra_deg, dec_deg = opened._astrometry.to_sky(x, y)
    tried = []
    monkeypatch.setattr(catalogs, "stamp_copier", lambda: lambda *_, **named: tried.append(named) is not None)
    found = surveyflow.cutouts(mosaic[0], ra_deg, dec_deg, 64)
    assert tried
    assert np.array_equal(found.pixels, expected.pixels)


def test_numbers_that_must_be_scaled_are_left_to_the_windows(tmp_path):
    image = fits.PrimaryHDU(np.arange(10_000, dtype=np.int16).reshape(100, 100), fits.Header({**_CARDS, **_SCALES}))
    image.header["BSCALE"] = 0.5
    image.writeto(tmp_path / "scaled.fits")
    with open_mosaic(tmp_path / "scaled.fits") as opened:
        copy, found = copying(opened)
        assert cut_from_mosaic(opened, np.array([50.0]), np.array([50.0]), 32, copy).valid.all()
    assert found == [None]


_CUT_SHORT = """
import os, signal, sys
import numpy as np
from surveyflow.models.engines.native_library import run_stamps
side, file = 1500, open(sys.argv[1], "w+b")
file.write(bytes(4 * side * (side - 1) + 4))  # the beginning of the last row is there, its other pages are not
file.flush()
none = np.zeros(1, np.int64)
pixels = np.empty((1, side, side), np.float32)
print(run_stamps(file.fileno(), 0, (side, side), tops=none, lefts=none, pixels=pixels), flush=True)
os.kill(os.getpid(), signal.SIGBUS)  # is fatal again
"""


def test_a_file_that_ends_while_it_is_copied_ends_no_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _CUT_SHORT, str(tmp_path / "image")], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.stdout, done.returncode) == ("False\n", -signal.SIGBUS)
