"""The weights of a SavedModel by role, read from its checkpoint's variables without running its graph.

Keys in a checkpoint differ between the authors' files (``variables/4`` in one, ``trainable_variables/4`` in another), and a
block's gamma, beta, mean and variance have the same shape. So neither keys nor shapes identify them, but the checkpoint's tree
of objects does: block, list, index in the list and the variable's role lead to its key. Optimiser slots and metrics lie elsewhere
in the tree and are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surveyflow.errors import ModelError
from surveyflow.models.legacy.layers import block_paths, dense_paths
from surveyflow.models.legacy.objects import VARIABLES_PREFIX, ObjectTree, checkpoint_objects, tensorflow
from surveyflow.values.arrays import Float32Array

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
    errors = tensorflow().errors.OpError
    try:
        reader = tensorflow().train.load_checkpoint(str(file))
        keys = checkpoint_objects(reader, file)
        return {role: _value(reader, keys.checkpoint_key(path)) for role, path in variable_paths(objects).items()}
    except ModelError:
        raise
    except (errors, OSError, RuntimeError, ValueError, LookupError) as error:
        raise ModelError(
            f"{file}.*: missing, truncated or damaged ({_first_line(error)}). "
            "A SavedModel needs variables.index and all of its variables.data-?????-of-????? files; copy them again."
        ) from error


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


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
