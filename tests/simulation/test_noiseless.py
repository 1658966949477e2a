"""Which noiseless images a band could observe, and which of them show the same galaxy."""

from __future__ import annotations

import re

import numpy as np
import pytest

from surveyflow.simulation.noiseless import n_same_shapes, problems_of_image, shape_of
from surveyflow.simulation.observe import F814W


def galaxy(seed=0, side=61, offset_yx=(0, 0), flux=20.0):
    """A lopsided galaxy, e-/s."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    y, x = y - offset_yx[0], x - offset_yx[1]
    light = np.exp(-np.hypot(y, x / rng.uniform(0.4, 0.9)) / 3) + 0.3 * np.exp(-(np.hypot(y - rng.uniform(2, 5), x + 3) ** 2) / 8)
    light[[0, -1]] = light[:, [0, -1]] = 0
    return (flux * light / light.sum()).astype(np.float32)


def problems(image, scale=0.03, electrons=1.0):
    return list(problems_of_image(image, scale, electrons, F814W, 128))


def test_a_galaxy_in_the_middle_of_its_image_has_no_problem():
    assert problems(galaxy()) == []


def test_a_companion_beyond_the_stamp_does_not_matter():
    companion = galaxy(seed=2, side=401, offset_yx=(0, 150), flux=60.0)
    assert problems(galaxy(side=401) + companion) == []


@pytest.mark.parametrize(
    ("image", "scale", "electrons", "told"),
    [
        (np.ones((9, 9), np.float32), 0.03, 1.0, "all of its pixels are equal"),
        (galaxy() - np.float32(0.001), 0.03, 1.0, "pixels below 0 hold"),
        (galaxy(), 0.03, 1e9, r"its galaxy has .* mag \(AB\), expected 15 to 30\. Correct `unit`"),
        (galaxy(), 0.03, 1e-9, r"its galaxy has .* mag \(AB\)"),
        (galaxy(side=401, offset_yx=(150, 0)), 0.03, 1.0, r"the 3\.84 arcsec about its middle, .*, hold 0% of its light"),
        (galaxy(side=401, offset_yx=(40, 0)), 0.03, 1.0, r"lies 1\.\d+ arcsec from its middle, expected up to 0\.96"),
        (galaxy(), 0.0001, 1.0, "it would be seen as a star"),
    ],
)
def test_what_cannot_be_a_noiseless_galaxy_is_said(image, scale, electrons, told):
    (problem,) = problems(image, scale, electrons)
    assert re.search(told, problem)


def same(image, other):
    return n_same_shapes([shape_of(image)], [shape_of(other)])


@pytest.mark.parametrize(
    "changed",
    [
        np.rot90,
        lambda image: image[:, ::-1],
        lambda image: image * np.float32(1e-7),
        lambda image: np.pad(image, ((3, 0), (0, 9))),
        lambda image: image[1:, 1:],
        lambda image: np.rint(image * 1e8).astype(np.float32),
    ],
    ids=["turned", "mirrored", "multiplied", "with a border", "without a border", "as integers"],
)
def test_the_same_galaxy_is_known_however_it_lies(changed):
    assert same(changed(galaxy()), galaxy()) == 1


def test_galaxies_that_differ_are_not_taken_for_one():
    shapes = [shape_of(galaxy(seed)) for seed in range(300)]
    assert n_same_shapes(shapes[:150], shapes[150:]) == 0
    assert n_same_shapes(shapes[:150], shapes[149:]) == 1
    assert n_same_shapes([], shapes) == n_same_shapes(shapes, []) == 0
