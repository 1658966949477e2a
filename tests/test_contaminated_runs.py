"""A survey with contamination models beside the mergers', from its files to a published catalog."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

import surveyflow
from stubs import TINY
from surveyflow import api
from surveyflow.errors import WorkflowError
from surveyflow.models.engines.native_library import absence
from surveyflow.models.store import ModelStore, write_model
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import LATEST, read_catalog, read_manifest
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Domain, ModelKey
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.values.codes import Flag
from surveyflow.values.jobs import EngineChoice
from worlds import edit_workflow, write_untrained_models

needs_native_core = pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")

EGS_ACS = ModelKey(CONTAMINATION.name, "EGS", "F814W")


def write_contamination_models(survey, fields=("COSMOS", "EGS"), architecture=TINY, **changes):
    """Write them in the place of any others."""
    shutil.rmtree(survey.folder / "models" / CONTAMINATION.name, ignore_errors=True)
    return write_untrained_models(survey.folder / "models", fields, architecture, CONTAMINATION.name, **changes)


@pytest.fixture
def mergers_only(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    return mini_survey


@pytest.fixture
def survey(mergers_only):
    write_contamination_models(mergers_only)
    return mergers_only


def run(survey, factory="stubs:StubWorker", engine="auto"):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory=factory, engine=EngineChoice(engine))


def table(survey, release: str = LATEST) -> pd.DataFrame:
    return read_catalog(survey.folder / "catalog", release=release).sort_values(["field", "source_id"]).reset_index(drop=True)


def contamination(rows) -> list[str]:
    return [name for name in rows if name.startswith(("p_contaminated", "coverage_pct", "flux_pp", "contamination"))]


@needs_native_core
def test_every_measured_source_has_a_distribution_of_its_contamination(survey):
    edit_workflow(survey.workflow, {"sampling": {"draws": 20}})
    run(survey, "surveyflow.measuring.worker:SurveyWorker", "fft")
    rows = table(survey)
    ok = rows.status == "ok"
    assert rows.loc[ok, contamination(rows)].notna().all(axis=None)
    assert rows.loc[~ok, contamination(rows)].isna().all(axis=None)
    expected = {str(card.model_id) for card in api.list_models(survey.folder / "models").values() if card.contamination}
    assert set(rows.contamination_model_id.dropna()) == expected
    assert rows.coverage_pct_mean[ok].between(0, 100).all()
    assert (rows.coverage_pct_std[ok] > 0).all()
    assert (rows.flux_pp_q16[ok] <= rows.flux_pp_q84[ok]).all()
    assert rows.p_contaminated_mean[ok].between(0, 1).all()


def test_running_again_keeps_every_unit(survey):
    first, again = run(survey), run(survey)
    assert not again.published
    assert again.units["kept"] == first.units["done"]


def test_a_contamination_model_that_comes_later_does_its_units_again_and_nothing_else(mergers_only):
    run(mergers_only)
    before = table(mergers_only)
    assert before[contamination(before)].isna().all(axis=None)
    write_contamination_models(mergers_only, ["EGS"])
    plan = surveyflow.plan(mergers_only.workflow, profile="serial")
    assert {unit.reason for unit in plan.having(Decision.DO)} == {"contamination model changed"}
    assert {unit.name.split("/")[0] for unit in plan.having(Decision.DO)} == {"EGS"}
    run(mergers_only)
    after = table(mergers_only)
    unchanged = [name for name in before if name not in {*contamination(before), "unit_key"}]
    pd.testing.assert_frame_equal(before[unchanged], after[unchanged])
    measured = after.contamination_model_id.notna()
    assert (measured == ((after.status == "ok") & (after.field == "EGS"))).all()


@pytest.mark.parametrize("change", ["scale", "weights", "removed"])
def test_another_contamination_model_or_none_does_its_units_again(survey, change):
    run(survey)
    store = ModelStore(survey.folder / "models")
    card, weights = store.card(EGS_ACS), store.weights(EGS_ACS)
    if change == "removed":
        shutil.rmtree(store.home(EGS_ACS))
    elif change == "scale":
        scale = replace(card.contamination, interval_scale_coverage=1.5)
        write_model(store.home(EGS_ACS), replace(card, contamination=scale), weights, overwrite=True)
    else:
        write_model(store.home(EGS_ACS), card, {role: 2 * values for role, values in weights.items()}, overwrite=True)
    plan = surveyflow.plan(survey.workflow, profile="serial")
    assert {unit.name.rsplit("/", 1)[0] for unit in plan.having(Decision.DO)} == {"EGS/F814W"}
    assert {unit.reason for unit in plan.having(Decision.DO)} == {"contamination model changed"}


def test_each_model_prepares_the_cutouts_as_its_own_card_says(survey):
    run(survey)
    before = table(survey)
    write_contamination_models(survey, stretch=Stretch.LINEAR)
    result = run(survey)
    assert "p_contaminated_mean" in result.held[0]
    after = table(survey, result.revision)
    mergers = [name for name in before if name.startswith(("p_pm", "p_sf")) and name != "p_pm_hist"]
    pd.testing.assert_frame_equal(before[mergers], after[mergers])
    ok = before.status == "ok"
    assert (before.p_contaminated_mean[ok] != after.p_contaminated_mean[ok]).all()


def test_manifest_report_and_validation_name_both_models(survey):
    result = run(survey)
    models = {model["key"]: model for model in read_manifest(result.path)["models"]}
    assert len(models) == 8
    assert models[str(EGS_ACS)]["contamination"]["flux_range"] == 8.0
    page = (result.path / "report.html").read_text()
    assert "contamination/EGS/F814W" in page
    assert 'id="contamination"' in page
    assert "contamination/EGS/F814W@" in api.validate(survey.workflow).contamination_models["EGS/F814W"]


def test_flags_of_the_contamination_models_domain_count(survey):
    assert "NOISE_DOMAIN" not in run(survey).flags
    write_contamination_models(survey, domain=Domain("electron/s", (1.0, 2.0)))
    result = run(survey)
    assert result.flags["NOISE_DOMAIN"] == result.flags["OUT_OF_DOMAIN"] == result.status["ok"]


def test_fluxes_are_null_in_a_mosaic_of_another_unit_since_their_own_would_not_be_true(survey):
    before = run(survey)
    with fits.open(survey.science("EGS", "F814W"), mode="update") as hdus:
        next(hdu for hdu in hdus if hdu.data is not None).header["BUNIT"] = "ELECTRONS"
    with open_survey(load_workflow(survey.workflow)) as opened:
        assert any("EGS/F814W: flux_pp_mean, flux_pp_std" in warning and "will be null" in warning for warning in opened.warnings)
    after = run(survey)
    old, new = table(survey, before.revision), table(survey, after.revision)
    fluxes = [name for name in new if name.startswith("flux_pp_")]
    others = [name for name in new if name.startswith(("p_contaminated_", "coverage_pct_"))]
    of_mosaic = (new.field == "EGS") & (new.instrument == "F814W") & (new.status == "ok")
    assert of_mosaic.any()
    assert old.loc[of_mosaic, fluxes].notna().all(axis=None)
    assert new.loc[of_mosaic, fluxes].isna().all(axis=None)
    assert (new.loc[of_mosaic, "flags"] & Flag.UNIT_DOMAIN != 0).all()
    pd.testing.assert_frame_equal(old[others], new[others])
    pd.testing.assert_frame_equal(old.loc[~of_mosaic, fluxes], new.loc[~of_mosaic, fluxes])


def test_a_model_that_is_lent_is_used_and_said_to_be(mergers_only):
    acs, _ = write_contamination_models(mergers_only, ["COSMOS"], also_for=["EGS"])
    with open_survey(load_workflow(mergers_only.workflow)) as opened:
        lent = "EGS/F814W: the contamination model is lent by contamination/COSMOS/F814W"
        assert f"{lent}, as its card or the workflow's `models` says" in opened.warnings
    run(mergers_only)
    rows = table(mergers_only)
    used = rows[(rows.field == "EGS") & (rows.instrument == "F814W") & (rows.status == "ok")]
    assert set(used.contamination_model_id) == {acs.model_id}


def refusal(survey) -> str:
    with pytest.raises(WorkflowError) as caught:
        run(survey)
    assert not (survey.folder / "catalog").exists()
    return str(caught.value)


def change_card(survey, old, new):
    card = survey.folder / "models" / "contamination" / "F814W" / "EGS" / "card.toml"
    text = card.read_text()
    assert old in text
    card.write_text(text.replace(old, new))


def test_a_contamination_model_without_its_scale_is_refused(survey):
    card = survey.folder / "models" / "contamination" / "F814W" / "EGS" / "card.toml"
    card.write_text(card.read_text().partition("[contamination]")[0])
    assert "contamination/F814W/EGS/card.toml: it has no table [contamination]" in refusal(survey)


def test_a_contamination_model_with_other_outputs_is_refused(survey):
    change_card(survey, '"flux_pp_scatter"', '"sigma"')
    assert "lack ['flux_pp_scatter'], which a contamination model must name" in refusal(survey)


def test_a_contamination_model_of_another_pixel_scale_is_refused(survey):
    change_card(survey, "pixel_scale_arcsec = 0.03", "pixel_scale_arcsec = 0.06")
    assert "contamination/EGS/F814W" in refusal(survey)


def test_damaged_weights_of_a_contamination_model_are_refused(survey):
    path = survey.folder / "models" / "contamination" / "F814W" / "EGS" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert "contamination/F814W/EGS/weights.safetensors" in refusal(survey)


def test_models_that_take_other_cutouts_cannot_be_used_together(mergers_only):
    write_contamination_models(mergers_only, architecture=replace(TINY, input_size=64))
    message = refusal(mergers_only)
    assert "input_size is 64, but merger/EGS/F814W takes cutouts of 128 pixels" in message
    assert len(message.splitlines()) == 4


@needs_native_core
def test_a_contamination_model_is_verified_and_loaded_like_any_other(survey):
    folder = survey.folder / "models" / "contamination" / "F814W" / "EGS"
    assert api.show_models(folder).contamination.truth == "sky_sigma"
    model = surveyflow.load_model(folder, engine="fft")
    draws = model.draw(model.features(np.zeros((1, 128, 128), np.float32)), np.array([7], np.uint64), 5, 1)
    assert draws.shape == (1, 5, 6)
