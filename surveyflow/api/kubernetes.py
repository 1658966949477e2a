"""Functions on pods of Kubernetes: render, certificates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from surveyflow.api.slurm import run_options
from surveyflow.runs.render_jobs import NothingToSubmit, render_if_changed, render_jobs
from surveyflow.sites.certificates import write_certificates
from surveyflow.values.codes import EngineName, Precision


def render_kubernetes(
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
) -> str:
    """Write the manifests that run a workflow in pods, for ``kubectl apply``; nothing is changed.

    Parameters
    ----------
    workflow
        Path of a workflow file on the profile's volume.
    profile
        Path of a profile of kind ``kubernetes``.
    release, output, engine, precision, reread, moved
        As in `surveyflow.render_slurm`.
    if_changed
        Whether to return an empty text if nothing has changed since a revision. Then everything that the workflow names is
        checked, too, and failures and broken releases are announced, as by `surveyflow.run`.

    Raises
    ------
    WorkflowError
        If the workflow cannot be used.
    ProfileError
        If the profile cannot be used, is of another kind, or its pools do not fit the workflow.
    LockHeld
        With ``if_changed``, if a run works on the output folder.
    """
    options = run_options(release, output, engine, precision, moved, reread=reread)
    if not if_changed:
        return str(render_jobs(Path(workflow), Path(profile), "kubernetes", options))
    done = render_if_changed(Path(workflow), Path(profile), "kubernetes", options)
    return "" if isinstance(done, NothingToSubmit) else str(done)


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
