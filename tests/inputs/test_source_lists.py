"""A source list is read the same from every format, or refused with its problems."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surveyflow.errors import SourceListError
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.settings.workflow import ColumnMap, SourceListSpec
from surveyflow.values.listed import ListedSources
from surveyflow.values.sources import SourceList

COLUMNS = ColumnMap(id="ID", ra="RA", dec="DEC", redshift="zbest")
CATALOGS = Path(__file__).parents[3] / "shared" / "data"
HEADER = b"ID,RA,DEC,zbest\n"


def read(path: Path, columns: ColumnMap = COLUMNS, extension: str = "") -> SourceList:
    return listed_in(path, columns, extension).sources


def listed_in(path: Path, columns: ColumnMap = COLUMNS, extension: str = "") -> ListedSources:
    return read_source_list(SourceListSpec(path=Path(f"{path}{extension}"), columns=columns), "EGS", {})


def refusal(path: Path, content: bytes | Table | None = None, **kwargs: str) -> str:
    """The message with which a file is refused."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content.write(path)
    with pytest.raises(SourceListError) as caught:
        read(path, **kwargs)
    return str(caught.value)


def table(**changes: object) -> Table:
    columns = {"ID": [3, 1, 2], "name": ["a", "b", "c"], "RA": [150.1, 150.2, 150.3], "DEC": [2.1, -2.2, 2.3]}
    return Table(columns | {"zbest": [0.5, -99.0, np.nan]} | changes)


SEXTRACTOR = """\
# 3 people made this list
# 1 arcsec apertures
#   1 ID                     Running object number                       [count]
#   2 RA                     Right ascension of barycenter (J2000)       [deg]
#   3 DEC                    Declination of barycenter (J2000)           [deg]
#   4 FLUX_APER              Flux vector within fixed circular apertures [count]
#   6 zbest
         3   150.1  +2.1  1.0 2.0  0.5
         1   150.2  -2.2  1.0 2.0  -99
# a comment among the rows
\t 2\t150.3   2.3  1.0 2.0  nan \n"""

TEXTS = {
    "sextractor.cat": SEXTRACTOR,
    "zero_based.cat": "#0 ID\n#1 RA\n#2 DEC\n#3 zbest\n3 150.1 2.1 0.5\r\n1 150.2 -2.2 -999\r\n2 150.3 2.3 --\r\n",
    "zero_based_apart.cat": "# 0 ID\n# 1 RA\n# 2 DEC\n# 3 zbest\n3 150.1 2.1 0.5\n1 150.2 -2.2 -99.0\n2 150.3 2.3 NaN",
    "comma_in_text.cat": "# 1 ID\n# 2 RA\n# 3 DEC\n# 4 ref\n# 5 zbest\n3 150.1 2.1 a,b 0.5\n1 150.2 -2.2 c -99\n2 150.3 2.3 d -",
    "one_line.cat": "# made by hand\n# ID RA DEC zbest\n#\n3 150.1 2.1 0.5\n1 150.2 -2.2 -99\n2 150.3 2.3 nan\n",
    "prose_after_names.cat": "#ID RA DEC zbest\n# and so it is\n3 150.1 2.1 .5\n1 150.2 -2.2 -99\n2 150.3 2.3 nan",
    "plain_header.txt": "ID RA DEC zbest\n3 150.1 2.1 0.5\n1 150.2 -2.2 -99\n2 150.3 2.3 nan\n",
    "plain.csv": "ID,RA,DEC,zbest\n3,150.1,2.1,0.5\n1, 150.2, -2.2, -99\n2,150.3,2.3,\n",
    "quoted.csv": '"ID","name","RA","DEC","zbest"\n3,"x, y",150.1,2.1,0.5\n1,"",150.2,-2.2,-99\n2,z,150.3,2.3,""\n',
    "comments.csv": "# made by hand\nID,RA,DEC,zbest\n3,150.1,2.1,0.5\n1,150.2,-2.2,-99\n2,150.3,2.3,null\n\n",
    "commented_header.csv": "#ID,RA,DEC,zbest\n3,150.1,2.1,0.5\n1,150.2,-2.2,-99\n2,150.3,2.3,nan",
    "semicolons.csv": "ID;RA;DEC;zbest\n3;150.1;2.1;0.5\n1;150.2;-2.2;-99\n2;150.3;2.3;\n",
    "tabs.tsv": "ID\tRA\tDEC\tzbest\n3\t150.1\t2.1\t0.5\n1\t150.2\t-2.2\t-99\n2\t150.3\t2.3\t\n",
    "bom.csv": "\ufeffID,RA,DEC,zbest\n3,150.1,2.1,0.5\n1,150.2,-2.2,-99\n2,150.3,2.3,\n",
}
WRITERS: dict[str, Callable[[Path], None]] = {
    "list.fits": lambda path: table().write(path),
    "list.fits.gz": lambda path: table().write(path),
    "list.parquet": lambda path: table().write(path),
    "list.ecsv": lambda path: table().write(path),
    "list.vot": lambda path: table().write(path, format="votable"),
    "binary2.xml": lambda path: table().write(path, format="votable", tabledata_format="binary2"),
    "astropy.csv": lambda path: table().write(path, format="ascii.csv"),
    "astropy.tab": lambda path: table().write(path, format="ascii.tab"),
    "astropy.cat": lambda path: table().write(path, format="ascii.commented_header"),
    "wrong_suffix.fits": lambda path: table().write(path, format="parquet"),
    "no_suffix": lambda path: table().write(path, format="fits"),
    "gzipped.csv": lambda path: path.write_bytes(gzip.compress(TEXTS["plain.csv"].encode())),
    "pandas.parquet": lambda path: table().to_pandas().to_parquet(path),
} | {name: lambda path, text=text: path.write_bytes(text.encode()) for name, text in TEXTS.items()}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_sources(tmp_path, name):
    WRITERS[name](tmp_path / name)
    sources = read(tmp_path / name)
    assert sources.field == "EGS"
    np.testing.assert_array_equal(sources.source_id, [3, 1, 2])
    np.testing.assert_array_equal(sources.ra_deg, [150.1, 150.2, 150.3])
    np.testing.assert_array_equal(sources.dec_deg, [2.1, -2.2, 2.3])
    np.testing.assert_array_equal(sources.redshift, [0.5, np.nan, np.nan])
    for values in (sources.source_id, sources.ra_deg, sources.dec_deg, sources.redshift):
        assert values.dtype.isnative
        assert values.dtype.itemsize == 8


finite = st.floats(0, 359.9999, allow_subnormal=False)
rows = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), finite, st.floats(-90, 90)), min_size=1, max_size=5, unique_by=lambda row: row[0]
)


@given(rows=rows, suffix=st.sampled_from(["csv", "cat", "ecsv", "fits", "parquet", "vot"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_number_survives_any_format_exactly(tmp_path, rows, suffix):
    formats = {"csv": "ascii.csv", "cat": "ascii.commented_header", "ecsv": "ascii.ecsv", "vot": "votable"}
    ids, ra_deg, dec_deg = (np.array(column) for column in zip(*rows, strict=True))
    path = tmp_path / f"list.{suffix}"
    Table({"ID": ids.astype(np.int64), "RA": ra_deg, "DEC": dec_deg}).write(
        path, overwrite=True, format=formats.get(suffix, suffix)
    )
    sources = read(path, ColumnMap(id="ID", ra="RA", dec="DEC"))
    np.testing.assert_array_equal(sources.source_id, ids)
    np.testing.assert_array_equal(sources.ra_deg, ra_deg)
    np.testing.assert_array_equal(sources.dec_deg, dec_deg)


def test_a_number_whose_kind_changes_far_down_a_long_text_is_read(tmp_path):
    path = tmp_path / "long.csv"
    path.write_bytes(HEADER + b"".join(b"%d,150,2,-99\n" % row for row in range(100_000)) + b"100000,150.5,2.5,1.25\n")
    sources = read(path)
    assert len(sources) == 100_001
    assert (sources.ra_deg[-1], sources.redshift[-1]) == (150.5, 1.25)
    assert np.isnan(sources.redshift[:-1]).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-99", np.nan), ("-999.0", np.nan), ("-90", np.nan), ("masked", np.nan), ("0", 0.0), ("-0.005", -0.005)],
)
def test_sentinels_are_unknown_redshifts_and_small_blueshifts_are_kept(tmp_path, text, expected):
    (tmp_path / "list.csv").write_bytes(HEADER + f"1,150,2,{text}\n".encode())
    np.testing.assert_array_equal(read(tmp_path / "list.csv").redshift, [expected])


@pytest.mark.parametrize("name", ["list.fits", "list.parquet", "list.ecsv", "list.vot"])
def test_a_masked_redshift_is_unknown_and_a_masked_position_is_refused(tmp_path, name):
    masked = Table(table(ID=[1, 2, 3], zbest=[0.5, 1.0, 1.5]), masked=True)
    masked["zbest"].mask[1] = True
    masked.write(tmp_path / name, format="votable" if name.endswith("vot") else None)
    np.testing.assert_array_equal(read(tmp_path / name).redshift, [0.5, np.nan, 1.5])
    masked["DEC"].mask[2] = True
    masked["ID"].mask[0] = True
    masked.write(tmp_path / name, format="votable" if name.endswith("vot") else None, overwrite=True)
    message = refusal(tmp_path / name)
    assert "column DEC: row 3" in message
    assert "column ID: row 1 (missing)" in message


def test_a_parquet_column_of_nulls_is_unknown(tmp_path):
    values = pa.table({"ID": [1, 2], "RA": [1.0, 2.0], "DEC": [1.0, 2.0], "zbest": pa.array([None, 1.5])})
    pq.write_table(values, tmp_path / "list.parquet")
    np.testing.assert_array_equal(read(tmp_path / "list.parquet").redshift, [np.nan, 1.5])


def test_a_parquet_column_of_nothing_but_nulls_is_unknown(tmp_path):
    pq.write_table(pa.table({"ID": [1], "RA": [1.0], "DEC": [1.0], "zbest": pa.nulls(1)}), tmp_path / "list.parquet")
    np.testing.assert_array_equal(read(tmp_path / "list.parquet").redshift, [np.nan])


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u4"])
def test_ids_of_every_integer_type_are_read(tmp_path, dtype):
    table(ID=np.array([1, 2, 3], dtype)).write(tmp_path / "list.fits")
    assert read(tmp_path / "list.fits").source_id.tolist() == [1, 2, 3]


def test_positions_too_coarse_for_a_pixel_are_to_be_logged(tmp_path):
    table(RA=np.array([1, 2, 3], np.float32)).write(tmp_path / "list.fits")
    (caution,) = listed_in(tmp_path / "list.fits").cautions
    assert "positions of 32 bits field=EGS" in caution
    assert "column=RA" in caution


def test_without_a_redshift_column_every_redshift_is_unknown_and_that_is_to_be_logged(tmp_path):
    table().write(tmp_path / "list.fits")
    listed = listed_in(tmp_path / "list.fits", ColumnMap(id="ID", ra="RA", dec="DEC"))
    assert np.isnan(listed.sources.redshift).all()
    assert "no redshift column field=EGS" in listed.cautions[0]


def test_integral_floating_point_ids_are_accepted(tmp_path):
    table(ID=[3.0, 1.0, 2.0]).write(tmp_path / "list.fits")
    assert read(tmp_path / "list.fits").source_id.tolist() == [3, 1, 2]


def test_an_integer_fits_column_with_tnull_has_missing_values(tmp_path):
    columns = [fits.Column("ID", "J", array=[1, 2]), fits.Column("RA", "D", array=[1, 2]), fits.Column("DEC", "D", array=[1, 2])]
    columns.append(fits.Column("zbest", "J", null=-1, array=[-1, 2]))
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "list.fits")
    np.testing.assert_array_equal(read(tmp_path / "list.fits").redshift, [np.nan, 2.0])


def several_tables(path: Path) -> Path:
    tables = [fits.BinTableHDU(table(), name="FIRST"), fits.BinTableHDU(table(ID=[7, 8, 9]), name="SECOND")]
    other = fits.BinTableHDU(Table({"flux": [1.0]}), name="OTHER")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2)), name="IMAGE"), *tables, other]).writeto(path)
    return path


@pytest.mark.parametrize("extension", ["[SECOND]", "[second]", "[3]"])
def test_an_extension_is_found_by_name_and_by_number(tmp_path, extension):
    assert read(several_tables(tmp_path / "list.fits"), extension=extension).source_id.tolist() == [7, 8, 9]


def test_of_several_tables_the_one_with_the_columns_is_taken(tmp_path):
    path = tmp_path / "list.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table({"flux": [1.0]})), fits.BinTableHDU(table())]).writeto(path)
    assert len(read(path)) == 3


def test_tables_that_are_ambiguous_or_missing_are_refused(tmp_path):
    path = several_tables(tmp_path / "list.fits")
    assert "several tables with these columns: 2 FIRST, 3 SECOND. Name one" in refusal(path)
    assert "0 tables called [THIRD]; it holds 2 FIRST, 3 SECOND, 4 OTHER" in refusal(path, extension="[THIRD]")
    assert "0 tables called [IMAGE]" in refusal(path, extension="[IMAGE]")
    assert "no column DEC, ID, RA, zbest; it has flux" in refusal(path, extension="[OTHER]")
    assert "has no extensions. Leave out [1]" in refusal(tmp_path / "list.csv", HEADER + b"1,2,3,4\n", extension="[1]")


# Content of a broken text list, and words of the message.
BROKEN_TEXT = {
    "empty": (b"", ["is empty", "Fetch or write it again"]),
    "blank": (b" \n\n", ["is empty"]),
    "no rows": (HEADER, ["has no rows", "at least one source"]),
    "comments and no rows": (b"# ID RA DEC zbest\n", ["has no rows"]),
    "no names": (b"1 2 3 4\n2 3 4 5\n", ["no header line that names its 4 columns", "# ID RA DEC zbest"]),
    "too few names": (b"# 1 ID\n# 2 RA\n# 3 DEC\n# 4 zbest\n1 2 3\n", ["names column 4 in its header", "3 values"]),
    "a short row": (HEADER + b"1,2,3,4\n2,3,4\n", ["Expected 4 columns, got 3: 2,3,4", "truncated"]),
    "a cut row": (b"# ID RA DEC zbest\n1 2 3 4\n2 3", ["Expected 4 columns, got 2", "truncated"]),
    "binary": (bytes(range(256)), ["begins with b'", "expected a FITS, Parquet, CSV"]),
    "utf-16": (HEADER.decode().encode("utf-16"), ["is text in UTF-16", "Write the list as"]),
    "a web page": (b"<!DOCTYPE html>\n<html>404</html>", ["is a web page", "Fetch it again"]),
    "missing columns": (b"id,ra,DEC,zbset\n1,2,3,4\n", ["no column ID, RA, zbest; it has id, ra, DEC, zbset", "zbest -> zbset"]),
    "a column twice": (b"ID,RA,RA,DEC,zbest\n1,2,3,4,5\n", ["more than one column RA"]),
    "text among ids": (
        HEADER + b"1,2,3,4\ntrue,2,3,4\n",
        ["column ID: row 2 holds 'true', but 1 ids are whole numbers", "write the list as FITS"],
    ),
    "ids not whole": (HEADER + b"1,2,3,4\n1.5,2,3,4\n", ["column ID: row 2 (1.5): is missing or not an integer"]),
    "ids missing": (HEADER + b"1,2,3,4\n,2,3,4\n", ["column ID: row 2 (missing): is missing or not an integer"]),
    "ids infinite": (HEADER + b"inf,2,3,4\n", ["column ID: row 1 (inf)"]),
    "ids beyond 2^53": (HEADER + b"9007199254740993.0,2,3,4\n", ["too large to be exact", "64-bit"]),
    "ids beyond 2^63": (HEADER + b"9223372036854775808,2,3,4\n", ["too large to be exact", "2^63"]),
    "duplicates": (
        HEADER + b"8,2,3,4\n5,2,3,4\n8,2,3,4\n",
        ["1 id occurs more than once: 8 (rows 1, 3)", "Keep one row a source"],
    ),
    "sexagesimal": (HEADER + b"1,10:00:28,2,3\n", ["column RA: row 1 holds '10:00:28'", "decimal degrees"]),
    "ra out of range": (
        HEADER + b"1,360,2,3\n2,-0.1,2,3\n",
        ["column RA: row 1 (360.0), row 2 (-0.1): is missing or not in [0, 360)"],
    ),
    "dec out of range": (HEADER + b"1,2,90.5,3\n", ["column DEC: row 1 (90.5)", "[-90, 90]"]),
    "position missing": (HEADER + b"1,,-99,3\n", ["column RA: row 1 (missing)", "column DEC: row 1 (-99)", "remove their rows"]),
    "text among redshifts": (
        HEADER + b"1,2,3,4\n2,3,4,n.d.\n",
        ["column zbest: row 2 holds 'n.d.'", "leave unknown redshifts empty"],
    ),
    "redshift of -1": (HEADER + b"1,2,3,-1\n", ["column zbest: row 1 (-1): is not a redshift", "Write -99 or NaN"]),
    "redshift infinite": (HEADER + b"1,2,3,inf\n", ["column zbest: row 1 (inf): is not a redshift"]),
    "votable cut": (b"<?xml version='1.0'?>\n<VOTABLE version='1.4'><RESOURCE>", ["cannot be read as a table", "truncated"]),
    "votable in two files": (
        b"<?xml version='1.0'?>\n<v:VOTABLE version='1.4'><v:RESOURCE><v:TABLE><v:DATA><v:FITS>"
        b"<v:STREAM encoding='>' href='file:///dev/zero'/></v:FITS></v:DATA></v:TABLE></v:RESOURCE></v:VOTABLE>",
        ["says that its rows are in 'file:///dev/zero'", "only rows in the file itself are read", "Write the list again"],
    ),
    "parquet cut": (b"PAR1" + bytes(100), ["cannot be read as a table", "truncated"]),
    "ecsv damaged": (b"# %ECSV 1.0\n# ---\n# datatype: [}\nID\n1\n", ["cannot be read as a table"]),
    "gzip damaged": (gzip.compress(HEADER * 9999)[:-20], ["cannot be read as a table", "truncated"]),
}


@pytest.mark.parametrize("name", BROKEN_TEXT)
def test_a_broken_list_names_the_file_the_column_and_the_remedy(tmp_path, name):
    content, words = BROKEN_TEXT[name]
    message = refusal(tmp_path / "broken.cat", content)
    for word in ["broken.cat", *words]:
        assert word in message


BROKEN_TABLES = {
    "vectors": (table(RA=np.ones((3, 2))), "column RA: each row holds 2 values, expected one"),
    "truth values": (table(ID=[True, False, True]), "column ID: row 1 holds 'True', expected numbers"),
    "no rows": (table()[:0], "has no rows"),
}


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv"])
@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_a_broken_table_is_refused_in_every_format(tmp_path, name, suffix):
    content, words = BROKEN_TABLES[name]
    assert words in refusal(tmp_path / f"broken.{suffix}", content)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 2**24), (np.float64, 2**53)])
def test_a_floating_point_id_must_be_exact_in_its_own_type(tmp_path, dtype, largest):
    path = tmp_path / "list.fits"
    table(ID=np.array([1, 2, largest - 1], dtype)).write(path)
    assert read(path).source_id[-1] == largest - 1
    assert "too large to be exact" in refusal(tmp_path / "large.fits", table(ID=np.array([1, 2, largest], dtype)))


def test_an_unsigned_id_must_fit_into_int64(tmp_path):
    ids = np.array([1, 2, 2**63], np.uint64)
    assert "row 3 (9223372036854775808): is too large" in refusal(tmp_path / "list.fits", table(ID=ids))


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "parquet", "vot"])
@pytest.mark.parametrize("unit", ["rad", "arcsec"])
def test_a_unit_that_is_not_degrees_is_refused(tmp_path, suffix, unit):
    wrong = table()
    wrong["RA"].unit = unit
    wrong["DEC"].unit = "deg"
    wrong.write(tmp_path / f"list.{suffix}", format="votable" if suffix == "vot" else None)
    message = refusal(tmp_path / f"list.{suffix}")
    assert f"column RA: its unit is '{unit}', expected degrees" in message
    assert "DEC" not in message


def test_a_unit_in_a_sextractor_header_is_read(tmp_path):
    assert "its unit is 'h'" in refusal(tmp_path / "list.cat", SEXTRACTOR.replace("[deg]", "[h]", 1).encode())


def test_duplicates_are_listed_up_to_ten_with_their_count(tmp_path):
    message = refusal(tmp_path / "list.csv", HEADER + b"".join(b"%d,1,2,3\n" % (row % 12) for row in range(48)))
    assert "12 ids occur more than once: 0 (rows 1, 13, 25, ...), 1 (rows 2, 14, 26, ...)" in message
    assert "9 (rows 10, 22, 34, ...), ... ." not in message
    assert "10 (rows" not in message


def test_rows_are_listed_up_to_ten_with_their_count(tmp_path):
    message = refusal(tmp_path / "list.csv", HEADER + b"".join(b"%d,400,2,3\n" % row for row in range(25)))
    assert "row 10 (400) and 15 more: is missing or not in [0, 360)" in message


def test_every_problem_of_a_list_is_reported_at_once(tmp_path):
    message = refusal(tmp_path / "list.csv", HEADER + b"1,400,,x\n1,1,1,1\n")
    assert [line.split(":")[0] for line in message.splitlines()] == [
        f"list.csv, column {name}" for name in ("ID", "RA", "DEC", "zbest")
    ]


def test_a_fits_file_cut_anywhere_is_refused(tmp_path):
    whole = tmp_path / "whole.fits"
    Table({name: np.arange(400.0) / 10 for name in ("ID", "RA", "DEC", "zbest")}).write(whole)
    content = whole.read_bytes()
    for n_bytes in (100, 2879, 3000, 5759, 5760, 5761, 9000, len(content) - 2880):
        message = refusal(tmp_path / "cut.fits", content[:n_bytes])
        assert "cut.fits" in message
        assert "truncated" in message


def test_a_fits_image_is_refused(tmp_path):
    fits.PrimaryHDU(np.zeros((4, 4), np.float32)).writeto(tmp_path / "image.fits")
    assert "image.fits holds no table; its HDUs are 0 PrimaryHDU. Name a catalog" in refusal(tmp_path / "image.fits")


def test_a_list_that_is_not_there_is_refused(tmp_path):
    table().write(tmp_path / "egs.fits")
    assert "Did you mean egs.fits?" in refusal(tmp_path / "esg.fits")
    assert "is a folder" in refusal(tmp_path)


def test_the_real_cosmos_list_is_read_completely():
    path = CATALOGS / "catalogs" / "cosmos_3dhst.v4.1_f125w.galfit"
    if not path.exists():
        pytest.skip("the shared real data are not here")
    sources = read(path, ColumnMap(id="NUMBER", ra="RA", dec="DEC"))
    assert len(sources) == 33_879
    assert (sources.source_id[0], sources.ra_deg[0], sources.dec_deg[0]) == (1, 150.071442, 2.169014)
    assert 149.9 < sources.ra_deg.min() < sources.ra_deg.max() < 150.3


def test_the_real_fits_list_is_read_completely():
    path = CATALOGS / "images" / "real_galaxy_catalog_26_extension_example.fits"
    if not path.exists():
        pytest.skip("the shared real data are not here")
    with fits.open(path) as hdus:
        expected = hdus[1].data["RA"].astype(np.float64)
    sources = read(path, ColumnMap(id="IDENT", ra="RA", dec="DEC", redshift="MAG"))
    np.testing.assert_array_equal(sources.ra_deg, expected)
    assert len(sources) == 100


def zeros(n_bytes: int) -> bytes:
    """Zeros, packed by gzip."""
    block = 2**24
    return gzip.compress(bytes(block), 1) * (n_bytes // block)


VOTABLE = b"<VOTABLE><RESOURCE><TABLE nrows='999999999999'/></RESOURCE></VOTABLE>"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# 1 ID x\n# 2 RA x\n# 3 DEC x\n# 999999999 zbest x\n", "names column 999999999 in its header"),
        (gzip.compress(HEADER * 200) + zeros(2**29), "holds more than 268,435,456 bytes of text"),
        (VOTABLE, "says that it has 999,999,999,999 rows"),
    ],
)
def test_no_claim_of_a_list_is_believed(tmp_path, content, words):
    assert re.search(words, refusal(tmp_path / "list", content))


@pytest.mark.parametrize(
    ("key", "value"), [("TFIELDS", 999_999_999), ("TFIELDS", -1), ("NAXIS2", 10**11), ("TFORM1", 5.5), ("TTYPE1", True)]
)
def test_no_claim_of_a_fits_table_is_believed(tmp_path, key, value):
    table().write(tmp_path / "list.fits")
    content = bytearray((tmp_path / "list.fits").read_bytes())
    place = content.index(key.encode().ljust(8) + b"=")
    content[place : place + 80] = f"{key:8}= {value!s:>20}".encode().ljust(80)
    refusal(tmp_path / "list.fits", bytes(content))
