"""The lock of an output folder: a lease by which one run at a time works on it, from any machine.

``ROOT/run.lock`` is linked into place complete, which is atomic on local disks and on NFS; `fcntl` locks are not used. The
holder touches it twice a minute. Both the touch and the present time come from the file server's clock, so the clocks of
machines do not matter.

A lease ends when its holder's process on this machine has ended, when this process belongs to a later start of the holder's job,
when Slurm says that the job is gone, or when it has not been touched for its stated duration. Then the next holder links its own
lease to a name that follows from the ended lease, so that exactly one gets it: ``run.lock.after-DIGEST``. The last of this chain
is the lease that counts.

A holder may lose its lease without noticing, for example while its machine is suspended. So it checks the lease between the
preparation and the rename of everything that readers see, and a new holder first withdraws what was prepared before.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter

from surveyflow.errors import CatalogError, LockHeld
from surveyflow.files.durable import explained, make_folder, temporary_path, write_new
from surveyflow.files.json_state import Damaged, parse_state, read_ordinary_file
from surveyflow.output.batch_jobs import BatchJob, Presence, ask_slurm
from surveyflow.output.holders import Holder
from surveyflow.output.prepared import withdraw_prepared
from surveyflow.values import remedies

LOCK_NAME = "run.lock"
HEARTBEAT_S = 30.0
LEASE_S = 300.0
"""Duration of a lease without a sign of life, seconds: NFS may show a touch a minute late, and a file server may pause."""

_HOLDER = TypeAdapter(Holder)
_MOST_BYTES = 65_536

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease on an output folder.

    Parameters
    ----------
    path
        Its file.
    content
        The file's content.
    holder
        Its holder; None if the content does not name one.
    silent_s
        Seconds since the last sign of life, by the file server's clock; None if this process may not ask for its time. Negative
        if the server's clock was set back.
    touched
        When its file was last touched, seconds since 1970 by the file server's clock.
    """

    path: Path
    content: bytes
    holder: Holder | None
    silent_s: float | None
    touched: float

    @property
    def expires_in_s(self) -> float | None:
        """Seconds until it expires if it shows no further sign of life; None if that cannot be known."""
        if self.silent_s is None:
            return None
        lease_s = self.holder.lease_s if self.holder else LEASE_S
        return lease_s - abs(self.silent_s)  # a living holder soon touches it again after the server's clock was set back

    @property
    def is_void(self) -> bool:
        """Whether its holder is known to have ended, or it has expired; Slurm is not asked."""
        is_dead = self.holder is not None and self.holder.is_dead
        return is_dead or (self.expires_in_s is not None and self.expires_in_s < 0)

    @property
    def successor(self) -> Path:
        """File of the lease that follows it."""
        return self.path.with_name(f"{LOCK_NAME}.after-{hashlib.sha256(self.content).hexdigest()[:32]}")

    def as_json(self) -> dict[str, Any]:
        """The holder, the last sign of life and the time that is left, as JSON values."""
        holder = asdict(self.holder) if self.holder else None
        return {"holder": holder, "silent_s": self.silent_s, "expires_in_s": self.expires_in_s, "void": self.is_void}

    def describe(self) -> str:
        """Say who holds or held it, since when, and when it last showed a sign of life."""
        verb = "left" if self.is_void else "held"
        return f"{verb} by {self.holder or 'a holder that it does not name'}. {self._last_sign()}"

    def _last_sign(self) -> str:
        if self.silent_s is None or self.expires_in_s is None:
            return "The time of its last sign of life cannot be judged without write access."
        last = f"Last sign of life {_span(self.silent_s)} ago"
        return f"{last}; expired." if self.expires_in_s < 0 else f"{last}; expires in {_span(self.expires_in_s)} without another."


class RunLock:
    """A context manager that locks an output folder for one run.

    Parameters
    ----------
    root
        The output folder; made if it is missing.
    run_id
        The run's name.
    heartbeat_s
        Seconds between signs of life.
    lease_s
        Seconds without a sign of life after which the lock may be taken over.

    Raises
    ------
    LockHeld
        On entering, if another run works on the folder, or may do so. On leaving, in place of an error, if the lease was lost
        meanwhile.
    CatalogError
        On entering, if something that is not a lock has its name.
    OutputError
        On entering, if the folder cannot be written.
    """

    def __init__(self, root: Path, run_id: str, *, heartbeat_s: float = HEARTBEAT_S, lease_s: float = LEASE_S) -> None:
        self.path = root / LOCK_NAME
        self._run_id = run_id
        self._heartbeat_s = heartbeat_s
        self._lease_s = lease_s
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._own = _acquire(self.path, self._run_id, self._lease_s)
        self._ended.clear()
        self._heartbeat = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self._heartbeat.start()
        withdraw_prepared(self.path.parent)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._heartbeat.join()
        if isinstance(error, Exception) and not isinstance(error, LockHeld):
            self.check()  # what the new holder withdrew may be the reason for the error
        self._release()

    def check(self) -> None:
        """Check that this run still holds the lease; call it immediately before each step that cannot be undone.

        Raises
        ------
        LockHeld
            If the lease was lost or removed, or cannot be read: another run may be writing.
        """
        try:
            found = self._look()
        except CatalogError as error:
            found = str(error)
        if found is not None:
            raise LockHeld(
                f"{self.path}: run {self._run_id} has lost its lease ({found}), so another run may be writing there. "
                f"Nothing more was published. Make sure that no other run works on the folder, then run again."
            )

    def _look(self) -> str | None:
        """What is found in the place of this run's lease; None if it is still there."""
        leases = _chain(self.path)
        if not leases:
            return "its file was removed"
        return None if leases[-1].content == self._own.content else f"taken over by {leases[-1].holder or 'an unknown holder'}"

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            try:
                if found := self._look():
                    logger.warning("lock=%s run=%s has lost its lease: %s", self.path, self._run_id, found)
                    return
                os.utime(self._own.path)
            except (OSError, CatalogError) as error:
                logger.warning("lock=%s run=%s could not be touched: %s", self.path, self._run_id, error)

    def _release(self) -> None:
        """Remove the chain of leases if this run's is the last: the first file first, because without it there is no lock."""
        try:
            leases = _chain(self.path)
            if leases and leases[-1].content == self._own.content:
                for lease in leases:
                    lease.path.unlink()
        except (OSError, CatalogError) as error:
            logger.warning("lock=%s run=%s could not be removed: %s", self.path, self._run_id, error)


def find_lease(root: Path) -> Lease | None:
    """Return the lease on an output folder; None if it is not locked.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    CatalogError
        If something that is not a lock has its name.
    """
    path = root / LOCK_NAME
    leases = _chain(path, _server_time(path))
    return leases[-1] if leases else None


def refuse_if_held(root: Path) -> None:
    """Refuse while a run holds the lock of an output folder, or may do so; nothing is changed.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    LockHeld
        If its holder is not known to have ended.
    CatalogError
        If something that is not a lock has its name.
    """
    if lease := find_lease(root):
        _why_ended(lease)


def _acquire(path: Path, run_id: str, lease_s: float) -> Lease:
    """Make the lease, or one that follows an ended one."""
    with explained(path):
        make_folder(path.parent)
    while True:
        leases = _chain(path, _server_time(path))
        place, reason = (leases[-1].successor, _why_ended(leases[-1])) if leases else (path, "")
        own = _offer(place, run_id, lease_s, leases[-1] if leases else None)
        if own is not None and _is_last(path, own):
            break
    if leases:
        logger.warning("lock=%s taken over: %s: %s", path, reason, leases[-1].holder or "unknown holder")
    _remove_strays(path, own)
    return own


def _offer(place: Path, run_id: str, lease_s: float, before: Lease | None) -> Lease | None:
    """Link this process's lease to a name; None if another process was first."""
    with explained(place), _server_time_ns(place) as now_ns:
        token = max(now_ns, before.holder.token + 1 if before and before.holder else 1)
    holder = Holder.this_process(run_id, token, lease_s)
    content = _HOLDER.dump_json(holder, indent=1)
    return Lease(place, content, holder, 0.0, now_ns / 1e9) if write_new(place, content) else None


def _is_last(path: Path, own: Lease) -> bool:
    """Whether a lease that was linked into place counts; if not, because the chain before it was removed, remove it."""
    leases = _chain(path)
    if leases and leases[-1].content == own.content:
        return True
    found = _read(own.path)
    if found is not None and found.content == own.content and own.path not in [lease.path for lease in leases]:
        own.path.unlink(missing_ok=True)
    return False


def _remove_strays(path: Path, own: Lease) -> None:
    """Remove leases that no longer follow from any other: a process died between two steps of its release."""
    leases = {lease.path for lease in _chain(path)} | {own.successor}
    for stray in path.parent.glob(f"{LOCK_NAME}.after-*"):
        if stray not in leases:
            with suppress(OSError):
                stray.unlink()


def _why_ended(lease: Lease) -> str:
    """Why a lease has ended, in words.

    Raises
    ------
    LockHeld
        If it has not.
    """
    holder = lease.holder
    if holder is not None and holder.is_dead:
        return "its holder has ended without releasing it"
    if holder is not None and holder.job and holder.job.was_started_again_as(BatchJob.of_this_process()):
        return f"Slurm has started {holder.job} again"
    presence, state = ask_slurm(holder.job) if holder and holder.job else (Presence.UNKNOWN, "")
    if holder and presence is Presence.GONE and not holder.is_local:
        return f"{holder.job} is gone{f' (its state is {state})' if state else ''}"
    if presence is Presence.THERE:
        raise _refusal(lease, f"Slurm says that its job is {state}.")
    if lease.is_void:
        return f"it has shown no sign of life for {_span(lease.silent_s or 0.0)}"
    raise _refusal(lease, "")


def _refusal(lease: Lease, reason: str) -> LockHeld:
    held = f"{lease.path.with_name(LOCK_NAME)} is {lease.describe()}"
    return LockHeld(" ".join(filter(None, [held, reason, "Wait for it to end, or end it; then run again."])))


def _chain(path: Path, now_ns: int | None = None) -> list[Lease]:
    """Read the leases, each after the one that it follows; the last one counts.

    Parameters
    ----------
    path
        File of the first.
    now_ns
        The file server's time, asked before, so that delays make a lease seem younger.

    Raises
    ------
    CatalogError
        If a file is not an ordinary one, or cannot be read.
    """
    leases: list[Lease] = []
    while (lease := _read(leases[-1].successor if leases else path, now_ns)) is not None:
        if lease.path in [earlier.path for earlier in leases]:
            raise _not_a_lock(path, "it follows itself")
        leases.append(lease)
    return leases


def _read(path: Path, now_ns: int | None = None) -> Lease | None:
    """Read a lease; None if there is no such file."""
    try:
        content = read_ordinary_file(path, _MOST_BYTES)
        touched_ns = path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        raise _not_a_lock(path, str(error)) from error
    return Lease(path, content, _holder_in(content), None if now_ns is None else (now_ns - touched_ns) / 1e9, touched_ns / 1e9)


def _holder_in(content: bytes) -> Holder | None:
    try:
        return parse_state(content, _HOLDER)
    except Damaged:
        return None


def _not_a_lock(path: Path, how: str) -> CatalogError:
    return CatalogError(
        f"{path} is not a lock of surveyflow: {how}. If no run works on this folder, remove it: "
        f"`{remedies.remove_folder(path)}`; then run again."
    )


def _server_time(path: Path) -> int | None:
    """The file server's time, nanoseconds; None if this process may not write there."""
    try:
        with _server_time_ns(path) as now_ns:
            return now_ns
    except OSError:
        return None


@contextmanager
def _server_time_ns(path: Path) -> Iterator[int]:
    """Touch a new file beside another, and read the time that the server gave it."""
    probe = temporary_path(path)
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
        yield os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(max(0.0, seconds))))
