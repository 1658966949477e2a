"""The instrument that measures each source, its position on that mosaic, and the status of sources that need no pixels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from surveyflow.sky.tiling import owning_tiles
from surveyflow.values.arrays import Float64Array
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


class PixelMap(Protocol):
    """The properties of a mosaic that planning needs."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def unit(self) -> str | None: ...

    def to_pixels(self, ra_deg: Float64Array, dec_deg: Float64Array) -> tuple[Float64Array, Float64Array]: ...


def locate_sources(
    sources: SourceList,
    ranges: Mapping[str, tuple[float, float]],
    mosaics: Mapping[str, PixelMap],
    modelled: Collection[str],
) -> UnitSources:
    """Choose each source's instrument, locate the source on its mosaic, and settle its status if that needs no pixels.

    Parameters
    ----------
    sources
        The sources of one field.
    ranges
        Half-open range of each instrument.
    mosaics
        The field's mosaics by instrument.
    modelled
        The instruments for which this field has a model.

    Returns
    -------
    The same sources in the same order, with instrument, position and flags, and with a status unless that depends on pixels.
    """
    values = deciding_values(sources)
    instrument = choose_instruments(values, ranges)
    x_pix, y_pix = (np.full(len(sources), np.nan) for _ in range(2))
    status = np.full(len(sources), "", dtype="U16")
    flags = np.zeros(len(sources), dtype=np.int32)
    for name in np.unique(instrument[instrument != ""]):
        rows = instrument == name
        if name in mosaics:
            x_pix[rows], y_pix[rows] = mosaics[name].to_pixels(sources.ra_deg[rows], sources.dec_deg[rows])
            on_image = owning_tiles(x_pix[rows], y_pix[rows], mosaics[name].shape, max(mosaics[name].shape))[0] >= 0
            status[rows] = np.where(on_image, "", Status.OFF_MOSAIC)
        else:
            status[rows] = Status.OFF_MOSAIC
            flags[rows] |= Flag.NO_MOSAIC
        if name not in modelled:
            status[rows] = Status.NO_MODEL
    status[instrument == ""] = Status.NO_MODEL
    status[np.isnan(values)] = STATUS_IF_UNKNOWN
    return UnitSources(
        field=sources.field,
        **sources.columns,
        instrument=instrument,
        x_pix=x_pix,
        y_pix=y_pix,
        status=status,
        flags=flags,
    )
