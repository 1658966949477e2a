"""The galaxies of a page: their pictures, distributions and marks, from rows of a catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from surveyflow.reports.figures import sparkline
from surveyflow.reports.pictures import Picture, Pictures
from surveyflow.values.codes import Flag

MORE_PROBABLE_THAN_NOT = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """Something to know about a galaxy before its numbers are used.

    Parameters
    ----------
    word, meaning
        A flag's name or another short word, and what it means.
    kind
        ``flag`` or ``contaminated``.
    """

    word: str
    meaning: str
    kind: str = "flag"


@dataclass(frozen=True, slots=True)
class Galaxy:
    """One source of a gallery.

    Parameters
    ----------
    field, source_id, instrument
        Its key and its instrument; ``""`` without one.
    ra_deg, dec_deg
        Its position, ICRS degrees.
    redshift
        Its redshift; None if the list has none.
    status
        What became of it.
    mean, low, high
        Mean and 16 and 84 % quantiles of p_pm; None without a result.
    marks
        Flags and contamination.
    picture
        None if no picture could be cut.
    sparkline
        The distribution of its draws; empty without a result.
    """

    field: str
    source_id: int
    instrument: str
    ra_deg: float
    dec_deg: float
    redshift: float | None
    status: str
    mean: float | None
    low: float | None
    high: float | None
    marks: tuple[Mark, ...]
    picture: Picture | None
    sparkline: Markup


def gallery_entry(row: Mapping[str, Any], pictures: Pictures) -> Galaxy:
    """Make an entry of a gallery from a row of the catalog.

    Parameters
    ----------
    row
        The columns of `surveyflow.reports.summary.GALLERY_COLUMNS`; those that an older revision lacks may be missing.
    pictures
        The pictures that could be cut.
    """
    mean, low, high = row["p_pm_mean"], row["p_pm_q16"], row["p_pm_q84"]
    drawn = "" if mean is None else sparkline(np.asarray(row["p_pm_hist"]), mean, low, high)
    return Galaxy(
        field=row["field"],
        source_id=row["source_id"],
        instrument=row["instrument"] or "",
        ra_deg=row["ra"],
        dec_deg=row["dec"],
        redshift=row["redshift"],
        status=row["status"],
        mean=mean,
        low=low,
        high=high,
        marks=marks_of(row),
        picture=pictures.by_source.get((row["field"], row["source_id"])),
        sparkline=Markup(drawn),  # noqa: S704 -- drawn here from numbers
    )


def marks_of(row: Mapping[str, Any]) -> tuple[Mark, ...]:
    """The flags of a row in the order of their bits, and whether a neighbour probably lies on the galaxy."""
    flags = [Mark(str(flag.name), flag.meaning) for flag in sorted(Flag) if row["flags"] & flag]
    p_contaminated = row.get("p_contaminated_mean")
    if p_contaminated is None or p_contaminated <= MORE_PROBABLE_THAN_NOT:
        return tuple(flags)
    coverage = row.get("coverage_pct_mean")
    words = "" if coverage is None else f"; neighbours cover {coverage:.0f} % of it in the mean"
    meaning = f"A neighbour lies on the galaxy with a probability of {p_contaminated:.2f}{words}."
    return (*flags, Mark("contaminated", meaning, "contaminated"))
