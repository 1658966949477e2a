"""Units of which no result is known are digested by whoever measures them: from the same bytes, with the same keys and rows."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pandas as pd
import pytest

from fake_executors import Killed, stub_executor
from stubs import TINY, StubModel, StubWorker
from surveyflow.errors import InputsChanged
from surveyflow.measuring import worker
from surveyflow.measuring.orders import KeyedUnit, MeasureUnit, WorkerSettings
from surveyflow.measuring.worker import SurveyWorker
from surveyflow.output.digest_cache import DigestCache, forget_digests
from surveyflow.output.units import read_receipt, unit_path
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import list_revisions, read_catalog, read_manifest
from surveyflow.runs.decide import make_plan
from surveyflow.runs.execute import LateExecutor, Reporter, carry_out
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.images import Box
from surveyflow.values.jobs import EngineChoice, JobResult
from worlds import copied, edit_workflow, perturb_mosaic, write_untrained_models

UNIT = "EGS/F814W/y000x000"


@pytest.fixture
def survey(egs_folder, tmp_path):
    made = copied(egs_folder, tmp_path / "survey")
    write_untrained_models(made.folder / "models", made.spec.fields, TINY)
    return made


def root(survey):
    return survey.folder / "catalog"


def settings_of(survey):
    return WorkerSettings(str(root(survey)), EngineChoice(), models_in_memory=2)


def run(survey, listeners=(), factory="stubs:StubWorker"):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory=factory, listeners=listeners)


def plan(survey, *, measuring):
    with open_survey(load_workflow(survey.workflow)) as opened, stub_executor(settings_of(survey)) as executor:
        return make_plan(opened, executor, Reporter([]), measuring=measuring)


def table(survey):
    return read_catalog(root(survey)).set_index(["field", "source_id"]).sort_index()


def digests_in(result):
    return {entry["path"]: entry.get("digest") for entry in read_manifest(result.path)["inputs"]}


def with_windows(planned):
    return {unit.name for unit in planned.units if unit.unit and unit.unit.tile}


def test_keys_rows_and_digests_are_the_same_in_one_job_and_in_two(survey):
    heard = []
    in_one = run(survey, [heard.append])
    rows, kept = table(survey), digests_in(in_one)
    assert "digest" not in {progress.phase for progress in heard}
    assert not plan(survey, measuring=True).having(Decision.DO)

    root(survey).rename(survey.folder / "the first catalog")
    root(survey).mkdir()
    planned = plan(survey, measuring=False)  # digests every window
    assert all(unit.key for unit in planned.units)
    in_two = run(survey)
    assert in_two.units == in_one.units
    pd.testing.assert_frame_equal(table(survey), rows)
    assert digests_in(in_two) == kept
    assert {unit["key"] for unit in read_manifest(in_two.path)["unit_keys"]} == {unit.key for unit in planned.units}


def test_windows_are_digested_first_where_a_result_may_have_their_pixels(survey):
    assert {unit.name for unit in plan(survey, measuring=True).without_key} == with_windows(plan(survey, measuring=False))
    run(survey)
    forget_digests(root(survey))
    assert not plan(survey, measuring=True).having(Decision.DO)

    forget_digests(root(survey))
    edit_workflow(survey.workflow, {"sampling": {"seed": 8}})
    planned = plan(survey, measuring=True)
    assert {unit.name for unit in planned.without_key} == with_windows(planned)
    assert {unit.reason for unit in planned.without_key} == {"sampling settings changed"}


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_killed_before_its_digests_are_written_finds_its_results(survey, monkeypatch, damaged):
    """The last minute's digests are lost. What was measured is not, unless its file is damaged, which the run says."""

    def killed(cache):
        raise Killed

    monkeypatch.setattr(DigestCache, "save", killed)
    with pytest.raises(Killed):
        run(survey)
    monkeypatch.undo()
    assert not list(root(survey).glob("digests/*.json"))
    receipts = {path.stem: path.read_bytes() for path in root(survey).glob("units/*/*.json")}
    files = {read_receipt(root(survey), key).name: unit_path(root(survey), key) for key in receipts}
    if damaged:
        files[UNIT].write_bytes(b"")
    computed = []
    monkeypatch.setattr(StubModel, "features", lambda model, cutouts: computed.append(len(cutouts)) or features(model, cutouts))
    again = run(survey)
    assert again.units == {"done": int(damaged), "kept": len(receipts) - damaged, "dropped": 0, "failed": 0}
    assert bool(computed) == damaged
    words = {UNIT: f"{files[UNIT].name} has 0 bytes instead of"} if damaged else {}
    assert {name: damage.rpartition(" ")[0] for name, damage in again.repaired_units.items()} == words
    assert len(table(survey)) == len(survey.truth)


features = StubModel.features


def test_a_unit_killed_between_its_digest_and_its_result_leaves_nothing_that_counts(survey, monkeypatch):
    undisturbed = run(survey)
    rows = table(survey)
    root(survey).rename(survey.folder / "the first catalog")

    def killed(model, cutouts):
        raise Killed

    monkeypatch.setattr(StubModel, "features", killed)
    with pytest.raises(Killed):
        run(survey)
    monkeypatch.undo()
    assert not list(root(survey).glob("units/*/*.json"))
    again = run(survey)
    assert again.units == undisturbed.units
    pd.testing.assert_frame_equal(table(survey), rows)


def test_a_mosaic_that_changes_while_its_window_is_measured_is_refused(survey, monkeypatch):
    read = worker._digested_pixels

    def changed_meanwhile(*of):
        pixels = read(*of)
        perturb_mosaic(survey.science("EGS", "F814W"), Box(0, 1, 0, 1), 1.0)
        return pixels

    monkeypatch.setattr(worker, "_digested_pixels", changed_meanwhile)
    with pytest.raises(InputsChanged, match=r"egs_f814w_sci\.fits was written to"):
        run(survey)
    assert list_revisions(root(survey)) == []
    assert not [receipt for receipt in root(survey).glob("units/*/*.json") if "F814W/" in receipt.read_text()]
    assert not list(root(survey).glob("digests/*.json"))


def test_a_failed_unit_has_the_key_of_its_pixels_in_the_manifest(survey):
    root(survey).mkdir()
    (root(survey) / "trouble").write_text(UNIT)
    result = run(survey, factory="stubs:make_troubled_stub_worker")
    assert list(result.failed_units) == [UNIT]
    assert "the sky fell" in result.failed_units[UNIT]
    (failed,) = read_manifest(result.path)["failed_units"]
    (planned,) = plan(survey, measuring=False).having(Decision.DO)
    assert (failed["name"], failed["key"]) == (UNIT, planned.key)
    assert not run(survey, factory="stubs:make_troubled_stub_worker").published


def test_a_worker_measures_no_unit_twice_whose_key_it_finds_on_disk(survey):
    """As when a worker dies between the receipt and its reply."""
    orders = []

    class Noting:
        dashboard = None

        def run(self, jobs):
            orders.extend(jobs)
            yield from (JobResult(job, error="nobody does it") for job in jobs)

        def close(self):
            """Nothing is held."""

    root(survey).mkdir()
    with open_survey(load_workflow(survey.workflow)) as opened, ExitStack() as stack:
        executor = LateExecutor(stack, lambda: closing(Noting()))
        carry_out(opened, make_plan(opened, executor, Reporter([]), measuring=True), executor, Reporter([]))
    job = next(job for job in orders if job.name == UNIT)
    assert isinstance(job.order, MeasureUnit)
    assert not job.order.key
    with closing(StubWorker(settings_of(survey))) as one:
        first = one.do(job)
    with closing(SurveyWorker(settings_of(survey), lambda folder, engine: pytest.fail("a model was loaded"))) as other:
        assert other.do(job) == KeyedUnit(first.receipt, was_done=True)
    assert not first.was_done
