"""What a contamination model says of close blends: galaxies with one neighbour at a known distance and flux ratio.

    python benchmarks/blends.py MODEL [--real FOLDER] [--galaxies N] [--draws N] [--seed N]

MODEL is the folder of a model or jury of F814W or F160W. Each galaxy is simulated without neighbours, or is a real one of COSMOS
as GalSim distributes them (``--real``; F814W only), and gets another galaxy's light as its neighbour, in a direction drawn at
random. The neighbour is scaled to a share of the galaxy's flux. One line for each distance and share compares the coverage with
what the model states. The first line, of the same galaxies alone, says what it takes the galaxies' own structure for.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from astropy.io import fits
from scipy.ndimage import gaussian_filter, label
from scipy.ndimage import shift as moved

from surveyflow.models.engines.choice import load_model
from surveyflow.simulation.contamination import SKY_SIGMA, contamination
from surveyflow.simulation.headers import DEPTHS
from surveyflow.simulation.observe import F160W, F814W, Band, Depth, shot_noise, sky_noise
from surveyflow.simulation.recipes import Galaxies as Recipes
from surveyflow.simulation.scenes import stamp
from surveyflow.sky.measurements import sky_rms
from surveyflow.sky.stretch import prepare
from surveyflow.tasks.card import Model
from surveyflow.tasks.contamination.parts import OUTPUTS, summarise
from surveyflow.tasks.task import Draws
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

SIZE = 128
DISTANCES_PIX = (4, 6, 10, 15, 25)
SHARES = (0.1, 0.3, 1.0)
NOISE_FACTOR = 3.2
"""Noise of the real stamps in units of that for which the packaged models are made."""
REAL_LIMIT_AB = 24.3


@dataclass(frozen=True, slots=True)
class Galaxies:
    """Galaxies without neighbours.

    Parameters
    ----------
    light
        (n, 128, 128) float32, e-/s: the galaxies alone. Real ones keep their pixels above twice the noise's rms only.
    sky
        (n, 128, 128) float32: what a stamp has beside this light: its noise, and the faint wings of a real galaxy.
    depth
        Depth of the noise.
    """

    light: Float32Array
    sky: Float32Array
    depth: Depth


def simulated(band: Band, depth: Depth, n: int, seed: int) -> Galaxies:
    """Galaxies as the packaged models are trained on, half of them post-mergers."""
    drawn = [stamp(seed, index, band, depth, recipe=Recipes.MATCHED.recipe, neighbours=False) for index in range(n)]
    light = np.stack([each.galaxy for each in drawn])
    return Galaxies(light, np.stack([each.pixels for each in drawn]) - light, depth)


def real(folder: Path, depth: Depth, rng: np.random.Generator) -> Galaxies:
    """The galaxies of COSMOS brighter than 24.3, about their barycentres, at 1 / 3.2 of their flux, with noise around them."""
    listed = fits.getdata(folder / "real_galaxy_catalog_26_extension_example.fits", 1)
    stamps, light = [], []
    with fits.open(folder / "real_galaxy_images_extension.fits") as images:
        for row in listed[listed["MAG"] < REAL_LIMIT_AB]:
            rms = float(np.sqrt(row["NOISE_VARIANCE"]))
            image = images[int(row["GAL_HDU"])].data.astype(np.float32)[:SIZE, :SIZE]
            canvas = sky_noise(rng, (SIZE, SIZE), rms)
            top, left = ((SIZE - length) // 2 for length in image.shape)
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
            bright = np.where(_main_part(canvas, 2 * rms), canvas, 0)
            step = np.round((SIZE - 1) / 2 - _barycentre(bright)).astype(int)
            stamps.append(np.roll(canvas, step, axis=(0, 1)) / np.float32(NOISE_FACTOR))
            light.append(np.roll(bright, step, axis=(0, 1)) / np.float32(NOISE_FACTOR))
    return Galaxies(np.stack(light), np.stack(stamps) - np.stack(light), depth)


def _main_part(image: Float32Array, threshold: float) -> BoolArray:
    """The connected pixels of the smoothed image above a threshold that are nearest to the middle."""
    parts, _ = label(gaussian_filter(image, 1.0) > threshold)
    y, x = np.nonzero(parts)
    nearest = np.hypot(y - SIZE / 2, x - SIZE / 2).argmin()
    return np.asarray(parts == parts[y[nearest], x[nearest]])


def blended(galaxies: Galaxies, distance_pix: float, share: float, rng: np.random.Generator) -> tuple[Float32Array, Float64Array]:
    """Stamps of the galaxies, each with the light of another as its neighbour, and their true coverage in percent."""
    pixels, coverage = [], []
    others = np.roll(np.arange(len(galaxies.light)), 1)
    for light, sky, other in zip(galaxies.light, galaxies.sky, galaxies.light[others], strict=True):
        angle = rng.uniform(0, 2 * np.pi)
        step = np.round(_barycentre(light) - _barycentre(other) + distance_pix * np.array([np.sin(angle), np.cos(angle)]))
        neighbour = np.float32(share * light.sum() / other.sum()) * moved(other, step, order=0)
        pixels.append(light + sky + neighbour + shot_noise(rng, neighbour, galaxies.depth.exposure_s))
        coverage.append(contamination(light, neighbour, galaxies.depth.sky_rms)[SKY_SIGMA].coverage_pct)
    return np.stack(pixels).astype(np.float32), np.array(coverage)


def _barycentre(light: Float32Array) -> Float64Array:
    return np.array([float((light * places).sum() / light.sum()) for places in np.mgrid[:SIZE, :SIZE]])


def stated(model: Model, pixels: Float32Array, n_draws: int) -> tuple[float, float]:
    """Mean of the probability of a neighbour on the galaxy, and of the coverage in percent, that a model states."""
    valid = np.isfinite(pixels) & (pixels != 0)
    card, keys = model.card, np.arange(len(pixels), dtype=np.uint64)
    features = model.features(prepare(pixels, valid, card.stretch, card.softening))
    outputs = model.draw(features, keys, n_draws, 1)[..., [card.class_names.index(name) for name in OUTPUTS]]
    said = summarise(Draws(outputs, keys, 1, card, sky_rms(pixels, valid)))
    return float(said["p_contaminated_mean"].mean()), float(said["coverage_pct_mean"].mean())


def lines(model: Model, galaxies: Galaxies, arguments: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """The table's lines: distance, share, true coverage, and what is stated."""
    alone, coverage = stated(model, galaxies.light + galaxies.sky, arguments.draws)
    yield "none", "0", "0", f"{alone:.2f}", f"{coverage:.0f}"
    for distance in DISTANCES_PIX:
        for share in SHARES:
            pixels, true = blended(galaxies, distance, share, np.random.default_rng(arguments.seed))
            probability, coverage = stated(model, pixels, arguments.draws)
            yield str(distance), str(share), f"{np.nanmean(true):.0f}", f"{probability:.2f}", f"{coverage:.0f}"


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--galaxies", type=int, default=300)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args(words)
    model = load_model(arguments.model)
    instrument = model.card.key.instrument
    depth = DEPTHS["COSMOS"][instrument]
    if arguments.real is not None and instrument != "F814W":
        parser.error(f"--real: the real galaxies are images of F814W, but {arguments.model} is a model of {instrument}")
    galaxies = simulated(F814W if instrument == "F814W" else F160W, depth, arguments.galaxies, arguments.seed)
    if arguments.real is not None:
        galaxies = real(arguments.real, depth, np.random.default_rng(arguments.seed))
    print("| distance, pixels | flux ratio | true coverage, % | p_contaminated_mean | coverage_pct_mean, % |\n|" + "---|" * 5)
    for line in lines(model, galaxies, arguments):
        print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
