"""What must not give the kind away: quantities that are drawn before it matters, and every single number of a galaxy's image."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from surveyflow.simulation.observe import F814W
from surveyflow.simulation.recipes import Galaxies
from surveyflow.simulation.scenes import draw_target
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "shortcuts.py"
N_STAMPS = 1200


@pytest.fixture(scope="module")
def shortcuts():
    pytest.importorskip("sklearn", reason="needs scikit-learn, of the extra train")
    spec = spec_from_file_location("shortcuts", BENCHMARK)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_tree_on_magnitude_and_size_is_at_chance():
    ensemble = pytest.importorskip("sklearn.ensemble", reason="needs scikit-learn, of the extra train")
    selection = pytest.importorskip("sklearn.model_selection", reason="needs scikit-learn, of the extra train")
    kinds = [(STAR_FORMING, POST_MERGER)[index % 2] for index in range(1500)]
    targets = [draw_target(np.random.default_rng([9, index]), kind, (2.0, 2.0), F814W) for index, kind in enumerate(kinds)]
    features = [[target.magnitudes["F814W"], target.galaxy.radius_arcsec] for target in targets]
    tree = ensemble.HistGradientBoostingClassifier(max_iter=50, random_state=1)
    accuracy = selection.cross_val_score(tree, np.array(features), np.array(kinds), cv=4).mean()
    # The error of 1,500 guesses is 1.3 %.
    assert accuracy == pytest.approx(0.5, abs=0.04)


@pytest.mark.timeout(300)
def test_no_number_of_a_matched_galaxy_gives_its_kind_away(shortcuts):
    found = shortcuts.accuracies(*shortcuts.measure(Galaxies.MATCHED, "F814W", N_STAMPS, seed=1))
    together = found.pop("all of these")
    # The error of 1,200 guesses is 1.4 %. On 4,800 stamps the largest accuracy of a single number is 59.0 %, and all numbers
    # together give 71 %.
    telling = {name: accuracy for name, accuracy in found.items() if accuracy > 0.60}
    assert not telling
    assert together < 0.73


@pytest.mark.timeout(300)
def test_the_numbers_would_give_away_galaxies_that_are_not_matched(shortcuts):
    found = shortcuts.accuracies(*shortcuts.measure(Galaxies.CONTRASTED, "F814W", 300, seed=4))
    assert found["asymmetry, smallest"] > 0.68
    assert found["all of these"] > 0.75
