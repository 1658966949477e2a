"""What is known of one galaxy: its draws by member of the jury, what made its row, what changed, and where else to look."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.browsing.rows import BrowsedRows
from surveyflow.catalog.columns import COLUMNS
from surveyflow.errors import CatalogNotFound, SurveyflowError
from surveyflow.releases.decisions import read_decisions
from surveyflow.releases.draws import open_draws
from surveyflow.releases.revisions import legible, readable_revisions, withheld_because
from surveyflow.stats.posterior import HISTOGRAM_BINS

MEASURED = (
    *("p_pm_mean", "p_pm_std", "p_sf_mean", "vote_entropy", "p_contaminated_mean", "coverage_pct_mean", "flux_pp_mean"),
    *("sky_sigma", "noise_correlation", "window_snr", "edge_light_fraction", "offset_arcsec", "feature_distance", "redshift"),
)
"""Columns by which galaxies are compared."""
FEWEST_COMPARED = 3
_SAME_RESULT = {"unit_key"}


@dataclass(frozen=True, slots=True)
class Histogram:
    """A distribution of the post-merger output over the draws.

    Parameters
    ----------
    title
        Whose draws they are.
    counts
        Number of draws in each of 50 equally wide bins of [0, 1].
    mean
        Their mean; that of the bins' centres where the draws themselves were not kept.
    """

    title: str
    counts: tuple[int, ...]
    mean: float

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs from that of the revision before."""

    column: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since the revision before.

    Parameters
    ----------
    revision
        Its name; None if there is none that can be read.
    is_new
        Whether it did not have the galaxy.
    changed
        The columns that both revisions have, and whose values differ.
    """

    revision: str | None = None
    is_new: bool = False
    changed: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A page elsewhere on the network."""

    title: str
    address: str


def histograms(root: Path, revision: str, row: Mapping[str, Any], model: Mapping[str, Any] | None) -> list[Histogram]:
    """The distribution of p_pm of a galaxy: of all draws, and of each member of the jury where draws were kept.

    Parameters
    ----------
    root, revision
        The output folder, and the revision's name.
    row
        The galaxy.
    model
        The merger model as the manifest describes it; its members are in the order in which they take turns.
    """
    counts = row.get("p_pm_hist")
    if not counts or counts[0] is None:
        return []
    centres = (np.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS
    mean = row.get("p_pm_mean")
    whole = Histogram("All draws", tuple(counts), float(np.average(centres, weights=counts)) if mean is None else mean)
    members = [str(member["name"]) for member in (model or {}).get("members", [])]
    draws = _kept_draws(root, revision, row) if len(members) > 1 else None
    return [whole] if draws is None else [whole, *_of_members(draws, members)]


def _of_members(draws: np.ndarray[Any, Any], members: Sequence[str]) -> Iterator[Histogram]:
    """Draw i of a jury is one of member i % M."""
    for place, name in enumerate(members):
        own = draws[place :: len(members)]
        counts, _ = np.histogram(own, HISTOGRAM_BINS, (0, 1))
        yield Histogram(f"Member {name}", tuple(counts.tolist()), float(own.mean()))


def _kept_draws(root: Path, revision: str, row: Mapping[str, Any]) -> np.ndarray[Any, Any] | None:
    """(n_draws,) the draws of one galaxy; None if they were not kept."""
    try:
        dataset = open_draws(root, revision)
    except CatalogNotFound:
        return None
    chosen = (pc.field("source_id") == row["source_id"]) & (pc.field("field") == row["field"])
    with legible(root):
        for file in dataset.get_fragments():
            if row["field"] in Path(file.path).parts:
                found = file.to_table(columns=["p_pm"], filter=chosen, schema=dataset.schema)
                if len(found):
                    return np.asarray(pc.list_flatten(found["p_pm"]).to_numpy())
    return None


class Before:
    """The revision that readers had before, opened when it is first asked for.

    Parameters
    ----------
    root, revision
        The output folder, and the name of the revision that is shown.
    """

    def __init__(self, root: Path, revision: str) -> None:
        decisions = read_decisions(root)
        readable = readable_revisions(root)[0]
        names = [one.name for one in readable if one.name == revision or not withheld_because(one, decisions)]
        place = names.index(revision) if revision in names else 0
        self._root, self._name = root, names[place - 1] if place else None
        self._rows: BrowsedRows | None = None

    def changes(self, row: Mapping[str, Any], schema: pa.Schema) -> Changes:
        """What changed in a galaxy since the revision before."""
        if self._name is None:
            return Changes()
        try:
            if self._rows is None:
                self._rows = BrowsedRows(self._root, self._name)
            old = self._rows.row(row["field"], row["source_id"])
        except SurveyflowError:
            return Changes()
        if old is None:
            return Changes(self._name, is_new=True)
        both = [name for name in schema.names if name in old and name not in _SAME_RESULT]
        changed = [Change(name, old[name], row[name]) for name in both if not _same(old[name], row[name])]
        return Changes(self._name, changed=tuple(changed))


def compared_columns(row: Mapping[str, Any], schema: pa.Schema) -> list[str]:
    """The columns by which galaxies like this one are found: those of `MEASURED` that it has a finite value of."""
    return [name for name in MEASURED if name in schema.names and row[name] is not None and math.isfinite(row[name])]


def links(ra_deg: float, dec_deg: float) -> list[Link]:
    """Pages of services that know the sky at a position; nothing is asked of them unless a reader follows a link."""
    place = f"{ra_deg:.6f} {dec_deg:+.6f}"
    found = {
        "Aladin Lite": ("https://aladin.cds.unistra.fr/AladinLite/", {"target": place, "fov": "0.02"}),
        "ESASky": ("https://sky.esa.int/esasky/", {"target": place, "fov": "0.02"}),
        "Legacy Survey viewer": (
            "https://www.legacysurvey.org/viewer",
            {"ra": f"{ra_deg:.6f}", "dec": f"{dec_deg:.6f}", "zoom": "16"},
        ),
        "SIMBAD": ("https://simbad.cds.unistra.fr/simbad/sim-coo", {"Coord": place, "Radius": "5", "Radius.unit": "arcsec"}),
        "NED": ("https://ned.ipac.caltech.edu/conesearch", {"coordinates": f"{ra_deg:.6f}d {dec_deg:+.6f}d", "radius": "0.1"}),
        "MAST": (
            "https://mast.stsci.edu/portal/Mashup/Clients/Mast/Portal.html",
            {"searchQuery": f"{ra_deg:.6f},{dec_deg:.6f}"},
        ),
    }
    return [Link(title, f"{address}?{urlencode(query)}") for title, (address, query) in found.items()]


def meanings() -> dict[str, tuple[str, str]]:
    """Unit and description of each column that the catalog itself defines."""
    return {column.name: (column.unit or "", column.description) for column in COLUMNS}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
