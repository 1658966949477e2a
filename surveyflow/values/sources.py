"""Catalogued sources: the list of a field, and the sources of one work unit.

The annotations of `SourceList` declare the columns that are read from source lists. The keys of a workflow's ``columns``, the
reader, work lists, unit keys, plans and the catalog follow from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Annotated, Any, Self, get_type_hints

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import BoolArray, Float64Array, Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers from a low end, which is included, to a high end, which may be.

    Parameters
    ----------
    low, high
        The ends.
    closed
        Whether the high end is included, too.
    """

    low: float
    high: float
    closed: bool = True

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}{']' if self.closed else ')'}"

    def holds(self, values: NDArray[Any]) -> BoolArray:
        """(n,) bool: which values lie inside; NaN does not."""
        below: BoolArray = values <= self.high if self.closed else values < self.high
        return (values >= self.low) & below


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column that is read from source lists and copied to the catalog.

    Parameters
    ----------
    key
        Its key in the workflow's ``columns``.
    catalog_name
        Its name in the catalog.
    ucd, description
        Its UCD and description in the catalog.
    example
        A name that a source list may give it.
    remedy
        What to do if the list holds text instead of numbers.
    dtype
        Type of its values.
    unit
        Its unit in VOUnit notation; ``""`` for a dimensionless quantity, None for numbers that are names.
    allowed
        The valid values.
    unknown_up_to
        Values up to this one mean that the value is unknown, as NaN does: sentinels such as -99; None if there are none.
    required
        Whether every list has the column, and every source a value.
    """

    key: str
    catalog_name: str
    ucd: str
    description: str
    example: str
    remedy: str
    dtype: type[np.int64 | np.float64] = np.float64
    unit: str | None = None
    allowed: Interval = Interval(-math.inf, math.inf)
    unknown_up_to: float | None = None
    required: bool = True

    def __post_init__(self) -> None:
        if self.dtype is np.int64 and not self.required:
            raise ValueError(f"{self.key}: whole numbers cannot be unknown, so the column must be required")


_DEGREES = "Write positions in decimal degrees."


@dataclass(frozen=True, slots=True)
class SourceList:
    """The sources of one field, one row each, in the file's order.

    Parameters
    ----------
    field
        Name of the field: ``EGS``.
    source_id
        (n,) int64, unique within the field.
    ra_deg, dec_deg
        (n,) float64, ICRS degrees, finite; 0 <= ra < 360, -90 <= dec <= 90.
    redshift
        (n,) float64, at least -0.01 (stars and nearby galaxies may approach us); NaN where unknown.
    """

    field: str
    source_id: Annotated[
        Int64Array,
        SourceColumn(
            "id",
            "source_id",
            "meta.id;meta.main",
            "Identifier in the field's source list, or the number that stands for source_name; unique within the field.",
            "ID",
            "Write the ids as integers, or as names.",
            dtype=np.int64,
        ),
    ]
    ra_deg: Annotated[
        Float64Array,
        SourceColumn(
            "ra",
            "ra",
            "pos.eq.ra;meta.main",
            "Right ascension, ICRS.",
            "RA",
            _DEGREES,
            unit="deg",
            allowed=Interval(0, 360, False),
        ),
    ]
    dec_deg: Annotated[
        Float64Array,
        SourceColumn(
            "dec", "dec", "pos.eq.dec;meta.main", "Declination, ICRS.", "DEC", _DEGREES, unit="deg", allowed=Interval(-90, 90)
        ),
    ]
    redshift: Annotated[
        Float64Array,
        SourceColumn(
            "redshift",
            "redshift",
            "src.redshift",
            "Redshift in the source list, or the median of its p(z) within the most probable range.",
            "zbest",
            "Write numbers, and leave unknown redshifts empty.",
            unit="",
            allowed=Interval(-0.01, math.inf, closed=False),
            unknown_up_to=-90.0,
            required=False,
        ),
    ]

    def __post_init__(self) -> None:
        for name, values in self.columns.items():
            if values.shape != (len(self.source_id),):
                raise ValueError(f"{name} must have shape ({len(self.source_id)},), not {values.shape}")
        if len(np.unique(self.source_id)) != len(self.source_id):
            raise ValueError(f"source ids of {self.field} are not unique")

    def __len__(self) -> int:
        return len(self.source_id)

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns that were read from the source list, by the names of `SOURCE_COLUMNS`."""
        return {name: getattr(self, name) for name in SOURCE_COLUMNS}


SOURCE_COLUMNS: Mapping[str, SourceColumn] = MappingProxyType(
    {
        name: hint.__metadata__[0]
        for name, hint in get_type_hints(SourceList, include_extras=True).items()
        if hasattr(hint, "__metadata__")
    }
)
"""The columns that are read from source lists, by their names in `SourceList`."""


@dataclass(frozen=True, slots=True)
class UnitSources(SourceList):
    """The sources of one work unit, sorted by id.

    Parameters
    ----------
    field, source_id, ra_deg, dec_deg, redshift
        As in `SourceList`.
    instrument
        (n,) str; ``""`` where no instrument was chosen for the row.
    x_pix, y_pix
        (n,) float64, 0-based position in the mosaic; NaN where there is none.
    status
        (n,) str: the status of rows that are settled without looking at pixels; ``""`` for rows to be measured.
    flags
        (n,) int32 of `Flag` bits known so far.
    """

    instrument: NDArray[np.str_]
    x_pix: Float64Array
    y_pix: Float64Array
    status: NDArray[np.str_]
    flags: Int32Array

    def __post_init__(self) -> None:
        shapes = {values.shape for values in self._arrays().values()}
        if shapes != {(len(self.source_id),)}:
            raise ValueError(f"all columns of a unit's sources must have the same length, not the shapes {shapes}")

    def take(self, rows: Int64Array | BoolArray) -> Self:
        """The chosen rows, in that order."""
        return replace(self, **{name: values[rows] for name, values in self._arrays().items()})

    def _arrays(self) -> dict[str, Any]:
        return {column.name: getattr(self, column.name) for column in fields(self) if column.name != "field"}


def whole_numbers(ids: NDArray[Any]) -> tuple[BoolArray, BoolArray]:
    """Whether each id is an integer, and whether its type and int64 distinguish it from neighbouring integers."""
    if ids.dtype.kind in "iu":
        return np.ones(len(ids), bool), ids <= np.iinfo(np.int64).max
    whole = np.isfinite(ids) & (np.floor(ids) == ids)
    return whole, np.abs(ids) < 2.0 ** (np.finfo(ids.dtype).nmant + 1)
