"""Tiny sets of records, written by hand: noise with a galaxy in its middle, which tells its label, and known contamination."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surveyflow.settings.training import Training, load_training
from surveyflow.simulation.contamination import Contamination
from surveyflow.simulation.examples import Example
from surveyflow.training.records.record_index import RecordIndex, settings_digest, shard_name, write_index
from surveyflow.training.records.shards import serialised, write_shard

SIZE, SKY_RMS = 32, 0.001


def stamp(number: int, seed: int = 1) -> Example:
    """A round galaxy, or a double one; every third has a bright neighbour."""
    rng = np.random.default_rng([seed, number])
    label, contaminated = number % 2, number % 3 == 0
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2 + rng.random(2)[:, None, None]
    galaxy = np.exp(-np.hypot(x, y) / 3) + label * np.exp(-np.hypot(x - 4, y + 2) / 1.5)
    brightness = rng.uniform(0.5, 2)
    neighbour = contaminated * brightness * np.exp(-(np.hypot(x + 7, y - 7) ** 2) / 18)
    pixels = SKY_RMS * (20 * galaxy + 20 * neighbour + rng.normal(size=(SIZE, SIZE)))
    truth = Contamination(30.0 * contaminated * brightness, 10 * SKY_RMS * contaminated * brightness, 50)
    truths = {"sky_sigma": truth, "self_sigma": truth}
    return Example(number, pixels.astype(np.float32), label, 22.0, 0.4, 1.0, SKY_RMS, truths)


def write_records(
    folder: Path, n: int, *, n_shards: int = 2, seed: int = 1, instrument: str = "F814W", numbers: Sequence[int] | None = None
) -> Path:
    """A complete set of n records: the stamps of these numbers, or the first ones."""
    chosen = range(n) if numbers is None else numbers
    settings = {"n": n, "seed": seed, "redshifts": [0.5, 1.5], "instrument": instrument, "nuisances": {"psf_fwhm": [0.9, 1.5]}}
    digest = settings_digest(settings)
    folder.mkdir(parents=True)
    edges = [n * part // n_shards for part in range(n_shards + 1)]
    shards = tuple(
        write_shard(
            folder / shard_name(part, n_shards),
            [serialised(stamp(chosen[i], seed), digest[:12]) for i in range(*edges[part : part + 2])],
        )
        for part in range(n_shards)
    )
    write_index(
        folder, RecordIndex(settings, digest, "COSMOS", instrument, "F814W", 0.03, SIZE, "electron/s", n, n_shards, shards)
    )
    return folder


def training_text(task: str = "merger", extra: str = "", optimisation: str = "") -> str:
    return f"""version = 1
[model]
task = "{task}"
field = "COSMOS"
instrument = "F814W"
origin = "simulated"
citation = "made in a test"
[data]
train = "train"
validation = "validation"
[images]
stretch = "asinh_noise"
softening = 1.0
[architecture]
input_size = {SIZE}
crop = 24
binning = 2
asymmetry = true
filters = [4]
kernel_sizes = [3]
dense = [12, 8]
dropout = 0.2
[optimisation]
epochs = 3
batch_size = 16
seed = 5
{optimisation}
{extra}
[output]
store = "models"
run = "run"
"""


def write_training(folder: Path, task: str = "merger", *, n: int = 64, extra: str = "", optimisation: str = "") -> Training:
    """Records, and a file that asks for a small network to be trained on them."""
    write_records(folder / "train", n)
    write_records(folder / "validation", 48, seed=2)
    (folder / "train.toml").write_text(training_text(task, extra, optimisation))
    return load_training(folder / "train.toml")
