"""How good is a network so far? Scores of Monte Carlo draws on the validation images, as a catalog would have them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import brentq

from surveyflow.models.engines.head import Head
from surveyflow.stats.contamination import CONTAMINATION_OUTPUTS
from surveyflow.stats.metrics import accuracy, confusion_matrix, precision, recall, upsilon
from surveyflow.stats.ranking import area_under_roc
from surveyflow.stats.regression import regression_scores
from surveyflow.tasks.card import CONTAMINATION_TASK
from surveyflow.values.arrays import Float32Array, Float64Array

N_DRAWS = 20
SCORES = {"merger": "upsilon", "contamination": "r2"}
"""What the best epoch has most of."""

_POST_MERGER = 0
_CENTRAL = 0.6826894921
_WIDEST = 10.0
_FEWEST = 20


def sample(head: Head, features: Float32Array, n_draws: int = N_DRAWS, seed: int = 0) -> Float32Array:
    """Draw from a network's head: (n, width) features -> (n, n_draws, n_outputs)."""
    return head.draw(features, np.arange(len(features), dtype=np.uint64), n_draws, seed)


def scores(task: str, draws: Float32Array, targets: Float32Array, flux_range: float) -> dict[str, float]:
    """Judge draws by their means.

    Parameters
    ----------
    task
        ``merger`` or ``contamination``.
    draws
        (n, n_draws, n_outputs).
    targets
        (n, n_targets); see `surveyflow.training.fitting.targets`.
    flux_range
        What an output of 1 for the flux stands for.

    Returns
    -------
    Of mergers ``accuracy``, ``upsilon``, ``loss``, the cross-entropy of the mean outputs, and ``precision`` and ``recall`` of
    post-mergers, 0 where none is called one, or none is one; of contamination ``auc`` (any neighbour on the galaxy),
    ``r2_coverage`` and ``r2_flux_pp``, among stamps that have some, and ``r2``, the mean of both.
    """
    mean = draws.mean(axis=1, dtype=np.float64)
    return _contamination_scores(mean, targets, flux_range) if task == CONTAMINATION_TASK else _merger_scores(mean, targets)


def interval_scales(draws: Float32Array, targets: Float32Array, scatter_limit: float, flux_range: float) -> tuple[float, float]:
    """By what coverage's and flux's sigma must be multiplied for 68 % intervals to hold 68 % of held-out truths.

    The variance of a prediction is that of the location over the draws, plus the mean square of the scaled sigma.

    Parameters
    ----------
    draws
        (n, n_draws, 6), in the order of `surveyflow.stats.contamination.CONTAMINATION_OUTPUTS`.
    targets
        (n, 4).
    scatter_limit, flux_range
        As in `surveyflow.stats.contamination.ContaminationScale`.
    """
    coverage, flux = targets[:, 1].astype(np.float64), targets[:, 3] / np.float64(flux_range)
    return _scale(draws, "coverage", coverage, scatter_limit), _scale(draws, "flux_pp", flux, scatter_limit)


def _merger_scores(mean: Float64Array, targets: Float32Array) -> dict[str, float]:
    confusion = confusion_matrix(targets.argmax(axis=1), mean.argmax(axis=1), 2)
    likely = np.clip(mean, 1e-7, 1 - 1e-7)
    loss = -(targets * np.log(likely) + (1 - targets) * np.log1p(-likely)).mean()
    told = {"accuracy": accuracy(confusion), "upsilon": upsilon(confusion), "loss": loss}
    of_post_mergers = {"precision": precision(confusion)[_POST_MERGER], "recall": recall(confusion)[_POST_MERGER]}
    told |= {name: np.nan_to_num(value) for name, value in of_post_mergers.items()}
    return {name: float(value) for name, value in told.items()}


def _contamination_scores(mean: Float64Array, targets: Float32Array, flux_range: float) -> dict[str, float]:
    output: Mapping[str, Float64Array] = dict(zip(CONTAMINATION_OUTPUTS, mean.T, strict=True))
    known = ~np.isnan(targets[:, 0])
    covered, bright = ~np.isnan(targets[:, 1]), ~np.isnan(targets[:, 3])
    told = {
        "auc": area_under_roc(output["contaminated"][known], targets[known, 0] > 0),
        "r2_coverage": regression_scores(targets[covered, 1], output["coverage"][covered]).r2,
        "r2_flux_pp": regression_scores(targets[bright, 3], flux_range * output["flux_pp"][bright]).r2,
    }
    return told | {"r2": (told["r2_coverage"] + told["r2_flux_pp"]) / 2}


def _scale(draws: Float32Array, name: str, truth: Float64Array, scatter_limit: float) -> float:
    known = ~np.isnan(truth)
    if known.sum() < _FEWEST:
        return 1.0
    place = CONTAMINATION_OUTPUTS.index(name)
    location = draws[known, :, place].astype(np.float64)
    variance = np.square(draws[known, :, place + 1].astype(np.float64) * scatter_limit).mean(axis=1)
    deviation = np.square(truth[known] - location.mean(axis=1))

    def excess(scale: float) -> float:
        return float(np.mean(deviation <= location.var(axis=1) + scale**2 * variance)) - _CENTRAL

    if excess(1 / _WIDEST) >= 0 or excess(_WIDEST) <= 0:
        return 1 / _WIDEST if excess(1 / _WIDEST) >= 0 else _WIDEST
    return round(float(brentq(excess, 1 / _WIDEST, _WIDEST, xtol=1e-4)), 4)
