"""Small revisions: catalog rows made of a seed, a manifest, and real FITS mosaics."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS

from catalog_rows import masked
from surveyflow.catalog.kept import NOTHING_KEPT, KeptColumns
from surveyflow.catalog.schema import CATALOG_SCHEMA, build_rows, healpix_29
from surveyflow.releases.publish import publish
from surveyflow.stats.posterior import summarise
from surveyflow.values.codes import Flag

CENTRES = {"COSMOS": (150.116, 2.2), "EGS": (214.825, 52.825)}
PIXEL_SCALES = {"F814W": 0.03, "F125W_F160W": 0.06}
MOSAIC_SIDE = 400


@dataclass
class RevisionMaker:
    """Writes revisions below a temporary folder, as a run publishes them."""

    folder: Path
    inputs: list = field(default_factory=list)
    kept: KeptColumns = NOTHING_KEPT

    def __call__(self, *tables: pa.Table, **changes) -> Path:
        """Publish these rows; ``changes`` replace what the manifest says, None removes it."""
        rows = pa.concat_tables([CATALOG_SCHEMA.empty_table(), *tables])
        manifest = {key: value for key, value in (self.manifest(rows) | changes).items() if value is not None}
        return publish(self.folder / "catalog", "v1.0", [], rows, manifest, kept=self.kept).path

    def manifest(self, rows):
        fields = sorted(set(rows["field"].to_pylist()))
        origins = [origin for origin in rows["weights_origin"].unique().to_pylist() if origin] or ["untrained"]
        return {
            "survey": "mini",
            "created": "2026-11-22T13:05:00+00:00",
            "run_id": "20261122T130400Z-1a2b3c",
            "surveyflow_version": "0.1.0",
            "inputs": self.inputs,
            "models": [model_entry(name, band, origins[0]) for name in fields for band in PIXEL_SCALES],
            "workflow": {"version": 1, "sampling": {"draws": 200, "seed": 7, "keep_draws": False}, "tiling": None},
            "units": {"done": 4, "kept": 2, "dropped": 1, "failed": 0},
            "failed_units": [],
            "timings": {"worker_seconds": 12.5},
            "versions": {"python": "3.11.7", "numpy": "2.4.6"},
            "host": "node017",
        }

    def add_mosaic(self, field_name, instrument) -> Path:
        """Write a mosaic of noise and round galaxies, without a weight map, and name it in the next manifests."""
        path = self.folder / f"{field_name.lower()}_{instrument.lower()}_drz.fits"
        write_mosaic(path, CENTRES[field_name], PIXEL_SCALES[instrument])
        entry = {"field": field_name, "instrument": instrument, "kind": "science", "path": str(path)}
        self.inputs.append(entry | {"size": path.stat().st_size, "cards": {"PROPOSID": "12440"}})
        return path


def field_rows(field_name="EGS", n_sources=40, seed=0, origin="untrained", centre=None, **columns):
    """Rows of one field with every status; ``columns`` replace values. About one in ten is flagged PARTIAL_COVERAGE."""
    rng = np.random.default_rng([seed, n_sources])
    ra0, dec0 = centre or CENTRES.get(field_name, (34.4, -5.2))
    x, y = rng.uniform(-0.5, 0.5, (2, n_sources))
    ra, dec = (ra0 + 0.2 * x / np.cos(np.radians(dec0))) % 360, dec0 + 0.3 * y
    values = {
        "field": field_name,
        "source_id": np.arange(1, n_sources + 1),
        "ra": ra,
        "dec": dec,
        "_healpix_29": healpix_29(ra, dec),
        "redshift": rng.uniform(0.5, 2.5, n_sources),
        "status": _status(np.maximum(abs(x), abs(y)) > 0.44, rng),
        "flags": np.where(rng.random(n_sources) < 0.1, Flag.PARTIAL_COVERAGE, 0),
        "x_pix": rng.uniform(70, MOSAIC_SIDE - 70, n_sources),
        "y_pix": rng.uniform(70, MOSAIC_SIDE - 70, n_sources),
        "valid_fraction": np.ones(n_sources),
        "unit_key": "0" * 64,
    } | columns
    unknown = np.isin(values["status"], ["no_redshift", "no_model"])
    values["instrument"] = np.where(unknown, None, np.where(values["redshift"] < 1.5, "F814W", "F125W_F160W").astype(object))
    values["redshift"] = np.where(np.asarray(values["status"]) == "no_redshift", np.nan, values["redshift"])
    return build_rows(values | _results(values, field_name, origin, rng), n_sources)


def _status(outside, rng):
    status = np.where(rng.random(len(outside)) < 0.2, "no_redshift", "ok").astype(object)
    status[outside] = "no_coverage"
    lost = np.flatnonzero(status == "ok")[5::10]
    status[lost] = np.resize(["bad_pixels", "off_mosaic", "failed", "no_model"], len(lost))
    return status


def _results(values, field_name, origin, rng, n_draws=200):
    n_sources = len(values["source_id"])
    ok = np.asarray(values["status"]) == "ok"
    means, widths = rng.beta(1.2, 2.2, n_sources).clip(0.01, 0.99), rng.uniform(8, 60, n_sources)
    p_pm = rng.beta(means * widths, (1 - means) * widths, (n_draws, n_sources)).T
    p_sf = rng.beta((1 - means) * widths, means * widths, (n_draws, n_sources)).T
    constants = {"model_id": f"merger/{field_name}/F814W@0123456789ab", "weights_origin": origin, "n_draws": n_draws}
    constants |= {"n_members": 1, "seed": 7}
    results = {name: np.full(n_sources, value) for name, value in constants.items()}
    results |= summarise(np.stack([p_pm, p_sf], axis=2).astype(np.float32)).columns()
    return {name: masked(column, ok) for name, column in results.items()}


def model_entry(field_name, instrument, origin="untrained"):
    return {
        "model_id": f"merger/{field_name}/{instrument}@0123456789ab",
        "key": f"merger/{field_name}/{instrument}",
        "origin": origin,
        "citation": "",
        "notes": "Fixed random weights.",
        "class_names": ["post_merger", "star_forming"],
        "pixel_scale_arcsec": PIXEL_SCALES[instrument],
        "stretch": "asinh_minmax",
        "softening": 0.001,
        "redshift_range": [0.5, 1.5],
        "band": instrument,
        "architecture": {"input_size": 128},
        "weights_digest": "0123456789ab" * 5 + "0123",
    }


def write_mosaic(path, centre, pixel_scale_arcsec):
    """A mosaic of noise and galaxies, with a strip at the left that holds no data."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:MOSAIC_SIDE, :MOSAIC_SIDE]
    pixels = rng.normal(0, 0.002, x.shape)
    for x0, y0, size, flux in rng.uniform((0, 0, 2, -2.0), (MOSAIC_SIDE, MOSAIC_SIDE, 8, -0.5), (60, 4)):
        pixels += 10**flux * np.exp(-np.hypot(x - x0, y - y0) / size)
    pixels[:, :20] = 0
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix = centre, [MOSAIC_SIDE / 2, MOSAIC_SIDE / 2]
    wcs.wcs.cd = np.diag([-pixel_scale_arcsec, pixel_scale_arcsec]) / 3600
    fits.PrimaryHDU(pixels.astype(np.float32), wcs.to_header()).writeto(path)
