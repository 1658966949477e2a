"""What a workflow becomes as batch jobs."""

from __future__ import annotations

from pathlib import Path

from surveyflow.errors import ProfileError
from surveyflow.flow.profiles import load_profile
from surveyflow.flow.slurm_profile import SlurmProfile
from surveyflow.flow.slurm_scripts import RunCommand, Submission, render
from surveyflow.inputs.workflow import load_workflow


def prepare_submission(workflow: Path, profile: Path, *, precision: str = "float32") -> Submission:
    """Write everything that would be submitted, as text; nothing is changed.

    Parameters
    ----------
    workflow
        The workflow file.
    profile
        A profile of kind ``slurm``.
    precision
        Of the models' trunks, as in `surveyflow.run`.

    Raises
    ------
    WorkflowError
        If the workflow file cannot be used.
    ProfileError
        If the profile cannot be used, or is of another kind.
    """
    site = load_profile(profile)
    if not isinstance(site, SlurmProfile):
        raise ProfileError(f"{profile}: is of kind {site.kind!r}, expected 'slurm'. Start from deploy/profiles/slurm.toml.")
    survey = load_workflow(workflow).survey
    options = ("--precision", precision) if precision != "float32" else ()
    return render(site, RunCommand(workflow.absolute(), f"{survey.name}-{survey.release}", options))
