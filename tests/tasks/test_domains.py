"""The feature domain: percentiles of held-out images, whatever their number, and arrays that cannot be one are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from networks import card
from surveyflow.sky.measurements import Noise, Sky
from surveyflow.tasks.card import Domain
from surveyflow.tasks.domains import Facts, FeatureDomain, facts_outside, psf_outside
from surveyflow.values.codes import Flag


def drawn(n, seed, scale=1.0):
    """Statistics and features of images: correlated normal numbers."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(14, 14))
    numbers = scale * rng.normal(size=(n, 14)) @ mixing
    return numbers[:, :6], numbers[:, 6:].astype(np.float32)


def facts(**of_noise):
    """One cutout of which all is inside the limits below."""
    found = {name: np.array([value], np.float32) for name, value in {"rms": 1.0, "correlation": 0.4, **of_noise}.items()}
    return Facts(Sky(np.zeros(1, np.float32), np.ones(1, np.float32)), Noise(**found), *np.zeros((3, 1), np.float32))


LIMITED = card(domain=Domain(sky_rms=(0.5, 2.0), noise_correlation=(0.2, 0.6), psf_fwhm_arcsec=(0.1, 0.15)))


@pytest.mark.parametrize(
    ("of_noise", "flagged"),
    [
        ({}, False),
        ({"correlation": 0.05}, True),
        ({"correlation": 0.7}, True),
        ({"correlation": np.nan}, True),
        ({"rms": 3.0}, True),
    ],
)
def test_rougher_and_smoother_noise_is_as_much_outside_as_stronger_one(of_noise, flagged):
    assert facts_outside(facts(**of_noise), LIMITED)[Flag.NOISE_DOMAIN].tolist() == [flagged]
    assert facts_outside(facts(**of_noise), card(domain=Domain()))[Flag.NOISE_DOMAIN].tolist() == [False]


@pytest.mark.parametrize(("stated", "outside"), [(None, False), (0.1, False), (0.12, False), (0.16, True), (0.09, True)])
def test_a_psf_is_outside_only_if_it_is_stated(stated, outside):
    assert psf_outside(stated, LIMITED) is outside
    assert not psf_outside(stated, card(domain=Domain()))


@pytest.mark.parametrize(
    ("fraction", "highest", "flagged"),
    [(0.0, 0.2, False), (0.2, 0.2, False), (0.21, 0.2, True), (1.0, 0.2, True), (np.nan, 0.2, True), (np.nan, None, False)],
)
def test_light_at_the_border_is_outside_above_a_stated_limit_and_where_it_is_unknown(fraction, highest, flagged):
    found = replace(facts(), edge_light_fraction=np.array([fraction], np.float32))
    limited = card(domain=Domain(edge_light_fraction=highest))
    assert facts_outside(found, limited)[Flag.EDGE_DOMAIN].tolist() == [flagged]


DOMAIN = FeatureDomain.fitted(drawn(4000, 1), drawn(2000, 2))


def test_percentiles_of_images_of_the_same_kind_are_uniform():
    found = DOMAIN.percentiles(*drawn(4000, 3))
    assert found.dtype == np.float32
    assert (found > 99).mean() == pytest.approx(0.01, abs=0.006)
    np.testing.assert_allclose(np.quantile(found, [0.1, 0.5, 0.9]), [10, 50, 90], atol=4)


def test_other_images_lie_beyond():
    assert (DOMAIN.percentiles(*drawn(100, 4, scale=4.0)) > 99).mean() > 0.9
    statistics, features = drawn(100, 5)
    assert (DOMAIN.percentiles(statistics + 100, features) == 100).all()
    assert (DOMAIN.percentiles(statistics, features + np.float32(100)) == 100).all()


def test_an_image_without_features_has_no_percentile_and_spoils_no_other():
    statistics, features = drawn(3, 6)
    expected = DOMAIN.percentiles(statistics, features)
    features[1] = np.nan
    found = DOMAIN.percentiles(statistics, features)
    assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_a_constant_number_and_few_images_are_no_obstacle():
    statistics, features = drawn(5, 7)
    statistics[:, 2], features[:, 1] = np.log(0.01), 0
    domain = FeatureDomain.fitted((statistics, features), drawn(1, 8))
    assert np.isfinite(domain.percentiles(*drawn(4, 9))).all()
    assert np.abs(domain.whitening[2]).max() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centre": DOMAIN.centre * np.nan}, "centre holds 10 values that are not finite"),
        ({"whitening": DOMAIN.whitening.astype(np.float64)}, "whitening holds float64, expected float32"),
        ({"whitening": DOMAIN.whitening[1:]}, "do not match"),
        ({"axes": np.zeros((8, 10), np.float32)}, "do not match"),
        ({"axes": DOMAIN.axes[0]}, "not of 2, 1, 2 and 1 dimensions"),
        ({"distances": DOMAIN.distances[::-1]}, "in ascending order"),
        ({"distances": DOMAIN.distances[:1]}, "two or more numbers"),
    ],
)
def test_arrays_that_are_no_domain_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(DOMAIN, **changes)
