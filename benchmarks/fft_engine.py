"""The gain of the FFT engine: its trunk against the Keras trunk, and its distributions against a ``predict`` loop.

``OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 python benchmarks/fft_engine.py`` runs all tasks in turn,
in one process, with the published network and random weights, and takes the median CPU time over the rounds (with more threads,
the CPU time of all of them). Each task runs twice, and the second run counts. A pass of the ``predict`` loop costs the same for
each draw, so one pass per round is measured and multiplied by the number of draws; everything else is measured completely.
"Summary" is everything that a catalog row needs of the draws. ``--trunks`` compares the trunks of several networks instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surveyflow.measuring.unit import sample
from surveyflow.models.engines.choice import load_model
from surveyflow.models.network import build_network, set_weights
from surveyflow.models.store import ModelStore, read_card, read_weights, write_untrained
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, Model, ModelKey
from surveyflow.values.jobs import SamplingSettings

PUBLISHED = Architecture()
NARROW = Architecture(input_size=64, filters=(16, 16), kernel_sizes=(9, 7), dense=(16, 16))
TRUNKS = {
    "packaged merger": Architecture(
        filters=(8, 16, 32), kernel_sizes=(7, 5, 3), dropout=0.3, crop=96, binning=2, asymmetry=True, about_galaxy=True
    ),
    "packaged contamination": Architecture(filters=(8, 16, 32), kernel_sizes=(7, 5, 3), n_outputs=6, binning=2, asymmetry=True),
    "16, 32, 64 channels; kernels 7, 5, 3": Architecture(filters=(16, 32, 64), kernel_sizes=(7, 5, 3)),
    "32, 64, 128 channels; kernels 3, 3, 3": Architecture(kernel_sizes=(3, 3, 3)),
    "8, 16, 32 channels; kernels 3, 3, 3": Architecture(filters=(8, 16, 32), kernel_sizes=(3, 3, 3)),
}
SEED = 20220523


def measure(architecture: Architecture, n_cutouts: int, rounds: int) -> dict[str, Any]:
    """CPU milliseconds per cutout, by task, and the ratios that follow from them."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = _tasks(Path(folder), architecture, n_cutouts)
        found = {name: 1e3 * seconds / n_cutouts for name, seconds in _median_seconds(tasks, rounds).items()}
    one_pass = found["predict, one draw"]
    return {
        "cpu_ms_per_cutout": found,
        "trunk": found["keras features"] / found["fft features"],
        "1000 draws against the predict loop": 1000 * one_pass / found["fft 1000 draws"],
        "10000 draws against the predict loop": 10_000 * one_pass / found["fft 10000 draws"],
        "1000 draws against Keras with the trunk once": found["keras 1000 draws"] / found["fft 1000 draws"],
        "10000 draws against 1000": found["fft 10000 draws"] / found["fft 1000 draws"],
        "10000 draws and summary against 1000": found["fft 10000 draws, summary"] / found["fft 1000 draws, summary"],
    }


def measure_trunks(networks: dict[str, Architecture], n_cutouts: int, rounds: int) -> dict[str, dict[str, float]]:
    """CPU milliseconds per cutout of each network's trunk in both engines, their ratio, and their relative difference."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: _compared(_written(Path(folder, str(number)), architecture), n_cutouts, rounds)
            for number, (name, architecture) in enumerate(networks.items())
        }


def _compared(folder: Path, n_cutouts: int, rounds: int) -> dict[str, float]:
    models = {name: load_model(folder, name) for name in ("keras", "fft")}
    cutouts = _cutouts(models["fft"].card.architecture.input_size, n_cutouts)
    seconds = _median_seconds({name: partial(model.features, cutouts) for name, model in models.items()}, rounds)
    features = [model.features(cutouts) for model in models.values()]
    milliseconds = {name: 1e3 * one / n_cutouts for name, one in seconds.items()}
    difference = float(np.abs(features[0] - features[1]).max() / np.abs(features[0]).max())
    return milliseconds | {"ratio": seconds["keras"] / seconds["fft"], "difference": difference}


def _cutouts(size: int, n_cutouts: int) -> Any:
    return np.random.default_rng(1).uniform(size=(n_cutouts, size, size)).astype(np.float32)


def _written(store: Path, architecture: Architecture) -> Path:
    """The folder of an untrained model."""
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
    return ModelStore(store).folder(key)


def _tasks(store: Path, architecture: Architecture, n_cutouts: int) -> dict[str, Callable[[], object]]:
    folder = _written(store, architecture)
    keras_model, fft_model = load_model(folder, "keras"), load_model(folder, "fft")
    network = build_network(architecture)
    set_weights(network, read_weights(folder, read_card(folder)))
    cutouts = _cutouts(architecture.input_size, n_cutouts)
    keys = np.arange(n_cutouts, dtype=np.uint64)

    def draws(model: Model, n_draws: int) -> Any:
        return model.draw(model.features(cutouts), keys, n_draws, SEED)

    def sampled(model: Model, n_draws: int) -> Any:
        return sample(model, model.features(cutouts), keys, SamplingSettings(n_draws, SEED))

    return {
        "predict, one draw": lambda: network.predict(cutouts[..., np.newaxis], verbose=0),
        "keras features": lambda: keras_model.features(cutouts),
        "fft features": lambda: fft_model.features(cutouts),
        "keras 1000 draws": lambda: draws(keras_model, 1000),
        "fft 1000 draws": lambda: draws(fft_model, 1000),
        "fft 10000 draws": lambda: draws(fft_model, 10_000),
        "fft 1000 draws, summary": lambda: sampled(fft_model, 1000),
        "fft 10000 draws, summary": lambda: sampled(fft_model, 10_000),
    }


def _median_seconds(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            task()  # not timed: idle threads of the previous task still spin, and caches hold its data
            start = time.process_time()
            task()
            if number:  # the first round compiles and warms up
                seconds[name].append(time.process_time() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cutouts", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--narrow", action="store_true", help="a small network instead of the published one")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--trunks", action="store_true", help="the trunks of several networks")
    options = parser.parse_args()
    if options.trunks:
        for name, one in measure_trunks(TRUNKS, options.cutouts, options.rounds).items():
            times = f"keras {one['keras']:7.3f} ms, fft {one['fft']:7.3f} ms: {one['ratio']:5.2f} times"
            print(f"{name:40s} {times}; {one['difference']:.1e}")
        return
    found = measure(NARROW if options.narrow else PUBLISHED, options.cutouts, options.rounds)
    for name, milliseconds in found["cpu_ms_per_cutout"].items():
        print(f"{name:26s} {milliseconds:10.3f} CPU ms per cutout")
    for name, ratio in found.items():
        if name != "cpu_ms_per_cutout":
            print(f"{name:46s} {ratio:10,.2f} times")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
