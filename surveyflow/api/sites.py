"""Functions on files for users to adapt: profiles of sites, and units that look for new releases on a schedule."""

from __future__ import annotations

from pathlib import Path

from surveyflow.sites.templates import profile_template, schedule_template
from surveyflow.values.codes import ScheduleKind


def new_profile(kind: str) -> str:
    """Return a commented profile for users to adapt.

    Parameters
    ----------
    kind
        The kind of cluster: ``local``, ``local-gpu``, ``address``, ``slurm`` or ``kubernetes``.

    Raises
    ------
    InputError
        If there is no such kind, or it has no settings.
    """
    return profile_template(kind)


def new_schedule(kind: str, *, workflow: str | Path | None = None, profile: str | Path | None = None) -> str:
    """Return a commented unit that looks for a new release every hour, for users to adapt and install.

    Parameters
    ----------
    kind
        The kind of unit: see `surveyflow.values.codes.ScheduleKind`.
    workflow
        Path of the workflow file; a path to edit if left out.
    profile
        Path of the runs' profile. With one of kind ``slurm``, the unit submits jobs.

    Raises
    ------
    InputError
        If there is no such kind, a path has characters that mean something to a scheduler, or the profile does not suit the unit.
    ProfileError
        If the profile cannot be used.
    """
    chosen = ScheduleKind(kind)
    return schedule_template(chosen, None if workflow is None else Path(workflow), None if profile is None else Path(profile))
