"""The cosmic variance of a merger fraction, by a power law of number densities and volume.

López-Sanjuan et al. (2014, A&A 564, A127) fitted such a law to the fractions of close pairs in the 48 sub-fields of ALHAMBRA:
the scatter between places that remains when the noise of the galaxies is taken away, relative to the fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.values.arrays import Float64Array

_SKY_DEG2 = 4 * pi * (180 / pi) ** 2


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """``sigma_v = at_reference (n1 / density_mpc3)^a (V / volume_mpc3)^b (n2 / n1)^c``, relative to the merger fraction.

    Parameters
    ----------
    at_reference
        Value at the reference density and volume, and equal densities.
    density_mpc3, volume_mpc3
        The reference: a comoving number density, Mpc^-3, and a comoving volume, Mpc^3.
    density_exponent, volume_exponent, ratio_exponent
        The exponents a, b and c.
    """

    at_reference: float
    density_mpc3: float
    density_exponent: float
    volume_mpc3: float
    volume_exponent: float
    ratio_exponent: float

    def relative(self, density_mpc3: ArrayLike, volume_mpc3: ArrayLike, ratio: float) -> Float64Array:
        """Sigma_v relative to the fraction.

        Parameters
        ----------
        density_mpc3
            Comoving number density n1 of the galaxies whose fraction is measured, Mpc^-3; above 0.
        volume_mpc3
            Comoving volume of one contiguous field, Mpc^3; above 0. Both broadcast.
        ratio
            Density of companions in units of that of the galaxies, n2 / n1.

        Examples
        --------
        >>> law = PowerLaw(0.48, 1e-3, -0.54, 1e5, -0.48, -0.37)
        >>> law.relative([1e-3, 4e-3], 1e5, 1.0).round(3).tolist()
        [0.48, 0.227]
        """
        density = np.asarray(density_mpc3, np.float64) / self.density_mpc3
        volume = np.asarray(volume_mpc3, np.float64) / self.volume_mpc3
        powers = density**self.density_exponent * volume**self.volume_exponent * ratio**self.ratio_exponent
        return np.asarray(self.at_reference * powers)


def comoving_volume(area_deg2: ArrayLike, low: ArrayLike, high: ArrayLike, h0: float, omega_m: float) -> Float64Array:
    """The comoving volume between two redshifts in a flat universe of matter and a cosmological constant.

    Parameters
    ----------
    area_deg2
        Area on the sky, deg^2.
    low, high
        Redshifts, 0 <= low < high; all three broadcast.
    h0
        Hubble constant, km/s/Mpc.
    omega_m
        Density of matter in units of the critical one.

    Returns
    -------
    Mpc^3.

    Examples
    --------
    >>> float(comoving_volume(0.05, 0.5, 1.0, h0=70, omega_m=0.3).round(-3))
    149000.0
    """
    from astropy.cosmology import FlatLambdaCDM

    universe = FlatLambdaCDM(H0=h0, Om0=omega_m)
    far, near = (universe.comoving_volume(np.asarray(redshift, np.float64)).value for redshift in (high, low))
    return np.asarray(np.asarray(area_deg2, np.float64) / _SKY_DEG2 * (far - near))


def of_several_fields(relative: Float64Array, sizes: Float64Array) -> Float64Array:
    """Sigma_v of a fraction that is counted in several fields, which vary independently of each other.

    Parameters
    ----------
    relative
        (n_fields, n_bins) sigma_v of each field alone, relative to the fraction.
    sizes
        (n_fields, n_bins) number, or sum of weights, of each field's galaxies.

    Returns
    -------
    (n_bins,) float64; NaN where there are no galaxies.
    """
    total = sizes.sum(axis=0)
    share = np.divide(sizes, total, out=np.full(sizes.shape, np.nan), where=total > 0)
    return np.asarray(np.sqrt(((share * np.where(sizes > 0, relative, 0)) ** 2).sum(axis=0)))
