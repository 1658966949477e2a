"""A Dask cluster that jobs can be sent to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from surveyflow.execution.pinned_models import LocalWorkers


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connection to a running Dask cluster.

    Parameters
    ----------
    client
        Connected to its scheduler.
    logs
        Folder of the workers' logs (`surveyflow.execution.worker_logs`); None if this machine cannot read them.
    local_workers
        The workers, if this process started them and so decides which models each is pinned to; None otherwise.
    memory_wait_s
        How long after a worker's death a file among the logs may yet say that it was out of memory, seconds
        (`surveyflow.execution.memory_kills`); 0 if nothing writes such files.
    """

    client: Client
    logs: Path | None = None
    local_workers: LocalWorkers | None = None
    memory_wait_s: float = 0.0
