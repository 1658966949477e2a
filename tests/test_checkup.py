"""What a machine lacks is said with its remedy."""

from __future__ import annotations

import pytest

from surveyflow import checkup
from surveyflow.errors import ModelError
from surveyflow.runs import preflight


def test_machine_without_an_engine_is_told_what_to_install(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    found = {check.name: check for check in checkup.check_machine()}["engine"]
    assert not found.good
    assert "nosuchframework" in found.found
    with pytest.raises(ModelError, match="nosuchframework not installed"):
        preflight.check_engine()


def test_machine_without_galsim_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(checkup, "find_spec", lambda _: None)
    found = {check.name: check for check in checkup.check_machine()}["simulation"]
    assert not found.good
    assert "surveyflow[simulate]" in found.found
