"""Ids that are text are names: each source is found by its own, and a number stands for it."""

from __future__ import annotations

import hashlib
import unicodedata
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
from surveyflow.inputs import source_names
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.settings.workflow import ColumnMap, SourceListSpec
from surveyflow.values.listed import ListedSources, key_of_name

COLUMNS = ColumnMap(id="ID", ra="RA", dec="DEC")
HYPOTHESIS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path) -> ListedSources:
    return read_source_list(SourceListSpec(path=path, columns=COLUMNS), "EGS", {})


def names(path: Path) -> list[str]:
    return read(path).own["source_name"].to_pylist()


def refusal(path: Path) -> str:
    with pytest.raises(SourceListError) as caught:
        read(path)
    return str(caught.value)


def table(ids) -> Table:
    n = len(ids)
    return Table({"ID": ids, "RA": np.linspace(1, 2, n), "DEC": np.linspace(1, 2, n)})


def write_parquet(path: Path, ids: pa.Array) -> Path:
    positions = pa.array(np.linspace(1, 2, len(ids)))
    pq.write_table(pa.table({"ID": ids, "RA": positions, "DEC": positions}), path)
    return path


printable = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
"""Any text of one line, with blanks and leading zeros."""
digits = st.text("0123456789 ", min_size=1, max_size=4)


def composed(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).strip()


@given(st.lists(printable | digits, min_size=1, max_size=6, unique_by=composed).filter(lambda found: all(map(composed, found))))
@HYPOTHESIS
def test_every_name_is_kept_but_for_the_blanks_around_it(tmp_path, given_names):
    path = write_parquet(tmp_path / "list.parquet", pa.array(given_names, pa.string()))
    listed = read(path)
    assert listed.own["source_name"].to_pylist() == [composed(name) for name in given_names]
    digests = [hashlib.sha256(composed(name).encode()).hexdigest()[:16] for name in given_names]
    assert listed.sources.source_id.tolist() == [int(digest, 16) // 2 for digest in digests]


@given(st.lists(st.text("abc0 -", min_size=1, max_size=6), min_size=2, max_size=5))
@HYPOTHESIS
def test_bytes_of_fits_with_blanks_at_their_end_are_names_or_refused(tmp_path, given_names):
    width = max(map(len, given_names))
    column = fits.Column("ID", f"{width}A", array=np.array([name.encode().ljust(width) for name in given_names]))
    positions = [fits.Column(name, "D", array=np.linspace(1, 2, len(given_names))) for name in ("RA", "DEC")]
    fits.BinTableHDU.from_columns([column, *positions]).writeto(tmp_path / "list.fits", overwrite=True)
    stripped = [name.strip() for name in given_names]
    if not all(stripped):
        assert "the id is missing" in refusal(tmp_path / "list.fits")
    elif len(set(stripped)) < len(stripped):
        assert "ids that occur more than once" in refusal(tmp_path / "list.fits")
    else:
        assert names(tmp_path / "list.fits") == stripped


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv", "vot"])
def test_digits_in_a_column_of_text_are_names_with_their_leading_zeros(tmp_path, suffix):
    table(["007", "7", "70"]).write(tmp_path / f"list.{suffix}", format={"ecsv": "ascii.ecsv", "vot": "votable"}.get(suffix))
    assert names(tmp_path / f"list.{suffix}") == ["007", "7", "70"]


def test_integers_in_a_list_without_types_stay_numbers(tmp_path):
    (tmp_path / "list.csv").write_text("ID,RA,DEC\n007,1,1\n8,2,2\n")
    listed = read(tmp_path / "list.csv")
    assert listed.sources.source_id.tolist() == [7, 8]
    assert listed.own == {}


@pytest.mark.parametrize("word", ["8a", "x", "1.5e"])
def test_a_slip_among_numbers_does_not_turn_them_into_names(tmp_path, word):
    (tmp_path / "list.csv").write_text(f"ID,RA,DEC\n7,1,1\n{word},2,2\n9,3,3\n")
    assert f"column ID: row 2 holds '{word}', but 2 ids are whole numbers" in refusal(tmp_path / "list.csv")


def test_names_in_a_list_without_types_are_names(tmp_path):
    (tmp_path / "list.csv").write_text("ID,RA,DEC\nEGS 1,1,1\nEGS-2,2,2\n")
    assert names(tmp_path / "list.csv") == ["EGS 1", "EGS-2"]


@pytest.mark.parametrize("suffix", ["parquet", "ecsv", "vot"])
def test_masked_names_are_missing(tmp_path, suffix):
    masked = MaskedColumn(["a", "b", "c"], mask=[False, True, False])
    table(masked).write(tmp_path / f"list.{suffix}", format={"ecsv": "ascii.ecsv", "vot": "votable"}.get(suffix))
    assert "column ID: row 2: the id is missing. Give each source an id." in refusal(tmp_path / f"list.{suffix}")


def test_composed_and_decomposed_letters_are_the_same_name(tmp_path):
    twice = pa.array(["é", "e\u0301"])
    assert "ids that occur more than once: '\\xe9'" in refusal(write_parquet(tmp_path / "list.parquet", twice))


def test_two_names_for_which_the_same_number_stands_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source_names, "key_of_name", len)
    message = refusal(write_parquet(tmp_path / "list.parquet", pa.array(["a", "bb", "c"])))
    assert "names for which the same number stands: 'a', 'c'. Rename all but one of them." in message


@pytest.mark.parametrize(("name", "words"), [("a\nb", "control characters"), ("x" * 257, "(257 characters)")])
def test_hostile_names_are_refused(tmp_path, name, words):
    assert words in refusal(write_parquet(tmp_path / "list.parquet", pa.array(["a", name])))


def test_names_and_positions_are_checked_together(tmp_path):
    path = tmp_path / "list.ecsv"
    wrong = table(["a", "a", "b"])
    wrong["RA"] = [400.0, 1, 2]
    wrong.write(path, format="ascii.ecsv")
    lines = refusal(path).splitlines()
    assert len(lines) == 2
    assert "ids that occur more than once: 'a'" in lines[0]
    assert "column RA: row 1 (400.0)" in lines[1]


def test_the_number_of_a_name_is_the_documented_one():
    """Whoever knows the name computes the number: the first 63 bits of its SHA-256."""
    assert key_of_name("EGS-12345") == 0x75487CE8B3A8272B >> 1 == 4225571019824567189
    assert 0 <= key_of_name("x") < 2**63
