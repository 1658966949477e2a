"""Several models that lie side by side are one jury; contradictions between them are refused."""

import shutil
from dataclasses import replace
from hashlib import sha256

import pytest

from stubs import TINY
from surveyflow.errors import ModelError
from surveyflow.models.cards import card_to_toml, jury_card
from surveyflow.models.store import ModelStore, read_card, write_model
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Domain, Member, ModelKey
from surveyflow.tasks.merger import MERGER
from surveyflow.values.codes import WeightsOrigin
from worlds import write_untrained_juries, write_untrained_models

NAMES = ("seed-1", "seed-2", "seed-3")
KEY = ModelKey(MERGER.name, "EGS", "F814W")


@pytest.fixture
def store(tmp_path):
    write_untrained_juries(tmp_path / "models", ["EGS"], TINY, NAMES)
    return ModelStore(tmp_path / "models")


def members_of(store):
    return {member.name: member.card for member in store.card(KEY).members}


def rewrite(store, name, **changes):
    """Change what the card of one member says."""
    folder = store.home(KEY) / name
    (folder / "card.toml").write_text(card_to_toml(replace(read_card(folder), **changes)))


def test_the_models_in_a_folder_s_folders_are_one_jury_in_order_of_name(store):
    cards = store.cards()
    assert set(cards) == {KEY, ModelKey(MERGER.name, "EGS", "F125W_F160W")}
    card = cards[KEY]
    assert [member.name for member in card.members] == list(NAMES)
    assert card.n_members == 3
    assert [place.name for place, _ in store.placed(card)] == list(NAMES)
    digests = "".join(member.card.weights_digest for member in card.members)
    assert card.weights_digest == sha256(digests.encode()).hexdigest()
    assert card.model_id == f"merger/EGS/F814W@{card.weights_digest[:12]}"
    assert card.origin is WeightsOrigin.UNTRAINED


def test_one_member_less_or_another_one_is_another_jury(store):
    whole = store.card(KEY)
    shutil.rmtree(store.home(KEY) / "seed-2")
    less = store.card(KEY)
    assert less.n_members == 2
    assert len({whole.digest, less.digest}) == len({whole.model_id, less.model_id}) == 2


def test_the_names_of_the_folders_do_not_matter_as_long_as_their_order_stays(store):
    before = store.card(KEY)
    (store.home(KEY) / "seed-2").rename(store.home(KEY) / "seed-2b")
    assert store.card(KEY).digest == before.digest


def test_a_jury_of_one_is_its_member(store):
    of_one = ModelStore(store.path, ("seed-2",)).card(KEY)
    member = members_of(store)["seed-2"]
    assert (of_one.digest, of_one.model_id, of_one.weights_digest) == (member.digest, member.model_id, member.weights_digest)


def test_a_subset_is_chosen_by_name_and_an_absent_member_is_refused(store):
    assert [one.name for one in ModelStore(store.path, ("seed-3", "seed-1")).card(KEY).members] == ["seed-1", "seed-3"]
    with pytest.raises(ModelError, match=r"no member seed-4; it has seed-1, seed-2, seed-3.*correct `members`"):
        ModelStore(store.path, ("seed-1", "seed-4")).card(KEY)


def test_a_folder_that_holds_a_model_and_members_is_refused(store, tmp_path):
    write_untrained_models(tmp_path / "alone", ["EGS"], TINY)
    shutil.copytree(ModelStore(tmp_path / "alone").home(KEY), store.home(KEY), dirs_exist_ok=True)
    with pytest.raises(ModelError, match="a model of its own beside the members seed-1, seed-2, seed-3"):
        store.cards()


def test_no_model_is_written_over_a_jury_nor_a_member_into_a_model(store, tmp_path):
    [alone, _] = write_untrained_models(tmp_path / "alone", ["EGS"], TINY)
    weights = ModelStore(tmp_path / "alone").weights(KEY)
    with pytest.raises(ModelError, match="it holds the members seed-1, seed-2, seed-3 of a jury"):
        write_model(store.home(KEY), alone, weights, overwrite=True)
    with pytest.raises(ModelError, match="a model that is alone, so no member"):
        write_model(ModelStore(tmp_path / "alone").home(KEY) / "seed-1", alone, weights)
    assert store.card(KEY).n_members == 3


def test_a_member_that_is_a_link_to_another_place_is_refused(store, tmp_path):
    member = store.home(KEY) / "seed-2"
    member.rename(tmp_path / "elsewhere")
    member.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="'seed-2' would lie outside the store"):
        store.cards()


def test_a_member_that_lost_its_card_is_not_left_out(store):
    (store.home(KEY) / "seed-2" / "card.toml").unlink()
    with pytest.raises(ModelError, match=r"seed-2: a member of the jury has weights, but no card\.toml"):
        store.cards()
    assert ModelStore(store.path, ("seed-1", "seed-3")).card(KEY).n_members == 2


CONTRADICTIONS = {
    "pixel_scale_arcsec": 0.06,
    "band": "F606W",
    "redshift_range": (0.5, 1.0),
    "stretch": Stretch.MINMAX,
    "softening": 0.002,
    "class_names": ("star_forming", "post_merger"),
    "origin": WeightsOrigin.SIMULATED,
    "also_for": ("UDS",),
}


@pytest.mark.parametrize(("name", "value"), CONTRADICTIONS.items(), ids=CONTRADICTIONS)
def test_members_that_contradict_each_other_are_refused(store, name, value):
    rewrite(store, "seed-3", **{name: value})
    with pytest.raises(ModelError, match=rf"members of a jury must agree, but seed-3 has {name} .* instead of .* in seed-1"):
        store.card(KEY)


def test_a_member_of_another_key_is_refused(store):
    rewrite(store, "seed-2", key=replace(KEY, field="UDS"))
    with pytest.raises(ModelError, match="seed-2 has task, field and instrument"):
        store.card(KEY)


def test_every_contradiction_is_reported(store):
    rewrite(store, "seed-2", band="F606W", softening=1.0)
    rewrite(store, "seed-3", pixel_scale_arcsec=0.05)
    with pytest.raises(ModelError, match=r"seed-2 has band .*, softening .*; seed-3 has pixel_scale_arcsec"):
        store.card(KEY)


def test_the_same_model_twice_is_not_a_jury(store):
    shutil.rmtree(store.home(KEY) / "seed-3")
    shutil.copytree(store.home(KEY) / "seed-1", store.home(KEY) / "seed-3")
    with pytest.raises(ModelError, match="seed-1 and seed-3 have the same weights"):
        store.card(KEY)


def with_domains(store, *domains):
    cards = members_of(store).values()
    return [Member(f"m{i}", replace(card, domain=own)) for i, (card, own) in enumerate(zip(cards, domains, strict=False))]


def test_what_the_notes_of_all_members_say_is_said_once(store):
    notes = ["Trained on 30 images. It is right in 68.0 %.\nSeed 1.", "Trained on 30 images. It is right in 68.0 %. Seed 2.", ""]
    cards = members_of(store).values()
    members = [Member(f"m{i}", replace(card, notes=own)) for i, (card, own) in enumerate(zip(cards, notes, strict=True))]
    assert jury_card(members, "jury").notes == "Trained on 30 images. It is right in 68.0 %. Seed 1. Seed 2."


def test_limits_of_the_domain_are_those_that_hold_for_every_member(store):
    one = Domain("electron/s", (1e-4, 1e-2), (-1.0, 1.0), 0.2, 99.0, "ab" * 32, (0.1, 0.6), (0.09, 0.15), (50.0, 900.0), 0.2)
    other = Domain("electron/s", (2e-4, 2e-2), None, 0.1, 98.0, "cd" * 32, (0.2, 0.8), None, (60.0, 2000.0), 0.1)
    found = jury_card(with_domains(store, one, other), "jury").domain
    assert (found.sky_rms, found.sky_sigma, found.offset_arcsec, found.feature_percentile) == (
        (2e-4, 1e-2),
        (-1.0, 1.0),
        0.1,
        98.0,
    )
    assert (found.noise_correlation, found.psf_fwhm_arcsec, found.window_snr) == ((0.2, 0.6), (0.09, 0.15), (60.0, 900.0))
    assert found.edge_light_fraction == 0.1
    assert jury_card(with_domains(store, one, replace(other, feature_percentile=None, features_digest=None)), "jury").domain == (
        replace(found, feature_percentile=None, features_digest=None)
    )


def test_limits_without_anything_in_common_are_refused(store):
    with pytest.raises(ModelError, match=r"limits in \[domain\] have nothing in common: sky_rms"):
        jury_card(with_domains(store, Domain(sky_rms=(1.0, 2.0)), Domain(sky_rms=(3.0, 4.0))), "jury")


def test_a_jury_has_no_weights_of_its_own(store):
    with pytest.raises(ModelError, match=r"merger/EGS/F814W is a jury of 3\. Read the weights of one of its members"):
        store.weights(KEY)
    assert ModelStore(store.path, ("seed-2",)).weights(KEY).keys()
