"""Which worker may do which job.

A *place* is a field and an instrument, ``EGS/F814W``: it names the models that a job needs. Routing is *pinned* where each worker
holds the models of some places and does their jobs only, and *any* where every worker does every job and keeps the few models
that it used last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote

from surveyflow.execution.jobs import JOBS_AT_A_TIME
from surveyflow.values.jobs import Job

LOADING_ON_CPU = 30
"""What it costs to make a model ready, in sources measured meanwhile: 0.13 s of CPU time against 5.8 ms a source."""
LOADING_ON_GPU = 20_000
"""The same on a GPU, where batches of several sizes are compiled and tried: some 3 s, at the 7,000 a second that one promises."""

_PREFIX = "model:"
_SAID_SO = "the profile says so"


class Routing(StrEnum):
    """How jobs find workers."""

    AUTO = "auto"
    """Whichever of the two ends sooner by the plan's counts; pinned where workers that were started elsewhere declare models."""
    PINNED = "pinned"
    ANY = "any"


Holdings = tuple[tuple[str, ...], ...]
"""The places that each worker holds, in the order of the workers."""


@dataclass(frozen=True, slots=True)
class Route:
    """A routing that was decided on.

    Parameters
    ----------
    routing
        ``pinned`` or ``any``.
    reason
        Why, in words.
    holdings
        What each worker is to hold; empty where every worker does every job, or where workers were told elsewhere.
    """

    routing: Routing
    reason: str
    holdings: Holdings = ()

    @property
    def pinned(self) -> bool:
        """Whether jobs go only to workers that hold their models."""
        return self.routing is Routing.PINNED

    def __str__(self) -> str:
        return f"routing {self.routing}: {self.reason}"


def resource(place: str) -> str:
    """Name the Dask resource by which a worker declares that it holds a place's models: ``model:EGS/F814W``.

    What would end the name on a command line, such as a space, is written as in an address: ``%20``.
    """
    return f"{_PREFIX}{quote(place)}"


def declared(places: Iterable[str]) -> str:
    """The argument of ``dask worker --resources`` by which a worker declares that it holds the models of these places."""
    return ",".join(f"{resource(place)}={JOBS_AT_A_TIME}" for place in places)


def places_in(resources: Mapping[str, float]) -> frozenset[str]:
    """The places that a worker with these Dask resources holds."""
    return frozenset(
        unquote(name.removeprefix(_PREFIX)) for name, amount in resources.items() if name.startswith(_PREFIX) and amount > 0
    )


def demand(jobs: Iterable[Job]) -> dict[str, int]:
    """Count the sources to do of each place."""
    work: Counter[str] = Counter()
    for job in jobs:
        if job.place:
            work[job.place] += job.n_sources
    return dict(work)


def allot(work: Mapping[str, int], n_workers: int) -> Holdings:
    """Give workers to places in proportion to their work.

    Parameters
    ----------
    work
        Sources to do of each place.
    n_workers
        How many there are, at least 1.

    Returns
    -------
    The places of each worker: one, where there are as many workers as places; several, of about equal work in all, where
    there are fewer. Every place is held by somebody.
    """
    largest_first = sorted(work, key=lambda place: (-work[place], place))
    if n_workers < len(work):
        return _packed(largest_first, work, n_workers)
    crews = dict.fromkeys(largest_first, 1)
    for _ in range(n_workers - len(work) if work else 0):
        busiest = max(largest_first, key=lambda place: work[place] / crews[place])
        crews[busiest] += 1
    return tuple((place,) for place, n_crew in crews.items() for _ in range(n_crew))


def _packed(largest_first: Sequence[str], work: Mapping[str, int], n_workers: int) -> Holdings:
    held: list[list[str]] = [[] for _ in range(n_workers)]
    for place in largest_first:
        min(held, key=lambda places: sum(work[name] for name in places)).append(place)
    return tuple(map(tuple, held))


def busiest_share(work: Mapping[str, int], holdings: Holdings) -> int:
    """Sources that the busiest worker has to do, where each place's are shared evenly by those who hold it."""
    crews = Counter(place for places in holdings for place in places)
    return max((sum(-(-work[place] // crews[place]) for place in places) for places in holdings), default=0)


def choose(wanted: Routing, work: Mapping[str, int], n_workers: int, *, on_gpu: bool = False) -> Route:
    """Decide how to route, where it is ours to say what each worker holds.

    Parameters
    ----------
    wanted
        What the profile says.
    work
        Sources to do of each place.
    n_workers
        How many workers there are.
    on_gpu
        Whether they compute on GPUs.

    Returns
    -------
    What the profile says or, for ``auto``, what ends sooner: with ``any`` the work is shared evenly, but every worker makes
    every model ready; pinned, a worker makes few models ready, but whole workers do not divide the work evenly.
    """
    if wanted is Routing.ANY:
        return Route(Routing.ANY, _SAID_SO)
    holdings = allot(work, max(1, n_workers))
    if wanted is Routing.PINNED:
        return Route(Routing.PINNED, _SAID_SO, holdings)
    return _quicker(work, holdings, LOADING_ON_GPU if on_gpu else LOADING_ON_CPU)


def _quicker(work: Mapping[str, int], holdings: Holdings, loading: int) -> Route:
    pinned_sources, n_held = busiest_share(work, holdings), max(map(len, holdings), default=0)
    any_sources, n_places = -(-sum(work.values()) // max(1, len(holdings))), len(work)
    reason = (
        f"pinned, the busiest worker would measure {_counted(pinned_sources, 'source')} with the models of "
        f"{_counted(n_held, 'place')}; otherwise each measures {any_sources:,} with those of {n_places}"
    )
    if pinned_sources + n_held * loading < any_sources + n_places * loading:
        return Route(Routing.PINNED, reason, holdings)
    return Route(Routing.ANY, reason)


def follow(wanted: Routing, held: Iterable[Collection[str]]) -> Route:
    """Decide how to route among workers that were started elsewhere.

    Parameters
    ----------
    wanted
        What the profile says.
    held
        The places that each worker declares.
    """
    if wanted is not Routing.AUTO:
        return Route(wanted, _SAID_SO)
    if any(held):
        return Route(Routing.PINNED, "workers declare the models that they hold")
    return Route(Routing.ANY, "no worker declares the models that it holds")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
