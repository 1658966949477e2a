"""Room for one more job of a model group, among workers that hold the models of several."""

from __future__ import annotations

import pytest

from surveyflow.execution.room import groups_with_room

EGS, GDS, UDS, COS = "EGS/F814W", "GDS/F814W", "UDS/F814W", "COS/F814W"


def test_room_is_counted_for_each_set_of_models():
    places = frozenset({(frozenset({EGS, GDS}), 2), (frozenset({UDS}), 2)})

    assert groups_with_room(frozenset({(EGS, 0), (GDS, 2), (UDS, 1), (COS, 9)}), places) == {UDS}


@pytest.mark.parametrize(("submitted", "room"), [({EGS: 1, GDS: 2}, {EGS, GDS}), ({EGS: 2, GDS: 2}, set()), ({EGS: 9}, {GDS})])
def test_jobs_that_two_pools_may_do_leave_room_in_the_pool_that_others_need(submitted, room):
    places = frozenset({(frozenset({EGS, GDS}), 2), (frozenset({GDS}), 2)})
    asked = frozenset({(group, submitted.get(group, 0)) for group in (EGS, GDS)})

    assert groups_with_room(asked, places) == room


def test_without_workers_nothing_has_room():
    assert groups_with_room(frozenset({(EGS, 0), ("", 0)}), frozenset()) == set()
    assert groups_with_room(frozenset(), frozenset({(frozenset(), 2)})) == set()
