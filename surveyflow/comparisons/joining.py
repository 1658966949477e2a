"""The join of labels with the galaxies of a catalog, one to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from surveyflow.comparisons.question import LabelQuestion
from surveyflow.errors import InputError
from surveyflow.inputs.labels import Labels
from surveyflow.sky.matching import match_sky
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.codes import Match


@dataclass(frozen=True, slots=True)
class Join:
    """Labels with their galaxies.

    Parameters
    ----------
    label_rows, source_rows
        (n_pairs,) int64: rows of the table of labels, and of the catalog.
    separation_arcsec
        (n_pairs,) float64; NaN where labels have no positions.
    facts
        What the join came to: ``n_pairs``; ``median_separation_arcsec``, ``offset_east_arcsec`` and ``offset_north_arcsec`` of
        the galaxy from the label, ``n_far`` (pairs by id that lie farther apart than the limit), ``n_ambiguous`` (pairs of which
        either has another neighbour within the limit) and ``n_shared`` (labels whose nearest galaxy has a nearer label); None
        where that is not known.
    """

    label_rows: Int64Array
    source_rows: Int64Array
    separation_arcsec: Float64Array
    facts: dict[str, Any]


def join_labels(labels: Labels, sources: pd.DataFrame, question: LabelQuestion) -> Join:
    """Find the galaxy of each label.

    Parameters
    ----------
    labels
        The labels.
    sources
        Rows of the catalog, with ``field``, ``source_id``, ``ra``, ``dec`` and, if ids are text, ``source_name``.
    question
        How a label finds its galaxy.

    Raises
    ------
    InputError
        If ids need a field and none is named, or the catalog has no such field.
    """
    return _by_position(labels, sources, question) if question.match is Match.SKY else _by_id(labels, sources, question)


def _by_position(labels: Labels, sources: pd.DataFrame, question: LabelQuestion) -> Join:
    if labels.ra_deg is None or labels.dec_deg is None:
        raise InputError("a match on the sky needs the labels' positions. Name their columns.")
    ra, dec = (sources[name].to_numpy(np.float64) for name in ("ra", "dec"))
    placed = np.flatnonzero(np.isfinite(labels.ra_deg) & np.isfinite(labels.dec_deg))
    found = match_sky(labels.ra_deg[placed], labels.dec_deg[placed], ra, dec, question.max_separation_arcsec)
    counts = {"n_far": None, "n_ambiguous": int(found.ambiguous.sum()), "n_shared": found.n_shared}
    return Join(
        placed[found.first], found.second, found.separation_arcsec, _facts(found.separation_arcsec, found.offset_arcsec) | counts
    )


def _by_id(labels: Labels, sources: pd.DataFrame, question: LabelQuestion) -> Join:
    if labels.id is None:
        raise InputError("a match by id needs the labels' ids. Name their column.")
    names = sources["source_id"].astype(str)
    if "source_name" in sources:
        names = sources["source_name"].astype(object).where(sources["source_name"].notna(), names)
    keys = pd.MultiIndex.from_arrays([sources["field"].astype(str), names.astype(str)])
    places = keys.get_indexer(pd.MultiIndex.from_arrays([_fields(labels, sources, question), labels.id]))
    label_rows = np.flatnonzero(places >= 0)
    source_rows = places[label_rows].astype(np.int64)
    separation, offset = _separation(labels, sources, label_rows, source_rows)
    far = None if labels.ra_deg is None else int((separation > question.max_separation_arcsec).sum())
    facts = _facts(separation, offset) | {"n_far": far, "n_ambiguous": None, "n_shared": None}
    return Join(label_rows, source_rows, separation, facts)


def _fields(labels: Labels, sources: pd.DataFrame, question: LabelQuestion) -> Any:
    if labels.field is not None:
        return labels.field
    present = sorted(set(sources["field"]))
    if question.field is not None and question.field not in present:
        raise InputError(f"no selected row of the catalog is of the field {question.field!r}; it has {', '.join(present)}.")
    if question.field is None and len(present) > 1:
        raise InputError(f"ids restart in every field, and the catalog has {', '.join(present)}. Name the labels' field.")
    return np.full(len(labels), question.field or (present or [""])[0])


def _separation(
    labels: Labels, sources: pd.DataFrame, label_rows: Int64Array, source_rows: Int64Array
) -> tuple[Float64Array, tuple[float, float]]:
    """Separations of pairs, and the median offset of the galaxies from the labels; NaN where labels have no positions."""
    apart = np.full(len(label_rows), np.nan)
    if labels.ra_deg is None or labels.dec_deg is None:
        return apart, (float("nan"), float("nan"))
    placed = np.isfinite(labels.ra_deg[label_rows]) & np.isfinite(labels.dec_deg[label_rows])
    if not placed.any():
        return apart, (float("nan"), float("nan"))
    here = SkyCoord(labels.ra_deg[label_rows[placed]], labels.dec_deg[label_rows[placed]], unit="deg")
    there = SkyCoord(*(sources[name].to_numpy()[source_rows[placed]] for name in ("ra", "dec")), unit="deg")
    east, north = here.spherical_offsets_to(there)
    apart[placed] = here.separation(there).arcsec
    return apart, (float(np.median(east.arcsec)), float(np.median(north.arcsec)))


def _facts(separation_arcsec: Float64Array, offset_arcsec: tuple[float, float]) -> dict[str, Any]:
    known = bool(np.isfinite(separation_arcsec).any())
    return {
        "n_pairs": len(separation_arcsec),
        "median_separation_arcsec": float(np.nanmedian(separation_arcsec)) if known else None,
        "offset_east_arcsec": offset_arcsec[0] if known else None,
        "offset_north_arcsec": offset_arcsec[1] if known else None,
    }
