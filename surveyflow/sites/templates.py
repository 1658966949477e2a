"""Commented files for users to adapt: a profile of each kind of cluster, and units that look for new releases on a schedule."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

from surveyflow.errors import InputError
from surveyflow.settings.findings import did_you_mean
from surveyflow.sites.kind import Profile
from surveyflow.sites.profiles import BUILT_IN, KINDS, load_profile
from surveyflow.sites.slurm.settings import SlurmSettings
from surveyflow.values import remedies
from surveyflow.values.codes import ScheduleKind

_PROGRAM, _FOLDER = "/opt/surveyflow/bin/surveyflow", "/data/candels"
_WORKFLOW, _PROFILE, _WRITABLE = f"{_FOLDER}/workflow.toml", f"{_FOLDER}/site.toml", f"ReadWritePaths={_FOLDER}"
"""The program, the survey's folder and files, and what a service may write to, in the units as they come."""

_PLAIN = re.compile(r"/[A-Za-z0-9_@+=:,./-]+")
"""Paths that mean the same in a crontab, a unit of systemd, a shell and YAML."""


def profile_template(kind: str) -> str:
    """Return a commented profile.

    Parameters
    ----------
    kind
        The kind of cluster.

    Raises
    ------
    InputError
        If there is no such kind, or it has no settings.
    """
    kinds = [name for name in KINDS if _profile_file(name).is_file()]
    if kind not in kinds:
        hint = did_you_mean(kind, kinds, f"Choose one of {', '.join(kinds)}.")
        raise InputError(f"there is no profile to write for kind {kind!r}. {hint}")
    return _profile_file(kind).read_text(encoding="utf-8")


def schedule_template(kind: ScheduleKind, workflow: Path | None, profile: Path | None) -> str:
    """Return a unit, with this installation's program and the paths that are named.

    Parameters
    ----------
    kind
        The kind of unit.
    workflow
        The workflow file; None for a path that the user edits.
    profile
        The profile of the runs. With one of kind ``slurm``, the unit submits jobs.

    Raises
    ------
    InputError
        If a path has characters that mean something to a shell or a scheduler, or the profile does not suit the unit.
    ProfileError
        If the profile cannot be used.
    """
    text = files(__package__).joinpath("schedules", kind).read_text(encoding="utf-8")
    found = {_PROGRAM: _plain(Path(sys.executable).with_name("surveyflow"))}
    if workflow is not None:
        found |= {_WORKFLOW: _plain(workflow), _FOLDER: _plain(workflow.absolute().parent)}
    if profile is not None:
        settings = load_profile(profile)
        _check_suits(settings, profile, kind)
        text = _with_profile(text, settings)
        found[_PROFILE] = str(profile) if str(profile) in BUILT_IN else _plain(profile)
        if isinstance(settings, SlurmSettings):
            found[_WRITABLE] = f"ReadWritePaths={found.get(_FOLDER, _FOLDER)} {_plain(settings.directories.shared)}"
    longest_first = sorted(found, key=len, reverse=True)
    return re.sub("|".join(longest_first), lambda match: found[match[0]], text)


def _profile_file(kind: str) -> Path:
    module, _, _ = KINDS[kind].partition(":")
    folder = module.split(".")[-2]
    return Path(str(files(__package__).joinpath(folder, "profile.toml")))


def _plain(path: Path) -> str:
    text = str(path.absolute())
    if _PLAIN.fullmatch(text) is None:
        raise InputError(f"{text}: schedulers give spaces and some other characters a meaning. Name it by a link without them.")
    return text


def _check_suits(settings: Profile, profile: Path, kind: ScheduleKind) -> None:
    """Refuse a profile with whose kind the unit cannot run anything."""
    on_pods = settings.kind == "kubernetes"
    if on_pods != (kind is ScheduleKind.KUBERNETES_POOLS) or (settings.kind == "slurm" and kind is ScheduleKind.KUBERNETES):
        other = ScheduleKind.KUBERNETES_POOLS if on_pods else ScheduleKind.CRON
        raise InputError(
            f"{profile} is of kind {settings.kind!r}, which the unit {kind} cannot use. Print another: "
            f"`{remedies.new_schedule(other)}`."
        )


def _with_profile(text: str, settings: Profile) -> str:
    """Name a profile in a unit's command, which submits the run if the profile is one of Slurm."""
    verb = "slurm submit" if settings.kind == "slurm" else "run"
    text = re.sub(rf'( )run ("\$WORKFLOW"|{_WORKFLOW})', rf"\g<1>{verb} \g<2> --profile {_PROFILE}", text)
    return text.replace(f'"run", "{_WORKFLOW}"', f'"run", "{_WORKFLOW}", "--profile", "{_PROFILE}"')
