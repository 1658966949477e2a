"""The workers that are running, and the models that each is pinned to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from distributed import Client

from surveyflow.execution.memory_kills import MEMORY
from surveyflow.execution.room import groups_with_room, may_do
from surveyflow.execution.routing import model_groups_in

REFRESH_S = 1.0
"""How long an answer of the scheduler is used before it is asked again, seconds: every job needs one."""


def pinned_by_worker(client: Client) -> tuple[frozenset[str], ...]:
    """The model groups that each running worker declares; empty if the scheduler does not answer."""
    return tuple(model_groups_in(resources) for resources in _declared(client))


def largest_memory_mib(client: Client) -> float:
    """Memory of the running worker that declares most, MiB; 0 if none declares any, or the scheduler does not answer."""
    return max((resources.get(MEMORY, 0.0) for resources in _declared(client)), default=0.0)


def _declared(client: Client) -> list[dict[str, float]]:
    """The Dask resources of each running worker."""
    try:
        workers: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    except OSError:  # if it never answers again, Dask cancels every pending future
        return []
    return [worker["resources"] for worker in workers.values() if worker["status"] == "running"]


class AvailableWorkers:
    """The number of workers that may do the jobs of each model group.

    Parameters
    ----------
    ask
        Returns the model groups that each running worker is pinned to: `pinned_by_worker`.
    pinned
        Whether a job goes only to workers that are pinned to its model group.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, ask: Callable[[], Collection[frozenset[str]]], *, pinned: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._pinned = pinned
        self._clock = clock
        self._began = clock()
        self._asked_at = float("-inf")
        self._alike: Counter[frozenset[str]] = Counter()
        self._counts: Counter[str] = Counter()
        self._seen_at: dict[str, float] = {}

    @property
    def by_model_group(self) -> Counter[str]:
        """Number of workers pinned to each model group that has any."""
        return Counter(group for held in self._alike.elements() for group in held)

    def count(self, model_group: str = "") -> int:
        """Count the workers that may do a model group's jobs, as of `REFRESH_S` ago at most; all workers if it is empty."""
        self._refresh()
        return self._counts[self._routed(model_group)]

    def with_room(self, model_groups: Collection[str], submitted: Mapping[str, int], jobs_per_worker: int) -> frozenset[str]:
        """Find those of some model groups of which the workers can hold one more job.

        Parameters
        ----------
        model_groups
            Whose jobs wait.
        submitted
            Number of jobs of each model group that were submitted and have not ended. Those that no worker may do do not count.
        jobs_per_worker
            How many jobs each worker holds at the same time.
        """
        self._refresh()
        jobs = Counter(dict.fromkeys(map(self._routed, model_groups), 0))
        for group, number in submitted.items():
            jobs[self._routed(group)] += number
        places = frozenset((held, number * jobs_per_worker) for held, number in self._alike.items())
        room = groups_with_room(frozenset(jobs.items()), places)
        return frozenset(group for group in model_groups if self._routed(group) in room)

    def shared(self, model_group: str, other: str) -> bool:
        """Whether there is a worker that may do jobs of both model groups."""
        self._refresh()
        groups = self._routed(model_group), self._routed(other)
        return any(all(may_do(group, held) for group in groups) for held in self._alike)

    def absent_s(self, model_group: str) -> float:
        """Seconds since the last worker for this model group was seen, or since the start without any; 0 while there is one."""
        if self.count(model_group):
            return 0.0
        return self._clock() - self._seen_at.get(self._routed(model_group), self._began)

    def now(self) -> float:
        """Seconds by the clock of `absent_s`."""
        return self._clock()

    def _routed(self, model_group: str) -> str:
        """The model group that decides which workers may do a job: none, if every worker does every job."""
        return model_group if self._pinned else ""

    def _refresh(self) -> None:
        """Ask the scheduler, if its last answer is older than `REFRESH_S`."""
        if self._clock() - self._asked_at <= REFRESH_S:
            return
        self._alike = Counter(self._ask())
        self._asked_at = self._clock()
        self._counts = self.by_model_group
        self._counts[""] = self._alike.total()
        self._seen_at |= dict.fromkeys((group for group, number in self._counts.items() if number), self._asked_at)
