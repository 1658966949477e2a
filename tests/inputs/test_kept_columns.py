"""A column of a source list is kept with its type, its unit and its description, or refused with the reason."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surveyflow.errors import SourceListError
from surveyflow.inputs.kept_columns import known_unit
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.settings.workflow import ColumnMap, SourceListSpec
from surveyflow.values.listed import KeptColumn

FORMATS = {"fits": "fits", "parquet": "parquet", "ecsv": "ascii.ecsv", "vot": "votable"}


def read(path: Path, *keep: str) -> dict[str, KeptColumn]:
    columns = ColumnMap(id="ID", ra="RA", dec="DEC", keep=keep)
    return dict(read_source_list(SourceListSpec(path=path, columns=columns), "EGS", {}).kept)


def written(path: Path, **columns: object) -> Path:
    table = Table({"ID": [1, 2, 3], "RA": [1.0, 2.0, 3.0], "DEC": [1.0, 2.0, 3.0]} | columns)
    table.write(path, format=FORMATS.get(path.suffix[1:], "ascii.csv"), overwrite=True)
    return path


def refusal(path: Path, *keep: str) -> str:
    with pytest.raises(SourceListError) as caught:
        read(path, *keep)
    return str(caught.value)


MAGNITUDES = MaskedColumn([20.5, 21.5, np.nan], mask=[False, True, False], unit="mag", description="Total magnitude in F160W.")


@pytest.mark.parametrize("suffix", FORMATS)
def test_units_and_descriptions_come_with_the_column(tmp_path, suffix):
    (column,) = read(written(tmp_path / f"list.{suffix}", mag=MAGNITUDES), "mag").values()
    assert column == KeptColumn("mag", pa.array([20.5, None, None]), "mag", "Total magnitude in F160W.")


def test_sextractor_s_header_describes_columns(tmp_path):
    text = (
        "# 1 ID number\n# 2 RA [deg]\n# 3 DEC [deg]\n# 4 MAG_AUTO   Kron-like magnitude   [mag]\n1 1.0 1.0 20.5\n2 2.0 2.0 nan\n"
    )
    (tmp_path / "list.cat").write_text(text)
    (column,) = read(tmp_path / "list.cat", "MAG_AUTO").values()
    assert column == KeptColumn("MAG_AUTO", pa.array([20.5, None]), "mag", "Kron-like magnitude")


def test_the_comment_beside_a_fits_column_describes_it_unless_it_says_nothing(tmp_path):
    written(tmp_path / "list.fits", mag=[1.0, 2.0, 3.0], log_mass=[9.0, 10.0, 11.0])
    with fits.open(tmp_path / "list.fits", mode="update") as hdus:
        hdus[1].header.comments["TTYPE4"] = "label for field   4"
        hdus[1].header.comments["TTYPE5"] = "log10 of the stellar mass"
    kept = read(tmp_path / "list.fits", "mag", "log_mass")
    assert [column.description for column in kept.values()] == ["", "log10 of the stellar mass"]


def test_arrow_s_own_metadata_describe_a_column(tmp_path):
    metadata = {"unit": "uJy", "description": "Flux in F160W."}
    schema = pa.schema([("ID", pa.int64()), ("RA", pa.float64()), ("DEC", pa.float64())])
    schema = schema.append(pa.field("flux", pa.float32(), metadata=metadata))
    pq.write_table(pa.table([[1], [1.0], [1.0], [2.5]], schema=schema), tmp_path / "list.parquet")
    (column,) = read(tmp_path / "list.parquet", "flux").values()
    assert column == KeptColumn("flux", pa.array([2.5], pa.float32()), "uJy", "Flux in F160W.")


def test_a_unit_that_astropy_does_not_know_is_told_in_words(tmp_path):
    written(tmp_path / "list.fits", mag=[1.0, 2.0, 3.0])
    with fits.open(tmp_path / "list.fits", mode="update") as hdus:
        hdus[1].header["TUNIT4"] = "ABmag"
    (column,) = read(tmp_path / "list.fits", "mag").values()
    assert (column.unit, column.description) == (None, "[ABmag]")


@given(st.text(max_size=30))
def test_a_unit_is_read_again_as_the_same_unit_or_is_not_known(text):
    known = known_unit(text)
    assert known is None or known_unit(known) == known or known == ""


TYPES = {
    "bool": (np.array([True, False, True]), pa.bool_()),
    "uint8": (np.array([0, 1, 255], np.uint8), pa.uint8()),
    "int16": (np.array([-1, 0, 1], np.int16), pa.int16()),
    "int64": (np.array([-(2**63) + 1, 0, 2**63 - 1]), pa.int64()),
    "float32": (np.array([0.1, np.inf, -99], np.float32), pa.float32()),
    "float64": (np.array([0.1, -np.inf, 1e300]), pa.float64()),
    "text": (np.array(["a b", "π Ori", "x" * 256]), pa.string()),
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", TYPES)
def test_types_and_values_are_kept_as_they_are(tmp_path, kind, suffix):
    values, expected = TYPES[kind]
    if kind == "text" and suffix == "fits":
        values = np.array(["a b", "pi Ori", "x" * 256])  # FITS tables hold ASCII
    (column,) = read(written(tmp_path / f"list.{suffix}", value=values), "value").values()
    assert column.values.type == expected
    assert column.values.to_pylist() == values.tolist()


def test_unsigned_integers_of_64_bits_are_kept_if_they_fit(tmp_path):
    path = written(tmp_path / "list.parquet", value=np.array([0, 1, 2**63 - 1], np.uint64))
    assert read(path, "value")["value"].values == pa.array([0, 1, 2**63 - 1])
    written(path, value=np.array([0, 1, 2**63], np.uint64))
    assert "integers of 2^63 and more" in refusal(path, "value")


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)


@given(st.lists(st.none() | words, min_size=3, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_text_survives_but_for_the_blanks_around_it(tmp_path, texts):
    table = {"ID": [1, 2, 3], "RA": [1.0, 2.0, 3.0], "DEC": [1.0, 2.0, 3.0], "word": pa.array(texts, pa.string())}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    expected = [(text or "").strip() or None for text in texts]
    assert read(tmp_path / "list.parquet", "word")["word"].values.to_pylist() == expected


HOSTILE = {
    "an array in each row": (pa.array([[1.0, 2.0]] * 3), "each row holds 2 values"),
    "dates": (pa.array([dt.date(2026, 11, 28)] * 3), "row 1 holds datetime.date(2026, 11, 28)"),
    "long text": (pa.array(["a", "b", "x" * 257]), "row 3 holds"),
    "control characters": (pa.array(["a", "b\x1b[2J", "c"]), r"row 2 holds 'b\x1b[2J'"),
    "bytes that are not text": (pa.array([b"a", b"\xff", b"c"]), r"row 2 holds b'\xff'"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_a_catalog_cannot_keep_is_refused(tmp_path, what):
    values, expected = HOSTILE[what]
    table = {"ID": [1, 2, 3], "RA": [1.0, 2.0, 3.0], "DEC": [1.0, 2.0, 3.0], "value": values}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    message = refusal(tmp_path / "list.parquet", "value")
    assert message.startswith("list.parquet, column value: ")
    assert expected in message
    assert "Leave it out of `columns.keep`" in message


def test_problems_of_kept_columns_are_reported_with_all_others(tmp_path):
    path = written(tmp_path / "list.ecsv", RA=[400.0, 2.0, 3.0], wave=np.array([1j, 2, 3]), name=["a", "b" * 300, "c"])
    lines = refusal(path, "wave", "name").splitlines()
    assert len(lines) == 3
    assert "column RA: row 1 (400.0)" in lines[0]
    assert "column wave: it holds complex128" in lines[1]
    assert "column name: row 2 holds" in lines[2]


def test_a_missing_column_is_named(tmp_path):
    assert "has no column mags" in refusal(written(tmp_path / "list.csv", mag=[1, 2, 3]), "mags")


def test_a_column_may_be_kept_under_another_name(tmp_path):
    kept = read(written(tmp_path / "list.csv", flags=[1, 2, 3]), "flags as list_flags", "RA as ra_of_list")
    assert {name: column.values.to_pylist() for name, column in kept.items()} == {
        "list_flags": [1, 2, 3],
        "ra_of_list": [1.0, 2.0, 3.0],
    }
