"""The domain of a model that was trained: the limits within which a catalog's cutouts are like its training images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from surveyflow.models.engines.keras_engine import KerasModel
from surveyflow.models.framing import statistics_of
from surveyflow.models.weights import Weights
from surveyflow.settings.training import AugmentationTable, Training
from surveyflow.simulation.headers import INSTRUMENTS
from surveyflow.sky.measurements import Noise, Sky
from surveyflow.sky.stretch import Softening, prepare
from surveyflow.tasks.card import Domain, ModelCard
from surveyflow.tasks.domains import FEATURE_PERCENTILE, Facts, FeatureDomain, measured_facts
from surveyflow.training.fitting.augmentation import changed
from surveyflow.training.records.record_index import RecordIndex, read_index
from surveyflow.training.records.shards import damage_told, record_dataset
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

MOST_STAMPS = 8000
"""Number of training stamps, and of validation stamps, that a domain is measured on."""

_READ_AT_ONCE = 256
_QUANTILES = (0.001, 0.99)
_QUANTILES_OF_SNR = (0.01, 0.99)
_HIGH_QUANTILE = 0.99
_LARGEST_LIMIT_ARCSEC = 0.39
"""A limit of the offset lies below the largest that is measured, so that sources beyond it are flagged."""
_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is measured on some stamps.

    Parameters
    ----------
    facts
        Their sky, and how far their light lies from the middle.
    statistics
        (n, s) float64: statistics of what the network sees.
    features
        (n, width) float32: the network's features.
    """

    facts: Facts
    statistics: Float64Array
    features: Float32Array


def measured_domain(training: Training, card: ModelCard, weights: Weights) -> tuple[Domain, FeatureDomain | None]:
    """Measure the domain of a trained model on stamps of its training set.

    The limits of noise, sky and offset hold all but the outer percent of up to 8,000 training stamps, changed as in training
    and evenly spaced in the records. A stretch that measures each image's own noise undoes the gain of the augmentation, which
    is then left out: the range of the noise is that of depths. The range of the PSF is what the simulations were asked for. The
    limits of the light over its noise and of the light at the border follow from as many validation stamps, see
    `with_limits_of_held_out`. The feature domain, which only a task that leads has, is fitted to the training stamps and
    calibrated on as many validation stamps, both as they are: strips without data and hot pixels would widen it until it held
    empty sky. The exact position of a record's galaxy is not known; the middle of the stamp takes its place, up to half a pixel
    off. Where one percent of the stamps have the largest offset that is measured, the limit lies just below it.

    Parameters
    ----------
    training
        The training file.
    card, weights
        Card and weights of the trained model.

    Returns
    -------
    The card's domain with all limits, and the feature domain; None for tasks that do not lead.

    Raises
    ------
    RecordError
        If records are incomplete or damaged.
    """
    model = KerasModel(card, weights)
    seen = _measured(training.data.train, training, model, as_trained=True)
    held_out = _measured(training.data.validation, training, model)
    limits = replace(
        card.domain,
        sky_rms=_range(seen.facts.noise.rms),
        noise_correlation=_range(seen.facts.noise.correlation),
        sky_sigma=_range(seen.facts.sky_sigma),
        psf_fwhm_arcsec=_psf_range([read_index(folder) for folder in training.data.train]),
        offset_arcsec=_offset_limit(seen.facts.offset_arcsec),
    )
    limits = _with_limits(limits, held_out.facts)
    if not training.model.known_task.leads:
        return limits, None
    plain = _measured(training.data.train, training, model) if training.augmentation.changes_pixels else seen
    features = FeatureDomain.fitted((plain.statistics, plain.features), (held_out.statistics, held_out.features))
    return replace(limits, feature_percentile=FEATURE_PERCENTILE, features_digest=_NO_DIGEST), features


def with_limits_of_held_out(domain: Domain, training: Training, pixel_scale_arcsec: float) -> Domain:
    """State the limits that follow from validation stamps as they are, whose depth and neighbours are the field's.

    Those of the light over its noise hold all but the outer two percent of up to 8,000 stamps, that of the light at the border
    all but the highest percent.

    Parameters
    ----------
    domain
        What a card states; all but ``window_snr`` and ``edge_light_fraction`` stays.
    training
        The training file, which names the validation records.
    pixel_scale_arcsec
        Pixel scale of the stamps.

    Raises
    ------
    RecordError
        If records are incomplete or damaged.
    """
    folders = training.data.validation
    with damage_told(*folders):
        stamps = _stamps(folders, training, as_trained=False)
        return _with_limits(domain, _joined([_facts(pixels, pixel_scale_arcsec) for pixels in stamps]))


def _with_limits(domain: Domain, held_out: Facts) -> Domain:
    return replace(
        domain,
        window_snr=_range(held_out.window_snr, _QUANTILES_OF_SNR),
        edge_light_fraction=_share_limit(held_out.edge_light_fraction),
    )


def _range(measured: Float32Array, quantiles: tuple[float, float] = _QUANTILES) -> tuple[float, float] | None:
    """Range of nearly all numbers; None if they are unknown or equal."""
    known = measured[np.isfinite(measured)]
    low, high = (float(f"{limit:.3g}") for limit in np.quantile(known, quantiles)) if len(known) else (0.0, 0.0)
    return (low, high) if low < high else None


def _psf_range(sets: Sequence[RecordIndex]) -> tuple[float, float] | None:
    """The FWHM of the PSFs that the sets were simulated with, arcsec; None if one of them does not say."""
    factors = [index.settings.get("nuisances", {}).get("psf_fwhm") for index in sets]
    fwhms = [INSTRUMENTS[index.instrument].psf_fwhm_arcsec for index in sets if index.instrument in INSTRUMENTS]
    if None in factors or len(fwhms) < len(factors):
        return None
    limits = [fwhm * factor for fwhm, both in zip(fwhms, factors, strict=True) for factor in both]
    return float(f"{min(limits):.3g}"), float(f"{max(limits):.3g}")


def _offset_limit(offset_arcsec: Float32Array) -> float | None:
    """The offset that few stamps exceed, below the largest that is measured; None if it is unknown or 0."""
    return min(_highest(offset_arcsec), _LARGEST_LIMIT_ARCSEC) or None


def _share_limit(shares: Float32Array) -> float | None:
    """The share that few stamps exceed; None if it is unknown, 0 or 1."""
    limit = _highest(shares)
    return limit if 0 < limit < 1 else None


def _highest(measured: Float32Array) -> float:
    """The number that one percent of the known ones exceed, to three digits; 0 if none is known."""
    known = measured[np.isfinite(measured)]
    return float(f"{np.quantile(known, _HIGH_QUANTILE):.3g}") if len(known) else 0.0


def _measured(folders: Sequence[Path], training: Training, model: KerasModel, *, as_trained: bool = False) -> _Measured:
    with damage_told(*folders):
        parts = [_of_batch(pixels, model) for pixels in _stamps(folders, training, as_trained=as_trained)]
    return _Measured(
        _joined([part.facts for part in parts]),
        np.concatenate([part.statistics for part in parts]),
        np.concatenate([part.features for part in parts]),
    )


def _joined(parts: Sequence[Facts]) -> Facts:
    """The facts of several batches, in order."""
    each = ("offset_arcsec", "window_snr", "edge_light_fraction")
    return Facts(
        Sky(*(np.concatenate([getattr(part.sky, name) for part in parts]) for name in ("level", "rms"))),
        Noise(*(np.concatenate([getattr(part.noise, name) for part in parts]) for name in ("rms", "correlation"))),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in each),
    )


def _stamps(folders: Sequence[Path], training: Training, *, as_trained: bool) -> Iterator[Float32Array]:
    """Batches of up to `MOST_STAMPS` stamps of the sets, evenly spaced, each (n, size, size) float32."""
    every = -(-sum(read_index(folder).n for folder in folders) // MOST_STAMPS)
    seed, augmentation = training.optimisation.seed, _augmentation(training)
    for number, folder in enumerate(folders):
        batches = record_dataset(folder).shard(every, 0).batch(_READ_AT_ONCE)
        for step, columns in enumerate(batches):
            images = tf.cast(columns["image"], tf.float32)
            if as_trained and augmentation.changes_pixels:
                place = tf.random.experimental.stateless_fold_in(tf.constant([seed, number], tf.int32), step)
                images = changed(images, augmentation, place)
            yield images.numpy()


def _augmentation(training: Training) -> AugmentationTable:
    """The changes of the training, without a gain that the stretch undoes."""
    undone = training.images.stretch.softening is Softening.IN_NOISE
    return training.augmentation.model_copy(update={"gain": (1.0, 1.0)} if undone else {})


def _of_batch(pixels: Float32Array, model: KerasModel) -> _Measured:
    prepared = prepare(pixels, _has_data(pixels), model.card.stretch, model.card.softening)
    return _Measured(
        _facts(pixels, model.card.pixel_scale_arcsec),
        statistics_of(prepared, model.card.architecture),
        model.features(prepared),
    )


def _facts(pixels: Float32Array, pixel_scale_arcsec: float) -> Facts:
    middle = np.full((len(pixels), 2), (pixels.shape[-1] - 1) / 2)
    return measured_facts(pixels, _has_data(pixels), middle, pixel_scale_arcsec)


def _has_data(pixels: Float32Array) -> BoolArray:
    has_data: BoolArray = np.isfinite(pixels) & (pixels != 0)
    return has_data
