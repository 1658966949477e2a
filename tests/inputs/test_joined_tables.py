"""Tables join a source list by the id, and several files are one list."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surveyflow.errors import SourceListError
from surveyflow.inputs import list_files, source_lists
from surveyflow.inputs.columns import Column
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.settings.workflow import SourceListSpec
from surveyflow.values.listed import ListedSources

RANGES = {"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)}


def write(path: Path, **columns: Any) -> Path:
    Table(columns).write(path, overwrite=True)
    return path


@pytest.fixture
def photometry(tmp_path) -> Path:
    return write(tmp_path / "phot.fits", ID=[3, 1, 2], RA=[150.1, 150.2, 150.3], DEC=[2.1, 2.2, 2.3], mag=[21.0, 22.0, 23.0])


def read(path: Path | list[Path], keep: tuple[str, ...] = (), **tables: Any) -> ListedSources:
    spec = {"path": path, "columns": {"id": "ID", "ra": "RA", "dec": "DEC", "keep": keep}} | tables
    return read_source_list(SourceListSpec.model_validate(spec), "COSMOS", RANGES)


def refusal(path: Path | list[Path], **tables: Any) -> str:
    with pytest.raises(SourceListError) as caught:
        read(path, **tables)
    return str(caught.value)


def redshifts(path: Path, **more: Any) -> dict[str, Any]:
    return {"path": path, "id": "ID", "column": "zbest"} | more


def test_redshifts_join_by_the_id_and_what_has_no_partner_is_counted(tmp_path, photometry):
    table = write(tmp_path / "z.csv", ID=[2, 9, 3, 8], zbest=[0.7, 5.0, -99.0, 1.0], quality=[4, 1, 2, 3])
    listed = read(photometry, redshifts=redshifts(table, keep=("quality as z_quality",)))
    np.testing.assert_array_equal(listed.sources.source_id, [3, 1, 2])
    np.testing.assert_array_equal(listed.sources.redshift, [np.nan, np.nan, 0.7])
    assert listed.kept["z_quality"].values.to_pylist() == [2, None, 4]
    assert str(listed.joins[0]) == "redshifts: 1 of 3 sources have no row in z.csv; 2 of its rows are of no source"
    assert not listed.joins[0].is_complete


def test_any_number_of_tables_join(tmp_path, photometry):
    masses = write(tmp_path / "masses.fits", id=[1, 2, 3], log_mass=[9.0, 10.0, 11.0])
    names = write(tmp_path / "names.parquet", number=[1.0, 2.0, 3.0], name=["a", "b", "c"])
    joined = ({"path": masses, "id": "id", "keep": ("log_mass",)}, {"path": names, "id": "number", "keep": ("name as nick",)})
    listed = read(photometry, keep=("mag",), joined=joined)
    assert {name: column.values.to_pylist() for name, column in listed.kept.items()} == {
        "mag": [21.0, 22.0, 23.0],
        "log_mass": [11.0, 9.0, 10.0],
        "nick": ["c", "a", "b"],
    }
    assert [join.role for join in listed.joins] == ["joined 1", "joined 2"]
    assert all(join.is_complete for join in listed.joins)


@pytest.mark.parametrize("form", ["fits", "parquet"])
def test_a_table_is_read_piece_by_piece_with_the_same_result(tmp_path, monkeypatch, form):
    ids = np.random.default_rng(5).permutation(60)
    phot = write(tmp_path / "phot.fits", ID=ids[:40], RA=ids[:40] + 0.5, DEC=ids[:40] * 0.1)
    redshift = np.where(ids % 5, ids / 60.0, -99.0)
    table = write(
        tmp_path / f"z.{form}", ID=ids[::-1], zbest=redshift[::-1], nick=np.array([f"n{number}" for number in ids[::-1]])
    )
    own = redshifts(table, keep=("nick",))
    whole = read(phot, redshifts=own)
    monkeypatch.setattr(source_lists, "parts_of_list", partial(source_lists.parts_of_list, rows_per_part=7))
    sizes = noting_what_is_read(monkeypatch)
    pieces = read(phot, redshifts=own)
    of_ids, of_all = ([size for size, names in sizes if (names == {"ID"}) == only] for only in (True, False))
    assert of_ids == [*[7] * 8, 4]
    assert of_all[0] == 40
    assert set(of_all[1:]) == {7, 4}
    np.testing.assert_array_equal(pieces.sources.redshift, whole.sources.redshift)
    assert pieces.kept["nick"].values.equals(whole.kept["nick"].values)
    assert pieces.kept["nick"].values.to_pylist() == [f"n{number}" for number in ids[:40]]
    assert pieces.joins == whole.joins
    assert (whole.joins[0].n_rows, whole.joins[0].n_found) == (60, 40)


def noting_what_is_read(monkeypatch) -> list[tuple[int, set[str]]]:
    """The number of rows of everything that is read from now on, and the names of its columns."""
    noted, read_columns = [], source_lists.read_columns

    def reading(*what: Any) -> dict[str, Column]:
        columns = read_columns(*what)
        noted.append((len(columns["ID"].values), set(columns)))
        return columns

    monkeypatch.setattr(source_lists, "read_columns", reading)
    return noted


@pytest.mark.parametrize("form", ["fits", "parquet"])
def test_only_the_ids_are_read_of_pieces_that_join_no_source(tmp_path, monkeypatch, form):
    """A FITS file may have a second table with such ids: the one that has all columns is meant."""
    phot = write(tmp_path / "phot.fits", ID=[23, 21], RA=[150.1, 150.2], DEC=[2.1, 2.2])
    table = write(tmp_path / f"z.{form}", ID=np.arange(40), zbest=np.arange(40) / 40)
    if form == "fits":
        fits.append(table, Table({"ID": [1, 2]}).as_array())
    monkeypatch.setattr(source_lists, "parts_of_list", partial(source_lists.parts_of_list, rows_per_part=10))
    noted = noting_what_is_read(monkeypatch)
    listed = read(phot, redshifts=redshifts(table))
    np.testing.assert_array_equal(listed.sources.redshift, [23 / 40, 21 / 40])
    of_ids, of_all = (10, {"ID"}), (10, {"ID", "zbest"})
    assert noted == [(2, {"ID", "RA", "DEC"}), of_ids, of_all, of_ids, of_ids, of_all, of_ids]
    assert (listed.joins[0].n_rows, listed.joins[0].n_found) == (40, 2)


def test_rows_of_one_source_that_differ_are_found_in_different_pieces(tmp_path, photometry, monkeypatch):
    monkeypatch.setattr(source_lists, "parts_of_list", partial(source_lists.parts_of_list, rows_per_part=2))
    table = write(tmp_path / "z.fits", ID=[1, 7, 8, 9, 1], zbest=[0.7, 1.0, 1.0, 1.0, 0.8])
    assert "1 ids of the source list have several rows that differ: 1." in refusal(photometry, redshifts=redshifts(table))
    bad = write(tmp_path / "bad.fits", ID=[1, 2, 3, 5], zbest=[0.7, 1.0, 1.0, np.inf])
    assert "row 4" in refusal(photometry, redshifts=redshifts(bad))


@pytest.mark.parametrize("form", ["fits", "parquet"])
@pytest.mark.parametrize("way", ["samples", "grid", "grid in a column"])
def test_distributions_join(tmp_path, photometry, way, form):
    samples = [[1.0, 1, 1, 2], [2.0, 2, 2, 2]]
    densities, redshift = [[0.0, 1, 0, 0], [0.0, 0, 1, 0]], [[0.0, 1, 2, 3]] * 2
    columns = {"ID": [1, 3], "pz": samples if way == "samples" else densities, "z": redshift}
    table = tmp_path / f"pz.{form}"
    if form == "fits":
        write(table, **columns)
    else:
        pq.write_table(pa.table(columns), table)
    stated = {
        "samples": {"samples": "pz"},
        "grid": {"grid": {"density": "pz", "start": 0.0, "step": 1.0}},
        "grid in a column": {"grid": {"density": "pz", "grid": "z"}},
    }
    own = {"path": table, "id": "ID"} | stated[way]
    listed = read(photometry, redshifts=own)
    assert np.isnan(listed.sources.redshift).tolist() == [False, False, True]
    assert listed.shares is not None
    assert listed.shares.chosen.tolist() == [1, 0, -1]

    for part, chosen in zip(list_files.parts_of_list([photometry], {"ID"}, 1), [1, 0, -1], strict=True):
        spec = SourceListSpec(path=photometry, columns={"id": "ID", "ra": "RA", "dec": "DEC"}, redshifts=own)
        of_part = read_source_list(spec, "COSMOS", RANGES, part)
        assert of_part.shares is not None
        assert of_part.shares.chosen.tolist() == [chosen]


@pytest.mark.parametrize("odd", [[None], [None, None], [[0.9]], [[]]], ids=str)
def test_distributions_of_any_length_may_lie_in_any_piece_and_file(tmp_path, monkeypatch, odd):
    pz = [*odd, [0.7, 0.8, 0.9], [1.7, 1.8, 1.9]]
    pz += [[0.6, 0.7, 0.8]] * (6 - len(pz))
    ids = np.arange(6)
    both = pa.table({"ID": ids, "RA": ids + 0.5, "DEC": ids * 0.1, "pz": pa.array(pz, pa.list_(pa.float64()))})
    pq.write_table(both, tmp_path / "z.parquet")
    pq.write_table(both.drop_columns("pz"), tmp_path / "phot.parquet")
    own = {"path": tmp_path / "z.parquet", "id": "ID", "samples": "pz"}
    whole = read(tmp_path / "phot.parquet", redshifts=own).sources.redshift
    np.testing.assert_array_equal(np.isnan(whole), [not each for each in pz])
    files = []
    for start in range(0, 6, 2):
        files.append(tmp_path / f"{start}.parquet")
        pq.write_table(both.slice(start, 2), files[-1])
    spec = {"path": files, "columns": {"id": "ID", "ra": "RA", "dec": "DEC", "redshift_samples": "pz"}}
    several = read_source_list(SourceListSpec.model_validate(spec), "COSMOS", RANGES)
    np.testing.assert_array_equal(several.sources.redshift, whole)
    heads = [read_source_list(SourceListSpec.model_validate(spec | {"path": file}), "COSMOS", RANGES).heads for file in files[1:]]
    list_files.check_alike(heads)
    monkeypatch.setattr(source_lists, "parts_of_list", partial(source_lists.parts_of_list, rows_per_part=2))
    pieces = read(tmp_path / "phot.parquet", redshifts=own)
    np.testing.assert_array_equal(pieces.sources.redshift, whole)


@given(
    ids=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=12, unique=True),
    of_table=st.lists(st.integers(-(2**62), 2**62), max_size=12, unique=True),
    names=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_join_is_that_of_pandas(tmp_path, ids, of_table, names):
    of_table = [ids[0], *[each for each in of_table if each != ids[0]]]
    shown = [f"n{each}" for each in ids] if names else ids
    rows = [f"n{each}" for each in of_table] if names else of_table
    phot = write(tmp_path / "p.fits", ID=shown, RA=np.full(len(ids), 150.0), DEC=np.full(len(ids), 2.0))
    table = write(tmp_path / "z.fits", ID=rows, zbest=np.linspace(0, 3, len(rows)))
    listed = read(phot, redshifts=redshifts(table))
    expected = Table.read(phot).to_pandas().merge(Table.read(table).to_pandas(), on="ID", how="left")["zbest"]
    np.testing.assert_array_equal(listed.sources.redshift, expected.to_numpy())
    assert listed.joins[0].n_found == expected.notna().sum()


def test_an_id_with_rows_that_differ_is_refused_and_with_equal_ones_is_counted(tmp_path, photometry):
    write(tmp_path / "z.fits", ID=[1, 1, 2, 3], zbest=[0.7, 0.8, np.nan, 1.0])
    assert "z.fits: 1 ids of the source list have several rows that differ: 1. Keep the row" in refusal(
        photometry, redshifts=redshifts(tmp_path / "z.fits")
    )
    write(tmp_path / "z.fits", ID=[1, 1, 2, 2, 3, 7, 7], zbest=[0.7, 0.7, np.nan, np.nan, 1.0, 1.0, 2.0])
    listed = read(photometry, redshifts=redshifts(tmp_path / "z.fits"))
    assert "2 have several rows, which are the same" in str(listed.joins[0])
    np.testing.assert_array_equal(listed.sources.redshift, [1.0, 0.7, np.nan])


def test_equal_arrays_are_equal_although_they_hold_nan(tmp_path, photometry):
    pq.write_table(pa.table({"ID": [1, 1, 3], "pz": [[0.7, np.nan]] * 3}), tmp_path / "pz.parquet")
    listed = read(photometry, redshifts={"path": tmp_path / "pz.parquet", "id": "ID", "samples": "pz"})
    assert listed.joins[0].n_repeated == 1
    np.testing.assert_array_equal(listed.sources.redshift, [0.7, 0.7, np.nan])


def test_tables_that_do_not_belong_to_the_list_are_refused(tmp_path, photometry):
    write(tmp_path / "other.fits", ID=[101, 102], zbest=[1.0, 1.0])
    assert "none of its 2 rows has an id of the source list" in refusal(photometry, redshifts=redshifts(tmp_path / "other.fits"))
    write(tmp_path / "names.fits", ID=["1", "2"], zbest=[1.0, 1.0])
    assert "its ids are text, but those of the source list are numbers" in refusal(
        photometry, redshifts=redshifts(tmp_path / "names.fits")
    )
    write(tmp_path / "odd.fits", ID=[1.0, 2.5], zbest=[1.0, 1.0])
    assert "row 2 (2.5) is not an integer" in refusal(photometry, redshifts=redshifts(tmp_path / "odd.fits"))
    write(tmp_path / "bad.fits", ID=[1, 2], zbest=[1.0, -1.0])
    assert "bad.fits, column zbest: row 2 (-1.0): is not a redshift" in refusal(
        photometry, redshifts=redshifts(tmp_path / "bad.fits")
    )


def test_rows_without_an_id_have_no_partner(tmp_path, photometry):
    write(tmp_path / "z.ecsv", ID=MaskedColumn([0, 1, 2], mask=[True, False, False]), zbest=[0.1, 0.2, 0.3])
    listed = read(photometry, redshifts=redshifts(tmp_path / "z.ecsv"))
    assert (listed.joins[0].n_found, listed.joins[0].n_unused) == (2, 1)


def tile(path: Path, ids: Any, **changes: Any) -> Path:
    n_rows = len(ids)
    return write(path, **({"ID": ids, "RA": np.full(n_rows, 150.0), "DEC": np.full(n_rows, 2.0)} | changes))


def test_several_files_are_one_list(tmp_path):
    files = [tile(tmp_path / "a.fits", [5, 6]), tile(tmp_path / "b.csv", [7]), tile(tmp_path / "c.parquet", [1, 2])]
    assert read(files).sources.source_id.tolist() == [5, 6, 7, 1, 2]


def test_files_that_contradict_each_other_are_refused(tmp_path):
    one = tile(tmp_path / "a.fits", [5, 6])
    assert "2 files, column ID: 1 id occurs more than once: 6 (rows 2, 3)" in refusal([one, tile(tmp_path / "b.fits", [6])])
    assert "column ID: its kind of values is 'text' in c.fits, but 'numbers' in a.fits" in refusal(
        [one, tile(tmp_path / "c.fits", ["x"])]
    )
    wrong = tile(tmp_path / "d.fits", [7, 8], RA=[400.0, 1.0])
    assert "d.fits, column RA: row 1 (400.0)" in refusal([one, wrong])
    lacking = write(tmp_path / "e.fits", ID=[9], RA=[1.0])
    assert "e.fits has no column DEC" in refusal([one, lacking])


def test_integers_and_whole_numbers_of_two_files_stay_exact_astronomy_commons_hats_import_487(tmp_path):
    large = 2741725300002303
    files = [tile(tmp_path / "a.fits", [2**60 + 1]), tile(tmp_path / "b.fits", [float(large)])]
    assert read(files).sources.source_id.tolist() == [2**60 + 1, large]


def test_signed_and_unsigned_integers_of_two_files_stay_exact(tmp_path):
    parts = []
    for kind in (np.int64, np.uint64):
        ids = np.array([1, 2], kind) + kind(2**60 + 2 * len(parts))
        columns = {"ID": ids, "gaia": ids, "RA": [150.0, 150.1], "DEC": [2.0, 2.1]}
        parts.append(tmp_path / f"{len(parts)}.parquet")
        pq.write_table(pa.table(columns), parts[-1])
    listed = read(parts, keep=("gaia",))
    assert listed.sources.source_id.tolist() == [2**60 + each for each in (1, 2, 3, 4)]
    assert listed.kept["gaia"].values.to_pylist() == listed.sources.source_id.tolist()


def test_no_digits_of_kept_integers_are_lost_to_the_fractions_of_another_file(tmp_path):
    files = [
        tile(tmp_path / f"{name}.fits", [number], gaia=[value])
        for number, (name, value) in enumerate([("a", 2**53 + 1), ("b", 1.5)])
    ]
    words = r"column gaia: it holds integers beyond 2\^53 in a.fits and fractions in b.fits"
    with pytest.raises(SourceListError, match=words):
        read(files, keep=("gaia",))
    files[0] = tile(tmp_path / "c.fits", [3], gaia=[2**53])
    assert read(files, keep=("gaia",)).kept["gaia"].values.to_pylist() == [2.0**53, 1.5]


def test_an_id_that_is_repeated_is_named_with_all_of_its_digits(tmp_path):
    files = [tile(tmp_path / f"{name}.fits", [2**53 + 1]) for name in "ab"]
    assert "9007199254740993 (rows 1, 2)" in refusal(files)


@pytest.mark.parametrize("other", ["tiles", "tiles/../tiles/a.parquet", "link.parquet"])
def test_a_file_that_is_named_twice_is_refused(tmp_path, other):
    (tmp_path / "tiles").mkdir()
    file = tile(tmp_path / "tiles/a.parquet", [1, 2])
    (tmp_path / "link.parquet").symlink_to(file)
    assert "is named twice, and its rows would count twice" in refusal([file, tmp_path / other])


def parts_in(folder: Path, *names: str) -> Path:
    """A folder with a file for each name, of one source: 1, 2 and so on."""
    for number, name in enumerate(names, 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"ID": [number], "RA": [150.0], "DEC": [2.0]}), folder / name)
    return folder


def test_a_folder_stands_for_all_parquet_files_in_it_and_below_it(tmp_path):
    folder = parts_in(tmp_path / "list", "a.parquet", "b.PARQUET", "c.pq", "d/_order=5/e.parq", "_metadata", ".hidden/f.parquet")
    elsewhere = parts_in(tmp_path / "elsewhere", "g.parquet")
    pq.write_table(pa.table({"ID": [7], "RA": [150.0], "DEC": [2.0]}), elsewhere / "g.parquet")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "linked too").symlink_to(elsewhere)
    (folder / "around").symlink_to(folder)
    (folder / "README.txt").write_text("a list")
    assert sorted(read(folder).sources.source_id.tolist()) == [1, 2, 3, 4, 7]


@pytest.mark.parametrize(
    ("name", "told"), [("b.parquet.part", "is a Parquet file, but its name does not end in"), ("part-0", "part-0")]
)
def test_a_parquet_file_that_may_or_may_not_belong_to_a_folder_is_refused(tmp_path, name, told):
    assert told in refusal(parts_in(tmp_path / "list", "a.parquet", name))


def test_a_part_that_is_not_there_or_cannot_be_read_is_refused(tmp_path, monkeypatch):
    folder = parts_in(tmp_path / "list", "a.parquet", "below/b.parquet")
    (folder / "c.parquet").symlink_to(tmp_path / "gone.parquet")
    assert "c.parquet is not an ordinary file, or is a broken link" in refusal(folder)
    (folder / "c.parquet").unlink()
    os.mkfifo(folder / "c.parquet")
    assert "c.parquet is not an ordinary file" in refusal(folder)
    (folder / "c.parquet").unlink()
    scan = os.scandir

    def refusing(place):
        if Path(place).name == "below":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refusing)
    assert "below cannot be read: Permission denied" in refusal(folder)


def hats_catalog(folder: Path, n_rows: int = 4) -> Path:
    """A catalog of two partitions inside a collection whose margin repeats rows."""
    for place, ids in (("main/dataset/Norder=0/Dir=0/Npix=1", [1, 2]), ("main/dataset/Norder=0/Dir=0/Npix=4", [3, 4])):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"ID": ids, "RA": [1.0, 2.0], "DEC": [1.0, 2.0]}), folder / f"{place}.parquet")
    margin = folder / "main_margin/dataset/Norder=0/Dir=0/Npix=1.parquet"
    margin.parent.mkdir(parents=True)
    pq.write_table(pa.table({"ID": [1], "RA": [1.0], "DEC": [1.0]}), margin)
    (folder / "main/dataset/_metadata").write_bytes(b"not a table")
    (folder / "main/hats.properties").write_text(f"#HATS catalog\ndataproduct_type=object\nhats_nrows={n_rows}\n")
    (folder / "collection.properties").write_text("obs_collection=test\nhats_primary_table_url=main\n")
    return folder


def test_a_hats_collection_is_a_list_of_its_primary_rows(tmp_path):
    folder = hats_catalog(tmp_path / "survey")
    assert read(folder).sources.source_id.tolist() == [1, 2, 3, 4]
    assert read(folder / "main").sources.source_id.tolist() == [1, 2, 3, 4]
    assert read(folder / "main/dataset/Norder=0").sources.source_id.tolist() == [1, 2, 3, 4]


def test_a_thumbnail_of_a_hats_catalog_is_not_one_of_its_partitions(tmp_path):
    folder = hats_catalog(tmp_path / "survey") / "main"
    pq.write_table(pa.table({"ID": [1, 3], "RA": [1.0, 1.0], "DEC": [1.0, 1.0]}), folder / "dataset/data_thumbnail.parquet")
    (folder / "partition_info.csv").write_text("Norder,Dir,Npix,num_rows\n0,0,1,2\n0,0,4,2\n")
    assert read(folder).sources.source_id.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("0,1\n0,4\n1,17\n", "the partition Norder=1, Npix=17 is listed, but has no file"),
        ("0,1\n", "the partition Norder=0, Npix=4 has a file, but is not listed"),
        ("0,one\n", "partition_info.csv is not a list of partitions"),
    ],
)
def test_a_hats_catalog_whose_partitions_are_not_those_that_it_lists_is_refused(tmp_path, cells, told):
    folder = hats_catalog(tmp_path / "survey") / "main"
    (folder / "hats.properties").write_text("dataproduct_type=object\n")  # states no number of rows
    (folder / "partition_info.csv").write_text(f"Norder,Npix\n{cells}")
    assert told in refusal(folder)


@pytest.mark.parametrize("kind", ["margin", "index"])
def test_a_margin_or_an_index_is_not_a_source_list(tmp_path, kind):
    folder = hats_catalog(tmp_path / "survey") / "main"
    (folder / "hats.properties").write_text(f"dataproduct_type={kind}\nhats_nrows=4\n")
    assert f"is the {kind} of a HATS catalog, and repeats its rows" in refusal(folder)


def test_a_collection_that_lies_in_its_primary_table_is_a_list(tmp_path):
    folder = hats_catalog(tmp_path / "survey") / "main"
    (folder / "collection").mkdir()
    (folder / "collection/collection.properties").write_text("hats_primary_table_url=..\n")
    assert read(folder / "collection").sources.source_id.tolist() == [1, 2, 3, 4]


def test_a_folder_that_is_not_a_complete_catalog_is_refused(tmp_path):
    assert "its files have 4 rows, but it states 5. Fetch the catalog again" in refusal(hats_catalog(tmp_path / "cut", 5))
    (tmp_path / "empty").mkdir()
    assert "is a folder without Parquet files" in refusal(tmp_path / "empty")
    (tmp_path / "cut/collection.properties").write_text("hats_primary_table_url=../../etc\n")
    assert "whose primary table '../../etc' is not in it" in refusal(tmp_path / "cut")


def test_redshifts_are_stated_once(tmp_path, photometry):
    with pytest.raises(ValueError, match="both `columns` and `redshifts` state redshifts"):
        SourceListSpec(
            path=photometry, columns={"id": "ID", "ra": "RA", "dec": "DEC", "redshift": "z"}, redshifts=redshifts(photometry)
        )
    with pytest.raises(ValueError, match="it must name one of `column`, `samples` and `grid`"):
        SourceListSpec(
            path=photometry, columns={"id": "ID", "ra": "RA", "dec": "DEC"}, redshifts={"path": photometry, "id": "ID"}
        )
