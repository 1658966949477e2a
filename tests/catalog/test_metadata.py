import io
import json
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import votable
from astropy.table import Table
from astropy.utils.metadata import MergeConflictWarning

from catalog_rows import make_rows
from surveyflow.catalog.columns import COLUMNS, HISTOGRAM
from surveyflow.catalog.parquet import RowFacts, described_schema, parquet_bytes, rows_of_unit, unit_bytes
from surveyflow.catalog.schema import CATALOG_SCHEMA, SCHEMA_VERSION

ROWS = pa.concat_tables([make_rows(40, origin="simulated"), make_rows(40, field="GOODS_NORTH", origin="untrained")])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("catalog") / "rows.parquet"
    path.write_bytes(parquet_bytes(ROWS.replace_schema_metadata(described_schema(RowFacts.of(ROWS)).metadata)))
    return path


def test_astropy_reads_units_descriptions_ucds_and_values(path):
    table = Table.read(path)
    for column in COLUMNS:
        assert table[column.name].unit == (None if column.unit is None else u.Unit(column.unit)), column.name
        assert table[column.name].description == column.description
        assert table[column.name].meta["ucd"] == column.ucd
    np.testing.assert_array_equal(table["f_pm"], ROWS["f_pm"].to_numpy())
    assert list(table["field"]) == ROWS["field"].to_pylist()
    assert table["p_pm_hist"].shape == (80, 50)
    assert np.isnan(table["p_pm_hist"][table["status"] != "ok"]).all()
    assert (table["p_pm_hist"][table["status"] == "ok"].sum(axis=1) == 20).all()


def test_astropy_reads_where_the_weights_came_from(path):
    assert Table.read(path).meta["weights_origin"] == ["simulated", "untrained"]


@pytest.mark.filterwarnings(f"ignore::{MergeConflictWarning.__module__}.{MergeConflictWarning.__name__}")
def test_astropy_s_votable_reader_of_parquet_finds_units(path):
    table = Table.read(path, format="parquet.votable")
    assert len(table) == 80
    assert table["ra"].unit == u.deg
    assert table["flux_pp_mean"].unit == u.electron / u.s / u.pixel


def test_the_votable_has_a_field_for_every_column_and_no_data(path):
    metadata = pq.read_schema(path).metadata
    assert metadata[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    content = metadata[b"IVOA.VOTable-Parquet.content"]
    assert b"<DATA" not in content
    table = votable.parse(io.BytesIO(content), verify="exception").get_first_table()
    assert [field.name for field in table.fields] == CATALOG_SCHEMA.names
    assert {field.name: field.ucd for field in table.fields} == {column.name: column.ucd for column in COLUMNS}
    assert "simulated, untrained" in " ".join(str(table.description).split())


def test_the_votable_of_every_file_states_the_lengths_of_its_strings():
    for lengths in ({"field": 7, "mosaic": 9_000_000}, {"field": 12}):
        facts = RowFacts(("simulated",), lengths)
        content = described_schema(facts).metadata[b"IVOA.VOTable-Parquet.content"]
        table = votable.parse(io.BytesIO(content), verify="exception").get_first_table()
        sizes = {field.name: field.arraysize for field in table.fields if field.datatype == "unicodeChar"}
        assert sizes == {name: str(max(lengths.get(name, 0), len("None"))) for name in sizes}
        assert set(lengths) < set(sizes)


def test_plain_metadata_name_the_weights_and_the_schema(path):
    assert json.loads(pq.read_schema(path).metadata[b"surveyflow"]) == {
        "schema_version": SCHEMA_VERSION,
        "weights_origin": ["simulated", "untrained"],
    }


def test_pyarrow_and_pandas_read_the_same_rows(path):
    assert pq.read_table(path).equals(ROWS)
    frame = pd.read_parquet(path)
    np.testing.assert_array_equal(frame["p_pm_mean"], ROWS["p_pm_mean"].to_numpy())
    assert frame["redshift"].isna().sum() == ROWS["redshift"].null_count


def test_floats_are_split_and_only_strings_and_histograms_have_dictionaries(path):
    group = pq.ParquetFile(path).metadata.row_group(0)
    for index in range(group.num_columns):
        column = group.column(index)
        kind = CATALOG_SCHEMA.field(column.path_in_schema.split(".")[0]).type
        assert column.compression == "ZSTD"
        assert ("RLE_DICTIONARY" in column.encodings) == (kind in {pa.string(), HISTOGRAM}), column.path_in_schema
        assert ("BYTE_STREAM_SPLIT" in column.encodings) == pa.types.is_floating(kind), column.path_in_schema


def test_a_file_packed_with_lz4_holds_the_same_rows():
    content = parquet_bytes(ROWS, "lz4")
    assert pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0).column(0).compression == "LZ4"
    assert pq.read_table(pa.BufferReader(content)).equals(ROWS)


@pytest.mark.parametrize("rows", [ROWS, ROWS.slice(3, 50), ROWS.slice(0, 0)], ids=["pieces", "a slice", "none"])
@pytest.mark.parametrize("columns", [None, ["p_pm_hist", "ra"], ["ra"]])
def test_a_units_file_holds_the_same_rows_and_packs_histograms_as_bytes(rows, columns):
    stored = pq.read_table(pa.BufferReader(unit_bytes(rows)), columns=columns)
    restored = rows_of_unit(stored)
    restored.validate(full=True)
    assert restored.equals(rows if columns is None else rows.select(columns))
    assert "p_pm_hist" not in stored.column_names or stored.schema.field("p_pm_hist").type == pa.binary(100)
    assert rows_of_unit(pq.read_table(pa.BufferReader(parquet_bytes(rows, "lz4")))).equals(rows)


def test_packed_histograms_have_the_lower_byte_first():
    stored = pq.read_table(pa.BufferReader(unit_bytes(ROWS)))["p_pm_hist"].to_pylist()
    items = ROWS["p_pm_hist"].to_pylist()
    assert [None if each is None else [*struct.unpack("<50H", each)] for each in stored] == [
        None if each[0] is None else each for each in items
    ]


def test_a_histogram_that_is_null_in_part_keeps_its_items():
    items = pa.array(np.arange(100), pa.uint16(), mask=np.arange(100) == 70)
    rows = ROWS.slice(0, 2).set_column(
        ROWS.schema.get_field_index("p_pm_hist"),
        ROWS.schema.field("p_pm_hist"),
        pa.FixedSizeListArray.from_arrays(items, type=HISTOGRAM),
    )
    assert rows_of_unit(pq.read_table(pa.BufferReader(unit_bytes(rows)))).equals(rows)


def test_equal_rows_make_equal_bytes():
    rows = ROWS.take(np.arange(80))
    assert parquet_bytes(rows) == parquet_bytes(ROWS)


def test_facts_of_two_files_together_are_the_facts_of_all_rows():
    halves = ROWS.slice(0, 40), ROWS.slice(40)
    assert RowFacts.of(halves[0]) | RowFacts.of(halves[1]) == RowFacts.of(ROWS)
    assert RowFacts() | RowFacts.of(ROWS) == RowFacts.of(ROWS)


def test_rows_without_results_have_no_origin():
    rows = ROWS.filter(pa.compute.field("status") != "ok")
    assert RowFacts.of(rows).weights_origins == ()
    assert described_schema(RowFacts.of(rows)).names == CATALOG_SCHEMA.names
