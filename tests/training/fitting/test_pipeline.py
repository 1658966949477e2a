"""What reaches the network is what a catalog's cutouts are made of, in an order that depends on seed and epoch alone."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from surveyflow.errors import InputError, RecordError
from surveyflow.models.framing import framed
from surveyflow.settings.training import AugmentationTable
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.training.fitting.augmentation import changed, oriented
from surveyflow.training.fitting.pipeline import changed_copies, check_records, epoch_of, labels_of, load_images, streamed_epoch
from surveyflow.training.records.record_index import read_index, settings_digest, write_index
from training_sets import SIZE, SKY_RMS, stamp, write_records, write_training

pytestmark = pytest.mark.slow

STILL = "[augmentation]\norientations = false"


def batches(dataset):
    return [(images.numpy(), targets.numpy()) for images, targets in dataset]


def sorted_rows(dataset):
    rows = np.concatenate([images.reshape(len(images), -1) for images, _ in batches(dataset)])
    return rows[np.lexsort(rows.T[:5])]


def test_images_are_prepared_as_a_catalogs_cutouts(tmp_path):
    training = write_training(tmp_path)
    images = load_images(training.data.train, training)
    assert len(images) == 64
    pixels = np.stack([stamp(number).pixels for number in range(64)])
    expected = framed(prepare(pixels, pixels != 0, Stretch.ASINH_NOISE, 1.0), training.network)
    order = np.lexsort(expected.reshape(64, -1).T[:5])
    found = images.images[np.lexsort(images.images.reshape(64, -1).T[:5])]
    np.testing.assert_array_equal(found, expected[order])


def test_an_epoch_depends_on_its_number_and_the_seed_alone(tmp_path):
    training = write_training(tmp_path)
    images = load_images(training.data.train, training)
    first, again, next_one = (batches(epoch_of(images, training, epoch)) for epoch in (0, 0, 1))
    assert len(first) == 4
    assert all(a[0].tobytes() == b[0].tobytes() for a, b in zip(first, again, strict=True))
    assert first[0][0].tobytes() != next_one[0][0].tobytes()


def test_what_is_known_of_images_is_the_same_without_them(tmp_path):
    training = write_training(tmp_path)
    found, expected = labels_of(training.data.train, training), load_images(training.data.train, training)
    np.testing.assert_array_equal(found.targets, expected.targets)
    np.testing.assert_array_equal(found.sky_rms, expected.sky_rms)


def test_from_disk_come_the_images_that_are_in_memory(tmp_path):
    training = write_training(tmp_path, extra=STILL)
    in_memory = sorted_rows(epoch_of(load_images(training.data.train, training), training, 0))
    from_disk = sorted_rows(streamed_epoch(training.data.train, training, 0))
    np.testing.assert_array_equal(in_memory, from_disk)


def test_pixels_are_spoiled_before_they_are_stretched(tmp_path):
    training = write_training(tmp_path, extra=STILL + "\nhot_pixel_chance = 1.0\ngain = [0.5, 2.0]")
    raw = load_images(training.data.train, training, as_seen=False)
    assert raw.images.shape == (64, SIZE, SIZE)
    plain = load_images(training.data.train, training)
    found = sorted_rows(epoch_of(raw, training, 0))
    assert found.max() > 1.5  # arcsinh(1 / 0.001) / 4, the least of a hot pixel in the mean of four
    assert np.median(found) == pytest.approx(np.median(plain.images), abs=0.05)


def test_copies_are_changed_once_and_each_differently(tmp_path):
    training = write_training(tmp_path, extra=STILL + "\nhot_pixel_chance = 1.0\ncopies = 2")
    raw, plain = (load_images(training.data.train, training, as_seen=as_seen) for as_seen in (False, True))
    copies, again = changed_copies(raw, training), changed_copies(raw, training)
    assert [copy.images.tobytes() for copy in copies] == [copy.images.tobytes() for copy in again]
    first, second = (copy.images for copy in copies)
    assert first.shape == second.shape == plain.images.shape
    assert (first != second).any(axis=(1, 2, 3)).sum() > 30  # elsewhere the hot pixel lies outside the crop
    np.testing.assert_array_equal(copies[1].targets, plain.targets)
    # An epoch takes them as they are.
    np.testing.assert_array_equal(sorted_rows(epoch_of(copies[0], training, 0)), sorted_rows(epoch_of(copies[0], training, 3)))


def test_records_of_another_kind_are_refused(tmp_path):
    training = write_training(tmp_path)
    other = write_records(tmp_path / "other", 4, instrument="F125W_F160W")
    with pytest.raises(InputError, match=r"other holds images of F125W_F160W, but the model is of F814W"):
        check_records([other], training)


def test_galaxies_for_testing_are_refused(tmp_path):
    training = write_training(tmp_path)
    index = read_index(training.data.train[0])
    settings = index.settings | {"galaxies": "orbits"}
    write_index(training.data.train[0], replace(index, settings=settings, digest=settings_digest(settings)))
    with pytest.raises(InputError, match=r"train holds galaxies on orbits, which are for testing only"):
        check_records(training.data.train, training)


def test_a_damaged_shard_is_named(tmp_path):
    training = write_training(tmp_path)
    shard = sorted(training.data.train[0].glob("*.tfrecord"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(RecordError, match=r"part-00001-of-00002\.tfrecord"):
        load_images(training.data.train, training)


def noise(n=6):
    return tf.constant(np.random.default_rng(4).normal(scale=SKY_RMS, size=(n, 64, 64)), tf.float32)


def spoil(seed=(1, 2), **settings):
    return changed(noise(), AugmentationTable(**settings), tf.constant(seed, tf.int32)).numpy()


def test_one_gain_for_each_image_within_its_range():
    factors = (spoil(gain=(0.5, 2.0)) / noise().numpy()).reshape(6, -1)
    assert np.ptp(factors, axis=1).max() < 1e-5
    assert len(np.unique(factors[:, 0].round(4))) == 6
    assert ((factors > 0.499) & (factors < 2.001)).all()


def test_noise_is_raised_up_to_its_factor():
    raised = spoil(depth=3.0).std(axis=(1, 2)) / SKY_RMS
    assert ((raised > 0.95) & (raised < 3.2)).all()
    assert np.ptp(raised) > 0.3


def test_one_pixel_becomes_hot():
    change = spoil(hot_pixel_chance=1.0) - noise().numpy()
    assert ((change > 0.9).sum(axis=(1, 2)) == 1).all()
    assert (np.count_nonzero(abs(change) > 1e-6, axis=(1, 2)) == 1).all()


def test_a_strip_loses_its_data():
    empty = (spoil(strip_chance=1.0) == 0).all(axis=2)
    assert (empty.sum(axis=1) <= 48).all()
    assert len(set(empty.sum(axis=1))) > 3, "strips differ in height"
    assert (np.diff(empty.astype(int), axis=1) == 1).sum(axis=1).max() == 1, "each is one strip"


def with_galaxies(sky=0.0):
    y, x = np.mgrid[:64, :64]
    galaxy = 100 * SKY_RMS * np.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 18)
    return tf.constant(noise() + galaxy.astype(np.float32) + np.float32(sky))


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_halves_of_galaxies_on_the_edges_and_nothing_else(seed):
    before = with_galaxies().numpy()
    after = changed(tf.constant(before), AugmentationTable(neighbour_chance=1.0), tf.constant((seed, 2), tf.int32)).numpy()
    added = after - before
    assert (added >= 0).all()
    rows, columns = np.unravel_index(added[0].argmax(), (64, 64))
    assert min(rows, columns, 63 - rows, 63 - columns) <= 8
    peaks = added.reshape(6, -1).max(axis=1) / SKY_RMS
    assert ((peaks > 90) & (peaks < 220)).all(), "one galaxy, or two on each other"
    in_the_middle = (added != 0)[:, 20:44, 20:44]
    assert in_the_middle.mean() < 1e-3, "a peak of the noise is light, too"


def test_a_neighbour_brings_no_sky_along():
    settings, seed = AugmentationTable(neighbour_chance=1.0), tf.constant((1, 2), tf.int32)
    low, high = (changed(with_galaxies(sky), settings, seed).numpy() - with_galaxies(sky).numpy() for sky in (0.0, 5 * SKY_RMS))
    np.testing.assert_allclose(high, low, atol=1e-4 * 100 * SKY_RMS)


def test_a_pedestal_is_in_units_of_the_images_noise():
    added = (spoil(pedestal=(2.0, 5.0)) - noise().numpy()).reshape(6, -1) / SKY_RMS
    assert np.ptp(added, axis=1).max() < 1e-3
    assert ((added > 1.9) & (added < 5.3)).all()
    assert np.ptp(added) > 0.5


def test_pixels_are_rounded_to_steps_of_the_noise():
    rounded = spoil(quantum=1.0)
    for before, after in zip(noise().numpy(), rounded, strict=True):
        steps = np.diff(np.unique(after.round(9)))
        assert steps.min() == pytest.approx(np.median(steps), rel=0.01), "all steps are equal"
        assert abs(after - before).max() <= 0.51 * steps.min() <= 0.55 * SKY_RMS


def test_where_there_is_no_data_there_is_none_afterwards():
    image = noise().numpy()
    image[:, :5] = 0
    settings = AugmentationTable(depth=2.0, pedestal=(1.0, 2.0), quantum=0.5, hot_pixel_chance=1.0, gain=(0.5, 2.0))
    after = changed(tf.constant(image), settings, tf.constant([1, 2])).numpy()
    assert not after[:, :5].any()
    assert (after[:, 5:] != 0).all()


def test_orientations_are_the_eight_of_a_square():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    eight = {np.rot90(side, turns).tobytes() for side in (image[0, ..., 0], image[0, ..., 0].T) for turns in range(4)}
    seen = {oriented(tf.constant(image), tf.constant([7, i]))[0, ..., 0].numpy().tobytes() for i in range(80)}
    assert seen == eight


def test_flipping_channels_is_flipping_what_they_are_made_of(tmp_path):
    network = write_training(tmp_path).network
    cutouts = np.random.default_rng(3).normal(size=(4, SIZE, SIZE)).astype(np.float32)
    for flip in (lambda a: a[:, ::-1], lambda a: a[:, :, ::-1], lambda a: np.swapaxes(a, 1, 2)):
        np.testing.assert_allclose(
            flip(framed(cutouts, network)), framed(np.ascontiguousarray(flip(cutouts)), network), atol=1e-6
        )


def test_small_moves_shift_whole_pixels_and_turn_little():
    image = np.zeros((1, 21, 21), np.float32)
    image[0, 10, 10] = 1
    settings = AugmentationTable(shift_pix=2)
    places = set()
    for i in range(60):
        shifted = changed(tf.constant(image), settings, tf.constant([3, i])).numpy()
        assert shifted.sum() == pytest.approx(1, abs=1e-4)
        places.add(tuple(np.argwhere(shifted[0] > 0.99)[0] - 10))
    assert {y for y, _ in places} == {x for _, x in places} == {-2, -1, 0, 1, 2}
    turned = changed(tf.constant(image), AugmentationTable(rotation_deg=10.0), tf.constant([3, 1])).numpy()
    assert turned[0, 10, 10] > 0.9


def test_a_shift_moves_the_galaxy_before_its_channels_are_made(tmp_path):
    training = write_training(tmp_path, extra=STILL + "\nshift_pix = 3")
    raw, still = load_images(training.data.train, training, as_seen=False), load_images(training.data.train, training)
    [first, *_] = [images for images, _ in batches(epoch_of(raw, training, 0))]
    order = np.random.default_rng([5, 0]).permutation(64)[:16]
    moved = [not np.allclose(a, b) for a, b in zip(first, still.images[order], strict=True)]
    assert sum(moved) >= 12
    # Channels that were moved together would still have an antisymmetric second one.
    residuals = first[moved][..., 1]
    assert abs(residuals + residuals[:, ::-1, ::-1]).max() < 1e-4
