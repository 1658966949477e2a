"""Surveys with a catalog that a run has published, with stubs in the place of the models."""

from __future__ import annotations

from stubs import TINY
from surveyflow.api.runs import open_inputs
from surveyflow.runs.run import run_survey
from surveyflow.simulation.survey import SimulatedSurvey
from surveyflow.sites.serial.profile import SerialProfile
from worlds import edit_workflow, write_untrained_models


def finish(survey: SimulatedSurvey) -> SimulatedSurvey:
    """Run a survey with models that compute nothing; the workflow also names a command to tell people by."""
    write_untrained_models(survey.folder / "models", survey.spec.fields, TINY)
    edit_workflow(survey.workflow, {"notify": {"command": "true"}})
    with open_inputs(survey.workflow) as (opened, _):
        run_survey(opened, SerialProfile(), factory="stubs:StubWorker")
    return survey
