"""Exported tables, read back by programs that know nothing of surveyflow: the same values, units, descriptions and nulls."""

from __future__ import annotations

import csv

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table, validate
from astropy.table import Table

import surveyflow
from revisions import RevisionMaker, field_rows
from surveyflow.catalog.columns import COLUMNS
from surveyflow.catalog.kept import KeptColumns
from surveyflow.errors import InputError, OutputError
from surveyflow.exports import selected as selecting
from surveyflow.exports.fits_table import ascii_text
from surveyflow.values.listed import KeptColumn, ListedSources
from surveyflow.values.sources import SourceList

NAMES = """Größe "<b>&amp;</b>", {x}"""
KINDS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.float32(), pa.bool_()]


def kept_columns(n_sources):
    """A column of every kind, with nulls, and with words that every format must escape."""
    ids = np.arange(1, n_sources + 1)
    known = ids % 3 != 0
    columns = [KeptColumn(f"of_{kind}", pa.array(ids % 2, mask=~known).cast(kind), "ct", "A kind.") for kind in KINDS]
    words = pa.array([f"{NAMES}{number}" if number % 3 else None for number in ids.tolist()])
    speeds = np.where(ids < 3, [np.inf, -np.inf] * (n_sources // 2), ids / 2)
    columns += [KeptColumn("word", words), KeptColumn("odd_unit", pa.array(speeds), "nmgy", "Speed.")]
    columns += [KeptColumn("formula", pa.array((["=1+1", "@SUM(1)", "+a", "-12", "+1:2:3", "a-b"] * n_sources)[:n_sources]))]
    return KeptColumns.of({"EGS": ListedSources(SourceList("EGS", ids, *np.zeros((3, n_sources))), {c.name: c for c in columns})})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    RevisionMaker(folder, kept=kept_columns(120))(field_rows("EGS", 120, origin="simulated"))
    return folder / "catalog"


@pytest.fixture(scope="module")
def rows(root):
    return surveyflow.open_catalog(root).to_table()


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(selecting, "ROWS_AT_A_TIME", 7)


@pytest.fixture
def exported(root, tmp_path):
    def write(form, **options):
        done = surveyflow.export(root, format=form, output=tmp_path / f"table.{form}", **options)
        assert done.path.is_file()
        return done.path

    return write


def same(column, values):
    """Whether values of an astropy table are those of the catalog, nulls included."""
    null = np.asarray(pc.is_null(column))
    found, mask = np.ma.getdata(values), np.broadcast_to(np.ma.getmaskarray(values), np.shape(values))
    if pa.types.is_floating(column.type):
        return np.array_equal(np.where(mask, np.nan, found), column.to_numpy(), equal_nan=True)
    expected = [value for value in column.to_pylist() if value is not None]
    return np.array_equal(mask, null) and np.array_equal(np.asarray(found)[~null].astype(np.asarray(expected).dtype), expected)


NUMBERS = ["source_id", "ra", "redshift", "flags", "n_draws", "p_pm_mean", "x_pix", *(f"of_{kind}" for kind in KINDS), "odd_unit"]


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_astropy_reads_numbers_nulls_units_and_descriptions(form, exported, rows):
    table = Table.read(exported(form), format=form)
    assert len(table) == len(rows)
    assert table.colnames == rows.schema.names
    assert [name for name in NUMBERS if not same(rows[name], table[name])] == []
    assert {name: str(table[name].unit) for name in ("ra", "x_pix", "of_int8")} == {"ra": "deg", "x_pix": "pix", "of_int8": "ct"}
    own = next(column for column in COLUMNS if column.name == "p_pm_mean")
    assert table["p_pm_mean"].description == own.description
    assert "[nmgy]" in table["odd_unit"].description
    assert table["odd_unit"].unit is None


def histograms(rows):
    ok = pc.equal(rows["status"], "ok")
    return np.asarray(ok), np.array(rows.filter(ok)["p_pm_hist"].to_pylist())


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_astropy_reads_histograms(form, exported, rows):
    table = Table.read(exported(form), format=form)
    ok, expected = histograms(rows)
    assert np.array_equal(np.ma.getdata(table["p_pm_hist"])[ok], expected)
    assert np.ma.getmaskarray(table["p_pm_hist"])[~ok].all()


def test_texts_of_a_votable_are_those_of_the_catalog(exported, rows):
    table = Table.read(exported("votable"), format="votable")
    assert [str(word) if word else None for word in table["word"].filled("")] == rows["word"].to_pylist()
    assert list(table["status"]) == rows["status"].to_pylist()


def test_texts_of_fits_are_ascii(exported, rows):
    table = Table.read(exported("fits"))
    assert list(table["status"]) == rows["status"].to_pylist()
    assert list(table["word"].filled("")) == [ascii_text(word or "") for word in rows["word"].to_pylist()]
    assert ascii_text("Größe\n1") == r"Gr\xf6\xdfe 1"


def test_fits_follows_the_standard(exported, rows):
    path = exported("fits", where="p_pm_mean > 0.2")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
        assert path.stat().st_size % 2880 == 0
        assert header["NAXIS2"] == len(hdus[1].data) < len(rows)
        number = rows.schema.names.index("p_pm_mean") + 1
        own = next(column for column in COLUMNS if column.name == "p_pm_mean")
        assert (header[f"TUCD{number}"], header[f"TCOMM{number}"]) == (own.ucd, own.description)
        assert header["REVISION"] == "v1.0-r1"
        assert header["SELECTED"] == "p_pm_mean > 0.2"
        assert "do not quote" in header["WARNING"]


def test_a_votable_is_valid_and_says_whose_numbers_it_holds(exported, tmp_path):
    path = exported("votable", where="field == 'EGS' and p_pm_mean < 0.9")
    with (tmp_path / "report.txt").open("w") as report:
        validate(str(path), output=report)
    assert "found no violations" in (tmp_path / "report.txt").read_text()
    table = parse_single_table(path)
    assert table.get_field_by_id_or_name("p_pm_mean").ucd.startswith("stat")
    infos = path.read_text().split("<TABLE")[0]
    assert 'value="simulated"' in infos
    assert "p_pm_mean &lt; 0.9" in infos


def test_what_is_infinite_is_written_as_the_standard_of_votables_says(exported):
    text = exported("votable", columns=["odd_unit"]).read_text()
    assert (text.count("<TD>+Inf</TD>"), text.count("<TD>-Inf</TD>"), text.count("inf")) == (1, 1, 0)


def test_csv_holds_every_row_and_quotes_its_words(exported, rows):
    path = exported("csv")
    with path.open(newline="", encoding="utf-8") as stream:
        words = [line["word"] or None for line in csv.DictReader(stream)]
    assert words == rows["word"].to_pylist()
    frame = pd.read_csv(path)
    np.testing.assert_array_equal(frame["p_pm_mean"].astype(np.float32), rows["p_pm_mean"].to_numpy())
    assert frame["source_id"].tolist() == rows["source_id"].to_pylist()
    ok, expected = histograms(rows)
    assert [list(map(int, text.split())) for text in frame["p_pm_hist"][ok]] == expected.tolist()
    assert frame["p_pm_hist"][~ok].isna().all()


def test_texts_that_a_spreadsheet_would_compute_are_kept_and_told(root, tmp_path):
    done = surveyflow.export(root, format="csv", output=tmp_path / "table.csv")
    assert [note.split(" begin")[0] for note in done.notes] == ["60 texts of formula"]
    assert {"=1+1", "@SUM(1)", "+a"} <= set(pd.read_csv(done.path)["formula"])
    assert surveyflow.export(root, format="csv", output=tmp_path / "few.csv", columns=["ra"]).notes == ()


def test_parquet_is_the_catalog_with_its_metadata(exported, rows):
    path = exported("parquet")
    assert duckdb.sql(f"select count(*), count(p_pm_mean) from '{path}'").fetchall()[0] == (
        len(rows),
        len(rows) - rows["p_pm_mean"].null_count,
    )
    table = Table.read(path)
    assert str(table["ra"].unit) == "deg"
    assert pa.parquet.read_table(path).equals(rows, check_metadata=False)


@pytest.mark.parametrize("form", ["fits", "votable", "csv", "parquet"])
def test_chosen_columns_come_with_the_key_and_the_origin_of_the_numbers(form, exported, rows):
    path = exported(form, columns=["p_pm_mean", "class", "flags_text"], where="status == 'ok'")
    table = Table.read(path, format={"csv": "ascii.csv", "parquet": "parquet"}.get(form, form))
    assert table.colnames == ["field", "source_id", "p_pm_mean", "class", "flags_text", "weights_origin"]
    assert set(table["weights_origin"]) == {"simulated"}
    assert set(table["class"]) == {"post_merger", "star_forming"}
    assert len(table) == pc.sum(pc.equal(rows["status"], "ok")).as_py()


def test_a_file_is_not_replaced_unasked(exported, tmp_path):
    path = exported("csv")
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"exists already, and is not replaced unasked.*--overwrite"):
        exported("csv", where="p_pm_mean > 0.5")
    assert path.read_bytes() == before
    exported("csv", where="p_pm_mean > 0.5", overwrite=True)
    assert 0 < path.stat().st_size < len(before)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_replaced_by_a_file(root, tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        surveyflow.export(root, format="fits", output=tmp_path, overwrite=True)


def test_what_fails_leaves_nothing(root, tmp_path, monkeypatch):
    monkeypatch.setattr("surveyflow.exports.fits_table._records", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        surveyflow.export(root, format="fits", output=tmp_path / "sub" / "x.fits")
    assert list((tmp_path / "sub").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "p_pm_mean > 7"}, "no galaxy that the selection"),
        ({"where": "p_pm_maen > 0"}, "Did you mean p_pm_mean"),
        ({"columns": ["nothing_like_it"]}, "has no column"),
        ({"columns": "ra"}, "expected a list"),
        ({"format": "docx"}, "there is no export format 'docx'"),
        ({"size": 0}, "Change --size"),
        ({"release": "v9"}, "has no release or revision v9"),
    ],
)
def test_a_wrong_question_is_refused_before_anything_is_written(root, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        surveyflow.export(root, **({"format": "csv", "output": tmp_path / "x"} | options))
    assert not (tmp_path / "x").exists()
