"""Damage to a FITS file is seen in the sums that its headers tell; the sums themselves are astropy's."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.inputs.fits_checksums import damage_of_fits


def write_image(path, checksum):
    """An image of several extensions, one of them compressed."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(size=(50, 70)).astype(np.float32)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(pixels, name="SCI"),
        fits.CompImageHDU(pixels, name="WHT", compression_type="GZIP_2", quantize_level=0),
        fits.BinTableHDU.from_columns([fits.Column("ID", "K", array=np.arange(9))], name="CAT"),
    ]
    fits.HDUList(hdus).writeto(path, checksum=checksum)
    return path


@pytest.fixture
def image(tmp_path):
    """An image with sums."""
    return write_image(tmp_path / "image.fits", checksum=True)


@pytest.fixture
def without_sums(tmp_path):
    """An image without, as most are published."""
    return write_image(tmp_path / "image.fits", checksum=False)


def flip_byte(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


def data_byte(path, extension):
    with fits.open(path, disable_image_compression=True) as hdus:
        return hdus[extension].fileinfo()["datLoc"]


def test_an_intact_file_shows_no_damage(image):
    assert damage_of_fits(image) is None


@pytest.mark.parametrize(("extension", "number"), [("SCI", 1), ("WHT", 2), ("CAT", 3)])
def test_one_changed_byte_of_data_is_reported_with_both_sums(image, extension, number):
    with fits.open(image, disable_image_compression=True) as hdus:
        claimed = hdus[extension].header["DATASUM"]
    flip_byte(image, data_byte(image, extension) + 17)
    damage = damage_of_fits(image)
    assert damage.startswith(f"the data of HDU {number} have the checksum ")
    assert damage.endswith(f"but DATASUM says {claimed}")


def test_a_changed_header_is_found_by_its_checksum(image):
    content = image.read_bytes()
    assert content.count(b"'SCI     '") == 1
    image.write_bytes(content.replace(b"'SCI     '", b"'SCJ     '"))
    assert damage_of_fits(image) == "HDU 1 does not agree with its CHECKSUM"


def test_a_file_that_is_cut_short_is_reported(image):
    image.write_bytes(image.read_bytes()[: data_byte(image, "SCI") + 2880])
    assert damage_of_fits(image) is not None


@pytest.mark.parametrize(("extension", "n_data_bytes"), [("SCI", 50 * 70 * 4 - 1), ("SCI", 2880), ("WHT", 0), ("CAT", 9 * 8 - 1)])
def test_a_file_without_sums_that_is_cut_short_in_its_data_is_reported(without_sums, extension, n_data_bytes):
    n_bytes = data_byte(without_sums, extension) + n_data_bytes
    without_sums.write_bytes(without_sums.read_bytes()[:n_bytes])
    assert f"it ends at byte {n_bytes}, its headers need " in damage_of_fits(without_sums)


@pytest.mark.parametrize("n_header_bytes", [1, 80, 2879])
def test_a_file_without_sums_that_is_cut_short_in_a_header_is_reported(without_sums, n_header_bytes):
    with fits.open(without_sums, disable_image_compression=True) as hdus:
        header_byte = hdus["CAT"].fileinfo()["hdrLoc"]
    without_sums.write_bytes(without_sums.read_bytes()[: header_byte + n_header_bytes])
    assert f"within the header that begins at byte {header_byte}" in damage_of_fits(without_sums)


def test_a_file_with_missing_last_padding_or_with_trailing_bytes_is_intact(without_sums):
    content = without_sums.read_bytes()
    for sound in (content, content[: data_byte(without_sums, "CAT") + 9 * 8], content + bytes(2880), content + b"\n"):
        without_sums.write_bytes(sound)
        assert damage_of_fits(without_sums) is None


def test_a_file_within_gzip_is_unpacked(image, tmp_path):
    packed = tmp_path / "image.fits.gz"
    packed.write_bytes(gzip.compress(image.read_bytes()))
    assert damage_of_fits(packed) is None
    flip_byte(image, data_byte(image, "SCI") + 5)
    packed.write_bytes(gzip.compress(image.read_bytes()))
    assert "HDU 1" in damage_of_fits(packed)


def test_a_gzip_file_that_is_cut_short_is_reported(image, tmp_path):
    packed = tmp_path / "image.fits.gz"
    packed.write_bytes(gzip.compress(image.read_bytes())[:-100])
    assert "cannot be read" in damage_of_fits(packed)


@pytest.mark.parametrize("content", [b"", b"# id ra dec\n1 2 3\n", gzip.compress(b"id,ra\n1,2\n", mtime=0)])
def test_a_file_that_is_not_fits_has_nothing_to_compare(tmp_path, content):
    path = tmp_path / "list.cat"
    path.write_bytes(content)
    assert damage_of_fits(path) is None


def test_a_file_without_sums_has_nothing_to_compare(tmp_path):
    path = tmp_path / "plain.fits"
    fits.PrimaryHDU(np.ones((9, 9), np.float32)).writeto(path)
    flip_byte(path, 2880 + 5)
    assert damage_of_fits(path) is None


@given(seed=st.integers(0, 2**32 - 1), n_bytes=st.integers(1, 9000))
def test_the_sum_is_that_of_astropy(tmp_path_factory, seed, n_bytes):
    path = tmp_path_factory.mktemp("sums") / "noise.fits"
    noise = np.random.default_rng(seed).integers(0, 256, n_bytes, dtype=np.uint8)
    noise[::2] |= 0xF0  # large words, so that carries come round
    fits.PrimaryHDU(noise).writeto(path, checksum=True)
    assert damage_of_fits(path) is None
