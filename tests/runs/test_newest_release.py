"""Files whose checksums held are not read again until they change."""

from __future__ import annotations

import os

import numpy as np
import pytest
from astropy.io import fits

from surveyflow.runs import newest_release
from surveyflow.runs.newest_release import SoundFiles, choose_release


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.ones((9, 9), np.float32)).writeto(path, checksum=True)
    (tmp_path / "catalog").mkdir()
    return path


@pytest.fixture
def read(monkeypatch):
    """The files that were read for their checksums."""
    paths = []
    real = newest_release.damage_of_fits
    monkeypatch.setattr(newest_release, "damage_of_fits", lambda path: paths.append(path) or real(path))
    return paths


def look(image, root):
    sound = SoundFiles(root)
    damage = sound.damage(image)
    sound.save()
    return damage


def test_an_intact_file_is_read_once(image, read):
    root = image.parent / "catalog"
    assert [look(image, root), look(image, root)] == [None, None]
    assert read == [image]


def test_a_file_that_was_written_to_is_read_again(image, read):
    root = image.parent / "catalog"
    look(image, root)
    content = bytearray(image.read_bytes())
    content[2880] ^= 1
    image.write_bytes(content)
    os.utime(image, (1, 1))
    assert "DATASUM" in look(image, root)
    assert "DATASUM" in look(image, root)
    assert len(read) == 3


def test_nothing_is_written_where_there_is_no_output_folder(image):
    assert look(image, image.parent / "later") is None
    assert look(image, None) is None
    assert not (image.parent / "later").exists()


def test_a_cache_that_cannot_be_read_does_not_stop_the_search(image, read):
    root = image.parent / "catalog"
    look(image, root)
    (root / "digests" / "checksums.json").write_text("{")
    assert look(image, root) is None
    assert len(read) == 2


def test_the_cache_lies_in_the_workflows_output_folder(image, read):
    workflow = image.parent / "workflow.toml"
    workflow.write_text(
        '[output]\nroot = "catalog"\n[discovery]\nwatch_s = 0\nquiet_s = 0\n'
        '[fields.EGS.sources]\npath = "{release}.fits"\n[fields.EGS.F814W]\nscience = "{release}.fits"\n'
    )
    assert choose_release(workflow).release == "image"
    assert (image.parent / "catalog" / "digests" / "checksums.json").exists()
    assert set(read) == {image}
