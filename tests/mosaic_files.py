"""FITS images as surveys publish them, and as they should not be."""

from __future__ import annotations

import numpy as np
from astropy.io import fits


def tan_header(scale_arcsec=0.03, angle_deg=0.0, form="CD", ra_deg=150.1, dec_deg=2.2, crpix=(20.5, 15.5)):
    """A tangent-plane header whose matrix is written as ``CD``, ``PC`` with CDELT, ``PC1`` (CDELT 1) or ``CROTA``."""
    step, angle = scale_arcsec / 3600, np.radians(angle_deg)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra_deg, "CRVAL2": dec_deg, "RADESYS": "ICRS"})
    header.update({"CRPIX1": crpix[0], "CRPIX2": crpix[1]})
    if form == "CROTA":
        header.update({"CDELT1": -step, "CDELT2": step, "CROTA2": angle_deg})
        return header
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    steps = np.array([[-step], [step]])
    matrix = turn if form == "PC" else steps * turn
    header.update({f"{form[:2]}{i + 1}_{j + 1}": matrix[i, j] for i in range(2) for j in range(2)})
    if form == "PC":
        header.update({"CDELT1": -step, "CDELT2": step})
    return header


def sky_image(shape=(30, 40), seed=0):
    """Noise with some pixels of 0 and some NaN."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape).astype(np.float32)
    image[:3] = 0
    image[5, 5:9] = np.nan
    return image


def write_image(path, image=None, header=None, **cards):
    """Write one image with a good header, changed by ``cards``; a card of None is left out. Returns the path."""
    header = tan_header() if header is None else header.copy()
    for key, value in cards.items():
        header[key] = value
        if value is None:
            del header[key]
    fits.PrimaryHDU(sky_image() if image is None else image, header).writeto(path)
    return path
