"""Every broken input is refused before anything starts, with words that help."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from broken_inputs import BROKEN, BrokenInput
from surveyflow.errors import WorkflowError
from surveyflow.runs.preflight import open_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.tasks.card import Architecture
from worlds import copied, write_untrained_models


@pytest.fixture(scope="module")
def healthy(survey_folder, shared_worlds) -> Path:
    """The small survey with its models: only to be copied."""

    def make(folder):
        copied(survey_folder, folder)
        write_untrained_models(folder / "models", ("COSMOS", "EGS"), Architecture(filters=(1,), kernel_sizes=(3,), dense=(2,)))
        return folder

    return shared_worlds.get("healthy", make)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_broken_input_is_refused_with_a_helpful_message(healthy, tmp_path, broken: BrokenInput):
    folder = shutil.copytree(healthy, tmp_path / "survey")
    workflow = broken.break_it(folder)
    with pytest.raises(WorkflowError) as caught, open_survey(load_workflow(workflow)):
        pass
    for word in broken.expected_words:
        assert word in str(caught.value)


def test_the_healthy_survey_is_not_refused(healthy):
    with open_survey(load_workflow(healthy / "workflow.toml")) as survey:
        assert survey.n_sources > 0
