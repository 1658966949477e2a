"""How the cluster of a profile is started or found, and left."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dask.config
from dask.system import cpu_count
from distributed import Client, LocalCluster, Security

from surveyflow.errors import ClusterError
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.gpus import GPUS_VARIABLE, visible_gpus
from surveyflow.execution.jobs import JOBS_AT_A_TIME
from surveyflow.execution.pinned_models import PINNED_MODELS_VARIABLE, LocalWorkers
from surveyflow.execution.worker_logs import FOLDER_VARIABLE
from surveyflow.sites.certificates import security
from surveyflow.sites.local.scratch import scratch_folder
from surveyflow.sites.profiles import AddressProfile, LocalClusterProfile, LocalGpuProfile, LocalProfile

logger = logging.getLogger(__name__)
STARTS = 3
"""Attempts to start a local cluster."""
_PATIENCE_S = 5.0
"""Before it is said that something is waited for."""
_LOOPBACK = "127.0.0.1"
_WORKER_ENVIRONMENT = {
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "DASK_LOGGING__DISTRIBUTED": "critical",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def open_cluster(profile: LocalProfile | LocalGpuProfile | AddressProfile) -> AbstractContextManager[Cluster]:
    """Start a local cluster, and end it afterwards; or connect to one that runs, and leave it running.

    Raises
    ------
    ClusterError
        When no scheduler answers, no worker comes, or there is no GPU.
    """
    if isinstance(profile, LocalProfile):
        return _start_here(profile, profile.workers or cpu_count())
    if isinstance(profile, LocalGpuProfile):
        gpus = profile.gpus or visible_gpus()
        known_by = Security.temporary() if profile.tls else None
        return _start_here(profile, len(gpus), {GPUS_VARIABLE: ",".join(gpus), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}, known_by)
    return _connect(profile)


@contextmanager
def _start_here(
    profile: LocalClusterProfile,
    n_workers: int,
    variables: Mapping[str, str] = MappingProxyType({}),
    known_by: Security | None = None,
) -> Iterator[Cluster]:
    """Start worker processes that nobody outside this machine can reach."""
    with (
        scratch_folder(profile.scratch) as scratch,
        _environment(_WORKER_ENVIRONMENT | _paths(scratch) | dict(variables)),
        _quiet_dask(),
        dask.config.set(_local_settings(profile)),
        _local_cluster(profile, n_workers, scratch, known_by) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        logger.info("cluster=local workers=%d dashboard=%s", n_workers, cluster.dashboard_link)
        yield Cluster(
            client, scratch, LocalWorkers(client, _pinned_models(scratch), n_workers, on_gpu=GPUS_VARIABLE in variables)
        )
        with suppress(TimeoutError):  # a worker that is starting again would complain about being stopped
            client.wait_for_workers(n_workers, timeout=5)


def _paths(scratch: Path) -> dict[str, str]:
    return {FOLDER_VARIABLE: str(scratch), PINNED_MODELS_VARIABLE: str(_pinned_models(scratch))}


def _pinned_models(scratch: Path) -> Path:
    return scratch / "pinned_models.json"


def _local_cluster(profile: LocalClusterProfile, n_workers: int, scratch: Path, known_by: Security | None) -> LocalCluster:
    """Start worker processes; Dask gives up the whole cluster if one of them dies meanwhile, so try again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ClusterError(
            "A worker process that is starting would start a cluster of its own: Python runs the script that began all this once "
            'more in every worker. Put what the script does under `if __name__ == "__main__":`.'
        )
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
                security=known_by,
            )
        except RuntimeError as error:
            logger.warning("cluster=local start=%d of %d failed: %s", attempt, STARTS, error)
            failure = error
    raise ClusterError(
        f"A local cluster of {n_workers} workers could not be started in {STARTS} attempts: {failure} Is the machine short of "
        "memory or processes? Give the profile fewer workers, or use --profile serial. If your own script called surveyflow: is "
        'what it does under `if __name__ == "__main__":`?'
    ) from failure


def _local_settings(profile: LocalClusterProfile) -> dict[str, Any]:
    """Dask's settings for a cluster of our own.

    Deaths are counted by our own side, so Dask is to report each one. A worker that was lost comes back by its nanny, again and
    again: by default the cluster would look after some seconds, and end for good a nanny that is just at it. Connections to the
    dead are given up soon. Results are receipts, so spilling and pausing could help nobody, but would hit workers whose
    memory-mapped mosaics count as theirs. The profiler is left out as elsewhere (`surveyflow.execution.limits`).
    """
    return {
        "distributed.comm.timeouts.connect": "10s",
        "distributed.deploy.lost-worker-timeout": "10000 days",
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.no-workers-timeout": f"{profile.worker_wait_s}s",
        "distributed.scheduler.worker-ttl": f"{profile.silence_s}s",
        "distributed.worker.preload": ["surveyflow.execution.worker_process"],
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
    }


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep Dask's remarks on its own comings and goings from the user: what matters comes back as results.

    Its own setting for this spares whatever handlers the program has set up for all loggers.
    """
    dask_logger = logging.getLogger("distributed")
    before = dask_logger.level
    dask_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        dask_logger.setLevel(before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes started meanwhile, then put the environment back as it was.

    Dask's own setting for this gives way to what the user's shell says, and leaves its variables behind.
    """
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _connect(profile: AddressProfile) -> Iterator[Cluster]:
    """Connect to a running scheduler and wait for its first worker."""
    where = profile.address or str(profile.scheduler_file)
    with _client(profile, where) as client:
        warn_of_open_door(client.scheduler.address)
        _wait_for_worker(client, where, profile.worker_wait_s)
        yield Cluster(client, profile.logs)


def _client(profile: AddressProfile, where: str) -> Client:
    """Connect, or say why not."""
    if profile.scheduler_file is not None and not profile.scheduler_file.exists():
        raise ClusterError(f"there is no scheduler file {where}. Start the scheduler, or correct scheduler_file in the profile.")
    known_by = None if profile.certificates is None else security(profile.certificates)
    try:
        return Client(
            profile.address,
            scheduler_file=profile.scheduler_file and str(profile.scheduler_file),
            timeout=profile.connect_timeout_s,
            set_as_default=False,
            security=known_by,
        )
    except TypeError as error:  # Dask's way of saying that an address is encrypted and it has been told of no certificates
        _close_half_made(error)
        raise ClusterError(
            f"the scheduler at {where} lets in only who has its certificates. Name their folder in the profile: certificates."
        ) from error
    except (OSError, ValueError, RuntimeError) as error:  # the last where only this side insists on encryption
        _close_half_made(error)
        raise ClusterError(
            f"no Dask scheduler answers at {where} within {profile.connect_timeout_s:g} s: {error}. "
            "Start it, or correct the address in the profile."
        ) from error


def _close_half_made(error: Exception) -> None:
    """Have a client that could not connect closed now.

    It closes when it is collected. If that happens by chance in the thread that another client is just starting, the two wait for
    each other.
    """
    traceback.clear_frames(error.__traceback__)
    gc.collect()


def warn_of_open_door(address: str) -> None:
    """Say so when others can reach a scheduler, and need no certificate to be let in."""
    protocol, _, host = address.partition("://")
    if protocol != "tls" and not host.startswith((_LOOPBACK, "localhost", "[::1]")):
        logger.warning(
            "scheduler=%s is open: whoever reaches it can run programs as you; start it with TLS, and name its certificates "
            "in the profile",
            address,
        )


def _wait_for_worker(client: Client, where: str, wait_s: float) -> None:
    """Wait for the first worker, and say so where it takes a while."""
    first = min(_PATIENCE_S, wait_s)
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=first)
        return
    try:
        logger.warning("scheduler=%s has no worker yet; waiting for one, for up to %g s", where, wait_s)
        client.wait_for_workers(1, timeout=max(wait_s - first, 0.1))
    except TimeoutError as error:
        raise ClusterError(
            f"the scheduler at {where} has had no worker for {wait_s:g} s. "
            "Start workers (dask worker), or raise worker_wait_s in the profile."
        ) from error
