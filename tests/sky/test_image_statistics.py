import numpy as np
import pytest

from surveyflow.sky.measurements import N_STATISTICS, RING_EDGES, image_statistics

RINGS = len(RING_EDGES) - 1


@pytest.mark.parametrize("side", [1, 2, 7, 48, 128])
def test_rings_are_those_of_a_sum_over_pixels(side):
    images = np.random.default_rng(side).normal(size=(3, side, side)).astype(np.float32)
    found = image_statistics(images)
    assert found.shape == (3, N_STATISTICS)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius, turned = np.hypot(y, x) / side, np.rot90(images, 2, axes=(1, 2))
    for ring in range(RINGS):
        inside = (radius >= RING_EDGES[ring]) & (radius < RING_EDGES[ring + 1])
        light, residual = images[:, inside].astype(float), np.abs(images - turned)[:, inside]
        expected = (light.mean(1), light.std(1), np.log(0.01 + residual.mean(1))) if inside.any() else (0, 0, np.log(0.01))
        for kind, values in enumerate(expected):
            np.testing.assert_allclose(found[:, kind * RINGS + ring], values, atol=1e-5)
    np.testing.assert_array_equal(found[:, -3:-1], np.stack([images.max((1, 2)), images.min((1, 2))], axis=1))


def test_texture_tells_smooth_noise_from_sharp_noise():
    sharp = np.random.default_rng(0).normal(size=(5, 48, 48)).astype(np.float32)
    smooth = (sharp + np.roll(sharp, 1, axis=2)) / np.float32(np.sqrt(2))
    texture = [image_statistics(images)[:, -6:-3].mean(axis=0) for images in (sharp, smooth)]
    np.testing.assert_allclose(texture[1] - texture[0], np.log([np.sqrt(0.5), 1, np.sqrt(0.5)]), atol=0.1)


def test_the_core_tells_a_faint_galaxy_from_empty_sky():
    rng = np.random.default_rng(1)
    sky = rng.normal(size=(50, 48, 48)).astype(np.float32)
    y, x = np.mgrid[:48, :48] - 23.5
    galaxy = sky + 3 * np.exp(-np.hypot(x, y) / 4).astype(np.float32)
    core = [image_statistics(images)[:, -1] for images in (sky, galaxy)]
    assert core[0].max() < np.log(0.7) < np.log(1.2) < core[1].min()
    assert core[0].min() == pytest.approx(np.log(0.05))
