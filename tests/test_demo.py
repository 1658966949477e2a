"""The demo as a user runs it, small: a real LocalCluster, the real engine; and the same tables from one process."""

from __future__ import annotations

import pandas as pd
import pytest

import surveyflow
from surveyflow import api
from surveyflow.api import runs
from surveyflow.errors import InputError, ModelError
from surveyflow.runs import demo
from surveyflow.settings.workflow import load_workflow
from surveyflow.simulation.survey import SurveySpec
from surveyflow.tasks.card import Architecture
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from worlds import edit_workflow, write_untrained_models

SMALL = SurveySpec(n_sources=24, shape_f814w=(900, 800), core_size=512, draws=50, seed=7)


NARROW = Architecture(filters=(4, 4), kernel_sizes=(11, 9), dense=(16, 16))


@pytest.fixture
def models(tmp_path):
    """A store like the package's: one field's models of both tasks, lent to another."""
    for task in (MERGER.name, CONTAMINATION.name):
        write_untrained_models(tmp_path / "store", ["COSMOS"], NARROW, task, also_for=("EGS",))
    return tmp_path / "store"


def table(folder) -> pd.DataFrame:
    return surveyflow.read_catalog(folder).sort_values(["field", "source_id"]).reset_index(drop=True)


@pytest.mark.timeout(900)
def test_demo_runs_on_a_local_cluster_and_gives_what_one_process_gives(tmp_path, models):
    result = api.demo(tmp_path / "demo", spec=SMALL, models=models)
    truth = pd.read_parquet(tmp_path / "demo" / "truth.parquet").sort_values(["field", "source_id"])
    found = table(tmp_path / "demo" / "catalog")
    assert result.rows == len(truth) == len(found)
    assert found.status.tolist() == truth.status.tolist()
    assert result.weights_origin == ("untrained",)
    assert (found.contamination_model_id.notna() == (found.status == "ok")).all()
    assert (result.path / "report.html").stat().st_size > 100_000
    assert not api.demo(tmp_path / "demo").published

    edit_workflow(tmp_path / "demo" / "workflow.toml", {"output": {"root": "serial"}})
    surveyflow.run(tmp_path / "demo" / "workflow.toml", profile="serial", engine="fft")
    serial = table(tmp_path / "demo" / "serial")
    exact = ["field", "source_id", "status", "flags", "unit_key", "x_pix", "y_pix", "valid_fraction", "n_draws"]
    pd.testing.assert_frame_equal(found[exact], serial[exact])
    numbers = [name for name in found if name.startswith(("p_pm_m", "p_pm_q", "p_sf_m", "p_sf_q", "p_contaminated_"))]
    pd.testing.assert_frame_equal(found[numbers], serial[numbers], atol=1e-5, rtol=0)


def test_a_demo_that_failed_goes_on_and_one_that_is_complete_is_not_written_again(tmp_path, models, monkeypatch):
    written, real = [], demo.write_survey

    def fail_once(folder, spec):
        written.append(folder)
        if len(written) == 1:
            (folder / "workflow.toml").write_text("version")
            raise InputError("galsim is not installed.")
        return real(folder, spec)

    monkeypatch.setattr(demo, "write_survey", fail_once)
    monkeypatch.setattr(runs, "run", lambda workflow, **_: load_workflow(workflow).survey.name)
    with pytest.raises(InputError, match="galsim"):
        api.demo(tmp_path / "demo", spec=SMALL, models=models)

    assert [api.demo(tmp_path / "demo", spec=SMALL, models=models) for _ in range(2)] == ["demo", "demo"]
    assert len(written) == 2
    assert not list((tmp_path / "demo").glob(".*"))


def test_demo_refuses_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="does not hold a demo"):
        api.demo(tmp_path)


def test_demo_without_models_says_what_is_missing(tmp_path):
    (tmp_path / "store").mkdir()
    with pytest.raises(ModelError, match=r"store holds no models\. Install surveyflow again"):
        api.demo(tmp_path / "demo", models=tmp_path / "store")
    assert not (tmp_path / "demo").exists()
