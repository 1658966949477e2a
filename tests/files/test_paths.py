"""Paths are parted from extensions, and a missing file's message helps to find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from surveyflow.files.paths import absent, problem_of_file, split_extension


@pytest.mark.parametrize(
    ("path", "file", "extension"),
    [
        ("a/egs.fits[SCI]", "a/egs.fits", "SCI"),
        ("egs.fits[ 1 ]", "egs.fits", "1"),
        ("egs.fits", "egs.fits", None),
        ("a[1]/egs.fits", "a[1]/egs.fits", None),
        ("a[1]/egs.fits[SCI]", "a[1]/egs.fits", "SCI"),
        ("egs.fits[]", "egs.fits[]", None),
        ("[SCI]", "[SCI]", None),
    ],
)
def test_the_extension_is_what_the_last_brackets_hold(path, file, extension):
    assert split_extension(path) == split_extension(Path(path)) == (Path(file), extension)


def test_a_file_that_can_be_read_has_no_problem(tmp_path):
    (tmp_path / "egs.fits").touch()
    assert problem_of_file(tmp_path / "egs.fits") is None


def test_a_missing_file_is_reported_with_the_nearest_folder_and_similar_names(tmp_path):
    (tmp_path / "mosaics").mkdir()
    what, remedy = absent(tmp_path / "mosiacs" / "egs.fits")
    assert what == f"{tmp_path}/mosiacs/egs.fits does not exist; the nearest folder that does is {tmp_path}."
    assert remedy == "Did you mean mosaics?"
    assert absent(tmp_path / "unlike.any")[1] == "Correct the path, or put the file there."


@pytest.mark.parametrize("address", ["s3://survey/hst/m_drz.fits", "https://example.org/m_drz.fits", "gs://bucket/m.fits"])
def test_an_address_is_not_called_a_missing_file(address, tmp_path):
    for path in (Path(address).absolute(), tmp_path / address):
        what, remedy = problem_of_file(path)
        assert what == f"{address} is an address, and only local files are read."
        assert remedy == "Download it, and name the local file."


def test_a_file_with_a_scheme_is_named_as_a_path(tmp_path):
    what, remedy = problem_of_file(tmp_path / "file:///data/egs.fits")
    assert (what, remedy) == ("file://data/egs.fits is an address, expected a path.", "Name the file: /data/egs.fits.")


@pytest.mark.parametrize(
    ("looked_for", "there", "similar"),
    [
        ("workflow.toml", ["pyproject.toml", "CITATION.cff"], None),
        ("workflow.toml", ["workflw.toml", "pyproject.toml"], "workflw.toml"),
        ("workflow.tml", ["workflow.toml"], "workflow.toml"),
        ("egs_f814w.fits", ["egs_f814w_drz.fits", "uds_f160w.fits"], "egs_f814w_drz.fits"),
    ],
)
def test_an_ending_that_many_files_have_makes_no_two_names_similar(tmp_path, looked_for, there, similar):
    for name in there:
        (tmp_path / name).touch()
    _, remedy = absent(tmp_path / looked_for)
    assert remedy == ("Correct the path, or put the file there." if similar is None else f"Did you mean {similar}?")
