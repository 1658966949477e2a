"""Squares that are read out of a mosaic, rows by rows, without the windows around them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.sky.scattered import cut_from_mosaic

_CARDS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 450.0, "CRPIX2": 350.0}
_SCALES = {"CD1_1": -0.03 / 3600, "CD2_2": 0.03 / 3600, "BUNIT": "ELECTRONS/S"}
HEIGHT = 700
WIDTHS = [900, 1300]  # rows that are read whole, and rows of which parts are read


def written(file, image, **cards):
    fits.writeto(file, image, fits.Header({**_CARDS, **_SCALES, **cards}))
    return file


@pytest.fixture(scope="module", params=WIDTHS)
def files(request, tmp_path_factory):
    """A science image with NaN and 0, weights with holes, and integers that must be scaled."""
    rng, folder, shape = np.random.default_rng(0), tmp_path_factory.mktemp("stamps"), (HEIGHT, request.param)
    science, weight = rng.normal(size=shape).astype(np.float32), rng.uniform(1, 2, shape).astype(np.float32)
    science[rng.random(shape) < 0.01], science[rng.random(shape) < 0.01] = np.nan, 0
    weight[rng.random(shape) < 0.01], weight[300:340], weight[100:110, 200:300] = -1, 0, np.inf
    scaled = rng.integers(-9, 9, shape, dtype=np.int16)
    return {
        "science": written(folder / "science.fits", science),
        "weight": written(folder / "weight.fits", weight),
        "scaled": written(folder / "scaled.fits", scaled, BSCALE=0.5, BZERO=1.0, BLANK=-9),
    }


def somewhere(n, width):
    """Positions on the image, at its edges, beyond them, far away and nowhere; the first few at borders of pixels."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-80, width + 80, n), rng.uniform(-80, HEIGHT + 80, n)
    x[:4], y[:4] = [-0.5, 0.5, width - 0.5, 200.5], [-0.5, 20.5, HEIGHT - 0.5, 100.5]
    x[4:8], y[4:8] = [np.nan, 1e18, -1e18, 5.0], [5.0, 5.0, np.inf, -np.inf]
    return x, y


@pytest.mark.parametrize("science", ["science", "scaled"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [2, 33, 128])
def test_squares_equal_what_is_cut_from_windows_bit_for_bit(files, size, weighted, science):
    with open_mosaic(files[science], files["weight"] if weighted else None) as opened:
        x, y = somewhere(40, opened.shape[1])
        found = [cut_from_mosaic(opened, x, y, size, copy) for copy in (opened.read_stamps, None)]
        assert opened.read_stamps(np.array([5]), np.array([5]), size) is not None
    for name in ("pixels", "valid", "weight_median", "centre_valid", "beyond_edge"):
        assert getattr(found[0], name).tobytes() == getattr(found[1], name).tobytes(), name


def test_packed_images_have_windows_only(files, tmp_path):
    with fits.open(files["science"]) as hdus:
        packed = fits.CompImageHDU(hdus[0].data, hdus[0].header, compression_type="GZIP_1")
    packed.writeto(tmp_path / "science.fits.fz")
    with open_mosaic(tmp_path / "science.fits.fz") as opened:
        assert opened.read_stamps(np.array([5]), np.array([5]), 32) is None


def test_a_file_cut_short_while_it_is_open_is_an_error_not_zeros(files, tmp_path):
    copied = tmp_path / "science.fits"
    copied.write_bytes(files["science"].read_bytes())
    with open_mosaic(copied) as opened:
        end = np.array([HEIGHT - 40])
        assert opened.read_stamps(end, end - end, 32) is not None
        with copied.open("r+b") as file:
            file.truncate(copied.stat().st_size // 2)
        with pytest.raises(MosaicError, match="cannot be read"):
            opened.read_stamps(end, end - end, 32)
