"""Which units a survey is made of, and which of them must be done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.planning.plan import Decision, Plan, decide, key_parts, unit_key
from surveyflow.planning.source_changes import SourceChanges
from surveyflow.planning.units import choose_instruments, gathered_unit, locate_sources, settled_unit, units_of_field
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.calibration import Calibration
from surveyflow.tasks.card import Architecture, ModelCard, ModelKey
from surveyflow.values.codes import Flag, Status, WeightsOrigin
from surveyflow.values.jobs import Receipt, SamplingSettings
from surveyflow.values.sources import SOURCE_COLUMNS, SourceList

ROUTING = {"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)}
SAMPLING = SamplingSettings(n_draws=10, seed=1)
DIGESTS = {"science": "5c1e", "weight": "none"}


@dataclass(frozen=True)
class FlatMap:
    """A mosaic whose pixel position is simply 100 x (ra, dec)."""

    shape: tuple[int, int] = (1000, 800)
    unit: str | None = "electron/s"
    filter: str | None = "F814W"

    def to_pixels(self, ra_deg, dec_deg):
        return 100 * ra_deg, 100 * dec_deg


@dataclass(frozen=True)
class Alone:
    """The only mosaic of a field and instrument."""

    mosaics: tuple[FlatMap, ...] = (FlatMap(),)
    names: tuple[str, ...] = ("flat.fits",)
    labels: tuple[str, ...] = ("",)


def source_list(n_sources: int = 60, seed: int = 0, field: str = "EGS") -> SourceList:
    rng = np.random.default_rng(seed)
    return SourceList(
        field=field,
        source_id=rng.permutation(n_sources).astype(np.int64) + 1,
        ra_deg=rng.uniform(0, 8.5, n_sources),
        dec_deg=rng.uniform(0, 10.5, n_sources),
        redshift=np.where(rng.random(n_sources) < 0.1, np.nan, rng.uniform(0.3, 3.2, n_sources)),
    )


def card(instrument: str = "F814W", **changes) -> ModelCard:
    values = {
        "key": ModelKey("merger", "EGS", instrument),
        "class_names": ("post_merger", "star_forming"),
        "pixel_scale_arcsec": 0.03,
        "band": "F814W",
        "redshift_range": (0.5, 1.5),
        "stretch": Stretch.MINMAX,
        "softening": 1.0,
        "architecture": Architecture(input_size=64, filters=(2,), kernel_sizes=(3,), dense=(4,)),
        "origin": WeightsOrigin.UNTRAINED,
        "citation": "",
        "weights_digest": "0" * 64,
    }
    return ModelCard(**(values | changes))


def gathered(sources: SourceList, core_size: int = 256):
    """All units with their sources, those without pixels first."""
    mosaics = {name: Alone() for name in ROUTING}
    cards = {name: card(name) for name in ROUTING}
    located = locate_sources(sources, ROUTING, mosaics, cards)
    settled = located.take(located.status != "")
    settled = settled.take(np.argsort(settled.source_id))
    return [settled_unit(settled, 0), *units_of_field(located.take(located.status == ""), mosaics, cards, core_size)]


def units(sources: SourceList, core_size: int = 256):
    return [unit for unit, _ in gathered(sources, core_size)]


def parts(unit, **changes):
    settings = {
        "schema_version": "1",
        "pixel_digests": DIGESTS,
        "mosaic_unit": "electron/s",
        "card": card(unit.instrument or "F814W"),
        "sampling": SAMPLING,
        "min_valid_fraction": 0.5,
    }
    return key_parts(unit, **(settings | changes))


def receipt_of(unit, unit_parts) -> Receipt:
    return Receipt(unit_key(unit_parts), unit.name, unit_parts, unit.n_sources, {}, "", 0.0, "here:1")


@pytest.mark.parametrize(
    ("redshift", "instrument"),
    [(0.5, "F814W"), (1.4999999, "F814W"), (1.5, "F125W_F160W"), (3.0, ""), (0.49, ""), (np.nan, ""), (0.0, "")],
)
def test_redshift_ranges_are_half_open(redshift, instrument):
    assert choose_instruments(np.array([redshift]), ROUTING)[0] == instrument


def test_unknown_redshift_is_distinguished_from_a_redshift_in_no_range():
    sources = replace(source_list(3), redshift=np.array([np.nan, 3.5, 1.0]))
    located = locate_sources(sources, ROUTING, {"F814W": Alone()}, {"F814W": card()})
    assert located.status.tolist() == [Status.NO_REDSHIFT, Status.NO_MODEL, ""]


def test_source_of_an_instrument_without_model_has_no_model():
    sources = replace(source_list(2), redshift=np.array([1.0, 2.0]))
    located = locate_sources(sources, ROUTING, {name: Alone() for name in ROUTING}, {"F814W": card()})
    assert located.status.tolist() == ["", Status.NO_MODEL]
    assert located.instrument.tolist() == ["F814W", "F125W_F160W"]


def test_source_of_an_instrument_without_mosaic_is_off_mosaic_and_flagged():
    sources = replace(source_list(1), redshift=np.array([2.0]))
    located = locate_sources(sources, ROUTING, {"F814W": Alone()}, {name: card(name) for name in ROUTING})
    assert located.status.tolist() == [Status.OFF_MOSAIC]
    assert located.flags[0] == Flag.NO_MOSAIC
    assert np.isnan(located.x_pix[0])


@pytest.mark.parametrize(("x_deg", "status"), [(-0.00501, "off_mosaic"), (-0.00499, ""), (7.99499, ""), (7.99501, "off_mosaic")])
def test_source_is_off_mosaic_when_its_centre_pixel_is(x_deg, status):
    sources = replace(source_list(1), redshift=np.array([1.0]), ra_deg=np.array([x_deg]), dec_deg=np.array([5.0]))
    assert locate_sources(sources, ROUTING, {"F814W": Alone()}, {"F814W": card()}).status[0] == status


@given(seed=st.integers(0, 1000), core_size=st.sampled_from([128, 256, 1024]))
def test_every_source_is_in_exactly_one_unit(seed, core_size):
    sources = source_list(40, seed)
    members = np.concatenate([members.source_id for _, members in gathered(sources, core_size)])
    assert sorted(members) == sorted(sources.source_id)


def test_sources_of_a_unit_lie_in_its_core():
    for unit, sources in gathered(source_list(100)):
        if unit.tile is not None:
            x, y = np.floor(sources.x_pix + 0.5), np.floor(sources.y_pix + 0.5)
            core = unit.tile.core
            assert np.all((x >= core.x0) & (x < core.x1) & (y >= core.y0) & (y < core.y1))


@given(seed=st.integers(0, 1000))
def test_order_of_the_source_list_does_not_change_a_key(seed):
    sources = source_list(40)
    order = np.random.default_rng(seed).permutation(len(sources))
    shuffled = SourceList("EGS", sources.source_id[order], sources.ra_deg[order], sources.dec_deg[order], sources.redshift[order])
    keys = [sorted(unit_key(parts(unit)) for unit in units(some)) for some in (sources, shuffled)]
    assert keys[0] == keys[1]


CHANGES = {
    "science pixels changed": {"pixel_digests": {"science": "other", "weight": "none"}},
    "weight pixels changed": {"pixel_digests": {"science": "5c1e", "weight": "other"}},
    "model weights changed": {"card": card(weights_digest="1" * 64)},
    "model card changed": {"card": card(stretch=Stretch.LINEAR)},
    "contamination model changed": {"beside": {"contamination": card(key=ModelKey("contamination", "EGS", "F814W"))}},
    "sampling settings changed": {"sampling": SamplingSettings(n_draws=11, seed=1)},
    "quality settings changed": {"min_valid_fraction": 0.6},
    "catalog schema changed": {"schema_version": "2"},
    "mosaic unit, filter or stated PSF changed": {"mosaic_unit": None},
    "mosaic unit, filter or stated PSF changed ": {"psf_fwhm_arcsec": 0.1},
    "surveyflow's measuring algorithm changed": {"algorithm_version": "2"},
    "stated prevalence changed": {"prevalence": 0.1},
    "arithmetic precision changed": {"precision": "bf16"},
}


@pytest.mark.parametrize("reason", CHANGES)
def test_anything_that_changes_results_changes_the_key_and_is_named(reason):
    unit = next(unit for unit in units(source_list()) if unit.instrument == "F814W")
    before, after = parts(unit), parts(unit, **CHANGES[reason])
    done = receipt_of(unit, before)
    planned = decide([(unit, after)], {done.key}, {unit.name: done}).units[0]
    assert unit_key(before) != unit_key(after)
    assert (planned.decision, planned.reason) == (Decision.DO, reason.strip())


def test_units_of_workflows_without_a_prevalence_do_not_mention_one():
    unit = next(unit for unit in units(source_list()) if unit.instrument == "F814W")
    assert "science" not in parts(unit)


def test_a_map_to_probabilities_changes_the_key_like_the_card_that_holds_it():
    unit = next(unit for unit in units(source_list()) if unit.instrument == "F814W")
    map_ = Calibration(("0" * 64,), 1.0, 0.9, 0.1, share=0.5, n_images=4000, records=("ab" * 32,))
    before, after = parts(unit), parts(unit, card=card(calibrations=(map_,)))
    assert {name for name in before if before[name] != after[name]} == {"preparation"}


def test_units_without_a_contamination_model_say_so_in_their_key():
    unit = next(unit for unit in units(source_list()) if unit.instrument == "F814W")
    assert parts(unit)["contamination"] == "none"
    first, other = (parts(unit, beside={"contamination": card(weights_digest=digest * 64)}) for digest in "12")
    assert len({unit_key(parts(unit)), unit_key(first), unit_key(other)}) == 3


def test_changes_of_sources_are_counted_and_positions_are_mentioned_only_if_they_changed_by_themselves():
    unit, sources = next(each for each in gathered(source_list()) if each[0].instrument == "F814W")
    fewer, _ = gathered_unit(unit.name, sources.take(np.arange(len(sources) - 1)), instrument="F814W", tile=unit.tile)
    done = receipt_of(unit, parts(unit))

    def planned(changes, **settings):
        return decide([(fewer, parts(fewer, **settings))], set(), {unit.name: done}, {unit.name: changes}).units[0]

    one = planned(SourceChanges(added=0, removed=1, moved=0, values={"redshift": 0}, placed=0), min_valid_fraction=0.6)
    assert one.reason == "1 source removed, quality settings changed"
    assert one.changed == ("sources", "positions", "quality")
    two = planned(SourceChanges(added=3, removed=1, moved=2, values={"redshift": 1}, placed=2))
    assert two.reason == (
        "3 sources added, 1 source removed, 2 sources moved, 1 redshift changed, source positions on the mosaic changed"
    )
    (entry,) = Plan((two,)).as_json()
    assert entry["source_changes"] == {"added": 3, "removed": 1, "moved": 2, "redshifts": 1, "placed": 2}
    assert entry["changed"] == ["sources", "positions"]


def test_unit_that_is_kept_from_before_the_last_revision_says_so():
    unit = units(source_list())[0]
    now, published = parts(unit), parts(unit, schema_version="2")
    planned = decide([(unit, now)], {unit_key(now)}, {unit.name: receipt_of(unit, published)}).units[0]
    assert (planned.decision, planned.reason) == (Decision.KEEP, "its result is on disk from an earlier run")


def test_what_does_not_change_results_does_not_change_the_key():
    unit = next(unit for unit in units(source_list()) if unit.instrument == "F814W")
    assert unit_key(parts(unit)) == unit_key(parts(unit, card=card(notes="read me", citation="cite me")))


@pytest.mark.parametrize("column", [name for name in SOURCE_COLUMNS if name != "source_id"])
def test_a_change_in_a_source_changes_the_key_of_its_unit(column):
    sources = source_list()
    changed = getattr(sources, column).copy()
    index = int(np.flatnonzero((sources.redshift > 0.6) & (sources.redshift < 1.4))[0])
    changed[index] += 1e-9
    keys = [{unit_key(parts(unit)) for unit in units(some)} for some in (sources, replace(sources, **{column: changed}))]
    assert len(keys[0] - keys[1]) == 1


def test_plan_of_a_finished_run_is_empty():
    everything = [(unit, parts(unit)) for unit in units(source_list())]
    receipts = {unit.name: receipt_of(unit, unit_parts) for unit, unit_parts in everything}
    plan = decide(everything, {receipt.key for receipt in receipts.values()}, receipts)
    assert plan.counts == {"do": 0, "keep": len(everything), "drop": 0}


def test_unit_without_sources_any_more_is_dropped():
    everything = [(unit, parts(unit)) for unit in units(source_list())]
    gone = replace(receipt_of(*everything[0]), name="EGS/F814W/y099x099")
    plan = decide(everything, set(), {gone.name: gone})
    dropped = plan.having(Decision.DROP)
    assert [unit.name for unit in dropped] == [gone.name]
    assert "it has no sources left" in dropped[0].reason


def test_unit_whose_file_was_lost_is_done_again():
    unit = units(source_list())[0]
    done = receipt_of(unit, parts(unit))
    planned = decide([(unit, parts(unit))], set(), {unit.name: done}).units[0]
    assert (planned.decision, planned.reason) == (Decision.DO, "its result is no longer on disk")


def test_largest_unit_of_a_mosaic_comes_first():
    plan = decide([(unit, parts(unit)) for unit in units(source_list(200))], set(), {})
    sizes = [unit.n_sources for unit in plan.units if unit.name.startswith("EGS/F814W")]
    assert sizes == sorted(sizes, reverse=True)


def test_units_of_one_mosaic_follow_each_other_the_mosaic_with_the_largest_first_and_those_without_pixels_last():
    small, large = (units(source_list(n, field=field)) for n, field in ((60, "EGS"), (400, "UDS")))
    plan = decide([(unit, parts(unit)) for unit in [*small, *large]], set(), {})
    mosaics = [unit.name.rpartition("/")[0] for unit in plan.units]
    groups = [mosaic for mosaic, _ in groupby(mosaics)]

    assert len(groups) == len(set(groups))
    assert [group.rpartition("/")[2] for group in groups[-2:]] == ["settled", "settled"]
    assert [group.partition("/")[0] for group in groups[:2]] == ["UDS", "UDS"]


def test_the_model_group_of_a_unit_names_the_models_it_needs():
    assert {unit.model_group for unit in units(source_list(60))} == {"EGS/F814W", "EGS/F125W_F160W", ""}
