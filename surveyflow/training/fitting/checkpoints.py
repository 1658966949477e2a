"""The checkpoint of a training: its complete state after an epoch, in one file that is written in one step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from surveyflow.errors import InputError
from surveyflow.files.durable import write_over

CHECKPOINT = "checkpoint.safetensors"
_BEST = "best/"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after some epochs.

    Parameters
    ----------
    digest
        Digest of the settings and records.
    history
        One entry for each epoch: numbers by name.
    state
        Every variable of network and optimiser, by its number; Keras numbers names within a process.
    best
        Weights of the best epoch by role.
    """

    digest: str
    history: tuple[Mapping[str, float], ...]
    state: Mapping[str, Any]
    best: Mapping[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in one step.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    arrays = dict(checkpoint.state) | {_BEST + role: values for role, values in checkpoint.best.items()}
    # Arrays must be contiguous; a 0-dimensional one becomes 1-dimensional, which does no harm.
    arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    told = {"digest": checkpoint.digest, "history": json.dumps(checkpoint.history)}
    write_over(folder / CHECKPOINT, save(arrays, told | {"sha256": _checksum(arrays, told["history"])}))


def read_checkpoint(folder: Path, digest: str) -> Checkpoint | None:
    """Read the checkpoint of a training; None if there is none.

    Parameters
    ----------
    folder
        The run's folder.
    digest
        Digest of the settings and records of the training that continues.

    Raises
    ------
    InputError
        If the checkpoint belongs to other settings, or is damaged.
    """
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    try:
        with safe_open(file, "numpy") as content:
            told = content.metadata() or {}
            arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - it is not a mapping
        history = tuple(json.loads(told["history"]))
        is_sound = told["sha256"] == _checksum(arrays, told["history"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{file} is not a checkpoint of a training ({error}). Remove it to begin again.") from error
    if not is_sound:
        raise InputError(f"{file} is damaged: its content does not have the SHA-256 that it states. Remove it to begin again.")
    if told["digest"] != digest:
        raise InputError(
            f"{file} is of a training with other settings or records. "
            f"Name another [output] run, or remove the folder to begin again."
        )
    best = {name.removeprefix(_BEST): values for name, values in arrays.items() if name.startswith(_BEST)}
    return Checkpoint(digest, history, {name: arrays[name] for name in arrays if not name.startswith(_BEST)}, best)


def _checksum(arrays: Mapping[str, Any], history: str) -> str:
    """SHA-256 over the history and over the names, types, shapes and values of all arrays."""
    digest = hashlib.sha256(history.encode())
    for name in sorted(arrays):
        values = arrays[name]
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def state_of(network: keras.Model) -> dict[str, Any]:
    """Every variable of a compiled network and its optimiser, including random states."""
    return {name: np.asarray(variable) for name, variable in _variables(network).items()}


def restore(network: keras.Model, state: Mapping[str, Any]) -> None:
    """Set the variables of a network that was compiled in the same way to those of `state_of`.

    Raises
    ------
    InputError
        If they belong to another network.
    """
    variables = _variables(network)
    if {name: int(np.prod(variable.shape)) for name, variable in variables.items()} != {
        name: values.size for name, values in state.items()
    }:
        raise InputError(
            f"the {CHECKPOINT} of this run holds other variables than its network has: another version of surveyflow or Keras "
            f"wrote it. Name another [output] run, or remove the folder to begin again."
        )
    for name, variable in variables.items():
        variable.assign(state[name].reshape(variable.shape))


def _variables(network: keras.Model) -> dict[str, Any]:
    network.optimizer.build(network.trainable_variables)
    variables = [*network.variables, *network.optimizer.variables]
    return {f"{number:04d}": variable for number, variable in enumerate(variables)}
