"""Where a site wants its work done.

A profile says what differs between a laptop and a cluster; the workflow says everything else. Profiles are TOML files, of one
table::

    kind = "local"
    workers = 4
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from surveyflow.errors import Problem, ProfileError

_Count = Annotated[int, Field(strict=True, ge=1)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _anchored(path: Path, info: ValidationInfo[Path | None]) -> Path:
    return (info.context or Path.cwd()) / path.expanduser()


_AbsolutePath = Annotated[Path, AfterValidator(_anchored)]


class SerialProfile(BaseModel):
    """Everything in the process that was started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["serial"] = "serial"


class ClusterProfile(BaseModel):
    """What every kind of cluster has in common.

    Parameters
    ----------
    jobs_per_worker
        How many jobs each worker holds at a time: one that runs and those ready to follow.
    max_deaths
        Workers that may die with a job before it is given up, at least 2.
    worker_wait_s
        How long to wait for a first worker, and to go on without any, seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs_per_worker: _Count = 2
    max_deaths: Annotated[int, Field(strict=True, ge=2)] = 3
    worker_wait_s: _Seconds = 300.0


class LocalProfile(ClusterProfile):
    """Worker processes of one thread each on this machine, gone when the run ends.

    Parameters
    ----------
    workers
        Number of processes; as many as there are usable cores where None.
    memory
        What each worker may hold before it is killed and started again, such as ``"4 GiB"``; no limit where None. Pages of
        memory-mapped mosaics count, so this must exceed what a worker needs by the size of its mosaics.
    scratch
        Folder for the workers' temporary files; the system's own where None.
    dashboard
        Where Dask's dashboard listens, ``host:port``; port 0 takes a free one.
    """

    kind: Literal["local"] = "local"
    workers: _Count | None = None
    memory: ByteSize | None = None
    scratch: _AbsolutePath | None = None
    dashboard: str = "127.0.0.1:0"


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
    """

    kind: Literal["address"] = "address"
    address: str | None = None
    scheduler_file: _AbsolutePath | None = None
    connect_timeout_s: _Seconds = 30.0

    @model_validator(mode="after")
    def _names_one_scheduler(self) -> AddressProfile:
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("give either address or scheduler_file")
        return self


Profile = SerialProfile | LocalProfile | AddressProfile

_KINDS: dict[str, type[Profile]] = {"serial": SerialProfile, "local": LocalProfile, "address": AddressProfile}
_ADAPTER: TypeAdapter[Profile] = TypeAdapter(Annotated[Profile, Field(discriminator="kind")])
_BUILT_IN: dict[str, Profile] = {"serial": SerialProfile(), "local": LocalProfile()}


def load_profile(name_or_path: str | Path) -> Profile:
    """Find a profile: ``serial`` or ``local``, or a TOML file.

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
        raise ProfileError(f"there is no profile {path}.{hint} Name serial, local or a TOML file.") from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}. Name serial, local or a TOML file.") from error
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
    keys = [str(part) for part in found["loc"] if part not in _KINDS]
    key = ".".join(keys)
    match found["type"]:
        case "union_tag_not_found":
            return Problem(f"{path}: kind", "is missing.", f"Set it to one of {', '.join(_KINDS)}.")
        case "union_tag_invalid":
            hint = _did_you_mean(str(table["kind"]), list(_KINDS))
            return Problem(f"{path}: kind", f"{table['kind']!r} is unknown.{hint}", f"Set it to one of {', '.join(_KINDS)}.")
        case "extra_forbidden":
            known = list(_KINDS[table["kind"]].model_fields)
            what = f"is not a key of {table['kind']!r} profiles.{_did_you_mean(key, known)}"
            return Problem(f"{path}: {key}", what, f"Known keys: {', '.join(known)}.")
        case _:
            where = f"{path}: {key}" if key else str(path)
            return Problem(where, f"{found['msg']}; found {found['input']!r}.", "Correct the value.")


def _did_you_mean(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
