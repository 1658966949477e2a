"""Spectra are those of the kernels, written once, and never read from a file that does not fit."""

from __future__ import annotations

import os

import numpy as np
import pytest

from networks import card, random_weights
from surveyflow.models.fft_tiling import convolutions, tilings
from surveyflow.models.spectra import cache_folder, open_spectra, spectrum
from surveyflow.types import Architecture

NETWORK = Architecture(input_size=30, filters=(3, 20), kernel_sizes=(5, 3), dense=(4,))
CARD = card(NETWORK)
WEIGHTS = random_weights(NETWORK)


def spectra_in(*folders, of=CARD, weights=WEIGHTS):
    return open_spectra(of, weights, folders)


def files_in(folder):
    return sorted(folder.iterdir())


def test_a_spectrum_is_the_conjugate_transform_by_its_definition():
    layer, tiling = convolutions(NETWORK)[3], tilings(NETWORK)[3]
    kernel = WEIGHTS["conv.3.kernel"].astype(np.float64)
    values = spectrum(WEIGHTS["conv.3.kernel"], layer, tiling)
    y, x = np.mgrid[:3, :3]
    for kx, ky, in_channel, out_channel in [(0, 0, 0, 0), (3, 5, 7, 2), (tiling.points // 2, 1, 19, 19)]:
        wave = np.exp(2j * np.pi * (kx * x + ky * y) / tiling.points) / (2 * tiling.points**2)
        expected = (kernel[:, :, in_channel, out_channel] * wave).sum()
        group, place = divmod(out_channel, 16)
        found = values[kx, ky, group, in_channel, :, place]
        np.testing.assert_allclose(found, [expected.real, expected.imag], rtol=2e-7, atol=1e-9)


def test_padding_channels_are_0():
    values = spectrum(WEIGHTS["conv.2.kernel"], convolutions(NETWORK)[2], tilings(NETWORK)[2])
    assert values.shape[2:] == (2, 16, 2, 16)
    assert not values[..., 3:, :, :].any()
    assert not values[:, :, 1, :, :, 4:].any()


def test_spectra_are_written_once_and_then_mapped(tmp_path):
    first = spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    written = file.stat().st_mtime_ns
    again = spectra_in(tmp_path)
    assert file.stat().st_mtime_ns == written
    for one, other in zip(first, again, strict=True):
        assert isinstance(other, np.memmap)
        assert not other.flags.writeable
        assert other.ctypes.data % 4096 == 0
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", ["shorter", "empty", "another byte", "another header"])
def test_a_damaged_file_is_written_again(tmp_path, damage):
    expected = [np.array(values) for values in spectra_in(tmp_path)]
    (file,) = files_in(tmp_path)
    content = bytearray(file.read_bytes())
    content[10_000] ^= damage == "another byte"
    content[20] ^= damage == "another header"
    file.write_bytes(content[: {"shorter": -100, "empty": 0}.get(damage, len(content))])
    for one, other in zip(spectra_in(tmp_path), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert files_in(tmp_path) == [file]


def test_another_model_has_another_file(tmp_path):
    spectra_in(tmp_path)
    other = random_weights(NETWORK, seed=1)
    found = spectra_in(tmp_path, of=card(NETWORK, weights_digest="f" * 64), weights=other)
    assert len(files_in(tmp_path)) == 2
    np.testing.assert_array_equal(found[1], spectrum(other["conv.1.kernel"], convolutions(NETWORK)[1], tilings(NETWORK)[1]))


def test_a_store_that_cannot_be_written_leaves_it_to_the_cache(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    spectra_in(blocked / "model", tmp_path / "cache")
    assert len(files_in(tmp_path / "cache")) == 1


def test_where_nothing_can_be_written_spectra_are_kept_in_memory(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    for one, other in zip(spectra_in(blocked / "model"), spectra_in(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SURVEYFLOW_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SURVEYFLOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "surveyflow"
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path)
