import numpy as np
import pytest

from networks import card, random_weights, reference_features
from surveyflow.models.engines.fft_engine import FftModel, impossible
from surveyflow.models.framing import framed
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


@pytest.mark.parametrize("engine", ["keras", "fft"])
def test_each_engine_looks_where_the_card_says(engine):
    architecture = network(crop=28, binning=2, asymmetry=True)
    if engine == "fft" and impossible(architecture):
        pytest.skip(f"no native core: {impossible(architecture)}")
    if engine == "keras":
        keras_engine = pytest.importorskip("surveyflow.models.engines.keras_engine")
    make = FftModel if engine == "fft" else keras_engine.KerasModel
    cutouts, weights = images(60), random_weights(architecture)
    features = make(card(architecture), weights).features(cutouts)
    for found, cutout in list(zip(features, cutouts, strict=True))[::20]:
        middle = cutout[2:30, 2:30].astype(np.float64).reshape(14, 2, 14, 2).mean(axis=(1, 3))
        seen = np.stack([middle, middle - middle[::-1, ::-1]])
        expected = reference_features(seen, weights, architecture)
        np.testing.assert_allclose(found, expected, atol=4e-6 * abs(expected).max())
