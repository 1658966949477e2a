"""What a machine lacks is said with its remedy."""

from __future__ import annotations

import pytest

from networks import card
from surveyflow import checkup
from surveyflow.errors import ModelError
from surveyflow.models import fft_engine, sampler
from surveyflow.runs import preflight
from surveyflow.types import Architecture, EngineChoice

CARDS = [card(Architecture())]


def test_machine_without_an_engine_is_told_what_to_install(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setattr(fft_engine, "impossible", lambda *_: "the native core was not built")
    found = {check.name: check for check in checkup.check_machine()}["engine"]
    assert not found.good
    assert "nosuchframework" in found.found
    assert "not built" in found.found
    with pytest.raises(ModelError, match="nosuchframework not installed"):
        preflight.check_engine(EngineChoice(), CARDS)


def test_machine_without_a_framework_runs_the_native_core(monkeypatch):
    if fft_engine.impossible(Architecture()) is not None:
        pytest.skip("the native core was not built here")
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = {check.name: check for check in checkup.check_machine()}["engine"]
    assert found.good
    assert found.found.startswith("fft")
    preflight.check_engine(EngineChoice(), CARDS)


def test_only_the_engine_that_is_asked_for_is_looked_at(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setattr(fft_engine, "absence", lambda: None)
    monkeypatch.setattr(sampler, "_sees_gpu", lambda: True)
    preflight.check_engine(EngineChoice("fft"), CARDS)
    with pytest.raises(ModelError, match=r"'keras' cannot run merger/EGS/F814W in float32 here: nosuchframework not installed"):
        preflight.check_engine(EngineChoice("keras"), CARDS)
    with pytest.raises(ModelError, match=r"No engine can run .* in tf32 here: nosuchframework .* not in tf32"):
        preflight.check_engine(EngineChoice("auto", "tf32"), CARDS)


def test_every_network_of_a_survey_is_looked_at(monkeypatch):
    monkeypatch.setattr(fft_engine, "absence", lambda: None)
    infeasible = card(Architecture(input_size=300, filters=(2,), kernel_sizes=(3,)))
    with pytest.raises(ModelError, match="the FFT engine cannot do the network"):
        preflight.check_engine(EngineChoice("fft"), [*CARDS, infeasible])


def test_machine_without_galsim_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(checkup, "find_spec", lambda _: None)
    found = {check.name: check for check in checkup.check_machine()}["simulation"]
    assert not found.good
    assert "surveyflow[simulate]" in found.found
