"""Damage to what can be derived again costs a run some work, and never its table."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from itertools import count

import numpy as np
import pandas as pd
import pytest

from stubs import TINY
from surveyflow import api
from surveyflow.errors import UnitDamaged, UnitError
from surveyflow.output.heartbeats import Heartbeat, write_heartbeat
from surveyflow.output.units import draws_path, unit_path
from surveyflow.releases.draws import open_draws
from surveyflow.releases.publish import read_catalog
from surveyflow.releases.verify import check_revision
from surveyflow.runs import run as runs
from surveyflow.runs.newest_release import SoundFiles
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import MOST_REPAIRS, run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from worlds import MiniSurvey, edit_workflow, write_untrained_models

RELEASE = count(1)


def flip_a_bit(path, rng):
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    put(path, bytes(content))


def cut_off(path, rng):
    put(path, path.read_bytes()[: rng.integers(path.stat().st_size)])


def put(path, content):
    """Other content under this name; a published file that shares the old content keeps it."""
    path.unlink()
    path.write_bytes(content)


def make_a_folder(path, rng):
    path.unlink()
    (path / "inside").mkdir(parents=True)


def make_a_pipe(path, rng):
    path.unlink()
    os.mkfifo(path)


DAMAGE = [flip_a_bit, cut_off, make_a_folder, make_a_pipe]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A survey of one field that was run once, with its draws."""
    made = MiniSurvey(tmp_path_factory.mktemp("healing"), fields=["EGS"])
    write_untrained_models(made.folder / "models", made.spec.fields, TINY)
    edit_workflow(made.workflow, {"sampling": {"keep_draws": True}})
    run(made)
    return made


@pytest.fixture(scope="module")
def expected(survey):
    return table(survey), draws(survey)


def root(survey):
    return survey.folder / "catalog"


def run(survey):
    """Run under a new release's name, so that there is something to publish."""
    edit_workflow(survey.workflow, {"survey": {"release": f"v{next(RELEASE)}"}})
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory="stubs:StubWorker")


def table(survey):
    return read_catalog(root(survey)).sort_values(["field", "source_id"]).reset_index(drop=True)


def draws(survey):
    return open_draws(root(survey)).to_table().sort_by([("field", "ascending"), ("source_id", "ascending")])


def keys(survey):
    return sorted(path.stem for path in (root(survey) / "units").glob("*/*.json"))


def files_of_the_working_part(survey):
    """Of a third of the units each the receipt, the rows or the draws; and every other file that is not published."""
    kinds = [lambda key: unit_path(root(survey), key).with_suffix(".json"), lambda key: unit_path(root(survey), key)]
    kinds.append(lambda key: draws_path(root(survey), key))
    chosen = [kinds[number % 3](key) for number, key in enumerate(keys(survey))]
    others = [path for folder in ("digests", "runs", "workers") for path in (root(survey) / folder).rglob("*") if path.is_file()]
    return [path for path in chosen if path.exists()], [path for path in others if path.stat().st_size]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_makes_the_same_table_whatever_happened_to_the_working_files(survey, expected, damage):
    rng = np.random.default_rng(5)
    write_heartbeat(root(survey), Heartbeat("node17-1", "gpu", 2e9, 1e9, "", None, 0, 0, 1.0))
    sound = SoundFiles(root(survey))
    sound.damage(survey.science("EGS", "F814W"))
    sound.save()
    of_units, others = files_of_the_working_part(survey)
    assert len(of_units) > 4
    assert {path.parent.name for path in others} >= {"digests", "workers"}
    for path in (*of_units, *others):
        damage(path, rng)
    result = run(survey)
    assert result.exit_code == 0
    assert len(result.repaired_units) == len(of_units)
    pd.testing.assert_frame_equal(table(survey), expected[0])
    assert draws(survey).equals(expected[1])
    check_revision(result.path)
    assert api.status(root(survey)).last_run.progress.phase == "done"
    assert run(survey).repaired_units == {}


def test_a_work_list_that_is_damaged_is_made_again_by_the_next_run(survey, expected):
    for path in (root(survey) / "lists").rglob("*-units-*.arrow"):
        put(path, bytes(path.stat().st_size))
    shutil.rmtree(root(survey) / "units")
    with pytest.raises(UnitError, match=r"was damaged\. Run again: the source lists are then read again"):
        run(survey)
    assert run(survey).exit_code == 0
    pd.testing.assert_frame_equal(table(survey), expected[0])


def test_the_plan_says_that_a_result_is_damaged(survey):
    key = keys(survey)[0]
    cut_off(unit_path(root(survey), key), np.random.default_rng(1))
    reasons = Counter(unit["reason"].partition(":")[0] for unit in api.plan(survey.workflow).as_json())
    assert reasons["its result on disk is damaged"] == 1
    run(survey)


def test_units_that_are_damaged_again_and_again_end_the_run_after_some_tries(survey, monkeypatch):
    done = []

    def carry_out_on_a_failing_disk(*arguments):
        outcome = carry_out(*arguments)
        flip_a_bit(unit_path(root(survey), outcome.receipts[0].key), np.random.default_rng(len(done)))
        done.append(outcome)
        return outcome

    carry_out = runs.carry_out
    monkeypatch.setattr(runs, "carry_out", carry_out_on_a_failing_disk)
    monkeypatch.setattr(runs, "repair", carry_out_on_a_failing_disk)
    before = table(survey)
    with pytest.raises(UnitDamaged, match="Run again"):
        run(survey)
    assert len(done) == 1 + MOST_REPAIRS
    pd.testing.assert_frame_equal(table(survey), before)
    monkeypatch.undo()
    run(survey)


def test_a_new_revision_does_not_share_a_damaged_file_of_an_earlier_one(survey, expected):
    first = run(survey).path
    victim = max((first / "dataset").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    kept = victim.with_suffix(".kept")
    shutil.copy(victim, kept)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(content)  # in place: every revision that shares the file is damaged
    result = run(survey)
    check_revision(result.path)
    pd.testing.assert_frame_equal(table(survey), expected[0])
    verdicts = {verdict.revision: verdict.problems for verdict in api.verify_releases(root(survey))}
    assert verdicts[result.revision] == ()
    assert "it was removed, changed or damaged" in " ".join(verdicts[first.name])
    victim.write_bytes(kept.read_bytes())
    kept.unlink()
