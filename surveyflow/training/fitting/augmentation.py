"""The augmentation of training images: random changes of batches, made on the device that trains.

The randomness of a batch is a pair of numbers: the same pair gives the same changes.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from surveyflow.settings.training import AugmentationTable

HOT_PIXEL = (1.0, 10.0)
"""Range of a hot pixel's value, e-/s."""
STRIP_ROWS = (5, 48)
"""Range of the rows without data."""
NEIGHBOUR_SIGMA = 4.0
"""A neighbour is the light of another image above so many times the noise."""


def changed(images: Any, settings: AugmentationTable, seed: Any) -> Any:
    """Change pixels as positions, instruments and pipelines do, before they are stretched and made into channels.

    Parameters
    ----------
    images
        (n, size, size) float32, e-/s, not yet stretched; 0 where there is no data.
    settings
        The changes to make.
    seed
        (2,) int32.

    Returns
    -------
    (n, size, size) float32; 0 where there is no data.
    """
    n, seeds = tf.shape(images)[0], tf.random.split(seed, 8)
    if settings.rotation_deg or settings.shift_pix:
        images = _displaced(images[..., None], settings.rotation_deg, settings.shift_pix, seeds[0])[..., 0]
    has_data = images != 0
    if settings.neighbour_chance:
        images = _with_neighbours(images, settings.neighbour_chance, seeds[7])
    if settings.depth > 1:
        images += _extra_noise(images, settings.depth, seeds[1])
    if settings.pedestal != (0.0, 0.0):
        images += _rms(images) * tf.random.stateless_uniform((n, 1, 1), seeds[2], *settings.pedestal)
    if settings.hot_pixel_chance:
        images = _with_hot_pixel(images, settings.hot_pixel_chance, seeds[3])
    if settings.quantum:
        step = _rms(images) * tf.random.stateless_uniform((n, 1, 1), seeds[4], 0.01, settings.quantum)
        images = (tf.floor(images / step) + 0.5) * step
    if settings.gain != (1.0, 1.0):
        low, high = tf.math.log(settings.gain[0]), tf.math.log(settings.gain[1])
        images *= tf.exp(tf.random.stateless_uniform((n, 1, 1), seeds[5], low, high))
    images = tf.where(has_data, images, 0.0)
    if settings.strip_chance:
        images = _with_strip(images, settings.strip_chance, seeds[6])
    return images


def oriented(images: Any, seed: Any) -> Any:
    """Flip and rotate by multiples of 90 degrees; all images of a batch alike.

    Channels that are made of a flipped image are the flipped channels, so this may follow after them. Where a network looks about
    the galaxy, they may differ by a shift of one pixel.

    Parameters
    ----------
    images
        (n, side, side, channels) float32, as the network sees them.
    seed
        (2,) int32.
    """
    flip_y, flip_x, transpose = tf.unstack(tf.random.stateless_uniform((3,), seed) < 0.5)
    images = tf.cond(flip_y, lambda: images[:, ::-1], lambda: images)
    images = tf.cond(flip_x, lambda: images[:, :, ::-1], lambda: images)
    return tf.cond(transpose, lambda: tf.transpose(images, (0, 2, 1, 3)), lambda: images)


def _rms(images: Any) -> Any:
    """(n, 1, 1) noise of each image, from differences of pixels in every fourth row."""
    step = tf.abs(images[:, ::4, 2:] - images[:, ::4, :-2])
    ordered = tf.sort(tf.reshape(step, (tf.shape(images)[0], -1)), axis=1)
    median = ordered[:, tf.shape(ordered)[1] // 2]
    return median[:, None, None] / 0.954  # the median of |difference| is 0.6745 sqrt(2) sigma


def _extra_noise(images: Any, deepest: float, seed: Any) -> Any:
    """The noise to add so that each image's own noise rises by a factor between 1 and the deepest."""
    seeds = tf.random.split(seed, 2)
    factor = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1), seeds[0], 1.0, deepest)
    return _rms(images) * tf.sqrt(tf.square(factor) - 1) * tf.random.stateless_normal(tf.shape(images), seeds[1])


def _with_hot_pixel(images: Any, chance: float, seed: Any) -> Any:
    seeds = tf.random.split(seed, 3)
    n, size = tf.shape(images)[0], tf.shape(images)[1]
    place = tf.random.stateless_uniform((n,), seeds[0], 0, size * size, tf.int32)
    hot = tf.one_hot(place, size * size, on_value=1.0) * tf.random.stateless_uniform((n, 1), seeds[1], *HOT_PIXEL)
    chosen = tf.cast(tf.random.stateless_uniform((n, 1, 1), seeds[2]) < chance, tf.float32)
    return images + chosen * tf.reshape(hot, tf.shape(images))


def _with_neighbours(images: Any, chance: float, seed: Any) -> Any:
    """Half of other images' light on up to two edges, which are the same for the batch."""
    light = tf.where(images > NEIGHBOUR_SIGMA * _rms(images) + _sky(images), images - _sky(images), 0.0)
    for number, one in enumerate(tf.unstack(tf.random.split(seed, 2)), 1):
        images += _on_an_edge(tf.roll(light, number, axis=0), chance, one)
    return images


def _on_an_edge(light: Any, chance: float, seed: Any) -> Any:
    """Half of each image on one edge, at a place along it, with a chance; the rest is empty."""
    seeds = tf.random.split(seed, 3)
    n, size = tf.shape(light)[0], tf.shape(light)[1]
    half = size // 2
    along = tf.random.stateless_uniform((), seeds[0], 0, size, tf.int32)
    lower = tf.roll(light, along, axis=2)[:, size - half :]
    on_edge = oriented(tf.pad(lower, ((0, 0), (0, size - half), (0, 0)))[..., None], seeds[1])[..., 0]
    chosen = tf.cast(tf.random.stateless_uniform((n, 1, 1), seeds[2]) < chance, tf.float32)
    return chosen * on_edge


def _sky(images: Any) -> Any:
    """(n, 1, 1) median of each image, from every fourth row."""
    ordered = tf.sort(tf.reshape(images[:, ::4], (tf.shape(images)[0], -1)), axis=1)
    return ordered[:, tf.shape(ordered)[1] // 2, None, None]


def _with_strip(images: Any, chance: float, seed: Any) -> Any:
    """A strip at any place; part of it may lie beyond an edge."""
    seeds = tf.random.split(seed, 3)
    n, size = tf.shape(images)[0], tf.shape(images)[1]
    height = tf.random.stateless_uniform((n, 1), seeds[2], STRIP_ROWS[0], STRIP_ROWS[1] + 1, tf.int32)
    first = tf.random.stateless_uniform((n, 1), seeds[0], 1 - STRIP_ROWS[1], size, tf.int32)
    rows = tf.range(size)[None, :]
    inside = (rows >= first) & (rows < first + height)
    chosen = tf.random.stateless_uniform((n, 1), seeds[1]) < chance
    return tf.where((inside & chosen)[:, :, None], 0.0, images)


def _displaced(images: Any, rotation_deg: float, shift_pix: int, seed: Any) -> Any:
    seeds = tf.random.split(seed, 2)
    n = tf.shape(images)[0]
    largest = rotation_deg * 3.141592653589793 / 180
    angle = tf.random.stateless_uniform((n,), seeds[0], -largest, largest) if largest else tf.zeros((n,))
    shift = tf.cast(tf.random.stateless_uniform((n, 2), seeds[1], -shift_pix, shift_pix + 1, tf.int32), tf.float32)
    cosine, sine, middle = tf.cos(angle), tf.sin(angle), (tf.cast(tf.shape(images)[1], tf.float32) - 1) / 2
    x0 = middle - cosine * middle + sine * middle + shift[:, 0]
    y0 = middle - sine * middle - cosine * middle + shift[:, 1]
    zero = tf.zeros_like(angle)
    transform = tf.stack([cosine, -sine, x0, sine, cosine, y0, zero, zero], axis=1)
    return keras.ops.image.affine_transform(images, transform, interpolation="bilinear", fill_mode="reflect")
