"""Work units: the instrument, mosaic and position of each source, and the tiles or batches that sources are grouped by.

A unit is one tile of one mosaic with its sources, or a batch of sources that need no pixels. Sources whose p(z) reaches into the
range of a second instrument have rows of that instrument, too, in units of their own: their names have the part
``alternatives``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surveyflow.errors import UnitError
from surveyflow.files.durable import remove_any
from surveyflow.output.units import read_worklist, write_worklist
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

    The sources themselves are in a work list; see `surveyflow.planning.work_lists`.

    Parameters
    ----------
    name
        ``EGS/F814W/y000x001``, ``EGS/F814W/MOSAIC/y000x001`` if there are several mosaics, or ``EGS/settled/000``;
        ``EGS/alternatives/F814W/y000x001`` for a less probable instrument.
    field
        Field of its sources.
    n_sources
        Number of its sources.
    sources, positions
        SHA-256, hexadecimal, of its sources as they are listed, and of where they lie on the mosaic.
    instrument
        Instrument of its mosaic; None for a batch without pixels.
    tile
        Its tile; None for a batch without pixels.
    mosaic
        Number of its mosaic among those of the field and instrument; 0 for a batch without pixels.
    worklist, number
        Name of the file of work lists that holds its sources, and their number there; empty before they are written.
    """

    name: str
    field: str
    n_sources: int
    sources: str
    positions: str
    instrument: str | None = None
    tile: Tile | None = None
    mosaic: int = 0
    worklist: str = ""
    number: int = 0

    @property
    def model_group(self) -> str:
        """Field and instrument whose models it needs: ``EGS/F814W``; empty for a batch without pixels."""
        return f"{self.field}/{self.instrument}" if self.instrument else ""


Gathered = tuple[WorkUnit, UnitSources]
"""A unit, and its sources, sorted by id."""


def is_alternative(name: str) -> bool:
    """Whether a unit of this name holds rows of instruments that are less probable than another."""
    return name.split("/")[1:2] == ["alternatives"]


def name_of_alternative(unit: WorkUnit, instrument: str) -> WorkUnit:
    """A unit of sources that are measured with an instrument, although another is more probable, under the name of such a unit.

    Parameters
    ----------
    unit
        The unit.
    instrument
        The instrument.
    """
    name = unit.name.removeprefix(f"{unit.field}/")
    beside = name if name.startswith(f"{instrument}/") else f"{instrument}/{name}"
    return replace(unit, name=f"{unit.field}/alternatives/{beside}")


def tiles_of(located: LocatedSources, mosaics: Mapping[str, Mosaics], core_size: int) -> Int64Array:
    """The mosaic and tile of each source whose status depends on pixels.

    Parameters
    ----------
    located
        Sources without a status.
    mosaics, core_size
        As in `units_of_field`.

    Returns
    -------
    (n, 4) int64: number of the instrument in the order of their names, number of the mosaic, row and column of the tile. Units
    are in the order of these numbers.
    """
    tiles = np.zeros((len(located), 4), np.int64)
    tiles[:, 1] = located.mosaic
    for number, name in enumerate(sorted(mosaics)):
        of_name = located.instrument == name
        for mosaic in np.unique(located.mosaic[of_name]):
            rows = np.flatnonzero(of_name & (located.mosaic == mosaic))
            shape = mosaics[name].mosaics[mosaic].shape
            tiles[rows, 0] = number
            tiles[rows, 2:] = np.stack(owning_tiles(located.x_pix[rows], located.y_pix[rows], shape, core_size), axis=1)
    return tiles


def units_of_field(
    located: LocatedSources, mosaics: Mapping[str, Mosaics], cards: Mapping[str, ModelCard], core_size: int
) -> Iterator[Gathered]:
    """Divide sources whose status depends on pixels into work units; every source is in exactly one.

    Parameters
    ----------
    located
        The result of `locate_sources`, without the sources that have a status, and with all sources of each tile.
    mosaics, cards
        The field's mosaics and merger models by instrument.
    core_size
        Side of a tile's core, pixels.

    Yields
    ------
    The units, in the order of their instruments, mosaics and tiles, each with its sources.
    """
    tiles = tiles_of(located, mosaics, core_size)
    order = np.lexsort((located.source_id, *tiles.T[::-1]))
    located, tiles = located.take(order), tiles[order]
    starts = np.flatnonzero(np.any(np.diff(tiles, axis=0, prepend=-1), axis=1))
    names = sorted(mosaics)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(tiles)], strict=True):
        instrument, mosaic, row, column = tiles[start].tolist()
        name = names[instrument]
        shape = mosaics[name].mosaics[mosaic].shape
        owner = tile(shape, core_size, cards[name].architecture.input_size, row, column)
        place = "/".join(filter(None, (located.field, name, mosaics[name].labels[mosaic], owner.name)))
        yield gathered_unit(place, located.take(np.arange(start, end)), instrument=name, tile=owner, mosaic=mosaic)


def settled_unit(sources: LocatedSources, number: int) -> Gathered:
    """The unit of some sources that have a status already.

    Parameters
    ----------
    sources
        The sources, sorted by id: `SETTLED_ROWS_PER_UNIT`, or fewer in the last unit of a field.
    number
        The unit's number, from 0.
    """
    return gathered_unit(f"{sources.field}/settled/{number:03d}", sources)


def gathered_unit(name: str, sources: UnitSources, **place: Any) -> Gathered:
    """A unit of sources.

    Parameters
    ----------
    name
        Its name.
    sources
        Its sources, sorted by id.
    place
        Its ``instrument``, ``tile`` and ``mosaic``.
    """
    listed = _digest(sources.field, sources.instrument, *sources.columns.values())
    positions = _digest(sources.x_pix, sources.y_pix, sources.status, sources.flags)
    return WorkUnit(name, sources.field, len(sources), listed, positions, **place), sources


def unit_sources(path: Path, number: int, *, sources: str, positions: str) -> UnitSources:
    """Read the sources of a unit, which must be those that its key was made of.

    Parameters
    ----------
    path
        A work list.
    number
        The unit's index in the file, from 0.
    sources, positions
        The unit's digests of its list and positions.

    Raises
    ------
    UnitError
        If the work list is gone or damaged, or holds other sources. It is removed then, so that the next run reads the source
        lists again.
    """
    try:
        found = read_worklist(path, number)
        unit, _ = gathered_unit("", found)
    except (OSError, pa.ArrowException, LookupError, ValueError) as error:
        raise _damaged(path) from error
    if (unit.sources, unit.positions) != (sources, positions):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> UnitError:
    remove_any(path)
    return UnitError(f"{path} was damaged. Run again: the source lists are then read again.")


MAIN = ""
"""The rows of the most probable instruments; the rows of a further instrument bear its name."""


def write_units(gathered: Iterable[Gathered], stream: str, path: Path) -> list[WorkUnit]:
    """Write the work list of some units, and say where their sources are.

    Parameters
    ----------
    gathered
        The units with their sources. Only one of them is in memory at a time.
    stream
        The instrument of the rows if another one is more probable; else `MAIN`.
    path
        The file, which does not exist yet.
    """
    units: list[WorkUnit] = []

    def sources() -> Iterator[UnitSources]:
        for unit, members in gathered:
            named = unit if stream == MAIN else name_of_alternative(unit, stream)
            units.append(replace(named, worklist=path.name, number=len(units)))
            yield members

    write_worklist(path, sources())
    return units


def _digest(*values: str | NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        data = value.encode() if isinstance(value, str) else _bytes_of(value)
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _bytes_of(array: NDArray[Any]) -> bytes:
    # The width of a text column depends on its longest entry, even in rows of other units, so only the words count.
    if array.dtype.kind == "U":
        return "\0".join(_words(array)).encode()
    return np.ascontiguousarray(array).tobytes()


def _words(array: NDArray[np.str_]) -> Sequence[str]:
    return [str(word) for word in array]
