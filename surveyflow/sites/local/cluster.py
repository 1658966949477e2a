"""The start and the end of worker processes on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dask.config
from dask.system import cpu_count
from distributed import Client, LocalCluster

from surveyflow.errors import ClusterError
from surveyflow.execution.child_processes import check_guard, child_environment, refuse_to_start_again
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.jobs import JOBS_AT_A_TIME
from surveyflow.execution.limits import CLOSED_HTTP, KEPT_MEMORY, QUIET_DASK, WORKER_PRELOADS
from surveyflow.execution.pinned_models import PINNED_MODELS_VARIABLE, LocalWorkers
from surveyflow.execution.worker_logs import FOLDER_VARIABLE
from surveyflow.sites.certificates import security, write_certificates
from surveyflow.sites.local.scratch import scratch_folder
from surveyflow.sites.local.settings import ThisMachineSettings

logger = logging.getLogger(__name__)
STARTS = 3
"""Attempts to start a local cluster."""
_LOOPBACK = "127.0.0.1"
_WORKER_ENVIRONMENT = {
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "DASK_LOGGING__DISTRIBUTED": "critical",
    **KEPT_MEMORY,
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return int(cpu_count())


@contextmanager
def start_workers(
    profile: ThisMachineSettings,
    n_workers: int,
    environment: Mapping[str, str] = MappingProxyType({}),
    *,
    on_gpu: bool = False,
) -> Iterator[Cluster]:
    """Start worker processes that only this process can command, and stop them after the block.

    They listen on the loopback interface, and accept only clients with the cluster's certificates. These are new, in the scratch
    folder, which only its owner can read.

    Parameters
    ----------
    profile
        The settings.
    n_workers
        Number of processes.
    environment
        Environment variables of the workers, beside those that every worker gets.
    on_gpu
        Whether the workers compute on GPUs.

    Raises
    ------
    ClusterError
        If they cannot be started.
    """
    refuse_to_start_again()
    with (
        scratch_folder(profile.scratch) as scratch,
        child_environment(_mark(scratch), _WORKER_ENVIRONMENT | _paths(scratch) | dict(environment)),
        _quiet_dask(),
        dask.config.set(_dask_settings(profile)),
        _local_cluster(profile, n_workers, scratch) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        logger.info(
            "cluster=local workers=%d dashboard=%s certificates=%s", n_workers, cluster.dashboard_link, _certificates(scratch)
        )
        yield Cluster(client, scratch, LocalWorkers(client, _pinned_models(scratch), n_workers, on_gpu=on_gpu))
        with suppress(TimeoutError):  # a worker that is starting again would complain about being stopped
            client.wait_for_workers(n_workers, timeout=5)


def _paths(scratch: Path) -> dict[str, str]:
    return {FOLDER_VARIABLE: str(scratch), PINNED_MODELS_VARIABLE: str(_pinned_models(scratch))}


def _pinned_models(scratch: Path) -> Path:
    return scratch / "pinned_models.json"


def _mark(scratch: Path) -> Path:
    return scratch / "unguarded"


def _certificates(scratch: Path) -> Path:
    return scratch / "certificates"


def _local_cluster(profile: ThisMachineSettings, n_workers: int, scratch: Path) -> LocalCluster:
    """Start worker processes; if one dies meanwhile, Dask gives up the whole cluster, so try again."""
    write_certificates(_certificates(scratch))
    for attempt in range(1, STARTS + 1):
        try:
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=min(JOBS_AT_A_TIME, profile.jobs_per_worker),
                processes=True,
                host=_LOOPBACK,
                dashboard_address=profile.dashboard,
                worker_dashboard_address=f"{_LOOPBACK}:0",
                memory_limit=profile.memory or 0,
                local_directory=str(scratch),
                silence_logs=False,
                security=security(_certificates(scratch)),
            )
        except RuntimeError as error:
            logger.warning("cluster=local start=%d of %d failed: %s", attempt, STARTS, error)
            check_guard(_mark(scratch))
            failure = error
    raise ClusterError(
        f"A local cluster of {n_workers} workers could not be started in {STARTS} attempts: {failure} Is the machine short of "
        "memory or processes? Give the profile fewer workers, or use --profile serial. If your own script called surveyflow: is "
        'what it does under `if __name__ == "__main__":`?'
    ) from failure


def _dask_settings(profile: ThisMachineSettings) -> dict[str, Any]:
    """Dask's settings for a cluster of this process.

    surveyflow counts the deaths of workers, so Dask reports each one. The nanny of a lost worker restarts it, however often; by
    default the cluster would check some seconds later and close a nanny that is just restarting its worker. Connections to dead
    workers are given up soon. Results are receipts, so spilling and pausing would save nothing, but would stop workers whose
    memory-mapped mosaics count as theirs. Monitors are quiet as elsewhere (`surveyflow.execution.limits`).
    """
    return {
        **QUIET_DASK,
        "distributed.comm.timeouts.connect": "10s",
        "distributed.dashboard.link": "https://{host}:{port}/status",
        "distributed.deploy.lost-worker-timeout": "10000 days",
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.no-workers-timeout": f"{profile.worker_wait_s}s",
        "distributed.scheduler.preload": [CLOSED_HTTP],
        "distributed.scheduler.worker-ttl": f"{profile.silence_s}s",
        "distributed.worker.preload": list(WORKER_PRELOADS),
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
    }


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep Dask's log messages from the terminal while the block lasts; problems come back as results.

    Dask's own setting leaves the handlers in place that the program has set up for all loggers.
    """
    dask_logger = logging.getLogger("distributed")
    before = dask_logger.level
    dask_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        dask_logger.setLevel(before)
