"""The draws of a jury are those of its members in turn, and both ways to summarise them agree."""

import numpy as np
import pytest

from networks import random_weights
from stubs import StubModel
from surveyflow.models.engines.choice import Jury, jury_of, load_model
from surveyflow.models.engines.fft_engine import FftModel
from surveyflow.models.engines.native_library import absence, usable_instruction_sets
from surveyflow.models.framing import feature_distances
from surveyflow.models.store import ModelStore, read_card
from surveyflow.stats.posterior import shares_of, summarise
from surveyflow.tasks.card import Architecture, ModelKey
from surveyflow.tasks.domains import JuryDomain
from worlds import write_untrained_juries

NETWORK = Architecture(input_size=40, filters=(5,), kernel_sizes=(5,), dense=(20, 12), n_outputs=2)
NAMES = ("a", "b", "c")
KEY = ModelKey("merger", "EGS", "F814W")
KEYS = np.arange(3, dtype=np.uint64) * 7919
native = pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    store = tmp_path_factory.mktemp("jury") / "models"
    write_untrained_juries(store, ["EGS"], NETWORK, NAMES)
    return ModelStore(store).home(KEY)


def images(n=3):
    return np.random.default_rng(4).normal(size=(n, 40, 40)).astype(np.float32)


def test_draws_are_split_as_evenly_as_possible():
    assert shares_of(10, 3).tolist() == [4, 3, 3]
    assert shares_of(1, 1).tolist() == [1]
    for n_draws, n_members in ((2, 3), (0, 1), (5, 0)):
        with pytest.raises(ValueError, match="cannot be shared"):
            shares_of(n_draws, n_members)


@native
def test_draw_i_is_that_of_member_i_modulo_their_number(folder):
    jury, members = load_model(folder, "fft"), [load_model(folder / name, "fft") for name in NAMES]
    features = jury.features(images())
    np.testing.assert_array_equal(features, np.concatenate([member.features(images()) for member in members], axis=1))
    drawn = jury.draw(features, KEYS, 100, 7)
    for number, member in enumerate(members):
        own = member.draw(member.features(images()), KEYS, 34, 7)
        np.testing.assert_array_equal(drawn[:, number::3], own[:, : len(range(number, 100, 3))])
    np.testing.assert_array_equal(jury.draw(features, KEYS, 41, 7), drawn[:, :41])


@native
@pytest.mark.parametrize("n_draws", [3, 4, 100, 1000])
def test_the_native_summary_is_that_of_the_draws(folder, n_draws):
    for instruction_set in usable_instruction_sets():
        models = [
            FftModel(member.card, random_weights(NETWORK, seed=i), instruction_set=instruction_set)
            for i, member in enumerate(load_model(folder, "fft").card.members)
        ]
        jury = jury_of("jury", NAMES, models)
        features = np.random.default_rng(1).normal(size=(3, 60)).astype(np.float32)
        expected = summarise(jury.draw(features, KEYS, n_draws, 7)[..., [1, 0]], 3).columns()
        for name, values in jury.summarise(features, KEYS, n_draws, 7, (1, 0)).columns().items():
            np.testing.assert_allclose(values, expected[name], rtol=2.5e-7, atol=1e-13, err_msg=name)


@native
def test_a_jury_of_one_gives_its_member_s_numbers_to_the_last_bit(folder):
    member, jury = load_model(folder / "b", "fft"), load_model(folder, "fft", members=["b"])
    assert isinstance(jury, Jury)
    features = jury.features(images())
    own = member.summarise(member.features(images()), KEYS, 200, 7, (0, 1)).columns()
    for name, values in jury.summarise(features, KEYS, 200, 7, (0, 1)).columns().items():
        np.testing.assert_array_equal(values, own[name], err_msg=name)


def test_scatter_and_agreement_are_those_of_the_members_means():
    rng = np.random.default_rng(3)
    draws = rng.beta(2, 2, (50, 31, 2)).astype(np.float32)
    found = summarise(draws, 4)
    means = np.array([[draws[:, m::4, o].astype(np.float64).mean(axis=1) for o in (0, 1)] for m in range(4)])
    np.testing.assert_allclose(found.p_pm_member_std, means[:, 0].std(axis=0), rtol=1e-6)
    of_jury = found.p_pm_mean > found.p_sf_mean
    expected = [np.mean([(means[m, 0, i] > means[m, 1, i]) == of_jury[i] for m in range(4)]) for i in range(50)]
    np.testing.assert_allclose(found.member_agreement, expected, rtol=1e-6)
    assert 0 < found.member_agreement.min() < found.member_agreement.max() == 1


def test_without_a_jury_there_is_no_scatter_and_full_agreement():
    found = summarise(np.random.default_rng(3).beta(2, 2, (9, 30, 2)).astype(np.float32))
    assert np.isnan(found.p_pm_member_std).all()
    assert (found.member_agreement == 1).all()


class FixedDomain:
    """A domain that gives every image the same percentile."""

    def __init__(self, percentile):
        self.percentile = percentile

    def percentiles(self, statistics, features):
        assert features.shape[1] == 20
        return np.full(len(features), self.percentile, np.float32)


def test_the_feature_distance_of_a_jury_is_the_mean_of_its_members(folder, monkeypatch):
    jury = jury_of("jury", NAMES, [StubModel(member.card) for member in read_card(folder).members])
    assert feature_distances(jury, images(), np.zeros((3, 60), np.float32)) is None
    domain = JuryDomain((FixedDomain(10.0), FixedDomain(20.0), FixedDomain(60.0)))
    monkeypatch.setattr(Jury, "domain", domain)
    np.testing.assert_allclose(feature_distances(jury, images(), np.zeros((3, 60), np.float32)), 30)


def test_a_jury_whose_members_do_not_all_know_their_domain_knows_none(folder):
    assert jury_of("jury", NAMES, [StubModel(member.card) for member in read_card(folder).members]).domain is None
