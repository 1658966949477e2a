"""Commands that messages tell the user to run.

Messages take their commands from here and nowhere else, so that the tests can run every one of them in an environment into
which only a wheel was installed. Where a value is not known, the caller gives a word in capitals, for the user to replace.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Literal

Argument = str | os.PathLike[str]
Extra = Literal["cpu", "gpu", "jax", "simulate", "train", "export", "browse", "remote"]

DISTRIBUTION = "surveyflow-mergers"
"""Name of this distribution on package indexes. The package that it contains, and the command, are called ``surveyflow``."""

NAMESAKE = "surveyflow"
"""Name of another project's distribution, which contains a package of the same name."""


def install(extra: Extra) -> str:
    """Install an extra's dependencies."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def replace_namesake(origin: str = DISTRIBUTION) -> str:
    """Remove the other project's package, and install this one again, since the two share files.

    Parameters
    ----------
    origin
        What to install: the name, or the address from which it was installed.
    """
    return f"pip uninstall --yes {NAMESAKE} && pip install --force-reinstall --no-deps {shlex.quote(origin)}"


def build_native_core(script: Argument) -> str:
    """Compile the native core in place."""
    return shlex.join(["python", os.fspath(script)])


def point_latest_at(target: Argument, link: Argument) -> str:
    """Point the link ``latest`` at a revision."""
    return shlex.join(["ln", "-sfn", os.fspath(target), os.fspath(link)])


def remove_folder(folder: Argument) -> str:
    """Remove a folder and what is in it."""
    return shlex.join(["rm", "-r", os.fspath(folder)])


def start_worker(scheduler: str, resources: str) -> str:
    """Start a Dask worker that declares resources."""
    return shlex.join(["dask", "worker", scheduler, "--resources", resources])


def show_details(arguments: Sequence[str]) -> str:
    """Run a command again with tracebacks and debug logs."""
    return _surveyflow("--debug", *arguments)


def demo(folder: Argument) -> str:
    """Make a demo in a new folder."""
    return _surveyflow("demo", folder)


def init(folder: Argument, output: Argument) -> str:
    """Write a first workflow for a folder of mosaics and catalogs."""
    return _surveyflow("init", folder, "--output", output)


def validate(workflow: Argument) -> str:
    """Check a workflow and everything that it names."""
    return _surveyflow("validate", workflow)


def run_again(manifest: Argument, output: Argument) -> str:
    """Make a revision's tables again."""
    return _surveyflow("run", manifest, "--output", output)


def run_with_profile(workflow: Argument = "WORKFLOW", profile: Argument = "PROFILE") -> str:
    """Run a workflow on the workers of a profile."""
    return _surveyflow("run", workflow, "--profile", profile)


def new_profile(kind: str) -> str:
    """Print a commented profile."""
    return _surveyflow("profile", "new", kind)


def new_schedule(kind: str) -> str:
    """Print a unit that looks for new releases."""
    return _surveyflow("schedule", "new", kind)


def inspect_workers(profile: Argument) -> str:
    """Examine the machines of a profile's workers."""
    return _surveyflow("doctor", "--profile", profile)


def inspect_machine() -> str:
    """Examine this machine."""
    return _surveyflow("doctor")


def status(root: Argument) -> str:
    """Report how far the newest run has come."""
    return _surveyflow("status", root)


def report(root: Argument) -> str:
    """Write the report page of the latest revision."""
    return _surveyflow("report", root)


def export(root: Argument, where: str = "") -> str:
    """Write a selection of galaxies, or all of them, as a FITS table."""
    selected = ("--where", where) if where else ()
    return _surveyflow("export", root, *selected, "--format", "fits", "--output", "galaxies.fits")


def browse(root: Argument, find: str = "") -> str:
    """Look at the galaxies of the latest revision, or at one of them, in a web browser."""
    return _surveyflow("browse", root, *(("--find", find) if find else ()))


def vet(root: Argument, name: str = "NAME") -> str:
    """Vet every galaxy with a result, blind to the model's answer."""
    return _surveyflow("browse", root, "--vet", "status == 'ok'", "--as", name, "--blind")


def vetted(root: Argument) -> str:
    """Report what people said while vetting."""
    return _surveyflow("vetted", root)


def show(root: Argument, field: str, source_id: int | str) -> str:
    """Show one galaxy of the latest revision."""
    return _surveyflow("show", root, field, str(source_id))


def list_releases(root: Argument) -> str:
    """List the published revisions."""
    return _surveyflow("releases", "list", root)


def verify_releases(root: Argument) -> str:
    """Check that nothing was damaged since it was published."""
    return _surveyflow("releases", "verify", root)


def compare_with_latest(root: Argument, revision: str) -> str:
    """Compare a revision with the latest one."""
    return _surveyflow("releases", "diff", root, "latest", revision)


def accept(root: Argument, revision: str) -> str:
    """Give a held revision to readers."""
    return _surveyflow("releases", "accept", root, revision)


def roll_back(root: Argument) -> str:
    """Give readers the revision before the latest."""
    return _surveyflow("releases", "rollback", root)


def roll_back_to(root: Argument, revision: str) -> str:
    """Give readers a revision that they had before."""
    return _surveyflow("releases", "rollback", root, "--to", revision)


def import_models(folder: Argument, store: Argument, stretch: str) -> str:
    """Import the authors' models into a store."""
    return _surveyflow("models", "import", folder, "--store", store, "--stretch", stretch)


def check_models(store: Argument, workflow: Argument) -> str:
    """Find the stretch with which models were trained."""
    return _surveyflow("models", "check", store, "--workflow", workflow)


def calibrate_models(*folders: Argument, records: Argument = "RECORDS") -> str:
    """Fit the map of a model, or of the members of a jury, to a probability."""
    return _surveyflow("models", "calibrate", *(folders or ("MODEL",)), "--records", records)


def simulate(simulation: Argument) -> str:
    """Make records to train on, or those that are missing."""
    return _surveyflow("simulate", simulation)


def evaluate(training: Argument) -> str:
    """Evaluate a trained model."""
    return _surveyflow("evaluate", training)


def submit_to_slurm(workflow: Argument = "WORKFLOW", profile: Argument = "PROFILE") -> str:
    """Submit a run's jobs to Slurm."""
    return _surveyflow("slurm", "submit", workflow, "--profile", profile)


def render_for_kubernetes(workflow: Argument = "WORKFLOW", profile: Argument = "PROFILE") -> str:
    """Print a run's manifests."""
    return _surveyflow("kubernetes", "render", workflow, "--profile", profile)


def make_certificates(folder: Argument) -> str:
    """Make the certificate of a cluster of pods."""
    return _surveyflow("kubernetes", "certificates", folder)


def _surveyflow(*arguments: Argument) -> str:
    return shlex.join(["surveyflow", *(os.fspath(argument) for argument in arguments)])
