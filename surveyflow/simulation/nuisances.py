"""What differs from stamp to stamp and must not change an answer: position, PSF, correlation of the noise, and level of the sky.

Orientation, depth and neighbours differ as well; `surveyflow.simulation.scenes` draws them with the galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surveyflow.simulation.observe import DRIZZLED_CORRELATION, Band, PsfShape

Limits = tuple[float, float]

OF_GALAXIES = ("shift_x_arcsec", "shift_y_arcsec", "psf_fwhm_arcsec", "psf_ellipticity", "psf_angle_rad")
OF_THE_SKY = ("depth_factor", "noise_correlation", "sky_pedestal")
DRAWN = (*OF_GALAXIES, *OF_THE_SKY)
"""Names of the nuisances that are drawn for each stamp; those of the sky are unknown on real sky."""

_STREAM = 3
"""Separates these random numbers from those of galaxies, patches and positions in a pixel."""


@dataclass(frozen=True, slots=True)
class Nuisances:
    """The ranges from which a stamp's nuisances are drawn; by default there are none.

    Parameters
    ----------
    position_sigma_arcsec
        Gaussian scatter, along each axis, of the galaxy's position about the middle of the stamp.
    psf_fwhm
        Range of the factor on the band's FWHM.
    psf_ellipticity
        Largest ellipticity of the PSF; see `PsfShape`.
    noise_correlation
        Range of the correlation of neighbouring pixels' noise; that of the drizzled mosaics if None.
    sky_pedestal
        Range of the sky's level, in units of the sky's rms.
    """

    position_sigma_arcsec: float = 0.0
    psf_fwhm: Limits = (1.0, 1.0)
    psf_ellipticity: float = 0.0
    noise_correlation: Limits | None = None
    sky_pedestal: Limits = (0.0, 0.0)

    def drawn(self, seed: int, index: int) -> StampNuisances:
        """The nuisances of one stamp; those of one kind do not depend on the ranges of the others."""
        rng = np.random.default_rng([seed, index, _STREAM])
        shift = self.position_sigma_arcsec * rng.standard_normal(2)
        width, roundness, angle, smoothness, level = rng.random(5)
        plain = self.psf_fwhm == (1.0, 1.0) and not self.psf_ellipticity
        shape = PsfShape(_between(self.psf_fwhm, width), self.psf_ellipticity * float(roundness), float(np.pi * angle))
        return StampNuisances(
            shift_xy_arcsec=(float(shift[0]), float(shift[1])),
            psf=None if plain else shape,
            noise_correlation=None if self.noise_correlation is None else round(_between(self.noise_correlation, smoothness), 3),
            sky_pedestal=_between(self.sky_pedestal, level),
        )


@dataclass(frozen=True, slots=True)
class StampNuisances:
    """The nuisances of one stamp.

    Parameters
    ----------
    shift_xy_arcsec
        Shift of the galaxy from the middle of the stamp, x first.
    psf
        Width and shape of the PSF; None for the band's own.
    noise_correlation
        Correlation of neighbouring pixels' noise; None for that of the drizzled mosaics.
    sky_pedestal
        Level of the sky, in units of its rms.
    """

    shift_xy_arcsec: tuple[float, float] = (0.0, 0.0)
    psf: PsfShape | None = None
    noise_correlation: float | None = None
    sky_pedestal: float = 0.0

    def numbers(self, band: Band, depth_factor: float) -> dict[str, float]:
        """The value of each of `DRAWN`.

        Parameters
        ----------
        band
            Band of the image.
        depth_factor
            Factor on the sky rms that was drawn with the galaxy.
        """
        shape = self.psf or PsfShape()
        correlation = DRIZZLED_CORRELATION if self.noise_correlation is None else self.noise_correlation
        of_galaxies = (*self.shift_xy_arcsec, band.psf_fwhm_arcsec * shape.fwhm_factor, shape.ellipticity, shape.angle_rad)
        return dict(zip(DRAWN, (*of_galaxies, depth_factor, correlation, self.sky_pedestal), strict=True))


def _between(limits: Limits, share: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * share)
