"""The settings of kind ``local``."""

from __future__ import annotations

from typing import Literal

from pydantic import ByteSize

from surveyflow.execution.limits import AbsolutePath, ClusterProfile, Count, Seconds


class ThisMachineSettings(ClusterProfile):
    """What clusters on this machine have in common; they end with the run.

    Parameters
    ----------
    memory
        What each worker may hold before it is killed and started again, such as ``"4 GiB"``; no limit where None. Pages of
        memory-mapped mosaics count, so this must exceed what a worker needs by the size of its mosaics.
    scratch
        Folder for the workers' temporary files; the system's own where None.
    dashboard
        Where Dask's dashboard listens, ``host:port``; port 0 takes a free one. It requires the run's certificates.
    silence_s
        A worker that sends no heartbeat for so long, seconds, is ended, and its jobs go elsewhere. Dask waits for 5 s at least.
    """

    memory: ByteSize | None = None
    scratch: AbsolutePath | None = None
    dashboard: str = "127.0.0.1:0"
    silence_s: Seconds = 300.0


class LocalSettings(ThisMachineSettings):
    """Worker processes of one thread each on this machine.

    Parameters
    ----------
    workers
        Number of processes; as many as there are usable cores where None.
    """

    kind: Literal["local"] = "local"
    workers: Count | None = None
