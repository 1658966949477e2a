"""What a machine lacks is said with its remedy."""

from __future__ import annotations

import pytest

from surveyflow import checkup
from surveyflow.errors import ModelError
from surveyflow.models import fft_engine
from surveyflow.runs import preflight
from surveyflow.types import Architecture


def test_machine_without_an_engine_is_told_what_to_install(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setattr(fft_engine, "impossible", lambda *_: "the native core was not built")
    found = {check.name: check for check in checkup.check_machine()}["engine"]
    assert not found.good
    assert "nosuchframework" in found.found
    assert "not built" in found.found
    with pytest.raises(ModelError, match="nosuchframework not installed"):
        preflight.check_engine()


def test_machine_without_a_framework_runs_the_native_core(monkeypatch):
    if fft_engine.impossible(Architecture()) is not None:
        pytest.skip("the native core was not built here")
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = {check.name: check for check in checkup.check_machine()}["engine"]
    assert found.good
    assert found.found.startswith("fft")
    preflight.check_engine()


def test_machine_without_galsim_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(checkup, "find_spec", lambda _: None)
    found = {check.name: check for check in checkup.check_machine()}["simulation"]
    assert not found.good
    assert "surveyflow[simulate]" in found.found
