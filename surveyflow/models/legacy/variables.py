"""The weights of a SavedModel by role, read from its checkpoint's variables without running its graph.

Keys in a checkpoint differ between the authors' files (``variables/4`` in one, ``trainable_variables/4`` in another), and a
block's gamma, beta, mean and variance have the same shape. So neither keys nor shapes identify them, but the checkpoint's tree
of objects does: block, list, index in the list and the variable's role lead to its key. Optimiser slots and metrics lie elsewhere
in the tree and are not read.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np

from surveyflow.errors import ModelError
from surveyflow.files.paths import refusing
from surveyflow.models.legacy.layers import block_paths, dense_paths
from surveyflow.models.legacy.objects import VARIABLES_PREFIX, ObjectTree, checkpoint_objects, tensorflow
from surveyflow.values.arrays import Float32Array

_MOST_BYTES = 2**31
_BLOCK_ROLES = {
    "conv.{i}.kernel": "conv2d/{n}/kernel",
    "conv.{i}.bias": "conv2d/{n}/bias",
    "bn.{i}.gamma": "batch_norm/{n}/gamma",
    "bn.{i}.beta": "batch_norm/{n}/beta",
    "bn.{i}.mean": "batch_norm/{n}/moving_mean",
    "bn.{i}.variance": "batch_norm/{n}/moving_variance",
}


def read_variables(folder: Path, objects: ObjectTree) -> dict[str, Float32Array]:
    """Read the weights by role.

    Parameters
    ----------
    folder
        Folder of the SavedModel.
    objects
        Objects that its ``saved_model.pb`` describes; the architecture must have been checked.

    Raises
    ------
    ModelError
        If the checkpoint is missing, truncated or damaged, or lacks a variable.
    """
    file = folder / VARIABLES_PREFIX
    with refusing(lambda reason: _damaged(file, reason)):
        _check_files(file)
        reader = tensorflow().train.load_checkpoint(str(file))
        keys = checkpoint_objects(reader, file)
        return {role: _value(reader, keys.checkpoint_key(path)) for role, path in variable_paths(objects).items()}


def _damaged(file: Path, reason: str) -> ModelError:
    return ModelError(
        f"{file}.*: missing, truncated or damaged ({reason}). "
        "A SavedModel needs variables.index and all of its variables.data-?????-of-????? files; copy them again."
    )


def _check_files(file: Path) -> None:
    """Check, before TensorFlow opens them, that a checkpoint's files are ordinary ones of the size of such networks."""
    for part in file.parent.glob(f"{file.name}.*"):
        status = part.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise _damaged(file, f"{part.name} is not an ordinary file of at most {_MOST_BYTES:,} bytes")


def variable_paths(objects: ObjectTree) -> dict[str, str]:
    """The path of each role's variable in the tree of objects."""
    blocks = [(f"{path}/", n) for path in block_paths(objects) for n in range(2)]
    paths = {
        role.format(i=i): block + place.format(n=n) for i, (block, n) in enumerate(blocks) for role, place in _BLOCK_ROLES.items()
    }
    for j, path in enumerate(dense_paths(objects)):
        paths |= {f"dense.{j}.{role}": f"{path}/{role}" for role in ("kernel", "bias")}
    return paths


def _value(reader: Any, key: str) -> Float32Array:
    return np.asarray(reader.get_tensor(key), np.float32)
