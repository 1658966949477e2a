"""The connection to a Dask cluster that somebody else runs."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dask.config
from distributed import Client

from surveyflow.errors import ClusterError
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.limits import QUIET_DASK
from surveyflow.sites.address.settings import AddressSettings
from surveyflow.sites.certificates import is_closed, security

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long workers may be missing before it is reported, seconds."""


@contextmanager
def connect(profile: AddressSettings) -> Iterator[Cluster]:
    """Connect to a running scheduler and wait for its first worker.

    Parameters
    ----------
    profile
        The settings.

    Raises
    ------
    ClusterError
        If no scheduler answers, or no worker appears.
    """
    where = profile.address or str(profile.scheduler_file)
    with dask.config.set(QUIET_DASK), _client(profile, where) as client:
        warn_if_open(client.scheduler.address)
        _wait_for_worker(client, where, profile.worker_wait_s)
        yield Cluster(client, profile.logs, memory_wait_s=profile.memory_wait_s)


def _client(profile: AddressSettings, where: str) -> Client:
    """Connect, or say why not."""
    if profile.scheduler_file is not None and not profile.scheduler_file.exists():
        raise ClusterError(f"there is no scheduler file {where}. Start the scheduler, or correct scheduler_file in the profile.")
    try:
        return Client(
            profile.address,
            scheduler_file=profile.scheduler_file and str(profile.scheduler_file),
            timeout=profile.connect_timeout_s,
            set_as_default=False,
            security=None if profile.certificates is None else security(profile.certificates),
        )
    except TypeError as error:  # raised by Dask for an encrypted address without certificates
        _close_half_made(error)
        raise ClusterError(
            f"the scheduler at {where} accepts only clients with its certificates. "
            "Name their folder in the profile: certificates."
        ) from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError if only this side insists on encryption
        _close_half_made(error)
        raise ClusterError(
            f"no Dask scheduler answers at {where} within {profile.connect_timeout_s:g} s: {error}. "
            "Start it, or correct the address in the profile."
        ) from error


def _close_half_made(error: Exception) -> None:
    """Close a client that could not connect.

    It closes when it is garbage-collected. If that happens by chance in the thread in which another client is starting, the two
    wait for each other.
    """
    traceback.clear_frames(error.__traceback__)
    gc.collect()


def warn_if_open(address: str) -> None:
    """Log a warning if a scheduler has no certificates."""
    if not is_closed(address):
        logger.warning(
            "scheduler=%s is open: whoever reaches it can run programs as you; start it with TLS, and name its certificates "
            "in the profile",
            address,
        )


def _wait_for_worker(client: Client, where: str, wait_s: float) -> None:
    """Wait for the first worker, and log it if that takes a while."""
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
