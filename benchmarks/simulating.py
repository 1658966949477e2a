"""The rate at which training examples are simulated: stamps and their true contamination, per second of CPU time.

    python benchmarks/simulating.py [--galaxies NAME] [--n N] [--repeats N]

One process draws the same stamps several times. Rates are per second of CPU time, so other load on the machine matters little. A
simulation on several cores is faster in proportion (`surveyflow simulate` uses as many processes).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from surveyflow.simulation.contamination import contamination
from surveyflow.simulation.headers import DEPTHS, INSTRUMENTS
from surveyflow.simulation.recipes import DEFAULT_GALAXIES, Galaxies
from surveyflow.simulation.scenes import stamp


def rate(work: Callable[[int], Any], n: int) -> float:
    """Calls per second of CPU time."""
    start = time.process_time()
    for index in range(n):
        work(index)
    return n / (time.process_time() - start)


def run(galaxies: Galaxies, instrument: str, n: int, repeats: int) -> dict[str, float]:
    """Medians of the rates of stamps, of truths, and of both together."""
    band, depth, recipe = INSTRUMENTS[instrument], DEPTHS["COSMOS"][instrument], galaxies.recipe
    stamps = [stamp(1, index, band, depth, recipe=recipe) for index in range(n)]
    works: dict[str, Callable[[int], Any]] = {
        "stamps": lambda index: stamp(1, index, band, depth, recipe=recipe),
        "truths": lambda index: contamination(stamps[index].galaxy, stamps[index].neighbours, depth.sky_rms),
    }
    works["truths"](0)
    found = {name: median(rate(work, n) for _ in range(repeats)) for name, work in works.items()}
    return found | {"examples": 1 / sum(1 / value for value in found.values())}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=Galaxies, default=DEFAULT_GALAXIES)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    for instrument in INSTRUMENTS:
        for name, value in run(options.galaxies, instrument, options.n, options.repeats).items():
            print(f"{instrument:12} {name:9} {value:8.1f} /s of CPU time")


if __name__ == "__main__":
    main()
