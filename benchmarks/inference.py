"""The cost of a galaxy's distribution: a ``predict`` loop with one full pass per draw against one trunk pass and many head draws.

``OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 python benchmarks/inference.py`` runs both in turn, in one
process, with the published network and random weights, and takes the median CPU time over the rounds. A pass of the ``predict``
loop costs the same for each draw, so one pass per round is measured and multiplied by the number of draws; everything else is
measured completely.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surveyflow.models.engines.choice import load_model
from surveyflow.models.network import build_network, set_weights
from surveyflow.models.store import ModelStore, write_untrained
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelKey

PUBLISHED = Architecture()
NARROW = Architecture(input_size=48, filters=(4, 6, 8), kernel_sizes=(5, 3, 3), dense=(16, 16))
SEED = 20220523


def measure(
    architecture: Architecture, n_cutouts: int, draws: tuple[int, ...], rounds: int, engine: str = "auto"
) -> dict[str, Any]:
    """CPU milliseconds per cutout, by task, and the rates and ratios that follow from them."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = _tasks(Path(folder), architecture, n_cutouts, draws, engine)
        milliseconds = {name: 1e3 * seconds / n_cutouts for name, seconds in _median_seconds(tasks, rounds).items()}
    one_pass, trunk = milliseconds["predict, one draw"], milliseconds["features"]
    return {
        "cpu_ms_per_cutout": milliseconds,
        "features_per_s": 1e3 / trunk,
        "draws_per_s": {n: 1e3 * n / milliseconds[f"draw {n}"] for n in draws},
        "times_the_predict_loop": {n: n * one_pass / milliseconds[f"features, draw {n}"] for n in draws},
        "times_one_draw": {n: milliseconds[f"features, draw {n}"] / milliseconds["features, draw 1"] for n in draws},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _tasks(
    store: Path, architecture: Architecture, n_cutouts: int, draws: tuple[int, ...], engine: str
) -> dict[str, Callable[[], object]]:
    key = ModelKey("merger", "EGS", "F814W")
    write_untrained(
        ModelStore(store),
        key,
        architecture=architecture,
        pixel_scale_arcsec=0.03,
        band="F814W",
        redshift_range=(0.5, 1.5),
        stretch=Stretch.ASINH_MINMAX,
        softening=1.0,
        domain=Domain(),
        seed=SEED,
    )
    model = load_model(ModelStore(store).folder(key), engine)
    network = build_network(architecture)
    set_weights(network, ModelStore(store).weights(key))
    size = architecture.input_size
    cutouts = np.random.default_rng(1).uniform(size=(n_cutouts, size, size)).astype(np.float32)
    keys, features = np.arange(n_cutouts, dtype=np.uint64), model.features(cutouts)
    tasks: dict[str, Callable[[], object]] = {
        "predict, one draw": lambda: network.predict(cutouts[..., np.newaxis], verbose=0),
        "features": lambda: model.features(cutouts),
    }
    for n in sorted({1, *draws}):
        tasks[f"draw {n}"] = lambda n=n: model.draw(features, keys, n, SEED)
        tasks[f"features, draw {n}"] = lambda n=n: model.draw(model.features(cutouts), keys, n, SEED)
    return tasks


def _median_seconds(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if number:  # the first round compiles and warms up
                seconds[name].append(time.process_time() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def _print(found: dict[str, Any]) -> None:
    for name, milliseconds in found["cpu_ms_per_cutout"].items():
        print(f"{name:24s} {milliseconds:10.3f} CPU ms per cutout")
    for n, ratio in found["times_the_predict_loop"].items():
        print(f"{n:6d} draws: {ratio:8,.0f} times the predict loop; {found['times_one_draw'][n]:.3f} times the cost of one draw")
    for n, rate in found["draws_per_s"].items():
        print(f"{n:6d} draws: {rate:12,.0f} head draws per second")
    print(f"{found['features_per_s']:.1f} features per second; peak memory of this process {found['peak_memory_mib']:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cutouts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--narrow", action="store_true", help="a small network instead of the published one")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    architecture = NARROW if options.narrow else PUBLISHED
    found = measure(architecture, options.cutouts, tuple(options.draws), options.rounds, options.engine)
    _print(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
