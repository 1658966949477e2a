"""The simulation of one example, which depends only on the settings and the example's index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from typing import Any

import numpy as np

from surveyflow.errors import InputError
from surveyflow.inputs.background import describe_background, draw_patch, open_background
from surveyflow.inputs.mosaics import Mosaic
from surveyflow.inputs.stamps import Stamps, electrons_per_unit, open_stamps
from surveyflow.settings.simulation import SimulationTable, StampsTable
from surveyflow.simulation.contamination import TRUTHS
from surveyflow.simulation.examples import Example, example_of
from surveyflow.simulation.noiseless import problems_of_image
from surveyflow.simulation.resampling import resampled
from surveyflow.simulation.scenes import STAMP_MARGIN_PIX, Patch, Stamp, stamp, stamp_of_image
from surveyflow.values.arrays import Float32Array

RECIPE_VERSION = 2
"""Changes whenever the same settings would give other pixels."""

_PATCHES, _PLACES = 1, 2
"""Separate the random numbers of patches, and of positions in a pixel, from all others."""


def draw_examples(simulation: SimulationTable, indices: Iterable[int]) -> list[Example]:
    """Make the examples of these indices.

    Raises
    ------
    InputError
        When galsim, photutils or h5py, of the extra ``train``, are needed and not installed, or stamps cannot be used.
    MosaicError
        When the background cannot be used.
    """
    with _real_sky(simulation) as sky:
        return [example_of(index, _stamp(simulation, index, sky)) for index in indices]


def prepare(simulation: SimulationTable) -> None:
    """Read a library as it is now, and check that examples can be made, before any process is started.

    Raises
    ------
    InputError, MosaicError
        As for `draw_examples`.
    """
    _library.cache_clear()
    _chosen.cache_clear()
    draw_examples(simulation, [simulation.first])


def simulation_settings(simulation: SimulationTable) -> dict[str, Any]:
    """Everything that determines the examples, as JSON holds it; folders and the number of processes are not part of it."""
    stated = simulation.model_dump(mode="json", exclude=_PATHS, exclude_none=True)
    depth = {"sky_rms": simulation.depth.sky_rms, "exposure_s": simulation.depth.exposure_s}
    settings = stated | depth | {"redshifts": list(simulation.redshift_range), "truths": list(TRUTHS)}
    settings["nuisances"] |= {"position_sigma_arcsec": simulation.nuisance_ranges.position_sigma_arcsec}
    if simulation.stamps is not None:
        library, numbers = _library(simulation.stamps), _numbers(simulation, simulation.stamps)
        settings["stamps"] |= {"images": library.identities(numbers, partial(_problems_of_image, simulation, simulation.stamps))}
        settings["redshifts"] = _redshifts_of(library, numbers, simulation)
    if simulation.background is not None:
        with open_background(simulation.background, simulation.band) as mosaic:
            settings["background"] = describe_background(mosaic)
    return settings | {"recipe_version": RECIPE_VERSION}


_PATHS: Any = {"output": True, "stamps": {"path", "labels"}, "background": True}


def _stamp(simulation: SimulationTable, index: int, sky: Mosaic | None) -> Stamp:
    if simulation.stamps is not None:
        return _stamp_of_library(simulation, simulation.stamps, index, sky)
    return stamp(
        simulation.seed,
        index,
        simulation.band,
        simulation.depth,
        size=simulation.size,
        recipe=simulation.galaxy_recipe,
        neighbours=simulation.neighbours,
        post_merger_share=simulation.post_merger_share,
        magnitudes=simulation.magnitudes,
        redshifts=simulation.redshift_range,
        depth_range=simulation.depth_range,
        nuisances=simulation.nuisance_ranges,
        patch=_patch(simulation, index, sky),
    )


def _stamp_of_library(simulation: SimulationTable, table: StampsTable, index: int, sky: Mosaic | None) -> Stamp:
    library, chosen = _library(table), _chosen(table)
    number = chosen[index % len(chosen)]
    return stamp_of_image(
        simulation.seed,
        index,
        _on_the_bands_pixels(library.image(number), table, simulation, index),
        kind=library.kinds[number],
        redshift=float(library.redshifts[number]),
        band=simulation.band,
        depth=simulation.depth,
        neighbours=simulation.neighbours,
        depth_range=simulation.depth_range,
        nuisances=simulation.nuisance_ranges,
        patch=_patch(simulation, index, sky),
    )


def _on_the_bands_pixels(image: Float32Array, table: StampsTable, simulation: SimulationTable, index: int) -> Float32Array:
    """The image in e-/s, with the stamp's margin; the centre falls anywhere in its pixel."""
    band, side = simulation.band, simulation.size + 2 * STAMP_MARGIN_PIX
    electrons = np.float32(electrons_per_unit(table.unit, table.pixel_scale_arcsec, band))
    shift_x, shift_y = simulation.nuisance_ranges.drawn(simulation.seed, index).shift_xy_arcsec
    y, x = side // 2 - np.random.default_rng([simulation.seed, index, _PLACES]).random(2)
    y, x = y + shift_y / band.pixel_scale_arcsec, x + shift_x / band.pixel_scale_arcsec
    return resampled(image * electrons, table.pixel_scale_arcsec, band.pixel_scale_arcsec, side, (float(y), float(x)))


def _problems_of_image(simulation: SimulationTable, table: StampsTable, image: Float32Array) -> Iterator[str]:
    electrons = electrons_per_unit(table.unit, table.pixel_scale_arcsec, simulation.band)
    return problems_of_image(image, table.pixel_scale_arcsec, electrons, simulation.band, simulation.size)


def _patch(simulation: SimulationTable, index: int, sky: Mosaic | None) -> Patch | None:
    if sky is None:
        return None
    rng = np.random.default_rng([simulation.seed, index, _PATCHES])
    return draw_patch(sky, rng, simulation.size, simulation.depth.exposure_s)


def _real_sky(simulation: SimulationTable) -> AbstractContextManager[Mosaic | None]:
    return open_background(simulation.background, simulation.band) if simulation.background else nullcontext()


# A process draws from one library at a time; `prepare` forgets it, since its files may have changed within a session.
@lru_cache(maxsize=1)
def _library(table: StampsTable) -> Stamps:
    return open_stamps(table)


@lru_cache(maxsize=1)
def _chosen(table: StampsTable) -> tuple[int, ...]:
    """The library's images that belong to the set, in the order in which they are used."""
    return _library(table).numbers_in(table.share)


def _numbers(simulation: SimulationTable, table: StampsTable) -> list[int]:
    """The library's images that the set's examples show."""
    chosen = _chosen(table)
    return [chosen[index % len(chosen)] for index in range(simulation.first, simulation.first + min(simulation.n, len(chosen)))]


def _redshifts_of(library: Stamps, numbers: list[int], simulation: SimulationTable) -> list[float]:
    """The range of the galaxies' redshifts: the one that the file states, or that of the column."""
    if simulation.redshifts is not None:
        return list(simulation.redshifts)
    known = [float(library.redshifts[number]) for number in numbers if np.isfinite(library.redshifts[number])]
    if len(set(known)) < 2:
        raise InputError(
            f"[simulation.stamps] redshift_column: the images have {len(set(known))} known redshifts, expected two or more. "
            "Remove `redshift_column`, and state [simulation] redshifts, the range for which the galaxies stand."
        )
    return [min(known), max(known)]
