"""What do the source lists of CANDELS look like? One FITS table and one ASCII file, with different names for the same things."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from astropy.table import Table

from surveyflow.simulation.galaxies import STAR
from surveyflow.values.arrays import Float64Array

MISSING = -99.0
"""Stands for an unknown redshift."""


@dataclass(frozen=True, slots=True)
class ListFormat:
    """A field's source list.

    Parameters
    ----------
    name
        Of the file.
    columns
        The file's name for ``id``, ``ra``, ``dec`` and ``redshift``.
    write
        Writes a field's truth, with the redshifts as the list shall have them, to a path.
    """

    name: str
    columns: Mapping[str, str]
    write: Callable[[Path, pd.DataFrame, Float64Array], None]


def _write_fits_list(path: Path, truth: pd.DataFrame, redshift: Float64Array) -> None:
    """A FITS table, with NaN, and the odd -99, where the redshift is unknown."""
    table = Table(
        {
            "ID": truth["source_id"].to_numpy(np.int32),
            "RA": truth["ra_deg"].to_numpy(float),
            "DEC": truth["dec_deg"].to_numpy(float),
            "zbest": redshift,
            "ACS_F814W_FLUX": _microjansky(truth["mag_f814w"]).astype(np.float32),
            "WFC3_F160W_FLUX": _microjansky(truth["mag_f160w"]).astype(np.float32),
            "CLASS_STAR": (truth["kind"] == STAR).to_numpy(np.float32),
        }
    )
    table["RA"].unit = table["DEC"].unit = "deg"
    table.write(path, format="fits", overwrite=True)


def _write_ascii_list(path: Path, truth: pd.DataFrame, redshift: Float64Array) -> None:
    """ASCII with a SExtractor header, -99 where unknown, and a second pair of positions that is not for these mosaics."""
    columns = {
        "NUMBER": truth["source_id"],
        "RA_Lotz2008": (truth["ra_deg"] + 0.00025).round(6),
        "DEC_Lotz2008": (truth["dec_deg"] - 0.00012).round(6),
        "ALPHA_J2000": truth["ra_deg"],
        "DELTA_J2000": truth["dec_deg"],
        "WFC3_F160W_FLUX": _microjansky(truth["mag_f160w"]).round(4),
        "CLASS_STAR": (truth["kind"] == STAR).astype(float),
        "z_best": np.nan_to_num(redshift, nan=MISSING),
    }
    head = [f"# {number} {name}" for number, name in enumerate(columns, start=1)]
    # Python writes every digit of a float, so that positions are read back exactly.
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    path.write_text("\n".join([*head, *(" ".join(map(str, row)) for row in rows)]) + "\n", encoding="ascii")


def _microjansky(magnitude_ab: pd.Series) -> Float64Array:
    return np.asarray(10 ** (-0.4 * (magnitude_ab.to_numpy(float) - 23.9)), np.float64)


SOURCE_LISTS: Mapping[str, ListFormat] = MappingProxyType(
    {
        "COSMOS": ListFormat(
            "cosmos_catalog.fits", {"id": "ID", "ra": "RA", "dec": "DEC", "redshift": "zbest"}, _write_fits_list
        ),
        "EGS": ListFormat(
            "egs_catalog.cat",
            {"id": "NUMBER", "ra": "ALPHA_J2000", "dec": "DELTA_J2000", "redshift": "z_best"},
            _write_ascii_list,
        ),
    }
)
