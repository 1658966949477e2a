"""Spectra are those of the kernels, written once, and never read from a file that does not fit."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from networks import card, random_weights
from surveyflow.models.engines import spectra
from surveyflow.models.engines.fft_tiling import convolutions, tilings
from surveyflow.models.engines.keras_installation import keras_backend
from surveyflow.models.engines.spectra import cache_folder, is_spectrum_of, open_spectra, spectrum
from surveyflow.tasks.card import Architecture

NETWORK = Architecture(input_size=30, filters=(3, 20), kernel_sizes=(5, 3), dense=(4,))
CARD = card(NETWORK)
WEIGHTS = random_weights(NETWORK)


def spectra_in(*folders, of=CARD, weights=WEIGHTS, weights_file=None):
    return open_spectra(of, weights, folders, weights_file)


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


def assert_right(found):
    """The spectra are those of the kernels, computed again."""
    layers = zip(convolutions(NETWORK), tilings(NETWORK), strict=True)
    for number, (values, (layer, tiling)) in enumerate(zip(found, layers, strict=True)):
        np.testing.assert_array_equal(values, spectrum(WEIGHTS[f"conv.{number}.kernel"], layer, tiling))


def test_spectra_are_written_once_and_then_read(tmp_path):
    first = spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    written = file.stat().st_mtime_ns
    again = spectra_in(tmp_path)
    assert file.stat().st_mtime_ns == written
    for one, other in zip(first, again, strict=True):
        assert not other.flags.writeable
        assert other.ctypes.data % 4096 == 0
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", ["shorter", "empty", "another byte", "another header"])
def test_a_damaged_file_is_written_again(tmp_path, damage):
    spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    content = bytearray(file.read_bytes())
    content[10_000] ^= damage == "another byte"
    content[20] ^= damage == "another header"
    file.write_bytes(content[: {"shorter": -100, "empty": 0}.get(damage, len(content))])
    assert_right(spectra_in(tmp_path))
    assert files_in(tmp_path) == [file]


def zeros(content):
    content[4096:] = bytes(len(content) - 4096)


def wrong_number(content):
    """Change the sign of the largest number of the last spectrum by a tenth."""
    numbers = np.frombuffer(content, "<f4")[-4096 // 4 :]
    place = len(content) - 4096 + 4 * int(np.abs(numbers).argmax())
    content[place : place + 4] = np.float32(0.9 * np.frombuffer(content, "<f4", 1, place)[0]).tobytes()


def short(content):
    del content[-4096:]


def not_a_number(content):
    content[-4096:-4092] = np.float32(np.nan).tobytes()


def infinite(content):
    content[-4096:-4092] = np.float32(np.inf).tobytes()


def padding_channel(content):
    """Put a number in place of an output that the network does not have."""
    *_, (offset, shape) = spectra._places(CARD)
    place = offset + 4 * int(np.ravel_multi_index((0, 0, 1, 0, 0, 15), shape))
    content[place : place + 4] = np.float32(0.1).tobytes()


@pytest.mark.parametrize("forge", [zeros, wrong_number, short, not_a_number, infinite, padding_channel])
def test_a_file_with_its_own_seal_but_other_numbers_is_written_again(tmp_path, forge, caplog):
    spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    content = bytearray(file.read_bytes()[:-32])
    forge(content)
    file.write_bytes(bytes(content) + hashlib.sha256(content).digest())
    assert_right(spectra_in(tmp_path))
    assert "event=spectra_unsound" in caplog.text
    caplog.clear()
    assert_right(spectra_in(tmp_path))
    assert not caplog.text


@pytest.mark.parametrize("number", range(4))
def test_rounding_is_not_taken_for_forgery(number):
    layer, tiling, kernel = convolutions(NETWORK)[number], tilings(NETWORK)[number], WEIGHTS[f"conv.{number}.kernel"]
    values = spectrum(kernel, layer, tiling)
    noise = np.random.default_rng(0).uniform(-1, 1, values.shape)
    rounded = (values * (1 + 2.0**-23 * noise)).astype(np.float32)
    assert all(is_spectrum_of(kernel, layer, tiling, rounded) for _ in range(100))
    assert not any(is_spectrum_of(kernel, layer, tiling, 0.99 * values) for _ in range(100))


def test_a_file_that_is_cut_short_while_it_is_in_use_ends_no_worker(tmp_path):
    spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    found = spectra_in(tmp_path)
    # Whoever reads a mapped file that was cut short is ended by SIGBUS: here, the tests themselves.
    assert str(file) not in Path("/proc/self/maps").read_text()
    file.write_bytes(b"")
    assert_right(found)


def test_of_workers_that_start_together_one_computes_and_the_others_wait(tmp_path, monkeypatch):
    computed = []

    def slow_spectra(*arguments):
        computed.append(threading.get_ident())
        time.sleep(0.2)  # all others have begun by then
        return real(*arguments)

    real = spectra._spectra
    monkeypatch.setattr(spectra, "_spectra", slow_spectra)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: spectra_in(tmp_path), range(4)))
    assert len(computed) == 1
    for each in found:
        assert_right(each)
    assert len(files_in(tmp_path)) == 1


def test_a_worker_that_computes_for_ever_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(spectra, "_LONGEST_WAIT_S", 0.1)
    with spectra._alone(tmp_path / f".spectra-{CARD.weights_digest[:16]}-v1.bin"):
        assert_right(spectra_in(tmp_path))


def test_spectra_that_no_worker_has_used_for_a_month_are_removed(tmp_path):
    spectra_in(tmp_path)
    (used,) = files_in(tmp_path)
    old, recent = (tmp_path / f".spectra-{digit * 16}-v1.bin" for digit in "ab")
    for file, days in ((old, 31), (recent, 29), (used, 31)):
        file.touch()
        os.utime(file, (time.time() - 86_400 * days,) * 2)
    spectra_in(tmp_path)
    assert files_in(tmp_path) == sorted([used, recent])
    assert used.stat().st_mtime > time.time() - 3_600  # it has been used now


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
    assert_right(spectra_in(blocked / "model"))


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SURVEYFLOW_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SURVEYFLOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "surveyflow"
    monkeypatch.setenv("SURVEYFLOW_CACHE", "")
    assert cache_folder() == tmp_path / "surveyflow"


def test_a_user_without_a_home_has_a_cache_below_the_temporary_files(homeless, tmp_path):
    assert cache_folder() == Path(tempfile.gettempdir(), f"surveyflow-{os.geteuid()}")


def test_a_user_without_a_home_has_a_framework(homeless, monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert keras_backend() == "tensorflow"


@pytest.fixture
def homeless(monkeypatch):
    """Pretends that this user has no home."""

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for variable in ("SURVEYFLOW_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)


def pretend_owner(monkeypatch, owners):
    """Pretends that files belong to others: by name's ending, a user id."""
    real = os.fstat

    def fstat(descriptor):
        status = list(real(descriptor))
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        status[stat.ST_UID] = next((uid for end, uid in owners.items() if name.endswith(end)), status[stat.ST_UID])
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", fstat)


def test_a_file_of_a_stranger_is_not_used(monkeypatch, tmp_path, caplog):
    spectra_in(tmp_path)
    pretend_owner(monkeypatch, {".bin": os.geteuid() + 4711})
    assert_right(spectra_in(tmp_path))
    assert "event=spectra_distrusted" in caplog.text


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o620])
def test_a_file_that_others_may_write_is_written_again(tmp_path, mode, caplog):
    spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    file.chmod(mode)
    assert_right(spectra_in(tmp_path))
    assert "event=spectra_distrusted" in caplog.text
    assert files_in(tmp_path) == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


@pytest.mark.parametrize("owner", ["root", "the weights' owner"])
def test_a_file_of_root_or_of_the_weights_owner_is_used(monkeypatch, tmp_path, owner):
    spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    written = file.stat().st_mtime_ns
    weights_file = tmp_path / "weights.safetensors"
    weights_file.touch()
    if os.geteuid() == 0:  # or else the weights' owner is root, who is trusted anyway
        for path in (file, weights_file):
            os.chown(path, 4712, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    pretend_owner(monkeypatch, {".bin": 0} if owner == "root" else {})
    assert_right(spectra_in(tmp_path, weights_file=weights_file if owner != "root" else None))
    assert file.stat().st_mtime_ns == written


def test_a_new_file_is_not_for_everybody_to_write(tmp_path):
    before = os.umask(0)
    try:
        spectra_in(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(files_in(tmp_path)[0].stat().st_mode) == 0o644


@pytest.mark.timeout(60)  # what waits here waits for ever
def test_a_pipe_in_the_files_place_does_not_make_one_wait(tmp_path):
    spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    file.unlink()
    os.mkfifo(file)
    spectra_in(tmp_path)
    assert file.is_file()


@pytest.mark.parametrize("end", ["", ".lock"])
@pytest.mark.parametrize("squatter", ["folder", "link to a file", "link to nothing", "loop"])
def test_what_lies_in_the_place_of_spectra_and_lock_stops_no_worker(tmp_path, end, squatter):
    store, cache, other = tmp_path / "store", tmp_path / "cache", tmp_path / "other"
    store.mkdir()
    other.write_text("somebody's")
    place = store / f".spectra-{CARD.weights_digest[:16]}-v1.bin{end}"
    if squatter == "folder":
        (place / "folder").mkdir(parents=True)
    else:
        place.symlink_to({"link to a file": other, "link to nothing": tmp_path / "nothing", "loop": place}[squatter])
    for _ in range(2):
        assert_right(spectra_in(store, cache))
    assert other.read_text() == "somebody's"
    assert files_in(tmp_path) in ([cache, other, store], [other, store])
    written = [file for folder in (store, cache) for file in folder.glob(".spectra-*.bin") if file.is_file()]
    assert len(written) == 1
    assert not written[0].is_symlink()


def test_a_hard_link_to_the_file_keeps_its_content(tmp_path):
    spectra_in(tmp_path)
    (file,) = files_in(tmp_path)
    link = tmp_path / "link"
    link.hardlink_to(file)
    file.chmod(0o666)  # of both, so that the file is written again
    before = link.read_bytes()
    assert_right(spectra_in(tmp_path))
    assert link.read_bytes() == before
    assert not file.samefile(link)


def test_a_full_disk_leaves_spectra_in_memory_and_nothing_behind(tmp_path, caplog):
    caplog.set_level("INFO")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))  # of a longer file, only the beginning can be written
    try:
        found = spectra_in(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_right(found)
    assert files_in(tmp_path) == []
    assert "event=spectra_not_kept" in caplog.text


def test_what_cannot_be_removed_does_not_keep_the_others(tmp_path):
    first_folder, file, last_folder = (tmp_path / f".spectra-{digit * 16}-v1.bin" for digit in "07f")
    file.touch()
    for folder in (first_folder, last_folder):
        folder.mkdir()
    for old in (first_folder, file, last_folder):
        os.utime(old, (time.time() - 86_400 * 31,) * 2)
    spectra_in(tmp_path)
    assert not file.exists()
    assert first_folder.is_dir()
    assert last_folder.is_dir()


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    old, new = (tmp_path / f".spectra-{'0' * 16}-v1.bin.{digit * 32}" for digit in "ab")
    other = tmp_path / ".spectra-notes.bin.txt"
    for file in (old, new, other):
        file.touch()
    for file in (old, other):
        os.utime(file, (time.time() - 90_000,) * 2)
    spectra_in(tmp_path)
    assert not old.exists()
    assert new.exists()
    assert other.exists()
