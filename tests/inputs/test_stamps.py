"""A user's own galaxies, from real FITS and HDF5 files."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
from astropy.io import fits

from surveyflow.errors import InputError, MosaicError
from surveyflow.inputs.stamps import describe_stamps, electrons_per_unit, open_stamps
from surveyflow.settings.simulation import StampsTable
from surveyflow.simulation.observe import F160W, F814W

SETTINGS = {"pixel_scale_arcsec": 0.01, "unit": "nJy"}


def image(number):
    return np.random.default_rng(number).random((30, 40)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Three FITS files, the image of one in an extension, and a table of labels in another order."""
    path = tmp_path / "stamps"
    path.mkdir()
    fits.writeto(path / "a.fits", image(0))
    fits.writeto(path / "b.fits.gz", image(1))
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image(2), name="SCI")]).writeto(path / "c.fits")
    (path / "notes.txt").write_text("not an image")
    (tmp_path / "labels.csv").write_text("file,label,z\nc.fits,star_forming,0.9\nb.fits.gz,1,1.1\na.fits,post_merger,nan\n")
    return path


@pytest.fixture
def hdf5(tmp_path):
    path = tmp_path / "stamps.h5"
    with h5py.File(path, "w") as file:
        file["galaxies/images"] = np.stack([image(0), image(1)])
        file["label"] = np.array([b"post_merger", b"star_forming"])
        file["codes"] = np.array([1, 0])
        file["z"] = np.array([0.7, 1.3])
        file["short"] = np.array([1.0])
    return path


def of_folder(folder, **settings):
    return StampsTable(path=folder, **SETTINGS | settings)


def of_hdf5(hdf5, **settings):
    return StampsTable(path=hdf5, **SETTINGS | {"dataset": "galaxies/images"} | settings)


def test_a_folder_is_read_in_the_order_of_names_with_one_label_for_all(folder):
    stamps = open_stamps(of_folder(folder, label="post_merger"))
    assert stamps.kinds == ("post_merger",) * 3
    assert np.isnan(stamps.redshifts).all()
    for number in range(3):
        np.testing.assert_array_equal(stamps.image(number), image(number))


def test_labels_and_redshifts_are_found_by_the_files_names(folder):
    stamps = open_stamps(of_folder(folder, labels=folder.parent / "labels.csv", redshift_column="z"))
    assert stamps.kinds == ("post_merger", "post_merger", "star_forming")
    np.testing.assert_array_equal(stamps.redshifts, [np.nan, 1.1, 0.9])


@pytest.mark.parametrize("label_column", ["label", "codes"])
def test_hdf5_holds_images_labels_and_redshifts(hdf5, label_column):
    stamps = open_stamps(of_hdf5(hdf5, label_column=label_column, redshift_column="z"))
    assert stamps.kinds == ("post_merger", "star_forming")
    np.testing.assert_array_equal(stamps.redshifts, [0.7, 1.3])
    np.testing.assert_array_equal(stamps.image(1), image(1))


def test_a_magnitude_is_the_same_in_every_unit():
    # 23.9 mag (AB) is 1 uJy.
    for band in (F814W, F160W):
        for unit, value in {"Jy": 1e-6, "mJy": 1e-3, "uJy": 1.0, "nJy": 1e3}.items():
            assert band.magnitude(value * electrons_per_unit(unit, 0.01, band)) == pytest.approx(23.9, abs=0.01)
        assert electrons_per_unit("electron/s", 0.01, band) == 1
        # 1 MJy/sr is 23.5045 uJy a square arcsec.
        per_pixel = electrons_per_unit("MJy/sr", 0.02, band) / electrons_per_unit("uJy", 0.02, band)
        assert per_pixel == pytest.approx(23.5045 * 0.02**2, rel=1e-4)


def test_libraries_are_distinguished_by_content_not_by_folder(folder, tmp_path):
    described = describe_stamps(of_folder(folder, label="post_merger"))
    assert [name for name, _ in described] == ["a.fits", "b.fits.gz", "c.fits", "notes.txt"]
    moved = folder.rename(tmp_path / "elsewhere")
    assert describe_stamps(of_folder(moved, label="post_merger")) == described


def test_a_file_without_a_label_is_named(folder):
    (folder.parent / "labels.csv").write_text("file,label\na.fits,1\nb.fits.gz,1\n")
    with pytest.raises(InputError, match=r"labels\.csv: column file has no row for c\.fits"):
        open_stamps(of_folder(folder, labels=folder.parent / "labels.csv"))


def test_an_unknown_label_is_shown(folder):
    (folder.parent / "labels.csv").write_text("file,label\na.fits,elliptical\nb.fits.gz,1\nc.fits,0\n")
    with pytest.raises(InputError, match="found labels elliptical, expected post_merger or 1"):
        open_stamps(of_folder(folder, labels=folder.parent / "labels.csv"))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no FITS file"):
        open_stamps(of_folder(tmp_path, label="post_merger"))


@pytest.mark.parametrize(("value", "told"), [(np.nan, "NaN"), (np.inf, "infinite"), (0.0, "no flux")])
def test_an_image_without_a_galaxy_is_named(folder, value, told):
    fits.writeto(folder / "a.fits", np.full((9, 9), value, np.float32), overwrite=True)
    with pytest.raises(InputError, match=rf"a\.fits.*{told}"):
        open_stamps(of_folder(folder, label="post_merger")).image(0)


def test_a_truncated_image_is_named(folder):
    (folder / "a.fits").write_bytes((folder / "a.fits").read_bytes()[:3000])
    with pytest.raises(MosaicError, match=r"a\.fits"):
        open_stamps(of_folder(folder, label="post_merger")).image(0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dataset": "pictures"}, "no data set pictures; it holds codes, galaxies"),
        ({"dataset": "galaxies"}, "no data set galaxies"),
        ({"dataset": "z"}, r"shape \(2,\), expected \(n, rows, columns\)"),
        ({"label_column": "kinds"}, "no data set kinds"),
        ({"label_column": "short"}, r"shape \(1,\), expected \(2,\)"),
        ({"redshift_column": "short"}, r"shape \(1,\), expected \(2,\)"),
    ],
)
def test_a_data_set_of_the_wrong_shape_is_refused(hdf5, settings, told):
    with pytest.raises(InputError, match=told):
        open_stamps(of_hdf5(hdf5, **settings))


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "stamps.h5").write_text("text")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        open_stamps(of_hdf5(tmp_path / "stamps.h5"))


def test_without_h5py_the_error_names_the_extra(hdf5, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"surveyflow-mergers\[train\]"):
        open_stamps(of_hdf5(hdf5))
