"""The tables of a folder, and what each seems to be: a source list, or a table of redshifts, by its columns' UCDs and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surveyflow.inputs.columns import Column, FoundTable
from surveyflow.inputs.tables import tables_in
from surveyflow.values.arrays import Float64Array

_IDS = ("id", "number", "source_id", "object_id", "objid", "objectid", "label", "targetid", "id_cat", "seq", "recno")
_POSITIONS = (
    ("ra", "dec"),
    ("sky_centroid.ra", "sky_centroid.dec"),
    ("alpha_j2000", "delta_j2000"),
    ("raj2000", "dej2000"),
    ("_raj2000", "_dej2000"),
    ("ra_icrs", "de_icrs"),
    ("ra_j2000", "dec_j2000"),
    ("radeg", "dedeg"),
    ("ra_deg", "dec_deg"),
    ("radeg", "decdeg"),
    ("alphawin_j2000", "deltawin_j2000"),
    ("coord_ra", "coord_dec"),
    ("x_world", "y_world"),
)
_REDSHIFTS = ("zbest", "z_best", "zphot", "z_phot", "photoz", "photo_z", "z_peak", "z500", "redshift", "z", "zspec", "z_spec")
_UCDS = {
    "id": ("meta.id;meta.main",),
    "ra": ("pos.eq.ra;meta.main", "pos.eq.ra"),
    "dec": ("pos.eq.dec;meta.main", "pos.eq.dec"),
    "redshift": ("src.redshift.phot", "src.redshift"),
}


@dataclass(frozen=True, slots=True)
class FoundList:
    """A table that has ids.

    Parameters
    ----------
    path
        The file, with the table's name in brackets if it has several.
    columns
        Names of its columns by their meaning: ``id``, ``ra``, ``dec``, ``redshift``.
    why
        From what each was concluded.
    others
        Names of other columns that could be redshifts.
    n_rows
        Number of rows.
    ra_deg, dec_deg
        Positions; empty if it has none.
    """

    path: Path
    columns: dict[str, str]
    why: dict[str, str]
    others: tuple[str, ...]
    n_rows: int
    ra_deg: Float64Array = field(default_factory=lambda: np.zeros(0))
    dec_deg: Float64Array = field(default_factory=lambda: np.zeros(0))

    @property
    def has_positions(self) -> bool:
        """Whether it can be a source list."""
        return {"ra", "dec"} <= set(self.columns)


def lists_in(file: Path) -> list[FoundList]:
    """The tables of a file that have a column of ids, with positions or redshifts.

    Raises
    ------
    SourceListError
        If it is not a table, or its columns cannot be read.
    """
    with tables_in(file) as tables:
        found = [_list(file, table, len(tables) > 1) for table in tables]
        return [each for each in found if each is not None]


def _list(file: Path, table: FoundTable, several: bool) -> FoundList | None:
    columns, why = _meanings(table)
    if "id" not in columns or not ({"ra", "dec"} <= set(columns) or "redshift" in columns):
        return None
    read = table.read({columns[key] for key in ("id", "ra", "dec") if key in columns})
    place = Path(f"{file}[{table.label.split(' ', 1)[-1]}]") if several else file
    others = tuple(name for name in table.names if name.lower() in _REDSHIFTS and name != columns.get("redshift"))
    positions = [_degrees(read[columns[key]]) for key in ("ra", "dec") if key in columns]
    return FoundList(place, columns, why, others, len(read[columns["id"]].values), *positions)


def _degrees(column: Column) -> Float64Array:
    if column.values.ndim != 1 or column.values.dtype.kind not in "iuf":
        return np.full(len(column.values), np.nan)
    return np.where(column.missing, np.nan, column.values.astype(np.float64))


def _meanings(table: FoundTable) -> tuple[dict[str, str], dict[str, str]]:
    """The columns by their meaning, and from what each was concluded: its UCD, else its name."""
    columns, why = {}, {}
    for key, ucds in _UCDS.items():
        name = next((name for ucd in ucds for name, stated in table.ucds.items() if stated.lower() == ucd), None)
        if name is not None:
            columns[key], why[key] = name, f"the UCD {table.ucds[name]}"
    by_name = {name.lower(): name for name in reversed(table.names)}
    named: dict[str, str | None] = {"id": _first(_IDS, by_name), "redshift": _first(_REDSHIFTS, by_name)}
    pair = next((pair for pair in _POSITIONS if set(pair) <= set(by_name)), None)
    named |= {} if pair is None else {"ra": by_name[pair[0]], "dec": by_name[pair[1]]}
    for key, name in named.items():
        if name is not None and key not in columns:
            columns[key], why[key] = name, "its name"
    return columns, why


def _first(names: Sequence[str], by_name: Mapping[str, str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)
