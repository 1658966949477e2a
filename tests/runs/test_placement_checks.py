"""A list and mosaics that do not belong together are refused, with the likely reason."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import surveyflow
from fake_mosaics import SkyMosaic
from stubs import TINY
from surveyflow.errors import WorkflowError
from surveyflow.planning.expectations import ASSUMED_SECONDS, Expectation, seconds_each
from surveyflow.planning.overlaps import on_images
from surveyflow.runs.placement_checks import misplaced_lists, repeated_mosaics, sparse_lists
from surveyflow.values.jobs import Receipt
from surveyflow.values.sources import SourceList
from worlds import edit_workflow, write_untrained_models

COSMOS = (150.1, 2.2)
EGS = (214.8, 52.8)
N_SOURCES = 40


def mosaics(*centres, names=None):
    pixels = np.zeros((300, 300), np.float32)
    found = [SkyMosaic(pixels, ra_deg=ra, dec_deg=dec, pixel_scale_arcsec=2.0) for ra, dec in centres]
    return SimpleNamespace(mosaics=found, names=names or [f"{n}.fits" for n in range(len(found))])


def sources(ra, dec, field="COSMOS") -> SourceList:
    return SourceList(field, np.arange(len(ra)), np.asarray(ra), np.asarray(dec), np.ones(len(ra)))


def around(centre, rng=None):
    rng = np.random.default_rng(0)
    return centre[0] + rng.uniform(-0.05, 0.05, N_SOURCES), centre[1] + rng.uniform(-0.05, 0.05, N_SOURCES)


SETS = {("COSMOS", "F814W"): mosaics(COSMOS), ("EGS", "F814W"): mosaics(EGS)}
RA, DEC = around(COSMOS)
GALACTIC = SkyCoord(RA, DEC, unit="deg").galactic
MISTAKES = {
    "hours": (RA / 15, DEC, "100% of the sources would lie there if `ra` were in hours"),
    "radians": (np.radians(RA), np.radians(DEC), "if both were in radians"),
    "galactic": (GALACTIC.l.deg, GALACTIC.b.deg, "if the positions were galactic"),
    "another field": (*around(EGS), "100% of the sources lie on the mosaics of EGS F814W: exchange the paths"),
    "elsewhere": (*around((10.0, -30.0)), "The list lies around RA 10.0"),
}


def misplaced(name, sources, sets):
    own = {instrument: mosaics for (field, instrument), mosaics in sets.items() if field == name}
    nowhere = [key for key, each in own.items() if not on_images(each.mosaics, sources.ra_deg, sources.dec_deg).any()]
    return misplaced_lists(name, sources, sets, len(sources), nowhere)


@pytest.mark.parametrize(("ra", "dec", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_list_that_misses_its_mosaics_is_refused_with_the_likely_reason(ra, dec, words):
    ((instrument, what, remedy),) = misplaced("COSMOS", sources(ra, dec), SETS)
    assert (instrument, what) == ("F814W", "none of the 40 sources of COSMOS lies on 0.fits.")
    assert words in remedy


def test_the_mosaics_of_the_same_instrument_are_named_where_they_may_be_exchanged():
    sets = {(field, name): mosaics(centre) for field, centre in (("COSMOS", COSMOS), ("EGS", EGS)) for name in ("F814W", "F160W")}
    remedies = {instrument: remedy for instrument, _, remedy in misplaced("COSMOS", sources(*around(EGS)), sets)}
    assert "on the mosaics of EGS F814W: exchange" in remedies["F814W"]
    assert "on the mosaics of EGS F160W: exchange" in remedies["F160W"]


def test_exchanged_columns_are_noticed():
    ra, dec = around((40.0, 10.0))
    ((_, _, remedy),) = misplaced("COSMOS", sources(dec, ra), {("COSMOS", "F814W"): mosaics((40.0, 10.0))})
    assert "if `ra` and `dec` were exchanged" in remedy


def test_a_list_with_a_source_on_one_of_several_mosaics_is_not_refused():
    ra, dec = around((10.0, -30.0))
    ra[0], dec[0] = COSMOS
    assert not list(misplaced("COSMOS", sources(ra, dec), {("COSMOS", "F814W"): mosaics(EGS, COSMOS)}))


@pytest.mark.parametrize(("on_mosaic", "warned"), [(19, True), (20, False)])
def test_less_than_half_of_the_sources_on_the_mosaics_is_a_warning(on_mosaic, warned):
    expected = Expectation("COSMOS", "F814W", 1, N_SOURCES, on_mosaic, {}, 0.0)
    found = list(sparse_lists(sources(*around(COSMOS)), SETS, expected))
    assert bool(found) == warned
    assert all("only 19 of 40 sources lie on the mosaics" in text for text in found)


def test_two_mosaics_of_the_same_place_are_a_warning():
    (text,) = repeated_mosaics("COSMOS/F814W", mosaics(EGS, COSMOS, COSMOS, names=["egs", "v1", "v2"]))
    assert text.startswith("COSMOS/F814W: v1 and v2 cover the same part of the sky; each source")
    assert not list(repeated_mosaics("COSMOS/F814W", mosaics(EGS, COSMOS)))


def test_hours_follow_from_what_units_took_or_from_the_number_of_networks():
    card = SimpleNamespace(each=(None, None, None))
    receipt = Receipt("key", "EGS/F814W/y000x000", {}, 100, {}, "", 50.0, "here", engine="fft")
    assert seconds_each([receipt], {"F814W": [card]}) == {"F814W": 0.5}
    assert seconds_each([replace(receipt, name="EGS/F160W/y0")], {"F814W": [card]}) == {
        "F814W": pytest.approx(3 * ASSUMED_SECONDS)
    }


@pytest.fixture
def survey(mini_survey):
    write_untrained_models(mini_survey.folder / "models", ["COSMOS"], TINY)
    edit_workflow(mini_survey.workflow, {"fields": {"EGS": None}})
    return mini_survey


def test_validate_and_plan_tell_what_a_run_will_give(survey):
    valid = surveyflow.validate(survey.workflow)
    truth = survey.truth[survey.truth.field == "COSMOS"]
    assert sum(each.rows for each in valid.expected) == len(truth)
    acs = valid.expected[0]
    assert (acs.instrument, acs.mosaics) == ("F814W", 1)
    assert acs.status["off_mosaic"] == ((truth.instrument == "F814W") & (truth.status == "off_mosaic")).sum()
    assert acs.on_mosaic == acs.status["to_measure"]
    assert acs.hours == pytest.approx(acs.status["to_measure"] * ASSUMED_SECONDS / 3600)
    assert valid.expected[-1].instrument is None
    assert valid.as_json()["expected"][0]["status"] == acs.status


def test_science_and_weight_that_were_exchanged_are_refused(survey):
    science, weight = (path.name for path in (survey.science("COSMOS", "F814W"), survey.weight("COSMOS", "F814W")))
    edit_workflow(survey.workflow, {"fields": {"COSMOS": {"F814W": {"science": weight, "weight": science}}}})
    with pytest.raises(WorkflowError, match=r"of the weights of .*sci\.fits are negative around its sources.*exchange them"):
        surveyflow.validate(survey.workflow)


def test_a_field_of_any_name_is_served_by_the_models_that_it_names(survey):
    document = survey.workflow.read_text().replace("[fields.COSMOS", "[fields.DEEP")
    survey.workflow.write_text(document)
    remedy = r'It has models of COSMOS: to use those of one, write models = "COSMOS" in \[fields\.DEEP\]'
    with pytest.raises(WorkflowError, match=remedy):
        surveyflow.validate(survey.workflow)
    edit_workflow(survey.workflow, {"fields": {"DEEP": {"models": "COSMOS"}}})
    valid = surveyflow.validate(survey.workflow)
    assert valid.models["DEEP/F814W"].startswith("merger/COSMOS/F814W@")
    edit_workflow(survey.workflow, {"fields": {"DEEP": {"models": "COSMO"}}})
    with pytest.raises(WorkflowError, match=r"\[fields\.DEEP\] models: .* holds no merger model of COSMO"):
        surveyflow.validate(survey.workflow)
