"""What the framework that Keras computes with was built for, and the GPUs that it finds.

It is asked in a process of its own: a framework takes a second to import, some hundred megabytes, and perhaps a GPU's memory.
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
    """A framework as it is installed.

    Parameters
    ----------
    name
        With its version.
    built_for
        ``CUDA`` with its version, or ``CPUs``.
    gpus
        What it calls the GPUs that it can use.
    """

    name: str
    built_for: str
    gpus: tuple[str, ...]


def find_framework() -> Framework | str:
    """Ask TensorFlow; why there is nothing to tell, in words, where it cannot be asked."""
    if (problem := keras_problem()) is not None:
        return problem
    if keras_backend() != "tensorflow":
        return f"Keras is told to use {keras_backend()}, of which only TensorFlow can be asked"
    command = [sys.executable, "-m", "surveyflow.models.engines.devices"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout  # noqa: S603
        answer = json.loads(told.splitlines()[-1])
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
