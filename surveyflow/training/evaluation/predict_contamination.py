"""What a contamination model says of labelled stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surveyflow.measuring.domain import noise_outside
from surveyflow.measuring.source_keys import source_keys
from surveyflow.sky.noise import sky_rms
from surveyflow.stats.predictive import predictive_noise
from surveyflow.tasks.card import Model
from surveyflow.tasks.contamination.draws import physical_draws
from surveyflow.tasks.contamination.parts import AMOUNTS, OUTPUTS
from surveyflow.tasks.scale import ContaminationScale
from surveyflow.training.evaluation.predict_mergers import batches, draw, merged
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.sampling import SamplingSettings

_CENTRAL_68 = (0.16, 0.84)


@dataclass(frozen=True, slots=True)
class ContaminationPredictions:
    """What a contamination model says of stamps; names are those of the catalog's columns where there is one.

    Parameters
    ----------
    p_contaminated_mean, p_neighbours_mean
        (n,) float64: mean probability that a neighbour's mask overlaps the galaxy's, and that any neighbour is detected.
    coverage_pct_mean, coverage_pct_std, coverage_pct_q16, coverage_pct_q50, coverage_pct_q84
        (n,) float64, percent: of the predictive distribution, in which 0 has its own probability.
    flux_pp_mean, flux_pp_std, flux_pp_q16, flux_pp_q50, flux_pp_q84
        (n,) float64, e-/s/pixel; likewise.
    coverage_given, flux_given
        (n,) float64: the most likely transformed value, log1p(coverage_pct) and arcsinh(flux_pp / sky rms), given that there
        is something.
    coverage_given_q16, coverage_given_q84, flux_given_q16, flux_given_q84
        (n,) float64: percent and e-/s/pixel, given that there is something.
    sky_rms
        (n,) float32, e-/s: as measured in each stamp.
    out_of_domain
        (n,) bool: whether the noise lies outside the range of the model's card.
    """

    p_contaminated_mean: Float64Array
    p_neighbours_mean: Float64Array
    coverage_pct_mean: Float64Array
    coverage_pct_std: Float64Array
    coverage_pct_q16: Float64Array
    coverage_pct_q50: Float64Array
    coverage_pct_q84: Float64Array
    flux_pp_mean: Float64Array
    flux_pp_std: Float64Array
    flux_pp_q16: Float64Array
    flux_pp_q50: Float64Array
    flux_pp_q84: Float64Array
    coverage_given: Float64Array
    coverage_given_q16: Float64Array
    coverage_given_q84: Float64Array
    flux_given: Float64Array
    flux_given_q16: Float64Array
    flux_given_q84: Float64Array
    sky_rms: Float32Array
    out_of_domain: BoolArray


def predict_contamination(model: Model, stamps: LabelledStamps, sampling: SamplingSettings) -> ContaminationPredictions:
    """Sample a contamination model on stamps.

    Parameters
    ----------
    model
        A model of the contamination task.
    stamps
        Stamps of its pixel scale and size.
    sampling
        Draws and seed.
    """
    return merged([_batch(model, batch, sampling) for batch in batches(stamps)])


def contamination_scale(model: Model) -> ContaminationScale:
    """The scale of a contamination model's card.

    Raises
    ------
    ValueError
        If the card has none.
    """
    if model.card.contamination is None:
        raise ValueError(f"{model.card.key} has no [contamination] in its card: it is no contamination model")
    return model.card.contamination


def _batch(model: Model, stamps: LabelledStamps, sampling: SamplingSettings) -> ContaminationPredictions:
    scale, rms = contamination_scale(model), sky_rms(stamps.pixels, stamps.valid)
    outputs = draw(model, stamps, sampling)[..., [model.card.class_names.index(name) for name in OUTPUTS]]
    keys = source_keys(stamps.field, stamps.source_id)
    normal, uniform = predictive_noise(keys, sampling.n_draws, sampling.seed, model.card.model_word, len(AMOUNTS))
    drawn = physical_draws(outputs, rms, scale, normal, uniform)
    given = physical_draws(outputs, rms, scale, normal, np.zeros_like(uniform))
    mean = dict(zip(OUTPUTS, outputs.mean(axis=1, dtype=np.float64).T, strict=True))
    return ContaminationPredictions(
        p_contaminated_mean=mean["contaminated"],
        p_neighbours_mean=mean["neighbours"],
        coverage_given=mean["coverage"] * np.log(101),
        flux_given=mean["flux_pp"] * scale.flux_range,
        sky_rms=rms,
        out_of_domain=noise_outside(stamps.pixels, stamps.valid, model.card),
        **_distribution("coverage_pct", drawn["coverage_pct"]),
        **_distribution("flux_pp", drawn["flux_pp"]),
        **_interval("coverage_given", given["coverage_pct"]),
        **_interval("flux_given", given["flux_pp"]),
    )


def _distribution(name: str, draws: Float64Array) -> dict[str, Float64Array]:
    quantiles = np.quantile(draws, (0.16, 0.5, 0.84), axis=1)
    moments = {"mean": draws.mean(axis=1), "std": draws.std(axis=1)}
    return {f"{name}_{key}": value for key, value in (moments | dict(zip(("q16", "q50", "q84"), quantiles, strict=True))).items()}


def _interval(name: str, draws: Float64Array) -> dict[str, Float64Array]:
    low, high = np.quantile(draws, _CENTRAL_68, axis=1)
    return {f"{name}_q16": low, f"{name}_q84": high}
