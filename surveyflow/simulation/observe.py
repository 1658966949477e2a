"""The effects of observing with Hubble: the PSF, photon noise and the correlated sky noise of a drizzled mosaic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

from surveyflow.errors import InputError
from surveyflow.values import remedies
from surveyflow.values.arrays import Float32Array, Float64Array

PSF_SIZE_PIX = 129
"""Side of the PSF's image, pixels."""

_MIRROR_M = 2.4
_OBSCURATION = 0.33
SKY_NOISE_SIGMA_PIX = 0.64
_OVERSAMPLING = 8
FWHM_OF_SIGMA = float(2 * np.sqrt(2 * np.log(2)))
"""FWHM of a Gaussian, in units of its standard deviation."""


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


@dataclass(frozen=True, slots=True)
class PsfShape:
    """How the PSF of one image differs from its band's.

    Parameters
    ----------
    fwhm_factor
        FWHM of a star, in units of the band's; 0.9 to 2.
    ellipticity
        (a - b) / (a + b) of the FWHM along its longest and shortest axis, 0 to 0.1.
    angle_rad
        Angle of the longest axis, from the image's x axis towards its y axis.
    """

    fwhm_factor: float = 1.0
    ellipticity: float = 0.0
    angle_rad: float = 0.0


F814W = Band("F814W", 0.03, 0.10, 805.7, 25.947)
F160W = Band("F160W", 0.06, 0.18, 1536.9, 25.9463)


def blur(image: Float32Array, band: Band, shape: PsfShape | None = None) -> Float32Array:
    """Convolve an image with the PSF as if the image were periodic: leave a margin, and cut it off afterwards.

    Parameters
    ----------
    image
        (rows, columns) float32, at least ``PSF_SIZE_PIX`` on a side.
    band
        Band whose PSF is used.
    shape
        Width and shape of the PSF; the band's own if left out.

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
    if shape is not None:
        transform = transform * _shape_transform(band, shape, image.shape)
    return np.asarray(irfft2(rfft2(image) * transform, s=image.shape), np.float32)


def shot_noise(rng: np.random.Generator, image: Float32Array, exposure_s: float) -> Float32Array:
    """Draw the photon noise of the sources, in the Gaussian limit; (rows, columns) float32, e-/s."""
    sigma = np.sqrt(np.maximum(image, 0) / np.float32(exposure_s))
    return rng.standard_normal(image.shape, np.float32) * sigma


def sky_noise(rng: np.random.Generator, shape: tuple[int, int], sky_rms: float, correlation: float | None = None) -> Float32Array:
    """Draw the noise of the empty sky, correlated between neighbouring pixels, as in drizzled images.

    Parameters
    ----------
    rng
        Random numbers.
    shape
        Rows and columns.
    sky_rms
        Standard deviation of a pixel.
    correlation
        Correlation between neighbouring pixels, 0.05 to 0.9; that of the drizzled mosaics, 0.5, if left out.

    Returns
    -------
    float32 of that shape.
    """
    sigma = SKY_NOISE_SIGMA_PIX if correlation is None else _sigma_of_correlation(correlation)
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return noise * np.float32(sky_rms / _smoothed_rms(sigma))


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
    step, image = _sampled_star(galsim, optics, band, 4)

    def excess(sigma_pix: float) -> float:
        return _fwhm_pix(gaussian_filter(image, sigma_pix)) * step - band.psf_fwhm_arcsec

    from scipy.optimize import brentq

    return float(brentq(excess, 0.1, len(image) / 4, xtol=1e-3)) * step


def _sampled_star(galsim: Any, optics: Any, band: Band, fwhms: int) -> tuple[float, Float32Array]:
    """Side of a fine pixel, arcsec, and the image of a star through the optics and a pixel, so many FWHMs wide."""
    step = band.pixel_scale_arcsec / _OVERSAMPLING
    size = fwhms * round(band.psf_fwhm_arcsec / step) + 1
    star = galsim.Convolve(optics, galsim.Pixel(band.pixel_scale_arcsec))
    return step, star.drawImage(nx=size, ny=size, scale=step, method="no_pixel").array


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


def _shape_transform(band: Band, shape: PsfShape, size: tuple[int, int]) -> Any:
    """Transform of the Gaussian that changes the band's PSF to another width and shape."""
    scale2 = band.pixel_scale_arcsec**2
    fwhm = band.psf_fwhm_arcsec * shape.fwhm_factor
    wider = (_widening_at(band, shape.fwhm_factor) ** 2 - _widening_at(band, 1.0) ** 2) / scale2
    longer = 2 * shape.ellipticity * (fwhm / FWHM_OF_SIGMA) ** 2 / scale2
    along, diagonal = longer * np.cos(2 * shape.angle_rad), longer * np.sin(2 * shape.angle_rad)
    y, x = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None, :]
    return np.exp(-2 * np.pi**2 * ((wider + along) * x * x + (wider - along) * y * y + 2 * diagonal * x * y))


def _widening_at(band: Band, fwhm_factor: float) -> float:
    """Sigma of the Gaussian that widens a star to the band's FWHM times a factor, arcsec."""
    return float(np.interp(fwhm_factor, *_widenings(band)))


@lru_cache(maxsize=8)
def _widenings(band: Band) -> tuple[Float64Array, Float64Array]:
    """Factors on the band's FWHM, rising, and the sigma of the Gaussian that widens a star to each of them, arcsec."""
    galsim = _galsim()
    optics = galsim.OpticalPSF(lam=band.wavelength_nm, diam=_MIRROR_M, obscuration=_OBSCURATION)
    step, star = _sampled_star(galsim, optics, band, 8)
    sigmas_pix = np.concatenate([np.linspace(0.1, 1.5, 24) * band.psf_fwhm_arcsec / FWHM_OF_SIGMA, [band.psf_fwhm_arcsec]]) / step
    fwhms = np.array([_fwhm_pix(gaussian_filter(star, sigma)) * step for sigma in sigmas_pix])
    return fwhms / band.psf_fwhm_arcsec, sigmas_pix * step


@lru_cache(maxsize=1024)
def _sigma_of_correlation(correlation: float) -> float:
    """Sigma of the Gaussian filter that correlates neighbouring pixels so, pixels."""
    from scipy.optimize import brentq

    return float(brentq(lambda sigma: _correlation(sigma) - correlation, 0.3, 2.5, xtol=1e-4))


def _correlation(sigma_pix: float) -> float:
    response = _impulse_response(sigma_pix)
    return float(np.sum(response[1:] * response[:-1]) / np.sum(response**2))


@lru_cache(maxsize=1024)
def _smoothed_rms(sigma_pix: float) -> float:
    """Standard deviation of white noise of rms 1 after smoothing."""
    return float(np.sqrt(np.sum(_impulse_response(sigma_pix) ** 2)))


def _impulse_response(sigma_pix: float) -> Float64Array:
    impulse = np.zeros((33, 33))
    impulse[16, 16] = 1
    return np.asarray(gaussian_filter(impulse, sigma_pix, mode="wrap"), np.float64)


DRIZZLED_CORRELATION = round(_correlation(SKY_NOISE_SIGMA_PIX), 3)
"""Correlation of neighbouring pixels' noise in the drizzled mosaics."""
