"""The settings that all kinds of cluster have in common, and the types of values in profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo

from surveyflow.execution.routing import Routing
from surveyflow.files.paths import at_home
from surveyflow.settings.reader import FileContext, SettingsTable, StatedPath, refuse

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ModelGroup = Annotated[
    str, StringConstraints(pattern=r"^[^/\n]+/[^/\n]+$"), Field(description="a field and an instrument such as 'EGS/F814W'")
]
"""A field and an instrument: ``EGS/F814W``."""


def _anchored(path: Path, info: ValidationInfo[FileContext | None]) -> Path:
    return (info.context.file.parent if info.context else Path.cwd()) / at_home(path)


AbsolutePath = Annotated[StatedPath, AfterValidator(_anchored)]
"""A path relative to the profile's file; ``~`` is the user's home."""


def _stay_closed(value: Any) -> Any:
    if value is False:
        raise refuse("found false: without encryption, whoever reaches the scheduler can run programs as you.", "Remove the key.")
    return value


Tls = Annotated[Literal[True], BeforeValidator(_stay_closed)]
"""Clusters that surveyflow starts are always encrypted; profiles may say so."""

KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
    "MIMALLOC_PURGE_DELAY": "10000",
}
"""Environment of workers: glibc keeps memory that was freed for the next batch, arrays of 32 MiB and more excepted, and Arrow,
whose memory comes from mimalloc, for 10 s.

By default glibc returns every array of 128 KiB to the system, which must then clear its pages again: 80 page faults a source.
Arrow returns what was free for 10 ms: 150 page faults for each partition that is written."""

QUIET_DASK = {
    "distributed.admin.log-length": 1_000,
    "distributed.admin.low-level-log-length": 20,
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.log-length": 360,
    "distributed.admin.tick.cycle": "10s",
    "distributed.admin.tick.interval": "500ms",
    "distributed.diagnostics.computations.max-history": 10,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.worker.profile.enabled": False,
}
"""Dask's settings by which its processes seldom wake, and look for nothing that surveyflow uses.

The profiler keeps a tree of calls for each of the last 3,600 seconds in every process, so that memory grows for an hour, by
0.2 MB a second. Ticks of 20 ms cost 3 % of a core in the driver alone, and monitors read twice a second what the disks do.
By default each process also keeps the last 1,000 messages that it sent over each of its connections, and the scheduler the last
1,000 changes of tasks and of each worker's state: a record for debugging, as large as a thousand jobs for each worker."""

DASK_ENVIRONMENT = {
    **{f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value) for name, value in QUIET_DASK.items()},
    "PYTHONSAFEPATH": "1",
    **KEPT_MEMORY,
}
"""Environment of Dask's programs: what `QUIET_DASK` says, and no modules of the working folder (a user's ``select.py``)."""

CLOSED_HTTP = "surveyflow.execution.http_server"
"""Dask's ``--preload`` of schedulers and workers, after which their HTTP servers accept only holders of the certificates."""

WORKER_PRELOADS = (CLOSED_HTTP, "surveyflow.execution.worker_process")
"""Dask's ``--preload`` of workers."""


class ClusterProfile(SettingsTable):
    """What every kind of cluster has in common.

    Parameters
    ----------
    routing
        ``pinned`` if a unit goes only to workers that hold the models of its field and instrument, ``any`` if every worker does
        every unit, ``auto`` for whichever ends sooner by the number of sources (`surveyflow.execution.routing`).
    models_in_memory
        How many models a worker keeps ready; for another, it drops the one that was unused for longest. Each member of a jury
        counts as one. A worker always keeps those that one unit needs, even if they are more.
    jobs_per_worker
        How many jobs each worker holds at the same time: one that computes, one that reads or writes meanwhile, and those that
        follow.
    max_deaths
        Workers that may die with a job before it is given up, at least 2.
    worker_wait_s
        How long to wait until a worker for each needed model group appears, and how long to continue without one, seconds.
    unit_silence_s
        If a job makes no progress for so long, seconds, although its worker runs, the worker restarts and the job goes elsewhere.
        Progress is a model that was loaded or a batch of 256 sources that was computed.
    """

    routing: Routing = Routing.AUTO
    models_in_memory: Count = 4
    jobs_per_worker: Count = 2
    max_deaths: Annotated[int, Field(ge=2)] = 3
    worker_wait_s: Seconds = 300.0
    unit_silence_s: Seconds = 900.0

    @property
    def limits(self) -> Self:
        """These settings, as the executor needs them."""
        return self
