"""Fixtures that every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from surveyflow.simulate.survey import SimulatedSurvey
from worlds import MiniSurvey, copied


@pytest.fixture(scope="session")
def survey_folder(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    """The small survey, written once: only to be read."""
    return MiniSurvey(tmp_path_factory.mktemp("survey"))


@pytest.fixture
def mini_survey(survey_folder: SimulatedSurvey, tmp_path: Path) -> SimulatedSurvey:
    """A copy of the small survey, to be changed at will."""
    return copied(survey_folder, tmp_path / "survey")
