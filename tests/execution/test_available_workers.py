"""Counts of the running workers, by the models that they are pinned to."""

from __future__ import annotations

import pytest

from surveyflow.execution.available_workers import REFRESH_S, AvailableWorkers

EGS, GDS = "EGS/F814W", "GDS/F814W"


class Cluster:
    """Workers and a clock that the test moves."""

    def __init__(self, *workers):
        self.workers = [frozenset(worker) for worker in workers]
        self.now = 100.0
        self.n_asked = 0

    def ask(self):
        self.n_asked += 1
        return self.workers

    def start(self, *, pinned):
        return AvailableWorkers(self.ask, pinned=pinned, clock=lambda: self.now)

    def wait(self, seconds):
        self.now += seconds


def test_pinned_jobs_count_the_workers_of_their_model_group():
    workers = Cluster({EGS}, {EGS, GDS}, set()).start(pinned=True)

    assert [workers.count(group) for group in (EGS, GDS, "UDS/F814W", "")] == [2, 1, 0, 3]
    assert workers.by_model_group == {EGS: 2, GDS: 1}


def test_others_count_every_worker():
    workers = Cluster({EGS}, set()).start(pinned=False)

    assert [workers.count(group) for group in (EGS, GDS, "")] == [2, 2, 2]


def test_the_scheduler_is_asked_once_in_a_while():
    cluster = Cluster({EGS})
    workers = cluster.start(pinned=True)
    for _ in range(50):
        workers.count(EGS)
    cluster.wait(REFRESH_S + 0.1)
    workers.count(EGS)

    assert cluster.n_asked == 2


@pytest.mark.parametrize("pinned", [True, False])
def test_waiting_begins_when_the_last_worker_was_seen(pinned):
    cluster = Cluster({EGS})
    workers = cluster.start(pinned=pinned)
    cluster.wait(50)
    assert workers.absent_s(EGS) == 0

    cluster.workers = []
    cluster.wait(7)
    assert workers.absent_s(EGS) == 7

    cluster.workers = [frozenset({EGS})]
    cluster.wait(2)
    assert workers.absent_s(EGS) == 0


def test_waiting_for_those_that_never_came_begins_with_the_run():
    cluster = Cluster({EGS})
    workers = cluster.start(pinned=True)
    cluster.wait(9)

    assert workers.absent_s(GDS) == 9


def test_pinned_jobs_share_workers_that_hold_the_models_of_both():
    workers = Cluster({EGS}, {EGS, GDS}, set()).start(pinned=True)

    assert workers.shared(EGS, GDS)
    assert workers.shared(EGS, EGS)
    assert workers.shared("", EGS)
    assert not workers.shared("UDS/F814W", EGS)


def test_others_share_every_worker_and_its_room():
    workers = Cluster(set()).start(pinned=False)

    assert workers.shared(EGS, GDS)
    assert workers.with_room({EGS, GDS}, {EGS: 1}, 2) == {EGS, GDS}
    assert workers.with_room({EGS, GDS}, {EGS: 1, "": 1}, 2) == set()


def test_jobs_that_nobody_may_do_take_no_room():
    workers = Cluster({EGS}).start(pinned=True)

    assert workers.with_room({EGS, GDS, ""}, {EGS: 1, GDS: 7}, 2) == {EGS, ""}
    assert workers.with_room({EGS, GDS, ""}, {EGS: 1, GDS: 7, "": 1}, 2) == set()
