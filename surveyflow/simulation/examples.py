"""What is kept of a simulated stamp for training: its pixels, its label, and the truth about its contamination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        Its index in the simulation, at least 0.
    pixels
        (size, size) float32, e-/s: what a network sees.
    label
        1 for a post-merger, 0 for a star-forming galaxy.
    magnitude_ab, radius_arcsec, redshift
        Of the galaxy; NaN where unknown.
    sky_rms
        Of the sky's noise that was simulated, e-/s.
    truths
        Contamination by variant.
    """

    example_id: int
    pixels: Float32Array
    label: int
    magnitude_ab: float
    radius_arcsec: float
    redshift: float
    sky_rms: float
    truths: Mapping[str, Contamination]


def example_of(index: int, stamp: Stamp) -> Example:
    """Measure a stamp's truth, and keep what training needs.

    Raises
    ------
    InputError
        When photutils, of the extra ``train``, is not installed.
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
    )
