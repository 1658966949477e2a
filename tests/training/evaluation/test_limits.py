"""Limits of a card's domain that follow from nuisances: what does harm lies outside, and nothing is ever widened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from surveyflow.tasks.card import Domain
from surveyflow.training.evaluation.limits import LIMITED, Effect, following_limits, narrowed, outside, stated_limits
from surveyflow.training.evaluation.nuisances import NUISANCES

DOMAIN = Domain(
    sky_rms=(0.5, 3.0),
    noise_correlation=(0.1, 0.8),
    sky_sigma=(-1.0, 5.5),
    offset_arcsec=0.39,
    psf_fwhm_arcsec=(0.16, 0.27),
    edge_light_fraction=0.6,
)


def measured(seed=1, n=1000, **medians):
    """What is measured on stamps: normal numbers with a scatter of 0.03, and the PSF, which is stated."""
    usual = {"sky_rms": 1.0, "noise_correlation": 0.5, "sky_sigma": 0.2, "offset_arcsec": 0.2, "psf_fwhm_arcsec": 0.18}
    usual |= {"edge_light_fraction": 0.1}
    scatter = 0.03 * np.random.default_rng(seed).normal(size=(n, len(LIMITED))) * [1, 1, 1, 1, 0, 1]
    return (np.array([{**usual, **medians}[name] for name in LIMITED]) + scatter).astype(np.float32)


def effect(quantity, value, lost, seed=2):
    return Effect(quantity, lost, measured(seed, **{quantity: value}))


def share_outside(one, limits):
    return outside(one.measured, limits).mean()


def test_what_costs_too_much_is_outside_and_what_does_not_is_inside():
    slight, harmful, more = (effect("sky_rms", factor, lost) for factor, lost in ((1.25, 0.012), (1.5, 0.03), (2.5, 0.08)))
    limits = following_limits(DOMAIN, measured(), [harmful, slight, more])
    assert list(limits) == ["sky_rms"]
    assert limits["sky_rms"][0] == 0.5
    assert limits["sky_rms"][1] == pytest.approx(1.25 + 2.33 * 0.03, abs=0.02)
    assert share_outside(slight, limits) < 0.02
    assert share_outside(harmful, limits) > 0.98
    assert share_outside(more, limits) == 1


def test_where_harmless_and_harmful_levels_overlap_the_harmful_ones_are_flagged():
    slight, harmful = effect("noise_correlation", 0.60, 0.01), effect("noise_correlation", 0.63, 0.03, seed=3)
    limits = following_limits(DOMAIN, measured(), [slight, harmful])
    assert share_outside(harmful, limits) == pytest.approx(0.9, abs=0.01)


def test_unchanged_stamps_are_not_flagged_to_flag_what_cannot_be_told_from_them():
    hidden = effect("offset_arcsec", 0.22, 0.05)
    limits = following_limits(DOMAIN, measured(), [hidden])
    assert outside(measured(), limits).mean() == pytest.approx(0.01, abs=0.005)


def test_both_ends_follow_from_levels_on_their_side():
    rough, smooth = effect("noise_correlation", 0.2, 0.04), effect("noise_correlation", 0.7, 0.04)
    low, high = following_limits(DOMAIN, measured(), [rough, smooth])["noise_correlation"]
    assert 0.4 < low < 0.5 < high < 0.6
    assert following_limits(DOMAIN, measured(), [rough])["noise_correlation"][1] == 0.8


def test_light_at_the_border_is_limited_to_what_costs_little():
    one, three = effect("edge_light_fraction", 0.14, 0.011), effect("edge_light_fraction", 0.3, 0.028, seed=3)
    limits = following_limits(DOMAIN, measured(), [one, three])
    assert limits["edge_light_fraction"] == (0.0, pytest.approx(0.14 + 2.33 * 0.03, abs=0.02))
    assert share_outside(three, limits) > 0.95
    assert narrowed(DOMAIN, limits).edge_light_fraction == limits["edge_light_fraction"][1]
    assert narrowed(replace(DOMAIN, edge_light_fraction=None), limits).edge_light_fraction is None


def test_a_stated_psf_is_limited_to_the_widest_that_passed():
    passed, failed = effect("psf_fwhm_arcsec", 0.193, 0.011), effect("psf_fwhm_arcsec", 0.229, 0.024)
    assert following_limits(DOMAIN, measured(), [passed, failed]) == {"psf_fwhm_arcsec": (0.16, 0.193)}


@pytest.mark.parametrize("lost", [0.0, 0.02])
def test_nothing_follows_from_what_does_no_harm(lost):
    effects = [effect("sky_sigma", 20.0, lost), effect("sky_rms", 1.5, lost)]
    assert following_limits(DOMAIN, measured(), effects) == {"sky_rms": (0.5, 3.0), "sky_sigma": (-1.0, 5.5)}


def test_limits_are_never_widened_or_stated_where_the_card_states_none():
    far = [effect("sky_rms", 50.0, 0.0), effect("sky_rms", 100.0, 0.5)]
    assert following_limits(DOMAIN, measured(), far)["sky_rms"] == DOMAIN.sky_rms
    assert following_limits(replace(DOMAIN, sky_rms=None), measured(), far) == {}
    assert narrowed(DOMAIN, {"sky_rms": (0.1, 9.0), "offset_arcsec": (0.0, 1.0)}) == DOMAIN


def test_a_card_is_narrowed_to_what_follows():
    found = narrowed(DOMAIN, {"noise_correlation": (0.0, 0.6), "offset_arcsec": (0.0, 0.2)})
    assert found == replace(DOMAIN, noise_correlation=(0.1, 0.6), offset_arcsec=0.2)
    assert narrowed(replace(DOMAIN, offset_arcsec=None), {"offset_arcsec": (0.0, 0.2)}).offset_arcsec is None


def test_unknown_quantities_neither_lie_outside_nor_move_a_limit():
    unknown = np.full((3, len(LIMITED)), np.nan, np.float32)
    assert not outside(unknown, stated_limits(DOMAIN)).any()
    assert following_limits(DOMAIN, unknown, [Effect("sky_rms", 0.5, unknown)]) == {"sky_rms": DOMAIN.sky_rms}
    assert following_limits(DOMAIN, measured(), [Effect("sky_rms", 0.5, unknown)]) == {"sky_rms": DOMAIN.sky_rms}


def test_nuisances_name_what_a_card_can_limit():
    assert {one.quantity for one in NUISANCES} - {None} == set(LIMITED)
