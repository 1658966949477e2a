"""The time and memory for publishing a catalog the size of CANDELS.

    python benchmarks/publishing.py [--sources 186435] [--root FOLDER]

Prints one JSON object, with the CPU time of each kind of task in microseconds a row. The process has the settings of a worker: it
keeps memory that was freed, and seldom looks for garbage. The rows are invented: statuses as in CANDELS, random posteriors, five
fields at their true positions.
"""

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from surveyflow.catalog.schema import HISTOGRAM_BINS, build_rows, healpix_29
from surveyflow.execution.limits import KEPT_MEMORY
from surveyflow.output.units import write_unit
from surveyflow.releases.publish import publish, read_catalog
from surveyflow.stats.posterior import QUANTILES
from surveyflow.values.codes import Status

FIELDS = {"COSMOS": (150.1, 2.3), "EGS": (214.9, 52.9), "UDS": (34.4, -5.2), "GOODS_N": (189.2, 62.2), "GOODS_S": (53.1, -27.8)}
N_SOURCES = 186_435
TILE_SIDE_DEG = 0.05
SINGLE = ("f_pm", "vote_entropy", "entropy_predictive", "entropy_expected", "mutual_information", "member_agreement")


def write_units(root, n_sources, tiles_a_side, seed=1):
    """The units of an invented survey; each holds the sources of one tile."""
    rng = np.random.default_rng(seed)
    tiles = [(field, row, column) for field in FIELDS for row in range(tiles_a_side) for column in range(tiles_a_side)]
    counts = np.diff(np.linspace(0, n_sources, len(tiles) + 1).astype(int))
    return [
        _write_unit(root, rng, number, *tile, n_rows) for number, (tile, n_rows) in enumerate(zip(tiles, counts, strict=True))
    ]


def _write_unit(root, rng, number, field, row, column, n_rows):
    ra_deg, dec_deg = FIELDS[field]
    ra = ra_deg + TILE_SIDE_DEG * (column + rng.random(n_rows)) / np.cos(np.radians(dec_deg))
    dec = dec_deg + TILE_SIDE_DEG * (row + rng.random(n_rows))
    identity = {
        "_healpix_29": healpix_29(ra, dec),
        "field": field,
        "source_id": np.arange(n_rows) + 1_000_000 * (row * 1_000 + column),
        "ra": ra,
        "dec": dec,
        "flags": 0,
    }
    table = build_rows(identity | results(rng, n_rows), n_rows)
    return write_unit(
        root, f"{number:064x}", f"{field}/F814W/y{row:03d}x{column:03d}", {}, table, seconds=0.0, worker="benchmark"
    )


def results(rng, n_rows):
    """Invented results, by column."""
    ok = rng.random(n_rows) < 0.7
    names = [f"{output}_{key}" for output in ("p_pm", "p_sf") for key in ("mean", "std", *QUANTILES)]
    results = {name: rng.random(n_rows, np.float32) for name in (*names, *SINGLE)}
    results["p_pm_hist"] = rng.multinomial(1000, np.full(HISTOGRAM_BINS, 1 / HISTOGRAM_BINS), n_rows)
    results |= {"n_draws": np.full(n_rows, 1000), "n_members": np.full(n_rows, 1), "seed": np.full(n_rows, 1)}
    results |= {"model_id": np.full(n_rows, "merger/X/F814W@0123456789ab"), "weights_origin": np.full(n_rows, "untrained")}
    return {"status": np.where(ok, Status.OK.value, Status.NO_MODEL.value)} | {
        name: np.ma.masked_array(values, np.broadcast_to(~ok.reshape(-1, *[1] * (values.ndim - 1)), values.shape))
        for name, values in results.items()
    }


def measure(root, n_sources, tiles_a_side=6):
    """Seconds and memory of publishing and reading back."""
    receipts, tasks_s = write_units(root, n_sources, tiles_a_side), Counter()

    def do(tasks):
        return [_timed(task, tasks_s) for task in tasks]

    before_mb = _peak_mb()
    start, start_cpu = time.perf_counter(), time.process_time()
    revision = publish(root, "v1.0", receipts, None, {"survey": "benchmark", "expected_rows": n_sources}, do=do)
    published, cpu_s = time.perf_counter(), time.process_time() - start_cpu
    frame = read_catalog(root, ["field", "source_id", "p_pm_mean"], [("status", "==", "ok")])
    files = list((revision.path / "dataset").rglob("*.parquet"))
    return {
        "rows": revision.n_rows,
        "units": len(receipts),
        "partitions": len(files),
        "size_mb": sum(file.stat().st_size for file in files) / 1e6,
        "publish_s": published - start,
        "publish_cpu_s": cpu_s,
        "rows_per_cpu_s": n_sources / cpu_s,
        "tasks_cpu_us_per_row": {verb: 1e6 * seconds / n_sources for verb, seconds in tasks_s.items()},
        "read_three_columns_s": time.perf_counter() - published,
        "ok_rows": len(frame),
        "peak_mb": _peak_mb(),
        "peak_before_mb": before_mb,
    }


def _timed(task, tasks_s):
    start = time.process_time()
    result = task.carry_out()
    tasks_s[task.verb] += time.process_time() - start
    return result


def _peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=N_SOURCES)
    parser.add_argument("--root", type=Path, help="working folder; a temporary one by default")
    options = parser.parse_args()
    if not KEPT_MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEPT_MEMORY)
    gc.freeze()
    gc.set_threshold(10_000)
    with tempfile.TemporaryDirectory(dir=options.root) as folder:
        print(json.dumps(measure(Path(folder), options.sources), indent=1))


if __name__ == "__main__":
    main()
