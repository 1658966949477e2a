"""The choice of a mosaic where several hold a source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_mosaics import SkyMosaic
from surveyflow.errors import MosaicError
from surveyflow.planning.overlaps import place_on_several
from surveyflow.sky.footprints import caps_around, directions, inside

SIZE = 16


def mosaic(weight=1.0, shape=(80, 60), holes=(), **where) -> SkyMosaic:
    weights = np.full(shape, weight, np.float32)
    for rows, columns in holes:
        weights[rows, columns] = 0
    return SkyMosaic(np.ones(shape, np.float32), weights, **where)


def place(mosaics, names=None, ra_deg=150.1, dec_deg=2.2, size=SIZE):
    names = names or [f"{n}.fits" for n in range(len(mosaics))]
    placed = place_on_several(mosaics, names, np.atleast_1d(ra_deg), np.atleast_1d(dec_deg), size)
    return [names[n] if n >= 0 else None for n in placed.mosaic]


def test_the_most_complete_cutout_wins_over_a_higher_weight():
    holed = mosaic(weight=9.0, holes=[(slice(36, 38), slice(28, 30))])
    assert place([holed, mosaic(weight=1.0)], ["a", "b"]) == ["b"]


def test_the_higher_weight_wins_over_depth():
    assert place([mosaic(weight=1.0, shape=(200, 200)), mosaic(weight=2.0)], ["a", "b"]) == ["b"]


def test_a_mosaic_that_cannot_be_read_at_a_source_is_left_for_one_that_can():
    @dataclass(frozen=True)
    class Damaged(SkyMosaic):
        def read(self, box, wanted=()):
            if any(one.x0 <= 30 < one.x1 for one in wanted or [box]):
                raise MosaicError("the tile is damaged")
            return super().read(box, wanted)

    damaged = Damaged(np.ones((80, 60), np.float32), np.full((80, 60), 9.0, np.float32))
    away = 150.1 - np.array([0, 20 * damaged.pixel_scale_arcsec / 3600])
    assert place([damaged, mosaic()], ["a", "b"], away, np.full(2, 2.2)) == ["b", "a"]


def test_the_source_lies_deeper_before_names_decide():
    assert place([mosaic(), mosaic(shape=(200, 200))], ["a", "b"]) == ["b"]
    assert place([mosaic(), mosaic()], ["b", "a"]) == ["a"]


def test_without_a_model_no_pixels_are_read():
    mosaics = [mosaic(), mosaic(shape=(200, 200))]
    assert place(mosaics, ["a", "b"], size=None) == ["b"]
    assert not [box for one in mosaics for box in one.read_boxes]


def test_pixels_are_read_only_where_mosaics_overlap():
    mosaics = [mosaic(), mosaic(dec_deg=2.21)]
    assert place(mosaics, ["a", "b"], [150.1, 150.1, 150.1], [2.2, 2.21, 3.0]) == ["a", "b", None]
    assert not [box for one in mosaics for box in one.read_boxes]


@given(seed=st.integers(0, 10_000))
def test_the_order_of_mosaics_and_those_that_do_not_hold_the_source_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    near = [
        mosaic(weight=float(rng.integers(1, 3)), angle_deg=float(rng.uniform(0, 360)), ra_deg=150.1 + rng.uniform(-3, 3) / 3600)
        for _ in range(4)
    ]
    far = mosaic(ra_deg=200.0, weight=5.0)
    named = dict(zip("abcde", [*near, far], strict=True))
    ra, dec = 150.1 + rng.uniform(-4, 4, 6) / 3600, 2.2 + rng.uniform(-4, 4, 6) / 3600
    order = rng.permutation(list(named)).tolist()
    expected = place(near, list("abcd"), ra, dec)
    assert place([named[name] for name in order], order, ra, dec) == expected


@pytest.mark.parametrize("dec_deg", [-89.99, 0.0, 60.0])
def test_a_circle_holds_its_whole_footprint(dec_deg):
    one = mosaic(shape=(300, 900), angle_deg=33.0, ra_deg=359.99, dec_deg=dec_deg, pixel_scale_arcsec=2.0)
    y, x = (each.ravel() for each in np.mgrid[-0.5:299.6:25, -0.5:899.6:75])
    caps = caps_around([one.corners_deg, mosaic(ra_deg=100.0).corners_deg])
    within, elsewhere = inside(caps, *one.astrometry.to_sky(x, y))
    assert len(within) == len(x)
    assert not len(elsewhere)
    assert np.allclose(np.linalg.norm(directions(*one.corners_deg), axis=1), 1)
