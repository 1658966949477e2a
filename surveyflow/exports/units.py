"""The units of columns in the notation of a file format."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

from astropy import units as u

from surveyflow.exports.selected import ExportColumn


def in_notation(column: ExportColumn, notation: Literal["fits", "vounit"]) -> ExportColumn:
    """A column whose unit is in the notation of a format; a unit that the format lacks stands in the description instead.

    Parameters
    ----------
    column
        A column; its unit may be anything that a user's list states.
    notation
        The format's notation in astropy.
    """
    if not column.unit:
        return replace(column, unit=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", u.UnitsWarning)
        try:
            return replace(column, unit=u.Unit(column.unit).to_string(notation))
        except (ValueError, TypeError, u.UnitsWarning):
            return replace(column, unit=None, description=f"{column.description} [{column.unit}]".strip())
