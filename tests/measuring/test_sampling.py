"""A model that can summarise its draws is asked for no draws, unless they are kept; either way the catalog says the same."""

from __future__ import annotations

import numpy as np
import pytest

from fake_models import DrawingModel, InPlaceModel
from networks import card
from surveyflow.measuring.unit import sample
from surveyflow.values.jobs import SamplingSettings

N_DRAWS = 20
CARD = card(class_names=("star_forming", "post_merger"))


FEATURES = np.float32([[0.1], [0.4]])
KEYS = np.uint64([7, 8])


@pytest.mark.parametrize("model", [DrawingModel(CARD), InPlaceModel(CARD)], ids=["draws", "summary"])
@pytest.mark.parametrize("keep_draws", [False, True])
def test_outputs_are_found_by_the_names_of_their_classes(model, keep_draws):
    drawn = sample(model, FEATURES, KEYS, SamplingSettings(N_DRAWS, 3, keep_draws))
    np.testing.assert_allclose(drawn.columns["p_pm_mean"], [0.225, 0.525], rtol=1e-6)  # post_merger is the second class
    np.testing.assert_allclose(drawn.columns["p_sf_mean"], [0.35, 0.65], rtol=1e-6)


def test_a_model_that_can_summarise_is_asked_for_no_draws(monkeypatch):
    model = InPlaceModel(CARD)
    monkeypatch.setattr(InPlaceModel, "draw", None)
    assert sample(model, FEATURES, KEYS, SamplingSettings(N_DRAWS, 3)).kept_draws is None
    assert model.asked == [(N_DRAWS, 3, (1, 0))]


def test_draws_that_are_kept_are_those_of_the_summary():
    drawn = sample(InPlaceModel(CARD), FEATURES, KEYS, SamplingSettings(N_DRAWS, 3, keep_draws=True))
    assert drawn.kept_draws.shape == (2, N_DRAWS)
    np.testing.assert_allclose(drawn.kept_draws.mean(axis=1), drawn.columns["p_pm_mean"], rtol=1e-6)
