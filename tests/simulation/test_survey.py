"""A whole survey on disk: its workflow, and what it depends on."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
import pytest

from surveyflow.settings.workflow import load_workflow
from surveyflow.simulation.survey import SurveySpec
from worlds import MiniSurvey


def test_the_workflow_is_one_that_surveyflow_accepts(mini_survey):
    (mini_survey.folder / "models").mkdir()
    workflow = load_workflow(mini_survey.workflow)
    assert set(workflow.fields) == {"COSMOS", "EGS"}
    assert workflow.tiling.core_size == 512
    assert workflow.fields["EGS"].mosaics["F125W_F160W"].science == (mini_survey.science("EGS", "F125W_F160W").resolve(),)


def test_the_workflow_carries_release_and_draws(tmp_path):
    survey = MiniSurvey(tmp_path, fields=["EGS"], n_sources=2, release="v7", draws=9)
    document = tomllib.loads(survey.workflow.read_text())
    assert document["survey"] == {"name": "demo", "release": "v7"}
    assert document["sampling"]["draws"] == 9
    assert list(document["fields"]) == ["EGS"]


def test_a_field_is_the_same_bytes_whatever_other_fields_there_are(survey_folder, tmp_path):
    again = MiniSurvey(tmp_path, fields=["EGS"])
    files = sorted(path.name for path in tmp_path.glob("egs_*"))
    assert len(files) == 5
    for name in files:
        assert (tmp_path / name).read_bytes() == (survey_folder.folder / name).read_bytes(), name
    expected = survey_folder.truth.query("field == 'EGS'").reset_index(drop=True)
    pd.testing.assert_frame_equal(again.truth, expected)


def test_another_seed_gives_other_galaxies(survey_folder, tmp_path):
    other = MiniSurvey(tmp_path, fields=["COSMOS"], seed=8)
    assert not np.isin(other.truth.query("trap == ''").ra_deg, survey_folder.truth.ra_deg).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fields": ("UDS",)}, "fields"),
        ({"fields": ()}, "fields"),
        ({"fields": ("EGS", "EGS")}, "fields"),
        ({"shape_f814w": (901, 800)}, "even"),
        ({"shape_f814w": (500, 800)}, "at least"),
        ({"n_sources": -1}, "n_sources"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_survey_that_cannot_be_made_cannot_be_asked_for(values, message):
    with pytest.raises(ValueError, match=message):
        SurveySpec(**values)


def test_more_sources_than_there_is_room_for_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no room"):
        MiniSurvey(tmp_path, n_sources=1000)
