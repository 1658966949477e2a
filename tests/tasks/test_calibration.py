"""A map to probabilities serves the models that it was fitted to, and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from networks import card
from surveyflow.errors import ModelError
from surveyflow.tasks.calibration import Calibration, absent_members, calibration_of

FIRST, SECOND = "1" * 64, "2" * 64
ALONE = Calibration((FIRST,), a=1.5, b=0.5, c=0.2, share=0.5, n_images=4000, records=("ab" * 32,))
TOGETHER = replace(ALONE, members=(FIRST, SECOND), a=1.0)


def holding(digest, *calibrations):
    return card(weights_digest=digest, calibrations=calibrations)


def test_a_map_is_found_for_its_own_models_only():
    first, second = holding(FIRST, ALONE, TOGETHER), holding(SECOND, TOGETHER)
    assert calibration_of([first]) == ALONE
    assert calibration_of([second, first]) == TOGETHER
    assert calibration_of([second]) is None
    assert calibration_of([holding(FIRST)]) is None


def test_models_that_a_map_was_fitted_to_together_with_others_miss_those():
    third = "3" * 64
    all_three = replace(ALONE, members=(FIRST, SECOND, third))
    assert absent_members([holding(FIRST, TOGETHER, all_three)]) == (SECOND,)
    assert absent_members([holding(FIRST, all_three), holding(SECOND, all_three)]) == (third,)
    assert absent_members([holding(FIRST, ALONE, all_three)]) == ()
    assert absent_members([holding(FIRST, TOGETHER), holding(third)]) == ()


@pytest.mark.parametrize("other", [(), (replace(TOGETHER, c=0.3),)])
def test_members_that_do_not_agree_are_refused(other):
    with pytest.raises(ModelError, match=r"hold different .* Calibrate all of them together again"):
        calibration_of([holding(FIRST, TOGETHER), holding(SECOND, *other)])


def test_the_map_is_the_formula():
    p = np.array([0.1, 0.5, 0.9])
    odds = p**1.5 / (1 - p) ** 0.5 * np.exp(0.2)
    np.testing.assert_allclose(ALONE.probability(p), odds / (1 + odds))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": ()}, "members must be"),
        ({"members": (SECOND, FIRST)}, "ascending"),
        ({"a": -0.1}, "a and b must lie"),
        ({"a": 0.0, "b": 0.0}, "not both be 0"),
        ({"b": np.nan}, "a and b must lie"),
        ({"c": np.inf}, "c must lie"),
        ({"share": 1.0}, "share must lie"),
    ],
)
def test_an_impossible_map_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(ALONE, **changes)
