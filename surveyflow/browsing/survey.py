"""The revision that is browsed: its rows, its manifest, its mosaics, and the revision before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from surveyflow.browsing.galaxy import Before
from surveyflow.browsing.pictures import View, input_size, picture
from surveyflow.browsing.rows import BrowsedRows
from surveyflow.inputs.published_mosaics import PublishedMosaics, SkyCutout
from surveyflow.releases.revisions import find, read_manifest
from surveyflow.tasks.registry import warnings_of
from surveyflow.values.codes import POST_MERGER, STAR_FORMING, Flag

SHOWN = (
    *(
        "field",
        "source_id",
        "source_name",
        "ra",
        "dec",
        "redshift",
        "instrument",
        "status",
        "flags",
        "mosaic",
        "x_pix",
        "y_pix",
        "model_id",
    ),
    *("p_pm_mean", "p_pm_std", "p_sf_mean", "p_contaminated_mean", "coverage_pct_mean"),
)
"""Columns of a card in the gallery."""
SIZES_PIX = (16, 1024)
"""Smallest and largest side of a picture, in pixels of the mosaic."""
_CHANGED_PIXELS = {"CONVERTED_UNIT", "RESAMPLED"}
"""Flags of rows whose network did not receive the mosaic's own pixels."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place on a mosaic.

    Parameters
    ----------
    field, instrument
        Field and instrument of the mosaic.
    x_pix, y_pix
        The place, 0-based.
    mosaic
        The mosaic's name in the catalog; empty in revisions that do not name mosaics.
    """

    field: str
    instrument: str
    x_pix: float
    y_pix: float
    mosaic: str = ""


class BrowsedSurvey:
    """A revision of a catalog, which stays the same whatever is published later; a context manager that closes its mosaics.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``, a release or a revision.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision, or it cannot be read.
    """

    def __init__(self, root: Path, release: str) -> None:
        found = find(root, release)
        self.root, self.revision = root, found.name
        self.manifest = read_manifest(found.path)
        self.rows = BrowsedRows(root, found.name)
        self.before = Before(root, found.name)
        self._mosaics = PublishedMosaics(self.manifest.get("inputs", []))
        self._cutting = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._mosaics.__exit__(kind, error, trace)

    @cached_property
    def fields(self) -> dict[str, tuple[float, float]]:
        """Where each field lies: its mean right ascension and declination, degrees."""
        return self.rows.fields()

    @property
    def title(self) -> str:
        """The survey's name."""
        return str(self.manifest.get("survey") or self.root.name)

    @property
    def warnings(self) -> list[str]:
        """The warnings for readers of the numbers."""
        return warnings_of(self._models)

    def model(self, model_id: str | None) -> Mapping[str, Any] | None:
        """The manifest's description of a model; None if it has none."""
        return next((model for model in self._models if model["model_id"] == model_id), None)

    def unit_name(self, key: str | None) -> str | None:
        """Name of the work unit of a key; None if the manifest does not have it."""
        return None if key is None else self._units.get(key)

    def inputs_of(self, row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The input files of a galaxy's field and instrument."""
        places, mosaic = ((row["field"], row["instrument"]), (row["field"], None)), row.get("mosaic")
        items = [item for item in self.manifest.get("inputs", []) if (item["field"], item["instrument"]) in places]
        return [item for item in items if mosaic is None or item.get("mosaic", mosaic) == mosaic]

    def cutout(self, spot: Spot, size_pix: int) -> SkyCutout | None:
        """Cut around a place; None if its mosaic is gone, was changed, or cannot be read, as `why_no_picture` then says."""
        place = {"field": spot.field, "instrument": spot.instrument, "mosaic": spot.mosaic}
        row = place | {"x_pix": spot.x_pix, "y_pix": spot.y_pix}
        with self._cutting:
            return self._mosaics.cutout(row, size_pix)

    def why_no_picture(self, field: str, instrument: str | None, mosaic: str | None = None) -> str:
        """Why there is no picture of a galaxy of this field, instrument and mosaic."""
        if instrument is None:
            return "no instrument was chosen for this galaxy, so it is on no mosaic."
        note = self._mosaics.notes.get((field, instrument, mosaic or ""))
        return note or "the galaxy was not looked for on a mosaic."

    def picture(self, spot: Spot, size_pix: int, view: View, model_id: str | None) -> bytes | None:
        """A PNG of a place; None if there is none."""
        cutout = self.cutout(spot, size_pix)
        return None if cutout is None else picture(cutout, view, self.model(model_id))

    def side_pix(self, model_id: str | None) -> int:
        """Side of the cutouts that a model receives, pixels."""
        return min(max(input_size(self.model(model_id)), SIZES_PIX[0]), SIZES_PIX[1])

    @cached_property
    def _units(self) -> dict[str, str]:
        return {unit["key"]: unit["name"] for unit in self.manifest.get("unit_keys", [])}

    @property
    def _models(self) -> Sequence[Mapping[str, Any]]:
        return self.manifest.get("models", [])  # type: ignore[no-any-return]


def flag_names(flags: int | None) -> list[str]:
    """Names of the flags that are set."""
    return [name for name, flag in Flag.__members__.items() if (flags or 0) & flag.value]


def class_of(row: Mapping[str, Any]) -> str | None:
    """The class of the larger mean output; None without a result."""
    p_pm, p_sf = row.get("p_pm_mean"), row.get("p_sf_mean")
    if p_pm is None or p_sf is None:
        return None
    return POST_MERGER if p_pm > p_sf else STAR_FORMING


def is_as_the_network_saw_it(row: Mapping[str, Any]) -> bool:
    """Whether the network received the mosaic's own pixels."""
    return not _CHANGED_PIXELS & set(flag_names(row.get("flags")))


def spot_of(row: Mapping[str, Any]) -> Spot | None:
    """Where a galaxy lies on its mosaic; None if it lies on none."""
    if None in (row.get("instrument"), row.get("x_pix"), row.get("y_pix")):
        return None
    return Spot(row["field"], row["instrument"], float(row["x_pix"]), float(row["y_pix"]), row.get("mosaic") or "")
