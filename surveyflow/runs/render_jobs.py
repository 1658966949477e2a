"""The jobs of a run on a cluster with a queue: their text and their submission."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from surveyflow.errors import ProfileError
from surveyflow.runs.decide import work_by_model_group
from surveyflow.runs.preflight import open_survey
from surveyflow.settings.findings import line, listed
from surveyflow.settings.workflow import Workflow, load_workflow
from surveyflow.sites.kind import Printed, Profile, RunCommand, RunToRender
from surveyflow.sites.profiles import load_profile, required_keys
from surveyflow.values.codes import Precision


def render_jobs(workflow: Path, profile: Path, kind: str, *, precision: Precision = Precision.FLOAT32) -> Printed:
    """Return everything that would be submitted, as text; nothing is changed.

    Parameters
    ----------
    workflow
        The workflow file.
    profile
        File of a profile.
    kind
        The kind of cluster that the profile must be for.
    precision
        Precision of the models' trunks, as in `surveyflow.run`.

    Raises
    ------
    WorkflowError
        If the workflow cannot be used or, if workers are divided according to the work, anything that it names.
    ProfileError
        If the profile cannot be used, is of another kind, or does not suit the workflow.
    """
    site = _load(profile, kind)
    return site.render(_run(workflow, profile, precision))


def submit_jobs(workflow: Path, profile: Path, kind: str, *, precision: Precision = Precision.FLOAT32) -> Printed:
    """Check everything that a workflow names, and submit its jobs.

    Parameters
    ----------
    workflow, profile, kind, precision
        As in `render_jobs`.

    Raises
    ------
    WorkflowError
        If the workflow, or anything that it names, cannot be used.
    ProfileError
        As in `render_jobs`.
    ClusterError
        If the jobs cannot be submitted; no job is left behind then.
    """
    site = _load(profile, kind)
    run = _run(workflow, profile, precision)
    with open_survey(load_workflow(workflow)):
        return site.submit(run)


def _load(profile: Path, kind: str) -> Profile:
    site = load_profile(profile)
    if site.kind != kind:
        needed = listed(f"`{key}`" for key in required_keys(kind))
        remedy = f"Name a file with {line('kind', kind)} and at least {needed}; docs/reference/profiles.md describes every key."
        raise ProfileError(f"{profile} is of kind {site.kind!r}, expected {kind!r}. {remedy}")
    return site


def _run(workflow: Path, profile: Path, precision: Precision) -> RunToRender:
    loaded = load_workflow(workflow)
    options = ("--precision", precision) if precision != Precision.FLOAT32 else ()
    command = RunCommand(workflow.absolute(), f"{loaded.survey.name}-{loaded.survey.release}", options)
    model_groups = {f"{name}/{instrument}" for name, field in loaded.fields.items() for instrument in field.mosaics}
    return RunToRender(command, profile, frozenset(model_groups), partial(_count_work, loaded, precision))


def _count_work(workflow: Workflow, precision: Precision) -> dict[str, int]:
    with open_survey(workflow) as survey:
        return work_by_model_group(survey, precision)
