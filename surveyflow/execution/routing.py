"""The choice of the workers that may do each job.

A *model group* is a field and an instrument, ``EGS/F814W``: the models that a job needs. Routing is *pinned* if each worker holds
the models of some groups and does only their jobs, and *any* if every worker does every job and keeps the few models that it used
last.
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
"""Cost of loading a model, in sources measured in that time: 0.13 s of CPU time against 5.8 ms a source."""
LOADING_ON_GPU = 20_000
"""The same on a GPU, where batches of several sizes are compiled and tried: some 3 s, at an expected 7,000 sources a second."""

_PREFIX = "model:"
_BY_PROFILE = "the profile says so"


class Routing(StrEnum):
    """How jobs find workers."""

    AUTO = "auto"
    """Whichever of the two ends sooner by the number of sources; pinned if workers that were started elsewhere declare models."""
    PINNED = "pinned"
    ANY = "any"


PinnedModels = tuple[tuple[str, ...], ...]
"""The model groups that each worker is pinned to, in the order of the workers."""


@dataclass(frozen=True, slots=True)
class Route:
    """A routing that was decided on.

    Parameters
    ----------
    routing
        ``pinned`` or ``any``.
    reason
        Why, in words.
    pinned_models
        The model groups of each worker; empty if every worker does every job, or if the workers were started elsewhere.
    """

    routing: Routing
    reason: str
    pinned_models: PinnedModels = ()

    @property
    def pinned(self) -> bool:
        """Whether jobs go only to workers that hold their models."""
        return self.routing is Routing.PINNED

    def __str__(self) -> str:
        return f"routing {self.routing}: {self.reason}"


def resource(model_group: str) -> str:
    """Name the Dask resource by which a worker declares that it holds a model group: ``model:EGS/F814W``.

    Characters that would end the name on a command line, such as a space, are encoded as in an address: ``%20``.
    """
    return f"{_PREFIX}{quote(model_group)}"


def declared(model_groups: Iterable[str]) -> str:
    """The argument of ``dask worker --resources`` by which a worker declares that it holds these model groups."""
    return ",".join(f"{resource(group)}={JOBS_AT_A_TIME}" for group in model_groups)


def model_groups_in(resources: Mapping[str, float]) -> frozenset[str]:
    """The model groups that a worker declares with these Dask resources."""
    return frozenset(
        unquote(name.removeprefix(_PREFIX)) for name, amount in resources.items() if name.startswith(_PREFIX) and amount > 0
    )


def demand(jobs: Iterable[Job]) -> dict[str, int]:
    """Count the sources of each model group."""
    work: Counter[str] = Counter()
    for job in jobs:
        if job.model_group:
            work[job.model_group] += job.n_sources
    return dict(work)


def allot(work: Mapping[str, int], n_workers: int) -> PinnedModels:
    """Divide the workers between the model groups in proportion to their work.

    Parameters
    ----------
    work
        Number of sources of each model group.
    n_workers
        Number of workers, at least 1.

    Returns
    -------
    The model groups of each worker: one if there are as many workers as groups; otherwise several, so that the workers have about
    equal work. Every group has a worker.
    """
    largest_first = sorted(work, key=lambda group: (-work[group], group))
    if n_workers < len(work):
        return _packed(largest_first, work, n_workers)
    workers = dict.fromkeys(largest_first, 1)
    for _ in range(n_workers - len(work) if work else 0):
        busiest = max(largest_first, key=lambda group: work[group] / workers[group])
        workers[busiest] += 1
    return tuple((group,) for group, number in workers.items() for _ in range(number))


def _packed(largest_first: Sequence[str], work: Mapping[str, int], n_workers: int) -> PinnedModels:
    held: list[list[str]] = [[] for _ in range(n_workers)]
    for group in largest_first:
        min(held, key=lambda groups: sum(work[name] for name in groups)).append(group)
    return tuple(map(tuple, held))


def busiest_share(work: Mapping[str, int], pinned_models: PinnedModels) -> int:
    """Number of sources of the busiest worker, if those of each model group are shared evenly by its workers."""
    workers = Counter(group for groups in pinned_models for group in groups)
    return max((sum(-(-work[group] // workers[group]) for group in groups) for groups in pinned_models), default=0)


def choose(wanted: Routing, work: Mapping[str, int], n_workers: int, *, on_gpu: bool = False) -> Route:
    """Decide how to route among workers that this process starts.

    Parameters
    ----------
    wanted
        The routing of the profile.
    work
        Number of sources of each model group.
    n_workers
        Number of workers.
    on_gpu
        Whether they compute on GPUs.

    Returns
    -------
    The routing of the profile or, for ``auto``, the one that ends sooner. With ``any`` the work is shared evenly, but every
    worker loads every model; pinned workers load few models, but do not divide the work evenly.
    """
    if wanted is Routing.ANY:
        return Route(Routing.ANY, _BY_PROFILE)
    pinned_models = allot(work, max(1, n_workers))
    if wanted is Routing.PINNED:
        return Route(Routing.PINNED, _BY_PROFILE, pinned_models)
    return _quicker(work, pinned_models, LOADING_ON_GPU if on_gpu else LOADING_ON_CPU)


def _quicker(work: Mapping[str, int], pinned_models: PinnedModels, loading: int) -> Route:
    pinned_sources, n_held = busiest_share(work, pinned_models), max(map(len, pinned_models), default=0)
    any_sources, n_groups = -(-sum(work.values()) // max(1, len(pinned_models))), len(work)
    reason = (
        f"pinned, the busiest worker would measure {_counted(pinned_sources, 'source')} with the models of "
        f"{_counted(n_held, 'model group')}; otherwise each measures {any_sources:,} with those of {n_groups}"
    )
    if pinned_sources + n_held * loading < any_sources + n_groups * loading:
        return Route(Routing.PINNED, reason, pinned_models)
    return Route(Routing.ANY, reason)


def follow(wanted: Routing, held: Iterable[Collection[str]]) -> Route:
    """Decide how to route among workers that were started elsewhere.

    Parameters
    ----------
    wanted
        The routing of the profile.
    held
        The model groups that each worker declares.
    """
    if wanted is not Routing.AUTO:
        return Route(wanted, _BY_PROFILE)
    if any(held):
        return Route(Routing.PINNED, "workers declare the models that they hold")
    return Route(Routing.ANY, "no worker declares the models that it holds")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
