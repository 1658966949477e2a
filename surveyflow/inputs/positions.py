"""Positions on the sky, as plain degrees.

Numbers alone are degrees. What says more of itself is taken at its word: units are converted, a mask hides what lies below it,
and a `SkyCoord` is brought to the frame of the mosaic.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from astropy.coordinates import BaseCoordinateFrame, Latitude, Longitude, SkyCoord
from astropy.utils.masked import Masked
from numpy.typing import ArrayLike

from surveyflow.errors import InputError
from surveyflow.values.arrays import BoolArray, Float64Array

Positions: TypeAlias = ArrayLike | u.Quantity | SkyCoord | BaseCoordinateFrame
"""One coordinate of positions, or both in one object of astropy."""
_RA, _DEC = "right ascension", "declination"
_LARGEST_DEG = {_RA: 360.0, _DEC: 90.0}
_OTHERS = {_RA: Latitude, _DEC: Longitude}
_REMEDY = "Give degrees, an angle of astropy such as Longitude(values, 'hourangle'), or a SkyCoord."


def positions_in_degrees(ra: Positions, dec: Positions | None, frame: str) -> tuple[Float64Array, Float64Array]:
    """Convert positions of any kind to degrees.

    Parameters
    ----------
    ra, dec
        (n,) positions: numbers in degrees, or angles with their unit, with or without a mask; or a `SkyCoord` of any frame, or a
        frame of astropy that holds data, as ``ra``, without ``dec``.
    frame
        The frame to which a `SkyCoord` is brought, as astropy names it: ``icrs`` or ``fk5``.

    Returns
    -------
    ra_deg, dec_deg
        (n,) float64; NaN where a position is missing, masked or not finite.

    Raises
    ------
    InputError
        If there are not as many right ascensions as declinations, or they are text, in a unit that is not one of angles, or out
        of range.

    Examples
    --------
    >>> positions_in_degrees(Longitude([10.0], "hourangle"), [2.2], "icrs")
    (array([150.]), array([2.2]))
    """
    if isinstance(ra, SkyCoord | BaseCoordinateFrame):
        ra, dec = _of_frame(ra, dec, frame)
    elif dec is None:
        raise InputError("positions have no declinations. Give ra_deg and dec_deg, or a SkyCoord.")
    ra_deg, dec_deg = _degrees(ra, _RA), _degrees(dec, _DEC)
    if ra_deg.shape != dec_deg.shape:
        raise InputError(
            f"there are {len(ra_deg)} right ascensions, but {len(dec_deg)} declinations. Give one for each position."
        )
    missing = np.isnan(ra_deg) | np.isnan(dec_deg)
    return np.where(missing, np.nan, ra_deg), np.where(missing, np.nan, dec_deg)


def _of_frame(positions: Any, beside: Any, frame: str) -> tuple[Any, Any]:
    """Right ascension and declination of positions in a frame."""
    if beside is not None:
        raise InputError(
            "positions are given as a coordinate, which holds both angles, and dec_deg beside it. Leave dec_deg out."
        )
    try:
        moved = SkyCoord(positions).transform_to(frame)
    except Exception as error:
        raise InputError(f"positions cannot be brought to the frame {frame} ({error}). Give them in ICRS.") from error
    return moved.ra, moved.dec


def _degrees(values: Any, name: str) -> Float64Array:
    """(n,) float64: one coordinate in degrees; NaN where it is missing."""
    if isinstance(values, _OTHERS[name]):
        raise InputError(f"{name} is given as a {type(values).__name__}. Exchange right ascension and declination.")
    plain, missing = _unmasked(_joined(values))
    numbers = np.atleast_1d(_in_degrees(plain, name))
    if numbers.ndim != 1:
        raise InputError(f"{name} has the shape {numbers.shape}, expected one number for each position. Flatten it.")
    degrees = np.where(missing | ~np.isfinite(numbers), np.nan, numbers)
    if (beyond := np.abs(degrees) > _LARGEST_DEG[name]).any():
        raise InputError(
            f"{name} is {degrees[beyond][0]:g} degrees in {beyond.sum()} of {len(degrees)} positions, expected at most "
            f"{_LARGEST_DEG[name]:g} in size. {_REMEDY}"
        )
    return degrees


def _joined(values: Any) -> Any:
    """Angles one by one in a list, as one array."""
    several = isinstance(values, list | tuple) and any(isinstance(value, u.Quantity) for value in values)
    return u.Quantity(values) if several else values


def _unmasked(values: Any) -> tuple[Any, BoolArray]:
    """The values, and where they are hidden by a mask or, in a series of pandas, not there."""
    if isinstance(values, Masked):
        return values.unmasked, np.atleast_1d(values.mask)
    if isinstance(values, np.ma.MaskedArray):
        unit = getattr(values, "unit", None)
        data = np.asarray(values.data)
        return data if unit is None else u.Quantity(data, unit), np.atleast_1d(np.ma.getmaskarray(values))
    return values, np.zeros(1, np.bool_)


def _in_degrees(values: Any, name: str) -> Any:
    unit = getattr(values, "unit", None)
    if unit is None and getattr(values, "units", None) is not None:
        raise InputError(f"{name} has the unit {values.units} of a library other than astropy. {_REMEDY}")
    try:
        return _numbers(values) if unit is None else np.asarray(u.Quantity(values).to_value(u.deg), np.float64)
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise InputError(f"{name} cannot be read as an angle ({' '.join(str(error).split())}). {_REMEDY}") from error


def _numbers(values: Any) -> Any:
    """Numbers without a unit, as float64; TypeError or ValueError for anything else."""
    if hasattr(values, "dtype") and hasattr(values, "isna"):  # a series of pandas
        return values.to_numpy(np.float64, na_value=np.nan)
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iufO":
        raise TypeError(f"values of the type {numbers.dtype}")
    return numbers.astype(np.float64)
