"""Work units: the instrument, mosaic and position of each source, and the tiles or batches that sources are grouped by.

A unit is one tile of one mosaic with its sources, or a batch of sources that need no pixels. Sources whose p(z) reaches into the
range of a second instrument have rows of that instrument, too, in units of their own: their names have the part
``alternatives``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from surveyflow.planning.overlaps import OverlappingMap, Placement, place_on_several
from surveyflow.sky.tiling import owning_tiles, tile
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.codes import Flag, Status
from surveyflow.values.images import Tile
from surveyflow.values.listed import ListedSources
from surveyflow.values.sources import SourceList, UnitSources

STATUS_IF_UNKNOWN = Status.NO_REDSHIFT
"""Status of the sources for which the value that chooses the instrument is unknown."""


def deciding_values(sources: SourceList) -> Float64Array:
    """The values that choose the instrument: (n,) float64; NaN where unknown."""
    return sources.redshift


def alternative_sources(listed: ListedSources, instrument: str, least_share: float) -> SourceList | None:
    """The sources that are to be measured with an instrument, although something else is more probable.

    Parameters
    ----------
    listed
        The source list of one field.
    instrument
        An instrument of ``[routing]``.
    least_share
        The least share of p(z) that must lie in the instrument's range.

    Returns
    -------
    The sources with the median of p(z) within that range as their redshift; None if the list gives no p(z).
    """
    shares = listed.shares
    if shares is None:
        return None
    place = shares.instruments.index(instrument)
    share, most_probable = shares.shares[:, place], shares.chosen == place
    rows = (share >= least_share) & ~most_probable
    columns = {name: values[rows] for name, values in listed.sources.columns.items()}
    return SourceList(listed.sources.field, **columns | {"redshift": shares.medians[rows, place]})


def choose_instruments(values: Float64Array, ranges: Mapping[str, tuple[float, float]]) -> NDArray[np.str_]:
    """Choose the instrument for each value.

    Parameters
    ----------
    values
        (n,) float64, as `deciding_values` returns them; NaN where unknown.
    ranges
        Half-open, disjoint range [low, high) of each instrument.

    Returns
    -------
    (n,) str; ``""`` where the value is unknown or in no range.
    """
    width = max(map(len, ranges), default=1)
    instrument = np.full(len(values), "", dtype=f"U{width}")
    for name, (low, high) in ranges.items():
        instrument[(values >= low) & (values < high)] = name
    return instrument


class Mosaics(Protocol):
    """The mosaics of a field and instrument, as far as planning needs them.

    Attributes
    ----------
    mosaics
        One or more.
    names
        Their names, which differ.
    labels
        Their names within those of units; ``""`` for a mosaic that is alone.
    """

    @property
    def mosaics(self) -> Sequence[OverlappingMap]: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def labels(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class LocatedSources(UnitSources):
    """Sources with their places on mosaics.

    Parameters
    ----------
    field, source_id, ra_deg, dec_deg, redshift, instrument, x_pix, y_pix, status, flags
        As in `UnitSources`.
    mosaic
        (n,) int64: number of the mosaic among those of the field and instrument; -1 where there is none.
    """

    mosaic: Int64Array


def locate_sources(
    sources: SourceList,
    ranges: Mapping[str, tuple[float, float]],
    mosaics: Mapping[str, Mosaics],
    cards: Mapping[str, ModelCard],
) -> LocatedSources:
    """Choose each source's instrument and mosaic, locate the source there, and settle its status if that needs no pixels.

    Parameters
    ----------
    sources
        The sources of one field.
    ranges
        Half-open range of each instrument.
    mosaics
        The field's mosaics by instrument.
    cards
        Cards of the field's merger models by instrument.

    Returns
    -------
    The same sources in the same order, with instrument, mosaic, position and flags, and with a status unless that depends on
    pixels.

    Raises
    ------
    MosaicError
        If pixels cannot be read where mosaics overlap.
    """
    values = deciding_values(sources)
    instrument = choose_instruments(values, ranges)
    x_pix, y_pix = (np.full(len(sources), np.nan) for _ in range(2))
    mosaic = np.full(len(sources), -1, dtype=np.int64)
    status = np.full(len(sources), "", dtype="U16")
    flags = np.zeros(len(sources), dtype=np.int32)
    for name in np.unique(instrument[instrument != ""]):
        rows = instrument == name
        if name in mosaics:
            placement = _place(mosaics[name], sources.ra_deg[rows], sources.dec_deg[rows], cards.get(name))
            mosaic[rows], x_pix[rows], y_pix[rows] = placement.mosaic, placement.x_pix, placement.y_pix
            status[rows] = np.where(placement.on_image, "", Status.OFF_MOSAIC)
        else:
            status[rows] = Status.OFF_MOSAIC
            flags[rows] |= Flag.NO_MOSAIC
        if name not in cards:
            status[rows] = Status.NO_MODEL
    status[instrument == ""] = Status.NO_MODEL
    status[np.isnan(values)] = STATUS_IF_UNKNOWN
    return LocatedSources(
        field=sources.field,
        **sources.columns,
        instrument=instrument,
        x_pix=x_pix,
        y_pix=y_pix,
        status=status,
        flags=flags,
        mosaic=mosaic,
    )


def _place(mosaics: Mosaics, ra_deg: Float64Array, dec_deg: Float64Array, card: ModelCard | None) -> Placement:
    """Places on one mosaic, which is asked even for sources beyond it, or on the best of several."""
    if len(mosaics.mosaics) > 1:
        size = None if card is None else card.architecture.input_size
        return place_on_several(mosaics.mosaics, mosaics.names, ra_deg, dec_deg, size)
    (mosaic,) = mosaics.mosaics
    x_pix, y_pix = mosaic.to_pixels(ra_deg, dec_deg)
    on_image = owning_tiles(x_pix, y_pix, mosaic.shape, max(mosaic.shape))[0] >= 0
    return Placement(np.zeros(len(ra_deg), np.int64), x_pix, y_pix, on_image)


SETTLED_ROWS_PER_UNIT = 100_000
"""Number of rows in a unit of sources that need no pixels: a few seconds of writing."""


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """One tile of one mosaic with its sources, or a batch of sources that need no pixels.

    Parameters
    ----------
    name
        ``EGS/F814W/y000x001``, ``EGS/F814W/MOSAIC/y000x001`` if there are several mosaics, or ``EGS/settled/000``;
        ``EGS/alternatives/F814W/y000x001`` for a less probable instrument.
    sources
        Its sources, sorted by id.
    instrument
        Instrument of its mosaic; None for a batch without pixels.
    tile
        Its tile; None for a batch without pixels.
    mosaic
        Number of its mosaic among those of the field and instrument; 0 for a batch without pixels.
    """

    name: str
    sources: UnitSources
    instrument: str | None = None
    tile: Tile | None = None
    mosaic: int = 0

    @property
    def field(self) -> str:
        """Field of its sources."""
        return self.sources.field

    @property
    def model_group(self) -> str:
        """Field and instrument whose models it needs: ``EGS/F814W``; empty for a batch without pixels."""
        return f"{self.field}/{self.instrument}" if self.instrument else ""


def is_alternative(name: str) -> bool:
    """Whether a unit of this name holds rows of instruments that are less probable than another."""
    return name.split("/")[1:2] == ["alternatives"]


def units_of_alternatives(
    located: LocatedSources, instrument: str, mosaics: Mapping[str, Mosaics], cards: Mapping[str, ModelCard], core_size: int
) -> list[WorkUnit]:
    """Divide the sources that are measured with an instrument, although another is more probable, into work units.

    Parameters
    ----------
    located
        The result of `locate_sources` for these sources and this instrument alone.
    instrument
        The instrument.
    mosaics, cards, core_size
        As in `units_of_field`.
    """
    units = units_of_field(located, mosaics, cards, core_size)
    start, to = f"{located.field}/", f"{located.field}/alternatives/"
    named = (unit.name.removeprefix(start) for unit in units)
    names = [to + (name if name.startswith(f"{instrument}/") else f"{instrument}/{name}") for name in named]
    return [replace(unit, name=name) for unit, name in zip(units, names, strict=True)]


def units_of_field(
    located: LocatedSources, mosaics: Mapping[str, Mosaics], cards: Mapping[str, ModelCard], core_size: int
) -> list[WorkUnit]:
    """Divide a field's located sources into work units; every source is in exactly one.

    Parameters
    ----------
    located
        The result of `locate_sources`.
    mosaics, cards
        The field's mosaics and merger models by instrument.
    core_size
        Side of a tile's core, pixels.
    """
    located = located.take(np.argsort(located.source_id, kind="stable"))
    units = _settled_units(located.take(located.status != ""))
    for name in np.unique(located.instrument[located.status == ""]):
        sources = located.take((located.status == "") & (located.instrument == name))
        cutout_size = cards[name].architecture.input_size
        for number in np.unique(sources.mosaic):
            own = sources.take(sources.mosaic == number)
            units += _tile_units(own, str(name), mosaics[name], core_size, cutout_size)
    return units


def _settled_units(sources: LocatedSources) -> list[WorkUnit]:
    starts = range(0, len(sources), SETTLED_ROWS_PER_UNIT)
    return [
        WorkUnit(
            f"{sources.field}/settled/{number:03d}",
            sources.take(np.arange(start, min(start + SETTLED_ROWS_PER_UNIT, len(sources)))),
        )
        for number, start in enumerate(starts)
    ]


def _tile_units(sources: LocatedSources, instrument: str, mosaics: Mosaics, core_size: int, cutout_size: int) -> list[WorkUnit]:
    """The units of sources that are all on one mosaic."""
    number = int(sources.mosaic[0])
    place, shape = "/".join(filter(None, (sources.field, instrument, mosaics.labels[number]))), mosaics.mosaics[number].shape
    rows, columns = owning_tiles(sources.x_pix, sources.y_pix, shape, core_size)
    units = []
    for row, column in np.unique(np.stack([rows, columns], axis=1), axis=0):
        owner = tile(shape, core_size, cutout_size, int(row), int(column))
        members = sources.take((rows == row) & (columns == column))
        units.append(WorkUnit(f"{place}/{owner.name}", members, instrument, owner, number))
    return units
