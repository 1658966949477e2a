"""p(z) is read as samples or on a grid, from every format that has arrays, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from pydantic import ValidationError

from surveyflow.errors import SourceListError
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.inputs.tables import read_columns
from surveyflow.settings.workflow import ColumnMap, RedshiftGrid, SourceListSpec
from surveyflow.values.listed import ListedSources

RANGES = {"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)}
FORMATS = {"fits": "fits", "parquet": "parquet", "ecsv": "ascii.ecsv", "vot": "votable"}
SAMPLES = np.array([[0.6, 0.7, 2.0, 0.8], [2.0, 2.2, 2.4, 0.9], [np.nan] * 4])
GRID = np.linspace(0, 4, 41)
DENSITY = np.stack([np.exp(-0.5 * ((GRID - centre) / 0.2) ** 2) for centre in (1.0, 2.0)] + [0 * GRID])
EVEN = RedshiftGrid(density="PZ", start=0.0, step=0.1)


def read(path: Path, **columns) -> ListedSources:
    spec = SourceListSpec(path=path, columns=ColumnMap(id="ID", ra="RA", dec="DEC", **columns))
    return read_source_list(spec, "EGS", RANGES)


def refusal(path: Path, **columns) -> str:
    with pytest.raises(SourceListError) as caught:
        read(path, **columns)
    return str(caught.value)


def table(**columns) -> Table:
    return Table({"ID": [1, 2, 3], "RA": [1.0, 2.0, 3.0], "DEC": [1.0, 2.0, 3.0]} | columns)


def written(path: Path, **columns) -> Path:
    table(**columns).write(path, format=FORMATS.get(path.suffix[1:]), overwrite=True)
    return path


@pytest.mark.parametrize("items", [pa.float32(), pa.float64(), pa.int16()])
@pytest.mark.parametrize("lists", [pa.list_, pa.large_list, lambda items: pa.list_(items, 2)], ids=["list", "large", "fixed"])
@pytest.mark.parametrize(
    "rows", [[[1, 2], None], [[1, None], [3, 4]], [None], [[5, 6], [7, 8]], [[], [1, 2, 3], [9]], []], ids=str
)
def test_lists_of_numbers_are_those_that_the_file_holds(tmp_path, items, lists, rows):
    if pa.types.is_fixed_size_list(lists(items)):
        rows = [row if row is None else [*row, 1, 2][:2] for row in rows]
    pq.write_table(pa.table({"z": pa.array(rows, lists(items))}), tmp_path / "z.parquet")
    column = read_columns(tmp_path / "z.parquet", {"z"})["z"]
    assert column.missing.tolist() == [row is None for row in rows]
    for found, row in zip(column.values, rows, strict=True):
        assert (found is None) == (row is None)
        np.testing.assert_array_equal(np.array(found, float), np.array(row, float))
    if column.values.ndim == 1:  # a row that is kept does not keep the memory of all others
        assert all(row is None or isinstance(row, list) or row.base is None for row in column.values)


@pytest.mark.parametrize("suffix", FORMATS)
def test_samples_choose_the_range_in_every_format(tmp_path, suffix):
    listed = read(written(tmp_path / f"list.{suffix}", z=SAMPLES), redshift_samples="z")
    np.testing.assert_allclose(listed.sources.redshift, [0.7, 2.2, np.nan])
    assert listed.own["p_range"].to_pylist() == [0.75, 0.75, None]


@pytest.mark.parametrize("suffix", FORMATS)
def test_densities_on_a_grid_choose_the_range_in_every_format(tmp_path, suffix):
    listed = read(written(tmp_path / f"list.{suffix}", PZ=DENSITY), redshift_grid=EVEN)
    np.testing.assert_allclose(listed.sources.redshift, [1.0, 2.0, np.nan], atol=0.01)
    np.testing.assert_allclose(listed.shares.p_range, [0.9876, 0.9938, np.nan], atol=2e-3)


def test_rows_of_different_numbers_of_samples_are_read(tmp_path):
    lists = pa.array([[0.6, 0.7], [2.0, 2.2, 2.4], None], pa.list_(pa.float32()))
    positions = pa.array([1.0, 2.0, 3.0])
    pq.write_table(pa.table({"ID": [1, 2, 3], "RA": positions, "DEC": positions, "z": lists}), tmp_path / "list.parquet")
    np.testing.assert_allclose(
        read(tmp_path / "list.parquet", redshift_samples="z").sources.redshift, [0.65, 2.2, np.nan], rtol=1e-6
    )


def test_masked_samples_and_sentinels_do_not_count(tmp_path):
    masked = MaskedColumn([[0.6, 2.9, 0.7], [2.0, 2.1, -99.0], [1.0, 1.0, 1.0]], mask=[[0, 1, 0], [0, 0, 0], [1, 1, 1]])
    listed = read(written(tmp_path / "list.ecsv", z=masked), redshift_samples="z")
    np.testing.assert_allclose(listed.sources.redshift, [0.65, 2.05, np.nan])


def test_the_grid_may_be_a_column_or_another_table_of_the_file(tmp_path):
    expected = read(written(tmp_path / "even.fits", PZ=DENSITY), redshift_grid=EVEN).sources.redshift
    column = written(tmp_path / "column.fits", PZ=DENSITY, Z=np.tile(GRID, (3, 1)))
    beside = tmp_path / "beside.fits"
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table(PZ=DENSITY), name="CAT"), fits.BinTableHDU(Table({"Z": GRID}), name="GRID")]
    fits.HDUList(hdus).writeto(beside)
    for path, place in ((column, {}), (beside, {"table": "GRID"})):
        found = read(path, redshift_grid=RedshiftGrid(density="PZ", grid="Z", **place)).sources.redshift
        np.testing.assert_allclose(found, expected)


WRONG = {
    "one value in each row": ({"z": [0.5, 0.6, 0.7]}, {"redshift_samples": "z"}, "each row holds one value"),
    "text": ({"z": ["a", "b", "c"]}, {"redshift_samples": "z"}, "it does not hold arrays of numbers"),
    "an impossible sample": (
        {"z": [[0.5, -1.0]] * 3},
        {"redshift_samples": "z"},
        "row 1, row 2, row 3 holds a sample that is not",
    ),
    "a negative density": ({"PZ": -DENSITY}, {"redshift_grid": EVEN}, "row 1, row 2 holds a density that is negative"),
    "a hole in the densities": (
        {"PZ": np.where(GRID == 1.0, np.nan, DENSITY)},
        {"redshift_grid": EVEN},
        "row 1, row 2, row 3 holds densities of which some are missing",
    ),
    "different grids": (
        {"PZ": DENSITY, "Z": np.add(GRID, [[0], [0], [0.1]])},
        {"redshift_grid": RedshiftGrid(density="PZ", grid="Z")},
        "its rows hold different grids",
    ),
    "a grid of another length": (
        {"PZ": DENSITY, "Z": np.tile(GRID[:9], (3, 1))},
        {"redshift_grid": RedshiftGrid(density="PZ", grid="Z")},
        "each row holds 41 densities, but the grid has 9 redshifts",
    ),
    "a grid that falls": (
        {"PZ": DENSITY, "Z": np.tile(GRID[::-1], (3, 1))},
        {"redshift_grid": RedshiftGrid(density="PZ", grid="Z")},
        "not a grid of at least two increasing redshifts",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_a_distribution_is_refused(tmp_path, what):
    columns, names, words = WRONG[what]
    assert words in refusal(written(tmp_path / "list.parquet" if what == "text" else tmp_path / "list.fits", **columns), **names)


def test_problems_of_distributions_are_reported_with_all_others(tmp_path):
    path = written(tmp_path / "list.fits", z=[[0.5, -1.0]] * 3)
    wrong = Table.read(path)
    wrong["RA"] = [400.0, 1.0, 2.0]
    wrong.write(path, overwrite=True)
    assert len(refusal(path, redshift_samples="z").splitlines()) == 2


@pytest.mark.parametrize(
    "grid", [{}, {"start": 0.0}, {"start": 0.0, "step": 0.1, "grid": "Z"}, {"start": 0.0, "step": 0.1, "table": "GRID"}]
)
def test_a_grid_is_stated_once(grid):
    with pytest.raises(ValidationError):
        RedshiftGrid(density="PZ", **grid)


def test_a_list_states_redshifts_once():
    with pytest.raises(ValidationError, match="both state redshifts"):
        ColumnMap(id="ID", ra="RA", dec="DEC", redshift="zbest", redshift_samples="z")
