"""Galaxies of the matched recipe have the numbers that were drawn for them, whatever their kind."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.balancing import (
    MOST_LOPSIDED,
    Wanted,
    asymmetry,
    balance,
    barycentre,
    half_light_arcsec,
    reference_grid,
)
from surveyflow.simulation.galaxies import render
from surveyflow.simulation.matched import MatchedRecipe
from surveyflow.simulation.profiles import Clump, Ellipse, Grid, Modulation, Sersic
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

KINDS = (STAR_FORMING, POST_MERGER)


def drawn(kind: str, index: int, radius: float = 0.45):
    return MatchedRecipe().galaxy(np.random.default_rng([11, index]), kind, radius)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.03, 0.06])
def test_flux_centre_and_half_light_radius_are_those_asked_for(kind, scale):
    for index in range(6):
        galaxy = drawn(kind, index)
        side = int(20 * galaxy.radius_arcsec / scale) + 61
        grid = Grid.around(side / 2 + 0.3, side / 2 - 0.1, (side, side), scale)
        image = render(galaxy, 40.0, grid)
        assert image.sum(dtype=np.float64) == pytest.approx(40, rel=0.02)
        assert image.min() >= 0
        centre = barycentre(image, grid)
        assert np.hypot(*centre) < 0.06 * galaxy.radius_arcsec + 0.002
        assert half_light_arcsec(image, grid, centre) == pytest.approx(galaxy.radius_arcsec, rel=0.1)


def test_a_galaxy_depends_on_its_random_numbers_alone():
    assert drawn(POST_MERGER, 1) == drawn(POST_MERGER, 1)
    assert drawn(POST_MERGER, 1) != drawn(POST_MERGER, 2)


def test_a_galaxy_has_its_size_everywhere():
    small, large = drawn(STAR_FORMING, 3, 0.4), drawn(STAR_FORMING, 3, 0.8)
    assert large.radius_arcsec == pytest.approx(2 * small.radius_arcsec)


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="elliptical"):
        drawn("elliptical", 0)


def maps_of(irregular) -> tuple[np.ndarray, Grid]:
    """A disc, its lopsided modes as differences of lopsided discs, and an irregular part."""
    grid = reference_grid(1.0)

    def disc(lopsidedness: float, phase: float) -> np.ndarray:
        return Sersic(
            1.0, Ellipse(axis_ratio=0.7), 1.0, 1.0, Modulation(lopsidedness=lopsidedness, lopsided_phase_rad=phase)
        ).pixel_fluxes(grid)

    plain = disc(0, 0)
    return np.stack([plain, disc(1, 0) - plain, disc(1, np.pi / 2) - plain, irregular.pixel_fluxes(grid)]), grid


@pytest.mark.parametrize("place", [(0.8, 0.0), (0.3, -1.2)])
def test_a_balanced_galaxy_has_the_asymmetry_and_the_barycentre_asked_for(place):
    maps, grid = maps_of(Clump(1.0, *place, 0.3))
    wanted = Wanted(0.1, 0.05, -0.02)
    found = balance(maps, grid, wanted)
    image = np.tensordot(found.weights(), maps, axes=1)
    assert found.miss == 0
    assert found.lopsidedness <= MOST_LOPSIDED
    assert asymmetry(image) == pytest.approx(0.1, abs=0.005)
    assert barycentre(image, grid) == pytest.approx((0.05, -0.02), abs=1e-4)


def test_a_symmetric_part_cannot_make_a_galaxy_asymmetric_and_says_by_how_much_it_misses():
    maps, grid = maps_of(Sersic(1.0, Ellipse(axis_ratio=0.9), 1.5, 1.0))
    found = balance(maps, grid, Wanted(0.2, 0.0, 0.0))
    assert found.miss == pytest.approx(0.2, abs=0.01)
