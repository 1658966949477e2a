"""The way of records to the network: they are read, prepared as a catalog's cutouts are, shuffled, batched and augmented.

The content of an epoch depends only on the seed and the epoch's number, so a training that was stopped continues as if it had not
been.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from surveyflow.errors import InputError
from surveyflow.models.framing import framed
from surveyflow.settings.training import Training
from surveyflow.simulation.recipes import Galaxies
from surveyflow.sky.measurements import sky_rms
from surveyflow.sky.stretch import prepare
from surveyflow.training.fitting.augmentation import changed, oriented
from surveyflow.training.records.record_index import RecordIndex, read_index
from surveyflow.training.records.shards import check_truth, damage_told, record_dataset
from surveyflow.values.arrays import BoolArray, Float32Array
from surveyflow.values.codes import WeightsOrigin

READ_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Labels:
    """The targets of images, and the sky rms measured on them.

    Parameters
    ----------
    targets
        (n, n_targets) float32: the task's targets.
    sky_rms
        (n,) float32: sky rms measured on each stamp, e-/s.
    """

    targets: Float32Array
    sky_rms: Float32Array


@dataclass(frozen=True, slots=True)
class Images(Labels):
    """Images in memory with their targets.

    Parameters
    ----------
    images
        (n, side, side, channels) float32 as the network sees them, or (n, size, size) stamps as they were simulated.
    """

    images: Float32Array

    def __len__(self) -> int:
        return len(self.images)


def check_records(folders: Sequence[Path], training: Training) -> list[RecordIndex]:
    """Read the records' indices, and check that a model of this kind can be trained on them.

    Raises
    ------
    RecordError
        If a set is incomplete.
    InputError
        If the records are of another instrument, size or origin, of different pixel scales, or of galaxies that are for testing.
    """
    indices = [read_index(folder) for folder in folders]
    for folder, index in zip(folders, indices, strict=True):
        if index.settings.get("galaxies") == Galaxies.ORBITS:
            raise InputError(
                f"{folder} holds galaxies on orbits, which are for testing only: a simulation that no model was trained on is a "
                'check. Simulate with `galaxies = "matched"`, and name this folder in [evaluation] test.'
            )
        if index.instrument != training.model.instrument:
            raise InputError(
                f"{folder} holds images of {index.instrument}, but the model is of {training.model.instrument}. "
                f"Name records of its instrument, or correct [model] instrument."
            )
        if index.size != training.architecture.input_size:
            raise InputError(
                f"{folder} holds images of {index.size} pixels a side, but the network takes {training.architecture.input_size}. "
                f"Simulate stamps of that size, or correct [architecture] input_size."
            )
        if "stamps" in index.settings and training.model.weights_origin is WeightsOrigin.SIMULATED:
            raise InputError(
                f"{folder} holds galaxies of your own, but [model] origin says that surveyflow simulated them. "
                f'Write `origin = "user"`.'
            )
        if (index.band, index.pixel_scale_arcsec, index.unit) != (
            indices[0].band,
            indices[0].pixel_scale_arcsec,
            indices[0].unit,
        ):
            raise InputError(f"{folder} differs from {folders[0]} in band, pixel scale or unit. Train on records of one kind.")
    return indices


def load_images(folders: Sequence[Path], training: Training, *, as_seen: bool = True) -> Images:
    """Read complete sets of records into memory.

    Parameters
    ----------
    folders
        The sets.
    training
        How images are prepared, and the targets.
    as_seen
        Whether images are prepared; otherwise they are left as simulated.

    Raises
    ------
    RecordError
        If a set is incomplete, a shard is damaged, which is named, or a record has a truth that no galaxy can have.
    """
    with damage_told(*folders):
        parts = [_part(columns, training, as_seen) for folder in folders for columns in _read(folder)]
    return Images(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("targets", "sky_rms", "images")))


def changed_copies(images: Images, training: Training) -> list[Images]:
    """Copies of images whose pixels are changed, and which are prepared as the network sees them: as many as the file asks for.

    Parameters
    ----------
    images
        As `load_images` leaves them with ``as_seen=False``.
    training
        How images are changed and prepared, the number of copies, and the seed.
    """
    return [replace(images, images=_changed_copy(images.images, training, copy)) for copy in range(training.augmentation.copies)]


def _changed_copy(pixels: Float32Array, training: Training, copy: int) -> Float32Array:
    seed, network = tf.constant([training.optimisation.seed, copy], tf.int32), training.network
    side = network.map_sizes[0]
    seen = np.empty((len(pixels), side, side, network.n_channels), np.float32)
    for start in range(0, len(pixels), READ_AT_ONCE):
        batch = tf.constant(pixels[start : start + READ_AT_ONCE])
        place = tf.random.experimental.stateless_fold_in(seed, start)
        seen[start : start + READ_AT_ONCE] = _as_seen(changed(batch, training.augmentation, place).numpy(), training)
    return seen


def labels_of(folders: Sequence[Path], training: Training) -> Labels:
    """Read targets and sky rms of complete sets of records, without keeping images; parameters and errors as in `load_images`."""
    with damage_told(*folders):
        parts = [_labels(columns, training) for folder in folders for columns in _read(folder)]
    return Labels(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("targets", "sky_rms")))


def epoch_of(images: Images, training: Training, epoch: int) -> Any:
    """One epoch's batches of images in memory: a ``tf.data.Dataset`` of (images, targets).

    Parameters
    ----------
    images
        As `load_images` read them; prepared unless their pixels are to be changed anew in each epoch.
    training
        Batch size, seed and augmentation.
    epoch
        Number of the epoch, from 0.
    """
    size, seed = training.optimisation.batch_size, training.optimisation.seed
    order = np.random.default_rng([seed, epoch]).permutation(len(images))

    def choose(rows: Any) -> tuple[Float32Array, Float32Array]:
        return images.images[rows], images.targets[rows]

    batches = tf.data.Dataset.from_tensor_slices(order).batch(size, drop_remainder=True)
    chosen = batches.map(lambda rows: tuple(tf.numpy_function(choose, [rows], (tf.float32, tf.float32))))
    return _changed(chosen, training, epoch)


def streamed_epoch(folders: Sequence[Path], training: Training, epoch: int) -> Any:
    """One epoch's batches, read from disk: a ``tf.data.Dataset`` of (images, targets).

    Iterate over it within `surveyflow.training.records.shards.damage_told`.
    """
    optimisation = training.optimisation
    seed = int(np.random.default_rng([optimisation.seed, epoch]).integers(2**31))
    sizes = [read_index(folder).n for folder in folders]
    records = tf.data.Dataset.sample_from_datasets(
        [record_dataset(folder) for folder in folders],
        weights=[float(n) for n in sizes],
        seed=seed,
        stop_on_empty_dataset=False,
    )
    shuffled = records.shuffle(training.data.shuffle_buffer, seed=seed, reshuffle_each_iteration=False)
    batches = shuffled.batch(optimisation.batch_size, drop_remainder=True)
    as_seen = not training.augmentation.changes_pixels
    chosen = batches.map(lambda columns: _in_numpy(columns, training, as_seen), num_parallel_calls=tf.data.AUTOTUNE)
    n_batches = sum(sizes) // optimisation.batch_size
    return _changed(chosen, training, epoch).apply(tf.data.experimental.assert_cardinality(n_batches))


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    for columns in record_dataset(folder).batch(READ_AT_ONCE).prefetch(2):
        found = {name: values.numpy() for name, values in columns.items()}
        check_truth(folder, found)
        yield found


def _part(columns: dict[str, Any], training: Training, as_seen: bool) -> Images:
    labels, pixels = _labels(columns, training), columns["image"]
    return Images(labels.targets, labels.sky_rms, _as_seen(pixels, training) if as_seen else pixels)


def _labels(columns: dict[str, Any], training: Training) -> Labels:
    pixels = columns["image"]
    rms = sky_rms(pixels, _valid(pixels))
    return Labels(training.model.known_task.targets_of(columns, rms, training.contamination.truth), rms)


def _as_seen(pixels: Float32Array, training: Training) -> Float32Array:
    prepared = prepare(pixels, _valid(pixels), training.images.stretch, training.images.softening)
    return np.ascontiguousarray(framed(prepared, training.network))


def _valid(pixels: Float32Array) -> BoolArray:
    has_data: BoolArray = np.isfinite(pixels) & (pixels != 0)
    return has_data


def _in_numpy(columns: dict[str, Any], training: Training, as_seen: bool) -> tuple[Any, Any]:
    """A batch of records as (images, targets) within a ``tf.data`` pipeline."""
    names = [name for name, values in columns.items() if values.dtype != tf.string]

    def convert(*values: Any) -> tuple[Float32Array, Float32Array]:
        part = _part(dict(zip(names, values, strict=True)), training, as_seen)
        return part.images, part.targets

    images, targets = tf.numpy_function(convert, [columns[name] for name in names], (tf.float32, tf.float32))
    return images, targets


def _changed(batches: Any, training: Training, epoch: int) -> Any:
    """Batches whose pixels are changed, if wanted, before they are prepared; each has its own random numbers."""
    settings, n = training.augmentation, training.optimisation.batch_size
    size, side, channels = training.architecture.input_size, training.network.map_sizes[0], training.network.n_channels
    n_targets = len(training.model.known_task.targets)

    def change(step: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        images, targets = batch
        seed = tf.stack([tf.constant(training.optimisation.seed, tf.int32), tf.cast(step, tf.int32)])
        seeds = tf.random.split(tf.random.experimental.stateless_fold_in(seed, epoch), 2)
        if settings.changes_pixels_anew:
            images = changed(tf.ensure_shape(images, (n, size, size)), settings, seeds[0])
            images = tf.numpy_function(lambda pixels: _as_seen(pixels, training), [images], tf.float32)
        images = tf.ensure_shape(images, (n, side, side, channels))
        if settings.orientations:
            images = oriented(images, seeds[1])
        return tf.ensure_shape(images, (n, side, side, channels)), tf.ensure_shape(targets, (n, n_targets))

    changed_batches = batches.enumerate().map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return changed_batches.prefetch(tf.data.AUTOTUNE)
