"""Exported cutouts: the mosaic's pixels at the place on the sky that their header names, and pages that can be mailed."""

from __future__ import annotations

import base64
import csv
import io
import re

import numpy as np
import pyarrow.compute as pc
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

import surveyflow
from revisions import RevisionMaker, field_rows
from surveyflow.errors import InputError, OutputError
from surveyflow.exports import cutouts
from surveyflow.exports.cutouts import file_name
from surveyflow.inputs.published_mosaics import PublishedMosaics

BAND = np.full(30, 1.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cutouts")
    maker = RevisionMaker(folder)
    mosaic = maker.add_mosaic("EGS", "F814W")
    maker(field_rows("EGS", 30, redshift=BAND, flags=np.arange(30) % 2))
    return folder / "catalog", mosaic


@pytest.fixture
def folder(world, tmp_path):
    surveyflow.export(world[0], format="cutouts", output=tmp_path / "stamps", where="status == 'ok'", size=48)
    return tmp_path / "stamps"


def listed(folder):
    with (folder / "cutouts.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_cutouts_hold_the_mosaics_pixels_at_their_place_on_the_sky(world, folder):
    pixels, header = fits.getdata(world[1], header=True)
    whole = WCS(header)
    found = listed(folder)
    assert len(found) == surveyflow.open_catalog(world[0]).count_rows(filter=pc.field("status") == "ok")
    for line in found:
        cut, own = fits.getdata(folder / line["fits"], header=True)
        assert cut.shape == (48, 48)
        x0, y0 = whole.world_to_pixel(WCS(own).pixel_to_world(0, 0))
        corner = round(float(y0)), round(float(x0))
        assert np.allclose((y0, x0), corner, atol=1e-6)
        part = pixels[corner[0] : corner[0] + 48, corner[1] : corner[1] + 48]
        np.testing.assert_array_equal(cut, np.where(part == 0, np.nan, part))
        assert corner[1] <= float(line["x_pix"]) < corner[1] + 48
        assert own["OBJECT"] == f"EGS {line['source_id']}"
        assert own["MOSAIC"] == world[1].name
        assert Image.open(io.BytesIO((folder / line["png"]).read_bytes())).size == (48, 48)


def test_a_folder_with_files_is_kept_unless_asked(world, folder):
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        surveyflow.export(world[0], format="cutouts", output=folder)
    surveyflow.export(world[0], format="cutouts", output=folder, where="status == 'ok'", size=16, overwrite=True)
    assert (folder / "mine.txt").read_text() == "mine"
    assert fits.getdata(folder / listed(folder)[0]["fits"]).shape == (16, 16)
    assert [path for path in folder.parent.iterdir() if path != folder] == []


def test_a_cutout_at_the_edge_says_what_lies_beyond(world, tmp_path):
    surveyflow.export(world[0], format="cutouts", output=tmp_path / "wide", where="status == 'ok' and source_id < 9", size=700)
    data = fits.getdata(tmp_path / "wide" / listed(tmp_path / "wide")[0]["fits"])
    assert np.isnan(data).sum() >= 700 * 700 - 400 * 400


def test_names_of_files_cannot_leave_the_folder():
    assert file_name({"field": "../../etc", "source_id": 1, "instrument": "F814W"}) == "_.._etc-1-F814W"
    assert re.fullmatch(r"[A-Za-z0-9_.+-]+", file_name({"field": "a b;$(x)", "source_id": 1, "instrument": "\n"}))


def test_galaxies_without_a_mosaic_are_counted(world, tmp_path):
    done = surveyflow.export(world[0], format="cutouts", output=tmp_path / "stamps", size=16)
    missing = done.n_galaxies - len(listed(tmp_path / "stamps"))
    assert missing
    assert f"{missing} of the selected galaxies have no cutout" in done.notes[0]


def test_a_page_shows_each_galaxy_and_asks_for_nothing(world, tmp_path):
    done = surveyflow.export(world[0], format="html", output=tmp_path / "page.html", where="status == 'ok'")
    page = done.path.read_text(encoding="utf-8")
    assert page.count("<figure") == done.n_galaxies
    pictures = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', page)
    assert len(pictures) == done.n_galaxies
    assert not re.search(r"@import|<link|<script|<iframe|https?://", page)
    assert ">EDGE<" in page
    assert "untrained random weights" in page
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (128, 128)


def test_a_page_of_too_many_galaxies_is_refused(world, tmp_path, monkeypatch):
    monkeypatch.setattr(cutouts, "MOST_ON_A_PAGE", 3)
    with pytest.raises(InputError, match="a page shows at most 3"):
        surveyflow.export(world[0], format="html", output=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("path", ["ftp://host/a.fits", "https://", "https://[host/a.fits", "a\0b"])
def test_a_path_of_a_manifest_that_names_no_file_is_noted(path):
    science = {"field": "EGS", "instrument": "F814W", "kind": "science", "path": path, "size": 1}
    with PublishedMosaics([science]) as mosaics:
        assert mosaics.cutout({"field": "EGS", "instrument": "F814W", "x_pix": 1.0, "y_pix": 1.0}, 16) is None
        assert list(mosaics.notes) == [("EGS", "F814W", "")]
