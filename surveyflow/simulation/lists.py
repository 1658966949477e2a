"""Source lists like those of CANDELS: one FITS table and one ASCII file, with different names for the same columns."""

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
"""The value of an unknown redshift."""


@dataclass(frozen=True, slots=True)
class ListFormat:
    """The format of a field's source list.

    Parameters
    ----------
    name
        Name of the file.
    columns
        The file's names of the columns ``id``, ``ra``, ``dec`` and ``redshift``.
    write
        Function that writes a field's truth to a path, with the redshifts of the list.
    """

    name: str
    columns: Mapping[str, str]
    write: Callable[[Path, pd.DataFrame, Float64Array], None]


def _write_fits_list(path: Path, truth: pd.DataFrame, redshift: Float64Array) -> None:
    """Write a FITS table, with NaN (and a single -99) as unknown redshifts."""
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
    """Write ASCII with a SExtractor header, -99 as unknown redshift, and second positions that do not fit these mosaics."""
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
    # Python writes enough digits of a float to read positions back exactly.
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
