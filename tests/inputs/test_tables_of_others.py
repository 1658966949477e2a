"""Tables as other programs and archives write them: read with their numbers, or named as what they are and refused."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked

from surveyflow.errors import SourceListError
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.settings.workflow import ColumnMap, SourceListSpec
from surveyflow.values.listed import ListedSources

IDS, RA, DEC, Z = [11, 12, 13, 14], [150.1001, 150.1005, 150.0996, 150.101], [2.2001, 2.2006, 2.1995, 2.199], [0.7, 1.1, 0.9, 1.4]
SOME_Z = [0.7, np.nan, 0.9, 1.4]
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "field-cases.md"


def read(path: Path, **names: Any) -> ListedSources:
    columns = {"id": "id", "ra": "ra", "dec": "dec", "redshift": "z"} | names
    return read_source_list(SourceListSpec(path=path, columns=ColumnMap(**columns)), "COSMOS", {"F814W": (0.5, 1.5)})


def refusal(path: Path, **names: Any) -> str:
    with pytest.raises(SourceListError) as caught:
        read(path, **names)
    assert "damaged" not in str(caught.value)
    return str(caught.value)


def table(**changes: Any) -> Table:
    return Table({"id": IDS, "ra": RA, "dec": DEC, "z": Z} | changes)


def rows(form: str, z: list[Any] | None = None) -> str:
    return "".join(form.format(*row) + "\n" for row in zip(IDS, RA, DEC, Z if z is None else z, strict=True))


def fits_table(path: Path, *columns: fits.Column) -> None:
    given = {column.name for column in columns}
    plain = [fits.Column("id", "K", array=IDS), fits.Column("ra", "D", array=RA), fits.Column("dec", "D", array=DEC)]
    plain.append(fits.Column("z", "D", array=Z))
    fits.BinTableHDU.from_columns([column for column in plain if column.name not in given] + list(columns)).writeto(path)


def votable(fields: str = "", cells: str = "", z: list[Any] | None = None, info: str = "") -> str:
    """A VOTable; ``fields`` are further FIELD elements, or ones that replace those of the same name."""
    kinds = {"id": "long", "ra": "double", "dec": "double", "z": "double"}
    plain = {name: f'<FIELD name="{name}" datatype="{kind}"/>' for name, kind in kinds.items()}
    given = re.findall(r'<FIELD name="(\w+)"[^>]*?(?:/>|>.*?</FIELD>)', fields, re.DOTALL)
    parts = [text for name, text in plain.items() if name not in given]
    order = [name for name in plain if name not in given] + given
    values = dict(zip(("id", "ra", "dec", "z"), (IDS, RA, DEC, Z if z is None else z), strict=True))
    body = "".join(
        "<TR>" + "".join(f"<TD>{values[name][row]}</TD>" if name in values else f"<TD>{cells}</TD>" for name in order) + "</TR>"
        for row in range(4)
    )
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f"{info}<TABLE>{''.join(parts)}{fields}<DATA><TABLEDATA>{body}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )


def parquet(path: Path, **changes: Any) -> None:
    pq.write_table(pa.table({"id": IDS, "ra": RA, "dec": DEC, "z": Z} | changes), path)


def decimals(values: list[Any], digits: int, scale: int) -> pa.Array:
    return pa.array([Decimal(str(value)) for value in values], pa.decimal128(digits, scale))


MRT = """Title: A catalog
Authors: Nobody N.
Table: Sources
================================================================================
Byte-by-byte Description of file: table1.txt
--------------------------------------------------------------------------------
   Bytes Format Units   Label  Explanations
--------------------------------------------------------------------------------
   1-  2 I2     ---     id     Number
   4- 11 F8.4   deg     ra     Right ascension
  13- 18 F6.4   deg     dec    Declination
  20- 23 F4.2   ---     z      ?{null} Redshift
--------------------------------------------------------------------------------
"""
VIZIER = """#
#   VizieR Astronomical Server
#Name: J/ApJS/1/1/table1
#Column\tra\t(F10.6)\tRight ascension\t[ucd=pos.eq.ra;meta.main]
id\tra\tdec\tz\tnote
\tdeg\tdeg\t\t
----\t--------\t------\t----\t--
"""
IPAC = """\\fixlen = T
\\ a comment
|  id|       ra|   dec|    z|
| int|   double|double|double|
|    |      deg|   deg|     |
|null|     null|  null| null|
"""
SEXTRACTOR = "# 1 id Number\n# 2 ra x [deg]\n# 3 dec y [deg]\n# 4 z redshift\n# 5 VECTOR_ASSOC vector\n"


def _scaled_null(path: Path) -> None:
    """Redshifts in thousandths, stored as integers from which 32768 was subtracted; TNULL is what is stored."""
    fits_table(path, fits.Column("z", "I", array=np.array([700, 0, 900, 1400], np.int16)))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TSCAL4"], hdus[1].header["TZERO4"], hdus[1].header["TNULL4"] = 0.001, 0.0, 0


def _fits_text(path: Path) -> None:
    forms = {"id": ("I5", IDS), "ra": ("D10.4", RA), "dec": ("D10.4", DEC), "z": ("F8.2", Z)}
    columns = [fits.Column(name, form, ascii=True, array=values) for name, (form, values) in forms.items()]
    columns[3].null = "NaN"
    fits.TableHDU.from_columns(columns).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"    1.10", b"     NaN"))


READ: dict[str, tuple[str, Callable[[Path], object]]] = {
    "topcat_ascii_with_quotes": (
        "c.txt",
        lambda path: path.write_text("# id ra name dec z\n" + rows('  {0}  {1} "deep  field, the \\"first\\" " {2} {3} ')),
    ),
    "topcat_ascii_with_single_quotes": (
        "c.txt",
        lambda path: path.write_text("# id ra name dec z\n" + rows("{0} {1} 'deep field' {2} {3}") + "# 'end\n"),
    ),
    "topcat_text_with_borders": (
        "c.txt",
        lambda path: path.write_text(
            "+----+----+----+---+\n| id | ra | dec | z |\n+----+----+----+---+\n"
            + rows("| {} | {} | {} | {} |")
            + "+----+----+----+---+\n"
        ),
    ),
    "psql": (
        "c.txt",
        lambda path: path.write_text(" id | ra | dec | z \n----+----+-----+---\n" + rows(" {} | {} | {} | {}") + "(4 rows)\n\n"),
    ),
    "markdown": (
        "c.md",
        lambda path: path.write_text("| id | ra | dec | z |\n| --- | ---: | --- | --- |\n" + rows("| {} | {} | {} | {} |")),
    ),
    "bars": ("c.txt", lambda path: path.write_text("id|ra|dec|z\n" + rows("{}|{}|{}|{}"))),
    "tabs_below_a_header_of_spaces": (
        "c.tsv",
        lambda path: path.write_text("# id ra note dec z\n" + rows("{0}\t{1}\t\t{2}\t{3}")),
    ),
    "commas_in_the_header_of_rows_of_spaces": ("c.txt", lambda path: path.write_text("# id, ra, dec, z\n" + rows("{} {} {} {}"))),
    "pandas_index": ("c.csv", lambda path: table().to_pandas().to_csv(path)),
    "comma_inside_a_value": ("c.txt", lambda path: path.write_text("# id ref ra dec z\n" + rows("{0} a,b {1} {2} {3}"))),
    "old_mac_lines": ("c.csv", lambda path: path.write_text(("id,ra,dec,z\n" + rows("{},{},{},{}")).replace("\n", "\r"))),
    "quoted_line_break": ("c.csv", lambda path: path.write_text("id,ra,dec,note,z\n" + rows('{0},{1},{2},"a\nb",{3}'))),
    "spaces_after_commas astronomy-commons/hats-import#222": (
        "c.csv",
        lambda path: path.write_text(
            "# blah blah ignore these lines\n# no really, they aren't relevant\nid, ra, dec, z\n" + rows("{}, {}, {}, {}")
        ),
    ),
    "ecsv": ("c.ecsv", lambda path: table().write(path, format="ascii.ecsv")),
    "ipac": ("c.tbl", lambda path: table().write(path, format="ascii.ipac")),
    "fixed_width": ("c.txt", lambda path: table().write(path, format="ascii.fixed_width")),
    "fixed_width_two_line astropy/astropy#5398": (
        "c.txt",
        lambda path: table(name=list("abcd")).write(path, format="ascii.fixed_width_two_line"),
    ),
    "restructured_text": ("c.rst", lambda path: table().write(path, format="ascii.rst")),
    "latex": ("c.tex", lambda path: table().write(path, format="ascii.latex")),
    "aastex": ("c.tex", lambda path: table().write(path, format="ascii.aastex")),
    "rdb astropy/astropy#4998": ("c.rdb", lambda path: table().write(path, format="ascii.rdb")),
    "mrt astropy/astropy#6914": (
        "c.mrt",
        lambda path: path.write_text(MRT.format(null="=-9") + rows("{0} {1:8.4f} {2:6.4f} {3:4.2f}")),
    ),
    "sextractor_vector_at_the_end astropy/astropy#5384": (
        "c.cat",
        lambda path: path.write_text(SEXTRACTOR + rows("{} {} {} {} 1 2 3")),
    ),
    "sextractor_from_zero astropy/astropy#7620": (
        "c.cat",
        lambda path: path.write_text("# 0   id   n\n# 1   ra   deg\n# 2   dec   deg\n# 3   z\n" + rows("{} {} {} {}")),
    ),
    "decimal duckdb/duckdb#1351": (
        "c.parquet",
        lambda path: parquet(path, id=decimals(IDS, 20, 0), ra=decimals(RA, 12, 6), z=decimals(Z, 8, 3)),
    ),
    "decimal_of_many_digits": ("c.parquet", lambda path: parquet(path, id=decimals(IDS, 38, 2), ra=decimals(RA, 38, 10))),
    "dictionaries": (
        "c.parquet",
        lambda path: parquet(path, id=pa.array(IDS).dictionary_encode(), z=pa.array(Z).dictionary_encode()),
    ),
    "votable_arraysize_one": (
        "c.vot",
        lambda path: path.write_text(votable('<FIELD name="ra" datatype="double" arraysize="1" unit="deg"/>')),
    ),
    "votable_arraysize_up_to_one": (
        "c.vot",
        lambda path: path.write_text(votable('<FIELD name="z" datatype="double" arraysize="1*"/>')),
    ),
    "votable_unsigned astropy/astropy#2675": (
        "c.vot",
        lambda path: path.write_text(votable('<FIELD name="id" datatype="unsignedInt"/>')),
    ),
    "votable_two_dimensional_text astropy/astropy#18789": (
        "c.vot",
        lambda path: path.write_text(votable('<FIELD name="note" datatype="char" arraysize="94x11"/>', "some words")),
    ),
    "votable_empty_minimum astropy/astropy#16825": (
        "c.vot",
        lambda path: path.write_text(votable('<FIELD name="id" datatype="long"><VALUES><MIN value=""/></VALUES></FIELD>')),
    ),
    "fits_scaled": (
        "c.fits",
        lambda path: fits_table(
            path,
            fits.Column("z", "D", bscale=0.1, array=np.array(Z)),
            fits.Column("id", "I", bzero=32768, array=np.array(IDS, np.uint16)),
        ),
    ),
    "fits_one_value_an_array astropy/astropy#11275": (
        "c.fits",
        lambda path: fits_table(path, fits.Column("z", "1D", dim="(1)", array=np.array(Z).reshape(4, 1))),
    ),
}

UNKNOWN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "commented_tabs_with_an_empty_cell": (
        "c.tsv",
        lambda path: path.write_text("#id\tra\tdec\tz\tnote\n" + rows("{}\t{}\t{}\t{}\tx", [0.7, "", 0.9, 1.4])),
    ),
    "vizier_tsv": ("c.tsv", lambda path: path.write_text(VIZIER + rows("{}\t{}\t{}\t{}\tx", [0.7, "", 0.9, 1.4]))),
    "vizier_semicolons": (
        "c.tsv",
        lambda path: path.write_text((VIZIER + rows("{}\t{}\t{}\t{}\tx", [0.7, "", 0.9, 1.4])).replace("\t", ";")),
    ),
    "ipac_null astropy/astropy#361": (
        "c.tbl",
        lambda path: path.write_text(IPAC + rows(" {:>4} {:>9} {:>6} {:>5} ", [0.7, "null", 0.9, 1.4])),
    ),
    "mrt_dash astropy/astropy#11239": (
        "c.txt",
        lambda path: path.write_text(MRT.format(null="") + rows("{0} {1:8.4f} {2:6.4f} {3:>4}", [0.7, "-", 0.9, 1.4])),
    ),
    "mrt_dashes astropy/astropy#8856": (
        "c.txt",
        lambda path: path.write_text(MRT.format(null="=-9") + rows("{0} {1:8.4f} {2:6.4f} {3:>4}", [0.7, "---", 0.9, 1.4])),
    ),
    "votable_null_in_words astropy/pyvo#100": ("c.vot", lambda path: path.write_text(votable(z=[0.7, "NULL", 0.9, 1.4]))),
    "votable_null_of_an_integer": (
        "c.vot",
        lambda path: path.write_text(
            votable('<FIELD name="z" datatype="double"><VALUES null="-9"/></FIELD>', z=[0.7, "", 0.9, 1.4])
        ),
    ),
    "fits_unsigned_null astropy/astropy#14693": ("c.fits", _scaled_null),
    "fits_text_table_null astropy/astropy#7346": ("c.fits", _fits_text),
    "ecsv_masked_quantity astropy/astropy#10218": (
        "c.ecsv",
        lambda path: QTable({"id": IDS, "ra": RA * u.deg, "dec": DEC * u.deg, "z": Masked(Z, mask=[0, 1, 0, 0]) << u.one}).write(
            path
        ),
    ),
    "ecsv_mask_in_a_column astropy/astropy#5337": (
        "c.ecsv",
        lambda path: table(z=MaskedColumn(Z, mask=[0, 1, 0, 0])).write(path, serialize_method="data_mask"),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_a_table_is_read_with_its_numbers(tmp_path, name):
    file, write = READ[name]
    write(tmp_path / file)
    sources = read(tmp_path / file).sources
    np.testing.assert_array_equal(sources.source_id, IDS)
    for found, expected in ((sources.ra_deg, RA), (sources.dec_deg, DEC), (sources.redshift, Z)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_missing_redshift_is_unknown_and_no_number(tmp_path, name):
    file, write = UNKNOWN[name]
    write(tmp_path / file)
    sources = read(tmp_path / file).sources
    np.testing.assert_array_equal(sources.source_id, IDS)
    np.testing.assert_allclose(sources.redshift, SOME_Z, rtol=0, atol=1e-6)


def test_a_quoted_text_keeps_its_spaces(tmp_path):
    READ["topcat_ascii_with_quotes"][1](tmp_path / "c.txt")
    kept = read(tmp_path / "c.txt", keep=("name",)).kept["name"]
    assert set(kept.values.to_pylist()) == {'deep  field, the "first"'}


POSITIONS = SkyCoord(RA * u.deg, DEC * u.deg)


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "parquet"])
def test_the_parts_of_a_position_can_be_named_spacetelescope_jwst_2229(tmp_path, suffix):
    path = tmp_path / f"x_cat.{suffix}"
    QTable({"label": IDS, "sky_centroid": POSITIONS, "z": Z}).write(path)
    sources = read(path, id="label", ra="sky_centroid.ra", dec="sky_centroid.dec").sources
    np.testing.assert_array_equal(sources.ra_deg, RA)
    np.testing.assert_array_equal(sources.dec_deg, DEC)


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "parquet"])
@pytest.mark.parametrize("frame", ["fk4", "galactic"])
def test_positions_in_another_frame_are_refused(tmp_path, suffix, frame):
    path = tmp_path / f"list.{suffix}"
    QTable({"id": IDS, "sky": POSITIONS.transform_to(frame), "z": Z}).write(path)
    names = ("sky.l", "sky.b") if frame == "galactic" else ("sky.ra", "sky.dec")
    assert f"its frame is {frame}, expected ICRS" in refusal(path, ra=names[0], dec=names[1])


def test_positions_of_fk5_are_taken_as_mosaics_in_fk5_are(tmp_path):
    QTable({"id": IDS, "sky": POSITIONS.fk5, "z": Z}).write(tmp_path / "list.ecsv")
    sources = read(tmp_path / "list.ecsv", ra="sky.ra", dec="sky.dec").sources
    np.testing.assert_allclose(sources.ra_deg, POSITIONS.fk5.ra.deg)


@pytest.mark.parametrize(("system", "refused"), [("eq_FK4", True), ("ICRS", False), ("eq_FK5", False), ("galactic", True)])
def test_the_coordinate_system_of_a_votable_is_read(tmp_path, system, refused):
    place = f'<COOSYS ID="sys" system="{system}" equinox="J2000"/>'
    text = votable('<FIELD name="ra" datatype="double" ref="sys"/><FIELD name="dec" datatype="double" ref="sys"/>')
    (tmp_path / "c.vot").write_text(text.replace("<RESOURCE>", f"<RESOURCE>{place}"))
    if refused:
        assert "expected ICRS" in refusal(tmp_path / "c.vot")
    else:
        np.testing.assert_array_equal(read(tmp_path / "c.vot").sources.ra_deg, RA)


def test_times_and_masked_quantities_do_not_disturb_their_neighbours(tmp_path):
    QTable({"id": IDS, "ra": RA, "dec": DEC, "z": Z, "when": Time(np.arange(4) + 5e4, format="mjd")}).write(tmp_path / "c.ecsv")
    assert read(tmp_path / "c.ecsv").sources.source_id.tolist() == IDS
    assert "has no column when; it has id, ra, dec, z, when.jd1, when.jd2" in refusal(tmp_path / "c.ecsv", redshift="when")


def test_a_column_inside_a_column_can_be_named_astronomy_commons_lsdb_622(tmp_path):
    place = pa.array([{"ra": ra, "dec": dec} for ra, dec in zip(RA, DEC, strict=True)])
    pq.write_table(pa.table({"id": IDS, "coord": place, "z": Z}), tmp_path / "c.parquet")
    sources = read(tmp_path / "c.parquet", ra="coord.ra", dec="coord.dec").sources
    np.testing.assert_array_equal(sources.dec_deg, DEC)


def test_integers_of_too_many_digits_are_refused_and_never_rounded(tmp_path):
    parquet(tmp_path / "c.parquet", id=decimals([10**30 + i for i in IDS], 38, 0))
    assert "too large to be exact" in refusal(tmp_path / "c.parquet")


def test_truth_values_without_a_value_are_null_astropy_18815(tmp_path):
    fits_table(tmp_path / "c.fits", fits.Column("star", "L", array=[True, False, True, False]))
    content = (tmp_path / "c.fits").read_bytes()
    place = content.rindex(b"F", 0, len(content.rstrip(b"\0")))
    (tmp_path / "c.fits").write_bytes(content[:place] + b"\0" + content[place + 1 :])
    assert read(tmp_path / "c.fits", keep=("star",)).kept["star"].values.to_pylist() == [True, False, True, None]


def test_texts_of_variable_length_are_names_astropy_7810(tmp_path):
    names = np.array(["EGS-1", "EGS-20", "EGS-300", "X"], object)
    fits_table(tmp_path / "c.fits", fits.Column("id", "PA()", array=names))
    assert read(tmp_path / "c.fits").own["source_name"].to_pylist() == names.tolist()


def test_samples_of_variable_length_are_read_and_scaled_ones_refused_astropy_8194(tmp_path):
    samples = np.array([np.array([1, 2, 1]), np.array([1]), np.array([], int), np.array([2, 1])], object)
    fits_table(tmp_path / "c.fits", fits.Column("pz", "PI()", array=samples))
    found = read(tmp_path / "c.fits", redshift=None, redshift_samples="pz").shares
    np.testing.assert_allclose(found.shares[:, 0], [2 / 3, 1, np.nan, 0.5])
    with fits.open(tmp_path / "c.fits", mode="update") as hdus:
        hdus[1].header["TZERO5"] = 1
    assert "arrays of variable length that are scaled" in refusal(tmp_path / "c.fits", redshift=None, redshift_samples="pz")


NOT_READ: dict[str, tuple[bytes, str]] = {
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
    "asdf": (b"#ASDF 1.0.0\n", "is an ASDF file"),
    "feather": (b"ARROW1\0\0", "is a Feather (Arrow) file"),
    "excel": (b"PK\x03\x04" + bytes(30), "perhaps an Excel workbook"),
    "sqlite": (b"SQLite format 3\0", "is an SQLite database"),
    "numpy": (b"\x93NUMPY\x01\0", "is a numpy array"),
    "pickle": (b"\x80\x04\x95", "a Python pickle, which is never read"),
    "bzip2": (b"BZh91AY&SY", "is packed with bzip2"),
    "xz": (b"\xfd7zXZ\0", "is packed with xz"),
    "json": (b'{"id": [1, 2]}', "is JSON"),
    "region": (b"# Region file format: DS9\nfk5\n", "is a DS9 region file"),
    "pdf": (b"%PDF-1.4\n", "is a PDF document"),
    "html": (b"<html><table><tr><td>id</td></tr></table></html>", "is a web page (HTML)"),
    "latin_1": ("id,ra,dec,z\n1,1,1,1\né,1,1,1\n".encode("latin-1"), "holds text that is not UTF-8"),
    "printed": (b" id  ra dec  z \n    deg deg   \n--- --- --- ---\n  1   2   3   4\n", "by position below a rule"),
    "units_row astropy/astropy#9665": (b"id,ra,dec,z\n,deg,deg,\n1,1,1,1\n", "column ra: row 1 holds 'deg', expected numbers"),
    "sexagesimal spacetelescope": (b"id,ra,dec,z\n1,10:00:28,+02:12:00,1\n", "decimal degrees"),
    "ecsv_without_declination astropy/astropy#16998": (
        b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: id, datatype: int64}\n# - {name: ra, datatype: float64}\nid ra\n1 1\n",
        "has no column dec, z; it has id, ra",
    ),
    "ecsv_without_names astropy/astropy#5451": (
        b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: id, datatype: int64}\n\n1\n",
        "begins as ECSV, but cannot be read as a table",
    ),
    "repeated_names astropy/astropy#1014": (b"id M ra ra dec z\n1 1 1 1 1 1\n", "more than one column ra"),
    "lsst_index LSSTDESC/gcr-catalogs#386": (b"__index_level_0__,ra,dec,z\n1,1,1,1\n", "it has __index_level_0__, ra, dec, z"),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_not_read_is_named(tmp_path, name):
    content, words = NOT_READ[name]
    (tmp_path / "list").write_bytes(content)
    assert words in refusal(tmp_path / "list")


def test_a_field_without_a_type_is_refused_and_not_cut_to_a_character_astropy_4755(tmp_path):
    (tmp_path / "c.vot").write_text(votable('<FIELD name="z" precision="3"/>'))
    assert "column z: its FIELD states no datatype" in refusal(tmp_path / "c.vot")


def test_texts_without_a_length_are_refused_and_not_cut_astropy_pyvo(tmp_path):
    (tmp_path / "c.vot").write_text(votable('<FIELD name="name" datatype="char"/>', "EGS-1"))
    assert "column name: its FIELD states no arraysize" in refusal(tmp_path / "c.vot", keep=("name",))
    assert read(tmp_path / "c.vot").sources.source_id.tolist() == IDS


def test_the_error_of_a_service_is_shown_and_its_limit_is_logged(tmp_path, caplog):
    (tmp_path / "c.vot").write_text(votable(info='<INFO name="QUERY_STATUS" value="ERROR">no such table</INFO>'))
    assert "an error of the service: 'no such table'" in refusal(tmp_path / "c.vot")
    (tmp_path / "c.vot").write_text(votable(info='<INFO name="QUERY_STATUS" value="OVERFLOW"/>'))
    read(tmp_path / "c.vot")
    assert "list is incomplete" in caplog.text


def test_a_table_that_fpack_packed_is_read_or_named(tmp_path):
    fits_table(tmp_path / "c.fits")
    with fits.open(tmp_path / "c.fits", mode="update") as hdus:
        hdus[1].header["ZTABLE"] = True
    assert "was packed by fpack" in refusal(tmp_path / "c.fits")


def test_a_vizier_table_packed_by_gzip_states_its_units(tmp_path):
    text = VIZIER.replace("\tdeg\tdeg", '\t"h:m:s"\tdeg') + rows("{}\t{}\t{}\t{}\tx")
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert "column ra: its unit is" in refusal(tmp_path / "c.tsv.gz")


def test_every_case_of_the_page_is_made_here():
    """The page names each test, or the parameter of one."""
    cases = re.findall(r"\| `(\w+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert len(cases) >= 20
    here = Path(__file__).read_text()
    for case in cases:
        assert re.search(rf'("{case}[ "]|def test_\w*{case})', here), case
