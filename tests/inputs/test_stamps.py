"""A user's own galaxies, from real FITS and HDF5 files."""

from __future__ import annotations

import sys
import unicodedata
from uuid import uuid4

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surveyflow.errors import InputError, MosaicError
from surveyflow.inputs.stamps import electrons_per_unit, open_stamps
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
        file["empty"] = h5py.Empty("f")
        file["complex"], file["texts"] = np.ones((2, 3, 3), np.complex64), np.full((2, 3, 3), b"1")
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


def identities(table):
    stamps = open_stamps(table)
    return stamps.identities(range(len(stamps.names)), lambda _: iter(()))


def test_libraries_are_known_by_content_wherever_they_lie(folder, tmp_path):
    table = of_folder(folder, labels=tmp_path / "labels.csv")
    before = identities(table)
    moved = folder.rename(tmp_path / "elsewhere")
    assert identities(of_folder(moved, labels=tmp_path / "labels.csv")) == before
    fits.writeto(moved / "a.fits", image(9), overwrite=True)
    changed_pixels = identities(of_folder(moved, labels=tmp_path / "labels.csv"))
    assert [one == other for one, other in zip(before, changed_pixels, strict=True)] == [False, True, True]


def test_a_corrected_label_changes_what_an_image_is(folder, tmp_path):
    table = of_folder(folder, labels=tmp_path / "labels.csv")
    before = identities(table)
    (tmp_path / "labels.csv").write_text("file,label\nc.fits,star_forming\nb.fits.gz,0\na.fits,1\n")
    assert [one == other for one, other in zip(before, identities(table), strict=True)] == [True, False, True]


def test_the_same_pixels_in_another_format_are_the_same_galaxy(folder, hdf5):
    of_fits, of_data_set = (identities(table) for table in (of_folder(folder, label="post_merger"), of_hdf5(hdf5)))
    assert [pixels for _, pixels, *_ in of_fits[:2]] == [pixels for _, pixels, *_ in of_data_set]


def test_the_name_of_a_file_is_not_that_of_a_galaxy(folder, hdf5):
    assert [group for group, *_ in identities(of_folder(folder, label="post_merger"))] == ["", "", ""]
    first, second = (group for group, *_ in identities(of_hdf5(hdf5, group_column="codes")))
    assert first != second
    assert "" not in (first, second)


def test_what_is_wrong_with_any_image_is_reported_at_once(folder):
    fits.writeto(folder / "a.fits", np.full((9, 9), np.nan, np.float32), overwrite=True)
    stamps = open_stamps(of_folder(folder, label="post_merger"))
    with pytest.raises(InputError) as raised:
        stamps.identities(range(3), lambda image: iter(["is spoilt."] if image[0, 0] == globals()["image"](2)[0, 0] else []))
    first, second = str(raised.value).splitlines()
    assert "a.fits holds NaN" in first
    assert second == "c.fits: is spoilt."


@pytest.mark.parametrize(
    ("cards", "settings", "told"),
    [
        ({"BUNIT": "Jy"}, {}, r"a\.fits has BUNIT 'Jy', but \[simulation\.stamps\] unit is 'nJy'"),
        ({"BUNIT": "ELECTRONS/S"}, {}, r"has BUNIT 'electron/s'"),
        ({"BUNIT": "nJy/pixel"}, {}, None),
        ({"BUNIT": "1e-9 Jy"}, {}, None),
        ({"BUNIT": "MJy sr-1"}, {"unit": "MJy/sr"}, None),
        ({"BUNIT": "Msun"}, {}, "has BUNIT 'Msun'"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.1 / 3600, "CDELT2": 0.1 / 3600}, {}, "pixels of 0.1 arcsec"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.01 / 3600, "CDELT2": 0.01 / 3600}, {}, None),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CDELT1": 0.1, "CDELT2": 0.1}, {}, None),
    ],
)
def test_a_header_must_not_contradict_the_settings(folder, cards, settings, told):
    fits.writeto(folder / "a.fits", image(0), fits.Header(cards), overwrite=True)
    stamps = open_stamps(of_folder(folder, label="post_merger", **settings))
    if told is None:
        np.testing.assert_array_equal(stamps.image(0), image(0))
    else:
        with pytest.raises(InputError, match=told):
            stamps.image(0)


@pytest.mark.parametrize("name", ["d.fits.bz2", "d.FIT.Z", "d.fits.zst"])
def test_a_file_that_cannot_be_unpacked_is_not_left_out(folder, name):
    (folder / name).write_bytes(b"packed")
    with pytest.raises(InputError, match=rf"cannot be unpacked: {name}\. Unpack them"):
        open_stamps(of_folder(folder, label="post_merger"))


def test_fits_files_are_known_by_every_usual_suffix(folder):
    for name in ("d.FITS", "e.fts", "f.fit.gz", "._a.fits"):
        fits.writeto(folder / name, image(3))
    (folder / "a.fits.md5").write_text("a digest")  # is no packed file
    stamps = open_stamps(of_folder(folder, label="post_merger"))
    assert stamps.names == ("a.fits", "b.fits.gz", "c.fits", "d.FITS", "e.fts", "f.fit.gz")


def test_a_row_is_named_by_its_number_in_the_table(folder):
    (folder.parent / "labels.csv").write_text("file,label,z\nc.fits,elliptical,0.5\nb.fits.gz,1,0.6\na.fits,0,99\nx.fits,,-1\n")
    with pytest.raises(InputError) as raised:
        open_stamps(of_folder(folder, labels=folder.parent / "labels.csv", redshift_column="z"))
    first, second = str(raised.value).splitlines()
    assert "row 1 (elliptical): is not a label" in first
    assert "row 3 (99.0): is not a galaxy's redshift, expected up to 20" in second


def written(folder, suffix, **columns):
    """A table of the three files with these columns."""
    path = folder.parent / f"table.{suffix}"
    names = {"file": ["a.fits", "b.fits.gz", "c.fits"], "label": [1, 0, 0]}
    Table(names | columns).write(path, format="ascii.ecsv" if suffix == "ecsv" else suffix)
    return of_folder(folder, labels=path, group_column="group" if "group" in columns else None)


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "csv", "votable", "parquet"])
def test_tables_of_every_format_say_the_same(folder, suffix):
    names = np.array([b"a.fits ", b"b.fits.gz", b"c.fits"])
    table = written(folder, suffix, file=names, label=[True, False, True], group=[7.0, 8.0, 8.0])
    stamps = open_stamps(table)
    assert stamps.kinds == ("post_merger", "star_forming", "post_merger")
    assert stamps.groups == ("7", "8", "8")


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "votable", "parquet"])
def test_a_column_of_arrays_holds_no_labels(folder, suffix):
    with pytest.raises(InputError, match="column label: it holds arrays, expected post_merger or 1"):
        open_stamps(written(folder, suffix, label=np.ones((3, 2), int)))


@pytest.mark.parametrize("groups", [[-1, 2, 3], [-99.0, 1, 2], ["-1", "a", "b"], [True, False, True], np.ones((3, 2))])
def test_a_number_below_0_names_no_galaxy(folder, groups):
    with pytest.raises(InputError, match=r"names no galaxy\. Name the galaxy|it holds arrays"):
        open_stamps(written(folder, "ecsv", group=groups))


def test_a_name_may_be_written_with_accents_of_either_form(folder):
    (folder / "a.fits").rename(folder / unicodedata.normalize("NFD", "é.fits"))
    (folder.parent / "labels.csv").write_text(f"file,label\n{unicodedata.normalize('NFC', 'é.fits')},1\nb.fits.gz,0\nc.fits,0\n")
    stamps = open_stamps(of_folder(folder, labels=folder.parent / "labels.csv"))
    assert stamps.kinds == ("star_forming", "star_forming", "post_merger")


def test_a_masked_name_is_not_a_name(folder):
    names = MaskedColumn(["a.fits", "b.fits.gz", "c.fits"], mask=[True, False, False])
    with pytest.raises(InputError, match=r"has no row for a\.fits; it holds b\.fits\.gz, c\.fits\. Add a row"):
        open_stamps(written(folder, "parquet", file=names))


def test_a_file_without_a_label_is_named(folder):
    (folder.parent / "labels.csv").write_text("file,label\na.fits,1\nb.fits.gz,1\n")
    with pytest.raises(InputError, match=r"labels\.csv: column file has no row for c\.fits"):
        open_stamps(of_folder(folder, labels=folder.parent / "labels.csv"))


def test_an_unknown_label_is_shown(folder):
    (folder.parent / "labels.csv").write_text("file,label\na.fits,elliptical\nb.fits.gz,1\nc.fits,0\n")
    with pytest.raises(
        InputError, match=r"labels\.csv, column label: row 1 \(elliptical\): is not a label, expected post_merger or 1"
    ):
        open_stamps(of_folder(folder, labels=folder.parent / "labels.csv"))


@pytest.mark.parametrize("unlabelled", ["", "nan", "NaN", "masked", "2", "-99"])
@pytest.mark.parametrize("others", ["0", "star_forming"])
def test_an_image_without_a_label_is_no_star_forming_galaxy(folder, unlabelled, others):
    (folder.parent / "labels.csv").write_text(f"file,label\na.fits,{others}\nb.fits.gz,{unlabelled}\nc.fits,{others}\n")
    with pytest.raises(InputError, match=r"column label: row 2 .* is not a label.*Label each image"):
        open_stamps(of_folder(folder, labels=folder.parent / "labels.csv"))


def test_a_masked_label_is_no_star_forming_galaxy(folder, tmp_path):
    table = Table({"file": ["a.fits", "b.fits.gz", "c.fits"], "label": MaskedColumn([1, 1, 0], mask=[False, True, False])})
    table.write(tmp_path / "labels.ecsv")
    with pytest.raises(InputError, match=r"row 2 \(missing\): is not a label"):
        open_stamps(of_folder(folder, labels=tmp_path / "labels.ecsv"))


def test_a_file_with_two_rows_is_named(folder):
    (folder.parent / "labels.csv").write_text("file,label\na.fits,1\nb.fits.gz,1\nb.fits.gz,0\nc.fits,0\n")
    with pytest.raises(InputError, match=r"column file has several rows for b\.fits\.gz\. Keep one row"):
        open_stamps(of_folder(folder, labels=folder.parent / "labels.csv"))


def test_redshifts_are_read_as_those_of_source_lists(folder):
    table = of_folder(folder, labels=folder.parent / "labels.csv", redshift_column="z")
    (folder.parent / "labels.csv").write_text("file,label,z\na.fits,1,-99\nb.fits.gz,1,0.7\nc.fits,0,\n")
    np.testing.assert_array_equal(open_stamps(table).redshifts, [np.nan, 0.7, np.nan])
    (folder.parent / "labels.csv").write_text("file,label,z\na.fits,,-1\nb.fits.gz,1,0.7\nc.fits,0,0.3\n")
    with pytest.raises(InputError) as raised:
        open_stamps(table)
    assert "row 1 (missing): is not a label" in str(raised.value)
    assert "column z: row 1 (-1.0): is not a redshift" in str(raised.value)


def written_library(path, labels, groups):
    with h5py.File(path, "w") as file:
        file["galaxies/images"] = np.stack([image(number)[:4, :4] for number in range(len(labels))])
        file["label"], file["group"] = np.array(labels), np.array(groups, "S")
    return lambda low, high: open_stamps(of_hdf5(path, group_column="group")).numbers_in((low, high))


def _numbers(numbers_in, low, high):
    try:
        return numbers_in(low, high)
    except InputError:
        return ()  # a share of very few galaxies may be empty


@given(
    labels=st.lists(st.integers(0, 1), min_size=12, max_size=40),
    n_groups=st.integers(2, 12),
    cut=st.floats(0.2, 0.8),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shares_split_galaxies_and_not_their_images(tmp_path, labels, n_groups, cut):
    groups = [f"{number % n_groups}-{label}" for number, label in enumerate(labels)]
    numbers_in = written_library(tmp_path / f"{uuid4()}.h5", labels, groups)
    everything = numbers_in(0, 1)
    assert sorted(everything) == list(range(len(labels)))
    parts = [_numbers(numbers_in, *share) for share in ((0, cut), (cut, 1))]
    assert sorted((*parts[0], *parts[1])) == sorted(everything)
    assert not {groups[number] for number in parts[0]} & {groups[number] for number in parts[1]}


def test_every_share_holds_both_labels_whatever_the_files_are_called(tmp_path):
    labels = [1] * 20 + [0] * 40
    numbers_in = written_library(tmp_path / "stamps.h5", labels, [str(number) for number in range(60)])
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        chosen = [labels[number] for number in numbers_in(low, low + 0.2)]
        assert (chosen.count(1), chosen.count(0)) == (4, 8)


def test_a_share_without_galaxies_is_refused(hdf5):
    with pytest.raises(InputError, match="none of the 2 galaxies lies in it"):
        open_stamps(of_hdf5(hdf5)).numbers_in((0.0, 0.1))


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
        ({"dataset": "pictures"}, "no data set pictures; it holds codes, complex, empty, galaxies"),
        ({"dataset": "galaxies"}, "no data set galaxies"),
        ({"dataset": "z"}, r"shape \(2,\), expected \(n, rows, columns\)"),
        ({"dataset": "empty"}, r"has shape \(\), expected \(n, rows, columns\)"),
        ({"dataset": "complex"}, "is of type complex64, expected integers or real numbers"),
        ({"dataset": "texts"}, r"is of type \|S1, expected integers or real numbers"),
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
