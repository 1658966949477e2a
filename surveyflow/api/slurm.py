"""Functions on batch jobs of Slurm: render, submit."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from surveyflow.runs.render_jobs import render_jobs, submit_jobs
from surveyflow.sites.slurm.jobs import Submission
from surveyflow.sites.slurm.submit import SubmittedJobs
from surveyflow.values.codes import Precision


def render_slurm(workflow: str | Path, profile: str | Path, *, precision: str = Precision.FLOAT32) -> Submission:
    """Return what would be submitted to Slurm for a workflow, as text; nothing is changed.

    Parameters
    ----------
    workflow
        Path of a workflow file.
    profile
        Path of a profile of kind ``slurm``.
    precision
        Precision of the models' trunks, as in `surveyflow.run`.

    Raises
    ------
    WorkflowError
        If the workflow cannot be used.
    ProfileError
        If the profile cannot be used, is of another kind, or offers no worker for some of the units.
    """
    return cast("Submission", render_jobs(Path(workflow), Path(profile), "slurm", precision=Precision(precision)))


def submit_slurm(workflow: str | Path, profile: str | Path, *, precision: str = Precision.FLOAT32) -> SubmittedJobs:
    """Check a workflow and submit its jobs to Slurm's queue; jobs that are submitted again continue where they were.

    Parameters
    ----------
    workflow, profile, precision
        As in `render_slurm`.

    Raises
    ------
    WorkflowError, ProfileError
        As in `render_slurm`, and if anything that the workflow names cannot be used.
    ClusterError
        If there is no Slurm, if jobs of this submission are in the queue, or if Slurm refuses one; no job is left behind then.
    """
    return cast("SubmittedJobs", submit_jobs(Path(workflow), Path(profile), "slurm", precision=Precision(precision)))
