"""The models that come with the package are what their cards say, and serve every field of the release."""

from __future__ import annotations

import pytest

from surveyflow.models.store import ModelStore, read_domain, read_weights
from surveyflow.runs.demo import PACKAGED_MODELS
from surveyflow.tasks.calibration import calibration_of
from surveyflow.tasks.card import ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.training.evaluation.nuisances import NUISANCES
from surveyflow.values.codes import WeightsOrigin

FIELDS = ("COSMOS", "EGS", "GOODS_N", "GOODS_S", "UDS")
INSTRUMENTS = ("F814W", "F125W_F160W")
MOST_BYTES = 1_000_000
N_MEMBERS = {MERGER.name: 5, CONTAMINATION.name: 3}


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("task", [MERGER.name, CONTAMINATION.name])
def test_a_packaged_model_is_sound_small_and_honest(task, instrument):
    store = ModelStore(PACKAGED_MODELS)
    card = store.card(ModelKey(task, "COSMOS", instrument))
    assert card.origin is WeightsOrigin.SIMULATED
    assert card.domain.unit == "electron/s"
    assert card.class_names == (CONTAMINATION_OUTPUTS if task == CONTAMINATION.name else ("post_merger", "star_forming"))
    assert (card.contamination is not None) == (task == CONTAMINATION.name)
    members = store.placed(card)
    assert len(members) == N_MEMBERS[task]
    for folder, member in members:
        assert read_weights(folder, member)
        limits = member.domain
        assert None not in (limits.sky_rms, limits.noise_correlation, limits.sky_sigma, limits.offset_arcsec, limits.window_snr)
        assert limits.psf_fwhm_arcsec
        assert limits.edge_light_fraction or task != MERGER.name
        assert (read_domain(folder, member) is not None) == (task == MERGER.name)
        released = [path for path in folder.iterdir() if not path.name.startswith(".")]  # the others are caches
        assert sum(path.stat().st_size for path in released) < MOST_BYTES
    assert {store.cards()[ModelKey(task, field, instrument)].key for field in FIELDS} == {card.key}


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_both_tasks_look_at_the_same_cutouts(instrument):
    store = ModelStore(PACKAGED_MODELS)
    cards = [store.card(ModelKey(task, "COSMOS", instrument)) for task in (MERGER.name, CONTAMINATION.name)]
    assert len({(card.architecture.input_size, card.pixel_scale_arcsec, card.band, card.redshift_range) for card in cards}) == 1


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_every_nuisance_costs_a_merger_model_little_or_is_flagged(instrument):
    store = ModelStore(PACKAGED_MODELS)
    for _, member in store.placed(store.card(ModelKey(MERGER.name, "COSMOS", instrument))):
        assert {one.name for one in member.nuisances} == {one.name for one in NUISANCES}
        assert all(held for one in member.nuisances for held in one.held)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_mergers_are_seen_about_the_galaxy_by_a_calibrated_jury(instrument):
    card = ModelStore(PACKAGED_MODELS).card(ModelKey(MERGER.name, "COSMOS", instrument))
    assert card.architecture.about_galaxy
    assert calibration_of(card.each) is not None
