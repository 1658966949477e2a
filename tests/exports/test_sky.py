"""Regions and MOCs, read back by the packages that astronomers use."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from mocpy import MOC
from regions import Regions

import surveyflow
from revisions import RevisionMaker, field_rows


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    RevisionMaker(folder)(field_rows("EGS", 80), field_rows("a}{b\n", 20, seed=3))
    return folder / "catalog"


def test_ds9_regions_lie_on_the_galaxies(root, tmp_path):
    surveyflow.export(root, format="ds9", output=tmp_path / "x.reg", where="status == 'ok'")
    frame = surveyflow.read_catalog(root, ["field", "source_id", "ra", "dec", "class"], "status == 'ok'")
    regions = Regions.read(tmp_path / "x.reg", format="ds9")
    assert len(regions) == len(frame)
    centres = SkyCoord([region.center for region in regions])
    assert centres.separation(SkyCoord(frame["ra"], frame["dec"], unit="deg")).max() < 1 * u.mas
    called = frame["class"].map({"post_merger": "orange", "star_forming": "cyan"}).tolist()
    assert [region.visual["facecolor"] for region in regions] == called
    names = [region.meta["text"] for region in regions]
    assert {name for name in names if name.startswith("EGS")} == {f"EGS {n}" for n in frame["source_id"][frame["field"] == "EGS"]}
    assert any(name.startswith("a__b_ ") for name in names)


def test_a_moc_covers_the_galaxies_and_little_else(root, tmp_path):
    surveyflow.export(root, format="moc", output=tmp_path / "x.fits", where="field == 'EGS'")
    moc = MOC.from_fits(str(tmp_path / "x.fits"))
    frame = surveyflow.read_catalog(root, ["field", "ra", "dec"])
    inside = moc.contains_lonlat(np.array(frame["ra"]) * u.deg, np.array(frame["dec"]) * u.deg)
    assert inside[frame["field"] == "EGS"].all()
    assert not inside[frame["field"] != "EGS"].any()
    assert moc.sky_fraction * 4 * np.pi * u.sr < 80 * (52 * u.arcsec) ** 2
