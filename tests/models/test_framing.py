import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import card, random_weights, reference_features
from surveyflow.models.engines.fft_engine import FftModel, impossible
from surveyflow.models.framing import framed, galaxy_centres
from surveyflow.tasks.card import Architecture

SIZE = 32


def network(**changed):
    return Architecture(**{"input_size": SIZE, "filters": (3, 4), "kernel_sizes": (3, 1), "dense": (5,)} | changed)


def images(n=3):
    return np.random.default_rng(2).normal(size=(n, SIZE, SIZE)).astype(np.float32)


def test_the_published_network_looks_at_the_cutouts_themselves():
    cutouts = images()
    assert framed(cutouts, network()).tobytes() == cutouts.tobytes()


def test_the_middle_is_averaged_square_by_square():
    cutouts = images()
    seen = framed(cutouts, network(crop=24, binning=2))
    assert seen.shape == (3, 12, 12, 1)
    for row, column in ((0, 0), (5, 7), (11, 11)):
        square = cutouts[:, 4 + 2 * row : 6 + 2 * row, 4 + 2 * column : 6 + 2 * column].astype(np.float64)
        np.testing.assert_allclose(seen[:, row, column, 0], square.mean(axis=(1, 2)), atol=1e-6)


def test_what_lies_beyond_the_crop_changes_nothing():
    cutouts = images()
    changed = cutouts.copy()
    changed[:, :4] = changed[:, -4:] = changed[:, :, :4] = changed[:, :, -4:] = 100
    architecture = network(crop=24)
    assert framed(cutouts, architecture).tobytes() == framed(changed, architecture).tobytes()


def test_a_second_channel_holds_what_turning_by_180_degrees_changes():
    cutouts = images()
    seen = framed(cutouts, network(asymmetry=True))
    np.testing.assert_array_equal(seen[..., 0], cutouts)
    np.testing.assert_array_equal(seen[..., 1], cutouts - np.rot90(cutouts, 2, axes=(1, 2)))


def test_maps_begin_with_what_is_looked_at():
    assert network(crop=28, binning=2).map_sizes == (14, 12, 10, 5, 5, 5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"crop": 40}, "crop must leave"),
        ({"crop": 0}, "crop must leave"),
        ({"crop": 25}, "crop must leave"),
        ({"about_galaxy": True}, "about_galaxy needs a crop"),
        ({"about_galaxy": True, "crop": 28}, "about_galaxy needs a crop"),
        ({"about_galaxy": True, "crop": 6, "kernel_sizes": (1, 1)}, "about_galaxy needs a crop"),
        ({"binning": 5}, "binning must divide"),
        ({"binning": 0}, "binning must divide"),
        ({"crop": 4}, "too small"),
    ],
)
def test_frames_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        network(**changed)


def test_cutouts_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"takes \(n, 32, 32\)"):
        framed(np.zeros((1, 24, 24), np.float32), network(crop=24))


def blobs(*centres, widths=(4.0, 2.0), size=64):
    """An image of galaxies with their centres at these rows and columns, the second ten times as faint."""
    y, x = np.mgrid[:size, :size]
    light = sum(
        np.exp(-np.hypot((y - row) / width, (x - column) / 2.5)) / 10**place
        for place, ((row, column), width) in enumerate(zip(centres, widths, strict=False))
    )
    return np.arcsinh(100 * light)[None].astype(np.float32)


FOUND = Architecture(input_size=64, filters=(3,), kernel_sizes=(3,), dense=(5,), crop=40, asymmetry=True, about_galaxy=True)


@pytest.mark.parametrize("centre", [(31.5, 31.5), (32.0, 32.0), (29.0, 33.5), (35.5, 28.0)])
def test_a_symmetric_galaxy_is_turned_about_its_centre(centre):
    image = blobs(centre)
    np.testing.assert_array_equal(galaxy_centres(image, FOUND)[0], 2 * np.array(centre))
    assert abs(framed(image, FOUND)[..., 1]).max() < 1e-5
    assert abs(framed(image, replace(FOUND, about_galaxy=False))[..., 1]).max() > 0.1 or centre == (31.5, 31.5)


def test_a_neighbour_does_not_move_the_centre():
    alone, accompanied = blobs((32.5, 30.0)), blobs((32.5, 30.0), (40.0, 45.0))
    np.testing.assert_array_equal(galaxy_centres(alone, FOUND), galaxy_centres(accompanied, FOUND))


def test_the_centre_has_the_least_asymmetry_nearby():
    image = blobs((32.5, 30.0), (36.0, 33.0))
    image += np.random.default_rng(4).normal(scale=0.3, size=image.shape).astype(np.float32)
    row, column = galaxy_centres(image, FOUND)[0]
    nearby = {(y, x): asymmetry(image[0], row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    assert min(nearby, key=nearby.get) == (0, 0)


def asymmetry(image, twice_row, twice_column, radius=5):
    """Pixel by pixel, with plain Python: sums over pairs of pixels that lie opposite each other."""
    difference = light = 0.0
    for y, x in np.ndindex(image.shape):
        opposite = twice_row - y, twice_column - x
        distance = math.hypot(y - twice_row / 2, x - twice_column / 2)
        if distance <= radius:
            weight = math.exp(-2 * (distance / radius) ** 2)
            difference += weight * abs(float(image[y, x]) - float(image[opposite]))
            light += weight * (float(image[y, x]) + float(image[opposite]))
    return difference / light


@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**32 - 1))
def test_a_galaxy_that_lies_elsewhere_looks_the_same(rows, columns, seed):
    noise = np.random.default_rng(seed).normal(scale=0.2, size=(1, 64, 64)).astype(np.float32)
    image = blobs((32.0, 31.5), (35.0, 36.0)) + noise
    moved = np.roll(image, (rows, columns), axis=(1, 2))
    np.testing.assert_array_equal(framed(image, FOUND), framed(moved, FOUND))


@pytest.mark.parametrize("engine", ["keras", "fft"])
@pytest.mark.parametrize("about_galaxy", [False, True])
def test_each_engine_looks_where_the_card_says(engine, about_galaxy):
    architecture = network(crop=20 if about_galaxy else 28, binning=2, asymmetry=True, about_galaxy=about_galaxy)
    if engine == "fft" and impossible(architecture):
        pytest.skip(f"no native core: {impossible(architecture)}")
    if engine == "keras":
        keras_engine = pytest.importorskip("surveyflow.models.engines.keras_engine")
    make = FftModel if engine == "fft" else keras_engine.KerasModel
    cutouts, weights = images(60), random_weights(architecture)
    features = make(card(architecture), weights).features(cutouts)
    centres = galaxy_centres(cutouts, architecture) if about_galaxy else np.full((60, 2), SIZE - 1)
    for found, cutout, (twice_row, twice_column) in list(zip(features, cutouts, centres, strict=True))[::20]:
        side = architecture.seen_size
        rows = np.arange(side) + (twice_row - side + 1) // 2
        columns = np.arange(side) + (twice_column - side + 1) // 2
        image, turned = cutout[np.ix_(rows, columns)], cutout[np.ix_(twice_row - rows, twice_column - columns)]
        middle, opposite = (
            part.astype(np.float64).reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3)) for part in (image, turned)
        )
        seen = np.stack([middle, middle - opposite])
        expected = reference_features(seen, weights, architecture)
        np.testing.assert_allclose(found, expected, atol=4e-6 * abs(expected).max())
