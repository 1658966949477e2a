"""The lock of an output folder: one run at a time works on it, from any machine.

``ROOT/run.lock`` is linked into place complete, which is atomic on local disks and on NFS; `fcntl` locks are not used. The
holder touches it once a minute. If the holder was a process of this machine that has ended, its lock is taken over. If it runs
or ran on another machine, the error names it, and the user decides.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from surveyflow.errors import LockHeld
from surveyflow.files.durable import temporary_path, write_new, write_over

LOCK_NAME = "run.lock"
HEARTBEAT_S = 60.0
STALE_AFTER_S = 900.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lock.

    Parameters
    ----------
    host, pid_namespace, pid, process_start
        The process. The start time, in the kernel's ticks, distinguishes it from a later process of the same number; ``""`` if
        the kernel does not report it.
    run_id
        Its run.
    started
        When it took the lock, ISO 8601, UTC.
    token
        A random text that distinguishes this lock from any other.
    """

    host: str
    pid_namespace: str
    pid: int
    process_start: str
    run_id: str
    started: str
    token: str

    @classmethod
    def this_process(cls, run_id: str) -> Self:
        """Describe the present process as holder from now on."""
        pid = os.getpid()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), _pid_namespace(), pid, _process_start(pid), run_id, now, secrets.token_hex(16))

    @property
    def is_local(self) -> bool:
        """Whether its process is visible from here."""
        return (self.host, self.pid_namespace) == (socket.gethostname(), _pid_namespace())

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to have ended; False for a process of another machine."""
        return self.is_local and not (_exists(self.pid) and _process_start(self.pid) == self.process_start)

    def __str__(self) -> str:
        return f"run {self.run_id} on host {self.host} (process {self.pid}), started {self.started}"


class RunLock:
    """A context manager that locks an output folder for one run.

    Parameters
    ----------
    root
        The output folder; made if it is missing.
    run_id
        The run's name.
    heartbeat_s
        Seconds between heartbeats.

    Raises
    ------
    LockHeld
        On entering, if another run works on the folder, or may do so.
    OutputError
        On entering, if the folder cannot be written.
    """

    def __init__(self, root: Path, run_id: str, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.path = root / LOCK_NAME
        self._run_id = run_id
        self._heartbeat_s = heartbeat_s
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._holder = Holder.this_process(self._run_id)
        _acquire(self.path, self._holder)
        self._ended.clear()
        self._heartbeat = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self._heartbeat.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._heartbeat.join()
        _release(self.path, self._holder)

    def check(self) -> None:
        """Check that this run still holds the lock.

        Raises
        ------
        LockHeld
            If the lock was removed or taken: another run may be writing.
        """
        if _read(self.path) != self._holder:
            raise LockHeld(
                f"{self.path} was removed or taken while run {self._run_id} held it, so another run may be writing there. "
                f"Nothing more was written. Make sure that no other run works on the folder, then run again."
            )

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            try:
                if _read(self.path) != self._holder:
                    logger.warning("lock=%s run=%s was removed by someone else; another run may start", self.path, self._run_id)
                    return
                os.utime(self.path)
            except OSError as error:
                logger.warning("lock=%s run=%s could not be touched: %s", self.path, self._run_id, error)


def lock_holder(root: Path) -> Holder | None:
    """Return the holder of an output folder's lock; None if it is not locked.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    LockHeld
        If the lock file does not name its holder.
    """
    return _read(root / LOCK_NAME)


def _acquire(path: Path, me: Holder) -> None:
    """Make the lock, or take over that of a dead holder."""
    while not write_new(path, _content(me)):
        found = _read(path)
        if found is not None and _take_over(path, found, me):
            return


def _take_over(path: Path, found: Holder, me: Holder) -> bool:
    """Take over the lock of a dead holder; False if the lock changed hands meanwhile.

    If several runs find the same dead holder, the one that gets a second lock, named after that holder, may replace the first.
    The second lock may itself have been left by a dead run, hence the recursion.
    """
    if not found.is_dead:
        raise LockHeld(_explanation(path, found))
    with _held(path.with_name(f"{path.name}.after-{found.token}"), me):
        if _read(path) != found:
            return False
        write_over(path, _content(me))
    logger.warning("lock=%s taken over: its holder has ended without releasing it: %s", path, found)
    return True


@contextmanager
def _held(path: Path, me: Holder) -> Iterator[None]:
    _acquire(path, me)
    try:
        yield
    finally:
        _release(path, me)


def _release(path: Path, me: Holder) -> None:
    """Remove the lock, if it is still this holder's."""
    try:
        if _read(path) == me:
            path.unlink()
    except OSError as error:
        logger.warning("lock=%s run=%s could not be removed: %s", path, me.run_id, error)


def _read(path: Path) -> Holder | None:
    """Read the holder; None if there is no lock.

    Raises
    ------
    LockHeld
        If the file is not a lock of surveyflow.
    """
    try:
        return Holder(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LockHeld(
            f"{path} does not name its holder. If no run works on this folder, remove it: rm '{path}'; then run again."
        ) from error


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=1).encode()


def _explanation(path: Path, holder: Holder) -> str:
    held = f"{path} is held by {holder}."
    silence_s = _silence_s(path)
    if holder.is_local or silence_s < STALE_AFTER_S:
        return f"{held} Its last heartbeat is {silence_s:.0f} s old. Wait for it to end, or end it; then run again."
    return (
        f"{held} It has sent no heartbeat for {silence_s / 60:.0f} minutes (expected: one a minute), but this machine cannot "
        f"see whether it has ended. If it has, remove its lock: rm '{path}'; then run again."
    )


def _silence_s(path: Path) -> float:
    """Seconds since the lock was touched, by the file server's clock."""
    probe = temporary_path(path)
    try:
        probe.touch()
        return max(0.0, probe.stat().st_mtime - path.stat().st_mtime)
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


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


def _pid_namespace() -> str:
    """The namespace of this process's number: containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
