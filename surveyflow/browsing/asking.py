"""What a page is asked for: the parameters of its address, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from surveyflow.browsing.rows import Order
from surveyflow.errors import InputError

SHEETS = (12, 24, 60, 120, 200)
"""How many cutouts a contact sheet may have."""
_LONGEST = 4000
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of galaxies, and how it is looked at.

    Parameters
    ----------
    where
        The selection, in the language of ``--where``; ``""`` for all.
    sort
        The column to sort by; ``""`` for the order of the sky.
    descending
        Whether the largest value comes first.
    n
        Galaxies on a sheet, one of `SHEETS`.
    page
        The sheet, counted from 1.
    """

    where: str = ""
    sort: str = ""
    descending: bool = True
    n: int = 24
    page: int = 1

    @property
    def order(self) -> Order:
        """The order of the rows."""
        return Order(self.sort or None, self.descending)

    @property
    def offset(self) -> int:
        """Number of galaxies on the sheets before."""
        return (self.page - 1) * self.n

    def on_page(self, page: int) -> Selection:
        """The same selection on another sheet."""
        return replace(self, page=page)

    def query(self) -> str:
        """The parameters of an address, without those that have their usual values."""
        return urlencode({name: value for name, value in self._values().items() if value != _USUAL[name]})

    def _values(self) -> dict[str, str]:
        order = "desc" if self.descending else "asc"
        return {"where": self.where, "sort": self.sort, "order": order, "n": str(self.n), "page": str(self.page)}


_USUAL = Selection()._values()  # noqa: SLF001 - of the class above


def selection_of(asked: Mapping[str, str]) -> Selection:
    """Read a selection from the parameters of an address.

    Raises
    ------
    InputError
        If a number is not one, or the selection is too long.
    """
    where = asked.get("where", "").strip()
    if len(where) > _LONGEST:
        raise InputError(f"the selection has {len(where):,} characters, expected at most {_LONGEST:,}. Write a shorter one.")
    n = whole_number(asked, "n", int(_USUAL["n"]))
    if n not in SHEETS:
        raise InputError(f"n is {n}, expected one of {', '.join(map(str, SHEETS))}. Choose one of these.")
    page = whole_number(asked, "page", 1)
    if page < 1:
        raise InputError(f"page is {page}, expected 1 or more. Begin at the first page.")
    return Selection(where, asked.get("sort", ""), asked.get("order", "desc") != "asc", n, page)


def whole_number(asked: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Read a whole number from the parameters of an address.

    Raises
    ------
    InputError
        If it is missing and has no default, or is not a number that an id could be.
    """
    text = asked.get(name, "")
    if not text and default is not None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = _LARGEST + 1
    if abs(number) > _LARGEST:
        raise InputError(f"{name} is {text[:40]!r}, expected a whole number. Follow a link of the gallery.")
    return number


def real_number(asked: Mapping[str, str], name: str) -> float | None:
    """Read a number from the parameters of an address; None without one.

    Raises
    ------
    InputError
        If it is not a finite number.
    """
    text = asked.get(name, "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if abs(number) < float("inf"):
        return number
    raise InputError(f"{name} is {text[:40]!r}, expected a finite number. Write one such as 0.5.")
