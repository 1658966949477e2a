"""Which workers there are, and what they hold."""

from __future__ import annotations

import pytest

from surveyflow.execution.available_workers import LOOK_AGAIN_S, Crew

EGS, GDS = "EGS/F814W", "GDS/F814W"


class Cluster:
    """Workers and a clock that the test moves."""

    def __init__(self, *workers):
        self.workers = [frozenset(worker) for worker in workers]
        self.now = 100.0
        self.n_asked = 0

    def look(self):
        self.n_asked += 1
        return self.workers

    def crew(self, *, pinned):
        return Crew(self.look, pinned=pinned, clock=lambda: self.now)

    def wait(self, seconds):
        self.now += seconds


def test_pinned_jobs_count_the_workers_that_hold_their_place():
    crew = Cluster({EGS}, {EGS, GDS}, set()).crew(pinned=True)

    assert [crew.size(place) for place in (EGS, GDS, "UDS/F814W", "")] == [2, 1, 0, 3]
    assert crew.offer == {EGS: 2, GDS: 1}


def test_others_count_every_worker():
    crew = Cluster({EGS}, set()).crew(pinned=False)

    assert [crew.size(place) for place in (EGS, GDS, "")] == [2, 2, 2]


def test_the_scheduler_is_asked_once_in_a_while():
    cluster = Cluster({EGS})
    crew = cluster.crew(pinned=True)
    for _ in range(50):
        crew.size(EGS)
    cluster.wait(LOOK_AGAIN_S + 0.1)
    crew.size(EGS)

    assert cluster.n_asked == 2


@pytest.mark.parametrize("pinned", [True, False])
def test_waiting_begins_when_the_last_worker_was_seen(pinned):
    cluster = Cluster({EGS})
    crew = cluster.crew(pinned=pinned)
    cluster.wait(50)
    assert crew.waited_s(EGS) == 0

    cluster.workers = []
    cluster.wait(7)
    assert crew.waited_s(EGS) == 7

    cluster.workers = [frozenset({EGS})]
    cluster.wait(2)
    assert crew.waited_s(EGS) == 0


def test_waiting_for_those_that_never_came_begins_with_the_run():
    cluster = Cluster({EGS})
    crew = cluster.crew(pinned=True)
    cluster.wait(9)

    assert crew.waited_s(GDS) == 9
