"""What this machine offers to a run: versions, engines, processors, memory and scratch space."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec

import psutil

from surveyflow.models.sampler import choose_engine, engine_problem
from surveyflow.runs.manifest import package_versions
from surveyflow.types import Architecture

LEAST_MEMORY_GB = 4.0
LEAST_SCRATCH_GB = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Parameters
    ----------
    name
        What was looked at.
    found
        What was found, with the remedy where something is missing.
    good
        Whether a run needs nothing more of it.
    """

    name: str
    found: str
    good: bool


def check_machine() -> list[Check]:
    """Look at everything that a run on this machine depends on."""
    return [_platform(), _packages(), _engine(), _simulation(), _processors(), _memory(), _scratch()]


def _platform() -> Check:
    return Check("platform", f"{platform.platform()}, Python {platform.python_version()}", good=True)


def _packages() -> Check:
    return Check("packages", ", ".join(f"{name} {number}" for name, number in package_versions().items()), good=True)


def _engine() -> Check:
    engine, reason = choose_engine(Architecture())
    problem = engine_problem()
    if engine == "keras" and problem:
        return Check("engine", f"none: {problem}; and without a framework: {reason}", good=False)
    return Check("engine", f"{engine}, for the published network: {reason}", good=True)


def _simulation() -> Check:
    if find_spec("galsim") is None:
        return Check("simulation", "galsim not installed, needed by demo; pip install 'surveyflow[simulate]'", good=False)
    return Check("simulation", "galsim", good=True)


def _processors() -> Check:
    return Check("processors", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}", good=True)


def _memory() -> Check:
    free = psutil.virtual_memory().available / 1e9
    return Check("memory", f"{free:.1f} GB available", good=free >= LEAST_MEMORY_GB)


def _scratch() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 1e9
    return Check("scratch", f"{free:.1f} GB free in {folder}", good=free >= LEAST_SCRATCH_GB)
