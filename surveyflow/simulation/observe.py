"""The effects of observing with Hubble: the PSF, photon noise and the correlated sky noise of a drizzled mosaic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq

from surveyflow.errors import InputError
from surveyflow.values import remedies
from surveyflow.values.arrays import Float32Array

PSF_SIZE_PIX = 129
"""Side of the PSF's image, pixels."""

_MIRROR_M = 2.4
_OBSCURATION = 0.33
SKY_NOISE_SIGMA_PIX = 0.64
_OVERSAMPLING = 8


@dataclass(frozen=True, slots=True)
class Band:
    """A filter and camera, as drizzled by CANDELS.

    Parameters
    ----------
    name
        ``F814W``.
    pixel_scale_arcsec
        Side of a pixel of the mosaic.
    psf_fwhm_arcsec
        Full width at half maximum of a star in the mosaic.
    wavelength_nm
        Pivot wavelength.
    zero_point_ab
        AB magnitude of a source of 1 e-/s.
    """

    name: str
    pixel_scale_arcsec: float
    psf_fwhm_arcsec: float
    wavelength_nm: float
    zero_point_ab: float

    def flux(self, magnitude_ab: float) -> float:
        """Flux of a magnitude, e-/s."""
        return float(10 ** (-0.4 * (magnitude_ab - self.zero_point_ab)))

    def magnitude(self, flux: float) -> float:
        """AB magnitude of a positive flux, e-/s."""
        return float(self.zero_point_ab - 2.5 * np.log10(flux))


@dataclass(frozen=True, slots=True)
class Depth:
    """The depth of a mosaic.

    Parameters
    ----------
    sky_rms
        Standard deviation of an empty pixel, e-/s.
    exposure_s
        Exposure time.
    """

    sky_rms: float
    exposure_s: float


F814W = Band("F814W", 0.03, 0.10, 805.7, 25.947)
F160W = Band("F160W", 0.06, 0.18, 1536.9, 25.9463)


def blur(image: Float32Array, band: Band) -> Float32Array:
    """Convolve an image with the PSF as if the image were periodic: leave a margin, and cut it off afterwards.

    Parameters
    ----------
    image
        (rows, columns) float32, at least ``PSF_SIZE_PIX`` on a side.
    band
        Band whose PSF is used.

    Returns
    -------
    (rows, columns) float32 with the same sum.

    Raises
    ------
    ValueError
        If the image is smaller than the image of the PSF.
    InputError
        If galsim, of the extra ``simulate``, is not installed.
    """
    if min(image.shape) < PSF_SIZE_PIX:
        raise ValueError(f"an image to blur must have at least {PSF_SIZE_PIX} pixels a side, not {image.shape}")
    transform = _psf_transform(band, image.shape[0], image.shape[1])
    return np.asarray(irfft2(rfft2(image) * transform, s=image.shape), np.float32)


def shot_noise(rng: np.random.Generator, image: Float32Array, exposure_s: float) -> Float32Array:
    """Draw the photon noise of the sources, in the Gaussian limit; (rows, columns) float32, e-/s."""
    sigma = np.sqrt(np.maximum(image, 0) / np.float32(exposure_s))
    return rng.standard_normal(image.shape, np.float32) * sigma


def sky_noise(rng: np.random.Generator, shape: tuple[int, int], sky_rms: float) -> Float32Array:
    """Draw the noise of the empty sky, correlated between neighbouring pixels (0.5 at lag 1), as in drizzled images; float32."""
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), SKY_NOISE_SIGMA_PIX, mode="wrap")
    return noise * np.float32(sky_rms / _smoothed_rms())


@lru_cache(maxsize=8)
def psf(band: Band) -> Float32Array:
    """The PSF's image without the pixel response, which is already in the galaxies' images.

    It is that of a 2.4 m mirror with Hubble's obscuration, widened by a Gaussian (jitter, charge diffusion, drizzling) until a
    star in the mosaic, including the pixel response, has the band's FWHM.

    Returns
    -------
    (129, 129) float32, centred, with sum 1, read-only.

    Raises
    ------
    InputError
        If galsim, of the extra ``simulate``, is not installed.
    """
    galsim = _galsim()
    optics = galsim.OpticalPSF(lam=band.wavelength_nm, diam=_MIRROR_M, obscuration=_OBSCURATION)
    widened = galsim.Convolve(optics, galsim.Gaussian(sigma=_widening_arcsec(galsim, optics, band)))
    image = galsim.Image(PSF_SIZE_PIX, PSF_SIZE_PIX, scale=band.pixel_scale_arcsec, dtype=np.float32)
    kernel = widened.drawImage(image=image, method="no_pixel").array
    kernel = np.asarray(kernel / kernel.sum(dtype=np.float64), np.float32)
    kernel.flags.writeable = False
    return kernel


def _widening_arcsec(galsim: Any, optics: Any, band: Band) -> float:
    """Sigma of the Gaussian that widens a star to the band's FWHM."""
    step = band.pixel_scale_arcsec / _OVERSAMPLING
    size = 4 * round(band.psf_fwhm_arcsec / step) + 1
    star = galsim.Convolve(optics, galsim.Pixel(band.pixel_scale_arcsec))
    image = star.drawImage(nx=size, ny=size, scale=step, method="no_pixel").array

    def excess(sigma_pix: float) -> float:
        return _fwhm_pix(gaussian_filter(image, sigma_pix)) * step - band.psf_fwhm_arcsec

    return float(brentq(excess, 0.1, size / 4, xtol=1e-3)) * step


def _fwhm_pix(image: Float32Array) -> float:
    """Full width at half maximum, in pixels, of a centred round image with odd sides, along the row through its centre."""
    row = np.asarray(image[image.shape[0] // 2], np.float64)
    half = row[len(row) // 2 :] - row.max() / 2
    first = int(np.argmax(half < 0))
    return float(2 * (first - 1 + half[first - 1] / (half[first - 1] - half[first])))


def _galsim() -> Any:
    try:
        import galsim
    except ModuleNotFoundError as error:
        raise InputError(f"Simulations need galsim, which is not installed: `{remedies.install('simulate')}`.") from error
    return galsim


@lru_cache(maxsize=8)
def _psf_transform(band: Band, rows: int, columns: int) -> Any:
    kernel = np.zeros((rows, columns), np.float32)
    kernel[:PSF_SIZE_PIX, :PSF_SIZE_PIX] = psf(band)
    half = PSF_SIZE_PIX // 2
    return rfft2(np.roll(kernel, (-half, -half), axis=(0, 1)))


@lru_cache(maxsize=1)
def _smoothed_rms() -> float:
    """Standard deviation of white noise of rms 1 after smoothing."""
    impulse = np.zeros((33, 33))
    impulse[16, 16] = 1
    return float(np.sqrt(np.sum(gaussian_filter(impulse, SKY_NOISE_SIGMA_PIX, mode="wrap") ** 2)))
