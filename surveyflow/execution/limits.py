"""What profiles of every kind are made of: their kinds of value, and what all clusters have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo

from surveyflow.execution.routing import Routing

Count = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Place = Annotated[str, StringConstraints(pattern=r"^[^/\n]+/[^/\n]+$")]
"""A field and an instrument: ``EGS/F814W``."""


def _anchored(path: Path, info: ValidationInfo[Path | None]) -> Path:
    return (info.context or Path.cwd()) / path.expanduser()


AbsolutePath = Annotated[Path, AfterValidator(_anchored)]
"""A path relative to the profile's file; ``~`` is the user's home."""

UNPROFILED = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
"""Environment of Dask's programs. Its profiler keeps a tree of calls for each of the last 3,600 seconds, in every process: memory
that grows for an hour, by 0.2 MB a second."""


class Part(BaseModel):
    """A table of a profile: it cannot be changed, and has no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClusterProfile(Part):
    """What every kind of cluster has in common.

    Parameters
    ----------
    routing
        ``pinned`` if a unit goes only to workers that hold the models of its field and instrument, ``any`` if every worker does
        every unit, ``auto`` for what ends sooner by the plan's counts (`surveyflow.execution.routing`).
    models_in_memory
        How many models a worker keeps ready; the one unused for longest gives way.
    jobs_per_worker
        How many jobs each worker holds at a time: one that computes and one that reads or writes meanwhile, and those ready to
        follow.
    max_deaths
        Workers that may die with a job before it is given up, at least 2.
    worker_wait_s
        How long to wait for a first worker of each kind that is needed, and to go on without any, seconds.
    unit_silence_s
        A job that shows no sign of life for so long, seconds, though its worker lives, is taken back: its worker starts anew.
        Signs of life are its steps: a model loaded, a batch of 256 sources computed.
    """

    routing: Routing = Routing.AUTO
    models_in_memory: Count = 4
    jobs_per_worker: Count = 2
    max_deaths: Annotated[int, Field(strict=True, ge=2)] = 3
    worker_wait_s: Seconds = 300.0
    unit_silence_s: Seconds = 900.0
