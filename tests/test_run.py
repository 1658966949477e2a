"""A survey from its files to a published catalog, with a labelled stub in the model's place where TensorFlow adds nothing."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

import surveyflow
from stubs import TINY, StubWorker
from surveyflow.errors import InputsChanged, LockHeld, UnitError, WorkflowError
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.measuring.orders import DigestWindow, PlannedMosaic, WorkerSettings
from surveyflow.models.store import ModelStore, write_model
from surveyflow.output.digest_cache import forget_digests
from surveyflow.output.lock import RunLock
from surveyflow.output.run_folders import last_run
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import list_revisions, open_catalog, read_catalog, read_manifest
from surveyflow.runs import preflight
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.sky.scattered import cut_from_mosaic
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import ModelKey
from surveyflow.values.codes import Flag
from surveyflow.values.images import Box
from surveyflow.values.jobs import EngineChoice, Job
from worlds import edit_workflow, perturb_mosaic, write_untrained_models


@pytest.fixture
def survey(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    return mini_survey


def run(survey, factory="stubs:StubWorker", listeners=()):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory=factory, listeners=listeners)


def root(survey):
    return survey.folder / "catalog"


def table(survey) -> pd.DataFrame:
    return read_catalog(root(survey)).sort_values(["field", "source_id"]).reset_index(drop=True)


def truth(survey) -> pd.DataFrame:
    return survey.truth.sort_values(["field", "source_id"]).reset_index(drop=True)


def test_every_source_has_one_row_with_the_status_that_its_truth_expects(survey):
    result = run(survey)
    rows, expected = table(survey), truth(survey)
    assert result.rows == len(rows) == len(expected)
    assert rows[["field", "source_id"]].equals(expected[["field", "source_id"]])
    wrong = rows.status.to_numpy() != expected.status.to_numpy()
    assert not wrong.any(), expected[wrong].assign(found=rows.status[wrong])[["field", "source_id", "trap", "status", "found"]]
    assert result.status == expected.status.value_counts().to_dict()


def test_of_runs_that_found_nothing_to_do_only_the_newest_leaves_a_folder(survey):
    def folders():
        return {path.name for path in (root(survey) / "runs").iterdir()}

    run(survey)
    first = folders()
    edit_workflow(survey.workflow, {"survey": {"release": "again"}})
    assert run(survey).published  # every unit was kept, but there is a new revision, whose manifest names the run
    worked = folders()
    assert len(worked) == 2
    left = []
    for _ in range(3):
        assert not run(survey).published
        left.append(folders() - worked)
    assert [len(names) for names in left] == [1, 1, 1]
    assert len(set().union(*left)) == 3
    assert first < worked < folders()


def test_rows_of_measured_sources_agree_with_their_truth(survey):
    run(survey)
    rows, expected = table(survey), truth(survey)
    ok = rows.status == "ok"
    assert (rows.instrument[ok].to_numpy() == expected.instrument[ok].to_numpy()).all()
    assert np.allclose(rows.valid_fraction[ok], expected.valid_fraction[ok], atol=1e-6)
    geometry = int(Flag.EDGE | Flag.PARTIAL_COVERAGE)
    assert ((rows.loc[ok, "flags"] & geometry) == expected.loc[ok, "flags"]).all()
    acs = ok & (rows.instrument == "F814W")
    assert np.allclose(rows.x_pix[acs], expected.x_f814w[acs], atol=1e-3)
    assert np.allclose(rows.y_pix[acs], expected.y_f814w[acs], atol=1e-3)


def test_results_are_null_unless_ok_and_complete_where_ok(survey):
    run(survey)
    rows = table(survey)
    results = [
        name for name in rows.columns if name.startswith(("p_pm_", "p_sf_", "f_pm", "vote_", "model_id", "weights_", "n_draws"))
    ]
    others = ["p_pm_member_std", "p_pm_calibrated", "p_pm_at_prevalence"]  # of one member, and without a map and a prevalence
    assert rows.loc[rows.status == "ok", results].drop(columns=others).notna().all(axis=None)
    assert rows[others].isna().all(axis=None)
    assert rows.loc[rows.status != "ok", results].isna().all(axis=None)
    assert (np.stack(rows.p_pm_hist[rows.status == "ok"]).sum(axis=1) == survey.spec.draws).all()
    assert (rows.weights_origin.dropna() == "untrained").all()


def test_running_again_does_nothing(survey):
    first = run(survey)
    again = run(survey)
    assert (again.published, again.revision) == (False, first.revision)
    assert again.units == {"done": 0, "kept": first.units["done"], "dropped": 0, "failed": 0}
    assert [revision.name for revision in list_revisions(root(survey))] == ["demo-r1"]


def test_new_release_name_alone_computes_nothing(survey):
    first = run(survey)
    edit_workflow(survey.workflow, {"survey": {"release": "v2"}})
    again = run(survey)
    assert (again.revision, again.units["done"], again.units["kept"]) == ("v2-r1", 0, first.units["done"])


def test_changed_pixels_compute_the_tiles_that_hold_them_and_nothing_else(survey):
    first = run(survey)
    before = table(survey)
    perturb_mosaic(survey.science("COSMOS", "F814W"), Box(700, 720, 700, 720), 0.5)
    again = run(survey)
    assert again.units == {"done": 1, "kept": first.units["done"] - 1, "dropped": 0, "failed": 0}
    changed = (before.unit_key != table(survey).unit_key).to_numpy()
    assert changed.any()
    assert (before.x_pix[changed] >= 512 - 64).all()


def test_source_whose_redshift_crosses_a_range_moves_to_the_other_instrument(survey):
    edit_workflow(survey.workflow, {"routing": {"F814W": [0.5, 1.49], "F125W_F160W": [1.49, 3.0]}})
    run(survey)
    edit_workflow(survey.workflow, {"routing": {"F814W": [0.5, 1.5], "F125W_F160W": [1.5, 3.0]}})
    run(survey)
    assert (table(survey).status.to_numpy() == truth(survey).status.to_numpy()).all()


def test_failed_unit_is_listed_its_sources_keep_their_rows_and_the_next_run_repairs_it(survey):
    root(survey).mkdir()
    trouble = root(survey) / "trouble"
    trouble.write_text("EGS/F814W/y000x000")
    result = run(survey, "stubs:make_troubled_stub_worker")
    assert result.exit_code == 3
    assert result.failed_units == {"EGS/F814W/y000x000": result.failed_units["EGS/F814W/y000x000"]}
    assert "the sky fell" in result.failed_units["EGS/F814W/y000x000"]
    rows = table(survey)
    assert len(rows) == len(truth(survey))
    assert 0 < (rows.status == "failed").sum() == result.status["failed"]
    trouble.write_text("")
    mended = run(survey, "stubs:make_troubled_stub_worker")
    assert (mended.units["done"], mended.exit_code) == (1, 0)
    assert (table(survey).status.to_numpy() == truth(survey).status.to_numpy()).all()


def test_rows_of_failed_units_may_lie_on_nfs(survey, monkeypatch):
    """There, a removed file that is still mapped keeps its folder from being removed."""
    remove = os.rmdir

    def refused(folder, **where):
        if Path(folder).parent.parent.name == "runs" and "failed.arrow" in Path("/proc/self/maps").read_text():
            raise OSError(errno.ENOTEMPTY, "Directory not empty", folder)
        remove(folder, **where)

    monkeypatch.setattr(os, "rmdir", refused)
    root(survey).mkdir()
    (root(survey) / "trouble").write_text("EGS/F814W/y000x000")
    assert run(survey, "stubs:make_troubled_stub_worker").exit_code == 3
    assert len(table(survey)) == len(truth(survey))


def test_nothing_is_published_when_every_unit_fails(survey):
    root(survey).mkdir()
    (root(survey) / "trouble").write_text("/")
    with pytest.raises(UnitError, match=r"None of the .* units could be finished, so nothing was published"):
        run(survey, "stubs:make_troubled_stub_worker")
    assert list_revisions(root(survey)) == []
    stopped = last_run(root(survey))
    assert stopped is not None
    assert stopped.progress.phase == "stopped"


def test_second_run_at_once_is_refused_and_names_the_holder(survey):
    root(survey).mkdir()
    with RunLock(root(survey), "the-first-one"), pytest.raises(LockHeld, match="the-first-one"):
        run(survey)
    assert list_revisions(root(survey)) == []


def changing(survey, phase, change, done=0):
    """A listener that changes a file when a phase has come so far."""

    def listen(progress):
        if (progress.phase, progress.done) == (phase, done):
            change(survey)

    return listen


def rewrite_a_pixel(survey):
    perturb_mosaic(survey.science("EGS", "F814W"), Box(0, 1, 0, 1), 1.0)


def replace_a_source_list(survey):
    path = survey.source_list("EGS")
    path.rename(path.with_suffix(".old"))
    path.write_bytes(path.with_suffix(".old").read_bytes())


def remove_a_weight_map(survey):
    survey.weight("COSMOS", "F814W").unlink()


@pytest.mark.parametrize("done", [0, 9])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rewrite_a_pixel, "egs_f814w_sci.fits was written to"),
        (replace_a_source_list, "egs_catalog.cat was replaced"),
        (remove_a_weight_map, "cosmos_f814w_wht.fits is gone"),
    ],
)
def test_nothing_is_published_of_files_that_change_while_they_are_read(survey, change, words, done):
    with pytest.raises(InputsChanged, match=words):
        run(survey, listeners=[changing(survey, "units", change, done)])
    assert list_revisions(root(survey)) == []
    stopped = last_run(root(survey))
    assert stopped is not None
    assert stopped.progress.phase == "stopped"


def test_a_part_of_a_list_that_appears_while_it_is_read_is_refused(survey, monkeypatch):
    folder = survey.folder / "parts"
    folder.mkdir()
    rows = Table.read(survey.source_list("COSMOS"))
    rows[:10].write(folder / "0.parquet")
    edit_workflow(survey.workflow, {"fields": {"COSMOS": {"sources": {"path": "parts"}}}})
    read = preflight.read_lists

    def late(*given):
        rows[10:].write(folder / "1.parquet")
        return read(*given)

    monkeypatch.setattr(preflight, "read_lists", late)
    with pytest.raises(InputsChanged, match=r"parts/1\.parquet appeared while this run was reading"):
        run(survey)


def test_file_that_changes_while_it_is_digested_is_refused(survey):
    run(survey)
    forget_digests(root(survey))
    with pytest.raises(InputsChanged, match=r"egs_f814w_sci\.fits was written to"):
        run(survey, listeners=[changing(survey, "digest", rewrite_a_pixel)])
    assert len(list_revisions(root(survey))) == 1


def test_units_done_before_a_file_changed_are_kept_by_the_next_run(survey):
    with pytest.raises(InputsChanged):
        run(survey, listeners=[changing(survey, "units", rewrite_a_pixel, done=9)])
    again = run(survey)
    assert again.units["kept"] > 0
    assert (table(survey).status.to_numpy() == truth(survey).status.to_numpy()).all()


def test_progress_is_reported_to_listeners_and_kept_in_the_run_folder(survey):
    heard = []
    result = run(survey, listeners=[heard.append])
    units = [progress for progress in heard if progress.phase == "units"]
    assert [progress.done for progress in units] == list(range(result.units["done"] + 1))
    assert units[-1].cutouts_done == units[-1].cutouts_total == result.rows
    assert heard[-1].phase == "done"
    kept = last_run(root(survey))
    assert kept is not None
    assert kept.progress == heard[-1]


def test_manifest_holds_what_is_needed_to_run_again(survey):
    result = run(survey)
    manifest = read_manifest(result.path)
    assert {entry["path"] for entry in manifest["inputs"]} >= {str(survey.science("EGS", "F814W"))}
    assert {model["origin"] for model in manifest["models"]} == {"untrained"}
    assert manifest["rows"] == result.rows == open_catalog(root(survey)).count_rows()
    assert manifest["versions"]["numpy"] == np.__version__


def test_cutouts_of_tiles_do_not_depend_on_the_tiling(survey):
    run(survey)
    before = table(survey)
    edit_workflow(survey.workflow, {"tiling": {"core_size": 256}})
    run(survey)
    after = table(survey)
    pd.testing.assert_frame_equal(before.drop(columns="unit_key"), after.drop(columns="unit_key"))


def test_another_precision_computes_again_and_says_why(survey):
    run(survey)
    plan = surveyflow.plan(survey.workflow, profile="serial", precision="bf16")
    assert {unit.reason for unit in plan.having(Decision.DO)} == {"arithmetic precision changed"}
    assert {unit.name.split("/")[1] for unit in plan.having(Decision.KEEP)} == {"settled"}


def test_two_models_of_the_same_weights_keep_their_own_cards(survey):
    """With the real loading of models: one worker, one set of weights, two cards."""
    edit_workflow(survey.workflow, {"sampling": {"draws": 20}})
    store = ModelStore(survey.folder / "models")
    lender, other = ModelKey("merger", "COSMOS", "F814W"), ModelKey("merger", "EGS", "F814W")
    weights = store.weights(lender)
    card = replace(store.card(other), stretch=Stretch.LINEAR, class_names=("star_forming", "post_merger"))
    write_model(store.folder(other), card, weights, overwrite=True)
    run(survey, "surveyflow.measuring.worker:SurveyWorker")
    together = table(survey)
    assert set(together.model_id[(together.field == "EGS") & (together.instrument == "F814W")].dropna()) == {
        store.card(other).model_id
    }

    alone = survey.folder / "alone"
    edit_workflow(survey.workflow, {"fields": {"COSMOS": None}, "output": {"root": "alone"}})
    run(survey, "surveyflow.measuring.worker:SurveyWorker")
    expected = read_catalog(alone).sort_values("source_id").reset_index(drop=True)
    found = together[together.field == "EGS"].sort_values("source_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


def test_card_edited_after_the_plan_is_noticed(survey):
    card = survey.folder / "models" / "merger" / "F814W" / "EGS" / "card.toml"

    def edit(progress):
        if progress.phase == "units" and progress.done == 0:
            card.write_text(card.read_text().replace('"asinh_minmax"', '"minmax"'))

    result = run(survey, "surveyflow.measuring.worker:SurveyWorker", listeners=[edit])
    assert all(name.startswith("EGS/F814W") for name in result.failed_units)
    assert all("has changed since then" in error for error in result.failed_units.values())
    assert result.failed_units


def test_damaged_weights_are_refused_before_anything_starts(survey):
    path = survey.folder / "models" / "merger" / "F814W" / "EGS" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WorkflowError, match=r"weights\.safetensors"):
        run(survey)
    assert not root(survey).exists()


def test_a_problem_of_a_model_that_serves_two_fields_is_told_once(survey):
    models, (first, *others) = survey.folder / "models", survey.spec.fields
    shutil.rmtree(models)
    write_untrained_models(models, [first], TINY, also_for=others)
    path = models / "merger" / "F814W" / first / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WorkflowError, match=r"weights\.safetensors") as caught:
        run(survey)
    assert others
    assert len(caught.value.problems) == 1


def test_unit_whose_file_was_damaged_is_done_again_by_the_run_that_finds_it(survey, caplog):
    run(survey)
    before = table(survey)
    victim = max((root(survey) / "units").glob("*/*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 3] ^= 1
    victim.write_bytes(content)
    edit_workflow(survey.workflow, {"survey": {"release": "v2"}})
    result = run(survey)
    assert result.revision == "v2-r1"
    assert result.units["done"] == 1
    ((name, damage),) = result.repaired_units.items()
    assert damage == f"{victim.name} differs from its digest"
    assert f"unit={name} is damaged and is done again" in caplog.text
    pd.testing.assert_frame_equal(table(survey), before)


def test_file_replaced_with_the_same_size_and_time_is_read_again(survey):
    """As `cp -p` and `rsync -t` do; the worker of the first run is still there."""
    path = survey.science("COSMOS", "F814W")
    with (
        open_survey(load_workflow(survey.workflow)) as opened,
        closing(StubWorker(WorkerSettings(str(root(survey)), EngineChoice(), models_in_memory=2))) as worker,
    ):
        (mosaic,) = opened.fields["COSMOS"].mosaics["F814W"].mosaics
        box = Box(0, 64, 0, 64)
        before = worker.do(Job("before", DigestWindow(PlannedMosaic.of(mosaic), box)))
        copy = path.with_suffix(".copy")
        shutil.copy2(path, copy)
        perturb_mosaic(copy, Box(0, 1, 0, 1), 0.5)
        os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        copy.replace(path)
        with open_mosaic(path, survey.weight("COSMOS", "F814W")) as replaced:
            after = worker.do(Job("after", DigestWindow(PlannedMosaic.of(replaced), box)))
    assert before["science"] != after["science"]


def test_lock_that_was_taken_away_stops_the_publishing(survey):
    def steal(progress):
        if progress.phase == "publish":
            (root(survey) / "run.lock").unlink()

    with pytest.raises(LockHeld, match=r"has lost its lease \(its file was removed\)"):
        run(survey, listeners=[steal])
    assert list_revisions(root(survey)) == []


def test_result_says_which_flags_the_rows_carry_and_whose_weights_they_are(survey):
    result = run(survey)
    assert result.flags["EDGE"] == (table(survey)["flags"] & int(Flag.EDGE) > 0).sum()
    assert result.weights_origin == ("untrained",)


def test_a_prevalence_without_a_calibration_is_warned_of_and_recorded(survey):
    edit_workflow(survey.workflow, {"science": {"prevalence": 0.1}})
    with open_survey(load_workflow(survey.workflow)) as opened:
        told = [warning for warning in opened.warnings if "p_pm_at_prevalence is null" in warning]
    assert any("surveyflow models calibrate" in warning and "merger/F814W/COSMOS" in warning for warning in told)
    result = run(survey)
    assert table(survey)["p_pm_at_prevalence"].isna().all()
    assert read_manifest(result.path)["workflow"]["science"] == {"prevalence": 0.1}


@pytest.mark.parametrize(("stated", "flagged"), [(None, True), ("electron/s", False)])
def test_mosaic_without_unit_is_flagged_unless_the_workflow_states_it(survey, stated, flagged):
    fits.delval(survey.science("COSMOS", "F814W"), "BUNIT")
    if stated:
        edit_workflow(survey.workflow, {"fields": {"COSMOS": {"F814W": {"unit": stated}}}})
    with open_survey(load_workflow(survey.workflow)) as opened:
        assert any("has no BUNIT" in warning for warning in opened.warnings) == flagged
    run(survey)
    rows = table(survey)
    measured = rows[(rows.status == "ok") & (rows.field == "COSMOS") & (rows.instrument == "F814W")]
    assert ((measured["flags"] & int(Flag.UNIT_DOMAIN)) > 0).all() == flagged


def test_stated_unit_that_contradicts_the_header_is_refused(survey):
    edit_workflow(survey.workflow, {"fields": {"COSMOS": {"F814W": {"unit": "adu"}}}})
    with pytest.raises(WorkflowError, match="but the workflow states 'adu'"):
        run(survey)


def test_a_survey_laid_out_as_by_the_pipeline_of_jwst_is_converted_and_says_so(survey):
    science, weight = survey.science("COSMOS", "F814W"), survey.weight("COSMOS", "F814W")
    megajanskys = 1e-6 * 3631 * 10 ** (-0.4 * 25.947) * (180 * 3600 / np.pi / 0.03) ** 2  # of 1 e-/s in a pixel of 30 mas
    with fits.open(science) as image, fits.open(weight) as map_, np.errstate(divide="ignore"):
        flux = fits.ImageHDU(image[0].data * np.float32(megajanskys), image[0].header.copy(strip=True), name="SCI")
        flux.header["BUNIT"] = "MJy/sr"
        error = np.where(map_[0].data > 0, megajanskys / np.sqrt(map_[0].data), 0)
        layout = fits.HDUList([fits.PrimaryHDU(), flux, fits.ImageHDU(error.astype("f4"), name="ERR")])
        layout.writeto(survey.folder / "cosmos_i2d.fits")
    table_ = {"science": "cosmos_i2d.fits[SCI]", "weight": "cosmos_i2d.fits[ERR]", "weight_kind": "rms"}
    edit_workflow(survey.workflow, {"fields": {"COSMOS": {"F814W": table_}}})
    result = run(survey)
    rows = table(survey)
    measured = rows[(rows.status == "ok") & (rows.field == "COSMOS") & (rows.instrument == "F814W")]
    assert (measured["flags"] & int(Flag.CONVERTED_UNIT)).all()
    assert not (measured["flags"] & int(Flag.UNIT_DOMAIN)).any()
    assert not (rows["flags"].drop(measured.index) & int(Flag.CONVERTED_UNIT)).any()
    with open_mosaic(science, weight) as before:
        expected = cut_from_mosaic(before, measured.x_pix.to_numpy(), measured.y_pix.to_numpy(), 128)
    np.testing.assert_allclose(measured.weight_median, expected.weight_median, rtol=1e-4)
    entries = {(entry["field"], entry["instrument"], entry["kind"]): entry for entry in read_manifest(result.path)["inputs"]}
    assert entries["COSMOS", "F814W", "science"]["conversion"] == {
        "factor": pytest.approx(1 / megajanskys, rel=1e-4),
        "unit": "MJy/sr",
        "zero_point_ab": pytest.approx(25.947 + 2.5 * np.log10(megajanskys), abs=1e-3),
        "source": "its unit, MJy/sr",
    }
    assert "conversion" not in entries["COSMOS", "F125W_F160W", "science"]
    assert entries["COSMOS", "F814W", "weight"]["noise"]["stated"] == "rms"
    assert entries["COSMOS", "F814W", "weight"]["noise"]["kind"] == "rms"


def test_a_weight_map_that_is_not_what_the_workflow_states_is_refused(survey):
    edit_workflow(survey.workflow, {"fields": {"COSMOS": {"F814W": {"weight_kind": "variance"}}}})
    with pytest.raises(WorkflowError, match=r"is stated to be variance .* says that it is inverse variance") as refused:
        run(survey)
    assert 'Write weight_kind = "inverse variance", or leave it out' in str(refused.value)


def test_a_zero_point_that_the_header_contradicts_is_refused(survey):
    edit_workflow(survey.workflow, {"fields": {"COSMOS": {"F814W": {"zero_point": 23.9}}}})
    with pytest.raises(
        WorkflowError, match=r"1 electron/s is 23\.900 mag \(AB\) by the workflow's zero_point, but 25\.947 by PHOTFLAM"
    ):
        run(survey)


def test_a_mosaic_of_another_pixel_scale_is_refused_or_resampled_as_the_workflow_says(survey):
    for path in (survey.science("COSMOS", "F814W"), survey.weight("COSMOS", "F814W")):
        with fits.open(path, mode="update") as hdus:
            for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
                hdus[0].header[key] *= 1.2
    with pytest.raises(WorkflowError, match=r"has 0\.0360 arcsec/pixel, .* or write `resample = true`"):
        run(survey)
    edit_workflow(survey.workflow, {"fields": {"COSMOS": {"F814W": {"resample": True}}}})
    result = run(survey)
    rows = table(survey)
    measured = rows[(rows.status == "ok") & (rows.field == "COSMOS") & (rows.instrument == "F814W")]
    assert len(measured)
    assert (measured["flags"] & int(Flag.RESAMPLED)).all()
    assert not (rows["flags"].drop(measured.index) & int(Flag.RESAMPLED)).any()
    entries = {(entry["field"], entry["instrument"], entry["kind"]): entry for entry in read_manifest(result.path)["inputs"]}
    assert entries["COSMOS", "F814W", "science"]["resampled_arcsec"] == pytest.approx([0.036, 0.03])
    assert not run(survey).published


def test_mosaic_of_another_filter_and_stated_psf_is_flagged(survey):
    fits.setval(survey.science("COSMOS", "F814W"), "FILTER", value="F606W")
    card = survey.folder / "models/merger/F814W/COSMOS/card.toml"
    card.write_text(card.read_text().replace("[domain]", "[domain]\npsf_fwhm_arcsec = [0.09, 0.15]"))
    edit_workflow(survey.workflow, {"fields": {name: {"F814W": {"psf_fwhm": fwhm}} for name, fwhm in PSFS.items()}})
    with open_survey(load_workflow(survey.workflow)) as opened:
        [warning] = [warning for warning in opened.warnings if "psf_fwhm" in warning]
    assert warning.startswith("COSMOS/F814W: psf_fwhm is 0.2 arcsec, but merger/COSMOS/F814W is for 0.09 to 0.15: flagged")
    run(survey)
    rows = table(survey)
    of_mosaic = (rows.status == "ok") & (rows.field == "COSMOS") & (rows.instrument == "F814W")
    assert of_mosaic.any()
    for flag in (Flag.BAND_DOMAIN, Flag.PSF_DOMAIN):
        assert (rows["flags"] & flag != 0).equals(of_mosaic)


PSFS = {"COSMOS": 0.2, "EGS": 0.12}


def test_mosaic_without_filter_is_flagged_as_unknown_and_not_as_another_band(survey):
    fits.delval(survey.science("COSMOS", "F814W"), "FILTER")
    with open_survey(load_workflow(survey.workflow)) as opened:
        assert sum("names no FILTER: flagged FILTER_UNKNOWN" in warning for warning in opened.warnings) == 1
    run(survey)
    rows = table(survey)
    of_mosaic = (rows.field == "COSMOS") & (rows.instrument == "F814W")
    unknown = rows["flags"] & Flag.FILTER_UNKNOWN != 0
    assert unknown.equals(of_mosaic & (rows.status == "ok"))
    assert not (rows["flags"][of_mosaic] & Flag.BAND_DOMAIN).any()


@pytest.mark.parametrize("kind", ["exposure", "rms", "variance"])
def test_weight_map_that_is_no_inverse_variance_is_named_everywhere(survey, kind):
    path = survey.weight("EGS", "F814W")
    with fits.open(path, mode="update") as hdus:
        weight = next(hdu.data for hdu in hdus if hdu.data is not None)
        rms = np.divide(1, np.sqrt(weight), out=np.zeros_like(weight), where=weight > 0)
        weight[:] = {"exposure": 6900 * (weight > 0), "rms": rms, "variance": rms**2}[kind]
    warnings = surveyflow.validate(survey.workflow).warnings
    (caution,) = [warning for warning in warnings if "weight_median" in warning]
    assert caution.startswith(f"EGS/F814W: {path} looks like {kind} (")
    assert run(survey).status["ok"] > 0
    revision = list_revisions(root(survey))[-1].path
    found = {
        (entry["field"], entry["instrument"]): entry["noise"]["kind"]
        for entry in read_manifest(revision)["inputs"]
        if entry.get("noise")
    }
    assert found.pop(("EGS", "F814W")) == kind
    assert set(found.values()) == {"inverse variance"}
    page = (revision / "report.html").read_text()
    assert page.count(f"{path.name} looks like {kind}") == 1
    assert "its noise fits: inverse variance" in page
