"""The table of a simulated field's truth: the properties of each listed source, and its expected result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from surveyflow.simulation.headers import INSTRUMENTS, mosaic_wcs
from surveyflow.simulation.lists import MISSING
from surveyflow.simulation.outcomes import expected_outcome
from surveyflow.simulation.sources import ListedSource
from surveyflow.values.arrays import BoolArray


def truth_table(field: str, listed: Sequence[ListedSource], valid: Mapping[str, BoolArray]) -> pd.DataFrame:
    """Make the table of a field's truth.

    Parameters
    ----------
    field
        Name of the field.
    listed
        Its sources, in order of id from 1.
    valid
        Whether each pixel of its mosaics has data, by instrument.

    Returns
    -------
    One row per source: ``field source_id ra_deg dec_deg redshift`` (NaN if unknown) ``kind trap`` (empty for ordinary
    sources) ``mag_f814w mag_f160w radius_arcsec x_f814w y_f814w x_f160w y_f160w`` (pixels, 0-based, integers at pixel
    centres), and the expected result: ``instrument`` (null if no routing range contains the redshift), ``status``, ``flags``
    (EDGE and PARTIAL_COVERAGE only; 0 without a cutout) and ``valid_fraction`` (NaN without a cutout).

    Raises
    ------
    ValueError
        If a trap would not get its status, because the mosaics are too small for it.
    """
    rows = [
        {"field": field, "source_id": number} | _properties(source) | _expected_result(source, valid)
        for number, source in enumerate(listed, start=1)
    ]
    truth = pd.DataFrame(rows)
    ra_deg, dec_deg = mosaic_wcs(field, "F814W").all_pix2world(truth["x_f814w"], truth["y_f814w"], 0)
    truth.insert(2, "ra_deg", ra_deg)
    truth.insert(3, "dec_deg", dec_deg)
    return truth


def _properties(source: ListedSource) -> dict[str, object]:
    y_f160w, x_f160w = source.sky.pixel(INSTRUMENTS["F125W_F160W"])
    return {
        "redshift": np.nan if source.redshift == MISSING else source.redshift,
        "kind": source.sky.galaxy.kind,
        "trap": source.trap.name if source.trap else "",
        "mag_f814w": source.sky.magnitudes["F814W"],
        "mag_f160w": source.sky.magnitudes["F160W"],
        "radius_arcsec": source.sky.galaxy.radius_arcsec,
        "x_f814w": source.x_pix,
        "y_f814w": source.y_pix,
        "x_f160w": x_f160w,
        "y_f160w": y_f160w,
    }


def _expected_result(source: ListedSource, valid: Mapping[str, BoolArray]) -> dict[str, object]:
    # F814W's pixels are the source's own, so that half pixels stay exact.
    pixels = {"F814W": (source.y_pix, source.x_pix), "F125W_F160W": source.sky.pixel(INSTRUMENTS["F125W_F160W"])}
    outcome = expected_outcome(np.nan if source.redshift == MISSING else source.redshift, pixels, valid)
    if source.trap is not None and outcome.status != source.trap.status:
        raise ValueError(
            f"trap {source.trap.name} would get status {outcome.status}, not {source.trap.status}: use a larger shape_f814w"
        )
    return {
        "instrument": outcome.instrument,
        "status": str(outcome.status),
        "flags": int(outcome.flags),
        "valid_fraction": outcome.valid_fraction,
    }
