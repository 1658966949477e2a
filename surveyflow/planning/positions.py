"""The instrument that measures each source, its mosaic and position there, and the status of sources that need no pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from surveyflow.planning.overlaps import OverlappingMap, Placement, place_on_several
from surveyflow.sky.tiling import owning_tiles
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.codes import Flag, Status
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
