"""Which executor a profile means, and how long it lives.

Dask is imported when a cluster is opened, not before: reading a profile and running serially need none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from surveyflow.errors import ClusterError
from surveyflow.execution.limits import ClusterProfile
from surveyflow.execution.serial import SerialExecutor
from surveyflow.sites.kubernetes.profile import KubernetesProfile
from surveyflow.sites.profiles import Profile, SerialProfile, load_profile
from surveyflow.sites.slurm.profile import SlurmProfile
from surveyflow.values.jobs import Executor

if TYPE_CHECKING:
    from distributed import Client

    from surveyflow.execution.cluster import Cluster

__all__ = ["Profile", "load_profile", "open_executor"]


@contextmanager
def open_executor(
    profile: Profile,
    factory: str,
    context: Mapping[str, Any],
    *,
    client: Client | None = None,
    on_message: Callable[[str], None] = lambda _: None,
) -> Iterator[Executor]:
    """Open what a profile describes, and close it afterwards, whatever happens in between.

    Parameters
    ----------
    profile
        From `load_profile`.
    factory, context
        How a worker is made: see `surveyflow.execution.serial.SerialExecutor`.
    client
        A Dask client to use instead of the profile's cluster; it stays open. Its workers should have two threads each: one job
        of a process computes while another reads or writes, and more wait.
    on_message
        Called with sentences for an operator: see `surveyflow.execution.dask_executor.DaskExecutor`.

    Raises
    ------
    ClusterError
        When no scheduler answers, no worker comes, or the profile is for batch jobs.
    """
    if client is not None:
        from surveyflow.execution.cluster import Cluster

        yield _on_dask(profile, factory, context, Cluster(client), on_message)
    elif isinstance(profile, SerialProfile):
        with closing(SerialExecutor(factory, context)) as executor:
            yield executor
    elif isinstance(profile, SlurmProfile):
        raise ClusterError("a profile of kind 'slurm' is for batch jobs. Use it with surveyflow slurm submit.")
    elif isinstance(profile, KubernetesProfile):
        raise ClusterError("a profile of kind 'kubernetes' is for pods. Use it with surveyflow kubernetes render.")
    else:
        from surveyflow.sites.connections import open_cluster

        with open_cluster(profile) as cluster:
            yield _on_dask(profile, factory, context, cluster, on_message)


def _on_dask(
    profile: Profile, factory: str, context: Mapping[str, Any], cluster: Cluster, on_message: Callable[[str], None]
) -> Executor:
    from surveyflow.execution.dask_executor import DaskExecutor

    limits = profile if isinstance(profile, ClusterProfile) else ClusterProfile()
    return DaskExecutor(cluster, factory, {"models_in_memory": limits.models_in_memory, **context}, limits, on_message=on_message)
