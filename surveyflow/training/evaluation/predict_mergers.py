"""The predictions of a merger model for labelled stamps, made by the same two calls that make a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from surveyflow.models.framing import feature_distances
from surveyflow.sky.stretch import prepare
from surveyflow.stats.philox import source_keys
from surveyflow.stats.posterior import summarise
from surveyflow.tasks.card import Model
from surveyflow.tasks.domains import distance_outside, facts_outside, measured_facts
from surveyflow.training.evaluation.limits import measured_quantities, outside, stated_limits
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.values.arrays import BoolArray, Float32Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING
from surveyflow.values.jobs import SamplingSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Predictions = TypeVar("Predictions", bound="DataclassInstance")

BATCH = 256
"""Number of stamps prepared and sampled together."""


@dataclass(frozen=True, slots=True)
class MergerPredictions:
    """The predictions of a merger model for stamps; names are those of the catalog's columns.

    Parameters
    ----------
    p_pm_mean, p_sf_mean
        (n,) float32: mean output over the draws.
    p_pm_std
        (n,) float32: standard deviation of the draws.
    f_pm
        (n,) float32: fraction of draws with p_pm > p_sf.
    mutual_information
        (n,) float32: what the draws disagree about, nats.
    out_of_domain
        (n,) bool: whether the domain of the model's card excludes the stamp, as OUT_OF_DOMAIN says in a catalog.
    partial_coverage
        (n,) bool: whether some pixels hold no data, as PARTIAL_COVERAGE says in a catalog.
    measured
        (n, 6) float32: see `surveyflow.training.evaluation.limits.measured_quantities`.
    """

    p_pm_mean: Float32Array
    p_sf_mean: Float32Array
    p_pm_std: Float32Array
    f_pm: Float32Array
    mutual_information: Float32Array
    out_of_domain: BoolArray
    partial_coverage: BoolArray
    measured: Float32Array

    @property
    def flagged(self) -> BoolArray:
        """(n,) bool: whether a catalog would flag the stamp for either reason."""
        return self.out_of_domain | self.partial_coverage

    @property
    def called_post_merger(self) -> BoolArray:
        """(n,) bool: the classification by the authors' rule, the larger of both mean outputs."""
        called: BoolArray = self.p_pm_mean > self.p_sf_mean
        return called


def predict_mergers(model: Model, stamps: LabelledStamps, sampling: SamplingSettings) -> MergerPredictions:
    """Sample a merger model on stamps.

    Parameters
    ----------
    model
        A model of the merger task.
    stamps
        Stamps of its pixel scale and size.
    sampling
        Number of draws, and seed.
    """
    return merged([_merger_batch(model, batch, sampling) for batch in batches(stamps)])


def batches(stamps: LabelledStamps) -> list[LabelledStamps]:
    """The stamps, 256 at a time; one empty batch if there are none."""
    return [stamps.take(slice(start, start + BATCH)) for start in range(0, max(len(stamps), 1), BATCH)]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Draws for stamps, and what is measured on these.

    Parameters
    ----------
    draws
        (n, T, n_outputs) float32 in [0, 1].
    excluded
        (n,) bool: whether the domain of the card excludes each stamp.
    measured
        (n, 6) float32: see `surveyflow.training.evaluation.limits.measured_quantities`.
    """

    draws: Float32Array
    excluded: BoolArray
    measured: Float32Array


def draw(model: Model, stamps: LabelledStamps, sampling: SamplingSettings) -> Drawn:
    """Prepare stamps as the model's card says, and sample them.

    Their position is the middle of the stamp, and the PSF is stated, where it is known.
    """
    card = model.card
    prepared = prepare(stamps.pixels, stamps.valid, card.stretch, card.softening)
    features, keys = model.features(prepared), source_keys(stamps.field, stamps.source_id)
    middle = np.full((len(stamps), 2), (stamps.pixels.shape[-1] - 1) / 2)
    facts = measured_facts(stamps.pixels, stamps.valid, middle, card.pixel_scale_arcsec)
    distant = distance_outside(feature_distances(model, prepared, features), len(stamps), card)
    measured = measured_quantities(facts, stamps.psf_fwhm_pix * card.pixel_scale_arcsec)
    excluded = np.any([*facts_outside(facts, card).values(), distant, outside(measured, stated_limits(card.domain))], axis=0)
    return Drawn(model.draw(features, keys, sampling.n_draws, sampling.seed), excluded, measured)


def merged(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of several batches, in order."""
    names = [item.name for item in fields(parts[0])]
    return type(parts[0])(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _merger_batch(model: Model, stamps: LabelledStamps, sampling: SamplingSettings) -> MergerPredictions:
    outputs = [model.card.class_names.index(name) for name in (POST_MERGER, STAR_FORMING)]
    drawn = draw(model, stamps, sampling)
    summary = summarise(drawn.draws[..., outputs], model.card.n_members)
    return MergerPredictions(
        p_pm_mean=summary.p_pm_mean,
        p_sf_mean=summary.p_sf_mean,
        p_pm_std=summary.p_pm_std,
        f_pm=summary.f_pm,
        mutual_information=summary.mutual_information,
        out_of_domain=drawn.excluded,
        partial_coverage=np.any(~stamps.valid, axis=(1, 2)),
        measured=drawn.measured,
    )
