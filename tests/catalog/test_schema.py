from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from astropy.io.votable.ucd import parse_ucd
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_rows import make_rows, masked
from surveyflow.catalog.columns import COLUMNS, HISTOGRAM, Null
from surveyflow.catalog.schema import (
    CATALOG_SCHEMA,
    HISTOGRAM_BINS,
    SCHEMA_VERSION,
    UNIT_SCHEMA_VERSION,
    build_rows,
    check_declared,
    check_rows,
    completed,
    schema_version,
    taken,
)

STATISTICS = ("mean", "std", "q05", "q16", "q50", "q84", "q95")
CONTAMINATION_STATISTICS = ("mean", "std", "q16", "q50", "q84")

GOLDEN = {
    "_healpix_29": "int64 not null",
    "field": "string not null",
    "source_id": "int64 not null",
    "ra": "double not null",
    "dec": "double not null",
    "redshift": "double",
    "source_name": "string",
    "instrument": "string",
    "p_range": "float",
    "duplicate_of": "string",
    "status": "string not null",
    "flags": "int32 not null",
    "mosaic": "string",
    "x_pix": "double",
    "y_pix": "double",
    "valid_fraction": "float",
    "weight_median": "float",
    "offset_arcsec": "float",
    "sky_sigma": "float",
    "window_snr": "float",
    "edge_light_fraction": "float",
    "noise_correlation": "float",
    "model_id": "string",
    "weights_origin": "string",
    "feature_distance": "float",
    "n_draws": "int32",
    "n_members": "int32",
    "seed": "int64",
    "p_pm_calibrated": "float",
    "p_pm_at_prevalence": "float",
    **{f"p_pm_{key}": "float" for key in STATISTICS},
    **{f"p_sf_{key}": "float" for key in STATISTICS},
    "f_pm": "float",
    "vote_entropy": "float",
    "entropy_predictive": "float",
    "entropy_expected": "float",
    "mutual_information": "float",
    "p_pm_member_std": "float",
    "member_agreement": "float",
    "p_pm_hist": "fixed_size_list<element: uint16>[50]",
    **{f"p_contaminated_{key}": "float" for key in ("mean", "std")},
    **{f"coverage_pct_{key}": "float" for key in CONTAMINATION_STATISTICS},
    **{f"flux_pp_{key}": "float" for key in CONTAMINATION_STATISTICS},
    "contamination_model_id": "string",
    "unit_key": "string",
}

IDENTITY = {
    "_healpix_29": [30, 10, 20],
    "field": "EGS",
    "source_id": [1, 2, 3],
    "ra": [1.0, 2.0, 3.0],
    "dec": [1.0, 2.0, 3.0],
    "status": "no_model",
    "flags": 0,
}


def test_the_schema_is_the_contract():
    found = {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in CATALOG_SCHEMA}
    assert found == GOLDEN, "a change of the schema is public: adding a column is minor, anything else major"
    assert list(found) == list(GOLDEN)


def test_the_version_follows_from_the_columns_alone():
    assert schema_version(COLUMNS) == SCHEMA_VERSION
    assert UNIT_SCHEMA_VERSION == "0db0bd0c7cc1", (
        "every unit of every catalog is computed again: is that meant, or does a library spell a type in another way now?"
    )


CHANGED_COLUMNS = {
    "a new column": (*COLUMNS, replace(COLUMNS[-1], name="another")),
    "a column less": COLUMNS[:-1],
    "another order": (COLUMNS[1], COLUMNS[0], *COLUMNS[2:]),
    "another name": (*COLUMNS[:-1], replace(COLUMNS[-1], name="key")),
    "another type": (*COLUMNS[:-1], replace(COLUMNS[-1], type=pa.large_string())),
    "another unit": (*COLUMNS[:-1], replace(COLUMNS[-1], unit="")),
    "another null rule": (*COLUMNS[:-1], replace(COLUMNS[-1], null=Null.NO_CUTOUT)),
}


@pytest.mark.parametrize("columns", CHANGED_COLUMNS.values(), ids=CHANGED_COLUMNS)
def test_a_change_of_the_columns_changes_the_version(columns):
    assert schema_version(columns) != SCHEMA_VERSION


def test_rows_of_units_from_before_a_column_joined_are_completed():
    table = build_rows(IDENTITY, 3)
    joined = [column.name for column in COLUMNS if column.joined]
    assert joined
    assert completed(table.drop_columns(joined)).equals(table)


def test_better_descriptions_do_not_change_the_version():
    reworded = [replace(column, description="Reworded.", ucd="meta.note") for column in COLUMNS]
    assert schema_version(reworded) == SCHEMA_VERSION


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_has_a_description_and_a_known_ucd(column):
    assert column.description.endswith(".")
    parse_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=False)


def test_floating_numbers_have_a_unit_and_names_have_none():
    for column in COLUMNS:
        assert (column.unit is not None) == pa.types.is_floating(column.type), column.name


def test_rows_are_sorted_and_columns_left_out_are_null():
    table = build_rows(IDENTITY, 3)
    assert table["source_id"].to_pylist() == [2, 3, 1]
    assert table["redshift"].null_count == 3
    assert table["p_pm_hist"].to_pylist() == [[None] * 50] * 3


def test_rows_of_one_cell_are_sorted_by_field_and_source():
    table = build_rows(IDENTITY | {"_healpix_29": 5, "field": ["UDS", "EGS", "EGS"], "source_id": [1, 3, 2]}, 3)
    assert list(zip(table["field"].to_pylist(), table["source_id"].to_pylist(), strict=True)) == [
        ("EGS", 2),
        ("EGS", 3),
        ("UDS", 1),
    ]


def test_nan_none_and_masked_all_become_null():
    words = np.ma.masked_array(["F814W", "x", "F814W"], mask=[False, True, False])
    table = build_rows(
        IDENTITY | {"_healpix_29": 1, "redshift": [1.0, np.nan, 2.0], "instrument": words, "unit_key": ["a", None, "b"]}, 3
    )
    for name in ("redshift", "instrument", "unit_key"):
        assert table[name].is_null().to_pylist() == [False, True, False], name


def test_the_order_of_the_rows_given_does_not_matter():
    table = make_rows(30)
    shuffled = table.take(np.random.default_rng(0).permutation(30))
    columns = {name: shuffled[name].to_numpy() for name in table.column_names if name != "p_pm_hist"}
    histograms = np.array([[0 if item is None else item for item in row] for row in shuffled["p_pm_hist"].to_pylist()])
    columns["p_pm_hist"] = masked(histograms, columns["status"] == "ok")
    assert build_rows(columns, 30).equals(table)


@settings(deadline=None)
@given(st.lists(st.integers(0, 59)), st.integers(0, 20), st.booleans(), st.sampled_from([0, 1, 7, 4000]))
def test_rows_are_taken_as_arrow_takes_them(places, start, pieces, nulls):
    numbers = np.arange(80 * HISTOGRAM_BINS, dtype=np.uint16)
    items = pa.array(numbers, mask=numbers % nulls == 0 if nulls else None)  # all of them, some in every row, or some in one row
    lists = pa.FixedSizeListArray.from_arrays(items, type=HISTOGRAM)
    names = [f"row {number}" for number in range(80)]
    rows = pa.table({"name": names, "redshift": pa.nulls(80, pa.float64()), "p_pm_hist": lists}).slice(start, 60)
    rows = pa.concat_tables([rows.slice(0, 20), rows.slice(20)]) if pieces else rows
    result, expected = (take(rows, pa.array(places, pa.int64())) for take in (taken, pa.Table.take))
    result.validate(full=True)
    assert result.equals(expected)


def test_no_rows_are_a_table_with_every_column():
    assert build_rows({name: [] for name in IDENTITY}, 0).schema.equals(CATALOG_SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": [1, 2, 3]}, "no columns \\['colour'\\]"),
        ({"ra": [1.0, 2.0]}, "ra must have shape \\(3,\\)"),
        ({"ra": [1.0, np.nan, 2.0]}, "ra is null never: 1 rows"),
        ({"field": None}, "field is null never"),
        ({"source_id": [1.5, 2.0, 3.0]}, "source_id must hold int64"),
        ({"flags": [2**40, 0, 0]}, "flags must hold int32"),
        ({"field": [1, 2, 3]}, "field must hold string"),
        ({"status": "lost"}, "not \\['lost'\\]"),
        ({"f_pm": [0.1, 0.2, 0.3]}, "f_pm is null if and only if status is not ok: 3 rows"),
        ({"status": "ok"}, "model_id is null if and only if status is not ok"),
        ({"flux_pp_mean": [np.nan, 0.2, np.nan]}, "flux_pp_mean is null if status is not ok"),
        ({"p_pm_hist": np.zeros((3, 49))}, "p_pm_hist must have shape \\(3, 50\\)"),
    ],
)
def test_rows_that_break_the_rules_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build_rows(IDENTITY | change, 3)


def test_another_schema_is_refused():
    with pytest.raises(ValueError, match="the catalog's schema"):
        check_rows(make_rows(3).drop_columns(["seed"]))


def test_rows_of_another_schema_are_checked_as_far_as_it_says():
    rows = make_rows(3).drop_columns(["seed"])
    check_declared(rows, rows.schema)
    required = rows.schema.set(rows.schema.get_field_index("redshift"), pa.field("redshift", pa.float64(), nullable=False))
    unknown = pa.nulls(3, pa.float64())
    broken = rows.set_column(rows.schema.get_field_index("redshift"), required.field("redshift"), unknown)
    with pytest.raises(ValueError, match="redshift is null never: 3 rows"):
        check_declared(broken, required)
