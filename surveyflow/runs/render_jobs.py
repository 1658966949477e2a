"""What a workflow becomes as batch jobs, or as pods."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath

from surveyflow.errors import ProfileError
from surveyflow.execution.jobs import listed
from surveyflow.execution.routing import Routing
from surveyflow.runs.decide import work_by_model_group
from surveyflow.runs.preflight import open_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.kubernetes.manifests import PodRun, render_manifests
from surveyflow.sites.kubernetes.profile import KubernetesProfile
from surveyflow.sites.profiles import load_profile
from surveyflow.sites.slurm.pools import route_pools
from surveyflow.sites.slurm.profile import SlurmProfile
from surveyflow.sites.slurm.scripts import RunCommand, Submission, render
from surveyflow.values.codes import Precision


def prepare_submission(workflow: Path, profile: Path, *, precision: Precision = Precision.FLOAT32) -> Submission:
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
    options = ("--precision", precision) if precision != Precision.FLOAT32 else ()
    command = RunCommand(workflow.absolute(), f"{loaded.survey.name}-{loaded.survey.release}", options)
    if site.routing is Routing.ANY:
        return render(site, command)
    with open_survey(loaded) as survey:
        routed, route = route_pools(site, work_by_model_group(survey, precision))
    return replace(render(routed, command), routing=str(route))


def prepare_manifests(workflow: Path, profile: Path) -> str:
    """Write the manifests of a workflow for Kubernetes; nothing is changed.

    Parameters
    ----------
    workflow
        The workflow file, on the profile's volume as this machine sees it.
    profile
        A profile of kind ``kubernetes``.

    Raises
    ------
    WorkflowError
        If the workflow file cannot be used.
    ProfileError
        If the profile cannot be used, is of another kind, or the workflow file does not lie on its volume.
    """
    site = load_profile(profile)
    if not isinstance(site, KubernetesProfile):
        raise ProfileError(
            f"{profile}: is of kind {site.kind!r}, expected 'kubernetes'. Start from deploy/profiles/kubernetes.toml."
        )
    here = site.volume.seen_here
    if not workflow.absolute().is_relative_to(here):
        raise ProfileError(
            f"{workflow.absolute()} does not lie on the profile's volume, which this machine sees at {here}. Move it there, or "
            f"correct [volume] here in {profile}."
        )
    loaded = load_workflow(workflow)
    _check_model_groups(
        site, {f"{name}/{instrument}" for name, field in loaded.fields.items() for instrument in field.mosaics}, profile
    )
    survey = loaded.survey
    on_volume = PurePosixPath(site.volume.path, workflow.absolute().relative_to(here))
    return render_manifests(site, PodRun(on_volume, f"{survey.name}-{survey.release}"))


def _check_model_groups(site: KubernetesProfile, model_groups: Collection[str], profile: Path) -> None:
    """Compare the models of the pools with those of the workflow, before pods wait for units that never come."""
    offered = {group for pool in site.pools.values() for group in pool.models}
    if offered and (unknown := offered - set(model_groups) or set(model_groups) - offered):
        raise ProfileError(
            f"{profile}: the pools hold the models of {listed(offered)}, but the workflow has {listed(model_groups)}. "
            f"Correct models of the pools: {listed(unknown)}."
        )
