"""The same run on real HST pixels: positions from photutils, cards made for the images' scales, random weights.

The images' units are not e-/s, so every measured row must say that it lies outside the model's domain. The redshifts are made up:
they only choose the instrument.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.convolution import convolve
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.stats import sigma_clipped_stats
from astropy.wcs import WCS, FITSFixedWarning
from photutils.segmentation import SourceCatalog, detect_sources, make_2dgaussian_kernel

import surveyflow
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.models.store import ModelStore, write_untrained
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelKey
from surveyflow.values.codes import Flag

IMAGES = Path(__file__).parents[2] / "shared" / "data" / "images"
FILES = {"COSMOS_A": "cosmos_acs_f814w_a.fits", "COSMOS_B": "cosmos_acs_f814w_b.fits", "HDFS": "HST-HDFS.fits"}
INSTRUMENT = {"COSMOS_A": "F814W", "COSMOS_B": "F814W", "HDFS": "F606W"}
REDSHIFT = {"F814W": 1.0, "F606W": 2.0}
SCALE = {"F814W": 0.03, "F606W": 0.0398}

pytestmark = pytest.mark.skipif(
    not IMAGES.is_dir(), reason="the real images are not beside this checkout (../shared/data/images)"
)


def read(path: Path):
    """Pixels and WCS by astropy alone."""
    with fits.open(path) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        image = next(hdu for hdu in hdus if hdu.data is not None)
        return image.data.astype(float), WCS(image.header)


def detected(path: Path) -> pd.DataFrame:
    """Sources found by photutils, in degrees by astropy's own WCS."""
    pixels, wcs = read(path)
    _, median, rms = sigma_clipped_stats(pixels)
    smooth = convolve(pixels - median, make_2dgaussian_kernel(3.0, size=5))
    found = SourceCatalog(pixels - median, detect_sources(smooth, 2 * rms, n_pixels=10))
    x, y = np.atleast_1d(found.x_centroid), np.atleast_1d(found.y_centroid)
    ra, dec = wcs.all_pix2world(x, y, 0)
    return pd.DataFrame({"id": np.arange(len(x)) + 1, "ra": ra, "dec": dec, "x": x, "y": y})


@pytest.fixture
def world(tmp_path):
    """A workflow over the three images."""
    sources = {field: detected(IMAGES / file) for field, file in FILES.items()}
    tables = []
    for field, found in sources.items():
        instrument = INSTRUMENT[field]
        found.assign(z=REDSHIFT[instrument]).to_csv(tmp_path / f"{field}.csv", index=False)
        tables.append(
            f'[fields.{field}.sources]\npath = "{field}.csv"\n'
            f'columns = {{ id = "id", ra = "ra", dec = "dec", redshift = "z" }}\n'
            f'[fields.{field}.{instrument}]\nscience = "{IMAGES / FILES[field]}"\n'
        )
        write_untrained(
            ModelStore(tmp_path / "models"),
            ModelKey("merger", field, instrument),
            architecture=Architecture(filters=(4,), kernel_sizes=(5,), dense=(32, 32)),
            pixel_scale_arcsec=SCALE[instrument],
            band=instrument,
            redshift_range=(0.5, 3.0),
            stretch=Stretch.ASINH_MINMAX,
            softening=1.0,
            domain=Domain(unit="electron/s", sky_rms=(2e-4, 1e-2)),
            seed=1,
        )
    head = (
        'version = 1\n[survey]\nname = "real"\nrelease = "v1"\n[output]\nroot = "catalog"\n[models]\nstore = "models"\n'
        "[sampling]\ndraws = 50\nseed = 1\n[routing]\nF814W = [0.5, 1.5]\nF606W = [1.5, 3.0]\n"
    )
    (tmp_path / "workflow.toml").write_text(head + "".join(tables))
    return tmp_path, sources


def test_run_on_real_images_measures_every_detected_source_and_flags_it(world):
    folder, sources = world
    result = surveyflow.run(folder / "workflow.toml", profile="serial")
    rows = surveyflow.read_catalog(folder / "catalog")
    assert len(rows) == sum(map(len, sources.values())) == result.rows
    assert min(map(len, sources.values())) > 5
    measured = rows[rows.status == "ok"]
    assert len(measured) > 0.9 * len(rows)
    assert (measured["flags"] & int(Flag.OUT_OF_DOMAIN)).all()
    assert measured.p_pm_mean.between(0, 1).all()
    assert (measured.p_pm_std > 0).all()


@pytest.mark.parametrize("field", FILES)
def test_positions_and_cutouts_of_real_sources_agree_with_astropy(field):
    path = IMAGES / FILES[field]
    found = detected(path)
    stack = surveyflow.cutouts(path, found.ra, found.dec, size=64)
    pixels, _ = read(path)
    with open_mosaic(path) as mosaic:
        x_pix, y_pix = mosaic.to_pixels(found.ra.to_numpy(), found.dec.to_numpy())
    assert np.allclose(x_pix, found.x, atol=1e-4)
    assert np.allclose(y_pix, found.y, atol=1e-4)
    for number in range(len(found)):
        expected = Cutout2D(pixels, (x_pix[number], y_pix[number]), 64, mode="partial", fill_value=0).data
        assert np.array_equal(stack.pixels[number], np.nan_to_num(expected).astype(np.float32))
