"""Training examples made from simulated stamps: pixels, label and true contamination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from surveyflow.simulation.contamination import Contamination, contamination
from surveyflow.simulation.scenes import Stamp
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import POST_MERGER


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a training set.

    Parameters
    ----------
    example_id
        Index of the stamp in the simulation, at least 0.
    pixels
        (size, size) float32, e-/s: the network's input, before the stretch.
    label
        1 for a post-merger, 0 for a star-forming galaxy.
    magnitude_ab, radius_arcsec, redshift
        AB magnitude, radius and redshift of the galaxy; NaN if unknown.
    sky_rms
        Standard deviation of the simulated sky noise, e-/s.
    truths
        True contamination by variant.
    drawn
        The nuisances that were drawn, by the names of `surveyflow.simulation.nuisances.DRAWN`, as far as they are known.
    """

    example_id: int
    pixels: Float32Array
    label: int
    magnitude_ab: float
    radius_arcsec: float
    redshift: float
    sky_rms: float
    truths: Mapping[str, Contamination]
    drawn: Mapping[str, float] = field(default_factory=dict)


def example_of(index: int, stamp: Stamp) -> Example:
    """Measure a stamp's true contamination, and keep what training needs.

    Raises
    ------
    InputError
        If photutils, of the extra ``train``, is not installed.
    """
    return Example(
        example_id=index,
        pixels=stamp.pixels,
        label=int(stamp.kind == POST_MERGER),
        magnitude_ab=stamp.magnitude_ab,
        radius_arcsec=stamp.radius_arcsec,
        redshift=stamp.redshift,
        sky_rms=stamp.depth.sky_rms,
        truths=contamination(stamp.galaxy, stamp.neighbours, stamp.depth.sky_rms),
        drawn=stamp.drawn,
    )
