"""The CPU time of a whole run on a field of true size, relative to that of its networks alone.

    python benchmarks/field.py [--small] [--mosaic] [--workers N] [--folder FOLDER]

Makes COSMOS as CANDELS released it: 28,000 x 72,000 pixels of 0.03 arcsec and 14,000 x 36,000 of 0.06, with weights (20 GB), and
33,879 sources, as many as the field's catalog has, scattered over the three fifths of the mosaics that have data. The rest of the
files is empty: it takes no space where the file system knows sparse files, so that 13.4 GB of disk suffice. ``--small`` makes a
tenth of the area and of the sources (2.2 GB); ``--mosaic`` makes one mosaic of 64,800 x 81,000 pixels instead, with the same
density of sources: 42 GB, of which 25.6 are written. A disk that is too small is refused. ``--folder`` keeps the field for other
runs.

The merger models have the published network's size and random weights, the contamination models are the packaged ones, and each
source has 1,000 draws. The field is run on a local cluster, and then again, when there is nothing to do. The CPU time is that of
all processes. Another run, of one source for each mosaic, says how much of it does not grow with the field: imports, starting the
workers, spectra, the plan, publishing and the report. The CPU time of the networks alone is measured in this process with one
thread, on the cutouts of the tiles in the middle: trunk, draws and summary of both models. The table says what else was measured
one by one. Because processes share caches and memory, the same work takes more CPU time while others do it, too: the second
column has as many processes at once as the run has workers. Modules are compiled before, as they are when a package is installed.
The last line is the ratio to the networks alone, measured in one process.
"""

from __future__ import annotations

import argparse
import compileall
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import surveyflow
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.measuring.unit import sample
from surveyflow.models.engines.choice import load_model
from surveyflow.models.engines.native_library import arcsinh_kernel, paired_digests, positive_medians
from surveyflow.models.store import ModelStore, write_untrained
from surveyflow.releases.publish import read_catalog
from surveyflow.runs.demo import PACKAGED_MODELS
from surveyflow.settings.workflow_tables import DEFAULT_CORE_SIZE
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.sky.tiling import corner, owning_tiles, stacked, tile
from surveyflow.tasks.card import Architecture, Domain, Model, ModelKey
from surveyflow.tasks.domains import measured_facts
from surveyflow.tasks.registry import task_of
from surveyflow.values.images import Box, CutoutStack, Tile
from surveyflow.values.jobs import SamplingSettings

SEED, N_DRAWS, SIZE = 20220523, 1000, 128  # pixels of a cutout
SOURCES_PER_SQUARE_ARCMIN = 33_879 / (0.6 * 14.0 * 36.0)
POOL_SIDE, STRIP = 1024, 512
BLOCK_BYTES, RESULTS_BYTES = 4096, 10**9
CENTRE_DEG = (150.12, 2.2)


class Instrument(NamedTuple):
    """A mosaic's name, shape, pixel scale (arcsec) and redshifts."""

    name: str
    shape: tuple[int, int]
    scale: float
    redshifts: tuple[float, float]


def instruments(small: bool, mosaic: bool) -> tuple[Instrument, ...]:
    """The mosaics of the field."""
    rows = 10 if small else 1
    if mosaic:
        return (Instrument("F814W", (64_800 // rows, 81_000), 0.03, (0.0, 8.0)),)
    return (
        Instrument("F814W", (28_000 // rows, 72_000), 0.03, (0.5, 1.5)),
        Instrument("F125W_F160W", (14_000 // rows, 36_000), 0.06, (1.5, 3.0)),
    )


def make_field(folder: Path, mosaics: tuple[Instrument, ...]) -> Path:
    """Write mosaics, weights, sources, models and workflow; return the workflow."""
    workflow = folder / "workflow.toml"
    if workflow.exists():
        return workflow
    rng = np.random.default_rng(SEED)
    footprint = _footprint(mosaics[0])
    area = (footprint.y1 - footprint.y0) * (footprint.x1 - footprint.x0) * (mosaics[0].scale / 60) ** 2
    n = round(SOURCES_PER_SQUARE_ARCMIN * area)
    x, y = rng.uniform(footprint.x0, footprint.x1, n), rng.uniform(footprint.y0, footprint.y1, n)
    ra, dec = _wcs(mosaics[0]).all_pix2world(x, y, 0)
    redshift = rng.gamma(3.0, 0.45, n)
    Table({"ID": np.arange(1, n + 1), "RA": ra, "DEC": dec, "zbest": redshift}).write(folder / "sources.fits")
    for each in mosaics:
        write_mosaic(folder, each, *_wcs(each).all_world2pix(ra, dec, 0), rng)
        _write_models(folder / "models", each)
    _write_few(folder, mosaics)
    (folder / "few.toml").write_text(_workflow(mosaics, "few"))
    workflow.write_text(_workflow(mosaics))
    return workflow


def _write_few(folder: Path, mosaics: tuple[Instrument, ...]) -> None:
    """One source in the middle for each mosaic."""
    redshift = [np.mean(each.redshifts) for each in mosaics]
    ra, dec = ([value] * len(mosaics) for value in CENTRE_DEG)
    Table({"ID": np.arange(len(mosaics)), "RA": ra, "DEC": dec, "zbest": redshift}).write(folder / "few.fits")


def _footprint(mosaic: Instrument) -> Box:
    rows, columns = mosaic.shape
    return Box(rows // 10, rows - rows // 10, columns // 8, columns - columns // 8)


def _wcs(mosaic: Instrument) -> Any:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = CENTRE_DEG
    wcs.wcs.crpix = [mosaic.shape[1] / 2 + 0.5, mosaic.shape[0] / 2 + 0.5]
    wcs.wcs.cdelt = [-mosaic.scale / 3600, mosaic.scale / 3600]
    return wcs


def write_mosaic(folder: Path, mosaic: Instrument, x: Any, y: Any, rng: np.random.Generator) -> None:
    """Noise and round galaxies within the footprint, holes in the file beyond it."""
    part, head = _footprint(mosaic), _header(mosaic)
    pool = rng.normal(0, 1e-3, (POOL_SIDE, POOL_SIDE)).astype(np.float32)
    strips = [Box(top, min(top + STRIP, part.y1), part.x0, part.x1) for top in range(part.y0, part.y1, STRIP)]
    shifts = [rng.integers(POOL_SIDE) for _ in strips]
    stamp, galaxies = _galaxy(mosaic.scale), _galaxies(mosaic, x, y, rng)
    weight = np.full((STRIP, part.x1 - part.x0), 1e6, ">f4")
    with _sparse_file(folder, mosaic, "sci", head) as science_file, _sparse_file(folder, mosaic, "wht", head) as weight_file:
        for strip, shift in zip(strips, shifts, strict=True):
            height, width = strip.shape
            science = np.roll(np.tile(pool[:height], (1, -(-width // POOL_SIDE))), shift, axis=1)[:, :width]
            for box, flux in galaxies[(strip.y0 - part.y0) // STRIP]:
                there = box.overlap(strip)
                science[there.within(strip)] += flux * stamp[there.within(box)]
            _write_rows(science_file, len(head), mosaic, strip, science.astype(">f4"))
            _write_rows(weight_file, len(head), mosaic, strip, weight[:height])


def _galaxies(mosaic: Instrument, x: Any, y: Any, rng: np.random.Generator) -> dict[int, list[tuple[Box, float]]]:
    """For each strip of the footprint, by number, the boxes of the galaxies in it, and how bright they are."""
    part, half = _footprint(mosaic), len(_galaxy(mosaic.scale)) // 2
    found: dict[int, list[tuple[Box, float]]] = defaultdict(list)
    for column, row in zip(np.rint(x).astype(int).tolist(), np.rint(y).astype(int).tolist(), strict=True):
        box = Box(row - half, row + half + 1, column - half, column + half + 1)
        if box.clipped(mosaic.shape) == box:
            flux, there = rng.gamma(1.0, 0.02), box.overlap(part)
            for number in range((there.y0 - part.y0) // STRIP, (there.y1 - 1 - part.y0) // STRIP + 1):
                found[number].append((box, flux))
    return found


def _galaxy(scale: float) -> Any:
    reach = np.arange(-24, 25)
    return np.exp(-np.hypot(*np.meshgrid(reach, reach)) * scale / 0.15).astype(np.float32)


def _header(mosaic: Instrument) -> bytes:
    image = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": mosaic.shape[1], "NAXIS2": mosaic.shape[0]})
    image.extend(_wcs(mosaic).to_header())
    image["BUNIT"], image["FILTER"] = "ELECTRONS/S", mosaic.name.split("_")[-1]
    return bytes(image.tostring().encode())


def _sparse_file(folder: Path, mosaic: Instrument, kind: str, head: bytes) -> BinaryIO:
    stream = (folder / f"{mosaic.name}_{kind}.fits").open("wb", buffering=0)
    stream.write(head)
    stream.truncate(len(head) + -(-4 * mosaic.shape[0] * mosaic.shape[1] // 2880) * 2880)
    return stream


def _write_rows(stream: BinaryIO, head_bytes: int, mosaic: Instrument, box: Box, pixels: Any) -> None:
    """Write a part of some rows. Through a memory map, file systems with large pages would fill the holes between the rows."""
    for y, row in zip(range(box.y0, box.y1), pixels, strict=True):
        os.pwrite(stream.fileno(), row.data, head_bytes + 4 * (y * mosaic.shape[1] + box.x0))


def check_disk(folder: Path, mosaics: tuple[Instrument, ...]) -> None:
    """End with a message if the disk is too small for a field that will be made in a folder."""
    needed = sum(map(allocated_bytes if has_holes(folder) else _all_bytes, mosaics)) + RESULTS_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed and not (folder / "workflow.toml").exists():
        sys.exit(
            f"{folder}: the field needs {needed / 1e9:.1f} GB of disk, but {free / 1e9:.1f} GB are free. Name a folder on a "
            "larger disk with --folder, or make a tenth with --small."
        )


def has_holes(folder: Path) -> bool:
    """Whether what is never written takes no space on a folder's disk."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.truncate(2**24)
        file.write(b"0")
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_blocks * 512 < 2**23


def _all_bytes(mosaic: Instrument) -> int:
    return 2 * 4 * mosaic.shape[0] * mosaic.shape[1]


def allocated_bytes(mosaic: Instrument) -> int:
    """The size of image and weights on a disk with holes: their footprint, with the blocks that its rows begin and end in."""
    n_rows, n_columns = _footprint(mosaic).shape
    return 2 * n_rows * (4 * n_columns + BLOCK_BYTES)


def _write_models(store: Path, mosaic: Instrument) -> None:
    write_untrained(
        ModelStore(store),
        ModelKey("merger", "COSMOS", mosaic.name),
        architecture=Architecture(),
        pixel_scale_arcsec=mosaic.scale,
        band=mosaic.name,
        redshift_range=mosaic.redshifts,
        stretch=Stretch.ASINH_SKY,
        softening=1.0,
        domain=Domain(),
        seed=SEED,
    )
    packaged = PACKAGED_MODELS / "contamination" / mosaic.name / "COSMOS"
    shutil.copytree(packaged, store / "contamination" / mosaic.name / "COSMOS")


def _workflow(mosaics: tuple[Instrument, ...], sources: str = "sources") -> str:
    routes = "\n".join(f"{one.name} = [{one.redshifts[0]}, {one.redshifts[1]}]" for one in mosaics)
    images = "\n".join(
        f'[fields.COSMOS.{one.name}]\nscience = "{one.name}_sci.fits"\nweight = "{one.name}_wht.fits"\n' for one in mosaics
    )
    return f"""version = 1
[survey]
name = "field"
release = "r1"
[output]
root = "{sources}-catalog"
[models]
store = "models"
[sampling]
draws = {N_DRAWS}
seed = {SEED}
[routing]
{routes}
[quality]
min_valid_fraction = 0.5
[fields.COSMOS.sources]
path = "{sources}.fits"
columns = {{ id = "ID", ra = "RA", dec = "DEC", redshift = "zbest" }}
{images}"""


class Cost(NamedTuple):
    """What a command took.

    Parameters
    ----------
    wall_s, cpu_s, kernel_s
        Wall time, CPU time of all its processes, and the part of that in the kernel, seconds.
    read_bytes
        What came from disks and not from the page cache: reading that takes several times the CPU time.
    peak_bytes
        Resident memory of its largest process.
    """

    wall_s: float
    cpu_s: float
    kernel_s: float
    read_bytes: int
    peak_bytes: int


def run(workflow: Path, n_workers: int) -> Cost:
    """Run the survey in processes of its own, which find compiled modules; without workers, in one process."""
    profile = workflow.with_name("profile.toml")
    profile.write_text(f'kind = "local"\nworkers = {n_workers}\n' if n_workers else 'kind = "serial"\n')
    command = [sys.executable, "-m", "surveyflow", "run", str(workflow), "--profile", str(profile)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        watcher = _Watcher(process.pid)
        watcher.start()
        code = process.wait()
        watcher.stop()
    if code:
        sys.exit(f"{' '.join(command)} ended with code {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    kernel_s, read_bytes = after.ru_stime - before.ru_stime, 512 * (after.ru_inblock - before.ru_inblock)
    cpu_s = after.ru_utime - before.ru_utime + kernel_s
    return Cost(time.perf_counter() - start, cpu_s, kernel_s, read_bytes, watcher.peak_bytes)


class _Watcher(threading.Thread):
    """Notes the largest resident memory among a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process, self._end, self.peak_bytes = psutil.Process(pid), threading.Event(), 0

    def run(self) -> None:
        while not self._end.wait(0.5):
            for process in self._processes():
                self.peak_bytes = max(self.peak_bytes, process)

    def _processes(self) -> Iterator[int]:
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return
        for one in family:
            try:
                yield one.memory_info().rss
            except psutil.Error:
                continue

    def stop(self) -> None:
        """End after the present look."""
        self._end.set()
        self.join()


def steps(folder: Path, mosaic: Instrument) -> dict[str, float]:
    """CPU milliseconds a source of the steps of measuring, with one thread; names of the networks' steps begin with *."""
    with open_mosaic(folder / f"{mosaic.name}_sci.fits", folder / f"{mosaic.name}_wht.fits") as opened:
        middle, x, y = _middle_tile(folder, mosaic)
        costs: dict[str, float] = {}

        def timed(name: str, work: Callable[[], Any], repeats: int = 3) -> Any:
            seconds = []
            for _ in range(repeats):
                start = time.process_time()
                found = work()
                seconds.append(time.process_time() - start)
            costs[name] = 1e3 * float(np.median(seconds)) / len(x)
            return found

        places = corner(y, SIZE), corner(x, SIZE)
        read = timed(
            "window read, digested and cut", lambda: opened.digested_stamps(middle.window, *places, SIZE, paired_digests())
        )
        stamps = read[1]
        stack: CutoutStack = timed("cutouts checked", lambda: stacked(stamps, x, y, mosaic.shape, positive_medians()))
        centre = np.full((len(x), 2), 63.5)
        facts = timed("sky and centroid", lambda: measured_facts(stack.pixels, stack.valid, centre, mosaic.scale))
        for task in ("merger", "contamination"):
            model = load_model(ModelStore(folder / "models").folder(ModelKey(task, "COSMOS", mosaic.name)))
            _time_model(model, stack, facts.sky, timed)
        return costs


def steps_at_once(folder: Path, mosaic: Instrument, n_processes: int) -> dict[str, float]:
    """The same as `steps` in several processes at once: the mean of them."""
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        wait([pool.submit(time.sleep, 1.0) for _ in range(n_processes)])  # so that all have been started
        found = list(pool.map(steps, [folder] * n_processes, [mosaic] * n_processes))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _time_model(model: Model, stack: CutoutStack, sky: Any, timed: Callable[..., Any]) -> None:
    task, card = model.card.key.task, model.card
    keys, settings = np.arange(len(stack.pixels), dtype=np.uint64), SamplingSettings(N_DRAWS, SEED)
    arcsinh = arcsinh_kernel()
    prepared = timed(
        f"preparation, {task}",
        lambda: prepare(stack.pixels, stack.valid, card.stretch, card.softening, sky=sky, arcsinh=arcsinh),
    )
    features = timed(f"* trunk, {task}", lambda: model.features(prepared))
    rms = sky.rms if task_of(task).measurable else None
    timed(f"* draws and summary, {task}", lambda: sample(model, features, keys, settings, rms))


def _middle_tile(folder: Path, mosaic: Instrument) -> tuple[Tile, Any, Any]:
    """The tile in the mosaic's middle, and the positions of the sources that are measured in it."""
    sources = Table.read(folder / "sources.fits")
    sources = sources[(sources["zbest"] >= mosaic.redshifts[0]) & (sources["zbest"] < mosaic.redshifts[1])]
    x, y = _wcs(mosaic).all_world2pix(sources["RA"], sources["DEC"], 0)
    row, column = (length // 2 // DEFAULT_CORE_SIZE for length in mosaic.shape)
    rows, columns = owning_tiles(x, y, mosaic.shape, DEFAULT_CORE_SIZE)
    there = (rows == row) & (columns == column)
    return tile(mosaic.shape, DEFAULT_CORE_SIZE, SIZE, row, column), x[there], y[there]


def _mean(found: dict[str, dict[str, float]], shares: dict[str, int]) -> dict[str, float]:
    """Costs of each step, as the mean over the mosaics' sources; the networks are all steps that begin with *."""
    n = sum(shares.values())
    costs = {name: sum(found[key][name] * share for key, share in shares.items()) / n for name in next(iter(found.values()))}
    return costs | {"networks": sum(cost for name, cost in costs.items() if name.startswith("*"))}


def report(folder: Path, mosaics: tuple[Instrument, ...], costs: tuple[Cost, Cost, Cost], n_workers: int) -> float:
    """Print the table; return the ratio."""
    first, again, few = costs
    catalog = read_catalog(folder / "sources-catalog")
    measured = catalog[catalog.status == "ok"]
    shares = {one.name: int((measured.instrument == one.name).sum()) for one in mosaics}
    n = sum(shares.values())
    mean = _mean({one.name: steps(folder, one) for one in mosaics}, shares)
    at_once = _mean({one.name: steps_at_once(folder, one, max(n_workers, 1)) for one in mosaics}, shares)
    networks, networks_at_once = mean.pop("networks"), at_once.pop("networks")
    whole, fixed = 1e3 * first.cpu_s / n, 1e3 * few.cpu_s / n
    print(f"{len(catalog):,} sources, {n:,} measured; {first.wall_s:.0f} s, {first.cpu_s:.0f} s of CPU time")
    print(f"{first.kernel_s:.0f} s of it in the kernel; {first.read_bytes / 1e9:.1f} GB came from disks, not from the page cache")
    print(f"largest process {first.peak_bytes / 1e9:.2f} GB")
    print(f"a run with nothing to do {again.wall_s:.1f} s, {again.cpu_s:.1f} s of CPU time")
    print(f"a run of {len(mosaics)} sources {few.wall_s:.1f} s, {few.cpu_s:.1f} s of CPU time")
    print(f"{'CPU milliseconds a measured source':40}{whole:8.3f}")
    for name, cost in mean.items():
        print(f"  {name:38}{cost:8.3f}{at_once[name]:8.3f}")
    print(f"  {'what does not grow with the field':38}{fixed:8.3f}")
    rest, rest_at_once = (whole - fixed - sum(one.values()) for one in (mean, at_once))
    print(f"  {'everything else':38}{rest:8.3f}{rest_at_once:8.3f}")
    print(f"{'networks alone (*)':40}{networks:8.3f}{networks_at_once:8.3f}")
    print(f"CPU of the whole run / CPU of its networks in {max(n_workers, 1)} processes at once: {whole / networks_at_once:.3f}")
    print(f"the same ratio without what does not grow with the field: {(whole - fixed) / networks:.3f}")
    print(f"CPU of the whole run / CPU of its networks alone: {whole / networks:.3f}")
    return whole / networks


def measure(folder: Path, mosaics: tuple[Instrument, ...], n_workers: int) -> float:
    """Make the field, run it twice, print the table; return the ratio."""
    check_disk(folder, mosaics)
    workflow = make_field(folder, mosaics)
    for name in ("sources", "few"):
        shutil.rmtree(folder / f"{name}-catalog", ignore_errors=True)
    compileall.compile_dir(Path(surveyflow.__file__).parent, quiet=1)
    few = run(folder / "few.toml", n_workers)
    return report(folder, mosaics, (run(workflow, n_workers), run(workflow, n_workers), few), n_workers)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tenth of the area and of the sources")
    parser.add_argument("--mosaic", action="store_true", help="one mosaic of 64,800 x 81,000 pixels")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where to keep the field")
    options = parser.parse_args()
    mosaics = instruments(options.small, options.mosaic)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.folder.resolve(), mosaics, options.workers)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), mosaics, options.workers)


if __name__ == "__main__":
    main()
