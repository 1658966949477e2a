"""The stamps that the flags of a merger model see, and those that they do not.

    python benchmarks/domain.py MODEL RECORDS [--clean RECORDS] [--other RECORDS] [--real FOLDER] [--stamps N] [--seed N]

MODEL is a model's folder, RECORDS the folder of held-out simulated stamps of its instrument, ``--clean`` one of stamps without
neighbours, and ``--other`` one of another instrument. ``--real`` names a folder with 100 real galaxies of COSMOS as GalSim
distributes them (``real_galaxy_images_extension.fits``, ``real_galaxy_catalog_26_extension_example.fits``). The stamps are
changed in many ways. One line of a table for each says what percentage of them is flagged, by any and by each flag, and what
percentage is called post-merger: of all, of those without such a flag, and of those about which a jury's members agree, too.
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
from scipy.ndimage import gaussian_filter, maximum_filter, zoom

from surveyflow.models.engines.choice import load_model
from surveyflow.models.framing import feature_distances
from surveyflow.simulation.observe import F160W, F814W, Band, psf, shot_noise, sky_noise
from surveyflow.sky.measurements import sky_rms
from surveyflow.sky.stretch import prepare
from surveyflow.sky.tiling import corner
from surveyflow.stats.posterior import PosteriorSummary, summarise
from surveyflow.tasks.card import Model
from surveyflow.tasks.domains import distance_outside, facts_outside, measured_facts
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.training.records.reading import read_stamps
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING, Flag

SIZE = 128
FLAGS = (Flag.NOISE_DOMAIN, Flag.SKY_DOMAIN, Flag.OFF_CENTRE, Flag.SNR_DOMAIN, Flag.EDGE_DOMAIN, Flag.FEATURE_DOMAIN)
HEADER = (
    "stamps",
    "n",
    "any flag",
    *(flag.name for flag in FLAGS),
    "called post-merger",
    "of those without a flag",
    Flag.MEMBERS_DISAGREE.name,
    "of those without any of all flags",
)
REAL_LIMIT_AB = 24.3
NOISE_FACTOR = 3.2
"""Noise of the real stamps in units of that for which the packaged models are made."""
EXPOSURE_S = 6000.0


@dataclass(frozen=True, slots=True)
class Case:
    """Stamps of one kind.

    Parameters
    ----------
    name
        What they are.
    pixels
        (n, 128, 128) float32; 0 where there is no data.
    position_yx
        (n, 2) float64: exact positions of the sources; the middle of the stamps if left out.
    """

    name: str
    pixels: Float32Array
    position_yx: Float64Array | None = None


def measured(case: Case, model: Model, n_draws: int) -> tuple[str, ...]:
    """One line of the table."""
    pixels, valid = case.pixels, np.isfinite(case.pixels) & (case.pixels != 0)
    middle = np.full((len(pixels), 2), (SIZE - 1) / 2)
    position = middle if case.position_yx is None else case.position_yx
    said, prepared, features = classified(pixels, model, n_draws)
    called, disputed = said.p_pm_mean > said.p_sf_mean, said.member_agreement < 1
    outside = dict(facts_outside(measured_facts(pixels, valid, position, model.card.pixel_scale_arcsec), model.card))
    distances = feature_distances(model, prepared, features)
    outside[Flag.FEATURE_DOMAIN] = distance_outside(distances, len(pixels), model.card)
    flagged = np.any([outside[flag] for flag in FLAGS], axis=0)
    shares = _percent(
        flagged, *(outside[flag] for flag in FLAGS), called, called[~flagged], disputed, called[~flagged & ~disputed]
    )
    return case.name, str(len(pixels)), *shares


def _percent(*rows: BoolArray) -> Iterator[str]:
    yield from (f"{100 * chosen.mean():.1f}" if len(chosen) else "none left" for chosen in rows)


def classified(pixels: Float32Array, model: Model, n_draws: int) -> tuple[PosteriorSummary, Float32Array, Float32Array]:
    """What the model says of the stamps; the prepared stamps, and their features."""
    valid = np.isfinite(pixels) & (pixels != 0)
    prepared = prepare(pixels, valid, model.card.stretch, model.card.softening)
    features = model.features(prepared)
    draws = model.draw(features, np.arange(len(pixels), dtype=np.uint64), n_draws, 1)
    outputs = [model.card.class_names.index(name) for name in (POST_MERGER, STAR_FORMING)]
    return summarise(draws[..., outputs], model.card.n_members), prepared, features


def simulated(stamps: LabelledStamps, band: Band, rng: np.random.Generator) -> Iterator[Case]:
    """Held-out stamps, unchanged and changed."""
    pixels, rms = stamps.pixels, stamps.sky_rms.astype(np.float32)[:, None, None]
    yield Case("held-out simulations", pixels)
    yield Case("of these, discs", pixels[~stamps.is_post_merger])
    yield Case("of these, post-mergers", pixels[stamps.is_post_merger])
    for height in (-1, 1, 2, 3, 5, 6, 10):
        yield Case(f"pedestal of {height:+} sigma", pixels + height * rms)
    for factor in (0.1, 0.3, 3, 10):
        yield Case(f"multiplied by {factor}", pixels * np.float32(factor))
    for distance in (1, 2, 3):
        yield Case(f"discs shifted by {distance} pixels", shifted(pixels[~stamps.is_post_merger], distance, rng))
    yield Case("positions 40 pixels beside the galaxy", np.roll(pixels, 40, axis=2))
    bright = pixels[stamps.magnitude_ab < 23]
    level = np.quantile(bright[:, 54:74, 54:74].reshape(len(bright), -1), 0.95, axis=1)[:, None, None]
    yield Case("galaxies clipped at their brightest 20 pixels", np.minimum(bright, level))
    hole = bright.copy()
    hole[:, 62:66, 62:66] = 0
    yield Case("galaxies without data in the core", hole)
    depth = float(np.median(stamps.sky_rms))
    yield Case("pixels of half the size, interpolated", zoom(pixels[:300, 32:96, 32:96], (1, 2, 2), order=1))
    noise = np.stack([sky_noise(rng, (SIZE, SIZE), depth) for _ in range(300)])
    yield Case("empty sky", noise)
    for name, magnitudes, clip in (("stars of 18 to 21 mag", (18, 21), 1.0), ("stars of 21 to 24 mag", (21, 24), 1.0)):
        yield Case(name, noise + stars(rng, band, magnitudes, clip))
    yield Case("stars of 16 to 19 mag, clipped at a tenth of the peak", noise + stars(rng, band, (16, 19), 0.1))


def shifted(pixels: Float32Array, distance_pix: int, rng: np.random.Generator) -> Float32Array:
    """Stamps moved along an axis, in a direction drawn for each."""
    steps = distance_pix * np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])[rng.integers(0, 4, len(pixels))]
    return np.stack([np.roll(image, step, axis=(0, 1)) for image, step in zip(pixels, steps, strict=True)])


def stars(rng: np.random.Generator, band: Band, magnitudes: tuple[float, float], clip: float) -> Float32Array:
    """(300, 128, 128) stars in the middle, without sky, cut off at a share of their peak."""
    images = np.stack([psf(band)[:SIZE, :SIZE] * band.flux(rng.uniform(*magnitudes)) for _ in range(300)])
    images = np.stack([image + shot_noise(rng, image, EXPOSURE_S) for image in images])
    return np.asarray(np.minimum(images, clip * images.max(axis=(1, 2), keepdims=True)), np.float32)


def scaled(pixels: Float32Array, depth: float) -> Float32Array:
    """Stamps multiplied so that each has the noise of the model's field."""
    return np.asarray(pixels * (depth / sky_rms(pixels, pixels != 0))[:, None, None], np.float32)


def real_galaxies(folder: Path, centre: str, rng: np.random.Generator) -> Iterator[Case]:
    """The galaxies of the COSMOS sample brighter than 24.3, at 1 / 3.2 of their flux, on their own noise beyond their stamps."""
    listed = fits.getdata(folder / "real_galaxy_catalog_26_extension_example.fits", 1)
    found, positions = [], []
    with fits.open(folder / "real_galaxy_images_extension.fits") as images:
        for row in listed[listed["MAG"] < REAL_LIMIT_AB]:
            rms = float(np.sqrt(row["NOISE_VARIANCE"]))
            canvas = sky_noise(rng, (4 * SIZE, 4 * SIZE), rms)
            image = images[int(row["GAL_HDU"])].data.astype(np.float32)
            canvas[SIZE : SIZE + image.shape[0], SIZE : SIZE + image.shape[1]] = image
            position = SIZE + _centre(image, rms, centre)
            top, left = corner(position, SIZE)
            found.append(canvas[top : top + SIZE, left : left + SIZE] / np.float32(NOISE_FACTOR))
            positions.append(position - [top, left])
    pixels, places, magnitude = np.stack(found), np.array(positions), listed["MAG"][listed["MAG"] < REAL_LIMIT_AB]
    yield Case(f"real galaxies, about the {centre}", pixels, places)
    yield Case(f"real galaxies brighter than 23.2, about the {centre}", pixels[magnitude < 23.2], places[magnitude < 23.2])


def between_centres(folder: Path, model: Model, arguments: argparse.Namespace) -> str:
    """How many real galaxies change class with the centre of their stamps, on the same noise beyond them."""
    cases = [next(real_galaxies(folder, each, np.random.default_rng(arguments.seed))) for each in ("barycentre", "peak")]
    said = [classified(case.pixels, model, arguments.draws)[0] for case in cases]
    one, other = (each.p_pm_mean > each.p_sf_mean for each in said)
    return f"{np.count_nonzero(one != other)} of {len(one)} real galaxies change class between barycentre and peak."


def _centre(image: Float32Array, rms: float, centre: str) -> Float64Array:
    """Row and column of the peak, or of the barycentre of the pixels above 1.5 times the noise, near the image's middle."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    middle = (np.array(image.shape) - 1) / 2
    smooth = np.where(np.hypot(y - middle[0], x - middle[1]) < 0.35 * min(image.shape), gaussian_filter(image, 1.0), -np.inf)
    if centre == "peak":
        return np.array(np.unravel_index(smooth.argmax(), image.shape), float)
    light = np.where(smooth > 1.5 * rms, image, 0)
    return np.array([(light * y).sum(), (light * x).sum()]) / light.sum()


def real_mosaics(folder: Path, depth: float) -> Iterator[Case]:
    """Sources on the mosaic images in the folder, multiplied so that each cutout has the noise of the model's field."""
    for path in sorted(folder.glob("cosmos_acs_f814w_[ab].fits")):
        image = fits.getdata(path).astype(np.float32)
        smooth = gaussian_filter(image, 1.5)
        rms = float(sky_rms(image[None], np.ones((1, *image.shape), bool))[0])
        half = SIZE // 2
        peaks = np.argwhere((smooth == maximum_filter(smooth, 15)) & (smooth > 2 * rms))
        peaks = peaks[((peaks >= half) & (peaks < np.array(image.shape) - half)).all(axis=1)]
        cut = np.stack([image[y - half : y + half, x - half : x + half] for y, x in peaks])
        yield Case(f"sources of {path.name}, with this noise", scaled(cut, depth), np.full((len(cut), 2), float(half)))


def cases(arguments: argparse.Namespace, stamps: LabelledStamps) -> Iterator[Case]:
    """All that is asked for."""
    rng, depth = np.random.default_rng(arguments.seed), float(np.median(stamps.sky_rms))
    yield from simulated(stamps, F814W if stamps.instrument == "F814W" else F160W, rng)
    if arguments.clean is not None:
        clean = read_stamps(arguments.clean, "sky_sigma", arguments.stamps).pixels
        yield Case("simulations without neighbours", clean)
        sharp = np.where(clean > 5 * depth, clean, rng.normal(0, depth, clean.shape).astype(np.float32))
        yield Case("simulations cut off at 5 sigma, on uncorrelated noise", sharp)
    if arguments.other is not None:
        other = read_stamps(arguments.other, "sky_sigma", arguments.stamps).pixels
        yield Case("simulations of the other instrument, with this noise", scaled(other, depth))
    if arguments.real is not None:
        for centre in ("barycentre", "peak"):
            yield from real_galaxies(arguments.real, centre, rng)
        yield from real_mosaics(arguments.real, depth)


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("records", type=Path)
    for name in ("--clean", "--other", "--real"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--stamps", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args(words)
    model, stamps = load_model(arguments.model), read_stamps(arguments.records, "sky_sigma", arguments.stamps)
    print(f"| {' | '.join(map(str, HEADER))} |\n|{'---|' * len(HEADER)}")
    for case in cases(arguments, stamps):
        print(f"| {' | '.join(measured(case, model, arguments.draws))} |", flush=True)
    if arguments.real:
        print(f"\n{between_centres(arguments.real, model, arguments)}")


if __name__ == "__main__":
    main()
