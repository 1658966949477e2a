"""Functions on pods of Kubernetes: render, certificates."""

from __future__ import annotations

from pathlib import Path

from surveyflow.runs.render_jobs import render_jobs
from surveyflow.sites.certificates import write_certificates


def render_kubernetes(workflow: str | Path, profile: str | Path) -> str:
    """Write the manifests that run a workflow in pods, for ``kubectl apply``; nothing is changed.

    Parameters
    ----------
    workflow
        Path of a workflow file on the profile's volume.
    profile
        Path of a profile of kind ``kubernetes``.

    Raises
    ------
    WorkflowError
        If the workflow cannot be used.
    ProfileError
        If the profile cannot be used, is of another kind, or its pools do not fit the workflow.
    """
    return str(render_jobs(Path(workflow), Path(profile), "kubernetes"))


def kubernetes_certificates(folder: str | Path) -> Path:
    """Make a new key and certificate for a Kubernetes Secret; clients, scheduler and workers accept only holders of it.

    Parameters
    ----------
    folder
        Folder to write them to; it is made if it does not exist.

    Returns
    -------
    The folder.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    write_certificates(Path(folder))
    return Path(folder)
