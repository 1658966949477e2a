"""Work units: one tile of one mosaic with its sources, or a batch of sources that need no pixels.

Sources whose p(z) reaches into the range of a second instrument have rows of that instrument, too, in units of their own: their
names have the part ``alternatives``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from surveyflow.planning.positions import LocatedSources, Mosaics
from surveyflow.sky.tiling import owning_tiles, tile
from surveyflow.tasks.card import ModelCard
from surveyflow.values.images import Tile
from surveyflow.values.sources import UnitSources

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
