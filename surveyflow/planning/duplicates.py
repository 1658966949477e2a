"""The same galaxy in several source lists."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from surveyflow.sky.footprints import directions
from surveyflow.sky.matching import match_sky
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.codes import Flag
from surveyflow.values.listed import ListedSources


def mark_duplicates(lists: Mapping[str, ListedSources], radius_arcsec: float, *, same_id: bool) -> dict[str, dict[str, pa.Array]]:
    """Find the sources that an earlier list has, too.

    Two rows of different lists are one galaxy if each is the other's nearest neighbour, within the radius. Rows of one list never
    are: lists are taken to be free of duplicates.

    Parameters
    ----------
    lists
        The source lists by field. Of a galaxy's rows, the one in the first list is not a duplicate.
    radius_arcsec
        Largest distance, arcsec; 0 for no search.
    same_id
        Whether the ids, or the names that stand for them, must be the same, too.

    Returns
    -------
    For each field, the values of the catalog's columns that say so: ``duplicate_of``, as ``FIELD/ID``, and the bit of ``flags``.
    Empty if there are no duplicates.
    """
    found: dict[str, dict[str, pa.Array]] = {}
    for name, listed in lists.items():
        words = np.full(len(listed.sources), None, dtype=object)
        for earlier in found if radius_arcsec > 0 else ():
            own, other = _matched(listed, lists[earlier], radius_arcsec, same_id=same_id)
            new = np.array([words[row] is None for row in own], dtype=bool)
            first = np.array(
                [found[earlier]["duplicate_of"][row].as_py() or _id(earlier, lists[earlier], row) for row in other[new]]
            )
            words[own[new]] = first
        found[name] = {"duplicate_of": pa.array(words, pa.string())}
        found[name]["flags"] = pa.array(np.where(words.astype(bool), Flag.DUPLICATE, 0).astype(np.int32))
    none = all(columns["duplicate_of"].null_count == len(columns["duplicate_of"]) for columns in found.values())
    return {} if none else found


def _id(field: str, listed: ListedSources, row: int) -> str:
    names = listed.own.get("source_name")
    return f"{field}/{listed.sources.source_id[row] if names is None else names[row].as_py()}"


def _matched(here: ListedSources, there: ListedSources, radius_arcsec: float, *, same_id: bool) -> tuple[Int64Array, Int64Array]:
    """Rows of two lists that are one galaxy."""
    rows, others = (_near(one, other, radius_arcsec) for one, other in ((here, there), (there, here)))
    if same_id:
        ids, other_ids = here.sources.source_id[rows], there.sources.source_id[others]
        _, first, second = np.intersect1d(ids, other_ids, return_indices=True)
        rows, others = rows[first], others[second]
        apart = np.linalg.norm(_directions(here, rows) - _directions(there, others), axis=1)
        near = apart <= _chord(radius_arcsec)
        return rows[near], others[near]
    positions = [(each.sources.ra_deg[chosen], each.sources.dec_deg[chosen]) for each, chosen in ((here, rows), (there, others))]
    match = match_sky(*positions[0], *positions[1], radius_arcsec)
    return rows[match.first], others[match.second]


def _near(listed: ListedSources, other: ListedSources, radius_arcsec: float) -> Int64Array:
    """Rows of a list that lie in the circle around another list."""
    vectors = _directions(other, np.arange(len(other.sources)))
    centre = vectors.mean(axis=0)
    reach = np.linalg.norm(vectors - centre, axis=1).max() + _chord(radius_arcsec)
    own = _directions(listed, np.arange(len(listed.sources)))
    return np.flatnonzero(np.linalg.norm(own - centre, axis=1) <= reach)


def _directions(listed: ListedSources, rows: Int64Array) -> Float64Array:
    return directions(listed.sources.ra_deg[rows], listed.sources.dec_deg[rows])


def _chord(arcsec: float) -> float:
    return float(2 * np.sin(np.radians(arcsec / 3600) / 2))
