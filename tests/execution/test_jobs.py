from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tblib.pickling_support

from fakes import FakeSettings, fake_job
from surveyflow import errors
from surveyflow.errors import ModelError
from surveyflow.execution.jobs import JobOutcome, WorkerSpec, close_workers, describe, do_job
from surveyflow.values.jobs import JobResult
from waiting import wait_until

FAKE = WorkerSpec("fakes:make_fake_worker", FakeSettings())


@pytest.fixture(autouse=True)
def no_worker_is_left_over():
    close_workers()
    yield
    close_workers()


def test_the_value_comes_back_under_the_jobs_name():
    job = fake_job("nine", "square", number=9)

    assert do_job(FAKE, job).result(job) == JobResult(job, value=81)


def test_an_exception_becomes_type_message_and_place():
    outcome = do_job(FAKE, fake_job("bad", "raise_value_error", message="redshift is negative"))

    assert outcome.value is None
    assert not outcome.fatal
    assert outcome.error.startswith("ValueError: redshift is negative (fakes.py:")
    assert outcome.error.endswith("in _raise_value_error)")


def test_our_own_errors_finish_their_sentence_themselves():
    assert do_job(FAKE, fake_job("bad", "raise_model_error")).error == "ModelError: card.toml: no such model"


def test_a_full_disk_is_fatal():
    outcome = do_job(FAKE, fake_job("full", "fill_disk"))

    assert outcome.fatal
    assert "no space left" in outcome.error


@pytest.mark.parametrize("verb", ["raise_unpicklable", "return_unpicklable"])
def test_what_cannot_be_pickled_comes_back_as_words(verb):
    outcome = pickle.loads(pickle.dumps(do_job(FAKE, fake_job("odd", verb))))

    assert outcome.error
    assert not outcome.fatal


def test_a_worker_is_made_once_for_each_factory_and_context():
    census = fake_job("census", "census")
    other = WorkerSpec("fakes:make_fake_worker", FakeSettings(seed=1))

    results = [do_job(spec, census).result(census).value for spec in (FAKE, FAKE, other, FAKE)]

    assert [n_jobs for _, _, n_jobs in results] == [1, 2, 1, 3]


def test_two_jobs_of_a_process_are_done_at_a_time_and_the_others_wait(tmp_path):
    spec = WorkerSpec("fakes:make_fake_worker", FakeSettings(tmp_path))
    jobs = [fake_job(f"nap{number}", "company", wanted=2, seconds=0.05) for number in range(6)]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda job: do_job(spec, job).result(job), jobs))

    assert max(result.value for result in results) == 2


def test_a_worker_refuses_loudly_what_it_does_not_hold():
    job = fake_job("cosmos", "square", model_group="COSMOS/F814W", number=3)

    refused = do_job(FAKE, job, pinned_to={"EGS/F814W", "GDS/F814W"})

    assert refused.fatal
    assert "was asked for the models of COSMOS/F814W, but holds EGS/F814W, GDS/F814W only" in refused.error
    assert 'routing = "any"' in refused.error


def test_a_worker_that_holds_a_model_group_does_its_jobs_and_those_of_none():
    at_home = fake_job("egs", "square", model_group="EGS/F814W", number=3)
    anywhere = fake_job("settled", "square", number=2)

    assert [do_job(FAKE, job, pinned_to={"EGS/F814W"}).result(job).value for job in (at_home, anywhere)] == [9, 4]


def test_a_device_without_memory_means_that_its_process_must_be_restarted():
    outcome = do_job(FAKE, fake_job("big", "exhaust_device"))

    assert outcome.needs_restart
    assert not outcome.fatal
    assert outcome.error.startswith("DeviceMemoryError: ")


def test_a_worker_in_use_is_not_closed_to_make_room_for_others(tmp_path):
    specs = [WorkerSpec("fakes:make_fake_worker", FakeSettings(tmp_path, seed)) for seed in range(4)]
    job = fake_job("long", "is_open_after", path=tmp_path / "end")

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(do_job, specs[0], job)
        wait_until((tmp_path / "long").exists, "the long job has begun")
        for spec in specs[1:]:
            do_job(spec, fake_job("square", "square", number=1))
        (tmp_path / "end").touch()

    assert long.result().result(job).value is True


def test_equal_settings_make_one_worker():
    assert WorkerSpec("a:b", FakeSettings(Path("x"), 1)) == WorkerSpec("a:b", FakeSettings(seed=1, diary=Path("x")))


@pytest.mark.parametrize("factory", ["fakes", "fakes:", ":make", "fakes.make", "fakes:make worker"])
def test_a_factory_is_a_module_and_a_name(factory):
    with pytest.raises(ValueError, match="is named 'package"):
        WorkerSpec(factory, FakeSettings())


@pytest.mark.parametrize("settings", [{"open": 1}, object(), FakeSettings])
def test_settings_are_a_frozen_dataclass(settings):
    with pytest.raises(TypeError, match="settings are a frozen dataclass, not"):
        WorkerSpec("a:b", settings)


def test_settings_hold_nothing_that_changes():
    with pytest.raises(TypeError, match="unhashable"):
        WorkerSpec("a:b", FakeSettings(diary=["a", "list"]))


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("no_such_package.worker:make", "No module named 'no_such_package'"),
        ("fakes:make_nothing", "no attribute 'make_nothing'"),
        ("fakes:make_no_worker", "ModelError: store/: not found"),
    ],
)
def test_a_worker_that_cannot_be_made_is_fatal_and_says_why_and_where(factory, said):
    outcome = do_job(WorkerSpec(factory, FakeSettings()), fake_job("any", "square", number=1))

    assert outcome.fatal
    assert outcome.error.startswith(f"ClusterError: {factory} ")
    assert said in outcome.error
    assert f"process {os.getpid()}" in outcome.error


def every_error():
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SurveyflowError)]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_survives_the_pickling_that_dask_installs(kind):
    tblib.pickling_support.install()
    problems = [errors.Problem("workflow.toml", "is odd.", "Correct it.")]
    arguments = {errors.WorkflowError: (problems,), errors.UnitDamaged: ("is odd", "a key")}.get(kind, ("is odd",))

    copy = pickle.loads(pickle.dumps(kind(*arguments)))

    assert (type(copy), str(copy), vars(copy)) == (kind, str(kind(*arguments)), vars(kind(*arguments)))


def test_an_exception_without_a_message_is_named():
    assert describe(KeyError()) == "KeyError"
    assert describe(ModelError("no card")) == "ModelError: no card"


def test_a_message_of_many_lines_becomes_one():
    assert describe(ModelError("no card\n  in store/")) == "ModelError: no card in store/"


def test_an_outcome_without_a_value_has_none():
    job = fake_job("none", "square")

    assert JobOutcome(error="lost", fatal=True).result(job) == JobResult(job, None, "lost", True)


def test_jobs_serial_runs_and_profiles_need_no_dask():
    modules = "surveyflow.sites.opening, surveyflow.sites.serial.profile"
    code = f"import sys, {modules}; print(sorted({{'dask', 'distributed'}} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
