"""Where a stub stands in a model's place, no model is loaded; and a worker without a GPU imports no framework for its models."""

from __future__ import annotations

from pathlib import Path

import pytest

from stubs import TINY, check_stubbed, loaded_engines
from surveyflow.measuring import worker as measuring
from surveyflow.models.engines.native_library import absence
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.tasks.contamination.task import CONTAMINATION
from worlds import edit_workflow, write_untrained_models


@pytest.fixture
def survey(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    return mini_survey


def run(survey, profile, factory="stubs:StubWorker", **where):
    with open_survey(load_workflow(survey.workflow)) as opened:
        assert not run_survey(opened, profile, factory=factory, **where).failed_units


def test_a_stub_loads_no_model(survey, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(measuring, "load_model", refuse)
    run(survey, SerialProfile())
    check_stubbed(survey.folder / "catalog")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists the libraries of a process")
@pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")
def test_a_worker_without_a_gpu_imports_no_framework(survey, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    write_untrained_models(survey.folder / "models", survey.spec.fields, TINY, CONTAMINATION.name)
    with LocalProfile(workers=1).open_cluster() as cluster:
        run(survey, LocalProfile(), client=cluster.client)
        check_stubbed(survey.folder / "catalog")
        edit_workflow(survey.workflow, {"sampling": {"seed": 8}})
        run(survey, LocalProfile(), "surveyflow.measuring.worker:SurveyWorker", client=cluster.client)
        (engines,) = cluster.client.run(loaded_engines).values()

    assert engines == {"libsurveyflow.so"}
    with pytest.raises(AssertionError, match=r"computed by \['fft', 'stub'\], not with a stub"):
        check_stubbed(survey.folder / "catalog")
