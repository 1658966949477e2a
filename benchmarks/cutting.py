"""The rate at which one core makes cutouts from a mosaic in the page cache.

``python benchmarks/cutting.py`` writes a mosaic and its weight map to a temporary folder, reads it as one window, and cuts
batches around random positions. Two lines also read the window of a tile for each batch (a tile of CANDELS has about 320
sources). The last lines are of cutouts scattered over the mosaic: `surveyflow.cutouts` opens the file for each batch, and so do
slices and astropy's `Cutout2D` of a file that is mapped anew; "mapped before" means that every page was read in an earlier
round. Where cutana and astrocut are installed, they cut the first 256 of the same positions; astrocut opens the file for each.
Every figure is the best of several interleaved rounds, in CPU time of one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from surveyflow.api import cutouts
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.sky.measurements import sky_rms
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.sky.tiling import cut, cut_pixels, tile
from surveyflow.values.images import Box

Tasks = dict[str, Callable[[], object]]
MOST_FOR_OTHERS = 256


def write_mosaic(folder: Path, side: int) -> tuple[Path, Path]:
    """Write a square mosaic of noise at 30 mas, and a weight map without gaps."""
    rng = np.random.default_rng(1)
    step = 0.03 / 3600
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 1.0, "CRPIX2": 1.0}
    header = fits.Header({**cards, "CD1_1": -step, "CD2_2": step})
    images = {"science": rng.normal(size=(side, side)), "weight": rng.uniform(1, 2, (side, side))}
    for name, image in images.items():
        fits.writeto(folder / f"{name}.fits", image.astype(np.float32), header)
    return folder / "science.fits", folder / "weight.fits"


def measure(side: int, n_cutouts: int, size: int, rounds: int) -> dict[str, float]:
    """Cutouts per second of CPU time, by task."""
    with tempfile.TemporaryDirectory() as folder:
        science, weight = write_mosaic(Path(folder), side)
        with open_mosaic(science) as bare, open_mosaic(science, weight) as weighted:
            tasks = _tasks_in_memory(bare, weighted, n_cutouts, size) | _tasks_from_file(bare, weighted, n_cutouts, size)
            tasks |= _tasks_scattered(science, weight, bare, n_cutouts, size)
            rates = {name: n_cutouts / seconds for name, seconds in _best_seconds(tasks, rounds).items()}
        few = min(n_cutouts, MOST_FOR_OTHERS)
        others = _tasks_of_others(science, side, few, size)
        return rates | {name: few / seconds for name, seconds in _best_seconds(others, rounds).items()}


def _tasks_in_memory(bare: Mosaic, weighted: Mosaic, n_cutouts: int, size: int) -> Tasks:
    side = bare.shape[0]
    window, weighted_window = (mosaic.read(Box(0, side, 0, side)) for mosaic in (bare, weighted))
    x, y = np.random.default_rng(2).uniform(size, side - size, (2, n_cutouts))
    out = np.empty((n_cutouts, size, size), dtype=np.float32)
    stack = cut(window, x, y, size)
    places = list(zip(x, y, strict=True))
    return {
        "cut_pixels, into one buffer": lambda: cut_pixels(window, x, y, size, out=out),
        "cut_pixels": lambda: cut_pixels(window, x, y, size),
        "cut, without weights": lambda: cut(window, x, y, size),
        "cut, with weights": lambda: cut(weighted_window, x, y, size),
        "astropy Cutout2D": lambda: [Cutout2D(window.pixels, at, size, mode="partial", fill_value=0) for at in places],
        "prepare, asinh_minmax": lambda: prepare(stack.pixels, stack.valid, Stretch.ASINH_MINMAX, 1.0),
        "sky_rms": lambda: sky_rms(stack.pixels, stack.valid),
    }


def _tasks_from_file(bare: Mosaic, weighted: Mosaic, n_cutouts: int, size: int) -> Tasks:
    core_size = min(bare.shape[0], 4096)
    box = tile(bare.shape, core_size, size, 0, 0).window
    x, y = np.random.default_rng(3).uniform(0, core_size, (2, n_cutouts))
    return {
        "read a tile's window, cut": lambda: cut(bare.read(box), x, y, size),
        "the same, with weights": lambda: cut(weighted.read(box), x, y, size),
    }


def _tasks_scattered(science: Path, weight: Path, mosaic: Mosaic, n_cutouts: int, size: int) -> Tasks:
    x, y, ra_deg, dec_deg = _scattered(science, mosaic.shape[0], n_cutouts, size)
    corners = [(int(np.ceil(b - size / 2)), int(np.ceil(a - size / 2))) for a, b in zip(x, y, strict=True)]
    mapped = fits.getdata(science, memmap=True)

    def sliced(image: Any) -> list[Any]:
        return [image[row : row + size, column : column + size].copy() for row, column in corners]

    def mapped_anew(work: Callable[[Any], object]) -> None:
        with fits.open(science, memmap=True) as hdus:
            work(hdus[0].data)

    def by_astropy(image: Any) -> list[Any]:
        places = zip(x, y, strict=True)
        return [Cutout2D(image, at, size, mode="partial", fill_value=0, copy=True) for at in places]

    return {
        "scattered: cutouts": lambda: cutouts(science, ra_deg, dec_deg, size),
        "scattered: cutouts, with weights": lambda: cutouts(science, ra_deg, dec_deg, size, weight=weight),
        "scattered: slices, mapped anew": lambda: mapped_anew(sliced),
        "scattered: slices, mapped before": lambda: sliced(mapped),
        "scattered: Cutout2D, mapped anew": lambda: mapped_anew(by_astropy),
    }


def _scattered(science: Path, side: int, n_cutouts: int, size: int) -> tuple[Any, ...]:
    """Pixels along x and y, and degrees."""
    x, y = np.random.default_rng(4).uniform(size, side - size, (2, n_cutouts))
    return x, y, *WCS(fits.getheader(science)).all_pix2world(x, y, 0)


def _tasks_of_others(science: Path, side: int, n_cutouts: int, size: int) -> Tasks:
    """The tasks of those packages that are installed."""
    *_, ra_deg, dec_deg = _scattered(science, side, n_cutouts, size)
    places = SkyCoord(ra_deg, dec_deg, unit="deg")
    sources = pd.DataFrame({"SourceID": np.arange(n_cutouts).astype(str), "RA": ra_deg, "Dec": dec_deg, "diameter_pixel": size})
    sources["fits_file_paths"] = str([str(science)])

    def by_astrocut() -> object:
        fits_cut = import_module("astrocut").fits_cut
        return [fits_cut([str(science)], place, size, memory_only=True, single_outfile=False) for place in places]

    def by_cutana() -> object:
        cutana = import_module("cutana")
        config = cutana.get_default_config()
        config.selected_extensions = [{"name": "science", "ext": "PrimaryHDU"}]
        config.channel_weights = {"science": [1.0]}
        config.do_only_cutout_extraction, config.apply_flux_conversion, config.target_resolution = True, False, size
        return cutana.create_cutouts_direct(sources, config, max_workers=1)

    tasks: Tasks = {"scattered: cutana": by_cutana, "scattered: astrocut": by_astrocut}
    return {name: task for name, task in tasks.items() if find_spec(name.split()[-1])}


def _best_seconds(tasks: Tasks, rounds: int) -> dict[str, float]:
    best = dict.fromkeys(tasks, np.inf)
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=10_000, help="side of the mosaic, pixels")
    parser.add_argument("--cutouts", type=int, default=256, help="cutouts in a batch")
    parser.add_argument("--size", type=int, default=128, help="side of a cutout, pixels")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    for name, rate in measure(options.side, options.cutouts, options.size, options.rounds).items():
        print(f"{name:36s} {rate:10,.0f} /s")


if __name__ == "__main__":
    main()
