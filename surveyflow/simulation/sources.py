"""The sources of a simulated field: those that its catalog lists, and those that it does not.

They are drawn from seed and field alone, so a field does not depend on the other fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from surveyflow.simulation.galaxies import STAR
from surveyflow.simulation.observe import F160W, F814W
from surveyflow.simulation.scenes import REDSHIFT_SCALE, REDSHIFT_SHAPE, SkyObject, draw_background, draw_neighbours, draw_target
from surveyflow.simulation.traps import ACS, WFC3, Trap, free_traps, local_fraction, n_free_traps, placed_traps
from surveyflow.values.arrays import BoolArray, Float64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

POST_MERGER_SHARE = 0.35

_SEPARATION_PIX = 40.0
_LEAST_COVERAGE = 0.65
_TRIES_A_PLACE = 500


@dataclass(frozen=True, slots=True)
class ListedSource:
    """One row of a field's catalog.

    Parameters
    ----------
    x_pix, y_pix
        Its position in the F814W mosaic, 0-based.
    redshift
        Redshift in the list: -99 or NaN if unknown.
    trap
        The trap that it belongs to; None for an ordinary source.
    sky
        The galaxy or star at this position.
    """

    x_pix: float
    y_pix: float
    redshift: float
    trap: Trap | None
    sky: SkyObject


@dataclass(frozen=True, slots=True)
class FieldSources:
    """All sources of a field: those that its catalog lists, in order of id from 1, and those that it does not."""

    listed: tuple[ListedSource, ...]
    unlisted: tuple[SkyObject, ...]


def draw_field(seed: int, field: str, n_sources: int, coverage: Mapping[str, BoolArray], core_size: int) -> FieldSources:
    """Draw a field's sources: ``n_sources`` ordinary ones, of which every 20th is a star, then the traps.

    Parameters
    ----------
    seed, field
        Seed of the survey and name of the field, which determine everything.
    n_sources
        Number of ordinary sources.
    coverage
        Footprint by instrument.
    core_size
        Side of a tile's core, for the traps at tile boundaries.

    Raises
    ------
    ValueError
        If there is no room for so many sources.
    """
    traps = placed_traps(coverage, core_size)
    taken = [(trap.x_pix, trap.y_pix) for trap in traps]
    places = _free_places(random_stream(seed, field, "places"), coverage, taken, n_sources + n_free_traps())
    traps += free_traps(places[n_sources:])
    ordinary = [_ordinary(random_stream(seed, field, number), number, *places[number]) for number in range(n_sources)]
    trapped = [_trapped(random_stream(seed, field, trap.name), trap) for trap in traps]
    listed = (*ordinary, *trapped)
    return FieldSources(listed, _unlisted(seed, field, listed, coverage[ACS].shape))


def random_stream(seed: int, field: str, what: Any) -> np.random.Generator:
    """The generator of the random numbers for one purpose in one field."""
    return np.random.default_rng([seed, int.from_bytes(sha256(f"{field}\0{what}".encode()).digest()[:8], "little")])


def _unlisted(seed: int, field: str, listed: tuple[ListedSource, ...], shape: tuple[int, ...]) -> tuple[SkyObject, ...]:
    height, width = (length * F814W.pixel_scale_arcsec for length in shape)
    background = draw_background(random_stream(seed, field, "background"), width, height)
    rng = random_stream(seed, field, "neighbours")
    neighbours = [neighbour for source in listed for neighbour in draw_neighbours(rng, source.sky)]
    return (*background, *neighbours)


def _ordinary(rng: np.random.Generator, number: int, x_pix: float, y_pix: float) -> ListedSource:
    kind = STAR if number % 20 == 7 else _draw_kind(rng)
    # The redshift distribution is as deep as that of CANDELS.
    redshift = 0.0 if kind == STAR else round(float(rng.gamma(REDSHIFT_SHAPE, REDSHIFT_SCALE)), 4)
    return ListedSource(x_pix, y_pix, redshift, None, _sky_object(rng, kind, x_pix, y_pix, redshift))


def _trapped(rng: np.random.Generator, trap: Trap) -> ListedSource:
    return ListedSource(
        trap.x_pix, trap.y_pix, trap.redshift, trap, _sky_object(rng, _draw_kind(rng), trap.x_pix, trap.y_pix, trap.redshift)
    )


def _draw_kind(rng: np.random.Generator) -> str:
    return POST_MERGER if rng.random() < POST_MERGER_SHARE else STAR_FORMING


def _sky_object(rng: np.random.Generator, kind: str, x_pix: float, y_pix: float, redshift: float) -> SkyObject:
    """Draw the magnitude in the band that the flow will use; galaxies at higher redshift are redder."""
    distance = float(np.clip(np.nan_to_num(redshift, nan=1.0), 0, 3))
    colour = 0.4 + 0.4 * distance + rng.normal(0, 0.2)
    scale = F814W.pixel_scale_arcsec
    place = (x_pix + 0.5) * scale, (y_pix + 0.5) * scale
    if 1.5 <= distance < 3:
        return draw_target(rng, kind, place, F160W, fainter={F814W.name: colour})
    return draw_target(rng, kind, place, F814W, fainter={F160W.name: -colour})


def _free_places(
    rng: np.random.Generator, coverage: Mapping[str, BoolArray], taken: list[tuple[float, float]], number: int
) -> list[tuple[float, float]]:
    """Positions (x, y) in the F814W mosaic that both instruments cover well, at least 1.2 arcsec apart and from those taken."""
    covered = coverage[ACS][::2, ::2] & (local_fraction(coverage[ACS][::2, ::2], 64) > _LEAST_COVERAGE)
    covered &= coverage[WFC3] & (local_fraction(coverage[WFC3], 128) > _LEAST_COVERAGE)
    candidates = np.asarray(2.0 * np.argwhere(covered)[:, ::-1] + 0.5, np.float64)
    occupied = np.array(taken)
    for _ in range(number):
        occupied = np.vstack([occupied, _free_place(rng, candidates, occupied)])
    return [(float(x), float(y)) for x, y in occupied[len(taken) :]]


def _free_place(rng: np.random.Generator, candidates: Float64Array, occupied: Float64Array) -> Float64Array:
    for _ in range(_TRIES_A_PLACE):
        place: Float64Array = candidates[rng.integers(len(candidates))] + rng.uniform(-1, 1, 2)
        if np.hypot(*(occupied - place).T).min() >= _SEPARATION_PIX:
            return place
    raise ValueError(
        f"there is no room for more than {len(occupied)} sources in a field of this shape: use fewer or a larger shape"
    )
