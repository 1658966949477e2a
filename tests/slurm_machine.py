"""A real Slurm of two nodes on this machine, for tests: own daemons, own keys, loopback only, a pretend GPU on each node."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
NODES = ("n1", "n2")

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdTimeout=20
KillWait=2
ReturnToService=2
SchedulerParameters=sched_interval=2,sched_min_interval=100000,batch_sched_delay=1,bf_interval=2
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=16000 Gres=gpu:hst:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=16000 Gres=gpu:hst:1
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=1:00:00 State=UP
"""

GRES_CONF = """\
AutoDetect=off
NodeName=n[1-2] Name=gpu Type=hst Count=1 File=/dev/null
"""


@dataclass
class SlurmMachine:
    """A running Slurm.

    Parameters
    ----------
    folder
        Where its files lie.
    own_host_names
        Whether each node has its name for its host name, so that its processes are those of another machine to all others.
    daemons
        Its processes by name: ``munged``, ``slurmctld`` and the nodes.
    """

    folder: Path
    own_host_names: bool = False
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's commands need in order to find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def jobs(self) -> list[tuple[str, str, str]]:
        """Number (``12`` or ``13_1``), name and state of each job in the queue."""
        lines = self.ask("squeue", "--noheader", "--array", "--format=%i|%j|%T").splitlines()
        return [tuple(line.split("|")) for line in lines]

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        hosts = self.folder / "hosts"  # a daemon looks up its own host name
        hosts.write_text(f"{Path('/etc/hosts').read_text()}\n127.0.0.1 {' '.join(NODES)}\n")
        rename = f"hostname {node} && mount --bind {hosts} /etc/hosts && exec slurmd -D -N {node}"
        own = ["unshare", "--uts", "--mount", "sh", "-c", rename]
        self._start(node, *(own if self.own_host_names else ["slurmd", "-D", "-N", node]))

    def fail_node(self, node: str) -> None:
        """Kill a node's daemon and all jobs on it, as if its power were cut."""
        job_processes = [process for process in psutil.process_iter() if self._runs_on(process, node)]
        step_daemons = [parent for process in job_processes if (parent := process.parent()) and "slurmstepd" in parent.name()]
        for process in [*_family(self.daemons[node].pid), *step_daemons, *job_processes]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.daemons[node].wait()

    def _runs_on(self, process: psutil.Process, node: str) -> bool:
        try:
            environment = process.environ()
        except psutil.Error:
            return False
        return environment.get("SLURMD_NODENAME") == node and environment.get("SLURM_CONF") == self.environment["SLURM_CONF"]

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(command[0]), *command[1:]],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start all daemons, and wait until the nodes are ready."""
        socket_path, key = self.folder / "munge.socket", self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        files = [f"--{name}-file={self.folder / f'munge.{name}'}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "munged", "--foreground", "--force", f"--socket={socket_path}", *files)
        wait_until(socket_path.exists, "munged listens")
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for node in NODES:
            self.start_node(node)
        wait_until(self._is_ready, "both nodes are idle")

    def _is_ready(self) -> bool:
        try:
            return self.states() == dict.fromkeys(NODES, "idle")
        except RuntimeError:
            return False

    def states(self) -> dict[str, str]:
        """State of each node, such as ``idle`` or ``down*``."""
        lines = self.ask("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines()
        return dict(line.split() for line in lines)

    def stop(self) -> None:
        """End every job and every daemon, by number."""
        steps = [child for daemon in self.daemons.values() for child in _family(daemon.pid)]
        for process in steps:
            process.kill()
        for daemon in self.daemons.values():
            daemon.wait()


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return []
    return [*process.children(recursive=True), process]


def missing_programs() -> list[str]:
    """What of Slurm is not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def running_slurm(folder: Path, *, own_host_names: bool = False) -> Iterator[SlurmMachine]:
    """Start a Slurm whose files lie in a folder, and end it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    values = {"folder": folder, "host": socket.gethostname().partition(".")[0], "ports": _free_ports(3)}
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (folder / "gres.conf").write_text(GRES_CONF)
    machine = SlurmMachine(folder, own_host_names)
    try:
        machine.start()
        yield machine
    finally:
        machine.stop()


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
