"""Real galaxies beside simulated ones: concentration, asymmetry, Gini, M20, half-light radius, clumpiness, and their distances.

    pip install statmorph matplotlib
    python benchmarks/real_galaxies.py FOLDER [--n N] [--figure PATH]

FOLDER holds GalSim's example of real galaxies (``real_galaxy_catalog_26_extension_example.fits`` and
``real_galaxy_images_extension.fits``: COSMOS, F814W). Each simulated galaxy has the magnitude of a real one, the sky rms of its
image, and an image of the same size, so that noise and cut-off wings act on both alike. statmorph measures all of them.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, label
from scipy.stats import ks_2samp

from surveyflow.simulation.observe import F814W, Depth
from surveyflow.simulation.recipes import Galaxies
from surveyflow.simulation.scenes import stamp
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

FAINTEST = 24.3
STATISTICS = {
    "concentration": "concentration",
    "asymmetry": "asymmetry",
    "gini": "gini",
    "m20": "m20",
    "r50 (pixels)": "rhalf_circ",
    "clumpiness": "smoothness",
}
_EXPOSURE_S = 2000.0


def real_galaxies(folder: Path) -> list[tuple[float, Any]]:
    """Magnitude and image, in e-/s, of each real galaxy that is bright enough."""
    from astropy.io import fits

    table = fits.getdata(folder / "real_galaxy_catalog_26_extension_example.fits")
    with fits.open(folder / "real_galaxy_images_extension.fits") as images:
        bright = table[table["MAG"] < FAINTEST]
        return [(float(row["MAG"]), np.asarray(images[int(row["GAL_HDU"])].data, np.float64)) for row in bright]


def sky_rms(image: Any) -> float:
    """Standard deviation of an image's edges, clipped."""
    edge = np.concatenate([image[:3].ravel(), image[-3:].ravel(), image[:, :3].ravel(), image[:, -3:].ravel()])
    return float(1.4826 * np.median(np.abs(edge - np.median(edge))))


def simulated(galaxies: Galaxies, kind: str, seed: int, magnitude: float, rms: float, shape: tuple[int, ...]) -> Any:
    """A galaxy of this kind and magnitude, cut out to the shape of a real image."""
    for index in range(1000):
        each = stamp(
            seed,
            index,
            F814W,
            Depth(rms, _EXPOSURE_S),
            recipe=galaxies.recipe,
            neighbours=False,
            magnitudes=(magnitude - 0.01, magnitude + 0.01),
        )
        if each.kind == kind:
            return each.pixels[tuple(slice(64 - length // 2, 64 - length // 2 + length) for length in shape)].astype(np.float64)
    raise AssertionError("half of all stamps are of each kind")


def measured(image: Any, rms: float) -> list[float] | None:
    """The statistics of an image; None where statmorph gives up."""
    import statmorph

    smooth = gaussian_filter(image, 1.5)
    parts, n_parts = label(smooth > 1.0 * rms)
    middle = tuple(length // 2 for length in image.shape)
    near = parts[middle[0] - 4 : middle[0] + 5, middle[1] - 4 : middle[1] + 5]
    if not n_parts or not near.any():
        return None
    segment = (parts == np.bincount(near[near > 0]).argmax()).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = statmorph.source_morphology(image, segment, weightmap=np.full(image.shape, rms))[0]
        except (ValueError, ArithmeticError, IndexError, AssertionError):
            return None
    values = [float(getattr(found, attribute)) for attribute in STATISTICS.values()]
    return values if found.flag <= 2 and all(np.isfinite(values)) and min(values[2:3] + values[4:5]) > 0 else None


def table_of(folder: Path, n: int) -> dict[str, Any]:
    """Statistics, (galaxies, statistics), of real galaxies and of simulated ones of every recipe and kind."""
    real = real_galaxies(folder)
    rows: dict[str, list[list[float]]] = {"real": [found for _, image in real if (found := measured(image, sky_rms(image)))]}
    for galaxies in Galaxies:
        for kind in (STAR_FORMING, POST_MERGER):
            name = f"{galaxies} {kind}"
            rows[name] = []
            for number in range(n):
                magnitude, image = real[number % len(real)]
                rms = sky_rms(image)
                found = measured(simulated(galaxies, kind, 100_000 + number, magnitude, rms, image.shape), rms)
                rows[name] += [found] if found else []
    return {name: np.array(values) for name, values in rows.items()}


def print_table(found: dict[str, Any]) -> None:
    """Print medians, and the Kolmogorov-Smirnov distances with their probabilities by chance."""
    print("| statistic | real | " + " | ".join(list(found)[1:]) + " |")
    print("|---|" + "---|" * len(found))
    print("| galaxies | " + " | ".join(str(len(values)) for values in found.values()) + " |")
    for at, statistic in enumerate(STATISTICS):
        cells = [f"{np.median(found['real'][:, at]):.2f}"]
        for values in list(found.values())[1:]:
            distance = ks_2samp(found["real"][:, at], values[:, at])
            cells.append(f"{np.median(values[:, at]):.2f} ({distance.statistic:.2f}, {distance.pvalue:.2g})")
        print(f"| {statistic} | " + " | ".join(cells) + " |")


def draw_figure(found: dict[str, Any], path: Path) -> None:
    """Draw the cumulative distributions of the real and of the matched galaxies."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "surveyflow"
    from matplotlib import pyplot as plt

    styles = {
        "real": "k-",
        f"matched {STAR_FORMING}": "C0-",
        f"matched {POST_MERGER}": "C3-",
        f"contrasted {STAR_FORMING}": "C0:",
    }
    styles[f"contrasted {POST_MERGER}"] = "C3:"
    figure, axes = plt.subplots(2, 3, figsize=(9, 5))
    for at, (statistic, axis) in enumerate(zip(STATISTICS, axes.flat, strict=True)):
        for name, style in styles.items():
            values = np.sort(found[name][:, at])
            axis.step(values, np.arange(1, len(values) + 1) / len(values), style, lw=1, label=name.replace("_", " "))
        axis.set_xlim(*np.percentile(np.concatenate([found[name][:, at] for name in styles]), [1, 99]))
        axis.set_xlabel(statistic)
    axes[0, 0].legend(fontsize=6, frameon=False)
    axes[0, 0].set_ylabel("share of the galaxies below")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=160, help="simulated galaxies of each recipe and kind")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args(arguments)
    found = table_of(options.folder, options.n)
    print_table(found)
    if options.figure:
        draw_figure(found, options.figure)


if __name__ == "__main__":
    main()
