"""The submission of jobs to Slurm: all of them, or none."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from surveyflow.errors import ClusterError, LockHeld
from surveyflow.execution.memory_kills import PREFIX
from surveyflow.files.durable import remove_any
from surveyflow.inputs.discovery import ReleaseChoice
from surveyflow.sites.certificates import write_certificates
from surveyflow.sites.slurm.jobs import FINISHED, HEAD_ID, LOGS, OF_THE_SITE, POOL_IDS, RESULT, SCHEDULER_FILE, Submission
from surveyflow.values import remedies
from surveyflow.values.notebooks import notebook_table

logger = logging.getLogger(__name__)

_ANSWER_S = 60
_DIGITS = 8
"""Of a folder's name: they are the same for all releases of a workflow."""


@dataclass(frozen=True, slots=True)
class SubmittedJobs:
    """The jobs of a submission.

    Parameters
    ----------
    head
        Number of the head's job.
    pools
        Numbers of the arrays of workers, by the pools' names.
    folder
        Folder of the submission: scripts, logs, certificates, and in the end ``result.json``.
    routing
        The routing and the reason for it, in words; empty if every worker does every unit.
    release
        Name of the release.
    root
        The output folder; None if it is not known.
    discovery
        How the release was chosen; None if it was named.
    """

    head: str
    pools: Mapping[str, str]
    folder: Path
    routing: str = ""
    release: str = ""
    root: Path | None = None
    discovery: ReleaseChoice | None = None

    @property
    def exit_code(self) -> int:
        """0, or 5 if a newer release is broken."""
        return 5 if self.discovery and self.discovery.broken else 0

    def __str__(self) -> str:
        jobs = [f"head    {self.head}  scheduler and driver", *(f"pool    {job}  {name}" for name, job in self.pools.items())]
        routing = [self.routing] if self.routing else []
        folder = f"folder  {self.folder}  logs, certificates, and in the end result.json"
        status = [f"status  `{remedies.status(self.root)}` says how far they are"] if self.root is not None else []
        return "\n".join([*jobs, *routing, folder, *status]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Its values, with the folder as text."""
        root = None if self.root is None else str(self.root)
        stated = asdict(replace(self, discovery=None)) | {"folder": str(self.folder), "root": root}
        return stated | {"discovery": self.discovery.as_json() if self.discovery else None}

    def _repr_html_(self) -> str:
        shown = ("head", "pools", "folder", "routing", "release")
        return notebook_table({name: getattr(self, name) for name in shown})


def submit(submission: Submission) -> SubmittedJobs:
    """Write a submission's files, make its certificates and submit its jobs.

    The head is held until all pools are in the queue; the pools wait until it has started.

    Raises
    ------
    ClusterError
        If there is no Slurm, or if it refuses a job; no job is left behind then.
    LockHeld
        If jobs of this workflow are in the queue, for this release or another.
    """
    _check_free(submission)
    _write(submission)
    with _all_or_nothing() as submitted:
        submitted.append(_sbatch(submission, submission.head, "--hold"))
        for script in submission.pools.values():
            submitted.append(_sbatch(submission, script, f"--dependency=after:{submitted[0]}"))
        head, *pools = submitted
        (submission.folder / HEAD_ID).write_text(f"{head}\n", encoding="utf-8")
        (submission.folder / POOL_IDS).write_text("".join(f"{pool}\n" for pool in pools), encoding="utf-8")
        _ask("scontrol", "release", head)
    pool_jobs = dict(zip(submission.pools, pools, strict=True))
    return SubmittedJobs(head, pool_jobs, submission.folder, submission.routing)


def _check_free(submission: Submission) -> None:
    """Refuse while jobs of an earlier submission of the same workflow are in the queue, whatever its release."""
    queue = set(_ask("squeue", "--me", "--noheader", "--format=%F").split())
    for folder in _folders(submission):
        left = sorted(queue.intersection(_jobs_of(folder)), key=int)
        if left:
            raise LockHeld(
                f"{folder} has jobs in the queue: {' '.join(left)}. "
                f"Wait until they have ended, or end them: scancel {' '.join(left)}; then submit again."
            )


def _jobs_of(folder: Path) -> set[str]:
    """Numbers of the jobs that were submitted from a folder last."""
    files = [folder / name for name in (HEAD_ID, POOL_IDS)]
    return {job for file in files if file.exists() for job in file.read_text(encoding="utf-8").split()}


def _write(submission: Submission) -> None:
    """Write the files, and remove what an earlier submission left."""
    folder = submission.folder
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / LOGS).mkdir(exist_ok=True)
    for name in (FINISHED, HEAD_ID, POOL_IDS, RESULT, SCHEDULER_FILE):
        (folder / name).unlink(missing_ok=True)
    for old in (folder / LOGS).glob(f"{PREFIX}*"):
        remove_any(old)
    for name, text in submission.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_certificates(submission.certificates)
    _sweep(submission)


def _sweep(submission: Submission) -> None:
    """Remove old logs, and old folders of other releases; what cannot be removed stays."""
    before = time.time() - submission.keep_logs_days * 86_400.0
    for folder in _folders(submission):
        for path in [*(folder / LOGS).glob("*.log"), folder]:
            with suppress(OSError):
                if path != submission.folder and _changed_last(path) < before:
                    remove_any(path)


def _changed_last(path: Path) -> float:
    """When a file, or anything in a folder or its logs, was changed last, seconds since 1970."""
    return max(each.stat().st_mtime for each in [path, *path.glob("*"), *path.glob(f"{LOGS}/*")])


def _folders(submission: Submission) -> list[Path]:
    """Folders of the workflow's submissions, for every release."""
    return sorted(submission.folder.parent.glob(f"*{submission.folder.name[-_DIGITS:]}"))


@contextmanager
def _all_or_nothing() -> Iterator[list[str]]:
    """Collect job numbers; cancel the jobs if anything fails."""
    submitted: list[str] = []
    try:
        yield submitted
    except BaseException:
        if submitted:
            subprocess.run(["scancel", "--quiet", *submitted], check=False, timeout=_ANSWER_S)  # noqa: S603, S607
        raise


def _sbatch(submission: Submission, name: str, option: str) -> str:
    path = submission.folder / name
    job = _ask("sbatch", "--parsable", option, str(path)).strip().partition(";")[0]
    logger.info("job=%s script=%s submitted", job, path)
    return job


def _outside_of_jobs() -> dict[str, str]:
    """The environment without what Slurm says of a job that this process is part of: the new jobs would take it for their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name in OF_THE_SITE}


def _ask(*command: str) -> str:
    """Run one of Slurm's commands and return what it prints."""
    if shutil.which(command[0]) is None:
        raise ClusterError(f"there is no {command[0]} on this machine. Submit from a machine that has Slurm's commands.")
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_ANSWER_S, check=False, env=_outside_of_jobs()
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(command)} did not answer within {_ANSWER_S} s. Try again later.") from error
    if done.returncode:
        raise ClusterError(f"Slurm refused {' '.join(command)}: {done.stderr.strip()}. Correct the profile, or ask your site.")
    return done.stdout
