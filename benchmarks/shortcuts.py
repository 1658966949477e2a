"""What single statistics of noiseless galaxies tell about their kind: a network could use each of them as a shortcut.

    python benchmarks/shortcuts.py [--galaxies NAME] [--instrument NAME] [--n N] [--seed N]

Stamps without neighbours are measured without noise, after the PSF. For each statistic, the cross-validated accuracy of a tree of
four leaves is printed, and that of boosted trees on a few of them together. Chance is 50 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, uniform_filter

from surveyflow.simulation.headers import DEPTHS, INSTRUMENTS
from surveyflow.simulation.nuisances import Nuisances
from surveyflow.simulation.recipes import Galaxies
from surveyflow.simulation.scenes import stamp
from surveyflow.values.codes import POST_MERGER

TOGETHER = ("flux", "r50", "axis_ratio", "centroid_from_middle")


def statistics(image: Any) -> dict[str, float]:
    """The statistics of one image of a galaxy without noise, (side, side); lengths in pixels."""
    image = np.maximum(np.asarray(image, np.float64), 0)
    side, total = len(image), image.sum()
    rows, columns = np.indices(image.shape)
    centre = np.array([(image * rows).sum(), (image * columns).sum()]) / total
    smooth = gaussian_filter(image, 1.0)
    peak = np.array(np.unravel_index(smooth.argmax(), image.shape))
    distance = np.hypot(rows - centre[0], columns - centre[1])
    r20, r50, r80, r90 = _radii(image, distance, (0.2, 0.5, 0.8, 0.9))
    turn = _turning_point(image, peak)
    differences = _half_turn_differences(image, turn)
    from_turn = np.hypot(rows - turn[0] / 2, columns - turn[1] / 2)
    inner, outer = from_turn < r50, (from_turn >= r50) & (from_turn < 3 * r50)
    source = smooth > np.median(smooth[np.abs(distance - 2 * r50) < 1])
    edges = image[[0, 1, -2, -1]].sum() + image[:, [0, 1, -2, -1]].sum()
    return {
        "flux": total,
        "r50": r50,
        "r90 / r50": r90 / r50,
        "concentration": 5 * np.log10(r80 / r20),
        "axis_ratio": _axis_ratio(image * (distance < 2.5 * r50), rows - centre[0], columns - centre[1]),
        "asymmetry, middle": _asymmetry(image, np.array([side, side])),
        "asymmetry, centroid": _asymmetry(image, np.round(2 * centre).astype(int)),
        "asymmetry, peak": _asymmetry(image, 2 * peak),
        "asymmetry, smallest": differences.sum() / (2 * total),
        "asymmetry inside r50": differences[inner].sum() / (2 * image[inner].sum()),
        "asymmetry outside r50": differences[outer].sum() / (2 * image[outer].sum()),
        "gini": _gini(image[source]),
        "m20": _m20(image * source, distance),
        "clumpiness": _clumpiness(image, source & (distance > 0.25 * r50), r80),
        "peaks": float(((maximum_filter(smooth, 3) == smooth) & source).sum()),
        "centroid_from_peak": np.hypot(*(centre - peak)) / r50,
        "centroid_from_turn": np.hypot(*(centre - turn / 2)) / r50,
        "centroid_from_middle": np.hypot(*(centre - side / 2 + 0.5)),
        "edges": edges,
        "edges / flux": edges / total,
        "brightest / flux": smooth.max() / total,
        "brightest x r50^2 / flux": smooth.max() * r50**2 / total,
    }


def accuracies(measured: Sequence[dict[str, float]], is_merger: Any) -> dict[str, float]:
    """Cross-validated accuracy of a small tree for each statistic, and of boosted trees on some of them and on all."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    names = list(measured[0])
    table = np.array([[each[name] for name in names] for each in measured])
    small = DecisionTreeClassifier(max_leaf_nodes=4, min_samples_leaf=max(10, len(table) // 40), random_state=1)
    found = {name: cross_val_score(small, table[:, [at]], is_merger, cv=10).mean() for at, name in enumerate(names)}
    boosted = HistGradientBoostingClassifier(max_iter=60, max_depth=4, random_state=1)
    some = [names.index(name) for name in TOGETHER]
    found[" + ".join(TOGETHER)] = cross_val_score(boosted, table[:, some], is_merger, cv=10).mean()
    found["all of these"] = cross_val_score(boosted, table, is_merger, cv=10).mean()
    return {name: float(value) for name, value in found.items()}


def measure(galaxies: Galaxies, instrument: str, n: int, seed: int) -> tuple[list[dict[str, float]], Any]:
    """Statistics of n noiseless stamps, and whether each is a post-merger."""
    band, depth = INSTRUMENTS[instrument], DEPTHS["COSMOS"][instrument]
    nuisances = Nuisances(position_sigma_arcsec=0.1)
    stamps = (
        stamp(seed, index, band, depth, recipe=galaxies.recipe, neighbours=False, nuisances=nuisances) for index in range(n)
    )
    rows = [(statistics(each.galaxy), each.kind == POST_MERGER) for each in stamps]
    return [row for row, _ in rows], np.array([merger for _, merger in rows])


def _radii(image: Any, distance: Any, shares: Sequence[float]) -> Any:
    order = np.argsort(distance, axis=None)
    inside = np.cumsum(image.ravel()[order]) / image.sum()
    return np.interp(shares, inside, distance.ravel()[order])


def _half_turn_differences(image: Any, twice_centre: Any) -> Any:
    """Absolute differences between an image and itself, turned by half about a centre on the grid of half pixels."""
    turned = np.zeros_like(image)
    spans = [slice(max(0, int(c) - len(image) + 1), min(len(image), int(c) + 1)) for c in twice_centre]
    turned[tuple(spans)] = image[tuple(spans)][::-1, ::-1]
    return np.abs(image - turned)


def _asymmetry(image: Any, twice_centre: Any) -> float:
    return float(_half_turn_differences(image, twice_centre).sum() / (2 * image.sum()))


def _turning_point(image: Any, peak: Any) -> Any:
    """Twice the centre of the smallest asymmetry, found by steps of half a pixel from the peak."""
    best = 2 * peak
    least = _asymmetry(image, best)
    while True:
        around = [best + np.array(step) for step in ((0, 1), (0, -1), (1, 0), (-1, 0))]
        values = [_asymmetry(image, each) for each in around]
        if min(values) >= least:
            return best
        least, best = min(values), around[int(np.argmin(values))]


def _axis_ratio(image: Any, y: Any, x: Any) -> float:
    moments = [(image * product).sum() for product in (y * y, x * y, x * x)]
    small, large = np.linalg.eigvalsh([moments[:2], moments[1:]])
    return float(np.sqrt(max(small, 0) / large))


def _gini(values: Any) -> float:
    ordered, n = np.sort(values), len(values)
    return float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (ordered.mean() * n * (n - 1)))


def _m20(image: Any, distance: Any) -> float:
    order = np.argsort(image, axis=None)[::-1]
    inside = np.cumsum(image.ravel()[order]) < 0.2 * image.sum()
    moments = (image * distance**2).ravel()[order]
    return float(np.log10(moments[inside].sum() / moments.sum()))


def _clumpiness(image: Any, where: Any, r80: float) -> float:
    sharp = image - uniform_filter(image, max(3, int(0.4 * r80)))
    return float(np.maximum(sharp, 0)[where].sum() / image[where].sum())


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=Galaxies, default=Galaxies.MATCHED)
    parser.add_argument("--instrument", choices=list(INSTRUMENTS), default="F814W")
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=20260814)
    options = parser.parse_args(arguments)
    measured, is_merger = measure(options.galaxies, options.instrument, options.n, options.seed)
    print(f"{options.galaxies}, {options.instrument}, {options.n} stamps: medians of discs and of post-mergers")
    print(f"and accuracy in %, +- {50 / np.sqrt(options.n):.1f}")
    for name, accuracy in accuracies(measured, is_merger).items():
        values = np.array([row.get(name, np.nan) for row in measured])
        medians = "".join(f"{np.median(values[is_merger == kind]):10.4f}" for kind in (False, True))
        print(f"{name:48} {medians} {100 * accuracy:7.1f}")


if __name__ == "__main__":
    main()
