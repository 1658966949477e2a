"""The choice of the workers that may do each job."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import fake_job
from surveyflow.execution.routing import (
    LOADING_ON_CPU,
    LOADING_ON_GPU,
    Routing,
    allot,
    busiest_share,
    choose,
    demand,
    follow,
    model_groups_in,
    resource,
)

GROUPS = ["EGS/F814W", "GDS/F814W", "COSMOS/F814W", "UDS/F125W_F160W", "GDN/F814W"]
WORK = st.dictionaries(st.sampled_from(GROUPS), st.integers(1, 100_000), min_size=1)


def test_demand_counts_the_sources_of_each_model_group_and_no_others():
    jobs = [
        fake_job("a", "unit", "EGS/F814W", 30),
        fake_job("b", "unit", "GDS/F814W", 5),
        fake_job("c", "unit", "EGS/F814W", 12),
        fake_job("settled", "unit", n_sources=900),
    ]

    assert demand(jobs) == {"EGS/F814W": 42, "GDS/F814W": 5}


def test_a_worker_declares_its_model_groups_as_resources():
    resources = {resource("EGS/F814W"): 2.0, resource("GDS/F814W"): 0.0, "GPU": 1.0}

    assert resource("EGS/F814W") == "model:EGS/F814W"
    assert model_groups_in(resources) == {"EGS/F814W"}


@pytest.mark.parametrize("group", ["EGS/F814W", "deep field, 2/F125W=F160W", "50%/x"])
def test_no_name_of_a_field_can_end_a_resource_on_a_command_line(group):
    assert not set(resource(group)) & set(" ,=")
    assert model_groups_in({resource(group): 1.0}) == {group}


def test_workers_are_given_in_proportion_to_the_work():
    workers = Counter(group for (group,) in allot({"EGS/F814W": 6000, "GDS/F814W": 3000, "UDS/F814W": 1000}, 10))

    assert workers == {"EGS/F814W": 6, "GDS/F814W": 3, "UDS/F814W": 1}


def test_fewer_workers_than_model_groups_hold_several_of_about_equal_work():
    held = allot({"EGS/F814W": 500, "GDS/F814W": 400, "UDS/F814W": 300, "GDN/F814W": 200}, 2)

    assert sorted(map(sorted, held)) == [["EGS/F814W", "GDN/F814W"], ["GDS/F814W", "UDS/F814W"]]


@given(work=WORK, n_workers=st.integers(1, 40))
def test_every_model_group_is_held_and_no_worker_is_idle(work, n_workers):
    pinned_models = allot(work, n_workers)

    assert len(pinned_models) == n_workers
    assert {group for groups in pinned_models for group in groups} == set(work)
    assert all(pinned_models)
    assert sum(work.values()) / n_workers <= busiest_share(work, pinned_models) <= sum(work.values())


@given(work=WORK, n_workers=st.integers(1, 40), on_gpu=st.booleans())
def test_auto_takes_what_ends_sooner(work, n_workers, on_gpu):
    route = choose(Routing.AUTO, work, n_workers, on_gpu=on_gpu)
    pinned_models, loading = allot(work, n_workers), LOADING_ON_GPU if on_gpu else LOADING_ON_CPU
    pinned = busiest_share(work, pinned_models) + max(map(len, pinned_models)) * loading
    shared = -(-sum(work.values()) // n_workers) + len(work) * loading

    assert route.pinned == (pinned < shared)
    assert route.pinned_models == (pinned_models if route.pinned else ())


@pytest.mark.parametrize(
    ("work", "n_workers", "chosen", "why"),
    [
        ({"EGS/F814W": 5000, "GDS/F814W": 5000}, 4, Routing.PINNED, "pinned, the busiest worker would measure 2,500 sources"),
        ({"EGS/F814W": 5000, "GDS/F814W": 4000}, 2, Routing.ANY, "otherwise each measures 4,500 with those of 2"),
        ({"EGS/F814W": 5000}, 4, Routing.ANY, "with the models of 1 model group"),
        ({"EGS/F814W": 5000, "GDS/F814W": 5000}, 1, Routing.ANY, "with the models of 2 model groups"),
    ],
)
def test_auto_tells_its_reason_in_numbers(work, n_workers, chosen, why):
    route = choose(Routing.AUTO, work, n_workers)

    assert route.routing is chosen
    assert why in str(route)


def test_on_gpus_models_cost_more_to_make_ready():
    work = {"EGS/F814W": 5000, "GDS/F814W": 4000}

    assert not choose(Routing.AUTO, work, 2).pinned
    assert choose(Routing.AUTO, work, 2, on_gpu=True).pinned


@pytest.mark.parametrize("wanted", [Routing.PINNED, Routing.ANY])
def test_what_the_profile_says_is_done(wanted):
    route = choose(wanted, {"EGS/F814W": 10, "GDS/F814W": 10}, 3)

    assert (route.routing, route.reason) == (wanted, "the profile says so")
    assert bool(route.pinned_models) == route.pinned


@pytest.mark.parametrize(
    ("wanted", "held", "followed"),
    [
        (Routing.AUTO, [set(), {"EGS/F814W"}], Routing.PINNED),
        (Routing.AUTO, [set(), set()], Routing.ANY),
        (Routing.PINNED, [set()], Routing.PINNED),
        (Routing.ANY, [{"EGS/F814W"}], Routing.ANY),
    ],
)
def test_workers_started_elsewhere_are_routed_by_what_they_declare(wanted, held, followed):
    assert follow(wanted, held).routing is followed
