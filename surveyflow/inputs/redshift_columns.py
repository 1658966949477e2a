"""Redshift distributions in source lists: a column of samples, or a column of densities on a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.errors import SourceListError
from surveyflow.files.paths import Place, split_extension, with_extension
from surveyflow.inputs.columns import Column
from surveyflow.inputs.tables import read_columns
from surveyflow.settings.workflow import RedshiftGrid
from surveyflow.stats.redshift_distributions import Distributions, GriddedRedshifts, SampledRedshifts
from surveyflow.values.arrays import Float64Array
from surveyflow.values.sources import SOURCE_COLUMNS

_REDSHIFT = SOURCE_COLUMNS["redshift"]
_N_SHOWN = 5


def read_distributions(file: Place, samples: str | None, grid: RedshiftGrid | None, columns: dict[str, Column]) -> Distributions:
    """The redshift distributions of a source list.

    Parameters
    ----------
    file
        The file that holds them.
    samples, grid
        The names of its columns of distributions; one of them is None.
    columns
        These columns.

    Raises
    ------
    SourceListError
        If a column does not hold distributions, with every problem found.
    """
    if samples is not None:
        return _sampled(columns[samples])
    if grid is None:
        raise ValueError("the workflow names no column of distributions")
    density = columns[grid.density]
    values = _matrix(density)
    redshifts = _grid(file, grid, columns, values.shape[1])
    if len(redshifts) != values.shape[1]:
        raise SourceListError(
            f"column {density.name}: each row holds {values.shape[1]} densities, but the grid has {len(redshifts)} redshifts. "
            "Name the grid of these densities."
        )
    _refuse(_problems_of_density(density, values))
    return GriddedRedshifts(redshifts, np.nan_to_num(values, nan=0.0))


def _sampled(column: Column) -> SampledRedshifts:
    samples = _matrix(column)
    if _REDSHIFT.unknown_up_to is not None:
        samples[samples <= _REDSHIFT.unknown_up_to] = np.nan
    odd = ~np.isnan(samples) & ~_REDSHIFT.allowed.holds(samples)
    _refuse(
        _rows(
            column,
            np.any(odd, axis=1),
            f"holds a sample that is not in {_REDSHIFT.allowed}",
            "Write NaN where there is no sample.",
        )
    )
    return SampledRedshifts(samples)


def _problems_of_density(column: Column, values: Float64Array) -> Iterator[str]:
    missing = np.isnan(values)
    some = np.any(missing, axis=1) & ~np.all(missing, axis=1)
    yield from _rows(column, some, "holds densities of which some are missing", "Write 0, or leave out the distribution.")
    odd = np.any((values < 0) | np.isinf(values), axis=1)
    yield from _rows(column, odd, "holds a density that is negative or infinite", "Write densities, not their logarithms.")


def _grid(path: Place, spec: RedshiftGrid, columns: dict[str, Column], n_redshifts: int) -> Float64Array:
    """(k,) float64: the redshifts of the grid, increasing."""
    if spec.start is not None and spec.step is not None:
        return np.asarray(spec.start + spec.step * np.arange(n_redshifts))
    name = str(spec.grid)
    if spec.table is not None:
        column = read_columns(with_extension(split_extension(path)[0], spec.table), {name})[name]
        rows = np.atleast_2d(column.values.astype(np.float64)) if column.values.dtype.kind in "iuf" else _matrix(column)
    else:
        rows = _matrix(columns[name])[~columns[name].missing]
    grid = np.asarray(rows[0] if len(rows) else (), np.float64)
    if not np.array_equal(rows, np.broadcast_to(grid, rows.shape)):
        raise SourceListError(
            f"column {name}: its rows hold different grids, expected one. Interpolate the densities to one grid."
        )
    if len(grid) < 2 or not (np.diff(grid) > 0).all() or not _REDSHIFT.allowed.holds(grid).all():
        raise SourceListError(
            f"column {name}: it is not a grid of at least two increasing redshifts in {_REDSHIFT.allowed}. Correct it."
        )
    return grid


def _matrix(column: Column) -> Float64Array:
    """(n, k) float64: an array in each row, filled up with NaN; NaN in a row that is missing."""
    try:
        if column.values.dtype == object:
            values = _padded([np.asarray([] if row is None else row, np.float64) for row in column.values])
        else:
            values = column.values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise SourceListError(f"column {column.name}: it does not hold arrays of numbers ({error}). {_REMEDY}") from error
    if values.ndim != 2 or not values.shape[1]:
        raise SourceListError(f"column {column.name}: each row holds one value, expected an array of numbers. {_REMEDY}")
    values[column.missing] = np.nan
    return values


def _padded(rows: Sequence[Float64Array]) -> Float64Array:
    """(n, k) float64: arrays of up to k numbers, filled up with NaN."""
    lengths = np.array([len(row) for row in rows])
    values = np.full((len(rows), lengths.max(initial=0)), np.nan)
    values[np.arange(values.shape[1]) < lengths[:, None]] = np.concatenate([np.empty(0), *rows])
    return values


_REMEDY = "Write the list as FITS, Parquet, VOTable or ECSV, with an array in each row."


def _rows(column: Column, selected: ArrayLike, what: str, remedy: str) -> Iterator[str]:
    rows = np.flatnonzero(selected)
    if len(rows):
        shown = ", ".join(f"row {column.row(row)}" for row in rows[:_N_SHOWN])
        more = f" and {len(rows) - _N_SHOWN} more" if len(rows) > _N_SHOWN else ""
        yield f"column {column.name}: {shown}{more} {what}. {remedy}"


def _refuse(problems: Iterator[str]) -> None:
    if found := list(problems):
        raise SourceListError("\n".join(found))
