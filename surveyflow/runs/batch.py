"""What a workflow becomes as batch jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from surveyflow.errors import ProfileError
from surveyflow.flow.profiles import load_profile
from surveyflow.flow.routing import Routing
from surveyflow.flow.slurm_pools import route_pools
from surveyflow.flow.slurm_profile import SlurmProfile
from surveyflow.flow.slurm_scripts import RunCommand, Submission, render
from surveyflow.inputs.workflow import load_workflow
from surveyflow.runs.deciding import work_by_place
from surveyflow.runs.preflight import open_survey


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
        If the workflow cannot be used or, where workers are to be shared out by the work there is, anything that it names.
    ProfileError
        If the profile cannot be used, is of another kind, or offers no worker for some of the units.
    """
    site = load_profile(profile)
    if not isinstance(site, SlurmProfile):
        raise ProfileError(f"{profile}: is of kind {site.kind!r}, expected 'slurm'. Start from deploy/profiles/slurm.toml.")
    loaded = load_workflow(workflow)
    options = ("--precision", precision) if precision != "float32" else ()
    command = RunCommand(workflow.absolute(), f"{loaded.survey.name}-{loaded.survey.release}", options)
    if site.routing is Routing.ANY:
        return render(site, command)
    with open_survey(loaded) as survey:
        routed, route = route_pools(site, work_by_place(survey, precision))
    return replace(render(routed, command), routing=str(route))
