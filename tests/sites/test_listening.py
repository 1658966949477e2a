"""Nobody outside this machine can reach a run's processes, and what lets others in is written nowhere."""

from __future__ import annotations

import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import psutil
import pytest

from fakes import FakeSettings, fake_job
from surveyflow.sites.kind import RunCommand
from surveyflow.sites.kubernetes.jobs import render_manifests
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.local_gpu.profile import LocalGpuProfile
from surveyflow.sites.opening import open_executor
from surveyflow.sites.profiles import load_profile
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.sites.slurm.jobs import render

pytestmark = pytest.mark.timeout(900)

PROFILES = Path(__file__).parents[2] / "deploy" / "profiles"
FACTORY = "fakes:make_fake_worker"
SECRET = b"PRIVATE KEY"
N_WORKERS = 2


def listening():
    """Address and port of every socket on which this process or one that it started listens, by process."""
    found = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            sockets = [at.laddr for at in process.net_connections() if at.status == psutil.CONN_LISTEN]
            found[process.pid] = {(socket.ip, socket.port) for socket in sockets}
    return found


@pytest.mark.parametrize(
    "profile",
    [LocalProfile(workers=N_WORKERS), LocalGpuProfile(gpus=("0", "1")), LocalGpuProfile(gpus=("0", "1"), tls=False)],
    ids=["local", "local-gpu", "local-gpu without tls"],
)
def test_every_socket_of_a_local_cluster_listens_on_the_loopback(profile, tmp_path):
    before = listening()
    with open_executor(profile.model_copy(update={"scratch": tmp_path}), FACTORY, FakeSettings()) as executor:
        jobs = [fake_job(f"job {number}", "say") for number in range(4)]
        assert all(result.error is None for result in executor.run(jobs))
        opened = {pid: sockets - before.get(pid, set()) for pid, sockets in listening().items()}
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    sockets = set().union(*opened.values())
    assert {ip for ip, _ in sockets} <= {"127.0.0.1", "::1"}
    workers = [found for pid, found in opened.items() if len(found) >= 2 and pid != psutil.Process().pid]
    assert len(workers) >= N_WORKERS  # each has a socket for Dask and one for its dashboard; another test's may start meanwhile
    assert written
    assert not any(SECRET in text for text in written)


def test_a_serial_run_listens_nowhere():
    before = listening()
    with open_executor(SerialProfile(), FACTORY, FakeSettings()) as executor:
        (result,) = executor.run([fake_job("nine", "square", number=9)])
    assert result.value == 81
    assert listening() == before


def test_what_is_given_to_slurm_or_kubernetes_holds_no_secret():
    scripts = str(render(load_profile(PROFILES / "slurm.toml"), RunCommand(Path("/data/candels.toml"), "candels-v1.0")))
    pods = render_manifests(
        load_profile(PROFILES / "kubernetes.toml"), RunCommand(PurePosixPath("/data/candels/candels.toml"), "candels-v1.0")
    )
    for text in (scripts, pods):
        assert SECRET.decode() not in text
        assert "key.pem" in text  # where it is may be said


@pytest.mark.skipif(find_spec("prometheus_client") is None, reason="prometheus-client is not installed")
def test_scheduler_and_workers_serve_metrics_for_prometheus():
    with LocalProfile(workers=1).open_cluster() as cluster:
        (worker,) = cluster.client.scheduler_info()["workers"].values()
        scheduler = cluster.client.dashboard_link.removesuffix("/status")
        for name, base in {"scheduler": scheduler, "worker": f"http://127.0.0.1:{worker['services']['dashboard']}"}.items():
            with urllib.request.urlopen(f"{base}/metrics", timeout=240) as answer:
                assert f"dask_{name}_" in answer.read().decode()
