"""The state of an output folder's newest run, by its last report, its lock, and what Slurm says of its job."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from surveyflow.output.batch_jobs import AT_WORK, Presence, ask_slurm
from surveyflow.output.lock import HEARTBEAT_S, Lease
from surveyflow.output.run_folders import RunStatus
from surveyflow.values import remedies
from surveyflow.values.codes import Code

SILENT_AFTER_S = 4 * HEARTBEAT_S
"""A run that has not touched its lock for so long, seconds, may be dead: NFS may show a touch a minute late."""

_COMES_BACK = {"PENDING", "REQUEUED", *AT_WORK}


class RunState(Code):
    """What the newest run of an output folder is doing."""

    RUNNING = "running", "it holds the lock and shows signs of life"
    QUEUED = "queued", "it has ended; Slurm has its job in the queue or has started it again, so it continues by itself"
    SILENT = "silent", "it holds the lock, but has shown no sign of life for minutes"
    REPLACED = "replaced", "it ended without a report, and another run has the lock"
    KILLED = "killed", "it ended without a report"
    ENDED = "ended", "it has reported its end"


@dataclass(frozen=True, slots=True)
class RunCondition:
    """The state of a run, and what to do.

    Parameters
    ----------
    state
        The state.
    message
        The same in sentences, with the remedy if there is something to do.
    """

    state: RunState
    message: str


def condition_of(root: Path, run: RunStatus, lease: Lease | None) -> RunCondition:
    """Judge what a run is doing.

    Parameters
    ----------
    root
        The output folder.
    run
        Its newest run.
    lease
        The lease on the folder; None if nobody holds it.
    """
    if run.progress.phase.is_last:
        return RunCondition(RunState.ENDED, "ended")
    holder = lease.holder if lease else None
    if lease is None or holder is None or holder.run_id != run.run_id:
        return _without_lock(root, run, lease)
    presence, state = ask_slurm(holder.job) if holder.job else (Presence.UNKNOWN, "")
    if presence is Presence.GONE and state in _COMES_BACK:
        message = f"ended without a report, and {holder.job} is {state} again: the run continues by itself when it starts"
        return RunCondition(RunState.QUEUED, message)
    if holder.is_dead or presence is Presence.GONE or (lease.is_void and presence is Presence.UNKNOWN):
        return _killed(root, run, lease)
    if _silence_s(lease) > SILENT_AFTER_S:
        return _silent(root, run, lease)
    return RunCondition(RunState.RUNNING, "running")


def _without_lock(root: Path, run: RunStatus, lease: Lease | None) -> RunCondition:
    if lease is not None and not lease.is_void and lease.holder is not None:
        return RunCondition(RunState.REPLACED, f"ended without a report; {lease.holder} has the lock now")
    return _killed(root, run, lease)


def _killed(root: Path, run: RunStatus, lease: Lease | None) -> RunCondition:
    message = f"ended without a report: it was killed. Nothing is lost; to continue: `{_again(root, run, lease)}`"
    return RunCondition(RunState.KILLED, message)


def _silent(root: Path, run: RunStatus, lease: Lease) -> RunCondition:
    span = timedelta(seconds=round(_silence_s(lease)))
    by = "" if lease.silent_s is not None else " by this machine's clock"
    message = (
        f"no sign of life for {span}{by}: it was killed, or its machine hangs. A new run may begin when the lock has expired; "
        f"nothing is lost; to continue: `{_again(root, run, lease)}`"
    )
    return RunCondition(RunState.SILENT, message)


def _silence_s(lease: Lease) -> float:
    """Seconds since the last sign of life: by the file server's clock, else by this machine's."""
    return lease.silent_s if lease.silent_s is not None else time.time() - lease.touched


def _again(root: Path, run: RunStatus, lease: Lease | None) -> str:
    """The command that continues a run."""
    workflow = root / "runs" / run.run_id / "workflow.toml"
    is_job = lease is not None and lease.holder is not None and lease.holder.job is not None
    return remedies.submit_to_slurm(workflow) if is_job else remedies.run_with_profile(workflow)
