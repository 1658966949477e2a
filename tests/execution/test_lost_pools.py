"""Whenever a worker is free and there is work that it may do, it works: whatever pools there are, are lost, or come late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import fake_job
from simulated_dask import Change, SimulatedDask

GROUPS = ("EGS/F814W", "GDS/F814W", "UDS/F814W", "COS/F814W")
EGS, GDS, UDS, _ = GROUPS
END_S = 60.0


def units(group, n, seconds=4.0):
    return [fake_job(f"{group}{number}", "sleep", group, seconds=seconds) for number in range(n)]


def joins(time, *held):
    return Change(time, joins=True, held=frozenset(held))


def lost(time, *held):
    return Change(time, joins=False, held=frozenset(held))


@st.composite
def runs(draw):
    """Pools and their workers, the units of a run, and the workers that join and are lost; at the end every pool has a worker."""
    pools = draw(st.lists(st.sets(st.sampled_from(GROUPS), min_size=1).map(frozenset), min_size=2, max_size=4, unique=True))
    groups = st.sampled_from([*sorted(set().union(*pools)), ""])
    seconds = draw(st.lists(st.sampled_from([0.5, 4.0, 20.0]), min_size=5, max_size=30))
    jobs = [fake_job(f"unit{number}", "sleep", draw(groups), seconds=each) for number, each in enumerate(seconds)]
    changes = st.builds(Change, st.integers(0, int(END_S)).map(float), st.booleans(), st.sampled_from(pools))
    late = draw(st.sets(st.sampled_from(pools)))
    begin = [joins(0, *held) for held in pools if held not in late]
    return jobs, [*begin, *draw(st.lists(changes, max_size=8)), *(joins(END_S + 1, *held) for held in pools)]


@given(run=runs(), jobs_per_worker=st.integers(1, 4), pinned=st.booleans())
def test_a_free_worker_works_whenever_there_is_work_that_it_may_do(run, jobs_per_worker, pinned):
    jobs, changes = run

    results = SimulatedDask(changes, pinned=pinned).run(jobs, jobs_per_worker=jobs_per_worker, max_deaths=1000)

    assert sorted(result.job.name for result in results) == sorted(job.name for job in jobs)
    assert [result.error for result in results] == [None] * len(jobs)


@pytest.mark.parametrize("jobs_per_worker", [2, 100])
def test_a_worker_that_joins_late_works_at_once_also_if_every_unit_waits_at_another(jobs_per_worker):
    dask = SimulatedDask([joins(0, EGS), joins(10, EGS)])  # it raises if a worker is free beside work

    assert len(dask.run(units(EGS, 30), jobs_per_worker=jobs_per_worker)) == 30
    assert dask.now < 50  # 30 units of 4 s take 60 s on one worker, two at a time


def test_the_units_of_a_lost_worker_leave_the_other_pool_at_work():
    changes = [joins(0, EGS), joins(0, GDS), lost(5, EGS), joins(500, EGS)]

    results = SimulatedDask(changes).run([*units(EGS, 13), *units(GDS, 13)], max_deaths=10)

    assert [result.error for result in results] == [None] * 26
    assert max(position for position, result in enumerate(results) if result.job.model_group == GDS) < 16


def test_a_pool_of_several_groups_leaves_the_places_of_others_free():
    changes = [joins(0, EGS, GDS), joins(0, UDS)]

    SimulatedDask(changes).run([*units(EGS, 8), *units(GDS, 8), *units(UDS, 8)])


def test_suspects_of_one_pool_run_alone_there_while_the_other_works():
    changes = [joins(0, EGS), joins(0, GDS), lost(1, EGS), joins(2, EGS)]

    results = SimulatedDask(changes).run([*units(EGS, 2), *units(GDS, 40)], max_deaths=2)

    assert [result.error for result in results] == [None] * 42


def test_a_suspect_whose_pool_is_lost_delays_no_other_pool():
    """The first suspect dies alone; the second was submitted before anybody knew that the pool is gone."""
    changes = [joins(0, EGS), lost(1, EGS), joins(2, EGS), lost(5, EGS), joins(10, GDS), joins(300, EGS)]

    results = SimulatedDask(changes).run([*units(EGS, 2), *units(GDS, 8)], max_deaths=2)

    assert len(results) == 10
    assert [result.job.name for result in results if result.error] == [f"{EGS}0"]
