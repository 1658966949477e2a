"""The executor of a profile, open for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from surveyflow.sites.dask_profile import dask_executor
from surveyflow.sites.kind import Profile
from surveyflow.values.jobs import Executor

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def open_executor(
    profile: Profile,
    factory: str,
    settings: Hashable,
    *,
    client: Client | None = None,
    on_message: Callable[[str], None] = lambda _: None,
) -> Iterator[Executor]:
    """Open the cluster of a profile, or use a client's.

    Parameters
    ----------
    profile
        From `surveyflow.sites.profiles.load_profile`.
    factory, settings
        How a worker is made: see `surveyflow.sites.serial.profile.SerialExecutor`.
    client
        A Dask client to use instead of the profile's cluster; it stays open. Its workers should have two threads each: one job
        of a process computes while another reads or writes, and further ones wait.
    on_message
        Called with sentences for an operator: see `surveyflow.execution.dask_executor.DaskExecutor`.

    Raises
    ------
    ClusterError
        If no scheduler answers, no worker appears, or the profile is for batch jobs.
    """
    if client is None:
        with profile.open(factory, settings, on_message) as executor:
            yield executor
    else:
        from surveyflow.execution.cluster import Cluster
        from surveyflow.sites.address.cluster import warn_if_open

        warn_if_open(client.scheduler.address)
        yield dask_executor(Cluster(client), profile.limits, factory, settings, on_message)
