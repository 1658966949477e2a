"""Functions on batch jobs of Slurm: render, submit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from surveyflow.runs.render_jobs import NothingToSubmit, RunOptions, render_jobs, submit_jobs
from surveyflow.values.codes import EngineName, Precision

if TYPE_CHECKING:
    from surveyflow.sites.slurm.jobs import Submission
    from surveyflow.sites.slurm.submit import SubmittedJobs


def render_slurm(
    workflow: str | Path,
    profile: str | Path,
    *,
    release: str | None = None,
    output: str | Path | None = None,
    engine: str = EngineName.AUTO,
    precision: str = Precision.FLOAT32,
    reread: bool = False,
    moved: Mapping[str, str] = MappingProxyType({}),
) -> Submission:
    """Return what would be submitted to Slurm for a workflow, as text; nothing is changed.

    Parameters
    ----------
    workflow
        Path of a workflow file.
    profile
        Path of a profile of kind ``slurm``.
    release, output, engine, precision, reread, moved
        As in `surveyflow.run`; the driver is given them. For ``latest`` it is given the name of the release that is newest now.

    Raises
    ------
    WorkflowError
        If the workflow cannot be used.
    ProfileError
        If the profile cannot be used, is of another kind, or offers no worker for some of the units.
    """
    options = run_options(release, output, engine, precision, moved, reread=reread)
    return cast("Submission", render_jobs(Path(workflow), Path(profile), "slurm", options))


def submit_slurm(
    workflow: str | Path,
    profile: str | Path,
    *,
    release: str | None = None,
    output: str | Path | None = None,
    engine: str = EngineName.AUTO,
    precision: str = Precision.FLOAT32,
    reread: bool = False,
    moved: Mapping[str, str] = MappingProxyType({}),
    if_changed: bool = False,
) -> SubmittedJobs | NothingToSubmit:
    """Check a workflow and submit its jobs to Slurm's queue; jobs that are submitted again continue where they were.

    Parameters
    ----------
    workflow, profile, release, output, engine, precision, reread, moved
        As in `render_slurm`. A newer release that is broken is announced, as by `surveyflow.run`.
    if_changed
        Whether to submit nothing if nothing has changed since a revision.

    Raises
    ------
    WorkflowError, ProfileError
        As in `render_slurm`, and if anything that the workflow names cannot be used.
    LockHeld
        If a run works on the output folder, or jobs of this workflow are in the queue.
    ClusterError
        If there is no Slurm, or if it refuses a job; no job is left behind then.
    """
    options = run_options(release, output, engine, precision, moved, reread=reread)
    done = submit_jobs(Path(workflow), Path(profile), "slurm", options, if_changed=if_changed)
    if isinstance(done, NothingToSubmit):
        return done
    return replace(cast("SubmittedJobs", done.jobs), release=done.release, root=done.root, discovery=done.discovery)


def run_options(
    release: str | None,
    output: str | Path | None,
    engine: str,
    precision: str,
    moved: Mapping[str, str],
    *,
    reread: bool,
) -> RunOptions:
    """Check the options of a run that a driver is given.

    Raises
    ------
    InputError
        If there is no such engine or precision.
    """
    folder = None if output is None else Path(output).absolute()
    return RunOptions(release, folder, EngineName(engine), Precision(precision), reread, moved)
