"""Fixtures that every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from shared_worlds import SharedWorlds
from surveyflow.simulation.survey import SimulatedSurvey
from worlds import MiniSurvey, copied

pytest_plugins = ["clusters"]

# Machines that run tests are often busy: how long one example takes says nothing, and a failure must be found again.
settings.register_profile("surveyflow", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("surveyflow")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The temporary folder of this test run, which all workers of pytest-xdist share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def shared_worlds(run_folder: Path) -> SharedWorlds:
    """Worlds that are made once in this test run."""
    return SharedWorlds(run_folder / "worlds")


@pytest.fixture(scope="session")
def survey_folder(shared_worlds: SharedWorlds) -> SimulatedSurvey:
    """The small survey: only to be read."""
    return shared_worlds.get("survey", MiniSurvey)


@pytest.fixture(scope="session")
def egs_folder(shared_worlds: SharedWorlds) -> SimulatedSurvey:
    """A small survey of one field, EGS: only to be read."""
    return shared_worlds.get("egs", lambda folder: MiniSurvey(folder, fields=["EGS"]))


@pytest.fixture(scope="session")
def finished_survey(shared_worlds: SharedWorlds, egs_folder: SimulatedSurvey) -> SimulatedSurvey:
    """The survey of one field with models that compute nothing, and the catalog of a run: only to be read."""

    from finished_surveys import finish  # takes seconds to import, and few tests need it

    return shared_worlds.get("finished", lambda folder: finish(copied(egs_folder, folder)))


@pytest.fixture
def mini_survey(survey_folder: SimulatedSurvey, tmp_path: Path) -> SimulatedSurvey:
    """A copy of the small survey, to be changed at will."""
    return copied(survey_folder, tmp_path / "survey")
