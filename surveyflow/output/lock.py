"""Who works on an output folder: one run at a time, on any machine.

``ROOT/run.lock`` is linked into place whole, which is atomic on local disks and on NFS; `fcntl` locks are not used. The holder
touches it once a minute. A holder that died on this machine is recognised by its process and succeeded; one on another
machine is named, and left to the user.
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
    """Who holds a lock.

    Parameters
    ----------
    host, pid_namespace, pid, process_start
        The process. The start time, in the kernel's ticks, tells it from a later process of the same number; ``""`` where
        the kernel does not say.
    run_id
        Its run.
    started
        When it took the lock, ISO 8601, UTC.
    token
        Random: tells this hold from any other.
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
        """The present process, from now on."""
        pid = os.getpid()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), _pid_namespace(), pid, _process_start(pid), run_id, now, secrets.token_hex(16))

    @property
    def is_local(self) -> bool:
        """Whether its process would be seen from here."""
        return (self.host, self.pid_namespace) == (socket.gethostname(), _pid_namespace())

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to have ended; False for another machine's."""
        return self.is_local and not (_exists(self.pid) and _process_start(self.pid) == self.process_start)

    def __str__(self) -> str:
        return f"run {self.run_id} on host {self.host} (process {self.pid}), started {self.started}"


class RunLock:
    """Holds an output folder for one run; a context manager.

    Parameters
    ----------
    root
        The output folder; made if it is missing.
    run_id
        The run's name.
    heartbeat_s
        Seconds between signs of life.

    Raises
    ------
    LockHeld
        On entering, if another run works on the folder, or may still do.
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
        """Make sure that the lock is still this run's.

        Raises
        ------
        LockHeld
            If it was removed or taken: another run may be writing.
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
    """Who holds an output folder; None if nobody does.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    LockHeld
        If the lock file does not say.
    """
    return _read(root / LOCK_NAME)


def _acquire(path: Path, me: Holder) -> None:
    """Make the lock, or succeed a dead holder."""
    while not write_new(path, _content(me)):
        found = _read(path)
        if found is not None and _succeed(path, found, me):
            return


def _succeed(path: Path, found: Holder, me: Holder) -> bool:
    """Take the lock of a dead holder; False if it changed hands meanwhile.

    Of several that find the same dead holder, the one that gets the lock named after that holder may replace it; that lock in
    turn may be left by a dead successor, hence the recursion.
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
    """The holder; None if there is no lock.

    Raises
    ------
    LockHeld
        If the file is no lock of surveyflow's.
    """
    try:
        return Holder(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LockHeld(
            f"{path} does not say who holds it. If no run works on this folder, remove it: rm '{path}'; then run again."
        ) from error


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=1).encode()


def _explanation(path: Path, holder: Holder) -> str:
    held = f"{path} is held by {holder}."
    silence_s = _silence_s(path)
    if holder.is_local or silence_s < STALE_AFTER_S:
        return f"{held} Its last sign of life is {silence_s:.0f} s old. Wait for it to end, or end it; then run again."
    return (
        f"{held} It has given no sign of life for {silence_s / 60:.0f} minutes (expected: one a minute), but this machine cannot "
        f"see whether it has ended. If it has, remove its lock: rm '{path}'; then run again."
    )


def _silence_s(path: Path) -> float:
    """Seconds since the lock was touched, by the file server's own clock."""
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
    """Start time of a process in ticks since boot; ``""`` where the kernel does not say, or the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *numbers = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else numbers[18]


def _pid_namespace() -> str:
    """Which set of process numbers this process lives in: containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
