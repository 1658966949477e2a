"""Time and memory of everything that is done with published revisions, each in a process of its own.

    python benchmarks/releases.py [--rows 1000000] [--root FOLDER]

Two revisions of an invented survey are published; in the second, one unit in twenty was done again and has other results. Then
they are compared (the guard, and ``releases diff``), the later one is described (the report) and verified, readers get the
earlier one and then the later one again, and the earlier one is pruned. Prints a line of JSON for each step: wall and CPU time,
and the peak resident memory of its process, imports included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from publishing import results

from surveyflow.catalog.schema import SORT_ORDER, build_rows, healpix_29
from surveyflow.output.units import read_receipt, write_unit
from surveyflow.releases.comparison import compare
from surveyflow.releases.guard import judge
from surveyflow.releases.inventory import take_inventory
from surveyflow.releases.pruning import prune
from surveyflow.releases.publish import publish
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision
from surveyflow.reports.page import write_report
from surveyflow.settings.workflow import Guard

ROWS_PER_UNIT = 10_000
TILE_SIDE_DEG = 0.1
FIELDS = {"COSMOS": (150.1, 2.3), "EGS": (214.9, 52.9), "UDS": (34.4, -5.2), "GOODS_N": (189.2, 62.2), "GOODS_S": (53.1, -27.8)}
REDONE = 20
"""One unit in so many is done again for the second revision."""
MANIFEST = {
    "survey": "benchmark",
    "created": "2026-11-29T12:00:00+00:00",
    "run_id": "20261129T120000Z-1a2b3c",
    "surveyflow_version": "0",
    "host": "benchmark",
    "inputs": [],
    "models": [],
    "workflow": {"version": 1, "sampling": {"draws": 1000, "seed": 1, "keep_draws": False}, "tiling": None},
    "units": {"done": 0, "kept": 0, "dropped": 0, "failed": 0},
    "failed_units": [],
    "timings": {"worker_seconds": 0.0},
    "versions": {},
}


def tiles(n_rows, rows_per_unit):
    """Field, row, column and number of sources of each unit."""
    n_units = -(-n_rows // rows_per_unit)
    side = int(np.ceil(np.sqrt(n_units / len(FIELDS))))
    places = [(field, row, column) for row in range(side) for column in range(side) for field in FIELDS][:n_units]
    counts = np.diff(np.linspace(0, n_rows, len(places) + 1).astype(int))
    return [(*place, int(count)) for place, count in zip(places, counts, strict=True)]


def write_units(root, n_rows, rows_per_unit, *, second):
    """Receipts of all units; those of the second revision that were not done again are those of the first."""
    results = invented_rows(rows_per_unit)
    moved = _with_other_means(results)
    receipts = []
    for number, place in enumerate(tiles(n_rows, rows_per_unit)):
        again = second and number % REDONE == 0
        key = f"{number + (10**9 if again else 0):064x}"
        receipts.append(read_receipt(root, key) or _write_unit(root, key, number, place, moved if again else results))
    return receipts


def invented_rows(n_rows):
    """Rows with invented results, all at the same place."""
    zeros = np.zeros(n_rows)
    identity = {"_healpix_29": zeros.astype(np.int64), "field": "X", "source_id": np.arange(n_rows), "ra": zeros, "dec": zeros}
    return build_rows(identity | {"flags": 0, "instrument": "F814W"} | results(np.random.default_rng(1), n_rows), n_rows)


def _with_other_means(rows):
    return replaced(rows, {"p_pm_mean": pc.subtract(pa.scalar(1, pa.float32()), rows["p_pm_mean"])})


def _write_unit(root, key, number, place, rows):
    """A unit with these results at positions of its own."""
    field, row, column, n_rows = place
    rng = np.random.default_rng(number)
    ra_deg, dec_deg = FIELDS[field]
    dec = dec_deg + TILE_SIDE_DEG * (row + rng.random(n_rows))
    ra = ra_deg + TILE_SIDE_DEG * (column + rng.random(n_rows)) / np.cos(np.radians(dec_deg))
    ids = np.arange(n_rows) + 10**6 * (1_000 * row + column)
    identity = {"_healpix_29": healpix_29(ra, dec), "field": [field] * n_rows, "source_id": ids, "ra": ra, "dec": dec}
    table = replaced(rows.slice(0, n_rows), identity).sort_by(SORT_ORDER)
    return write_unit(root, key, f"{field}/F814W/{number:06d}", {}, table, seconds=0.0, worker="benchmark")


def replaced(rows, columns):
    """The rows with other values in some columns."""
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        own = rows.schema.field(place)
        rows = rows.set_column(place, own, values if isinstance(values, pa.ChunkedArray) else pa.array(values, own.type))
    return rows


def publish_revision(root, n_rows, rows_per_unit, *, second):
    """Publish the first revision, or the second."""
    receipts = write_units(root, n_rows, rows_per_unit, second=second)
    publish(root, "v1.0", receipts, None, MANIFEST | {"expected_rows": n_rows})


def steps(root, n_rows, rows_per_unit):
    """What is done with revisions, by name; each returns what it found."""
    first, second = (root / "releases" / name for name in ("v1.0-r1", "v1.0-r2"))
    return {
        "units": lambda: len(write_units(root, n_rows, rows_per_unit, second=False)),
        "publish": lambda: publish_revision(root, n_rows, rows_per_unit, second=False),
        "publish again": lambda: publish_revision(root, n_rows, rows_per_unit, second=True),
        "guard": lambda: judge(first, second, Guard()),
        "diff": lambda: compare(root, "v1.0-r1", "v1.0-r2").as_json()["rows"],
        "report": lambda: write_report(second, root / "report.html", first),
        "verify": lambda: check_revision(second),
        "rollback": lambda: roll_back(root).after.name,
        "rollback again": lambda: roll_back(root, "v1.0-r2").after.name,
        "list": lambda: [one.n_new_bytes for one in take_inventory(root).revisions],
        "prune": lambda: prune(root, keep=1).as_json()["revisions"],
    }


def measured(root, n_rows, rows_per_unit, step):
    """Do a step in this process."""
    start, start_cpu = time.perf_counter(), time.process_time()
    found = steps(root, n_rows, rows_per_unit)[step]()
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step": step, "rows": n_rows, "wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": peak_mb, "found": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rows-per-unit", type=int, default=ROWS_PER_UNIT)
    parser.add_argument("--root", type=Path, help="where the working folder is made; the system's temporary folder by default")
    parser.add_argument("--step", help="do one step in an existing working folder, --root")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(options.root, options.rows, options.rows_per_unit, options.step), default=str), flush=True)
        return
    with tempfile.TemporaryDirectory(dir=options.root) as folder:
        size = ["--rows", str(options.rows), "--rows-per-unit", str(options.rows_per_unit)]
        for step in steps(Path(folder), options.rows, options.rows_per_unit):
            subprocess.run([sys.executable, __file__, *size, "--root", folder, "--step", step], check=True)


if __name__ == "__main__":
    main()
