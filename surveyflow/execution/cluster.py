"""A Dask cluster that work can be sent to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from surveyflow.execution.pinned_models import OwnWorkers


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that can be worked with.

    Parameters
    ----------
    client
        Connected to it.
    logs
        Folder of the workers' logs (`surveyflow.execution.worker_logs`); None where only the cluster's owner knows.
    own_workers
        The workers, where it is ours to say what they hold.
    """

    client: Client
    logs: Path | None = None
    own_workers: OwnWorkers | None = None
