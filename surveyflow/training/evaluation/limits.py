"""The limits of a card that follow from an evaluation: how far a quantity may go before accuracy is lost.

Some nuisances change a quantity that is measured on each cutout, or that the user states: the noise, its correlation, the level
of the sky, the offset of the light, the light at the border, and the width of the PSF. A card limits these to what training has
seen. Where an evaluation shows that accuracy is lost within these limits, it narrows them, and never widens any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surveyflow.tasks.card import Domain
from surveyflow.tasks.domains import Facts
from surveyflow.training.evaluation.nuisances import MOST_LOST
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

LIMITED = ("sky_rms", "noise_correlation", "sky_sigma", "offset_arcsec", "psf_fwhm_arcsec", "edge_light_fraction")
"""Keys of a card's ``[domain]`` that can follow from a nuisance."""

Limits = Mapping[str, tuple[float, float]]
"""Lowest and highest value by key."""

_KEPT = 0.99
_LEFT = 0.1
_FROM_ZERO = ("offset_arcsec", "edge_light_fraction")
"""Quantities of which a card states only the highest value."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a nuisance at one of its levels does to stamps.

    Parameters
    ----------
    quantity
        The key of `LIMITED` that it changes; None if it changes none.
    lost
        Loss of the score.
    measured
        (n, 6) float32: what was measured on the changed stamps, as `measured_quantities` gives it.
    """

    quantity: str | None
    lost: float
    measured: Float32Array


def measured_quantities(facts: Facts, psf_fwhm_arcsec: Float64Array) -> Float32Array:
    """(n, 6) float32: the quantities of `LIMITED`, in this order; NaN where one is unknown.

    Parameters
    ----------
    facts
        What was measured on the stamps.
    psf_fwhm_arcsec
        (n,) FWHM of the PSF that a user would state; NaN where it is unknown.
    """
    of_noise = (facts.noise.rms, facts.noise.correlation, facts.sky_sigma)
    found = (*of_noise, facts.offset_arcsec, psf_fwhm_arcsec, facts.edge_light_fraction)
    return np.stack(found, axis=1).astype(np.float32)


def outside(measured: Float32Array, limits: Limits) -> BoolArray:
    """(n,) bool: whether a quantity of a stamp lies outside limits; unknown ones do not."""
    beyond = np.zeros(len(measured), bool)
    for name, (low, high) in limits.items():
        values = measured[:, LIMITED.index(name)]
        beyond |= (values < np.float32(low)) | (values > np.float32(high))
    return beyond


def stated_limits(domain: Domain) -> dict[str, tuple[float, float]]:
    """What a domain states of the quantities of `LIMITED`; those of which it states only the highest value begin at 0."""
    stated: dict[str, Any] = {name: own for name in LIMITED if (own := getattr(domain, name)) is not None}
    return {name: (0.0, own) if name in _FROM_ZERO else own for name, own in stated.items()}


def following_limits(domain: Domain, before: Float32Array, effects: Sequence[Effect]) -> dict[str, tuple[float, float]]:
    """Narrow what a domain states to where accuracy is kept.

    A level of a nuisance does harm if it costs more than 2 points. The limit that follows holds 99 % of the stamps at the
    farthest level that does no harm and comes before the first that does (of the unchanged stamps if there is none), but at most
    10 % of those at the first that does harm. It always holds 99 % of the unchanged stamps, so that they are not flagged instead.

    Parameters
    ----------
    domain
        The limits that the card states; what it does not state stays unstated.
    before
        (n, 6) what was measured on the unchanged stamps.
    effects
        The effect of each nuisance at each of its levels.

    Returns
    -------
    Lowest and highest value of each quantity that the domain states and that a nuisance changes.
    """
    changed = {effect.quantity for effect in effects}
    found = {}
    for name, own in stated_limits(domain).items():
        if name in changed:
            column = LIMITED.index(name)
            of_name = [(one.lost, _known(one.measured[:, column])) for one in effects if one.quantity == name]
            found[name] = _narrowed(own, _known(before[:, column]), of_name)
    return found


def narrowed(domain: Domain, limits: Limits) -> Domain:
    """A domain whose limits also lie within others; a quantity that it does not state stays unstated."""
    changes: dict[str, Any] = {}
    for name, (low, high) in stated_limits(domain).items():
        least, most = limits.get(name, (low, high))
        changes[name] = min(high, most) if name in _FROM_ZERO else (max(low, least), min(high, most))
    return replace(domain, **changes)


def _known(values: Float32Array) -> Float64Array:
    return values[np.isfinite(values)].astype(np.float64)


def _narrowed(
    own: tuple[float, float], before: Float64Array, effects: Sequence[tuple[float, Float64Array]]
) -> tuple[float, float]:
    if not len(before):
        return own
    high = _highest(before, effects)
    low = -_highest(-before, [(lost, -values) for lost, values in effects])
    found = (max(own[0], float(f"{low:.4g}")), min(own[1], float(f"{high:.4g}")))
    return found if found[0] < found[1] else own


def _highest(before: Float64Array, effects: Sequence[tuple[float, Float64Array]]) -> float:
    """The highest value at which accuracy is kept; infinite if no effect that raises the values does harm."""
    usual = np.median(before)
    raising = sorted(
        ((np.median(values), lost, values) for lost, values in effects if len(values) and np.median(values) > usual),
        key=lambda one: one[0],
    )
    harmful = next((number for number, (_, lost, _) in enumerate(raising) if lost > MOST_LOST), None)
    if harmful is None:
        return np.inf
    harmless = raising[harmful - 1][2] if harmful else before
    limit = min(np.quantile(harmless, _KEPT), np.quantile(raising[harmful][2], _LEFT))
    return float(max(limit, np.quantile(before, _KEPT)))
