"""The settings and methods that all kinds of cluster with Dask workers within reach have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NoReturn

from surveyflow.execution.limits import ClusterProfile
from surveyflow.sites.kind import Answer, Question, RunToRender, refuse_jobs
from surveyflow.values.jobs import Executor

if TYPE_CHECKING:
    from surveyflow.execution.cluster import Cluster


class DaskProfile(ClusterProfile, ABC):
    """A cluster that this process starts or connects to; a kind defines how (`open_cluster`)."""

    @abstractmethod
    def open_cluster(self) -> AbstractContextManager[Cluster]:
        """Start a cluster or connect to one; what was started ends with the block.

        Raises
        ------
        ClusterError
            If no scheduler answers, no worker appears, or there is no GPU.
        """

    @contextmanager
    def open(self, factory: str, settings: Hashable, on_message: Callable[[str], None]) -> Iterator[Executor]:
        """Open the cluster and run jobs on it: see `surveyflow.sites.kind.Profile`."""
        with self.open_cluster() as cluster:
            yield dask_executor(cluster, self, factory, settings, on_message)

    def inspect(self, question: Question) -> list[Answer]:
        """Ask every worker one question: see `surveyflow.sites.kind.Profile`."""
        from surveyflow.sites.inspection import ask_workers

        with self.open_cluster() as cluster:
            return ask_workers(cluster.client, question)

    def render(self, _run: RunToRender) -> NoReturn:
        """Refuse: the run starts at once, without jobs."""
        refuse_jobs()

    def submit(self, _run: RunToRender) -> NoReturn:
        """Refuse: the run starts at once, without jobs."""
        refuse_jobs()


def dask_executor(
    cluster: Cluster, limits: ClusterProfile, factory: str, settings: Hashable, on_message: Callable[[str], None]
) -> Executor:
    """Make the executor of a cluster; Dask is imported here, not with the profile.

    Parameters
    ----------
    cluster
        Where to run.
    limits, factory, settings, on_message
        As for `surveyflow.execution.dask_executor.DaskExecutor`.
    """
    from surveyflow.execution.dask_executor import DaskExecutor

    return DaskExecutor(cluster, factory, settings, limits, on_message=on_message)
