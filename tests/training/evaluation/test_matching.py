"""Records that cannot stand for what the training file says."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from surveyflow.errors import InputError
from surveyflow.training.evaluation.matching import check_clean, check_other
from surveyflow.training.records.record_index import RecordIndex


def index(**settings):
    return RecordIndex(settings, "0" * 64, "COSMOS", "F814W", "F814W", 0.03, 128, "electron/s", 10, 1)


@pytest.mark.parametrize(
    ("settings", "is_clean"),
    [({"neighbours": False}, True), ({}, True), ({"neighbours": True}, False), ({"neighbours": False, "background": {}}, False)],
)
def test_records_with_neighbours_are_not_clean(settings, is_clean):
    with nullcontext() if is_clean else pytest.raises(InputError, match=r"clean: records was simulated with neighbours"):
        check_clean(Path("records"), index(**settings))


@pytest.mark.parametrize(
    ("other", "learned", "is_other"),
    [
        ({"galaxies": "orbits"}, {"galaxies": "matched"}, True),
        ({"galaxies": "matched"}, {"galaxies": "matched"}, False),
        ({"galaxies": "matched"}, {"galaxies": "matched", "stamps": {}}, True),
        ({"galaxies": "matched", "stamps": {}}, {"galaxies": "matched"}, True),
        ({"galaxies": "matched", "stamps": {}}, {"galaxies": "matched", "stamps": {}}, True),
        ({}, {}, True),
    ],
)
def test_galaxies_of_one_recipe_are_not_another_simulation(other, learned, is_other):
    with nullcontext() if is_other else pytest.raises(InputError, match="other: records holds matched galaxies, as the"):
        check_other(Path("records"), index(**other), [index(**learned)])
