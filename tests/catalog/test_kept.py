"""Columns of the source lists stand behind the catalog's own, each value with its source, and every reader understands them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from astropy.utils.metadata import MergeConflictWarning
from hypothesis import given
from hypothesis import strategies as st

from catalog_rows import make_rows
from surveyflow.catalog.columns import COLUMNS
from surveyflow.catalog.kept import NOTHING_KEPT, KeptColumns, contradictions
from surveyflow.catalog.parquet import RowFacts, described_schema, parquet_bytes
from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.catalog.selection import parse_selection
from surveyflow.values.listed import KeptColumn, ListedSources
from surveyflow.values.sources import SourceList

ROWS = make_rows(40)
IDS = ROWS["source_id"].to_numpy()
ONE = pa.array([1])
EVERY_THIRD = np.arange(40) % 3 == 0


def sources(ids, field="EGS"):
    return SourceList(field, np.asarray(ids, np.int64), *np.zeros((3, len(ids))))


def listed(columns, ids=IDS, field="EGS"):
    """A source list with these kept columns, by name: an Arrow array or a `KeptColumn`."""
    kept = {name: column if isinstance(column, KeptColumn) else KeptColumn(name, column) for name, column in columns.items()}
    return ListedSources(sources(ids, field), kept)


def kept_of(columns):
    return KeptColumns.of({"EGS": listed(columns)})


COLUMNS_OF_EVERY_TYPE = {
    "mag": KeptColumn("mag", pa.array(np.linspace(20, 26, 40), mask=EVERY_THIRD), "mag(AB)", "Magnitude in F160W."),
    "flux": KeptColumn("flux", pa.array(np.ones(40, np.float32)), "erg / (s cm2)"),
    "sector": KeptColumn("sector", pa.array(np.arange(40, dtype=np.int16), mask=EVERY_THIRD)),
    "quality": KeptColumn("quality", pa.array(np.arange(40, dtype=np.uint8))),
    "word": KeptColumn("word", pa.array([None if n % 3 == 0 else "w" * n for n in range(40)])),
    "is_star": KeptColumn("is_star", pa.array([None if n % 3 == 0 else n % 2 == 0 for n in range(40)])),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rows = kept_of(COLUMNS_OF_EVERY_TYPE).added_to(ROWS)
    path = tmp_path_factory.mktemp("kept") / "rows.parquet"
    path.write_bytes(parquet_bytes(rows.replace_schema_metadata(described_schema(RowFacts.of(rows)).metadata)))
    return path


def test_the_catalog_s_own_columns_are_not_touched(path):
    table = pq.read_table(path)
    assert table.select(CATALOG_SCHEMA.names).equals(ROWS)
    assert table.column_names == [*CATALOG_SCHEMA.names, *COLUMNS_OF_EVERY_TYPE]


def test_types_and_values_are_those_of_the_list(path):
    table = pq.read_table(path)
    by_id = dict(zip(IDS.tolist(), range(40), strict=True))
    for name, column in COLUMNS_OF_EVERY_TYPE.items():
        assert table[name].type == column.values.type
        expected = [column.values[by_id[source_id]].as_py() for source_id in table["source_id"].to_pylist()]
        assert table[name].to_pylist() == expected


def test_astropy_pandas_and_plain_arrow_tell_units_and_descriptions(path):
    table, schema = Table.read(path), pq.read_schema(path)
    assert str(table["mag"].unit) == "mag(AB)"
    assert table["mag"].description == "Magnitude in F160W."
    assert schema.field("mag").metadata == {b"unit": b"mag(AB)", b"description": b"Magnitude in F160W."}
    frame = pd.read_parquet(path)
    assert frame["word"].isna().sum() == 14
    assert frame["quality"].dtype == np.uint8


@pytest.mark.filterwarnings(f"ignore::{MergeConflictWarning.__module__}.{MergeConflictWarning.__name__}")
def test_astropy_s_votable_reader_opens_a_catalog_with_kept_columns(path):
    table = Table.read(path, format="parquet.votable")
    assert len(table) == 40
    assert table["mag"].description == "Magnitude in F160W."
    assert [value is None for value in table["is_star"]] == [
        value is None for value in pq.read_table(path)["is_star"].to_pylist()
    ]


def test_selections_name_kept_columns(path):
    table = pq.read_table(path)
    chosen = table.filter(parse_selection("mag < 23 and is_star == True and word != 'ww'", table.schema))
    assert 0 < len(chosen) < 40
    assert all(row["mag"] < 23 and row["is_star"] and row["word"] != "ww" for row in chosen.to_pylist())


@given(st.permutations(range(40)), st.lists(st.booleans(), min_size=40, max_size=40))
def test_every_source_gets_its_own_value_whatever_the_order_of_list_and_rows(order, chosen):
    ids = IDS[list(order)]
    kept = KeptColumns.of({"EGS": listed({"twice": pa.array(2 * ids)}, ids)})
    rows = kept.added_to(ROWS.filter(pa.array(chosen)))
    np.testing.assert_array_equal(rows["twice"].to_numpy(), 2 * rows["source_id"].to_numpy())


def test_a_field_without_the_column_has_nulls():
    other = make_rows(10, field="UDS")
    lists = {
        "EGS": listed({"mag": pa.array(np.ones(40))}),
        "UDS": listed({"sector": pa.array(np.ones(10, np.int16))}, other["source_id"].to_numpy(), "UDS"),
    }
    kept = KeptColumns.of(lists)
    together = kept.added_to(pa.concat_tables([ROWS, other]))
    assert kept.names == ["mag", "sector"]
    assert together.filter(pa.compute.field("field") == "UDS")["mag"].null_count == 10
    assert together.filter(pa.compute.field("field") == "EGS")["sector"].null_count == 40
    assert together.schema == kept.added_to(other).schema


def test_a_source_that_is_not_in_the_list_is_an_error():
    kept = KeptColumns.of({"EGS": listed({"mag": pa.array([1.0])}, [10**12])})
    with pytest.raises(ValueError, match="is not in the source list"):
        kept.added_to(ROWS)


WIDER = [
    (pa.int16(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.float32(), pa.float64(), pa.float64()),
]


@pytest.mark.parametrize(("one", "other", "common"), WIDER)
def test_fields_with_narrow_and_wide_numbers_share_the_wide_type(one, other, common):
    lists = {"EGS": listed({"n": pa.array([1], one)}, [1]), "UDS": listed({"n": pa.array([2], other)}, [1], "UDS")}
    assert list(contradictions(lists)) == []
    assert KeptColumns.of(lists).columns[0].type == common


def test_a_column_without_any_value_contradicts_no_type():
    lists = {"EGS": listed({"n": pa.nulls(1, pa.int64())}, [1]), "UDS": listed({"n": pa.array(["a"])}, [1], "UDS")}
    assert list(contradictions(lists)) == []
    assert KeptColumns.of(lists).columns[0].type == pa.string()


def test_a_unit_that_only_one_field_states_is_told_but_not_claimed_for_all():
    magnitude = KeptColumn("mag", pa.array([1.0]), "mag", "Total magnitude.")
    lists = {"EGS": listed({"mag": magnitude}, [1]), "UDS": listed({"mag": pa.array([1.0])}, [1], "UDS")}
    (column,) = KeptColumns.of(lists).columns
    assert column.unit is None
    assert column.description == "Total magnitude. [mag in EGS]"


@pytest.mark.parametrize("name", ["flags", "FLAGS", "Redshift", "p_pm_mean", COLUMNS[-1].name])
def test_the_catalog_s_own_names_are_taken(name):
    ((field, what, remedy),) = contradictions({"EGS": listed({name: pa.array(IDS)})})
    assert field == "EGS"
    assert name in what
    assert f'"{name} as list_{name.lower()}"' in remedy


def test_every_contradiction_is_reported_at_once():
    lists = {
        "COSMOS": listed(
            {"n": pa.array([1]), "mag": KeptColumn("mag", pa.array([1.0]), "mag"), "a": pa.array([1])}, [1], "COSMOS"
        ),
        "EGS": listed({"n": pa.array(["x"]), "mag": KeptColumn("mag", pa.array([1.0]), "uJy"), "A": pa.array([1])}, [1]),
        "UDS": listed({"n": pa.array([True])}, [1], "UDS"),
    }
    found = [(field, what) for field, what, _ in contradictions(lists)]
    assert found == [
        ("EGS", "the kept column n contradicts that of COSMOS in its type: text here, integers there."),
        ("UDS", "the kept column n contradicts that of COSMOS in its type: truth values here, integers there."),
        ("EGS", "the kept column mag contradicts that of COSMOS in its unit: uJy here, mag there."),
        ("COSMOS", "the kept columns a and A differ only in upper and lower case."),
        ("EGS", "the kept columns A and a differ only in upper and lower case."),
    ]


MAG = KeptColumn("mag", pa.array([1.0, None, 3.0]), "mag", "Magnitude.")
CHANGES = {
    "a value": replace(MAG, values=pa.array([1.0, None, 4.0])),
    "a null": replace(MAG, values=pa.array([1.0, 2.0, None])),
    "zero instead of a null": replace(MAG, values=pa.array([1.0, 0.0, 3.0])),
    "the type": replace(MAG, values=pa.array([1.0, None, 3.0], pa.float32())),
    "the unit": replace(MAG, unit="uJy"),
    "the description": replace(MAG, description="Total magnitude."),
    "empty text": replace(MAG, values=pa.array(["1", None, "3"])),
}


def digest(column, ids=(1, 2, 3), name="mag"):
    return KeptColumns.of({"EGS": listed({name: column}, list(ids))}).digest


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_is_in_the_digest(what):
    assert digest(CHANGES[what]) != digest(MAG)
    assert digest(MAG, ids=(1, 2, 4)) != digest(MAG) != digest(MAG, name="other")


def test_the_order_of_the_list_and_the_memory_under_nulls_are_not_in_the_digest():
    mask = np.array([False, True, False])
    assert digest(replace(MAG, values=pa.array(np.array([1.0, 77.0, 3.0]), mask=mask))) == digest(MAG)
    assert digest(MAG.__class__("mag", pa.array([3.0, None, 1.0]), "mag", "Magnitude."), ids=(3, 2, 1)) == digest(MAG)


def test_without_kept_columns_rows_stay_as_they_are():
    assert NOTHING_KEPT.added_to(ROWS) is ROWS
    assert NOTHING_KEPT.digest == KeptColumns.of({"EGS": listed({})}).digest == ""
