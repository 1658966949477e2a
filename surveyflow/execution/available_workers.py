"""Which workers there are, and what they hold."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from distributed import Client

from surveyflow.execution.routing import places_in

LOOK_AGAIN_S = 1.0
"""How long an answer of the scheduler is believed: it is asked for at every job."""


def held_by_worker(client: Client) -> tuple[frozenset[str], ...]:
    """The places that each running worker declares to hold; empty where the scheduler is out of reach."""
    try:
        workers: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    except OSError:  # if it stays so, Dask cancels what is in flight
        return ()
    return tuple(places_in(worker["resources"]) for worker in workers.values() if worker["status"] == "running")


class Crew:
    """The workers of a cluster, by what they may do.

    Parameters
    ----------
    look
        Says what each worker holds: `held_by_worker`.
    pinned
        Whether a job goes only to workers that hold its place's models.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, look: Callable[[], Collection[frozenset[str]]], *, pinned: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._pinned = pinned
        self._clock = clock
        self._began = clock()
        self._asked_at = float("-inf")
        self._held: Collection[frozenset[str]] = ()
        self._sizes: Counter[str] = Counter()
        self._seen_at: dict[str, float] = {}

    @property
    def offer(self) -> Counter[str]:
        """Workers of each place that is held by any."""
        return Counter(place for places in self._held for place in places)

    def size(self, place: str = "") -> int:
        """Count the workers that may do a place's jobs, as of a second ago at most; all of them, if no place is named."""
        if self._clock() - self._asked_at > LOOK_AGAIN_S:
            self._ask()
        return self._sizes[place if self._pinned else ""]

    def waited_s(self, place: str) -> float:
        """Seconds since there was a worker that may do a place's jobs, or since this crew was made; 0 while there is one."""
        if self.size(place):
            return 0.0
        return self._clock() - self._seen_at.get(place if self._pinned else "", self._began)

    def _ask(self) -> None:
        self._held = self._look()
        self._asked_at = self._clock()
        self._sizes = self.offer
        self._sizes[""] = len(self._held)
        self._seen_at |= dict.fromkeys((place for place, size in self._sizes.items() if size), self._asked_at)
