"""The framework that Keras uses, the devices that it was built for, and the GPUs that it finds.

A separate process asks the framework, because importing it takes a second, some hundred megabytes, and perhaps a GPU's memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version

from surveyflow.models.engines.keras_installation import keras_backend, keras_problem

_ANSWER_S = 180


@dataclass(frozen=True, slots=True)
class Framework:
    """An installed framework.

    Parameters
    ----------
    name
        Name and version.
    built_for
        ``CUDA`` with its version, ``CPUs``, or the platforms of the devices that it finds.
    gpus
        Names of the GPUs that it can use.
    """

    name: str
    built_for: str
    gpus: tuple[str, ...]


def find_framework() -> Framework | str:
    """Ask the framework what it was built for; if that is impossible, return the reason in words."""
    if (problem := keras_problem()) is not None:
        return problem
    backend = keras_backend()
    if backend not in _DESCRIBE:
        return f"Keras is set to use {backend}; only {' and '.join(_DESCRIBE)} report their devices"
    command = [sys.executable, "-P", "-m", "surveyflow.models.engines.devices", backend]  # -P: not from the working folder
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout  # noqa: S603
        answer = json.loads(output.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        return f"{backend} cannot be imported: {error.stderr.strip().splitlines()[-1] if error.stderr.strip() else error}"
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return f"{backend} gives no answer: {error}"
    return Framework(answer["name"], answer["built_for"], tuple(answer["gpus"]))


@cache
def framework_in_use() -> str:
    """Name, version and device of the framework that Keras uses in this process, such as ``jax 0.7.2 on cpu``; it is imported."""
    backend = import_module("keras").backend.backend()
    if backend not in _DESCRIBE:
        return f"{backend} {version(backend)}"
    found = _DESCRIBE[backend]()
    return f"{found.name} on {found.gpus[0] if found.gpus else 'cpu'}"


def _describe_tensorflow() -> Framework:
    tensorflow = import_module("tensorflow")
    cuda = tensorflow.sysconfig.get_build_info().get("cuda_version")
    gpus = tensorflow.config.list_physical_devices("GPU")
    names = (tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus)
    return Framework(f"tensorflow {tensorflow.__version__}", f"CUDA {cuda}" if cuda else "CPUs", tuple(names))


def _describe_jax() -> Framework:
    """JAX's plugins, not JAX itself, are built for devices: what it was built for is what it finds."""
    jax = import_module("jax")
    gpus = [device for device in jax.devices() if device.platform != "cpu"]
    built_for = ", ".join(sorted({device.platform for device in gpus})) or "CPUs"
    return Framework(f"jax {jax.__version__}", built_for, tuple(device.device_kind for device in gpus))


_DESCRIBE: Mapping[str, Callable[[], Framework]] = {"tensorflow": _describe_tensorflow, "jax": _describe_jax}
"""By Keras' name of the backend; each imports its framework."""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_DESCRIBE[sys.argv[1]]())) + "\n")
