"""The check that source lists and mosaics belong together: where sources lie, and why they may lie elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from surveyflow.inputs.mosaic_lists import MosaicSet
from surveyflow.inputs.mosaics import Mosaic
from surveyflow.planning.expectations import Expectation
from surveyflow.planning.overlaps import on_images
from surveyflow.sky.footprints import caps_around, directions, same_places
from surveyflow.values.arrays import Float64Array
from surveyflow.values.sources import SourceList

MosaicSets = Mapping[tuple[str, str], MosaicSet]
"""Mosaics by field and instrument."""

_ENOUGH = 0.5
_MOST_TRIED = 20_000
"""Number of sources up to which other explanations are tried."""
_SAME_PLACE_ARCSEC = 1.0


def misplaced_lists(
    name: str, sources: SourceList, sets: MosaicSets, n_sources: int, nowhere: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Say why no source of a field may lie on the mosaics of some instruments.

    Parameters
    ----------
    name
        The field.
    sources
        Some of its sources.
    sets
        The mosaics of all fields and instruments.
    n_sources
        Number of all its sources.
    nowhere
        The instruments on whose mosaics none of them lies.

    Yields
    ------
    The instrument, what is wrong, and the remedy.
    """
    for (field, instrument), mosaics in sets.items():
        if field == name and instrument in nowhere:
            what = f"none of the {n_sources} sources of {name} lies on {_images(mosaics)}."
            yield instrument, what, likely_reason(name, instrument, sources, sets) or _far_apart(sources, mosaics)


def sparse_lists(sources: SourceList, sets: MosaicSets, expected: Expectation) -> Iterator[str]:
    """Warn if less than half of an instrument's sources lie on its mosaics.

    Parameters
    ----------
    sources
        The field's sources.
    sets
        The mosaics of all fields and instruments.
    expected
        What is expected of the field and instrument.
    """
    if expected.instrument is None or not expected.mosaics or expected.on_mosaic >= _ENOUGH * expected.rows:
        return
    reason = likely_reason(expected.field, expected.instrument, sources, sets, at_least=_ENOUGH)
    place = f"{expected.field}/{expected.instrument}"
    text = f"{place}: only {expected.on_mosaic} of {expected.rows} sources lie on the mosaics, and the others will be off_mosaic"
    yield f"{text}. {reason}" if reason else text


def likely_reason(field: str, instrument: str, sources: SourceList, sets: MosaicSets, at_least: float = 0.0) -> str:
    """Say why sources may lie off their mosaics, if another reading of the positions or other mosaics explain it; else empty.

    Parameters
    ----------
    field, instrument, sources, sets
        As in `misplaced_lists`.
    at_least
        Share of the sources, 0 to 1, that an explanation must bring onto mosaics, more than that share.
    """
    step = max(1, len(sources) // _MOST_TRIED)
    ra, dec = sources.ra_deg[::step], sources.dec_deg[::step]
    mosaics = sets[field, instrument].mosaics
    shares = {advice: _share(mosaics, *positions) for advice, positions in _readings(ra, dec).items()}
    for place, other in sets.items():
        if place[0] != field and (place[1] == instrument or (place[0], instrument) not in sets):
            advice = f"{{}} lie on the mosaics of {' '.join(place)}: exchange the paths, or name the right list."
            shares[advice] = _share(other.mosaics, ra, dec)
    advice, share = max(shares.items(), key=lambda item: item[1])
    return advice.format(f"{share:.0%} of the sources") if share > at_least else ""


def _share(mosaics: Sequence[Mosaic], ra: Float64Array, dec: Float64Array) -> float:
    return float(on_images(mosaics, ra, dec).mean())


def _readings(ra: Float64Array, dec: Float64Array) -> dict[str, tuple[Float64Array, Float64Array]]:
    """Other positions that the two columns may mean, by the advice that follows, in which {} stands for the sources."""
    galactic = SkyCoord(l=ra * u.deg, b=dec * u.deg, frame="galactic").icrs
    turned = np.clip(np.degrees(dec), -90, 90)
    readings = {
        "`ra` were in hours: convert it to degrees, or name a column in degrees": (15 * ra % 360, dec),
        "both were in radians: convert them to degrees": (np.degrees(ra) % 360, turned),
        "the positions were galactic: convert them to ICRS": (galactic.ra.deg, galactic.dec.deg),
    }
    if ra.max(initial=0) <= 90:
        readings["`ra` and `dec` were exchanged: name them the other way round"] = (dec % 360, ra)
    return {f"{{}} would lie there if {words}.": positions for words, positions in readings.items()}


def _far_apart(sources: SourceList, mosaics: MosaicSet) -> str:
    caps = caps_around([mosaic.corners_deg for mosaic in mosaics.mosaics])
    here, there = (_centre(each) for each in (directions(sources.ra_deg, sources.dec_deg), caps.centres))
    return f"The list lies around {here}, the mosaics around {there}: name a list and mosaics of the same part of the sky."


def _centre(vectors: Float64Array) -> str:
    x, y, z = vectors.mean(axis=0)
    return f"RA {np.degrees(np.arctan2(y, x)) % 360:.3f}, Dec {np.degrees(np.arctan2(z, np.hypot(x, y))):.3f}"


def _images(mosaics: MosaicSet) -> str:
    return mosaics.names[0] if len(mosaics.names) == 1 else f"any of the {len(mosaics.names)} mosaics ({mosaics.names[0]}, ...)"


def repeated_mosaics(place: str, mosaics: MosaicSet) -> Iterator[str]:
    """Warn of mosaics of one instrument that cover the same part of the sky, such as two versions of one.

    Parameters
    ----------
    place
        Field and instrument, in words.
    mosaics
        The mosaics.
    """
    twins = same_places(caps_around([mosaic.corners_deg for mosaic in mosaics.mosaics]), _SAME_PLACE_ARCSEC)
    for first, second in twins[:1]:
        more = f" (and {len(twins) - 1} more pairs)" if len(twins) > 1 else ""
        yield (
            f"{place}: {mosaics.names[first]} and {mosaics.names[second]} cover the same part of the sky{more}; each source is "
            f"measured on one of them. If one is an older version, leave it out"
        )
