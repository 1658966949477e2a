"""What a run announces: each event in its own words, and never what the workflow did not ask for."""

from __future__ import annotations

import json
import sys
import threading

import pytest

from surveyflow.errors import OutputError
from surveyflow.inputs.discovery import SkippedRelease
from surveyflow.runs import announcements
from surveyflow.runs.announcements import Announcement, announce, announce_skipped, announcing_failure, announcing_missing_workers
from surveyflow.settings.workflow import Notify
from surveyflow.values.codes import Event
from surveyflow.values.jobs import MissingWorkers

EVERYTHING = Notify(command="tell", on=tuple(Event))


@pytest.fixture
def told(monkeypatch):
    """The environments in which the command was run."""
    environments = []
    monkeypatch.setattr(announcements, "notify", lambda command, facts, timeout_s: environments.append(facts) is None)
    return environments


@pytest.fixture
def workflow(tmp_path):
    path = tmp_path / "workflow.toml"
    path.write_text('[output]\nroot = "catalog"\n[notify]\ncommand = "tell"\n')
    return path


def test_only_the_events_that_the_workflow_names_are_announced(told):
    some = Notify(command="tell", on=("held", "waiting"))
    for event in Event:
        announce(some, Announcement(event, "what happened"))
        announce(None, Announcement(event, "what happened"))
    assert [each["SURVEYFLOW_EVENT"] for each in told] == ["held", "waiting"]


def test_any_message_fits_into_an_environment(tmp_path):
    command = f"{sys.executable} -c \"import os; open(r'{tmp_path}/said', 'w').write(os.environ['SURVEYFLOW_MESSAGE'])\""
    announce(Notify(command=command), Announcement(Event.FAILED, "a\0b" + "x" * 10**6))
    assert (tmp_path / "said").read_text() == "a b" + "x" * 9_997


def test_a_broken_release_is_announced_again_when_its_reasons_change(told, workflow):
    (workflow.parent / "catalog").mkdir()

    def skip(*reasons):
        announce_skipped(workflow, None, (SkippedRelease("w3", reasons, broken=True),) if reasons else ())
        return len(told)

    assert [skip("cut short"), skip("cut short"), skip("cut short", "no list"), skip(), skip("cut short")] == [1, 1, 2, 2, 3]
    assert told[1]["SURVEYFLOW_MESSAGE"] == "release w3 was skipped: cut short; no list."
    assert told[1]["SURVEYFLOW_RELEASE"] == "w3"
    assert json.loads((workflow.parent / "catalog/digests/skipped.json").read_text()) == {"w3": ["cut short"]}


def test_a_broken_release_is_announced_again_until_the_command_succeeds(workflow, monkeypatch):
    (workflow.parent / "catalog").mkdir()
    succeeds = iter([False, True])
    monkeypatch.setattr(announcements, "notify", lambda command, facts, timeout_s: next(succeeds))
    for _ in range(3):
        announce_skipped(workflow, None, (SkippedRelease("w3", ("cut short",), broken=True),))
    assert next(succeeds, None) is None


def test_before_there_is_an_output_folder_every_start_announces(told, workflow):
    for _ in range(2):
        announce_skipped(workflow, None, (SkippedRelease("w3", ("cut short",), broken=True),))
    assert len(told) == 2
    assert not (workflow.parent / "catalog").exists()


def test_an_output_folder_that_cannot_be_written_is_refused_with_a_remedy(told, workflow):
    (workflow.parent / "catalog").mkdir()
    (workflow.parent / "catalog/digests").write_text("in the place of a folder")
    with pytest.raises(OutputError, match=r"skipped\.json could not be written: .*in the place of a folder: .* run again"):
        announce_skipped(workflow, None, (SkippedRelease("w3", ("cut short",), broken=True),))


def test_an_error_is_announced_with_its_exit_code_and_goes_on(told, workflow):
    with pytest.raises(ZeroDivisionError), announcing_failure(workflow, None):
        1 / 0  # noqa: B018
    (facts,) = told
    assert (facts["SURVEYFLOW_EVENT"], facts["SURVEYFLOW_EXIT"]) == ("failed", "1")
    assert facts["SURVEYFLOW_MESSAGE"] == "division by zero"
    assert facts["SURVEYFLOW_ROOT"] == str(workflow.parent / "catalog")


def test_who_stops_a_run_needs_no_announcement(told, workflow):
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop), announcing_failure(workflow, None):
            raise stop
    assert told == []


@pytest.mark.parametrize("text", ["[notify", "[notify]\ncommand = 3\n", "version = 1\n"])
def test_a_workflow_without_a_usable_command_announces_nothing(told, workflow, text):
    workflow.write_text(text)
    with pytest.raises(ZeroDivisionError), announcing_failure(workflow, None):
        1 / 0  # noqa: B018
    assert told == []


def test_missing_workers_are_announced_while_the_run_goes_on(monkeypatch, tmp_path):
    passed, told, goes_on = [], [], threading.Event()

    def slow(command, facts, timeout_s):
        assert goes_on.wait(60)
        told.append(facts["SURVEYFLOW_MESSAGE"])

    monkeypatch.setattr(announcements, "notify", slow)
    with announcing_missing_workers(EVERYTHING, tmp_path, passed.append) as hear:
        hear("routing any: the profile says so")
        hear(MissingWorkers("waiting up to 300 s: no worker is there"))
        assert passed == ["routing any: the profile says so", "waiting up to 300 s: no worker is there"]
        assert told == []
        goes_on.set()
    assert told == ["waiting up to 300 s: no worker is there"]
