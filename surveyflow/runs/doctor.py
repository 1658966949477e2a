"""The inspection of this machine, or of a profile's workers: versions, engines, devices, memory, scratch space and clocks."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from surveyflow import __version__
from surveyflow.execution.gpus import gpu_use
from surveyflow.execution.routing import model_groups_in
from surveyflow.execution.worker_logs import POOL_VARIABLE
from surveyflow.models.engines.choice import choose_engine
from surveyflow.models.engines.devices import find_framework
from surveyflow.models.engines.fft_engine import NO_CORE
from surveyflow.models.engines.keras_installation import keras_backend, keras_problem
from surveyflow.models.engines.native_library import usable_processors
from surveyflow.runs.installation import namesake_problem
from surveyflow.runs.manifest import package_versions
from surveyflow.sites.certificates import is_closed
from surveyflow.sites.kind import THIS_PROCESS, Answer
from surveyflow.sites.profiles import load_profile
from surveyflow.tasks.card import Architecture
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName

LEAST_MEMORY_GB = 4.0
LEAST_SCRATCH_GB = 2.0
MOST_CLOCK_DIFFERENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Parameters
    ----------
    name
        What was checked.
    found
        What was found, with the remedy if something is missing.
    good
        Whether it suffices for a run.
    """

    name: str
    found: str
    good: bool


@dataclass(frozen=True, slots=True)
class WorkerFindings:
    """The findings of a worker about its own process and machine.

    Parameters
    ----------
    host, pool
        Its machine and its pool; empty if unknown.
    versions
        Versions of Python, surveyflow and other packages, by name.
    checks
        Results of its other checks.
    """

    host: str
    pool: str
    versions: Mapping[str, str]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The report about one worker.

    Parameters
    ----------
    worker
        Its address.
    host, pool
        As in `WorkerFindings`.
    checks
        Results of all checks, the comparison with this machine first.
    """

    worker: str
    host: str
    pool: str
    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        """Whether every check suffices for a run."""
        return all(check.good for check in self.checks)


def check_this_machine() -> WorkerReport:
    """Check everything on which a run on this machine depends."""
    checks = (_platform(), _installation(), _packages(), _engine(), _simulation(), _processors(), _memory(), _scratch())
    return WorkerReport("this machine", platform.node(), "", checks)


def check_workers(profile: str | Path) -> list[WorkerReport]:
    """Let every worker of a profile check its own machine, and compare it with this one.

    Parameters
    ----------
    profile
        Name or path of the profile.

    Raises
    ------
    ProfileError
        If there is no such profile, or it cannot be used.
    ClusterError
        If no scheduler answers, no worker comes, or the profile's workers exist only while jobs run.
    """
    here = package_versions()
    return [_worker_report(answer, here) for answer in load_profile(profile).inspect(look_at_worker)]


def look_at_worker() -> WorkerFindings:
    """Check everything on which a worker in this process depends."""
    checks = (_platform(), _installation(), *_devices(), _engine(), _processors(), _memory(), _scratch())
    return WorkerFindings(platform.node(), os.environ.get(POOL_VARIABLE, ""), package_versions(), checks)


def compare_versions(there: Mapping[str, str], here: Mapping[str, str]) -> Check:
    """Check whether a worker has the same packages as the machine that starts the run.

    Parameters
    ----------
    there, here
        Versions of packages, by name, on the worker and on this machine.
    """
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    if not names:
        return Check("versions", "equal to this machine's: " + ", ".join(f"{name} {here[name]}" for name in here), good=True)
    differing = ", ".join(f"{name} {there.get(name, 'absent')} there, {here.get(name, 'absent')} here" for name in names)
    return Check("versions", f"DIFFER from this machine's: {differing}. Give the workers the same environment.", good=False)


def _worker_report(answer: Answer, here: Mapping[str, str]) -> WorkerReport:
    if answer.value is None:
        what = f"could not be inspected: {answer.error}. Does it have the environment in which this command was started?"
        return WorkerReport(answer.worker, "", "", (Check("worker", what, good=False), _clock(answer)))
    found: WorkerFindings = answer.value
    compared = (compare_versions(found.versions, here), _clock(answer), _connection(answer.worker), _offer(answer.resources))
    return WorkerReport(answer.worker, found.host, found.pool, compared + found.checks)


def _clock(answer: Answer) -> Check:
    ahead_s, error_s = answer.clock_ahead_s, answer.clock_error_s
    good = abs(ahead_s) <= MOST_CLOCK_DIFFERENCE_S + error_s
    remedy = "" if good else ": set both clocks by the same servers"
    return Check("clock", f"{ahead_s:+.3f} s from this machine's, give or take {error_s:.3f} s{remedy}", good=good)


def _connection(worker: str) -> Check:
    """Who can connect to a worker; the profile of an open one says that it is open."""
    if worker == THIS_PROCESS:
        return Check("connection", "none: it listens nowhere", good=True)
    if is_closed(worker):
        return Check("connection", "encrypted: it accepts only holders of the cluster's certificates", good=True)
    return Check("connection", "OPEN, as the profile says: everybody who reaches it can run programs as you", good=True)


def _offer(resources: Mapping[str, float]) -> Check:
    models = sorted(model_groups_in(resources))
    return Check("models", f"holds {', '.join(models)}" if models else "takes units of any model", good=True)


def _devices() -> Iterator[Check]:
    framework = find_framework()
    for gpu in gpu_use():
        free = gpu.memory_total_mb - gpu.memory_mb
        yield Check("gpu", f"{gpu.name}, {free:.0f} of {gpu.memory_total_mb:.0f} MB free", good=True)
    if isinstance(framework, str):
        yield Check("framework", framework, good=False)
        return
    seen = ", ".join(framework.gpus) or "no GPU"
    blind = not framework.gpus and bool(gpu_use())
    remedy = f"; this machine has GPUs that the framework cannot use: `{remedies.install('gpu')}`" if blind else ""
    yield Check("framework", f"{framework.name}, built for {framework.built_for}, sees {seen}{remedy}", good=not blind)


def _platform() -> Check:
    return Check("platform", f"{platform.platform()}, Python {platform.python_version()}", good=True)


def _installation() -> Check:
    problem = namesake_problem()
    return Check("installation", problem or f"surveyflow {__version__} in {Path(__file__).parents[1]}", good=problem is None)


def _packages() -> Check:
    return Check("packages", ", ".join(f"{name} {number}" for name, number in package_versions().items()), good=True)


def _engine() -> Check:
    engine, reason = choose_engine(Architecture())
    problem = keras_problem()
    backend = "" if problem else f"; Keras uses {keras_backend()}"
    if engine is EngineName.KERAS and problem:
        return Check("engine", f"none: {problem}; and without a framework: {reason}", good=False)
    return Check("engine", f"{engine}, for the published network: {reason}{backend}", good=NO_CORE not in reason)


def _simulation() -> Check:
    if find_spec("galsim") is None:
        return Check("simulation", f"galsim not installed, needed by demo: `{remedies.install('simulate')}`", good=False)
    return Check("simulation", "galsim", good=True)


def _processors() -> Check:
    return Check("processors", f"{usable_processors()} usable of {os.cpu_count()}", good=True)


def _memory() -> Check:
    free = psutil.virtual_memory().available / 1e9
    return Check("memory", f"{free:.1f} GB available", good=free >= LEAST_MEMORY_GB)


def _scratch() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 1e9
    return Check("scratch", f"{free:.1f} GB free in {folder}", good=free >= LEAST_SCRATCH_GB)
