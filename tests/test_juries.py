"""A survey measured by juries, from the members' folders to a published catalog that can be made again."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stubs import TINY
from surveyflow import api
from surveyflow.errors import WorkflowError
from surveyflow.models.cards import card_to_toml
from surveyflow.models.engines.native_library import absence
from surveyflow.models.store import ModelStore
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import latest, read_catalog, read_manifest
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.tasks.calibration import Calibration
from surveyflow.tasks.card import ModelKey
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.values.codes import Flag
from surveyflow.values.jobs import EngineChoice
from worlds import copied, edit_workflow, write_untrained_juries, write_untrained_models

NAMES = ("seed-1", "seed-2", "seed-3")
needs_native_core = pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")


@pytest.fixture
def survey(mini_survey):
    store = mini_survey.folder / "models"
    write_untrained_juries(store, mini_survey.spec.fields, TINY, NAMES)
    write_untrained_juries(store, mini_survey.spec.fields, TINY, NAMES[:2], CONTAMINATION.name)
    edit_workflow(mini_survey.workflow, {"sampling": {"draws": 31}})
    return mini_survey


def run(survey, engine="auto", factory="stubs:StubWorker"):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory=factory, engine=EngineChoice(engine))


def table(survey, release="latest") -> pd.DataFrame:
    return read_catalog(survey.folder / "catalog", release=release).sort_values(["field", "source_id"]).reset_index(drop=True)


def reasons(survey):
    return {
        (unit.decision, unit.reason) for unit in api.plan(survey.workflow, profile="serial").units if "settled" not in unit.name
    }


@needs_native_core
def test_the_catalog_tells_the_jury_its_scatter_and_its_agreement(survey):
    run(survey, "fft", "surveyflow.measuring.worker:SurveyWorker")
    rows = table(survey)
    ok = rows.status == "ok"
    assert ok.sum() > 10
    assert (rows.n_members[ok] == 3).all()
    assert (rows.n_draws[ok] == 31).all()
    assert (np.stack(rows.p_pm_hist[ok]).sum(axis=1) == 31).all()
    assert (rows.p_pm_member_std[ok] > 0).all()
    assert set((3 * rows.member_agreement[ok]).round().astype(int)) <= {1, 2, 3}
    disputed = ok & (rows.member_agreement < 1)
    assert 0 < disputed.sum() < ok.sum()
    assert ((rows["flags"] & Flag.MEMBERS_DISAGREE) > 0).equals(disputed)
    assert rows.loc[ok, ["coverage_pct_mean", "flux_pp_q50", "p_contaminated_std"]].notna().all(axis=None)
    assert rows.loc[~ok, ["n_members", "p_pm_member_std", "member_agreement"]].isna().all(axis=None)
    cards = api.list_models(survey.folder / "models")
    assert set(rows.model_id[ok]) <= {card.model_id for card in cards.values()}
    assert set(rows.weights_origin[ok]) == {"untrained"}
    described = read_manifest(latest(survey.folder / "catalog").path)["models"]
    assert {len(model["members"]) for model in described} == {2, 3}
    page = (latest(survey.folder / "catalog").path / "report.html").read_text()
    assert [page.count(f"{name} <span") for name in NAMES] == [8, 8, 4]


def test_a_model_that_moves_into_a_jury_of_its_own_is_not_measured_again(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    run(mini_survey)
    before = table(mini_survey)
    for card in ModelStore(mini_survey.folder / "models").cards().values():
        home = ModelStore(mini_survey.folder / "models").home(card.key)
        home.rename(home.with_name("moved"))
        home.with_name("moved").rename(home.joinpath("seed-1").parent.mkdir() or home / "seed-1")
    assert {decision for decision, _ in reasons(mini_survey)} == {Decision.KEEP}
    run(mini_survey)
    pd.testing.assert_frame_equal(table(mini_survey), before)


def test_fewer_members_are_a_choice_of_the_workflow_and_measure_everything_again(survey):
    shutil.rmtree(survey.folder / "models" / CONTAMINATION.name)
    run(survey)
    assert {decision for decision, _ in reasons(survey)} == {Decision.KEEP}
    edit_workflow(survey.workflow, {"models": {"members": ["seed-1", "seed-3"]}})
    assert reasons(survey) == {(Decision.DO, "model weights changed, model card changed")}
    run(survey)
    assert set(table(survey).n_members.dropna()) == {2}
    edit_workflow(survey.workflow, {"models": {"members": ["seed-2"]}})
    run(survey)
    rows = table(survey)
    assert set(rows.n_members.dropna()) == {1}
    assert rows.p_pm_member_std.isna().all()
    assert not (rows["flags"] & Flag.MEMBERS_DISAGREE).any()
    edit_workflow(survey.workflow, {"models": {"members": "all"}})
    assert {decision for decision, _ in reasons(survey)} == {Decision.KEEP}


def test_a_member_that_is_named_and_absent_is_refused_before_anything_starts(survey):
    edit_workflow(survey.workflow, {"models": {"members": ["seed-1", "seed-9"]}})
    with pytest.raises(WorkflowError, match="the jury has no member seed-9; it has seed-1, seed-2"):
        api.plan(survey.workflow, profile="serial")


def test_members_of_models_that_are_all_alone_are_refused(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    edit_workflow(mini_survey.workflow, {"models": {"members": ["seed-1"]}})
    with pytest.raises(WorkflowError, match="members names seed-1, but none of the models is a jury"):
        api.validate(mini_survey.workflow)


def test_fewer_draws_than_members_are_refused(survey):
    edit_workflow(survey.workflow, {"sampling": {"draws": 2}})
    with pytest.raises(WorkflowError, match=r"draws is 2, but merger/.* is a jury of 3"):
        api.validate(survey.workflow)


@pytest.mark.parametrize("members", ["some", [], ["a", "a"], [1], {"a": 1}])
def test_other_choices_of_members_are_refused(survey, members):
    edit_workflow(survey.workflow, {"models": {"members": members}})
    with pytest.raises(WorkflowError, match='expected "all" or a list of different names of members'):
        load_workflow(survey.workflow)


def test_a_damaged_member_is_found_before_anything_starts(survey):
    key = ModelKey("merger", survey.spec.fields[0], "F814W")
    weights = ModelStore(survey.folder / "models").home(key) / "seed-2" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(WorkflowError, match=r"seed-2.*its SHA-256 is"):
        api.validate(survey.workflow)


def test_maps_of_members_that_contradict_each_other_are_refused_before_anything_starts(survey):
    store = ModelStore(survey.folder / "models")
    key = ModelKey("merger", survey.spec.fields[0], "F814W")
    members = tuple(sorted(one.card.weights_digest for one in store.card(key).members))
    (folder, card), *_ = store.placed(store.card(key))
    calibrated = replace(card, calibrations=(Calibration(members, 1.0, 1.0, 0.0, 0.5, 500, ("ab" * 32,)),))
    (folder / "card.toml").write_text(card_to_toml(calibrated))
    with pytest.raises(WorkflowError, match=r"for these models, or some hold none\. Calibrate all of them"):
        api.validate(survey.workflow)


def calibrate(store, key):
    """Write a map for the whole jury into the members' cards."""
    members = tuple(sorted(one.card.weights_digest for one in store.card(key).members))
    map_ = Calibration(members, 1.5, 1.0, 0.2, 0.4, 500, ("ab" * 32,))
    for folder, card in store.placed(store.card(key)):
        (folder / "card.toml").write_text(card_to_toml(replace(card, calibrations=(*card.calibrations, map_))))
    return map_


def test_a_member_that_was_deleted_is_missed_until_the_workflow_says_so_or_the_rest_is_calibrated(survey, caplog):
    store = ModelStore(survey.folder / "models")
    key = ModelKey("merger", survey.spec.fields[0], "F814W")

    def warnings():
        return [warning for warning in api.validate(survey.workflow).warnings if "the calibration in its cards" in warning]

    shutil.rmtree(store.path / CONTAMINATION.name)
    calibrate(store, key)
    assert warnings() == []
    lost = store.card(key).members[1].card.weights_digest
    shutil.rmtree(store.home(key) / "seed-2")
    (warning,) = warnings()
    assert warning.startswith(f"{store.card(key).model_id}: the calibration in its cards is for 3 members, but {store.home(key)}")
    assert f"holds only 2 of them, seed-1, seed-3, and not those with the weights {lost[:12]}. Put" in warning
    assert 'write members = ["seed-1", "seed-3"] in [models]' in warning
    for show in (lambda: api.list_models(store.path), lambda: api.show_models(store.home(key))):
        caplog.clear()
        show()
        assert caplog.messages == [warning]
    edit_workflow(survey.workflow, {"models": {"members": ["seed-1", "seed-3"]}})
    assert warnings() == []
    edit_workflow(survey.workflow, {"models": {"members": "all"}})
    assert len(warnings()) == 1
    calibrate(store, key)
    assert warnings() == []


def test_the_map_of_a_jury_is_used_and_recorded(survey):
    store = ModelStore(survey.folder / "models")
    key = ModelKey("merger", survey.spec.fields[0], "F814W")
    map_ = calibrate(store, key)
    assert api.show_models(store.home(key)).calibration == map_
    run(survey)
    rows = table(survey)
    own = rows[(rows.status == "ok") & (rows.model_id == store.card(key).model_id)]
    assert len(own) > 0
    np.testing.assert_allclose(own.p_pm_calibrated, map_.probability(own.p_pm_mean), atol=1e-6)
    described = {model["key"]: model for model in read_manifest(latest(survey.folder / "catalog").path)["models"]}
    assert [one["share"] for one in described[str(key)]["calibrations"]] == [0.4]


def test_the_remedy_for_a_jury_without_a_map_names_the_members_in_use(survey):
    edit_workflow(survey.workflow, {"science": {"prevalence": 0.1}, "models": {"members": ["seed-1", "seed-2"]}})
    home = ModelStore(survey.folder / "models").home(ModelKey("merger", survey.spec.fields[0], "F814W"))
    with open_survey(load_workflow(survey.workflow)) as opened:
        assert any(f"calibrate {home / 'seed-1'} {home / 'seed-2'} --records" in warning for warning in opened.warnings)


def test_a_cluster_publishes_the_same_tables(survey, tmp_path, cluster):
    other = copied(survey, tmp_path / "other")
    run(survey)
    with open_survey(load_workflow(other.workflow)) as opened:
        run_survey(opened, SerialProfile(), client=cluster.client, factory="stubs:StubWorker")
    pd.testing.assert_frame_equal(table(other), table(survey))


def test_a_revision_is_made_again_by_the_same_members_and_by_no_others(survey):
    run(survey)
    revision = latest(survey.folder / "catalog").path
    again = api.run(revision / "manifest.json", profile="serial", output=survey.folder / "again")
    assert again.published
    key = ModelKey("merger", survey.spec.fields[0], "F814W")
    shutil.rmtree(ModelStore(survey.folder / "models").home(key) / "seed-2")
    with pytest.raises(WorkflowError, match=f"model {key} has the weights"):
        api.run(revision / "manifest.json", profile="serial")
