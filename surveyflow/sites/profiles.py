"""Where a site wants its work done.

A profile says what differs between a laptop and a cluster; the workflow says everything else. Profiles are TOML
files::

    kind = "local"
    workers = 4
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ByteSize, Field, TypeAdapter, ValidationError, model_validator

from surveyflow.errors import Problem, ProfileError
from surveyflow.execution.limits import AbsolutePath, ClusterProfile, Count, Part, Seconds
from surveyflow.sites.kubernetes.profile import KubernetesProfile
from surveyflow.sites.slurm.profile import SlurmProfile


class SerialProfile(Part):
    """Everything in the process that was started."""

    kind: Literal["serial"] = "serial"


class LocalClusterProfile(ClusterProfile):
    """What clusters on this machine have in common; they are gone when the run ends.

    Parameters
    ----------
    memory
        What each worker may hold before it is killed and started again, such as ``"4 GiB"``; no limit where None. Pages of
        memory-mapped mosaics count, so this must exceed what a worker needs by the size of its mosaics.
    scratch
        Folder for the workers' temporary files; the system's own where None.
    dashboard
        Where Dask's dashboard listens, ``host:port``; port 0 takes a free one.
    silence_s
        A worker that has given no sign of life for so long, seconds, is ended, and its jobs go elsewhere. Dask waits for 5 s at
        least.
    """

    memory: ByteSize | None = None
    scratch: AbsolutePath | None = None
    dashboard: str = "127.0.0.1:0"
    silence_s: Seconds = 300.0


class LocalProfile(LocalClusterProfile):
    """Worker processes of one thread each on this machine.

    Parameters
    ----------
    workers
        Number of processes; as many as there are usable cores where None.
    """

    kind: Literal["local"] = "local"
    workers: Count | None = None


class LocalGpuProfile(LocalClusterProfile):
    """A worker process for each GPU of this machine.

    Parameters
    ----------
    gpus
        Which, as CUDA_VISIBLE_DEVICES names them; all that are visible where None.
    tls
        Whether driver, scheduler and workers know each other by certificates, which exist in memory only.
    """

    kind: Literal["local-gpu"] = "local-gpu"
    gpus: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    tls: bool = True


class AddressProfile(ClusterProfile):
    """A Dask cluster that somebody else runs.

    Parameters
    ----------
    address
        The scheduler's address, ``tcp://host:port``.
    scheduler_file
        Or the file in which the scheduler wrote it (``dask scheduler --scheduler-file``).
    connect_timeout_s
        How long to wait for the scheduler's answer, seconds.
    certificates
        Folder of the cluster's certificate and key (`surveyflow.sites.certificates`); None where connections are not encrypted.
    logs
        Folder of the workers' logs (`surveyflow.execution.worker_logs`), if they write them where this machine can read.
    """

    kind: Literal["address"] = "address"
    address: str | None = None
    scheduler_file: AbsolutePath | None = None
    connect_timeout_s: Seconds = 30.0
    certificates: AbsolutePath | None = None
    logs: AbsolutePath | None = None

    @model_validator(mode="after")
    def _names_one_scheduler(self) -> AddressProfile:
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("give either address or scheduler_file")
        return self


Profile = SerialProfile | LocalProfile | LocalGpuProfile | AddressProfile | SlurmProfile | KubernetesProfile

_KINDS: dict[str, type[Profile]] = {
    "serial": SerialProfile,
    "local": LocalProfile,
    "local-gpu": LocalGpuProfile,
    "address": AddressProfile,
    "slurm": SlurmProfile,
    "kubernetes": KubernetesProfile,
}
_ADAPTER: TypeAdapter[Profile] = TypeAdapter(Annotated[Profile, Field(discriminator="kind")])
_BUILT_IN: dict[str, Profile] = {"serial": SerialProfile(), "local": LocalProfile(), "local-gpu": LocalGpuProfile()}


def load_profile(name_or_path: str | Path) -> Profile:
    """Find a profile: ``serial``, ``local`` or ``local-gpu``, or a TOML file.

    Relative paths in a file are relative to it; ``~`` is the user's home.

    Raises
    ------
    ProfileError
        When there is no such profile, or its file is not as it must be; it lists every problem found.

    Examples
    --------
    >>> load_profile("local").worker_wait_s
    300.0
    """
    if str(name_or_path) in _BUILT_IN:
        return _BUILT_IN[str(name_or_path)]
    path = Path(name_or_path).expanduser()
    return _validated(path, _read(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = _did_you_mean(str(path), list(_BUILT_IN))
        raise ProfileError(f"there is no profile {path}.{hint} Name serial, local, local-gpu or a TOML file.") from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}. Name serial, local, local-gpu or a TOML file.") from error
    except ValueError as error:
        raise ProfileError(f"{path}: is not TOML: {error}. Correct the file.") from error


def _validated(path: Path, table: dict[str, Any]) -> Profile:
    try:
        return _ADAPTER.validate_python(table, context=path.absolute().parent)
    except ValidationError as error:
        problems = [_problem(path, table, found) for found in error.errors()]
        raise ProfileError("\n".join(map(str, problems))) from None


def _problem(path: Path, table: dict[str, Any], found: Any) -> Problem:
    """Say one of pydantic's findings in our words."""
    keys = [str(part) for part in found["loc"][1:]]  # the first is the kind
    key = ".".join(keys)
    match found["type"]:
        case "union_tag_not_found":
            return Problem(f"{path}: kind", "is missing.", f"Set it to one of {', '.join(_KINDS)}.")
        case "union_tag_invalid":
            hint = _did_you_mean(str(table["kind"]), list(_KINDS))
            return Problem(f"{path}: kind", f"{table['kind']!r} is unknown.{hint}", f"Set it to one of {', '.join(_KINDS)}.")
        case "extra_forbidden":
            known = _known_keys(_KINDS[table["kind"]], keys[:-1])
            what = f"is not a key of {table['kind']!r} profiles.{_did_you_mean(keys[-1], known)}"
            return Problem(f"{path}: {key}", what, f"Known keys: {', '.join(known)}.")
        case _:
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


def _did_you_mean(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
