from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from distributed import Client, LocalCluster

from fakes import FakeSettings, fake_job
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.dask_executor import DaskExecutor
from surveyflow.execution.limits import ClusterProfile
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.serial.profile import SerialExecutor
from waiting import wait_until

FACTORY = "fakes:make_fake_worker"


def squares(n):
    return [fake_job(f"square{number}", "square", number=number) for number in range(n)]


def naps(n, seconds):
    return [fake_job(f"nap{number}", "sleep", seconds=seconds) for number in range(n)]


def by_name(results):
    return {result.job.name: result for result in results}


@pytest.fixture
def diary(tmp_path):
    return tmp_path


@pytest.fixture
def executor(cluster, diary):
    return DaskExecutor(cluster, FACTORY, FakeSettings(diary))


@pytest.fixture
def gate(tmp_path_factory):
    """A file that ends the jobs which wait for it, at the end of the test at the latest."""
    path = tmp_path_factory.mktemp("gate") / "open"
    yield path
    path.touch()


def waiters(n, gate):
    return [fake_job(f"waiter{number}", "until", path=gate) for number in range(n)]


def wait_for(path):
    """Wait until a job has begun, and say which process does it."""
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path.name} began")
    return int(path.read_text().split()[-1])


def test_a_cluster_gives_the_results_of_a_serial_run(executor):
    jobs = [*squares(20), fake_job("bad", "raise_value_error", message="no"), fake_job("odd", "raise_unpicklable")]

    on_cluster = by_name(executor.run(jobs))

    assert on_cluster == by_name(SerialExecutor(FACTORY, FakeSettings()).run(jobs))
    assert len(on_cluster) == len(jobs)


def test_no_jobs_give_no_results(executor):
    assert list(executor.run([])) == []


def test_results_come_as_jobs_end(executor, gate):
    results = executor.run([*waiters(1, gate), *squares(1)])

    assert next(results).job.name == "square0"
    gate.touch()
    assert [result.job.name for result in results] == ["waiter0"]


def test_each_process_makes_its_worker_once(executor):
    results = list(executor.run([fake_job(f"census{number}", "census") for number in range(30)]))

    workers = {result.value[:2] for result in results}
    assert len(workers) == len({process for process, _ in workers}) <= 2
    assert os.getpid() not in {process for process, _ in workers}


def test_a_worker_killed_mid_job_costs_nothing_but_time(executor, diary, gate):
    jobs = [*squares(1), *waiters(6, gate), *squares(6)[1:]]
    results = executor.run(jobs)
    first = next(results)
    victim = wait_for(diary / "waiter2")

    os.kill(victim, signal.SIGKILL)
    gate.touch()

    done = by_name([first, *results])
    assert len(done) == len(jobs)
    assert [result.error for result in done.values()] == [None] * len(jobs)


def test_a_job_that_kills_every_worker_is_given_up_and_the_rest_completes(executor):
    jobs = [*naps(3, 0.05), fake_job("poison", "die"), *squares(10)]

    done = by_name(executor.run(jobs))

    assert len(done) == len(jobs)
    assert {name for name, result in done.items() if result.error} == {"poison"}
    assert done["poison"].error.startswith("3 workers died with it, the last at tls://127.0.0.1:")
    assert done["poison"].error.endswith("it wrote: poison was here")
    assert not done["poison"].fatal


def test_a_crash_in_a_c_library_is_reported_with_its_place(executor):
    (result,) = executor.run([fake_job("crash", "crash")])

    assert "Segmentation fault" in result.error
    assert "fakes.py" in result.error


def test_a_job_that_kills_its_worker_once_is_done_at_the_second_try(executor, diary):
    (result,) = executor.run([fake_job("moody", "die", times=1)])

    assert result.error is None
    assert len(set((diary / "moody").read_text().split())) == 2


def test_a_job_whose_worker_falls_silent_goes_elsewhere_until_it_is_given_up(diary):
    with LocalProfile(workers=2, silence_s=1.0).open_cluster() as cluster:
        executor = DaskExecutor(cluster, FACTORY, FakeSettings(diary), ClusterProfile(max_deaths=2))
        done = by_name(executor.run([fake_job("poison", "freeze"), *squares(4)]))

    assert {name for name, result in done.items() if result.error} == {"poison"}
    assert "2 workers died with it" in done["poison"].error
    assert len(done) == 5
    assert len(set((diary / "poison").read_text().split())) == 2


def test_a_fatal_error_ends_the_run(executor, diary, gate):
    results = list(executor.run([fake_job("full", "fill_disk"), *waiters(40, gate)]))

    assert [result.job.name for result in results if result.fatal] == ["full"]
    assert results[-1].fatal
    assert len(list(diary.iterdir())) < 10


def test_leaving_early_takes_back_what_has_not_begun(executor, diary):
    results = executor.run(naps(40, 0.1))
    next(results)
    results.close()
    list(executor.run(squares(4)))

    assert len(list(diary.glob("nap*"))) <= 6


def test_the_cluster_holds_a_few_jobs_and_forgets_them(executor, client):
    def n_tasks():
        return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

    held = [n_tasks() for _ in executor.run(squares(60))]

    assert max(held) <= 2 * 2 + 1
    wait_until(lambda: n_tasks() == 0, "the scheduler forgot every job")


def test_neither_side_remembers_more_than_its_last_messages(executor, client):
    def most_remembered(dask_scheduler):
        streams = [*dask_scheduler.stream_comms.values(), *dask_scheduler.client_comms.values()]
        return max(len(dask_scheduler.transition_log), *(len(stream.recent_message_log) for stream in streams))

    list(executor.run(squares(60)))

    assert 0 < client.run_on_scheduler(most_remembered) <= 20
    assert 0 < len(client.scheduler_comm.recent_message_log) <= 20


def test_jobs_start_in_the_callers_order(executor, diary):
    list(executor.run(naps(20, 0.3)))  # beside which the moment that a busy machine takes to start one is short

    started = sorted(diary.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    rank = {path.name: position for position, path in enumerate(started)}
    assert all(abs(rank[f"nap{number}"] - number) <= 4 for number in range(20))


def test_a_factory_that_workers_cannot_import_ends_the_run_and_says_so(cluster):
    (result,) = DaskExecutor(cluster, "no_such_package.worker:make", FakeSettings()).run(squares(5))

    assert result.fatal
    assert "no_such_package.worker:make cannot be imported on" in result.error


def test_five_hundred_tiny_jobs_cost_milliseconds_each(executor, client):
    began, cpu_began = time.monotonic(), time.process_time()

    results = list(executor.run(squares(500)))

    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    assert [result.value for result in sorted(results, key=lambda result: result.value)] == [n**2 for n in range(500)]
    assert cpu_s / 500 < 0.03
    assert wall_s / 500 < 5 * seconds_of_a_bare_task(client)  # a busy machine slows both


def seconds_of_a_bare_task(client):
    """What Dask alone takes for a task and back again."""
    began = time.monotonic()
    for number in range(100):
        client.submit(pow, number, 2, pure=False).result()
    return (time.monotonic() - began) / 100


def test_a_job_that_cannot_be_sent_is_refused_where_it_was_made(executor):
    with pytest.raises(TypeError, match="Could not serialize"):
        list(executor.run([fake_job("lock", "square", number=threading.Lock())]))


def test_a_run_whose_scheduler_is_gone_ends_and_says_so():
    with (
        LocalCluster(n_workers=1, processes=False, host="tcp://127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        results = DaskExecutor(Cluster(client), FACTORY, FakeSettings()).run(naps(4, 0.2))
        next(results)
        cluster.close()
        *_, last = results

    assert last.fatal
    assert last.error.startswith("the cluster could not run it: FutureCancelledError")


def test_a_run_without_workers_gives_up_after_a_while():
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        (result,) = DaskExecutor(Cluster(client), FACTORY, FakeSettings(), ClusterProfile(worker_wait_s=0.5)).run(squares(3))

    assert result.fatal
    assert result.error.startswith("no worker is there after 0.5 s")
