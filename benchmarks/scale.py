"""The memory and time of driver, scheduler and workers, as the number of sources grows.

    python benchmarks/scale.py --sources 1e5 3e5 1e6 [--per-unit 1000] [--workers 2] [--root FOLDER] [--svg CURVE.svg]

Prints one JSON object: one entry for each number of sources and, with three or more, straight lines through them with their
values at 10^8 sources. A STUB takes the place of mosaics and networks: a unit's rows are invented from its work list, and what
is measured is everything else. Source lists are Parquet files of a million rows; the mosaic is a sparse file, whose windows are
digested; units are written and synced, and the catalog is published with all checks. Driver, scheduler and workers are processes
of their own, on a cluster of kind ``address``. Their memory is read four times a second.

A size that would not fit on the disk is refused before it starts. Each size needs a folder of its own, which is removed.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.wcs import WCS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes import FakeSettings, fake_job
from stubs import check_stubbed
from surveyflow import api
from surveyflow.execution.jobs import JobOutcome, WorkerSpec
from surveyflow.execution.limits import DASK_ENVIRONMENT, ClusterProfile
from surveyflow.files.paths import file_state
from surveyflow.measuring.orders import MeasureUnit, PlannedModel, PlannedMosaic, TileMeasurement, WorkerSettings
from surveyflow.measuring.worker import FACTORY
from surveyflow.models.store import ModelStore, write_untrained
from surveyflow.output.units import read_receipt
from surveyflow.runs.execute import spreading
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.certificates import dask_environment, write_certificates
from surveyflow.sites.opening import open_executor
from surveyflow.sites.profiles import load_profile
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelKey
from surveyflow.values.images import Box, Tile
from surveyflow.values.jobs import EngineChoice, Job, SamplingSettings

TESTS = Path(__file__).resolve().parents[1] / "tests"
CENTRE_DEG = (214.9, 0.0)
PIXEL_SCALE_ARCSEC = 1.2
"""A tile of 256 pixels has a side of 5 arcmin, and a thousand sources: 38 in a square arcmin, as many as deep surveys find."""
CORE_SIZE = 256
ROWS_OF_A_PART = 1_000_000
BYTES_A_SOURCE = 800
"""Disk that a source takes, at most: its place in list and work list, its rows in a unit and in the catalog."""
SAMPLES_A_SECOND = 4
N_EMPTY_JOBS = 200
FITTED = 1e8


def write_survey(folder: Path, n_sources: int, per_unit: int) -> Path:
    """Write a sparse mosaic, source lists in parts, a model and a workflow; return the workflow's path."""
    tiles_a_side = max(1, round((n_sources / per_unit) ** 0.5))
    wcs = _write_mosaic(folder / "mosaic.fits", tiles_a_side * CORE_SIZE)
    (folder / "sources").mkdir()
    for number, first in enumerate(range(0, n_sources, ROWS_OF_A_PART)):
        n_rows = min(ROWS_OF_A_PART, n_sources - first)
        _write_part(folder / "sources" / f"part-{number:04d}.parquet", wcs, tiles_a_side, first, n_rows)
    write_untrained(
        ModelStore(folder / "models"),
        ModelKey("merger", "SKY", "F814W"),
        architecture=Architecture(input_size=16, filters=(2,), kernel_sizes=(3,), dense=(2,)),
        pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
        band="F814W",
        redshift_range=(0.5, 1.5),
        stretch=Stretch.ASINH_MINMAX,
        softening=1e-3,
        domain=Domain("electron/s", (1e-4, 1e-1)),
        seed=0,
    )
    path = folder / "workflow.toml"
    path.write_text(
        'version = 1\n[survey]\nname = "scale"\nrelease = "v1.0"\n[output]\nroot = "catalog"\n[models]\nstore = "models"\n'
        f"[sampling]\ndraws = 20\nseed = 7\n[routing]\nF814W = [0.5, 1.5]\n[tiling]\ncore_size = {CORE_SIZE}\n"
        '[fields.SKY.sources]\npath = "sources/*.parquet"\n'
        'columns = { id = "ID", ra = "RA", dec = "DEC", redshift = "z" }\n'
        '[fields.SKY.F814W]\nscience = "mosaic.fits"\n'
    )
    return path


def _write_mosaic(path: Path, side: int) -> WCS:
    """Write a header, and pixels of 0 that take no place on the disk."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix = CENTRE_DEG, [side / 2 + 0.5, side / 2 + 0.5]
    wcs.wcs.cd = np.diag([-PIXEL_SCALE_ARCSEC, PIXEL_SCALE_ARCSEC]) / 3600
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32), wcs.to_header()).header
    header["NAXIS1"], header["NAXIS2"], header["BUNIT"], header["FILTER"] = side, side, "ELECTRONS/S", "F814W"
    content = header.tostring().encode("ascii")
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(len(content) + -(-4 * side**2 // 2880) * 2880)
    return wcs


def _write_part(path: Path, wcs: WCS, tiles_a_side: int, first: int, n_rows: int) -> None:
    """Write some of the sources: as in a survey's own lists, neighbours follow each other, in strips of declination."""
    rng = np.random.default_rng(first)
    side = tiles_a_side * CORE_SIZE
    y = np.sort(rng.uniform(0, side - 1, n_rows))
    ra, dec = wcs.all_pix2world(rng.uniform(0, side - 1, n_rows), y, 0)
    columns = {"ID": np.arange(first + 1, first + 1 + n_rows), "RA": ra, "DEC": dec, "z": rng.uniform(0.5, 1.5, n_rows)}
    pq.write_table(pa.table(columns), path)


@dataclass
class Watch:
    """Resident memory of processes, MB, four times a second; of several workers the largest."""

    processes: dict[str, list[psutil.Process]]
    times: list[float] = field(default_factory=list)
    mb: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(1 / SAMPLES_A_SECOND):
            self.times.append(time.time())
            for name, processes in self.processes.items():
                self.mb.setdefault(name, []).append(max(map(_mb, processes), default=0.0))
                self.cpu_s[name] = max(self.cpu_s.get(name, 0.0), sum(map(_cpu_s, processes)))

    def peak_mb(self, name: str, begin: float, end: float) -> float:
        within = [mb for at, mb in zip(self.times, self.mb.get(name, []), strict=False) if begin <= at <= end]
        return max(within, default=0.0)


def _mb(process: psutil.Process) -> float:
    """Memory of a process and its children, without pages of files, which all share."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                memory = one.memory_info()
                total = max(total, (memory.rss - memory.shared) / 1e6)
    return total


def _cpu_s(process: psutil.Process) -> float:
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
    return total


@contextmanager
def cluster(folder: Path, n_workers: int) -> Iterator[tuple[Path, dict[str, list[psutil.Process]]]]:
    """Start a scheduler and workers; give the profile that names them, and their processes."""
    write_certificates(folder / "certificates")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "HOME": str(folder), **threads}
    environment |= dask_environment(folder / "certificates") | DASK_ENVIRONMENT
    environment |= {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    common = ["--scheduler-file", str(folder / "scheduler.json"), "--interface", "lo", "--protocol", "tls"]
    common += ["--dashboard-address", "127.0.0.1:0"]
    with ExitStack() as stack, (folder / "dask.log").open("wb") as log:

        def start(*arguments: str) -> psutil.Process:
            command = [sys.executable, "-m", "dask", *arguments]
            process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(_end, process)
            return psutil.Process(process.pid)

        scheduler = start("scheduler", *common, "--port", "0")
        worker = ["worker", *common, "--nworkers", "1", "--nthreads", "2", "--memory-limit", "0"]
        workers = [start(*worker, "--local-directory", str(folder / "scratch")) for _ in range(n_workers)]
        profile = folder / "profile.toml"
        profile.write_text(
            f'kind = "address"\nscheduler_file = "{folder}/scheduler.json"\ncertificates = "{folder}/certificates"\n'
        )
        _wait_for(folder / "scheduler.json")
        yield profile, {"scheduler": [scheduler], "largest_worker": workers}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=60)


def _wait_for(path: Path) -> None:
    for _ in range(1_200):
        if path.exists():
            return
        time.sleep(0.1)
    raise TimeoutError(f"there is no {path} after two minutes")


def measure(folder: Path, n_sources: int, per_unit: int = 1_000, n_workers: int = 2) -> dict[str, object]:
    """Make a survey of a size, run it, and plan it again."""
    began = time.perf_counter()
    workflow = write_survey(folder, n_sources, per_unit)
    written_s = time.perf_counter() - began
    with cluster(folder, n_workers) as (profile, processes):
        done = _driven("run", workflow, profile, processes)
    check_stubbed(folder / "catalog", most=100)
    idle = _driven("plan", workflow, profile, {})
    assert idle["result"]["decisions"] == {"do": 0, "keep": done["result"]["units"]["done"], "drop": 0}, idle["result"]
    return {
        "sampler": "STUB",
        "sources": n_sources,
        "units": done["result"]["units"]["done"],
        "write_lists_s": written_s,
        "run": done,
        "rows_published_per_s": n_sources / done["seconds"]["publish"],
        "plan_with_nothing_to_do": idle,
        "messages": _messages(folder / "catalog"),
    }


def _driven(what: str, workflow: Path, profile: Path, processes: dict[str, list[psutil.Process]]) -> dict[str, object]:
    """Run the driver as a process of its own, and watch it and the others."""
    command = [sys.executable, __file__, "--drive", what, str(workflow), str(profile)]
    began = time.time()
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watch = Watch({"driver": [psutil.Process(driver.pid)], **processes})
    with watch.watching():
        output, _ = driver.communicate()
    if driver.returncode:
        raise RuntimeError(f"the driver ended with exit code {driver.returncode}; see above")
    told = json.loads(output)
    marks = {"start": began, **told.pop("marks")}
    edges = [*marks.values(), time.time()]
    spans = {name: (begin, end) for name, begin, end in zip(marks, edges, edges[1:], strict=False)}
    return {
        "seconds": {name: end - begin for name, (begin, end) in spans.items()},
        "peak_mb": {name: {phase: watch.peak_mb(name, *span) for phase, span in spans.items()} for name in watch.mb},
        "cpu_s": watch.cpu_s,
        "curve": {"seconds": [at - began for at in watch.times][:: _every(watch)]}
        | {f"{name}_mb": mb[:: _every(watch)] for name, mb in watch.mb.items()},
        **told,
    }


def _every(watch: Watch) -> int:
    """A step that leaves about a hundred points of a curve."""
    return max(1, len(watch.times) // 100)


def drive(what: str, workflow: Path, profile: Path) -> dict[str, object]:
    """Be the driver: open the survey, plan, and run; note when each phase begins, seconds since 1970."""
    marks = {"open": time.time()}
    if what == "plan":
        planned = api.plan(workflow, profile="serial")
        decisions = planned.counts
        return {"marks": marks, "result": {"decisions": decisions}}
    chosen = load_profile(profile)
    with chosen.open_cluster() as connected:
        empty = _empty_jobs(chosen, connected.client)
        marks = {"empty_jobs": marks["open"], "open": time.time()}
        tasks = [0]

        def listen(progress):
            if progress.phase != "workers":
                marks.setdefault(progress.phase.value, time.time())
            if progress.phase == "units" and progress.done % max(1, progress.total // 20) == 0:
                tasks.append(connected.client.run_on_scheduler(_n_tasks))

        loaded = load_workflow(workflow)
        settings = WorkerSettings(str(loaded.output.root), EngineChoice(), chosen.limits.models_in_memory)
        opener = partial(open_executor, chosen, "stubs:ListedWorker", settings, client=connected.client)
        with spreading(opener, in_this_process=False) as do, open_survey(loaded, do) as survey:
            marks["plan"] = time.time()
            result = run_survey(survey, chosen, client=connected.client, factory="stubs:ListedWorker", listeners=[listen])
    told = {"units": result.units, "rows": result.rows, "tasks_of_the_scheduler": max(tasks)}
    return {"marks": marks, "result": told, "empty_jobs": empty}


def _n_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)


def _empty_jobs(profile, client):
    """Milliseconds per empty job, sent through the same window as units."""
    jobs = [fake_job(f"empty/{number}", "square", number=number) for number in range(N_EMPTY_JOBS)]
    with open_executor(profile, "fakes:make_fake_worker", FakeSettings(), client=client) as executor:
        for _ in executor.run(jobs[:20]):  # starts the workers
            pass
        start, cpu_s = time.perf_counter(), time.process_time()
        assert sum(result.error is None for result in executor.run(jobs)) == N_EMPTY_JOBS
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_s
    return {"ms_per_job": 1e3 * seconds / N_EMPTY_JOBS, "driver_cpu_ms_per_job": 1e3 * cpu_s / N_EMPTY_JOBS}


def _messages(root: Path) -> dict[str, int]:
    """Bytes sent for one unit: the job and the result."""
    key = next((root / "units").glob("*/*.json")).stem
    receipt = read_receipt(root, key)
    assert receipt is not None
    mosaic = str(root.parent / "mosaic.fits")
    measurement = TileMeasurement(
        PlannedMosaic(mosaic, None, None, (file_state(mosaic),)),
        Tile(1, 1, Box(256, 512, 256, 512), Box(192, 576, 192, 576)),
        128,
        (PlannedModel(str(root.parent / "models" / "merger" / "F814W" / "SKY"), receipt.digest),),
        SamplingSettings(n_draws=20, seed=7),
        0.5,
    )
    worklist = str(next((root / "lists").glob("*/*.arrow")).relative_to(root))
    order = MeasureUnit(receipt.key, dict(receipt.parts), worklist, 1, measurement)
    spec = WorkerSpec(FACTORY, WorkerSettings(str(root), EngineChoice(), 4), ClusterProfile().unit_silence_s)
    asked = pickle.dumps((spec, Job(receipt.name, order, "SKY/F814W", 100)))
    return {"asked_bytes": len(asked), "answered_bytes": len(pickle.dumps(JobOutcome(pickle.dumps(receipt))))}


def fit(sizes: list[dict]) -> dict[str, dict[str, float]]:
    """Straight lines through what was measured at three sizes or more, and their values at 10^8 sources."""
    n_sources = np.array([size["sources"] for size in sizes], float)
    measured = {f"{name}_peak_mb": [max(size["run"]["peak_mb"][name].values()) for size in sizes] for name in PROCESSES}
    measured |= {"plan_with_nothing_to_do_s": [_idle(size, "seconds") for size in sizes]}
    measured |= {"plan_with_nothing_to_do_peak_mb": [_idle(size, "peak_mb") for size in sizes]}
    return {name: _line(n_sources, np.array(values)) for name, values in measured.items()}


PROCESSES = ("driver", "scheduler", "largest_worker")


def _idle(size, what):
    idle = size["plan_with_nothing_to_do"]
    return sum(idle["seconds"].values()) if what == "seconds" else max(idle["peak_mb"]["driver"].values())


def _line(n_sources, values):
    per_source, at_none = np.polyfit(n_sources, values, 1)
    return {"per_million_sources": 1e6 * per_source, "at_none": at_none, "at_1e8": at_none + FITTED * per_source}


def check_disk(folder: Path, n_sources: int) -> None:
    """Refuse a size that does not fit on the disk."""
    free, needed = shutil.disk_usage(folder).free, BYTES_A_SOURCE * n_sources
    if needed > free:
        raise SystemExit(f"{n_sources:,} sources take about {needed / 1e9:,.0f} GB, but {folder} has {free / 1e9:,.0f} GB left.")


def draw(curve: dict[str, list[float]], path: Path) -> None:
    """Write the curve as a small SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scale"}):
        figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
        for name in PROCESSES:
            axes.plot(curve["seconds"], curve[f"{name}_mb"], label=name.replace("_", " "))
        axes.set(xlabel="seconds since the driver began", ylabel="resident memory, MB", ylim=(0, None), xlim=(0, None))
        axes.legend()
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--sources", type=float, nargs="+", default=[1e5, 3e5, 1e6], help="one or more numbers of sources")
    parser.add_argument("--per-unit", type=int, default=1_000, help="sources of a unit")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="working folder; a temporary one by default")
    parser.add_argument("--svg", type=Path, help="file for the curve of the largest size")
    parser.add_argument("--drive", nargs=3, metavar=("WHAT", "WORKFLOW", "PROFILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        print(json.dumps(drive(arguments.drive[0], *map(Path, arguments.drive[1:]))))
        return
    sizes = []
    for n_sources in map(int, arguments.sources):
        with tempfile.TemporaryDirectory(dir=arguments.root) as folder:
            check_disk(Path(folder), n_sources)
            sizes.append(measure(Path(folder), n_sources, arguments.per_unit, arguments.workers))
        print(json.dumps(sizes[-1]), file=sys.stderr)  # a larger one may take hours, and may not end
    print(json.dumps({"sizes": sizes, "fit": fit(sizes) if len(sizes) > 2 else None}, indent=1))
    if arguments.svg:
        draw(sizes[-1]["run"]["curve"], arguments.svg)


if __name__ == "__main__":
    main()
