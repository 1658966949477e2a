"""What the gallery's galaxies look like."""

import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D

from surveyflow.reports.figures import cutout_uri
from surveyflow.reports.pictures import cut_pictures, scale_bar_arcsec


@pytest.fixture
def science(make_revision):
    return make_revision.add_mosaic("EGS", "F814W")


@pytest.fixture
def inputs(make_revision, science):
    return make_revision.inputs


def row(source_id=7, x_pix=200.4, y_pix=150.5, instrument="F814W"):
    return {"field": "EGS", "source_id": source_id, "instrument": instrument, "x_pix": x_pix, "y_pix": y_pix}


def test_a_picture_is_cut_from_the_mosaic_of_its_field_and_instrument(science, inputs):
    pictures = cut_pictures([row()], inputs, 128)
    pixels = fits.getdata(science).astype(np.float32)
    expected = Cutout2D(pixels, (200.4, 150.5), 128, mode="partial", fill_value=0).data
    assert list(pictures.by_source) == [("EGS", 7)]
    assert pictures.by_source["EGS", 7].uri == cutout_uri(expected, np.ones(expected.shape, dtype=bool))
    assert pictures.notes == ()


@pytest.mark.parametrize("position", [(0.0, 0.0), (399.0, 200.0), (30.0, 399.0)])
def test_a_picture_at_an_edge_is_as_large_as_any_other(inputs, position):
    pictures = cut_pictures([row(1, *position), row(2)], inputs, 64)
    assert len(pictures.by_source) == 2


def test_an_extension_named_in_the_path_is_honoured(science, inputs):
    named = [dict(inputs[0], path=f"{science}[0]")]
    assert cut_pictures([row()], named, 128).by_source


@pytest.mark.parametrize("kind", ["science", "weight"])
def test_a_mosaic_that_is_gone_is_named(science, inputs, kind, tmp_path):
    gone = tmp_path / "elsewhere" / "gone.fits"
    named = [entry for entry in inputs if kind != "science"] + [dict(inputs[0], kind=kind, path=str(gone))]
    pictures = cut_pictures([row()], named, 128)
    assert not pictures.by_source
    assert pictures.notes == (f"EGS F814W: {gone} was not found.",)


def test_a_mosaic_of_another_size_than_in_the_run_is_not_shown(science, inputs):
    with science.open("ab") as file:
        file.write(b"\0" * 2880)
    pictures = cut_pictures([row()], inputs, 128)
    assert not pictures.by_source
    assert "egs_f814w_drz.fits now has" in pictures.notes[0]


def test_a_mosaic_that_cannot_be_read_any_more_is_named_once(science, inputs):
    science.write_bytes(b"x" * inputs[0]["size"])
    pictures = cut_pictures([row(1), row(2)], inputs, 128)
    assert not pictures.by_source
    assert len(pictures.notes) == 1
    assert "egs_f814w_drz.fits" in pictures.notes[0]


def test_one_lost_mosaic_does_not_take_the_other_pictures_with_it(inputs):
    pictures = cut_pictures([row(1), row(2, instrument="F125W_F160W")], inputs, 128)
    assert list(pictures.by_source) == [("EGS", 1)]
    assert pictures.notes == ("EGS F125W_F160W: the manifest does not name a mosaic.",)


def test_the_scale_bar_has_a_round_length_and_north_and_east_are_those_of_the_header(inputs):
    marks = cut_pictures([row()], inputs, 128).by_source["EGS", 7].marks
    start, end = map(float, re.search(r"M([\d.]+) 92V95H([\d.]+)", marks).groups())
    assert ">1\u2033<" in marks
    assert end - start == pytest.approx(100 / (128 * 0.03), abs=0.1)
    north, east = re.findall(r"M82 82L([\d.]+) ([\d.]+)", marks)[:2]
    assert (float(north[0]), float(north[1])) == pytest.approx((82, 73), abs=0.2)
    assert (float(east[0]), float(east[1])) == pytest.approx((73, 82), abs=0.2)


@pytest.mark.parametrize(("side", "bar"), [(3.84, 1), (7.68, 2), (1.0, 0.2), (600, 60), (0.001, 0.001)])
def test_scale_bars_fit_into_the_cutout(side, bar):
    assert scale_bar_arcsec(side) == bar
