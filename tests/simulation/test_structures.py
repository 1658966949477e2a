"""Rings, streams and warps: their fluxes and places."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.balancing import barycentre
from surveyflow.simulation.profiles import Clump, Ellipse, Grid, Sersic
from surveyflow.simulation.structures import Arc, WarpedEllipse, placed

GRID = Grid.around(150, 150, (301, 301), 0.03)


@pytest.mark.parametrize("spread", [100.0, 0.6])
@pytest.mark.parametrize("width", [0.08, 0.5])
def test_an_arc_has_its_flux_whether_it_closes_or_not(spread, width):
    arc = Arc(1.0, Ellipse(axis_ratio=0.5, angle_rad=0.7), 0.9, width, azimuth_rad=2.0, spread_rad=spread)
    assert arc.pixel_fluxes(GRID).sum(dtype=np.float64) == pytest.approx(1, rel=0.005)


def test_an_arc_lies_at_its_azimuth():
    x, y = barycentre(Arc(1.0, Ellipse(), 1.0, 0.1, azimuth_rad=np.pi / 2, spread_rad=0.2).pixel_fluxes(GRID), GRID)
    assert x == pytest.approx(0, abs=0.01)
    assert 0.95 < y < 1.05


def test_a_warp_bends_both_ends_of_a_disc_to_opposite_sides_and_keeps_its_flux():
    warped = WarpedEllipse(axis_ratio=0.3, warp=0.4, flat_arcsec=0.5)
    image = Sersic(1.0, warped, 0.5, 1.0).pixel_fluxes(GRID)
    flat = Sersic(1.0, Ellipse(axis_ratio=0.3), 0.5, 1.0).pixel_fluxes(GRID)
    assert image.sum() == pytest.approx(flat.sum(), rel=0.003)
    heights = [np.average(GRID.y_arcsec[:, 0], weights=image[:, at]) for at in (150 - 40, 150, 150 + 40)]
    assert heights == pytest.approx([-0.28, 0, 0.28], abs=0.03)


def test_a_component_is_placed_with_its_ellipse_and_its_sizes():
    arc = placed(Arc(0.3, Ellipse(1.0, 2.0, 0.5), 0.4, 0.1), (1.0, 1.0), 2.0)
    assert arc == Arc(0.3, Ellipse(0.0, 2.0, 0.5), 0.8, 0.2)
    assert placed(Clump(0.1, 3.0, 1.0, 0.2), (1.0, 0.0), 0.5) == Clump(0.1, 1.0, 0.5, 0.1)
