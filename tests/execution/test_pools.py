"""Pools on real clusters: units go to the workers that hold their models, and what is missing is waited for, then told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from fakes import FakeSettings, fake_job
from surveyflow.execution import dask_executor as runner
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.dask_executor import DaskExecutor
from surveyflow.execution.jobs import WorkerSpec
from surveyflow.execution.limits import ClusterProfile
from surveyflow.execution.retries import Attempt
from surveyflow.execution.routing import Routing
from surveyflow.execution.submissions import Submissions
from surveyflow.sites.local.profile import LocalProfile

FACTORY = "fakes:make_fake_worker"
EGS, GDS = "EGS/F814W", "GDS/F814W"


def units(group, n, verb="process", **more):
    return [fake_job(f"{group.partition('/')[0]}{number}", verb, group, seconds=0.02, **more) for number in range(n)]


def processes(results, group):
    return {result.value for result in results if result.job.model_group == group}


@pytest.fixture
def run(cluster, tmp_path):
    """Run jobs on two workers of our own, and keep what was told."""

    def run(jobs, **limits):
        profile = ClusterProfile.model_validate_json(json.dumps(limits))
        executor = DaskExecutor(cluster, FACTORY, FakeSettings(tmp_path), profile, on_message=run.told.append)
        return list(executor.run(jobs))

    run.told = []
    return run


def test_pinned_units_stay_with_the_workers_that_hold_their_models(run):
    results = run([*units(EGS, 12), *units(GDS, 12)], routing="pinned")

    assert [result.error for result in results] == [None] * 24
    assert len(processes(results, EGS)) == len(processes(results, GDS)) == 1
    assert processes(results, EGS) != processes(results, GDS)
    assert run.told == ["routing pinned: the profile says so"]


def test_workers_of_a_cluster_of_our_own_are_pinned_again_for_every_run(run):
    run([*units(EGS, 4), *units(GDS, 4)], routing="pinned")
    (only_gds,) = {frozenset(processes(run(units(GDS, 12), routing="pinned"), GDS))}
    free = run([*units(EGS, 12), *units(GDS, 12)], routing="any")

    assert len(only_gds) == 2
    assert processes(free, EGS) | processes(free, GDS) == only_gds


def test_a_worker_that_was_killed_holds_the_same_again(run, tmp_path):
    results = run([*units(EGS, 1, verb="die", times=1), *units(EGS, 3), *units(GDS, 3)], routing="pinned")

    assert [result.error for result in results] == [None] * 7
    first, second = map(int, (tmp_path / "EGS0").read_text().split()[:2])
    assert first != second
    assert {first, second}.isdisjoint(processes(results, GDS))


def test_auto_tells_why(run):
    run(units(EGS, 2))

    assert len(run.told) == 1
    assert run.told[0].startswith("routing any: pinned, the busiest worker would measure 1 source")


def test_a_unit_that_hangs_on_a_living_worker_is_taken_back_and_told_where_it_hung(run, tmp_path):
    jobs = [*units(EGS, 1, verb="hang"), *units(GDS, 1, verb="hang", times=1), *units("UDS/F814W", 4)]

    results = {result.job.name: result for result in run(jobs, unit_silence_s=3, max_deaths=2, routing="any")}

    assert {name for name, result in results.items() if result.error} == {"EGS0"}
    assert "EGS0 has shown no sign of life for 3 s, in wait (threading.py:" in results["EGS0"].error
    assert len(results) == 6
    assert len((tmp_path / "GDS0").read_text().split()) >= 2


def test_a_unit_that_shows_signs_of_life_may_take_long(run):
    (result,) = run([fake_job("long", "plod", EGS, steps=16, seconds=0.4)], unit_silence_s=5.0)

    assert result.error is None


def test_a_worker_whose_device_is_full_starts_anew_and_the_unit_runs_again(run, tmp_path):
    jobs = [*units(EGS, 1, verb="exhaust_device", times=1), *units(GDS, 1, verb="exhaust_device")]

    results = {result.job.name: result for result in run(jobs, max_deaths=2, routing="any")}

    assert results["EGS0"].error is None
    assert len(set((tmp_path / "EGS0").read_text().split())) >= 2
    assert "GDS0: DeviceMemoryError: the device's memory is full" in results["GDS0"].error


def test_two_units_overlap_on_a_worker(run):
    results = run([fake_job(f"unit{number}", "company", wanted=2, seconds=0.2) for number in range(8)])

    assert max(result.value for result in results) == 2


def test_with_one_job_a_worker_nothing_overlaps(tmp_path):
    profile = LocalProfile(workers=1, jobs_per_worker=1)
    with profile.open_cluster() as cluster:
        jobs = [fake_job(f"unit{number}", "company", seconds=0.1) for number in range(4)]
        results = list(DaskExecutor(cluster, FACTORY, FakeSettings(tmp_path), profile).run(jobs))

    assert [result.value for result in results] == [1] * 4


class Elsewhere:
    """A scheduler that somebody else runs, whose workers come by ``dask worker``."""

    def __init__(self, client):
        self.client = client
        self.workers = []

    def start_worker(self, group):
        options = ["--nworkers", "1", "--nthreads", "2", "--no-dashboard", "--host", "127.0.0.1", "--no-nanny"]
        command = [sys.executable, "-m", "dask", "worker", self.client.scheduler.address, *options]
        process = subprocess.Popen(
            [*command, "--resources", f"model:{group}=2"],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.workers.append(process)

    def run(self, jobs, on_message=lambda message: None, **limits):
        limits = ClusterProfile.model_validate_json(json.dumps(limits))
        return DaskExecutor(Cluster(self.client), FACTORY, FakeSettings(), limits, on_message=on_message).run(jobs)

    def stop(self):
        for worker in self.workers:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


@contextmanager
def somewhere_else():
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        elsewhere = Elsewhere(client)
        try:
            elsewhere.start_worker(EGS)
            client.wait_for_workers(1)
            yield elsewhere
        finally:
            elsewhere.stop()


@pytest.fixture(scope="module")
def elsewhere():
    with somewhere_else() as cluster:
        yield cluster


def test_workers_that_declare_models_get_their_units_only(elsewhere):
    told = []
    results = list(elsewhere.run([*units(EGS, 5), fake_job("settled", "process")], told.append))

    assert [result.error for result in results] == [None] * 6
    assert told == ["routing pinned: workers declare the models that they hold"]


def test_a_wrong_pool_is_reported_with_what_is_missing_what_is_offered_and_what_to_change(elsewhere):
    results = list(elsewhere.run([*units(EGS, 3), *units(GDS, 3)], worker_wait_s=0.5))

    assert [result.job.model_group for result in results if result.error is None].count(EGS) == len(results) - 1
    assert results[-1].fatal
    assert results[-1].job.model_group == GDS
    assert results[-1].error.startswith(
        "no worker holds the models of GDS/F814W; those running (1) hold EGS/F814W (1) after 0.5 s (worker_wait_s in the profile)"
    )
    assert "models of a pool" in results[-1].error
    assert "dask worker SCHEDULER --resources model:GDS/F814W=2" in results[-1].error
    assert 'routing = "any"' in results[-1].error


def test_workers_without_models_are_missing_too_where_the_profile_pins(elsewhere):
    results = list(elsewhere.run(units("UDS/F814W", 1), worker_wait_s=0.5, routing="pinned"))

    assert [result.fatal for result in results] == [True]


def test_the_profile_may_let_every_worker_do_every_unit(elsewhere):
    results = list(elsewhere.run([*units(EGS, 2), *units(GDS, 2)], routing="any"))

    assert [result.error for result in results] == [None] * 4


def test_a_unit_on_the_wrong_worker_is_refused_there(elsewhere):
    """Nothing should ever send it there; if something does, no result is made of it."""
    submissions = Submissions(elsewhere.client, WorkerSpec(FACTORY, FakeSettings()), pinned=True)
    job = fake_job("stray", "square", GDS, number=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surveyflow.execution.submissions.resource", lambda _: f"model:{EGS}")
        submissions.submit(Attempt(job))
    ended = None
    while ended is None:
        ended = submissions.next_ended(10)

    assert ended[1].fatal
    assert "was asked for the models of GDS/F814W, but holds EGS/F814W only" in ended[1].error


def test_a_late_pool_is_waited_for_while_others_work_and_said_so(monkeypatch):
    monkeypatch.setattr(runner, "PATIENCE_S", 0.2)
    told = []
    with somewhere_else() as late:

        def on_message(message):
            told.append(message)
            if message.startswith("waiting"):  # late enough to be missed
                late.start_worker(GDS)

        results = list(late.run([*units(GDS, 3), *units(EGS, 3)], on_message, worker_wait_s=240))

    assert [result.job.model_group for result in results] == [EGS] * 3 + [GDS] * 3
    assert "waiting up to 240 s: no worker holds the models of GDS/F814W; those running (1) hold EGS/F814W (1)" in told


def test_what_workers_hold_survives_as_plain_text(cluster):
    cluster.local_workers.pin(((EGS,), (EGS, GDS)))
    resources = [worker["resources"] for worker in cluster.client.scheduler_info(n_workers=-1)["workers"].values()]

    assert json.loads(cluster.local_workers.path.read_text()) == {"0": [EGS], "1": [EGS, GDS]}
    assert sorted(len([name for name, amount in each.items() if amount]) for each in resources) == [1, 2]
    cluster.local_workers.pin(())


def test_routings_are_written_as_words():
    assert {routing.value for routing in Routing} == {"auto", "pinned", "any"}
