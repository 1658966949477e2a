"""A worker between two units: one is computed while the other is read, models give way, and a full device is told."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fake_executors import NotingExecutor, stub_executor
from stubs import TINY, StubModel
from surveyflow.errors import DeviceMemoryError
from surveyflow.inputs.mosaics import Mosaic
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.measuring.worker import SurveyWorker
from surveyflow.models.store import read_card
from surveyflow.output.units import remove_unit
from surveyflow.runs.decide import make_plan, work_by_model_group
from surveyflow.runs.execute import Reporter, carry_out
from surveyflow.runs.preflight import open_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.values.jobs import EngineChoice, Job
from waiting import PATIENCE_S
from worlds import write_untrained_juries, write_untrained_models


@pytest.fixture
def survey(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    return mini_survey


@pytest.fixture
def settings(survey):
    return WorkerSettings(str(survey.folder / "catalog"), EngineChoice(), models_in_memory=2)


@pytest.fixture
def jobs(survey, settings):
    return jobs_of(survey, settings)


def jobs_of(survey, settings):
    """The jobs of a run's units."""
    noted = NotingExecutor()
    (survey.folder / "catalog").mkdir()
    with open_survey(load_workflow(survey.workflow)) as opened, stub_executor(settings) as serial:
        plan = make_plan(opened, serial, Reporter([]))
        carry_out(opened, plan, noted, Reporter([]))
    return noted.jobs


def with_pixels(jobs):
    return [job for job in jobs if job.model_group]


def test_jobs_say_which_models_they_need_and_how_much_work_they_are(survey, jobs):
    by_group = {}
    for job in jobs:
        by_group[job.model_group] = by_group.get(job.model_group, 0) + job.n_sources
    settled = by_group.pop("")

    with open_survey(load_workflow(survey.workflow)) as opened:
        assert by_group == work_by_model_group(opened)
        assert sum(by_group.values()) + settled == opened.n_sources


def test_work_that_is_done_counts_no_longer(survey, settings, jobs):
    first = max(with_pixels(jobs), key=lambda job: job.n_sources)
    with stub_executor(settings) as serial, open_survey(load_workflow(survey.workflow)) as opened:
        before = work_by_model_group(opened)
        list(serial.run([first]))
        after = work_by_model_group(opened)

    assert before[first.model_group] - after.get(first.model_group, 0) == first.n_sources


@dataclass
class Turns:
    """What happened when, among units that are read and computed."""

    n_read: int = 0
    both_are_read: threading.Event = field(default_factory=threading.Event)
    device: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))
    was_read_meanwhile: list[bool] = field(default_factory=list)
    was_alone: list[bool] = field(default_factory=list)

    def note_reading(self):
        self.n_read += 1
        if self.n_read == 2:
            self.both_are_read.set()

    def compute(self):
        """Take until the other unit is read."""
        self.was_alone.append(self.device.acquire(blocking=False))
        self.was_read_meanwhile.append(self.both_are_read.wait(PATIENCE_S))
        self.device.release()


@dataclass(frozen=True)
class Patient(StubModel):
    """Computes no batch before another window has been read."""

    turns: Turns

    def features(self, cutouts):
        self.turns.compute()
        return super().features(cutouts)


def test_a_unit_is_read_while_another_is_computed_and_never_two_are(jobs, settings, monkeypatch):
    turns, read = Turns(), Mosaic.read_stamps

    def noted(*of):
        stamps = read(*of)
        turns.note_reading()
        return stamps

    monkeypatch.setattr(Mosaic, "read_stamps", noted)

    def load(folder, engine):
        return Patient(read_card(folder), turns)

    first, second = with_pixels(jobs)[:2]
    with closing(SurveyWorker(settings, load)) as worker, ThreadPoolExecutor(2) as pool:
        receipts = list(pool.map(worker.do, [first, second]))

    assert turns.was_read_meanwhile == [True, True]
    assert turns.was_alone == [True, True]
    assert [receipt.name for receipt in receipts] == [first.name, second.name]


@pytest.mark.parametrize("replaced", ["read_stamps", "read"])
def test_rows_are_the_same_whether_cutouts_or_windows_are_read(jobs, settings, monkeypatch, replaced):
    order = max(with_pixels(jobs), key=lambda job: job.n_sources).order
    monkeypatch.setattr(Mosaic, replaced, lambda *_: None)  # no cutouts can be read; no window may be

    with closing(SurveyWorker(settings, lambda folder, engine: StubModel(read_card(folder)))) as worker:
        digest = worker.do(Job("of one kind", order)).digest
    remove_unit(Path(settings.root), order.key)
    monkeypatch.undo()
    with closing(SurveyWorker(settings, lambda folder, engine: StubModel(read_card(folder)))) as worker:
        assert worker.do(Job("of the other kind", order)).digest == digest


class Full(StubModel):
    """Stands for an engine that has halved its batch down to one cutout, in vain."""

    def features(self, cutouts):
        raise ResourceExhaustedError("OOM when allocating tensor")


class ResourceExhaustedError(Exception):
    """What TensorFlow calls it."""


def test_a_full_device_is_told_apart_from_other_trouble(jobs, settings):
    def load(folder, engine):
        return Full(read_card(folder))

    with (
        closing(SurveyWorker(settings, load)) as worker,
        pytest.raises(DeviceMemoryError, match="even for the smallest batch: OOM"),
    ):
        worker.do(with_pixels(jobs)[0])


def test_a_worker_keeps_no_more_models_than_it_may(jobs, settings):
    loaded = []

    def load(folder, engine):
        loaded.append(folder)
        return StubModel(read_card(folder))

    of_each_group = list({job.model_group: job for job in with_pixels(jobs)}.values())
    assert len(of_each_group) >= 2
    with closing(SurveyWorker(replace(settings, models_in_memory=1), load)) as worker:
        for job in [*of_each_group[:2], *of_each_group[:2], of_each_group[1]]:
            worker.do(job)

    assert len(loaded) == 4


def test_a_worker_keeps_every_member_of_the_juries_that_a_unit_needs(survey, settings):
    shutil.rmtree(survey.folder / "models")
    write_untrained_juries(survey.folder / "models", survey.spec.fields, TINY, ["a", "b", "c"])
    loaded = []

    def load(folder, engine):
        loaded.append(folder.name)
        return StubModel(read_card(folder))

    of_one_group = [job for job in with_pixels(jobs_of(survey, settings)) if job.model_group == "EGS/F814W"]
    assert len(of_one_group) >= 2
    with closing(SurveyWorker(replace(settings, models_in_memory=1), load)) as worker:
        for job in of_one_group:
            worker.do(job)
    assert loaded == ["a", "b", "c"]
