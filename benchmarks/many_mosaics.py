"""The time that it takes to plan a survey of many overlapping mosaics, and how often each file is opened for that.

A grid of small tiles with weight maps is written, each rotated by its own angle, with 25 sources a tile on average. The plan
is made twice in this process: for the first, every window is read for its digest; for the second, digests are known. CPU seconds
depend little on other load of the machine. ``python benchmarks/many_mosaics.py`` takes about a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

import surveyflow
from surveyflow.models.store import ModelStore, write_untrained
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelKey

SCALE_ARCSEC = 0.06
SIDE = 320
STEP = 240
"""Pixels from one tile to the next, of which 80 are covered twice."""
RA_DEG, DEC_DEG = 150.0, 2.0
opened: Counter[str] = Counter()


def count_opened(event: str, arguments: tuple) -> None:
    """Count the FITS files that this process opens for reading."""
    if event == "open" and str(arguments[0]).endswith(".fits") and "r" in str(arguments[1] or "r"):
        opened[str(arguments[0])] += 1


def write_tiles(folder: Path, per_side: int) -> None:
    """Write the science images and weight maps of a grid of tiles."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(0, 1e-3, (SIDE, SIDE)).astype(np.float32)
    for number in range(per_side**2):
        row, column = divmod(number, per_side)
        header = _header(row, column, angle_deg=float(rng.uniform(-5, 5)))
        fits.PrimaryHDU(pixels, header).writeto(folder / f"tile{number:05d}_sci.fits")
        fits.PrimaryHDU(np.full_like(pixels, 1e6), header).writeto(folder / f"tile{number:05d}_wht.fits")


def _header(row: int, column: int, angle_deg: float) -> fits.Header:
    step, angle = SCALE_ARCSEC / 3600, np.radians(angle_deg)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "BUNIT": "ELECTRONS/S", "FILTER": "F160W"})
    header.update(
        {"CRPIX1": SIDE / 2, "CRPIX2": SIDE / 2, "CRVAL1": RA_DEG + column * STEP * step, "CRVAL2": DEC_DEG + row * STEP * step}
    )
    matrix = {"CD1_1": -np.cos(angle), "CD1_2": np.sin(angle), "CD2_1": np.sin(angle), "CD2_2": np.cos(angle)}
    header.update({name: step * value for name, value in matrix.items()})
    return header


def write_survey(folder: Path, per_side: int) -> Path:
    """Write tiles, a source list, an untrained model and a workflow; return the workflow."""
    write_tiles(folder, per_side)
    rng, side_deg = np.random.default_rng(1), per_side * STEP * SCALE_ARCSEC / 3600
    n_sources = 25 * per_side**2
    table = {"id": np.arange(n_sources), "ra": RA_DEG + rng.uniform(0, side_deg, n_sources)}
    table |= {"dec": DEC_DEG + rng.uniform(0, side_deg, n_sources), "z": rng.uniform(1.5, 3.0, n_sources)}
    Table(table).write(folder / "sources.csv")
    write_untrained(
        ModelStore(folder / "models"),
        ModelKey("merger", "DEEP", "F160W"),
        architecture=Architecture(filters=(2,), kernel_sizes=(3,), dense=(2,)),
        pixel_scale_arcsec=SCALE_ARCSEC,
        band="F160W",
        redshift_range=(1.5, 3.0),
        stretch=Stretch.ASINH_MINMAX,
        softening=1e-3,
        domain=Domain("electron/s", (1e-5, 1.0)),
        seed=0,
    )
    workflow = folder / "workflow.toml"
    workflow.write_text("""version = 1
survey = { name = "tiles", release = "v1" }
output.root = "catalog"
models.store = "models"
sampling.seed = 1
routing.F160W = [1.5, 3.0]
[fields.DEEP.sources]
path = "sources.csv"
columns = { id = "id", ra = "ra", dec = "dec", redshift = "z" }
[fields.DEEP.F160W]
science = "tile*_sci.fits"
weight = "tile*_wht.fits"
""")
    (folder / "catalog").mkdir()
    return workflow


def measure(per_side: int) -> dict[str, float]:
    """Plan a survey twice; return CPU seconds, and how often the files were opened."""
    sys.addaudithook(count_opened)
    with tempfile.TemporaryDirectory() as name:
        workflow = write_survey(Path(name), per_side)
        found = {}
        for which in ("first", "second"):
            opened.clear()
            start, wall = time.process_time(), time.monotonic()
            planned = surveyflow.plan(workflow, profile="serial")
            found[f"{which} plan, CPU seconds"] = time.process_time() - start
            found[f"{which} plan, wall seconds"] = time.monotonic() - wall
            found[f"{which} plan, most often opened"] = max(count for path, count in opened.items() if "tile" in path)
        (expected,) = planned.expected
        return found | {"tiles": expected.mosaics, "sources on them": expected.on_mosaic, "units": len(planned.units)}


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-side", type=int, default=20, help="tiles along each side of the grid")
    for what, value in measure(parser.parse_args().per_side).items():
        print(f"{what:36} {value:10.2f}")


if __name__ == "__main__":
    main()
