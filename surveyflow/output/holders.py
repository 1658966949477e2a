"""The holder of a lease: which process on which machine, and whether it is known to have ended."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from surveyflow.output.batch_jobs import BatchJob, Word


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lease.

    Parameters
    ----------
    host, boot, pid_namespace, pid, process_start
        The process. ``boot`` distinguishes machines of one name, and a machine before and after it was started anew; the start
        time, in the kernel's ticks, distinguishes the process from a later one of the same number. Both are ``""`` if the
        kernel does not report them.
    run_id
        Its run.
    started
        When it took the lease, by its own clock, ISO 8601, UTC. No decision depends on it.
    token
        The lease's number. It grows from holder to holder.
    nonce
        A random text that no other lease has.
    lease_s
        How long the lease lasts without a sign of life, seconds.
    job
        Its batch job; None if it is not part of one.
    """

    host: Word
    boot: Word
    pid_namespace: Word
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    process_start: Word
    run_id: Word
    started: Word
    token: Annotated[int, Field(gt=0)]
    nonce: Word
    lease_s: Annotated[float, Field(gt=0, le=86_400.0, allow_inf_nan=False)]
    job: BatchJob | None = None

    @classmethod
    def this_process(cls, run_id: str, token: int, lease_s: float) -> Self:
        """Describe the present process as holder from now on."""
        pid = os.getpid()
        return cls(
            host=this_host(),
            boot=_boot(),
            pid_namespace=_pid_namespace(),
            pid=pid,
            process_start=_process_start(pid),
            run_id=run_id,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            token=token,
            nonce=secrets.token_hex(16),
            lease_s=lease_s,
            job=BatchJob.of_this_process(),
        )

    @property
    def is_local(self) -> bool:
        """Whether its process is visible from here."""
        return (self.host, self.boot, self.pid_namespace) == (this_host(), _boot(), _pid_namespace())

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to have ended; False for a process of another machine."""
        return self.is_local and not (_exists(self.pid) and _process_start(self.pid) == self.process_start)

    def __str__(self) -> str:
        job = f" of {self.job}" if self.job else ""
        return f"run {self.run_id} on host {self.host} (process {self.pid}{job}), started {self.started}"


def this_host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _process_start(pid: int) -> str:
    """Start time of a process in ticks since boot; ``""`` if the kernel does not report it, or the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *numbers = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else numbers[18]


def _boot() -> str:
    """A text that is new each time a machine starts."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    """The namespace of this process's number: containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
