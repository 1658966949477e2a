from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

from fakes import FakeSettings, fake_job
from stubs import TINY
from surveyflow.errors import ClusterError
from surveyflow.sites.address import cluster as address
from surveyflow.sites.address.profile import AddressProfile
from surveyflow.sites.local import cluster as local
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.opening import open_executor
from surveyflow.sites.serial.profile import SerialExecutor, SerialProfile
from waiting import wait_until_gone
from worlds import write_untrained_models

FACTORY = "fakes:make_fake_worker"
LOOPBACK = {"127.0.0.1", "::1"}

DRIVER = """
import signal
import sys
from fakes import FakeSettings, fake_job
from surveyflow.sites.opening import open_executor
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.values.jobs import Job

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background of a shell ignores it, and so would this
    try:
        with open_executor(LocalProfile(workers=2), "fakes:make_fake_worker", FakeSettings()) as executor:
            for result in executor.run([fake_job("quick", "sleep", seconds=0), fake_job("long", "sleep", seconds=3600)]):
                print(result.job.name, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def listening_addresses(process):
    return {at.laddr.ip for at in process.net_connections() if at.status == psutil.CONN_LISTEN}


def listeners(process):
    return {child.pid: listening_addresses(child) for child in [process, *process.children(recursive=True)]}


@pytest.fixture
def driver(tmp_path):
    """Start a program that runs a long job on two workers, as the leader of a process group of its own.

    Its working folder has modules with the names of Python's own.
    """
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    tests, inherited = str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [tests, inherited]))}
    working_folder = tmp_path / "working"
    working_folder.mkdir()
    for name in ("select", "token"):
        (working_folder / f"{name}.py").write_text("raise RuntimeError('this is not the module of Python')")
    process = subprocess.Popen(
        [sys.executable, script],
        cwd=working_folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == "quick\n"
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_serial_means_this_process():
    with open_executor(SerialProfile(), FACTORY, FakeSettings()) as executor:
        (result,) = executor.run([fake_job("census", "census")])

    assert isinstance(executor, SerialExecutor)
    assert result.value[0] == os.getpid()


def test_a_users_client_is_used_and_stays_open(client):
    with open_executor(SerialProfile(), FACTORY, FakeSettings(), client=client) as executor:
        (result,) = executor.run([fake_job("nine", "square", number=9)])

    assert result.value == 81
    assert client.submit(sum, [1, 2]).result() == 3


def test_a_local_cluster_is_private_frugal_and_gone_afterwards(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    before = dict(os.environ)
    me = psutil.Process()
    earlier = set(me.children(recursive=True))

    with open_executor(LocalProfile(workers=2, scratch=tmp_path), FACTORY, FakeSettings()) as executor:
        results = {
            result.job.name: result for result in executor.run([fake_job("environment", "environment"), fake_job("say", "say")])
        }
        started = [child for child in me.children(recursive=True) if child not in earlier]
        workers = [child for child in started if "resource_tracker" not in " ".join(child.cmdline())]
        addresses = set().union(*listeners(me).values())
        scratch = list(tmp_path.iterdir())

    environment = results["environment"].value
    assert {name: environment[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")} == {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
    }
    assert addresses
    assert addresses <= LOOPBACK
    assert len(started) >= 2
    assert scratch
    assert list(tmp_path.iterdir()) == []
    wait_until_gone(workers)
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")


def test_control_c_in_a_terminal_closes_the_cluster_quietly(driver):
    workers = psutil.Process(driver.pid).children(recursive=True)

    os.killpg(driver.pid, signal.SIGINT)

    out, err = driver.communicate()
    assert (driver.returncode, out, err) == (130, "", "")
    wait_until_gone(workers)


def test_workers_end_when_their_driver_is_killed(driver):
    workers = psutil.Process(driver.pid).children(recursive=True)

    driver.kill()

    wait_until_gone(workers)


def test_a_running_cluster_is_found_by_address_or_file_and_left_running(client, with_certificates, tmp_path):
    scheduler_file = tmp_path / "scheduler.json"
    client.write_scheduler_file(scheduler_file)

    for profile in (with_certificates(address=client.scheduler.address), with_certificates(scheduler_file=scheduler_file)):
        with open_executor(profile, FACTORY, FakeSettings()) as executor:
            (result,) = executor.run([fake_job("nine", "square", number=9)])
        assert result.value == 81

    assert client.submit(sum, [1, 2]).result() == 3


def test_a_silent_address_is_reported():
    profile = AddressProfile(address="tcp://127.0.0.1:9", open_to_all_users=True, connect_timeout_s=0.2)

    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 within 0\.2 s"):
        open_executor(profile, FACTORY, FakeSettings()).__enter__()


def test_a_missing_scheduler_file_is_reported(tmp_path):
    profile = AddressProfile(scheduler_file=tmp_path / "scheduler.json", open_to_all_users=True)

    with pytest.raises(ClusterError, match="there is no scheduler file"):
        open_executor(profile, FACTORY, FakeSettings()).__enter__()


@pytest.fixture
def deserted_cluster():
    with LocalCluster(n_workers=0, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def test_a_cluster_without_workers_is_reported(deserted_cluster, monkeypatch, caplog):
    monkeypatch.setattr(address, "_PATIENCE_S", 0.1)
    profile = AddressProfile(address=deserted_cluster.scheduler_address, open_to_all_users=True, worker_wait_s=0.3)

    with pytest.raises(ClusterError, match=r"has had no worker for 0\.3 s"):
        open_executor(profile, FACTORY, FakeSettings()).__enter__()
    assert "has no worker yet; waiting for one, for up to 0.3 s" in caplog.text


class FlakyStart:
    """Stands in LocalCluster's place: a worker dies during the first few starts."""

    def __init__(self, n_failures):
        self.failures = iter([RuntimeError("Nanny failed to start.")] * n_failures)

    def __call__(self, **settings):
        for failure in self.failures:
            raise failure
        return LocalCluster(**settings)


def test_a_cluster_that_loses_a_worker_as_it_starts_is_started_again(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "LocalCluster", FlakyStart(local.STARTS - 1))
    with open_executor(LocalProfile(workers=1, scratch=tmp_path), FACTORY, FakeSettings()) as executor:
        (result,) = executor.run([fake_job("one", "square", number=3)])
    assert result.value == 9


def test_workers_keep_no_profile_of_their_calls_which_would_grow_for_an_hour(tmp_path):
    with LocalProfile(workers=1, scratch=tmp_path).open_cluster() as cluster:
        cluster.client.wait_for_workers(1)
        cluster.client.submit(time.sleep, 1.5).result()
        (kept,) = cluster.client.run(lambda dask_worker: len(dask_worker.profile_history)).values()
        assert kept == 0


def test_a_cluster_that_cannot_be_started_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "LocalCluster", FlakyStart(local.STARTS))
    told = r"could not be started in 3 attempts: Nanny failed to start\. .* --profile serial"
    with (
        pytest.raises(ClusterError, match=told),
        open_executor(LocalProfile(workers=1, scratch=tmp_path), FACTORY, FakeSettings()),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


OPEN_CLUSTER = """
from surveyflow.sites.local.profile import LocalProfile
with LocalProfile(workers=1).open_cluster():
    print("started")
"""
RUN = """
import surveyflow
surveyflow.run("workflow.toml", profile="local.toml")
print("started")
"""
SIMULATE = """
from surveyflow.training.records.simulating import started_pool
with started_pool(3) as pool:
    print("started", pool.submit(abs, -1).result())
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", [OPEN_CLUSTER, RUN, SIMULATE], ids=["cluster", "run", "simulate"])
def test_a_script_that_every_process_would_run_again_is_refused_in_one_sentence(script, mini_survey):
    folder = mini_survey.folder
    write_untrained_models(folder / "models", mini_survey.spec.fields, TINY)
    (folder / "local.toml").write_text('kind = "local"\nworkers = 2\n')
    (folder / "unguarded.py").write_text(script)
    done = subprocess.run([sys.executable, "unguarded.py"], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.endswith('Put what the script does under `if __name__ == "__main__":`.\n')
