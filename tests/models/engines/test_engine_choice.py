"""`auto` stands for the fastest engine that can do the network on this machine, and says why."""

from __future__ import annotations

import ctypes
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from numpy._core import _multiarray_umath

from networks import KEY, images, write_small_model
from surveyflow.errors import InputError, ModelError
from surveyflow.models.engines import choice, fft_engine, native_library
from surveyflow.models.engines.choice import choose_engine, load_model, obstacle
from surveyflow.models.store import ModelStore
from surveyflow.tasks.card import Architecture
from surveyflow.values.codes import EngineName

needs_core = pytest.mark.skipif(native_library.absence() is not None, reason=f"no native core: {native_library.absence()}")
SUITED = Architecture(input_size=64, filters=(16, 16), kernel_sizes=(9, 7), dense=(16, 12))
NARROW = Architecture(input_size=48, filters=(4, 6, 8), kernel_sizes=(5, 3, 3), dense=(16, 12))
TOO_LARGE = Architecture(input_size=300, filters=(2,), kernel_sizes=(3,))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def visible_gpu(monkeypatch):
    """Pretends that there is a GPU."""
    monkeypatch.setattr(choice, "_sees_gpu", lambda: True)


@pytest.fixture
def usable_keras(monkeypatch):
    """Pretends that Keras is installed."""
    monkeypatch.setattr(choice, "keras_problem", lambda: None)


@pytest.fixture
def absent_keras(monkeypatch):
    """Pretends that Keras is not installed."""
    monkeypatch.setattr(choice, "keras_problem", lambda: "keras not installed")


@needs_core
@pytest.mark.parametrize("architecture", [Architecture(), SUITED, NARROW])
def test_without_a_gpu_the_native_core_computes_every_network_that_it_can(usable_keras, architecture):
    assert choose_engine(architecture) == ("fft", "no GPU is visible, and the native core can compute the network")


@needs_core
def test_a_network_that_the_native_core_cannot_compute_goes_to_keras(usable_keras):
    engine, reason = choose_engine(TOO_LARGE)
    assert engine == "keras"
    assert "needs a transform of at least 300 points" in reason


@needs_core
def test_without_keras_the_fft_engine_does_what_it_can(absent_keras):
    engine, reason = choose_engine(NARROW)
    assert engine == "fft"
    assert "keras not installed" in reason
    assert choose_engine(TOO_LARGE)[0] == "keras"


@needs_core
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_are_for_keras(precision):
    assert choose_engine(Architecture(), precision) == ("keras", f"the FFT engine computes in float32, not in {precision}")


def test_a_visible_gpu_is_used(visible_gpu, usable_keras):
    assert choose_engine(Architecture()) == ("keras", "a GPU is visible")


@needs_core
def test_a_gpu_is_left_alone_where_keras_cannot_be_used(visible_gpu, absent_keras):
    engine, reason = choose_engine(Architecture())
    assert engine == "fft"
    assert "keras not installed" in reason


def test_an_engine_is_hindered_by_its_own_obstacles_alone(monkeypatch, visible_gpu, absent_keras):
    monkeypatch.setattr(fft_engine, "absence", lambda: None)
    assert obstacle("fft", Architecture()) is None
    assert obstacle("auto", Architecture()) is None
    assert obstacle("keras", Architecture()) == "keras not installed"
    assert obstacle("auto", Architecture(), "tf32") == ("keras not installed; the FFT engine computes in float32, not in tf32")


def test_usable_keras_does_not_help_the_fft_engine(monkeypatch, usable_keras):
    monkeypatch.setattr(fft_engine, "absence", lambda: "it was not built")
    assert obstacle("fft", Architecture()) == "the native core cannot be used: it was not built"
    assert obstacle("auto", Architecture()) is None


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"no engine 'abacus'. Choose one of auto, keras, fft"):
        EngineName("abacus")


def test_without_the_native_core_keras_is_chosen(monkeypatch, tmp_path):
    monkeypatch.setattr(native_library, "LIBRARY", tmp_path / "libsurveyflow.so")
    engine, reason = choose_engine(Architecture())
    assert engine == "keras"
    assert "the native core cannot be used: it was not built" in reason


def test_a_library_that_is_none_is_reported(monkeypatch, tmp_path):
    library = tmp_path / "libsurveyflow.so"
    library.write_text("not a library")
    monkeypatch.setattr(native_library, "LIBRARY", library)
    native_library._library.cache_clear()
    try:
        assert "it cannot be loaded" in native_library.absence()
    finally:
        native_library._library.cache_clear()


@needs_core
def test_a_library_of_other_sources_is_not_used(monkeypatch):
    monkeypatch.setattr(native_library, "_source_digest", lambda: "0" * 64)
    assert re.search(r"built from other sources; build it again: `python .*build\.py", native_library.absence())
    assert choose_engine(Architecture())[1].startswith("the native core cannot be used: it was built from other sources")


def test_a_library_that_does_not_tell_its_sources_is_not_used(monkeypatch):
    monkeypatch.setattr(native_library, "_library", lambda: ctypes.CDLL(_multiarray_umath.__file__))
    monkeypatch.setattr(native_library, "LIBRARY", Path(_multiarray_umath.__file__))
    assert "built from other sources" in native_library.absence()


@needs_core
def test_where_the_sources_were_taken_away_the_library_is_trusted(monkeypatch):
    monkeypatch.setattr(native_library, "_source_digest", lambda: None)
    monkeypatch.setattr(native_library, "_digest_of", lambda library: "")
    assert native_library.absence() is None


def test_the_fft_engine_asked_for_by_name_without_its_core_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(fft_engine, "absence", lambda: "it was not built")
    write_small_model(tmp_path, SUITED)
    with pytest.raises(ModelError, match=r"cannot be used: it was not built. Use engine = 'keras'"):
        load_model(ModelStore(tmp_path).folder(KEY), "fft")


@needs_core
def test_the_choice_is_logged_and_both_engines_agree(keras, tmp_path, caplog):
    write_small_model(tmp_path, SUITED)
    folder = ModelStore(tmp_path).folder(KEY)
    with caplog.at_level(logging.INFO, "surveyflow.models.engines.choice"):
        auto = load_model(folder)
    assert "event=engine_chosen model=merger/EGS/F814W engine=fft" in caplog.text
    cutouts, keys = images(6, size=64), np.arange(6, dtype=np.uint64)
    one, other = (model.draw(model.features(cutouts), keys, 100, seed=3) for model in (auto, load_model(folder, "keras")))
    np.testing.assert_allclose(one, other, atol=1e-5)
