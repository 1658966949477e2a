"""What a source list says beyond the columns that are measured with: names of sources, and columns that a catalog keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.sources import SourceList


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A column of a source list that is copied into the catalog.

    Parameters
    ----------
    name
        Its name in the catalog.
    values
        (n,) Arrow array of bool, an integer or floating-point type, or string; null where the list gives no value.
    unit
        Its unit as astropy writes it; None if the list states none, or one that astropy does not know.
    description
        The list's words for what it holds; empty if there are none.
    """

    name: str
    values: pa.Array
    unit: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class RangeShares:
    """The probability of each instrument's redshift range for n sources, by their redshift distributions p(z).

    Parameters
    ----------
    instruments
        The r instruments, in the order of their ranges.
    shares
        (n, r) float64: the probability of each range; NaN for a source without p(z).
    medians
        (n, r) float64: the median of the part of p(z) in each range; NaN where that is empty.
    redshift
        (n,) float64: the median within the most probable range, or between or beyond the ranges if that is more probable; NaN for
        a source without p(z).
    chosen
        (n,) int64: number of the most probable range; -1 if what is between or beyond the ranges is more probable, and for a
        source without p(z).
    """

    instruments: tuple[str, ...]
    shares: Float64Array
    medians: Float64Array
    redshift: Float64Array
    chosen: Int64Array

    @property
    def p_range(self) -> Float64Array:
        """(n,) float64: the probability of the most probable range; NaN where there is none."""
        return np.asarray(np.where(self.chosen >= 0, self.shares[np.arange(len(self.chosen)), self.chosen], np.nan))


@dataclass(frozen=True, slots=True)
class Join:
    """How a table joined a source list.

    Parameters
    ----------
    role
        What the table is for: ``redshifts``, or ``joined`` and its number.
    file
        The file's name.
    n_sources
        Number of sources in the list.
    n_found
        Number of sources that have a row in the table.
    n_rows, n_used
        Number of the table's rows, and of those that are of a source.
    n_repeated
        Number of sources with several rows, all the same.
    """

    role: str
    file: str
    n_sources: int
    n_found: int
    n_rows: int
    n_used: int
    n_repeated: int

    @property
    def n_unused(self) -> int:
        """Number of the table's rows that are of no source."""
        return self.n_rows - self.n_used

    def __add__(self, other: Join) -> Join:
        """How the table joined two parts of a list together."""
        names = ("n_sources", "n_found", "n_used", "n_repeated")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def is_complete(self) -> bool:
        """Whether each source has exactly one row."""
        return self.n_found == self.n_sources and not self.n_repeated

    def __str__(self) -> str:
        without = f"{self.n_sources - self.n_found:,} of {self.n_sources:,} sources have no row in {self.file}"
        repeated = f"; {self.n_repeated:,} have several rows, which are the same" if self.n_repeated else ""
        return f"{self.role}: {without}; {self.n_unused:,} of its rows are of no source{repeated}"


@dataclass(frozen=True, slots=True)
class ColumnHead:
    """What all parts of a list must agree on about a column.

    Parameters
    ----------
    file
        Name of the file.
    unit
        As the file spells it; None if it states none.
    frame
        The frame of the positions to which the column belongs; empty if the file states none.
    kind
        What its values are, in words; None if all of them are missing.
    """

    file: str
    unit: str | None
    frame: str
    kind: str | None


@dataclass(frozen=True, slots=True)
class ListedSources:
    """The content of one field's source list, or of a part of it.

    Parameters
    ----------
    sources
        Its sources.
    kept
        The columns that the catalog keeps, by their names in the catalog, in the order of the workflow; as long as ``sources``.
    own
        Values of the catalog's own columns on which no measurement depends, by name: ``source_name``, if the list's ids are text,
        ``p_range``, if it gives p(z), and, when the sources have been located, ``mosaic``, ``duplicate_of`` and the
        bits that are added to ``flags``.
    shares
        How probable the range of each instrument is; None if the list gives redshifts, or none.
    own_beside
        Other values of ``own`` for the rows of further instruments, by instrument.
    joins
        How further tables joined the list.
    cautions
        What a log is to say of the list.
    heads
        What is said of its columns, by their names in the list.
    n_rows
        Number of rows of each of its files.
    """

    sources: SourceList
    kept: Mapping[str, KeptColumn] = field(default_factory=dict)
    own: Mapping[str, pa.Array] = field(default_factory=dict)
    shares: RangeShares | None = None
    own_beside: Mapping[str, Mapping[str, pa.Array]] = field(default_factory=dict)
    joins: tuple[Join, ...] = ()
    cautions: tuple[str, ...] = ()
    heads: Mapping[str, ColumnHead] = field(default_factory=dict)
    n_rows: tuple[int, ...] = ()


def key_of_name(name: str) -> int:
    """The number that stands for a source whose id is text: the first 63 bits of the SHA-256 of its name in UTF-8.

    Parameters
    ----------
    name
        The source's name, as the catalog's ``source_name`` holds it.

    Returns
    -------
    From 0 to 2**63 - 1. Two of a million names have the same number with a probability of 5e-8.

    Examples
    --------
    >>> key_of_name("EGS-12345")
    4225571019824567189
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
