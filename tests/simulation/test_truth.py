"""The truth agrees with the files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from surveyflow.simulation.footprints import footprint
from surveyflow.simulation.headers import INSTRUMENTS, LAYOUTS, mosaic_wcs
from surveyflow.simulation.sources import draw_field
from surveyflow.simulation.truth import truth_table
from surveyflow.values.codes import Status

MOSAICS = list(LAYOUTS)


def test_ids_restart_in_every_field_and_positions_do_not_repeat(survey_folder):
    truth = survey_folder.truth
    for _, rows in truth.groupby("field"):
        assert rows.source_id.tolist() == list(range(1, len(rows) + 1))
    assert not truth.duplicated(["ra_deg", "dec_deg"]).any()
    assert set(truth.kind) == {"star_forming", "post_merger", "star"}


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_sky_positions_lead_to_the_pixels_of_the_truth(survey_folder, field, instrument):
    truth, band = survey_folder.truth[survey_folder.truth.field == field], INSTRUMENTS[instrument].name.lower()
    x, y = mosaic_wcs(field, instrument).all_world2pix(truth.ra_deg, truth.dec_deg, 0)
    np.testing.assert_allclose(x, truth[f"x_{band}"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(y, truth[f"y_{band}"], rtol=0, atol=1e-5)


def test_the_saved_truth_is_the_returned_one(survey_folder):
    saved = pd.read_parquet(survey_folder.folder / "truth.parquet")
    pd.testing.assert_frame_equal(saved, survey_folder.truth)
    assert set(saved.status) == {str(status) for status in Status} - {"failed"}


def test_most_ordinary_sources_are_measured(survey_folder):
    ordinary = survey_folder.truth.query("trap == ''")
    assert set(ordinary.status) == {"ok", "no_model"}
    assert (ordinary.status == "ok").mean() > 0.6


def test_a_trap_that_would_not_work_is_an_error(survey_folder):
    shapes = {instrument: survey_folder.spec.shape(instrument) for instrument in INSTRUMENTS}
    sources = draw_field(7, "EGS", 2, {instrument: footprint(instrument, shape) for instrument, shape in shapes.items()}, 512)
    nowhere = {instrument: np.zeros(shape, bool) for instrument, shape in shapes.items()}
    with pytest.raises(ValueError, match="trap edge_left would get status no_coverage, not ok"):
        truth_table("EGS", sources.listed, nowhere)


def test_positions_in_f814w_are_the_drawn_ones_to_the_last_bit(survey_folder):
    shapes = {instrument: survey_folder.spec.shape(instrument) for instrument in INSTRUMENTS}
    coverage = {instrument: footprint(instrument, shape) for instrument, shape in shapes.items()}
    sources = draw_field(survey_folder.spec.seed, "EGS", survey_folder.spec.n_sources, coverage, survey_folder.spec.core_size)
    truth = survey_folder.truth.query("field == 'EGS'")
    assert truth.x_f814w.tolist() == [source.x_pix for source in sources.listed]
    assert truth.y_f814w.tolist() == [source.y_pix for source in sources.listed]


def test_two_fields_hold_different_sources(survey_folder):
    cosmos, egs = (survey_folder.truth.query("field == @field and trap == ''") for field in ("COSMOS", "EGS"))
    assert not np.isin(cosmos.x_f814w, egs.x_f814w).any()
    assert not np.isin(cosmos.mag_f814w, egs.mag_f814w).any()


def test_distant_galaxies_are_red(survey_folder):
    ordinary = survey_folder.truth.query("trap == '' and kind != 'star'")
    colour = ordinary.mag_f814w - ordinary.mag_f160w
    assert colour[ordinary.redshift < 1].mean() == pytest.approx(0.7, abs=0.2)
    assert colour[ordinary.redshift > 1.5].mean() == pytest.approx(1.2, abs=0.2)
