"""The framework that Keras uses, the devices that it was built for, and the GPUs that it finds.

A separate process asks the framework, because importing it takes a second, some hundred megabytes, and perhaps a GPU's memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module

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
        ``CUDA`` with its version, or ``CPUs``.
    gpus
        Names of the GPUs that it can use.
    """

    name: str
    built_for: str
    gpus: tuple[str, ...]


def find_framework() -> Framework | str:
    """Ask TensorFlow what it was built for; if that is impossible, return the reason in words."""
    if (problem := keras_problem()) is not None:
        return problem
    if keras_backend() != "tensorflow":
        return f"Keras is set to use {keras_backend()}; only TensorFlow reports its devices"
    command = [sys.executable, "-P", "-m", "surveyflow.models.engines.devices"]  # -P: not from the working folder
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout  # noqa: S603
        answer = json.loads(output.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        return f"TensorFlow cannot be imported: {error.stderr.strip().splitlines()[-1] if error.stderr.strip() else error}"
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return f"TensorFlow gives no answer: {error}"
    return Framework(answer["name"], answer["built_for"], tuple(answer["gpus"]))


def _describe_tensorflow() -> dict[str, object]:
    tensorflow = import_module("tensorflow")
    cuda = tensorflow.sysconfig.get_build_info().get("cuda_version")
    gpus = tensorflow.config.list_physical_devices("GPU")
    names = [tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return {"name": f"tensorflow {tensorflow.__version__}", "built_for": f"CUDA {cuda}" if cuda else "CPUs", "gpus": names}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_describe_tensorflow()) + "\n")
