"""The revision that is browsed: its rows, its manifest, its mosaics, and the revision before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np

from surveyflow.browsing.features import PublishedModels, distances
from surveyflow.browsing.galaxy import FEWEST_COMPARED, Before, compared_columns
from surveyflow.browsing.pictures import View, input_size, picture
from surveyflow.browsing.rows import BrowsedRows
from surveyflow.errors import ModelError, SurveyflowError
from surveyflow.inputs.published_mosaics import Outline, PublishedMosaics, SkyCutout, outlines
from surveyflow.releases.revisions import find, read_manifest
from surveyflow.tasks.registry import warnings_of
from surveyflow.values.codes import POST_MERGER, STAR_FORMING, Flag, Status

SHOWN = (
    *(
        "field",
        "source_id",
        "source_name",
        "instrument",
        "status",
        "flags",
        "mosaic",
        "x_pix",
        "y_pix",
        "model_id",
    ),
    *("p_pm_mean", "p_sf_mean", "p_contaminated_mean"),
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


@dataclass(frozen=True, slots=True)
class Alike:
    """The galaxies that are most like one galaxy.

    Parameters
    ----------
    rows
        Their rows, the most similar first.
    measured
        The columns by which they were found.
    n_compared
        Number of galaxies, similar in these columns, whose features in the network were compared; 0 if none were.
    why_not
        Why features were not compared; ``""`` if they were.
    """

    rows: list[dict[str, Any]]
    measured: list[str]
    n_compared: int = 0
    why_not: str = ""


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
        self._networks = PublishedModels(self.manifest)
        self.outlines = lru_cache(maxsize=32)(self._outlines)

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
        with self._cutting:
            return self._mosaics.cutout(asdict(spot), size_pix)

    def picture_problem(self, spot: Spot) -> str:
        """Why there is no picture of a place, as far as that is known without reading pixels; ``""`` if there may be one."""
        with self._cutting:
            return self._mosaics.problem(asdict(spot))

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

    def alike(self, row: Mapping[str, Any], limit: int) -> Alike:
        """The galaxies that are most like one galaxy: in the features of its network, otherwise in its columns.

        Features are compared with those of a limited number of galaxies of the same model, the most similar in the columns.

        Parameters
        ----------
        row
            The galaxy, with every column.
        limit
            How many to return at most.
        """
        measured = compared_columns(row, self.rows.schema) if row["status"] == Status.OK else []
        if len(measured) < FEWEST_COMPARED:
            return Alike([], measured)
        try:
            return self._alike_in_features(row, measured, limit)
        except SurveyflowError as error:
            return Alike(self.rows.alike(row, measured, SHOWN, limit), measured, why_not=str(error))

    def _alike_in_features(self, row: Mapping[str, Any], measured: list[str], limit: int) -> Alike:
        model_id, n_compared = row["model_id"], self._networks.n_compared(row["model_id"])
        self._networks.check(model_id)
        own = self._as_the_network_saw(row)
        if own is None:
            raise ModelError("the pixels that the network received cannot be cut again.")
        others = self.rows.alike(row, measured, SHOWN, n_compared, same="model_id")
        found = [(other, cutout) for other in others if (cutout := self._as_the_network_saw(other)) is not None]
        features = self._networks.features(model_id, [own, *(cutout for _, cutout in found)])
        apart = distances(features)[1:]
        order = [place for place in np.argsort(apart, kind="stable") if np.isfinite(apart[place])]
        return Alike([found[place][0] for place in order[:limit]], measured, len(found))

    def _as_the_network_saw(self, row: Mapping[str, Any]) -> SkyCutout | None:
        spot = spot_of(row)
        return self.cutout(spot, self.side_pix(row["model_id"])) if spot and is_as_the_network_saw_it(row) else None

    def side_pix(self, model_id: str | None) -> int:
        """Side of the cutouts that a model receives, pixels."""
        return min(max(input_size(self.model(model_id)), SIZES_PIX[0]), SIZES_PIX[1])

    def _outlines(self, field: str) -> tuple[list[Outline], list[str]]:
        """The borders of a field's mosaics, and a sentence for each that cannot be read."""
        return outlines(self.manifest.get("inputs", []), field)

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
