"""Nobody outside this machine can reach a run's processes, and what lets others in is written nowhere."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import psutil
import pytest
from distributed import LocalCluster

from fakes import FakeSettings, fake_job
from stubs import TINY
from surveyflow.output.run_folders import Phase
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.kind import RunCommand
from surveyflow.sites.kubernetes.jobs import render_manifests
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.local_gpu.profile import LocalGpuProfile
from surveyflow.sites.opening import open_executor
from surveyflow.sites.profiles import load_profile
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.sites.slurm.jobs import render
from worlds import copied, write_untrained_models

pytestmark = pytest.mark.timeout(900)

SITES = Path(__file__).parents[2] / "surveyflow" / "sites"
FACTORY = "fakes:make_fake_worker"
SECRET = b"PRIVATE KEY"
N_WORKERS = 2
STRANGER = Path(__file__).parents[1] / "stranger.py"
NOBODY = "65534"


def listening():
    """Address and port of every socket on which this process or one that it started listens, by process."""
    found = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            sockets = [at.laddr for at in process.net_connections() if at.status == psutil.CONN_LISTEN]
            found[process.pid] = {(socket.ip, socket.port) for socket in sockets}
    return found


def open_files(process):
    """Paths of the files that a process holds open; none if it does not let itself be examined."""
    try:
        return {file.path for file in process.open_files()}
    except psutil.Error:
        return set()


def own_open_files(process):
    """Paths of the files that a process of our own holds open; none if it has ended meanwhile."""
    try:
        return {file.path for file in process.open_files()}
    except psutil.NoSuchProcess:
        return set()


def unix_sockets(process):
    """Names of the Unix sockets of a process; none if it has ended meanwhile."""
    try:
        return {at.laddr for at in process.net_connections("unix") if at.laddr}
    except psutil.NoSuchProcess:
        return set()


@dataclass(frozen=True)
class Doors:
    """Everything by which somebody could get at this process and at those that it started: sockets, files and folders."""

    sockets: frozenset[tuple[str, int]]
    unix_sockets: frozenset[str]
    paths: frozenset[str]

    @classmethod
    def found(cls, folder):
        """Look for sockets, for open files in the folders for temporary ones, and for everything in a scratch folder."""
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        unix = set().union(*map(unix_sockets, family))
        temporary = tuple(f"{place}/" for place in {"/dev/shm", tempfile.gettempdir()})
        files = {path for path in set().union(*map(own_open_files, family)) if path.startswith(temporary)}
        files = {path for path in files if not path.startswith(sys.prefix)}  # an environment may lie there, too
        files -= set().union(*map(open_files, psutil.Process().parents()))  # inherited, such as the log of all tests
        paths = {str(path) for path in [folder, *folder.rglob("*")]}
        return cls(frozenset(set().union(*listening().values())), frozenset(unix), frozenset(files | paths))

    def __sub__(self, other):
        return Doors(self.sockets - other.sockets, self.unix_sockets - other.unix_sockets, self.paths - other.paths)

    def opened_to_a_stranger(self):
        """Those that let in another user, or show it anything."""
        doors = json.dumps({name: sorted(getattr(self, name)) for name in ("sockets", "unix_sockets", "paths")})
        done = subprocess.run([sys.executable, STRANGER, NOBODY], input=doors, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


@pytest.fixture
def everybodys_folder():
    """A folder that every user may enter, as that for temporary files is; those of pytest are its user's own."""
    folder = Path(tempfile.mkdtemp(prefix="everybody-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_no_other_user_gets_in_during_a_run_or_sees_anything(cluster, egs_folder, tmp_path):
    survey = copied(egs_folder, tmp_path / "survey")
    write_untrained_models(survey.folder / "models", survey.spec.fields, TINY)
    scratch = Path(cluster.client.security.tls_client_cert).parents[1]
    seen = []

    def look(progress):
        if progress.phase is Phase.UNITS and progress.done and not seen:
            seen.append(Doors.found(scratch))

            seen.append(seen[0].opened_to_a_stranger())

    with open_survey(load_workflow(survey.workflow)) as opened:
        done = run_survey(opened, LocalProfile(), client=cluster.client, factory="stubs:StubWorker", listeners=[look])
    doors, opened_doors = seen

    assert done.exit_code == 0
    assert len(doors.sockets) >= 2 + 3 * N_WORKERS  # Dask's and HTTP's; each worker has a nanny
    assert {ip for ip, _ in doors.sockets} == {"127.0.0.1"}
    assert str(scratch / "certificates" / "key.pem") in doors.paths
    assert opened_doors == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_the_stranger_would_get_in_if_a_door_were_open(everybodys_folder):
    before = Doors.found(everybodys_folder)
    (everybodys_folder / "open").write_text("x")
    (everybodys_folder / "closed").write_text("x")
    (everybodys_folder / "closed").chmod(0o600)
    with (
        LocalCluster(n_workers=1, processes=False, host="tcp://127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind("\0surveyflow-everybody")
        abstract.listen()
        found = (Doors.found(everybodys_folder) - before).opened_to_a_stranger()
        scheduler, worker = [cluster.scheduler_address, cluster.workers[0].address]

    for address in (scheduler, worker):
        assert f"{address.removeprefix('tcp://')} as a Dask client" in found
    assert any(way.endswith(" by http /health") for way in found)
    assert {"@surveyflow-everybody", str(everybodys_folder / "open")} <= set(found)
    assert str(everybodys_folder / "closed") not in found


def test_a_cluster_on_gpus_listens_on_the_loopback_only_and_keeps_its_key_to_itself(tmp_path):
    before = listening()
    profile = LocalGpuProfile(gpus=("0", "1"), scratch=tmp_path)
    with open_executor(profile, FACTORY, FakeSettings()) as executor:
        jobs = [fake_job(f"job {number}", "say") for number in range(4)]
        assert all(result.error is None for result in executor.run(jobs))
        opened = {pid: sockets - before.get(pid, set()) for pid, sockets in listening().items()}
        secrets = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
        modes = [stat.S_IMODE(path.stat().st_mode) for path in [*secrets, *tmp_path.iterdir()]]
    sockets = set().union(*opened.values())
    assert {ip for ip, _ in sockets} <= {"127.0.0.1", "::1"}
    workers = [found for pid, found in opened.items() if len(found) >= 2 and pid != psutil.Process().pid]
    assert len(workers) >= N_WORKERS  # each has a socket for Dask and one for its dashboard; another test's may start meanwhile
    assert [path.name for path in secrets] == ["key.pem"]
    assert modes == [0o600, 0o700]


def test_a_serial_run_listens_nowhere():
    before = listening()
    with open_executor(SerialProfile(), FACTORY, FakeSettings()) as executor:
        (result,) = executor.run([fake_job("nine", "square", number=9)])
    assert result.value == 81
    assert listening() == before


def test_what_is_given_to_slurm_or_kubernetes_holds_no_secret():
    scripts = str(render(load_profile(SITES / "slurm" / "profile.toml"), RunCommand(Path("/data/candels.toml"), "candels-v1.0")))
    pods = render_manifests(
        load_profile(SITES / "kubernetes" / "profile.toml"),
        RunCommand(PurePosixPath("/data/candels/candels.toml"), "candels-v1.0"),
    )
    for text in (scripts, pods):
        assert SECRET.decode() not in text
        assert "key.pem" in text  # where it is may be said


@pytest.mark.skipif(find_spec("prometheus_client") is None, reason="prometheus-client is not installed")
def test_scheduler_and_workers_serve_metrics_for_prometheus(cluster):
    certificates = Path(cluster.client.security.tls_client_cert).parent
    context = ssl.create_default_context(cafile=certificates / "certificate.pem")
    context.load_cert_chain(certificates / "certificate.pem", certificates / "key.pem")
    context.check_hostname = False
    worker, *_ = cluster.client.scheduler_info()["workers"].values()
    scheduler = cluster.client.dashboard_link.removesuffix("/status")
    for name, base in {"scheduler": scheduler, "worker": f"https://127.0.0.1:{worker['services']['dashboard']}"}.items():
        with urllib.request.urlopen(f"{base}/metrics", timeout=240, context=context) as answer:
            assert f"dask_{name}_" in answer.read().decode()
