"""The workers that are running, and the models that each is pinned to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from distributed import Client

from surveyflow.execution.routing import model_groups_in

REFRESH_S = 1.0
"""How long an answer of the scheduler is used before it is asked again, seconds: every job needs one."""


def pinned_by_worker(client: Client) -> tuple[frozenset[str], ...]:
    """The model groups that each running worker declares; empty if the scheduler does not answer."""
    try:
        workers: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    except OSError:  # if it never answers again, Dask cancels every pending future
        return ()
    return tuple(model_groups_in(worker["resources"]) for worker in workers.values() if worker["status"] == "running")


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
        self._answer: Collection[frozenset[str]] = ()
        self._counts: Counter[str] = Counter()
        self._seen_at: dict[str, float] = {}

    @property
    def by_model_group(self) -> Counter[str]:
        """Number of workers pinned to each model group that has any."""
        return Counter(group for groups in self._answer for group in groups)

    def count(self, model_group: str = "") -> int:
        """Count the workers that may do a model group's jobs, as of `REFRESH_S` ago at most; all workers if it is empty."""
        if self._clock() - self._asked_at > REFRESH_S:
            self._refresh()
        return self._counts[model_group if self._pinned else ""]

    def absent_s(self, model_group: str) -> float:
        """Seconds since the last worker for this model group was seen, or since the start without any; 0 while there is one."""
        if self.count(model_group):
            return 0.0
        return self._clock() - self._seen_at.get(model_group if self._pinned else "", self._began)

    def _refresh(self) -> None:
        self._answer = self._ask()
        self._asked_at = self._clock()
        self._counts = self.by_model_group
        self._counts[""] = len(self._answer)
        self._seen_at |= dict.fromkeys((group for group, number in self._counts.items() if number), self._asked_at)
