"""The manifest describes every image, also where two lie in one file."""

from __future__ import annotations

from astropy.io import fits

from stubs import TINY
from surveyflow.api.runs import open_inputs
from surveyflow.releases.publish import read_manifest
from surveyflow.runs.run import run_survey
from surveyflow.sites.serial.profile import SerialProfile
from worlds import copied, edit_workflow, write_untrained_models


def test_science_and_weight_in_one_file_are_two_inputs_with_their_own_cards_and_digests(egs_folder, tmp_path):
    survey = copied(egs_folder, tmp_path)
    write_untrained_models(tmp_path / "models", survey.spec.fields, TINY)
    images = []
    for name, path in (("SCI", survey.science("EGS", "F814W")), ("WHT", survey.weight("EGS", "F814W"))):
        with fits.open(path, memmap=False) as hdus:
            hdu = next(hdu for hdu in hdus if hdu.data is not None)
            images.append(fits.ImageHDU(hdu.data, hdu.header, name=name))
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "both.fits", checksum=True)
    both = {"science": "both.fits[SCI]", "weight": "both.fits[WHT]"}
    edit_workflow(survey.workflow, {"fields": {"EGS": {"F814W": both}}})
    with open_inputs(survey.workflow) as (opened, _):
        result = run_survey(opened, SerialProfile(), factory="stubs:StubWorker")
    entries = {entry["kind"]: entry for entry in read_manifest(result.path)["inputs"] if entry["instrument"] == "F814W"}
    assert [entries[kind]["path"] for kind in ("science", "weight")] == [
        f"{tmp_path}/both.fits[SCI]",
        f"{tmp_path}/both.fits[WHT]",
    ]
    assert [entries[kind]["path_from_root"] for kind in ("science", "weight")] == ["../both.fits[SCI]", "../both.fits[WHT]"]
    assert entries["science"]["size"] == entries["weight"]["size"] == (tmp_path / "both.fits").stat().st_size
    assert entries["science"]["digest"] != entries["weight"]["digest"]
    with fits.open(tmp_path / "both.fits") as hdus:
        assert entries["weight"]["cards"]["DATASUM"] == hdus["WHT"].header["DATASUM"]
