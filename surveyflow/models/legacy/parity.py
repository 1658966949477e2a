"""The comparison of an imported network's features with those of its original file.

This is the only module that runs the file's graph. Do so only with files that you trust: a SavedModel's graph is a program.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from surveyflow.models.engines.choice import load_model
from surveyflow.models.engines.precision import products_in
from surveyflow.models.legacy.layers import dense_paths, layer_paths
from surveyflow.models.legacy.objects import SAVED_MODEL_FILE, VARIABLES_PREFIX, read_graph, saved_objects, tensorflow
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import EngineName

PARITY_FILE = "parity.json"
_N_IMAGES = 4


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The difference between two networks' features of the same images.

    Parameters
    ----------
    model_id
        The imported model.
    n_images
        Number of images, of fixed random numbers in [0, 1], that both networks received.
    largest_feature, largest_difference
        Largest absolute values over images and features.
    tolerance
        Largest difference that is accepted, relative to the largest feature.
    """

    model_id: str
    n_images: int
    largest_feature: float
    largest_difference: float
    tolerance: float = 1e-5

    @property
    def relative_difference(self) -> float:
        """Largest difference relative to the largest feature; infinite if all features should be 0 and are not."""
        if self.largest_feature == 0:
            return 0.0 if self.largest_difference == 0 else math.inf
        return self.largest_difference / self.largest_feature

    @property
    def passed(self) -> bool:
        """Whether the two networks agree within the tolerance."""
        return self.relative_difference <= self.tolerance


def check_parity(saved_model_dir: str | Path, model_folder: str | Path) -> ParityReport:
    """Run the graph of a SavedModel and the model imported from it on the same images.

    The report is also written beside the model's weights, as ``parity.json``.

    Parameters
    ----------
    saved_model_dir
        A SavedModel of the authors' layout, whose graph is run.
    model_folder
        The model in its store.

    Raises
    ------
    ModelError
        If either cannot be loaded.
    """
    model = load_model(model_folder, engine=EngineName.KERAS)
    size = model.card.architecture.input_size
    images = np.random.default_rng(0).uniform(size=(_N_IMAGES, size, size)).astype(np.float32)
    original = _original_features(Path(saved_model_dir).resolve(), images)
    difference = np.abs(model.features(images) - original)
    report = ParityReport(model.card.model_id, _N_IMAGES, float(np.abs(original).max()), float(difference.max()))
    (Path(model_folder) / PARITY_FILE).write_text(_as_json(report), encoding="utf-8")
    return report


def _as_json(report: ParityReport) -> str:
    """The report as JSON, with null for numbers that JSON cannot represent."""
    values = {**asdict(report), "relative_difference": report.relative_difference, "passed": report.passed}
    known = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
    return json.dumps(known, indent=2, allow_nan=False) + "\n"


def _original_features(folder: Path, images: Float32Array) -> Float32Array:
    """Output of the file's own layers, from the first convolution block to the first dense layer."""
    objects = saved_objects(folder)
    until = dense_paths(objects)[0]
    with _loaded(folder) as original, products_in(tf32=False):
        maps = tensorflow().constant(images[..., np.newaxis])
        for path in layer_paths(objects):
            if objects.settings(path)[0] not in ("InputLayer", "RandomRotation"):
                maps = getattr(original, path)(maps)
            if path == until:
                break
        return np.asarray(maps, np.float32)


@contextmanager
def _loaded(folder: Path) -> Iterator[Any]:
    """The SavedModel as TensorFlow loads it, without optimiser slots, which current versions of TensorFlow cannot restore."""
    message = tensorflow("tensorflow.core.protobuf.saved_model_pb2").SavedModel
    saved = message.FromString(read_graph(folder / SAVED_MODEL_FILE))
    for node in saved.meta_graphs[0].object_graph_def.nodes:
        del node.slot_variables[:]
    with TemporaryDirectory() as copy:
        (Path(copy) / SAVED_MODEL_FILE).write_bytes(saved.SerializeToString())
        (Path(copy) / VARIABLES_PREFIX.parent).symlink_to(folder / VARIABLES_PREFIX.parent)
        yield tensorflow().saved_model.load(copy)
