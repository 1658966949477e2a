"""Stamps and painted skies."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.galaxies import STAR, draw_star
from surveyflow.simulation.observe import F160W, F814W, Depth
from surveyflow.simulation.scenes import (
    NEIGHBOUR_CHANCE,
    SkyObject,
    _draw_kind,
    angular_size,
    draw_background,
    draw_magnitude,
    draw_neighbours,
    draw_target,
    paint,
    stamp,
)
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

DEPTH = Depth(0.000721, 6900.0)


def test_a_stamp_depends_on_seed_and_index_alone():
    first, second = stamp(5, 11, F814W, DEPTH), stamp(5, 11, F814W, DEPTH)
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.kind == second.kind
    assert not np.array_equal(first.pixels, stamp(5, 12, F814W, DEPTH).pixels)
    assert not np.array_equal(first.pixels, stamp(6, 11, F814W, DEPTH).pixels)


def test_stamps_hold_both_kinds_with_the_galaxy_in_the_middle():
    stamps = [stamp(1, index, F160W, DEPTH) for index in range(16)]
    assert {each.kind for each in stamps} == {POST_MERGER, STAR_FORMING}
    for each in stamps:
        assert each.pixels.shape == (128, 128)
        assert each.pixels.dtype == np.float32
        weights = each.galaxy / each.galaxy.sum()
        centre = (weights.sum(axis=1) @ np.arange(128), weights.sum(axis=0) @ np.arange(128))
        assert np.hypot(centre[0] - 64, centre[1] - 64) < 8
        assert 20 <= each.magnitude_ab <= 24


def test_what_a_stamp_adds_to_its_sky_is_the_skys_noise_and_the_photons():
    each = stamp(2, 3, F814W, DEPTH)
    sky = each.galaxy + each.neighbours
    noise = (each.pixels - sky) / np.sqrt(DEPTH.sky_rms**2 + np.maximum(sky, 0) / DEPTH.exposure_s)
    assert noise.std() == pytest.approx(1, rel=0.05)


def test_without_neighbours_all_else_is_the_same():
    crowded, clean = (stamp(2, 5, F814W, DEPTH, neighbours=wanted) for wanted in (True, False))
    assert crowded.neighbours.any()
    assert not clean.neighbours.any()
    np.testing.assert_array_equal(crowded.galaxy, clean.galaxy)
    assert (crowded.kind, crowded.magnitude_ab, crowded.redshift) == (clean.kind, clean.magnitude_ab, clean.redshift)
    empty = crowded.neighbours < DEPTH.sky_rms / 1000
    np.testing.assert_allclose(crowded.pixels[empty], clean.pixels[empty], atol=0.2 * DEPTH.sky_rms)


def test_a_stated_share_of_the_galaxies_are_post_mergers_and_without_one_the_random_numbers_stay():
    def kinds(share):
        return [_draw_kind(np.random.default_rng([9, index]), share) for index in range(2000)]

    assert np.mean([kind == POST_MERGER for kind in kinds(0.1)]) == pytest.approx(0.1, abs=0.03)
    assert (set(kinds(0.0)), set(kinds(1.0))) == ({STAR_FORMING}, {POST_MERGER})
    earlier = [(STAR_FORMING, POST_MERGER)[np.random.default_rng([9, index]).integers(2)] for index in range(2000)]
    assert kinds(None) == earlier
    assert stamp(1, 4, F160W, DEPTH, post_merger_share=1.0).kind == POST_MERGER


def test_magnitudes_redshifts_and_depths_are_drawn_from_their_ranges():
    ranges = {"magnitudes": (22.0, 22.5), "redshifts": (1.0, 1.2), "depth_range": (0.5, 2.0)}
    stamps = [stamp(3, index, F814W, DEPTH, **ranges) for index in range(12)]
    assert all(22 <= each.magnitude_ab <= 22.5 and 1 <= each.redshift <= 1.2 for each in stamps)
    factors = np.array([each.depth.sky_rms / DEPTH.sky_rms for each in stamps])
    assert 0.5 <= factors.min() < 0.9
    assert 1.1 < factors.max() <= 2
    # The sky limits the depth: four times the exposure halves the noise.
    exposures = np.array([each.depth.exposure_s / DEPTH.exposure_s for each in stamps])
    np.testing.assert_allclose(exposures, factors**-2)


def test_galaxies_look_smaller_further_away_until_the_universe_turns_the_angle():
    assert angular_size(0.5) > angular_size(1.0) == pytest.approx(1.0, abs=1e-3)
    assert angular_size(1.6) < angular_size(3.0)
    # 10 kpc at z = 0.5 are 1.64 arcsec, and 1.25 at z = 1.
    assert angular_size(0.5) == pytest.approx(1.639 / 1.249, rel=0.003)


def test_faint_sources_outnumber_bright_ones_at_the_given_slope():
    rng = np.random.default_rng(1)
    magnitudes = np.array([draw_magnitude(rng, 0.3, (20.0, 24.0)) for _ in range(4000)])
    assert magnitudes.min() >= 20
    assert magnitudes.max() <= 24
    counts = np.histogram(magnitudes, [22, 23, 24])[0]
    assert counts[1] / counts[0] == pytest.approx(10**0.3, rel=0.1)


def test_neighbours_overlap_as_often_as_said():
    target = draw_target(np.random.default_rng(1), STAR_FORMING, (10.0, 20.0), F814W)
    rng = np.random.default_rng(2)
    drawn = [draw_neighbours(rng, target) for _ in range(400)]
    assert np.mean([len(neighbours) for neighbours in drawn]) == pytest.approx(NEIGHBOUR_CHANCE, abs=0.07)
    for neighbour in (each for neighbours in drawn for each in neighbours):
        distance = np.hypot(neighbour.x_arcsec - 10, neighbour.y_arcsec - 20)
        assert 0.6 <= distance / target.galaxy.radius_arcsec <= 2.5


def test_the_background_has_the_density_of_the_sky_and_a_few_stars():
    background = draw_background(np.random.default_rng(3), 100.0, 80.0)
    assert len(background) == pytest.approx(0.068 * 8000, rel=0.15)
    assert 0.02 < np.mean([each.galaxy.kind == STAR for each in background]) < 0.12


def test_a_target_has_a_magnitude_in_every_band_it_has_a_colour_for():
    target = draw_target(np.random.default_rng(4), STAR, (1.0, 1.0), F160W, fainter={"F814W": 1.25})
    assert target.magnitudes["F814W"] == pytest.approx(target.magnitudes["F160W"] + 1.25)


def test_a_painted_margin_is_the_sky_beyond_the_image():
    # Three galaxies: inside, across the lower left corner, and far off.
    rng = np.random.default_rng(5)
    objects = [draw_target(rng, POST_MERGER, place, F814W) for place in ((3.0, 2.0), (-0.1, 0.2), (60.0, 60.0))]
    bare, wide = paint(objects, F814W, (150, 200)), paint(objects, F814W, (150, 200), margin=40)
    assert bare.shape == (150, 200)
    assert wide.shape == (230, 280)
    np.testing.assert_allclose(wide[40:-40, 40:-40], bare, rtol=5e-3, atol=1e-4)
    assert wide[:40, :40].sum() > 0.1


@pytest.mark.parametrize("band", [F814W, F160W], ids=["F814W", "F160W"])
def test_a_star_is_painted_with_its_flux_where_it_lies(band):
    star = SkyObject(draw_star(), 2.013, 3.028, {band.name: 20.0})
    image = paint([star], band, (120, 100))
    assert image.sum(dtype=float) == pytest.approx(band.flux(20.0), rel=1e-4)
    row, column = (
        image.sum(axis=axis, dtype=float) @ np.arange(image.shape[1 - axis]) / image.sum(dtype=float) for axis in (1, 0)
    )
    # The lower left corner of the first pixel is the origin; its centre is pixel 0.
    assert row == pytest.approx(3.028 / band.pixel_scale_arcsec - 0.5, abs=0.04)
    assert column == pytest.approx(2.013 / band.pixel_scale_arcsec - 0.5, abs=0.04)
