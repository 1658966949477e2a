"""A column of source lists is declared once: everything that handles sources follows the declaration."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.catalog.columns import COLUMNS
from surveyflow.output.units import read_worklist, write_worklist
from surveyflow.planning.source_changes import COMPARED_COLUMNS
from surveyflow.settings.workflow import ColumnMap
from surveyflow.values.sources import SOURCE_COLUMNS, Interval, SourceColumn, UnitSources

numbers = st.floats(allow_nan=False)


def unit_sources(ids) -> UnitSources:
    n_sources = len(ids)
    return UnitSources(
        field="EGS",
        source_id=np.array(ids, np.int64),
        ra_deg=np.linspace(214.0, 214.1, n_sources),
        dec_deg=np.linspace(52.0, 52.1, n_sources),
        redshift=np.where(np.arange(n_sources) % 2, np.nan, 1.0),
        instrument=np.array(["F814W", ""] * n_sources)[:n_sources],
        x_pix=np.arange(n_sources) / 3,
        y_pix=np.full(n_sources, np.nan),
        status=np.array(["", "no_redshift"] * n_sources)[:n_sources],
        flags=np.arange(n_sources, dtype=np.int32),
    )


@pytest.mark.parametrize("name", SOURCE_COLUMNS)
def test_every_column_is_a_key_of_the_workflow_and_is_in_the_catalog(name):
    declared = SOURCE_COLUMNS[name]
    assert ColumnMap.model_fields[declared.key].is_required() == declared.required
    (column,) = [column for column in COLUMNS if column.name == declared.catalog_name]
    assert (column.type, column.unit, column.field.nullable) == (
        pa.from_numpy_dtype(declared.dtype),
        declared.unit,
        not declared.required,
    )
    assert declared.catalog_name in COMPARED_COLUMNS


def test_a_work_list_keeps_every_column_of_every_unit(tmp_path):
    units = [unit_sources([1, 2, 3]), unit_sources([9])]
    write_worklist(tmp_path / "worklist.arrow", units)
    for number, unit in enumerate(units):
        found = read_worklist(tmp_path / "worklist.arrow", number)
        assert found.field == unit.field
        for name in (*SOURCE_COLUMNS, "instrument", "x_pix", "y_pix", "status", "flags"):
            np.testing.assert_array_equal(getattr(found, name), getattr(unit, name))
            assert getattr(found, name).dtype.kind == getattr(unit, name).dtype.kind


def test_chosen_rows_keep_every_column_in_their_order():
    chosen = unit_sources([1, 2, 3]).take(np.array([2, 0]))
    assert (chosen.source_id.tolist(), chosen.flags.tolist(), chosen.instrument.tolist()) == ([3, 1], [2, 0], ["F814W", "F814W"])


@given(low=numbers, high=numbers, values=st.lists(numbers | st.just(math.nan)), closed=st.booleans())
def test_an_interval_holds_the_numbers_between_its_ends(low, high, values, closed):
    expected = [low <= value < high or (closed and low <= value == high) for value in values]
    assert Interval(low, high, closed).holds(np.array(values, float)).tolist() == expected


def test_whole_numbers_cannot_be_unknown():
    with pytest.raises(ValueError, match="count: whole numbers cannot be unknown"):
        SourceColumn("count", "count", "meta.number", "A count.", "N", "Write numbers.", dtype=np.int64, required=False)
