"""The networks on one GPU: rates, accuracy, batch size, memory that runs out, and convolution by Fourier transform.

    KERAS_BACKEND=jax python benchmarks/gpu.py [--small] [--minutes 6] [--json FILE]

Runs on the first device of Keras's backend: JAX, or TensorFlow where that is installed. The published network, with random
weights, is measured section by section; a section that would begin after the given minutes is left out. ``--small`` is for a
CPU: a narrow network and few cutouts, to see that everything works. Its numbers mean nothing. Each rate is the median of several
passes after one that compiles, in wall time. Sections:

- trunk: for float32, TF32 and bf16 the batch size that the probe finds (on a GPU), the rate, and the largest error of a feature
  relative to the largest feature, against a reference in float64;
- head: draws a second at 1,000 and 10,000 draws a cutout;
- unit: everything that a worker does with cutouts in memory, with both models: sky, preparation, trunk, draws, summary;
- memory: fills the device's memory until little is left, and shows that a batch is then halved and the features stay the same;
- fourier: the network's second convolution directly and by Fourier transform, JAX only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import keras
import numpy as np

from networks import reference_features
from surveyflow.measuring.unit import sample
from surveyflow.models.engines.batches import is_out_of_memory
from surveyflow.models.engines.keras_engine import KerasModel
from surveyflow.models.store import ModelStore, read_card, read_weights, write_untrained
from surveyflow.runs.demo import PACKAGED_MODELS
from surveyflow.sky.measurements import measured_sky
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.tasks.card import Architecture, Domain, Model, ModelKey
from surveyflow.tasks.registry import task_of
from surveyflow.values.codes import Precision
from surveyflow.values.jobs import SamplingSettings

SEED = 20220523
NARROW = Architecture(filters=(4, 4), kernel_sizes=(7, 5), dense=(16, 16))
FILLER_BYTES = 256 * 2**20


class Benchmark:
    """The sections, which share models and cutouts.

    Parameters
    ----------
    store
        An empty folder for the models.
    small
        Whether a narrow network and few cutouts are used.
    """

    def __init__(self, store: Path, small: bool) -> None:
        self.small = small
        self.passes = 1 if small else 5
        key = ModelKey("merger", "COSMOS", "F814W")
        write_untrained(
            ModelStore(store),
            key,
            architecture=NARROW if small else Architecture(),
            pixel_scale_arcsec=0.03,
            band="F814W",
            redshift_range=(0.5, 1.5),
            stretch=Stretch.ASINH_SKY,
            softening=1.0,
            domain=Domain(),
            seed=SEED,
        )
        self.merger = ModelStore(store).folder(key)
        self.contamination = min((PACKAGED_MODELS / "contamination" / "F814W" / "COSMOS").iterdir())
        rng = np.random.default_rng(SEED)
        self.pixels = rng.normal(0, 1e-3, (16 if small else 4096, 128, 128)).astype(np.float32)
        self.valid = np.ones(self.pixels.shape, bool)
        self.prepared = np.arcsinh(1e3 * self.pixels)
        self.keys = rng.integers(0, 2**63, len(self.pixels)).astype(np.uint64)

    def sections(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """The sections by name, in order."""
        return {"trunk": self.trunk, "head": self.head, "unit": self.unit, "memory": self.memory, "fourier": self.fourier}

    def trunk(self) -> dict[str, Any]:
        """Batch size, rate and accuracy by precision."""
        few = self.prepared[: 1 if self.small else 2]
        card = read_card(self.merger)
        weights = read_weights(self.merger, card)
        exact = np.array([reference_features(image, weights, card.architecture) for image in few])
        found = {}
        for precision in Precision:
            model = self._model(self.merger, precision)
            rate = len(self.prepared) / self._seconds(lambda model=model: model.features(self.prepared))
            error = float(np.abs(model.features(few) - exact).max() / np.abs(exact).max())
            found[precision.value] = {"batch_size": model.batch_size, "cutouts_per_s": rate, "error": error}
        return found

    def head(self) -> dict[str, Any]:
        """Draws a second."""
        model, n = self._model(self.merger), 8 if self.small else 1024
        features = model.features(self.prepared[:n])
        rates = {}
        for n_draws in (1000, 10_000):
            some = n if n_draws == 1000 else max(n // 8, 1)
            work = lambda n=some, draws=n_draws: model.draw(features[:n], self.keys[:n], draws, SEED)  # noqa: E731
            rates[f"{n_draws} draws"] = some * n_draws / self._seconds(work)
        return {"draws_per_s": rates}

    def unit(self) -> dict[str, Any]:
        """Cutouts a second through everything that follows cutting."""
        models = [self._model(folder) for folder in (self.merger, self.contamination)]
        seconds = self._seconds(lambda: [self._measure(model) for model in models])
        return {"cutouts_per_s": len(self.pixels) / seconds}

    def memory(self) -> dict[str, Any]:
        """Features while other data fill the device's memory."""
        if not _on_gpu():
            return {"left out": "the device's memory is the machine's"}
        model = self._model(self.merger)
        size, expected = model.batch_size, model.features(self.prepared)
        filler = list(_fillers())
        found = model.features(self.prepared)
        n_fillers = len(filler)
        del filler
        return {
            "filled_gb": n_fillers * FILLER_BYTES / 1e9,
            "batch_size": [size, model.batch_size],
            "largest_difference": float(np.abs(found - expected).max() / np.abs(expected).max()),
        }

    def fourier(self) -> dict[str, Any]:
        """Milliseconds a cutout of a convolution with kernels of 11 x 11 between 32 channels of 118 x 118 pixels."""
        if keras.backend.backend() != "jax":
            return {"left out": "it is written for JAX"}
        jax = import_module("jax")
        n, side, channels = (1, 32, 4) if self.small else (64, 118, 32)
        rng = np.random.default_rng(SEED)
        maps = jax.numpy.asarray(rng.normal(size=(n, channels, side, side)), "float32")
        kernel = jax.numpy.asarray(rng.normal(size=(channels, channels, 11, 11)) / 60, "float32")
        points = 48 if self.small else 128

        def direct(maps: Any) -> Any:
            return jax.lax.conv(maps, kernel, (1, 1), "VALID", precision="highest")

        spectrum = jax.numpy.conj(jax.numpy.fft.rfft2(kernel, (points, points)))

        def transformed(maps: Any) -> Any:
            product = jax.numpy.einsum(
                "niyx,oiyx->noyx", jax.numpy.fft.rfft2(maps, (points, points)), spectrum, precision="highest"
            )
            return jax.numpy.fft.irfft2(product, (points, points))[..., : side - 10, : side - 10]

        results, found = {}, {}
        for name, function in (("direct", direct), ("transformed", transformed)):
            compiled = jax.jit(function)
            results[name] = np.asarray(compiled(maps))
            found[f"{name}_ms"] = 1e3 * self._seconds(lambda run=compiled: run(maps).block_until_ready()) / n
        difference = np.abs(results["direct"] - results["transformed"]).max() / np.abs(results["direct"]).max()
        return found | {"largest_difference": float(difference)}

    def _model(self, folder: Path, precision: Precision = Precision.FLOAT32) -> KerasModel:
        card = read_card(folder)
        return KerasModel(card, read_weights(folder, card), precision=precision)

    def _measure(self, model: Model) -> None:
        card, sky = model.card, measured_sky(self.pixels, self.valid)
        prepared = prepare(self.pixels, self.valid, card.stretch, card.softening, sky=sky)
        rms = sky.rms if task_of(card.key.task).measurable else None
        sample(model, model.features(prepared), self.keys, SamplingSettings(1000, SEED), rms)

    def _seconds(self, work: Callable[[], Any]) -> float:
        """Median wall time of some passes, after one that compiles."""
        work()
        seconds = []
        for _ in range(self.passes):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds))


def _on_gpu() -> bool:
    return any(device.lower().startswith(("gpu", "cuda")) for device in keras.distribution.list_devices())


def _fillers() -> Iterator[Any]:
    """Arrays on the device until no more fit, and one less."""
    arrays: list[Any] = []
    try:
        while True:
            arrays.append(keras.ops.zeros((FILLER_BYTES // 4,), "float32"))
            keras.ops.convert_to_numpy(arrays[-1][:1])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    yield from arrays[:-1]


def measure(small: bool, minutes: float) -> dict[str, Any]:
    """The results of all sections by name, printed as they come."""
    end = time.monotonic() + 60 * minutes
    found: dict[str, Any] = {"backend": keras.backend.backend(), "devices": keras.distribution.list_devices()}
    print(json.dumps(found), flush=True)
    with tempfile.TemporaryDirectory() as store:
        benchmark = Benchmark(Path(store), small)
        for name, section in benchmark.sections().items():
            found[name] = section() if time.monotonic() < end else {"left out": f"{minutes:g} minutes have passed"}
            print(json.dumps({name: found[name]}), flush=True)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a narrow network and few cutouts, to try the benchmark on a CPU")
    parser.add_argument("--minutes", type=float, default=6.0, help="no section begins later than this")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    found = measure(options.small, options.minutes)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
