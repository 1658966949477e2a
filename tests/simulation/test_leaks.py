"""What must not give the kind away: quantities that are drawn before it matters."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.observe import F814W
from surveyflow.simulation.scenes import draw_target
from surveyflow.values.codes import POST_MERGER, STAR_FORMING


@pytest.mark.slow
def test_a_tree_on_magnitude_and_size_is_at_chance():
    ensemble = pytest.importorskip("sklearn.ensemble", reason="needs scikit-learn, of the extra train")
    selection = pytest.importorskip("sklearn.model_selection", reason="needs scikit-learn, of the extra train")
    kinds = [(STAR_FORMING, POST_MERGER)[index % 2] for index in range(3000)]
    targets = [draw_target(np.random.default_rng([9, index]), kind, (2.0, 2.0), F814W) for index, kind in enumerate(kinds)]
    features = [[target.magnitudes["F814W"], target.galaxy.radius_arcsec] for target in targets]
    tree = ensemble.HistGradientBoostingClassifier(max_iter=50, random_state=1)
    accuracy = selection.cross_val_score(tree, np.array(features), np.array(kinds), cv=4).mean()
    # The error of 3000 guesses is 0.9 %.
    assert accuracy == pytest.approx(0.5, abs=0.03)
