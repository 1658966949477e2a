"""Noiseless galaxies: their fluxes, their places, and what tells the two kinds apart."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.galaxies import Galaxy, draw_galaxy, draw_star, render
from surveyflow.simulation.profiles import Grid, PointSource
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

ACS_SCALE, WFC3_SCALE = 0.03, 0.06


def wide_grid(radius_arcsec: float, scale: float, shift_pix: float = 0.0) -> Grid:
    side = int(2 * 14 * radius_arcsec / scale) + 41
    return Grid.around(side / 2 + shift_pix, side / 2 - shift_pix / 3, (side, side), scale)


@pytest.mark.parametrize("scale", [ACS_SCALE, WFC3_SCALE])
@pytest.mark.parametrize("kind", [STAR_FORMING, POST_MERGER])
@pytest.mark.parametrize("index", range(8))
def test_flux_is_conserved_to_one_percent_wherever_the_centre_falls_in_its_pixel(kind, scale, index):
    rng = np.random.default_rng([3, index])
    radius = rng.uniform(0.2, 0.7)
    galaxy = draw_galaxy(rng, kind, radius)
    image = render(galaxy, 250.0, wide_grid(radius, scale, shift_pix=rng.uniform(-0.5, 0.5)))
    assert image.sum(dtype=np.float64) == pytest.approx(250.0, rel=0.01)
    assert image.dtype == np.float32
    assert image.min() >= 0


def test_both_instruments_see_the_same_galaxy():
    galaxy = draw_galaxy(np.random.default_rng(8), POST_MERGER, 0.6)
    # A 60 mas pixel covers 2 x 2 pixels of 30 mas, so its centre is half a 30 mas pixel away.
    fine = render(galaxy, 1.0, Grid.around(160.5, 160.5, (322, 322), ACS_SCALE))
    coarse = render(galaxy, 1.0, Grid.around(80.0, 80.0, (161, 161), WFC3_SCALE))
    binned = fine.reshape(161, 2, 161, 2).sum(axis=(1, 3))
    assert np.abs(binned - coarse).sum() < 0.04


def test_a_part_of_the_sky_is_the_same_whatever_grid_it_is_drawn_on():
    galaxy = draw_galaxy(np.random.default_rng(4), STAR_FORMING, 0.5)
    whole = render(galaxy, 10.0, Grid.around(100.3, 100.4, (200, 200), ACS_SCALE))
    part = render(galaxy, 10.0, Grid.around(100.3 - 90, 100.4 - 97, (50, 60), ACS_SCALE))
    np.testing.assert_allclose(part, whole[90:140, 97:157], rtol=2e-3, atol=1e-5)


def asymmetry(image: np.ndarray) -> float:
    """Of Conselice (2003), without background: 0 for an image that a half turn leaves alone."""
    return float(np.abs(image - image[::-1, ::-1]).sum() / (2 * image.sum()))


def test_post_mergers_are_more_asymmetric_than_discs():
    grid = Grid.around(64, 64, (129, 129), ACS_SCALE)
    values = {
        kind: [asymmetry(render(draw_galaxy(np.random.default_rng([5, i]), kind, 0.45), 1.0, grid)) for i in range(60)]
        for kind in (STAR_FORMING, POST_MERGER)
    }
    merger, disc = np.array(values[POST_MERGER]), np.array(values[STAR_FORMING])
    chance_of_the_right_order = np.mean(merger[:, None] > disc[None, :])
    # Neither trivial nor hopeless: asymmetry alone does not give the kind away.
    assert 0.7 < chance_of_the_right_order < 0.97


def test_a_galaxy_depends_on_its_random_numbers_alone():
    first, second = (draw_galaxy(np.random.default_rng(6), POST_MERGER, 0.5) for _ in range(2))
    assert first == second
    assert first != draw_galaxy(np.random.default_rng(7), POST_MERGER, 0.5)


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="elliptical"):
        draw_galaxy(np.random.default_rng(0), "elliptical", 0.5)


def test_a_galaxy_whose_parts_do_not_sum_to_its_flux_cannot_be_made():
    with pytest.raises(ValueError, match=r"sum to 1, not 0\.5"):
        Galaxy(STAR_FORMING, 0.5, (PointSource(0.5),))


def test_a_star_is_one_point():
    image = render(draw_star(), 5.0, Grid.around(10, 12, (21, 25), ACS_SCALE))
    assert np.unravel_index(image.argmax(), image.shape) == (10, 12)
    assert image[9:12, 11:14].sum() == pytest.approx(5.0, rel=1e-4)
