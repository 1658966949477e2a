"""Squares that are read out of a mosaic, rows by rows, without the windows around them."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from astropy.io import fits

from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.models.engines.native_library import paired_digests
from surveyflow.sky.scattered import cut_from_mosaic
from surveyflow.values.codes import WeightKind
from surveyflow.values.images import Box, Stated

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
    packed = folder / "science.fits.fz"
    fits.CompImageHDU(science, fits.Header({**_CARDS, **_SCALES}), compression_type="GZIP_1").writeto(packed)
    return {
        "packed": packed,
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
        at_once = partial(digested, opened, paired=paired_digests())
        readers = (opened.read_stamps, partial(digested, opened), at_once, None)
        found = [cut_from_mosaic(opened, x, y, size, copy) for copy in readers]
        assert opened.read_stamps(np.array([5]), np.array([5]), size) is not None
    for name in ("pixels", "valid", "weight_median", "centre_valid", "beyond_edge"):
        assert len({getattr(one, name).tobytes() for one in found}) == 1, name


def digested(opened, tops, lefts, size, paired=None):
    """The squares that come with the digests of the complete image, which are those of any other reading."""
    digests, stamps = opened.digested_stamps(complete(opened), tops, lefts, size, paired)
    assert digests == opened.digests(complete(opened))
    return stamps


def complete(opened):
    return Box(0, opened.shape[0], 0, opened.shape[1])


@pytest.mark.parametrize("stated", [Stated(), Stated(wanted_scale_arcsec=0.04), Stated(weight_kind=WeightKind.VARIANCE)])
@pytest.mark.parametrize("science", ["science", "scaled", "packed"])
@pytest.mark.parametrize("paired", [None, paired_digests()])
def test_a_window_that_is_digested_equals_one_that_is_read_bit_for_bit(files, science, stated, paired):
    with open_mosaic(files[science], files["weight"], stated) as opened:
        box = Box(-20, 330, 150, 460)
        digests, window = opened.digested(box, paired)
        expected = opened.read(box)
        assert digests == opened.digests(box)
        for name in ("pixels", "valid", "weight"):
            assert getattr(window, name).tobytes() == getattr(expected, name).tobytes(), name
        assert (window.box, window.mosaic_shape) == (expected.box, expected.mosaic_shape)
        if stated.wanted_scale_arcsec:
            assert opened.digested_stamps(box, np.array([5]), np.array([200]), 8) is None


def test_what_is_digested_is_what_is_returned_even_if_the_file_changes_meanwhile(files, tmp_path, monkeypatch):
    """The state of the file would tell, too; but a file system's clock may be too coarse for that."""
    copied, read = tmp_path / "science.fits", os.preadv
    copied.write_bytes(files["scaled"].read_bytes())
    rng = np.random.default_rng(5)

    def read_and_changed(file, buffers, offset):
        n_bytes = read(file, buffers, offset)
        with copied.open("r+b") as other:
            other.seek(int(rng.integers(2880, copied.stat().st_size - 999)))
            other.write(rng.bytes(999))
        return n_bytes

    with open_mosaic(copied) as opened:
        box, before = complete(opened), opened.digests(complete(opened))
        monkeypatch.setattr(os, "preadv", read_and_changed)
        digests, window = opened.digested(box)
        assert digests["science"] == sha256(window.pixels) != before["science"]
        side = 100
        tops, lefts = (places.ravel() for places in np.mgrid[0 : box.y1 : side, 0 : box.x1 : side])
        digests, stamps = opened.digested_stamps(box, tops, lefts, side)
        n_rows, n_columns = box.y1 // side, box.x1 // side
        assert digests["science"] == sha256(stamps.pixels.reshape(n_rows, n_columns, side, side).swapaxes(1, 2))
        assert digests["science"] != sha256(window.pixels)


def sha256(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels, "<f4").tobytes()).hexdigest()


def test_a_box_that_lacks_pixels_of_a_square_is_refused(files):
    with open_mosaic(files["science"]) as opened:
        box, place = Box(0, 200, 100, 400), np.array([120])
        assert opened.digested_stamps(box, place, place, 80) is not None
        for tops, lefts in [(place + 1, place), (place, place - 21), (place, place + 201)]:
            with pytest.raises(ValueError, match="lacks pixels of the squares"):
                opened.digested_stamps(box, tops, lefts, 80)


def test_packed_images_have_windows_only(files):
    with open_mosaic(files["packed"]) as opened:
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


@pytest.mark.skipif(paired_digests() is None, reason="no native core, or no instructions for SHA-256")
@pytest.mark.parametrize("cut", ["science", "weight"])
@pytest.mark.parametrize("columns", [slice(None), slice(30, 800)])
def test_the_core_names_the_image_that_is_cut_short_and_the_row_in_which_it_ends(files, tmp_path, cut, columns):
    copies = {name: tmp_path / f"{name}.fits" for name in ("science", "weight")}
    for name, copy in copies.items():
        copy.write_bytes(files[name].read_bytes())
    with open_mosaic(*copies.values()) as opened:
        width = opened.shape[1]
        box = Box(0, HEIGHT, *columns.indices(width)[:2])
        expected = opened.digests(box)
        assert opened.digests(box, paired_digests()) == expected
        os.truncate(copies[cut], 2880 + 4 * (600 * width + 100))
        with pytest.raises(MosaicError, match=rf"{cut}\.fits: rows 512 to 700 .*the file ends in row 600"):
            opened.digests(box, paired_digests())
        assert opened.digests(Box(0, 600, box.x0, box.x1), paired_digests()) == opened.digests(Box(0, 600, box.x0, box.x1))


@pytest.mark.skipif(paired_digests() is None, reason="no native core, or no instructions for SHA-256")
def test_the_core_returns_what_it_digests_even_if_the_files_change_meanwhile(files, tmp_path):
    copies = [tmp_path / f"{name}.fits" for name in ("science", "weight")]
    for copy in copies:
        copy.write_bytes(files[copy.stem].read_bytes())
    rng, side, stopped, found = np.random.default_rng(6), 100, threading.Event(), set()

    def change():
        while not stopped.is_set():
            with copies[0].open("r+b") as file:
                file.seek(int(rng.integers(2880, copies[0].stat().st_size - 9999)))
                file.write(rng.bytes(9999))

    with open_mosaic(*copies) as opened, closing_thread(change, stopped):
        box = complete(opened)
        tops, lefts = (places.ravel() for places in np.mgrid[0 : box.y1 : side, 0 : box.x1 : side])
        for _ in range(30):
            digests, stamps = opened.digested_stamps(box, tops, lefts, side, paired_digests())
            n_rows, n_columns = box.y1 // side, box.x1 // side
            squares = stamps.pixels.reshape(n_rows, n_columns, side, side).swapaxes(1, 2)
            assert digests["science"] == sha256(squares)
            found.add(digests["science"])
    assert len(found) > 1


@contextmanager
def closing_thread(work, stopped):
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
