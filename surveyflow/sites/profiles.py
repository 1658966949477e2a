"""The kinds of cluster by name, and the reading of profiles.

A profile says what differs between a laptop and a cluster; the workflow says everything else. Profiles are TOML files::

    kind = "local"
    workers = 4
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from surveyflow.errors import ProfileError
from surveyflow.files.paths import at_home
from surveyflow.settings.findings import Finding, did_you_mean, unknown
from surveyflow.settings.reader import SettingsFile
from surveyflow.sites.kind import Profile
from surveyflow.values import remedies

KINDS = {
    "serial": "surveyflow.sites.serial.profile:SerialProfile",
    "local": "surveyflow.sites.local.profile:LocalProfile",
    "local-gpu": "surveyflow.sites.local_gpu.profile:LocalGpuProfile",
    "address": "surveyflow.sites.address.profile:AddressProfile",
    "slurm": "surveyflow.sites.slurm.profile:SlurmProfile",
    "kubernetes": "surveyflow.sites.kubernetes.profile:KubernetesProfile",
}
"""Every kind of cluster: its name in profiles, and the class of its settings, which fulfils `Profile`."""

BUILT_IN = ("serial", "local", "local-gpu")
"""The kinds that need no file: a profile of that name has the kind's defaults."""

if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[*KINDS]


class _AnyProfile(BaseModel):
    """A profile of which only the kind is known yet."""

    model_config = ConfigDict(extra="allow", strict=True)

    kind: KindName


def _misspelt_kind(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that are probably meant to be ``kind``, if there is none: without it, no other key can be checked."""
    for key, value in document.items():
        if "kind" not in document and did_you_mean(key, ["kind"], ""):
            yield unknown((key,), value, ["kind"])


_ANY_FILE = SettingsFile(TypeAdapter(_AnyProfile), ProfileError, f"`{remedies.new_profile('KIND')}`", across=(_misspelt_kind,))


def load_profile(name_or_path: str | Path) -> Profile:
    """Find a profile: ``serial``, ``local`` or ``local-gpu``, or a TOML file.

    Relative paths in a file are relative to it; ``~`` is the user's home.

    Parameters
    ----------
    name_or_path
        Name of a built-in profile, or path of a file.

    Raises
    ------
    ProfileError
        If there is no such profile, or its file has errors; it lists all of them.

    Examples
    --------
    >>> load_profile("local").limits.worker_wait_s
    300.0
    """
    if str(name_or_path) in BUILT_IN:
        return cast("Profile", settings_of(str(name_or_path))())
    path = at_home(name_or_path)
    if path.suffix != ".toml" and not path.exists():
        hint = did_you_mean(
            str(path),
            BUILT_IN,
            f"Name one of {', '.join(BUILT_IN)}, or a TOML file: `{remedies.new_profile('slurm')}` prints one.",
        )
        raise ProfileError(f"there is no profile {path}. {hint}")
    file, name = path.absolute(), str(path)
    document = _ANY_FILE.read(file, name)
    kind = _ANY_FILE.check(document, file, name).kind
    form = TypeAdapter(settings_of(kind))
    return cast("Profile", SettingsFile(form, ProfileError, f"`{remedies.new_profile(kind)}`").check(document, file, name))


def required_keys(kind: str) -> list[str]:
    """Keys and tables that a profile of a kind must state, in the order of its reference."""
    return [name for name, field in settings_of(kind).model_fields.items() if field.is_required()]


def settings_of(kind: str) -> type[BaseModel]:
    """The class of a kind's settings; only this kind is imported."""
    module, _, name = KINDS[kind].partition(":")
    return cast("type[BaseModel]", getattr(import_module(module), name))
