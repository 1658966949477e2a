"""Fixtures that every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from surveyflow.simulation.survey import SimulatedSurvey
from worlds import MiniSurvey, copied

pytest_plugins = ["clusters"]

# Machines that run tests are often busy: how long one example takes says nothing, and a failure must be found again.
settings.register_profile("surveyflow", deadline=None, derandomize=True)
settings.load_profile("surveyflow")


@pytest.fixture(scope="session")
def survey_folder(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    """The small survey, written once: only to be read."""
    return MiniSurvey(tmp_path_factory.mktemp("survey"))


@pytest.fixture
def mini_survey(survey_folder: SimulatedSurvey, tmp_path: Path) -> SimulatedSurvey:
    """A copy of the small survey, to be changed at will."""
    return copied(survey_folder, tmp_path / "survey")
