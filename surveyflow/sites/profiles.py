"""The kinds of cluster by name, and the reading of profiles.

A profile says what differs between a laptop and a cluster; the workflow says everything else. Profiles are TOML files::

    kind = "local"
    workers = 4
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from surveyflow.errors import Problem, ProfileError
from surveyflow.sites.kind import Profile

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
        return cast("Profile", _settings_of(str(name_or_path))())
    path = Path(name_or_path).expanduser()
    return _validated(path, _read(path))


def _settings_of(kind: str) -> type[BaseModel]:
    """The class of a kind's settings; only this kind is imported."""
    module, _, name = KINDS[kind].partition(":")
    return cast("type[BaseModel]", getattr(import_module(module), name))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = _did_you_mean(str(path), BUILT_IN)
        raise ProfileError(f"there is no profile {path}.{hint} Name serial, local, local-gpu or a TOML file.") from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}. Name serial, local, local-gpu or a TOML file.") from error
    except ValueError as error:
        raise ProfileError(f"{path}: is not TOML: {error}. Correct the file.") from error


def _validated(path: Path, table: dict[str, Any]) -> Profile:
    settings = _settings_of(_kind(path, table))
    try:
        return cast("Profile", settings.model_validate(table, context=path.absolute().parent))
    except ValidationError as error:
        problems = [_problem(path, table["kind"], settings, found) for found in error.errors()]
        raise ProfileError("\n".join(map(str, problems))) from None


def _kind(path: Path, table: dict[str, Any]) -> str:
    kind = str(table.get("kind"))
    if kind in KINDS:
        return kind
    what = f"{table['kind']!r} is unknown.{_did_you_mean(kind, KINDS)}" if "kind" in table else "is missing."
    raise ProfileError(str(Problem(f"{path}: kind", what, f"Set it to one of {', '.join(KINDS)}.")))


def _problem(path: Path, kind: str, settings: type[BaseModel], found: Any) -> Problem:
    """Describe one of pydantic's findings."""
    keys = [str(part) for part in found["loc"]]
    key = ".".join(keys)
    if found["type"] == "extra_forbidden":
        known = _known_keys(settings, keys[:-1])
        what = f"is not a key of {kind!r} profiles.{_did_you_mean(keys[-1], known)}"
        return Problem(f"{path}: {key}", what, f"Known keys: {', '.join(known)}.")
    where = f"{path}: {key}" if key else str(path)
    what = "" if isinstance(found["input"], dict) else f"; found {found['input']!r}"  # a table may hold what is secret
    return Problem(where, f"{found['msg']}{what}.", "Correct the value.")


def _known_keys(model: type[BaseModel], tables: list[str]) -> list[str]:
    """Keys of the table that ``tables`` lead to: names of fields, each followed by a name of the user's where it is a mapping."""
    names = iter(tables)
    for name in names:
        annotation = model.model_fields[name].annotation
        if get_origin(annotation) is dict:
            next(names)
            annotation = get_args(annotation)[1]
        model = cast("type[BaseModel]", annotation)
    return list(model.model_fields)


def _did_you_mean(word: str, known: Collection[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
