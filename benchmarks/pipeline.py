"""The rate at which records reach a network, and the rate at which it learns from them.

    python benchmarks/pipeline.py TRAINING.toml [--batches N] [--repeats N]

If the first rate is higher, the network limits the speed of training. TRAINING.toml names the records, the network and the
augmentation, as for ``surveyflow train``. Three rates are measured in turn, several times, in images per second of wall and of
CPU time: images from memory, images from disk, and training steps on one constant batch. Reading all records into memory is timed
once.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from surveyflow.settings.training import Training, load_training
from surveyflow.tasks.card import ContaminationScale
from surveyflow.training.fitting.fit import compiled_network
from surveyflow.training.fitting.pipeline import Images, epoch_of, load_images, streamed_epoch


def rates(work: Callable[[], Any], n_images: int) -> tuple[float, float]:
    """Images per second of wall time and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return n_images / (time.perf_counter() - wall), n_images / (time.process_time() - cpu)


def endless(epoch: Callable[[int], Iterable[Any]]) -> Iterator[Any]:
    """Batches of one epoch after another."""
    number = 0
    while True:
        yield from epoch(number)
        number += 1


def run(training: Training, n_batches: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Median of each rate."""
    start = time.perf_counter()
    images: Images = load_images(training.data.train, training, as_seen=not training.augmentation.changes_pixels)
    read = len(images) / (time.perf_counter() - start)
    network = compiled_network(training, 1000, ContaminationScale("sky_sigma", flux_range=10.0))
    from_memory = endless(lambda epoch: epoch_of(images, training, epoch))
    from_disk = endless(lambda epoch: streamed_epoch(training.data.train, training, epoch))
    batch = next(from_memory)
    next(from_disk)
    network.train_on_batch(*batch)
    works: dict[str, Callable[[], Any]] = {
        "from memory": lambda: list(islice(from_memory, n_batches)),
        "from disk": lambda: list(islice(from_disk, n_batches)),
        "training step": lambda: [network.train_on_batch(*batch) for _ in range(n_batches)],
    }
    n = n_batches * training.optimisation.batch_size
    found = [{name: rates(work, n) for name, work in works.items()} for _ in range(repeats)]
    middle = {name: tuple(median(one[name][kind] for one in found) for kind in (0, 1)) for name in works}
    return {"read and prepared once": (read, float("nan"))} | {name: (wall, cpu) for name, (wall, cpu) in middle.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", help="training file")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    print(f"{'images/s':>24}  {'wall':>8}  {'CPU':>8}")
    for name, (wall, cpu) in run(load_training(options.training), options.batches, options.repeats).items():
        print(f"{name:>24}  {wall:8.0f}  {cpu:8.0f}")


if __name__ == "__main__":
    main()
