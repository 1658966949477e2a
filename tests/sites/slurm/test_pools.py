"""Which models the jobs of each pool hold."""

from __future__ import annotations

import json

import pytest

from surveyflow.errors import ProfileError
from surveyflow.execution.routing import Routing
from surveyflow.sites.kind import RunCommand
from surveyflow.sites.slurm.jobs import render
from surveyflow.sites.slurm.pools import route_pools
from surveyflow.sites.slurm.profile import SlurmProfile

EGS, GDS, UDS = "EGS/F814W", "GDS/F814W", "UDS/F125W_F160W"


def profile(routing="auto", **pools):
    shape = {"memory": "4 GiB", "walltime": "04:00:00", "lifetime": "03:30:00"}
    document = {
        "interface": "ib0",
        "routing": routing,
        "directories": {"shared": "/project/jobs"},
        "head": {"memory": "4 GiB", "walltime": "1-00:00:00"},
        "pools": {name: shape | pool for name, pool in pools.items()},
    }
    return SlurmProfile.model_validate_json(json.dumps(document))


def jobs_of(routed):
    return {name: (pool.jobs, pool.models) for name, pool in routed.pools.items()}


def test_jobs_are_shared_out_in_proportion_to_the_work():
    routed, route = route_pools(profile(gpu={"jobs": 10, "gres": "gpu:1"}), {EGS: 6000, GDS: 3000, UDS: 1000})

    assert jobs_of(routed) == {"gpu-EGS-F814W": (6, (EGS,)), "gpu-GDS-F814W": (3, (GDS,)), "gpu-UDS-F125W_F160W": (1, (UDS,))}
    assert routed.routing is Routing.PINNED
    assert "the busiest worker would measure 1,000 sources" in str(route)


def test_few_jobs_hold_several_models_each():
    routed, _ = route_pools(profile("pinned", cpu={"jobs": 2}), {EGS: 5000, GDS: 3000, UDS: 2500})

    assert jobs_of(routed) == {"cpu-EGS-F814W": (1, (EGS,)), "cpu-2": (1, (GDS, UDS))}


def test_pools_that_name_their_models_stay_as_they_are():
    site = profile(small={"jobs": 1, "models": [EGS]}, large={"jobs": 3, "models": [GDS, UDS]})

    routed, route = route_pools(site, {EGS: 100, GDS: 100})

    assert routed.pools == site.pools
    assert str(route) == "routing pinned: pools of the profile name models"


def test_the_jobs_of_a_pool_without_models_are_shared_out_beside_one_with_them():
    routed, _ = route_pools(profile(fixed={"jobs": 2, "models": [EGS]}, free={"jobs": 2}), {EGS: 100, GDS: 100})

    assert jobs_of(routed) == {"fixed": (2, (EGS,)), "free-EGS-F814W": (1, (EGS,)), "free-GDS-F814W": (1, (GDS,))}


def test_models_that_no_pool_holds_are_reported_with_the_line_to_change():
    with pytest.raises(ProfileError) as caught:
        route_pools(profile(gpu={"jobs": 2, "models": [EGS]}), {EGS: 100, GDS: 1204})

    said = str(caught.value)
    assert said.startswith("no pool holds the models of GDS/F814W (1,204 sources); the pools hold EGS/F814W.")
    assert "[pools.gpu] models = ['EGS/F814W', 'GDS/F814W']" in said


def test_any_leaves_pools_alone_and_workers_declare_nothing():
    site = profile("any", cpu={"jobs": 4})

    routed, _ = route_pools(site, {EGS: 100, GDS: 100})

    assert routed == site
    assert "--resources" not in str(render(routed, RunCommand(site.directories.shared, "demo")))


def test_without_anything_to_do_pools_are_left_alone():
    site = profile("pinned", cpu={"jobs": 4})

    assert route_pools(site, {})[0] == site


def test_models_of_pools_are_pointless_where_every_worker_does_every_unit():
    with pytest.raises(ValueError, match=r'routing = "any" takes no heed of models, but pools\.gpu names some'):
        profile("any", gpu={"jobs": 1, "models": [EGS]})
