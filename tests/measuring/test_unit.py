"""From a mosaic's window to catalog rows, with a labelled fake in the model's place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fake_mosaics import ArrayMosaic
from small_units import CARD, CONTAMINATION_CARD, SIZE, sky, sources, task
from stubs import StubModel
from surveyflow.measuring import unit
from surveyflow.measuring.unit import process_unit, settled_rows
from surveyflow.models.framing import statistics_of
from surveyflow.sky.measurements import sky_rms
from surveyflow.sky.stretch import prepare
from surveyflow.stats.philox import predictive_noise, source_keys
from surveyflow.tasks.calibration import Calibration, at_prevalence
from surveyflow.tasks.card import Domain
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.tasks.contamination.parts import physical_draws
from surveyflow.tasks.domains import FeatureDomain
from surveyflow.values.codes import Flag, Status


def rows_by_id(table):
    return {row["source_id"]: row for row in table.to_pylist()}


def test_rows_hold_what_the_model_said_of_the_prepared_cutout():
    mosaic = ArrayMosaic(sky())
    rows = rows_by_id(process_unit(task(sources([50.2], [40.7])), mosaic, MERGERS).rows)
    pixels = mosaic.pixels[33:49, 43:59]
    prepared = prepare(pixels[None], np.ones_like(pixels, bool)[None], CARD.stretch, CARD.softening)
    key = int.from_bytes(hashlib.sha256(b"EGS\x001").digest()[:8], "little")
    spread = np.random.default_rng([7, key]).random((20, 2))
    draws = 0.5 * prepared.mean() + 0.5 * spread
    assert rows[1]["p_pm_mean"] == pytest.approx(draws[:, 0].mean(), abs=1e-6)
    assert rows[1]["p_sf_mean"] == pytest.approx(draws[:, 1].mean(), abs=1e-6)
    assert rows[1]["f_pm"] == pytest.approx((draws[:, 0] > draws[:, 1]).mean())
    assert (rows[1]["status"], rows[1]["flags"], rows[1]["n_draws"], rows[1]["seed"]) == ("ok", 0, 20, 7)
    assert rows[1]["model_id"] == "merger/EGS/F814W@abababababab"
    assert rows[1]["weights_origin"] == "untrained"


def test_class_columns_follow_the_card_not_their_place():
    swapped = StubModel(replace(CARD, class_names=("star_forming", "post_merger")))
    of, mosaic = task(sources([50.0], [40.0])), ArrayMosaic(sky())
    as_published, as_swapped = (process_unit(of, mosaic, {"merger": model}).rows for model in (StubModel(CARD), swapped))
    assert as_published["p_pm_mean"] == as_swapped["p_sf_mean"]
    assert as_published["p_sf_mean"] == as_swapped["p_pm_mean"]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_rows_do_not_depend_on_the_batch(batch_size):
    rng = np.random.default_rng(3)
    of, mosaic = task(sources(rng.uniform(0, 119, 9), rng.uniform(0, 99, 9))), ArrayMosaic(sky())
    assert process_unit(of, mosaic, MERGERS, batch_size).rows == process_unit(of, mosaic, MERGERS, 4).rows


def test_source_without_coverage_or_with_too_little_of_it_has_a_status_and_no_results():
    weight = np.ones((100, 120), np.float32)
    weight[:, 60:] = 0
    table = process_unit(task(sources([70.0, 58.0, 50.0], [40.0, 40.0, 40.0])), ArrayMosaic(sky(), weight), MERGERS).rows
    rows = rows_by_id(table)
    assert [rows[i]["status"] for i in (1, 2, 3)] == [Status.NO_COVERAGE, Status.OK, Status.OK]
    assert [rows[i]["flags"] & Flag.PARTIAL_COVERAGE for i in (1, 2, 3)] == [2, 2, 0]
    assert rows[1]["p_pm_mean"] is None
    assert rows[1]["model_id"] is None
    assert rows[3]["weight_median"] == 1.0
    weight[:, 40:58] = 0
    rows = rows_by_id(process_unit(task(sources([58.0], [40.0])), ArrayMosaic(sky(), weight), MERGERS).rows)
    assert rows[1]["status"] == Status.BAD_PIXELS
    assert rows[1]["valid_fraction"] == pytest.approx(2 / 16)


def test_source_at_the_edge_is_padded_at_its_true_offset_and_flagged():
    rows = rows_by_id(process_unit(task(sources([2.0], [50.0])), ArrayMosaic(sky()), MERGERS).rows)
    assert rows[1]["status"] == "ok"
    assert rows[1]["flags"] == Flag.EDGE | Flag.PARTIAL_COVERAGE
    assert rows[1]["valid_fraction"] == pytest.approx(10 / 16)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"mosaic_unit": "adu"}, Flag.UNIT_DOMAIN),
        ({"mosaic_unit": None}, Flag.UNIT_DOMAIN),
        ({"mosaic_filter": "F606W"}, Flag.BAND_DOMAIN),
        ({"scale": 1000.0}, Flag.NOISE_DOMAIN),
        ({"redshift": 1.6}, Flag.REDSHIFT_DOMAIN),
        ({"psf_fwhm_arcsec": 0.2}, Flag.PSF_DOMAIN),
    ],
)
def test_what_lies_outside_the_training_domain_is_flagged(change, flag):
    mosaic = ArrayMosaic(sky() * np.float32(change.get("scale", 1.0)))
    image = {name: value for name, value in change.items() if name.startswith("mosaic_")}
    of = task(sources([50.0], [40.0], change.get("redshift", 1.0)), **image)
    of = replace(of, psf_fwhm_arcsec=change.get("psf_fwhm_arcsec"))
    rows = rows_by_id(process_unit(of, mosaic, MERGERS).rows)
    assert rows[1]["flags"] == flag | Flag.OUT_OF_DOMAIN
    assert rows[1]["status"] == "ok"


@pytest.mark.parametrize(("smoothing", "flags"), [(0.5, 0), (1.5, Flag.NOISE_DOMAIN | Flag.OUT_OF_DOMAIN)])
def test_the_correlation_of_the_noise_is_a_column_and_is_flagged_where_the_card_limits_it(smoothing, flags):
    smooth = gaussian_filter(sky(), smoothing)
    limited = StubModel(replace(CARD, domain=replace(CARD.domain, noise_correlation=(-0.2, 0.6))))
    mosaic = ArrayMosaic(smooth * np.float32(1e-3 / smooth.std()))
    rows = process_unit(task(sources([50.0, -9.0], [40.0, 40.0])), mosaic, {"merger": limited}).rows.to_pylist()
    by_id = {row["source_id"]: row for row in rows}
    assert by_id[1]["noise_correlation"] == pytest.approx({0.5: 0.3, 1.5: 0.89}[smoothing], abs=0.15)
    assert by_id[1]["flags"] == flags
    assert by_id[2]["noise_correlation"] is None


@pytest.mark.parametrize(("peak", "is_outside"), [(1e-2, True), (0.2, False), (2.0, True)])
def test_light_over_noise_is_a_column_and_is_flagged_where_the_card_limits_it(peak, is_outside):
    y, x = np.mgrid[:100, :120]
    mosaic = ArrayMosaic((sky() + peak * np.exp(-((x - 50) ** 2 + (y - 40) ** 2) / 2)).astype(np.float32))
    limited = StubModel(replace(CARD, domain=replace(CARD.domain, window_snr=(50.0, 500.0))))
    row = process_unit(task(sources([50.0], [40.0])), mosaic, {"merger": limited}).rows.to_pylist()[0]
    # A Gaussian of 1 pixel in a window of 3.33: its weighted sum, over that of white noise with an rms of 1e-3.
    window = 10 / 3
    expected = 2 * np.pi * peak / (1 + 1 / window**2) / (1e-3 * window * np.sqrt(np.pi))
    assert row["window_snr"] == pytest.approx(expected, rel=0.15, abs=5)
    assert row["flags"] == is_outside * (Flag.SNR_DOMAIN | Flag.OUT_OF_DOMAIN)


@pytest.mark.parametrize(("rows", "is_outside"), [(0, False), (2, False), (4, True)])
def test_light_at_the_border_is_a_column_and_is_flagged_where_the_card_limits_it(rows, is_outside):
    bright = sky()
    bright[33 : 33 + rows] += np.float32(0.1)
    limited = StubModel(replace(CARD, domain=replace(CARD.domain, edge_light_fraction=0.2)))
    measured = process_unit(task(sources([50.0, -9.0], [40.7, 40.0])), ArrayMosaic(bright), {"merger": limited}).rows
    by_id = rows_by_id(measured)
    assert by_id[1]["edge_light_fraction"] == pytest.approx(rows / 16, abs=0.02)
    assert by_id[1]["flags"] == is_outside * (Flag.EDGE_DOMAIN | Flag.OUT_OF_DOMAIN)
    assert by_id[2]["edge_light_fraction"] is None


LIMITED = StubModel(replace(CARD, domain=replace(CARD.domain, sky_sigma=(-1.0, 1.0), offset_arcsec=0.05)))


@pytest.mark.parametrize(
    ("x_pix", "pedestal", "flags"),
    [(50.3, 0, 0), (53.3, 0, Flag.OFF_CENTRE | Flag.OUT_OF_DOMAIN), (50.3, 5e-3, Flag.SKY_DOMAIN | Flag.OUT_OF_DOMAIN)],
)
def test_offset_and_sky_are_columns_and_are_flagged_where_the_card_limits_them(x_pix, pedestal, flags):
    y, x = np.mgrid[:100, :120]
    star = 0.1 * np.exp(-((x - 50.3) ** 2 + (y - 40.7) ** 2) / 4)
    mosaic = ArrayMosaic((sky() + star + pedestal).astype(np.float32))
    row = process_unit(task(sources([x_pix], [40.7])), mosaic, {"merger": LIMITED}).rows.to_pylist()[0]
    assert row["offset_arcsec"] == pytest.approx(0.03 * (x_pix - 50.3), abs=0.01)
    assert row["sky_sigma"] == pytest.approx(pedestal / 1e-3, abs=0.8)
    assert row["flags"] == flags


@dataclass(frozen=True)
class _Bounded(StubModel):
    """A stub that knows its training images: empty sky of this survey."""

    @property
    def domain(self) -> FeatureDomain:
        everywhere = np.ones((400, SIZE, SIZE), bool)
        prepared = [prepare(sky(everywhere.shape, seed), everywhere, CARD.stretch, CARD.softening) for seed in (1, 2)]
        return FeatureDomain.fitted(*[(statistics_of(each, CARD.architecture), self.features(each)) for each in prepared])


def test_the_feature_distance_is_a_column_and_is_flagged_beyond_the_cards_limit():
    limits = replace(CARD.domain, feature_percentile=99.0, features_digest="ef" * 32)
    model = _Bounded(replace(CARD, domain=limits))
    pixels = sky()
    pixels[72:88, 42:58] += np.linspace(0, 0.1, 16, dtype=np.float32)
    rows = process_unit(task(sources([50.0, 50.0, -9.0], [20.0, 80.0, 20.0])), ArrayMosaic(pixels), {"merger": model}).rows
    distances, flags = rows["feature_distance"].to_pylist(), rows["flags"].to_pylist()
    assert distances[0] < 99
    assert distances[1:] == [100, None]
    assert flags[:2] == [0, Flag.FEATURE_DOMAIN | Flag.OUT_OF_DOMAIN]
    unlimited = process_unit(task(sources([50.0], [80.0])), ArrayMosaic(pixels), MERGERS).rows
    assert (unlimited["feature_distance"].to_pylist(), unlimited["flags"].to_pylist()) == ([None], [0])


@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_probabilities_are_columns_where_the_card_can_calibrate(prevalence):
    map_ = Calibration((CARD.weights_digest,), a=1.5, b=0.5, c=0.2, share=0.4, n_images=4000, records=("ab" * 32,))
    of = replace(task(sources([50.2, -9.0], [40.7, 20.0])), prevalence=prevalence)
    model = StubModel(replace(CARD, calibrations=(map_,)))
    row, missed = process_unit(of, ArrayMosaic(sky()), {"merger": model}).rows.to_pylist()
    assert row["p_pm_calibrated"] == pytest.approx(map_.probability(row["p_pm_mean"]), abs=1e-6)
    stated = None if prevalence is None else pytest.approx(at_prevalence(row["p_pm_calibrated"], 0.1, 0.4), abs=1e-6)
    assert row["p_pm_at_prevalence"] == stated
    assert (missed["p_pm_calibrated"], missed["p_pm_at_prevalence"]) == (None, None)
    raw = process_unit(of, ArrayMosaic(sky()), MERGERS).rows.to_pylist()[0]
    assert (raw["p_pm_calibrated"], raw["p_pm_at_prevalence"]) == (None, None)


def test_constant_image_is_flagged():
    mosaic = ArrayMosaic(np.ones((100, 120), np.float32))
    rows = rows_by_id(process_unit(task(sources([50.0], [40.0])), mosaic, MERGERS).rows)
    assert rows[1]["flags"] & Flag.CONSTANT_IMAGE


def test_draws_are_kept_when_asked_for():
    of = task(sources([50.0, -5.0], [40.0, 40.0]), keep_draws=True)
    result = process_unit(of, ArrayMosaic(sky()), MERGERS)
    assert result.draws.column_names == ["field", "source_id", "p_pm"]
    kept = np.array(result.draws["p_pm"].to_pylist())
    assert kept.shape == (1, 20)
    assert rows_by_id(result.rows)[1]["p_pm_mean"] == pytest.approx(kept[0].mean(), abs=1e-6)
    assert process_unit(task(of.sources), ArrayMosaic(sky()), MERGERS).draws is None


def test_settled_sources_keep_their_status_and_a_failed_units_sources_get_theirs():
    some = replace(sources([1.0, 2.0], [1.0, 2.0]), status=np.array(["no_redshift", ""]))
    rows = rows_by_id(settled_rows(some, None, Status.FAILED))
    assert [rows[i]["status"] for i in (1, 2)] == ["no_redshift", "failed"]


def test_source_keys_differ_between_fields_and_sources():
    keys = np.concatenate([source_keys(field, np.arange(1000)) for field in ("EGS", "COSMOS")])
    assert len(np.unique(keys)) == 2000


MERGERS = {"merger": StubModel(CARD)}
BOTH = MERGERS | {"contamination": StubModel(CONTAMINATION_CARD)}


def contamination_of(table):
    """Rows by id, of the contamination columns only."""
    names = [
        name for name in table.column_names if name.startswith(("p_contaminated", "coverage_pct", "flux_pp", "contamination"))
    ]
    return rows_by_id(table.select(["source_id", *names]))


def test_contamination_is_what_its_model_draws_from_the_same_cutout():
    mosaic, position = ArrayMosaic(sky()), sources([50.2], [40.7])
    table = process_unit(task(position), mosaic, BOTH).rows
    found = contamination_of(table)[1]
    pixels = mosaic.pixels[33:49, 43:59][None]
    valid = np.ones_like(pixels, bool)
    outputs = StubModel(CONTAMINATION_CARD).draw(
        StubModel(CARD).features(prepare(pixels, valid, CARD.stretch, CARD.softening)),
        keys := source_keys("EGS", np.array([1])),
        20,
        7,
    )
    noise = predictive_noise(keys, 20, 7, 0xCDCDCDCD, 2)
    draws = physical_draws(outputs, sky_rms(pixels, valid), CONTAMINATION_CARD.contamination, *noise)
    assert found["p_contaminated_mean"] == pytest.approx(outputs[..., 0].mean(), abs=1e-6)
    assert found["coverage_pct_mean"] == pytest.approx(draws["coverage_pct"].mean(), rel=1e-5)
    assert found["coverage_pct_q84"] == pytest.approx(np.quantile(draws["coverage_pct"], 0.84), rel=1e-5)
    assert found["flux_pp_q50"] == pytest.approx(np.quantile(draws["flux_pp"], 0.5), rel=1e-5)
    assert found["contamination_model_id"] == "contamination/EGS/F814W@cdcdcdcdcdcd"


def test_mergers_do_not_depend_on_the_contamination_model_and_its_columns_are_null_without_it():
    of, mosaic = task(sources([50.0, -5.0], [40.0, 40.0])), ArrayMosaic(sky())
    alone = process_unit(of, mosaic, MERGERS).rows
    beside = process_unit(of, mosaic, BOTH).rows
    contamination = list(contamination_of(alone)[1])[1:]
    assert alone.drop_columns(contamination) == beside.drop_columns(contamination)
    assert all(value is None for name in contamination for value in alone[name].to_pylist())
    rows = contamination_of(beside)
    assert None not in rows[1].values()
    assert {rows[2][name] for name in contamination} == {None}


@pytest.mark.parametrize("draws_at_once", [1, 50, 10**6])
def test_contamination_does_not_depend_on_the_batch_nor_on_how_many_draws_are_turned_at_once(monkeypatch, draws_at_once):
    rng = np.random.default_rng(3)
    of, mosaic = task(sources(rng.uniform(0, 119, 9), rng.uniform(0, 99, 9))), ArrayMosaic(sky())
    expected = process_unit(of, mosaic, BOTH).rows
    monkeypatch.setattr(unit, "DRAWS_AT_ONCE", draws_at_once)
    assert process_unit(of, mosaic, BOTH, batch_size=4).rows == expected


def test_order_of_the_contamination_outputs_follows_the_card():
    turned = replace(CONTAMINATION_CARD, class_names=CONTAMINATION_OUTPUTS[::-1])
    of, mosaic = task(sources([50.0], [40.0])), ArrayMosaic(sky())
    rows = [
        contamination_of(process_unit(of, mosaic, MERGERS | {"contamination": StubModel(card)}).rows)[1]
        for card in (CONTAMINATION_CARD, turned)
    ]
    assert rows[0]["p_contaminated_mean"] != rows[1]["p_contaminated_mean"]
    outputs = StubModel(turned).draw(np.zeros((1, 1), np.float32), source_keys("EGS", np.array([1])), 20, 7)
    assert rows[1]["p_contaminated_std"] == pytest.approx(outputs[..., 5].std(), rel=1e-4)


def test_contamination_is_null_where_the_sky_has_no_measurable_noise():
    mosaic = ArrayMosaic(np.ones((100, 120), np.float32))
    table = process_unit(task(sources([50.0], [40.0])), mosaic, BOTH).rows
    row = rows_by_id(table)[1]
    assert (row["status"], row["contamination_model_id"], row["flux_pp_mean"]) == ("ok", None, None)
    assert row["flags"] & Flag.CONSTANT_IMAGE


def test_what_lies_outside_the_domain_of_the_contamination_model_is_flagged_too():
    strict = StubModel(replace(CONTAMINATION_CARD, domain=Domain("electron/s", (0.5, 0.6))))
    rows = rows_by_id(
        process_unit(task(sources([50.0], [40.0])), ArrayMosaic(sky()), {"merger": StubModel(CARD), "contamination": strict}).rows
    )
    assert rows[1]["flags"] == Flag.NOISE_DOMAIN | Flag.OUT_OF_DOMAIN
