"""Catalogued sources: the list of a field, and the sources of one work unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import BoolArray, Float64Array, Int32Array, Int64Array


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
        (n,) float64, at least -0.01 (stars and near galaxies approach us); NaN where unknown.
    """

    field: str
    source_id: Int64Array
    ra_deg: Float64Array
    dec_deg: Float64Array
    redshift: Float64Array

    def __post_init__(self) -> None:
        for name in ("source_id", "ra_deg", "dec_deg", "redshift"):
            if getattr(self, name).shape != (len(self.source_id),):
                raise ValueError(f"{name} must have shape ({len(self.source_id)},), not {getattr(self, name).shape}")
        if len(np.unique(self.source_id)) != len(self.source_id):
            raise ValueError(f"source ids of {self.field} are not unique")

    def __len__(self) -> int:
        return len(self.source_id)


@dataclass(frozen=True, slots=True)
class UnitSources:
    """The sources of one work unit, sorted by id.

    Parameters
    ----------
    field, instrument
        Whose they are; instrument is ``""`` where no instrument was chosen for the row.
    source_id, ra_deg, dec_deg, redshift
        As in `SourceList`.
    x_pix, y_pix
        (n,) float64, 0-based position in the mosaic; NaN where there is none.
    status
        (n,) str: the status of rows that are settled without looking at pixels; ``""`` for rows to be measured.
    flags
        (n,) int32 of `Flag` bits known so far.
    """

    field: str
    instrument: NDArray[np.str_]
    source_id: Int64Array
    ra_deg: Float64Array
    dec_deg: Float64Array
    redshift: Float64Array
    x_pix: Float64Array
    y_pix: Float64Array
    status: NDArray[np.str_]
    flags: Int32Array

    def __post_init__(self) -> None:
        columns = ("instrument", "source_id", "ra_deg", "dec_deg", "redshift", "x_pix", "y_pix", "status", "flags")
        shapes = {getattr(self, name).shape for name in columns}
        if shapes != {(len(self.source_id),)}:
            raise ValueError(f"every column of a unit's sources must have one length, not {shapes}")

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, rows: Int64Array | BoolArray) -> UnitSources:
        """The chosen rows, in that order."""
        return UnitSources(
            field=self.field,
            instrument=self.instrument[rows],
            source_id=self.source_id[rows],
            ra_deg=self.ra_deg[rows],
            dec_deg=self.dec_deg[rows],
            redshift=self.redshift[rows],
            x_pix=self.x_pix[rows],
            y_pix=self.y_pix[rows],
            status=self.status[rows],
            flags=self.flags[rows],
        )
