"""Slurm's answer to the question whether the job of a lease's holder still exists."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Self

from pydantic import Field

Word = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A short text without control characters."""

_ANSWER_S = 20.0
AT_WORK = {"RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
"""States of a job whose processes may live."""
_NO_SUCH_JOB = "Invalid job id specified"


class Presence(Enum):
    """What is known of a job."""

    THERE = "there"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job of Slurm.

    Parameters
    ----------
    cluster
        Name of its cluster.
    number
        Its number there.
    restarts
        How often Slurm had started it again.
    """

    cluster: Word
    number: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    restarts: Annotated[int, Field(ge=0)]

    @classmethod
    def of_this_process(cls) -> Self | None:
        """The job that this process is part of; None if there is none."""
        number, restarts = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT", "0")
        if not (re.fullmatch("[0-9]{1,20}", number) and re.fullmatch("[0-9]{1,9}", restarts)):
            return None
        return cls(os.environ.get("SLURM_CLUSTER_NAME", ""), number, int(restarts))

    def was_started_again_as(self, other: BatchJob | None) -> bool:
        """Whether another is a later start of this job: Slurm starts a job again only after it has given up the start before."""
        same = other is not None and (other.cluster, other.number) == (self.cluster, self.number)
        return other is not None and same and other.restarts > self.restarts

    def __str__(self) -> str:
        return f"Slurm's job {self.number}"


def ask_slurm(job: BatchJob) -> tuple[Presence, str]:
    """Ask Slurm whether a job still exists.

    Parameters
    ----------
    job
        The job.

    Returns
    -------
    presence
        ``GONE`` if it has ended, waits in the queue, or was started again since; ``UNKNOWN`` if Slurm is not installed, does
        not answer, or is that of another cluster.
    state
        The job's state as Slurm names it; empty if Slurm did not say.
    """
    config = _answer("show", "config")
    if not config or config.get("ClusterName") != job.cluster:
        return Presence.UNKNOWN, ""
    found = _answer("show", "job", job.number, "--oneliner")
    if found is None:
        return Presence.GONE, ""
    state, restarts = found.get("JobState", ""), found.get("Restarts", "")
    if not state:
        return Presence.UNKNOWN, ""
    is_another_start = restarts.isdigit() and int(restarts) > job.restarts
    return (Presence.THERE if state in AT_WORK and not is_another_start else Presence.GONE), state


def _answer(*arguments: str) -> dict[str, str] | None:
    """The values that ``scontrol`` prints, by name; empty if it cannot be asked, and None if there is no such job."""
    command = ["scontrol", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode != 0:
        return None if _NO_SUCH_JOB in done.stderr + done.stdout else {}
    return dict(re.findall(r"(\w+)\s*=\s*(\S*)", done.stdout))
