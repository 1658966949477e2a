"""The model groups of which the workers can hold one more job.

Each worker holds a few jobs of the groups whose models it has. Limits for each group and for all workers together are not enough:
with workers of {A, B} and of {C}, two jobs each, the jobs of A and B could take all four places, though only two are theirs. So
the jobs are a flow from model groups to workers: one more job of a group has room if it makes the greatest flow greater. Jobs
that no worker may do are no part of the flow, so they take no room from others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

Units = frozenset[tuple[str, int]]
"""Number of submitted jobs of each model group."""
Places = frozenset[tuple[frozenset[str], int]]
"""Number of jobs that workers hold, for each set of model groups that they have."""


def may_do(model_group: str, held: frozenset[str]) -> bool:
    """Whether a worker that has the models of ``held`` may do a model group's jobs; jobs without a group need no models."""
    return not model_group or model_group in held


@lru_cache(maxsize=4096)
def groups_with_room(submitted: Units, places: Places) -> frozenset[str]:
    """Find the model groups of which the workers can hold one more job.

    Parameters
    ----------
    submitted
        Number of jobs, at least 0, of each model group of interest; whether they have been placed does not matter.
    places
        Number of jobs, at least 1, that the workers of each set of model groups hold together.

    Returns
    -------
    Those model groups of ``submitted``.
    """
    groups = [group for group, _ in submitted]
    capacity = _network(dict(submitted), dict(places))
    sink = len(capacity) - 1
    flow = maximum_flow(csr_array(capacity), 0, sink).flow.toarray()
    unused_backwards = csr_array((capacity - flow).T)
    reach_sink = breadth_first_order(unused_backwards, sink, directed=True, return_predecessors=False)
    return frozenset(group for node, group in enumerate(groups, start=1) if node in reach_sink)


def _network(jobs: Mapping[str, int], places: Mapping[frozenset[str], int]) -> np.ndarray:
    """Capacities between a source, the model groups, the sets that workers have, and a sink: a square array, int32."""
    first_set, size = 1 + len(jobs), len(jobs) + len(places) + 2
    capacity = np.zeros((size, size), np.int32)
    capacity[0, 1:first_set] = list(jobs.values())
    for row, group in enumerate(jobs, start=1):
        capacity[row, first_set:-1] = [may_do(group, held) * (sum(jobs.values()) + 1) for held in places]
    capacity[first_set:-1, -1] = list(places.values())
    return capacity
