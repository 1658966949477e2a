"""What a reader searches for: a field and an id, an id, a position, or a name."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from astropy import units as u
from astropy.coordinates import SkyCoord

DEFAULT_RADIUS_ARCSEC = 2.0
MOST_RADIUS_ARCSEC = 600.0
_LONGEST = 200
_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_DEGREES = re.compile(rf"({_NUMBER})[\s,]+({_NUMBER})(?:\s+({_NUMBER}))?")
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Place:
    """A position on the sky.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS degrees.
    radius_arcsec
        How far from it to search.
    """

    ra_deg: float
    dec_deg: float
    radius_arcsec: float = DEFAULT_RADIUS_ARCSEC


@dataclass(frozen=True, slots=True)
class Search:
    """What a text may mean.

    Parameters
    ----------
    field
        The field of the id, or of the name behind it; None for all.
    source_id
        The id; None if the text holds none.
    place
        The position; None if the text holds none.
    name
        The text as a name.
    """

    name: str
    field: str | None = None
    source_id: int | None = None
    place: Place | None = None

    @property
    def name_in_field(self) -> str | None:
        """The text behind the field as a name; None without a field."""
        return None if self.field is None else self.name.removeprefix(f"{self.field} ")


def parse_search(text: str, fields: Collection[str]) -> Search:
    """Find what a text may mean.

    Parameters
    ----------
    text
        ``EGS 12345``, ``EGS NAME``, ``12345``, ``214.82 52.83``, ``214.82 52.83 10`` (radius in arcsec),
        ``14:19:17.8 +52:49:26``, or a name.
    fields
        Names of the catalog's fields.

    Examples
    --------
    >>> parse_search("EGS 12345", ["EGS"])
    Search(name='EGS 12345', field='EGS', source_id=12345, place=None)
    >>> parse_search("214.82 52.83", ["EGS"]).place
    Place(ra_deg=214.82, dec_deg=52.83, radius_arcsec=2.0)
    """
    name = " ".join(text[:_LONGEST].split())
    before, _, last = name.rpartition(" ")
    number = int(last) if re.fullmatch(r"[-+]?\d{1,19}", last) and abs(int(last)) <= _LARGEST_ID else None
    if number is not None and (not before or before in fields):
        return Search(name, before or None, number)
    field = next((each for each in fields if name.startswith(f"{each} ")), None)
    return Search(name, field, place=_place(name))


def _place(text: str) -> Place | None:
    """A position in degrees, or in hours and degrees."""
    if match := _DEGREES.fullmatch(text):
        ra, dec, radius = float(match[1]), float(match[2]), float(match[3] or DEFAULT_RADIUS_ARCSEC)
        return Place(ra % 360, dec, min(max(radius, 0.0), MOST_RADIUS_ARCSEC)) if abs(dec) <= 90 and abs(ra) <= 360 else None
    if not re.fullmatch(r"[\d:hmsd.+\-\s]+", text):
        return None
    try:
        found = SkyCoord(text, unit=(u.hourangle, u.deg))
    except ValueError:
        return None
    return Place(float(found.ra.deg), float(found.dec.deg))
