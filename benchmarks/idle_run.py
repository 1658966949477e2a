"""The time and memory of a run that finds nothing to do, on a survey the size of CANDELS.

    python benchmarks/idle_run.py [--sources 186435] [--tiles 12] [--root FOLDER]

Prints one JSON object. Five fields in two instruments are made of noise; they are small in pixels, but have as many tiles and
sources as the real ones. A stub replaces the networks. The first run fills the output folder with units and digests. The measured
runs are `surveyflow run` in a separate process, including imports.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from stubs import check_stubbed
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.tasks.card import Architecture
from worlds import write_untrained_models

FIELDS = {"COSMOS": (150.1, 2.3), "EGS": (214.9, 52.9), "UDS": (34.4, -5.2), "GOODS_N": (189.2, 62.2), "GOODS_S": (53.1, -27.8)}
PIXEL_SCALES_ARCSEC = {"F814W": 0.03, "F125W_F160W": 0.06}
N_SOURCES = 186_435
CORE_SIZE = 256
SMALL_INPUT = Architecture(input_size=16, filters=(2,), kernel_sizes=(3,), dense=(2,))


def write_survey(folder, n_sources, tiles_a_side):
    """Write mosaics, source lists, models and a workflow; return the workflow's path."""
    rng = np.random.default_rng(1)
    side_deg = tiles_a_side * CORE_SIZE * PIXEL_SCALES_ARCSEC["F814W"] / 3600
    for number, (field, centre) in enumerate(FIELDS.items()):
        for instrument, scale in PIXEL_SCALES_ARCSEC.items():
            _write_mosaic(folder / f"{field}_{instrument}.fits", rng, centre, scale, side_deg)
        n_own = (n_sources + number) // len(FIELDS)
        _write_list(folder / f"{field}.fits", rng, centre, side_deg, n_own)
    write_untrained_models(folder / "models", tuple(FIELDS), SMALL_INPUT)
    path = folder / "workflow.toml"
    path.write_text(_workflow())
    return path


def _write_mosaic(path, rng, centre, scale_arcsec, side_deg):
    side = round(side_deg * 3600 / scale_arcsec)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix = centre, [side / 2, side / 2]
    wcs.wcs.cd = np.diag([-scale_arcsec, scale_arcsec]) / 3600
    header = wcs.to_header()
    header["BUNIT"] = "ELECTRONS/S"
    fits.PrimaryHDU(rng.normal(0, 0.002, (side, side)).astype(np.float32), header).writeto(path)


def _write_list(path, rng, centre, side_deg, n_sources):
    x, y = rng.uniform(-0.5, 0.5, (2, n_sources)) * side_deg
    redshift = np.where(rng.random(n_sources) < 0.05, np.nan, rng.uniform(0.3, 3.2, n_sources))
    ra, dec = centre[0] + x / np.cos(np.radians(centre[1])), centre[1] + y
    Table({"ID": np.arange(1, n_sources + 1), "RA": ra, "DEC": dec, "zbest": redshift}).write(path)


def _workflow():
    lines = ['version = 1\n[survey]\nname = "made"\nrelease = "v1.0"\n[output]\nroot = "catalog"\n[models]\nstore = "models"']
    lines.append("[sampling]\ndraws = 20\nseed = 7\n[routing]\nF814W = [0.5, 1.5]\nF125W_F160W = [1.5, 3.0]")
    lines.append(f"[tiling]\ncore_size = {CORE_SIZE}")
    for field in FIELDS:
        columns = '{ id = "ID", ra = "RA", dec = "DEC", redshift = "zbest" }'
        lines.append(f'[fields.{field}.sources]\npath = "{field}.fits"\ncolumns = {columns}')
        lines += [f'[fields.{field}.{name}]\nscience = "{field}_{name}.fits"' for name in PIXEL_SCALES_ARCSEC]
    return "\n".join(lines) + "\n"


def measure(folder, n_sources, tiles_a_side):
    """Seconds and memory of a run with nothing to do, and of one that only publishes under a new name."""
    workflow = write_survey(folder, n_sources, tiles_a_side)
    start = time.perf_counter()
    with open_survey(load_workflow(workflow)) as survey:
        first = run_survey(survey, SerialProfile(), factory="stubs:StubWorker")
    first_s = time.perf_counter() - start
    check_stubbed(folder / "catalog")
    idle, idle_s, idle_mb = _run(workflow)
    workflow.write_text(workflow.read_text().replace("v1.0", "v1.1"))
    renamed, renamed_s, renamed_mb = _run(workflow)
    return {
        "rows": first.rows,
        "units": first.units["done"],
        "first_run_with_a_stub_s": first_s,
        "idle_run": {"seconds": idle_s, "peak_mb": idle_mb, "units": idle["units"], "published": idle["published"]},
        "new_name": {"seconds": renamed_s, "peak_mb": renamed_mb, "units": renamed["units"], "published": renamed["published"]},
    }


def _run(workflow):
    """Output of `surveyflow run`, its wall time, and its own peak memory in MB."""
    # The kernel's ru_maxrss also counts this process's memory at the fork; VmHWM starts again with the program.
    script = (
        "import atexit; from surveyflow.commands.main import main; "
        "atexit.register(lambda: print(open('/proc/self/status').read())); main()"
    )
    command = [sys.executable, "-c", script, "run", str(workflow), "--json"]
    start = time.perf_counter()
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout
    seconds = time.perf_counter() - start
    result, _, status = output.partition("\n")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return json.loads(result), seconds, peak_kb / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=N_SOURCES)
    parser.add_argument("--tiles", type=int, default=12, help="tiles on a side of an F814W mosaic")
    parser.add_argument("--root", type=Path, help="working folder; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.root) as folder:
        print(json.dumps(measure(Path(folder), options.sources, options.tiles), indent=1))


if __name__ == "__main__":
    main()
