"""Every component has the flux, place and shape that it says."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.profiles import Clump, Ellipse, Grid, Modulation, PointSource, Sersic, Shell, Tail

ACS_SCALE, WFC3_SCALE = 0.03, 0.06


def wide_grid(radius_arcsec: float, scale: float, shift_pix: float = 0.0) -> Grid:
    side = int(2 * 14 * radius_arcsec / scale) + 41
    return Grid.around(side / 2 + shift_pix, side / 2 - shift_pix / 3, (side, side), scale)


@pytest.mark.parametrize("scale", [ACS_SCALE, WFC3_SCALE])
@pytest.mark.parametrize(
    "component",
    [
        Sersic(1.0, Ellipse(axis_ratio=0.5, angle_rad=0.4), 0.5, 1.0),
        Sersic(1.0, Ellipse(0.1, -0.2, axis_ratio=0.8, angle_rad=1.4), 0.2, 2.5),
        Sersic(1.0, Ellipse(), 0.5, 1.0, Modulation(arm_contrast=0.7, lopsidedness=0.5)),
        Tail(1.0, Ellipse(axis_ratio=0.7, angle_rad=0.3), 0.35, 1.2, 5.5, -2.0, 0.08),
        Shell(1.0, Ellipse(axis_ratio=0.8, angle_rad=1.0), 0.9, 0.15, 3.0, 0.6),
        Clump(1.0, 0.31, -0.17, 0.03),
        PointSource(),
    ],
    ids=lambda component: type(component).__name__,
)
def test_every_component_has_the_flux_it_says(component, scale):
    assert component.pixel_fluxes(wide_grid(0.5, scale, 0.3)).sum(dtype=np.float64) == pytest.approx(1.0, rel=0.01)


def test_a_sersic_profile_holds_half_of_its_flux_within_its_effective_radius():
    grid = wide_grid(0.6, ACS_SCALE)
    image = Sersic(1.0, Ellipse(), 0.6, 1.8).pixel_fluxes(grid)
    inside = np.hypot(grid.x_arcsec, grid.y_arcsec) < 0.6
    assert image[inside].sum(dtype=np.float64) == pytest.approx(0.5, abs=0.01)


def test_the_image_is_y_first_and_the_angle_runs_from_x_to_y():
    along_x = Sersic(1.0, Ellipse(axis_ratio=0.2, angle_rad=0.0), 0.5, 1.0).pixel_fluxes(
        Grid.around(30, 60, (80, 120), ACS_SCALE)
    )
    assert np.unravel_index(along_x.argmax(), along_x.shape) == (30, 60)
    assert along_x[30, 75] > 3 * along_x[45, 60]
