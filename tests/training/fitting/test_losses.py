import math

import keras
import numpy as np
import tensorflow as tf

from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.training.fitting.losses import TaskLoss

NAN = math.nan


def loss_of(flux_range, limit, **options):
    return TaskLoss.of(CONTAMINATION, ContaminationScale("sky_sigma", flux_range, limit), **options)


def by_hand(target, output, flux_range, limit):
    """One image's loss in plain Python."""
    total = 0.0
    for part, scale in ((0, 1.0), (1, flux_range)):
        there, amount = target[2 * part : 2 * part + 2]
        probability, location, scatter = output[3 * part : 3 * part + 3]
        if not math.isnan(there):
            total -= math.log(probability if there else 1 - probability)
        if not math.isnan(amount):
            sigma = max(scatter * limit, 0.01)
            total += math.log(sigma) + ((amount / scale - location) / sigma) ** 2 / 2
    return total


TARGETS = np.array([[1, 0.4, 1, 2.0], [0, NAN, 1, 4.0], [0, NAN, 0, NAN], [NAN, NAN, 0, NAN]], np.float32)
OUTPUTS = np.random.default_rng(1).uniform(0.05, 0.95, (4, 6)).astype(np.float32)


def test_the_loss_is_what_a_plain_loop_finds():
    found = np.asarray(loss_of(5.0, 0.5, reduction=None)(TARGETS, OUTPUTS))
    expected = [by_hand(target, output, 5.0, 0.5) for target, output in zip(TARGETS.tolist(), OUTPUTS.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_is_unknown_moves_nothing():
    outputs = tf.Variable(OUTPUTS)
    with tf.GradientTape() as tape:
        loss = loss_of(5.0, 0.5)(TARGETS, outputs)
    gradient = np.asarray(tape.gradient(loss, outputs))
    assert np.isfinite(gradient).all()
    assert (gradient[3, :3] == 0).all()
    assert (gradient[2, [1, 2, 4, 5]] == 0).all()
    assert (gradient[0] != 0).all()


def test_a_loss_comes_back_from_its_configuration():
    loss = keras.losses.deserialize(keras.losses.serialize(loss_of(5.0, 0.25)))
    assert loss.parts == loss_of(5.0, 0.25).parts
    assert [(part.amount_range, part.scatter_limit) for part in loss.parts] == [(1.0, 0.25), (5.0, 0.25)]


def test_the_loss_of_mergers_is_the_mean_cross_entropy_of_both_classes():
    targets, outputs = np.array([[1, 0], [0, 1]], np.float32), OUTPUTS[:2, :2]
    expected = keras.losses.BinaryCrossentropy(reduction=None)(targets, outputs)
    np.testing.assert_array_equal(TaskLoss.of(MERGER, None, reduction=None)(targets, outputs), expected)
