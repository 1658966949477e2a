"""The overhead of a unit, and the growth of memory with the number of units.

    python benchmarks/scale.py [--tiles 100] [--sources 1000000] [--workers 2] [--root FOLDER] [--svg CURVE.svg]

Prints one JSON object. A million sources lie on a mosaic of 100 x 100 tiles, so each of 10,000 units has about a hundred of
them. A STUB replaces the networks. Everything else is real, on a local cluster: windows are read and digested, cutouts made,
units written and synced, the catalog published. The same number of empty jobs runs first. Their time is the cost of sending a
unit to a worker and its receipt back, in wall time and, since other load lengthens that, in CPU time of driver, scheduler and
workers together.

The driver's process also contains Dask's scheduler, so its resident memory is that of both. Its own arrays of sources exist
before the first unit begins.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes import FakeSettings, fake_job
from stubs import check_stubbed
from surveyflow.execution.jobs import JobOutcome, WorkerSpec
from surveyflow.execution.limits import ClusterProfile
from surveyflow.files.paths import file_state
from surveyflow.measuring.orders import MeasureUnit, PlannedModel, PlannedMosaic, TileMeasurement, WorkerSettings
from surveyflow.measuring.worker import FACTORY
from surveyflow.runs.decide import published_receipts
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.opening import open_executor
from surveyflow.tasks.card import Architecture
from surveyflow.values.images import Box, Tile
from surveyflow.values.jobs import EngineChoice, Job, SamplingSettings
from worlds import write_untrained_models

CENTRE_DEG = (214.9, 52.9)
PIXEL_SCALE_ARCSEC = 0.03
CORE_SIZE = 256
SMALL_INPUT = Architecture(input_size=16, filters=(2,), kernel_sizes=(3,), dense=(2,))
N_POINTS = 50


def write_survey(folder, n_sources, tiles_a_side):
    """Write a mosaic of noise, a source list, a model and a workflow; return the workflow's path."""
    rng = np.random.default_rng(1)
    _write_mosaic(folder / "mosaic.fits", rng, tiles_a_side)
    side_deg = tiles_a_side * CORE_SIZE * PIXEL_SCALE_ARCSEC / 3600
    x, y = rng.uniform(-0.499, 0.499, (2, n_sources)) * side_deg
    ra, dec = CENTRE_DEG[0] + x / np.cos(np.radians(CENTRE_DEG[1])), CENTRE_DEG[1] + y
    sources = {"ID": np.arange(1, n_sources + 1), "RA": ra, "DEC": dec, "z": rng.uniform(0.5, 1.5, n_sources)}
    Table(sources).write(folder / "sources.fits")
    write_untrained_models(folder / "models", ("EGS",), SMALL_INPUT)
    path = folder / "workflow.toml"
    path.write_text(
        'version = 1\n[survey]\nname = "scale"\nrelease = "v1.0"\n[output]\nroot = "catalog"\n[models]\nstore = "models"\n'
        f"[sampling]\ndraws = 20\nseed = 7\n[routing]\nF814W = [0.5, 1.5]\n[tiling]\ncore_size = {CORE_SIZE}\n"
        '[fields.EGS.sources]\npath = "sources.fits"\ncolumns = { id = "ID", ra = "RA", dec = "DEC", redshift = "z" }\n'
        '[fields.EGS.F814W]\nscience = "mosaic.fits"\n'
    )
    return path


def _write_mosaic(path, rng, tiles_a_side):
    """Write one row of tiles of noise repeatedly."""
    side = tiles_a_side * CORE_SIZE
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix = CENTRE_DEG, [side / 2, side / 2]
    wcs.wcs.cd = np.diag([-PIXEL_SCALE_ARCSEC, PIXEL_SCALE_ARCSEC]) / 3600
    header = wcs.to_header()
    header.update({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side, "BUNIT": "ELECTRONS/S"})
    header = fits.PrimaryHDU(header=header).header
    header.update({"BITPIX": -32, "NAXIS": 2})
    header.set("NAXIS1", side, after="NAXIS")
    header.set("NAXIS2", side, after="NAXIS1")
    stream = fits.StreamingHDU(path, header)
    for _ in range(tiles_a_side):
        stream.write(rng.normal(0, 0.002, (CORE_SIZE, side)).astype(np.float32))
    stream.close()


@dataclass
class Curve:
    """Memory and tasks as units end, and CPU time of each phase; listens to the run."""

    client: object
    points: list = field(default_factory=list)
    seconds: dict = field(default_factory=dict)
    cpu: dict = field(default_factory=dict)

    def __call__(self, progress):
        first, _ = self.cpu.setdefault(progress.phase, (time.process_time(), 0.0))
        self.cpu[progress.phase] = first, time.process_time() - first
        self.seconds[progress.phase] = max(progress.seconds, self.seconds.get(progress.phase, 0.0))
        if progress.phase == "units" and progress.done % max(1, progress.total // N_POINTS) == 0:
            self.points.append(Point(progress.done, progress.seconds, _own_mb(), _children_mb(), self._n_tasks()))

    def _n_tasks(self):
        return len(self.client.cluster.scheduler.tasks)


@dataclass
class Point:
    """One point of the curve: resident memory, MB, of driver and scheduler together, and of the largest worker."""

    units: int
    seconds: float
    driver_mb: float
    worker_mb: float
    tasks: int


def _own_mb():
    return psutil.Process().memory_info().rss / 1e6


def _cpu_s():
    """CPU time of driver, scheduler and workers together, which other load on the machine lengthens less than wall time."""
    times = [process.cpu_times() for process in (psutil.Process(), *psutil.Process().children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _children_mb():
    found = [0.0]
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            memory = child.memory_info()
            found.append((memory.rss - memory.shared) / 1e6)  # without mapped pages of the mosaic, which all processes share
    return max(found)


def measure(folder, n_sources, tiles_a_side, n_workers):
    """Run empty jobs, then the survey, on one cluster."""
    workflow = write_survey(folder, n_sources, tiles_a_side)
    profile = LocalProfile(workers=n_workers)
    with profile.open_cluster() as cluster:
        empty = _empty_jobs(profile, cluster.client, tiles_a_side**2)
        curve = Curve(cluster.client)
        start = time.perf_counter()
        with open_survey(load_workflow(workflow)) as survey:
            result = run_survey(survey, profile, client=cluster.client, factory="stubs:StubWorker", listeners=[curve])
        whole_s = time.perf_counter() - start
        end_mb = _own_mb()
    check_stubbed(folder / "catalog")
    return {
        "sampler": "STUB",
        "rows": result.rows,
        "units": result.units,
        "empty_jobs": empty,
        "run_s": whole_s,
        "unit_phase": _unit_phase(folder / "catalog", curve, n_workers),
        "digest_ms_per_window": 1e3 * curve.seconds["digest"] / tiles_a_side**2,
        "published_driver_mb": end_mb,
        "messages": _messages(folder / "catalog"),
        "curve": [asdict(point) for point in curve.points],
    }


def _empty_jobs(profile, client, n_jobs):
    """Milliseconds per empty job, sent through the same window as units."""
    jobs = [fake_job(f"empty/{number}", "square", number=number) for number in range(n_jobs)]
    with open_executor(profile, "fakes:make_fake_worker", FakeSettings(), client=client) as executor:
        for _ in executor.run(jobs[:20]):  # starts the workers
            pass
        before_mb, start, cpu_s = _own_mb(), time.perf_counter(), _cpu_s()
        assert sum(result.error is None for result in executor.run(jobs)) == n_jobs
        seconds, cpu_s = time.perf_counter() - start, _cpu_s() - cpu_s
    return {
        "jobs": n_jobs,
        "ms_per_job": 1e3 * seconds / n_jobs,
        "cpu_ms_per_job": 1e3 * cpu_s / n_jobs,
        "driver_mb_before": before_mb,
        "driver_mb_after": _own_mb(),
    }


def _unit_phase(root, curve, n_workers):
    """The workers' time: the units' own work, from their receipts, and everything else, including waiting."""
    own_s = [receipt.seconds for receipt in published_receipts(root).values()]
    wall_s, (_, driver_cpu_s) = curve.seconds["units"], curve.cpu["units"]
    return {
        "wall_s": wall_s,
        "driver_cpu_ms_per_unit": 1e3 * driver_cpu_s / len(own_s),
        "own_ms_per_unit": 1e3 * sum(own_s) / len(own_s),
        "overhead_ms_per_unit": 1e3 * (n_workers * wall_s - sum(own_s)) / len(own_s),
    }


def _messages(root):
    """Bytes sent for one unit: the job and the result."""
    receipt = next(iter(published_receipts(root).values()))
    mosaic = str(root.parent / "mosaic.fits")
    measurement = TileMeasurement(
        PlannedMosaic(mosaic, None, None, (file_state(mosaic),)),
        Tile(1, 1, Box(256, 512, 256, 512), Box(192, 576, 192, 576)),
        128,
        (PlannedModel(str(root.parent / "models" / "merger" / "F814W" / "EGS"), receipt.digest),),
        SamplingSettings(n_draws=20, seed=7),
        0.5,
    )
    order = MeasureUnit(receipt.key, dict(receipt.parts), "20261125T000000-000000", 1, measurement)
    spec = WorkerSpec(FACTORY, WorkerSettings(str(root), EngineChoice(), 4), ClusterProfile().unit_silence_s)
    asked = pickle.dumps((spec, Job(receipt.name, order, "EGS/F814W", 100)))
    return {"asked_bytes": len(asked), "answered_bytes": len(pickle.dumps(JobOutcome(pickle.dumps(receipt))))}


def draw(curve, path):
    """Write the curve as a small SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scale"}):
        figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
        units = [point["units"] for point in curve]
        axes.plot(units, [point["driver_mb"] for point in curve], label="driver and scheduler")
        axes.plot(units, [point["worker_mb"] for point in curve], label="largest worker")
        axes.set(xlabel="units done", ylabel="resident memory, MB", ylim=(0, None), xlim=(0, None))
        axes.legend()
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--sources", type=int, default=1_000_000)
    parser.add_argument("--tiles", type=int, default=100, help="tiles on a side; their square is the number of units")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="working folder; a temporary one by default")
    parser.add_argument("--svg", type=Path, help="file for the curve")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.root) as folder:
        result = measure(Path(folder), arguments.sources, arguments.tiles, arguments.workers)
    print(json.dumps(result, indent=1))
    if arguments.svg:
        draw(result["curve"], arguments.svg)


if __name__ == "__main__":
    main()
