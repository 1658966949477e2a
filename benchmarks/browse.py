"""The time that the pages of ``surveyflow browse`` take, on a stub of a catalog with any number of rows.

    python benchmarks/browse.py [--rows 200000] [--rounds 5] [--folder DIR]

The stub has every column of a catalog, most of them empty, in files of 25,000 rows as a run writes them, and one mosaic. The
server is the real command in a process of its own, and each page is asked for by HTTP as a browser asks. A table holds the
median and the longest wall time of each page over the rounds, each with another selection, so that no round is answered from
memory; and the server's median processor time, which other processes change less. A sheet is its page and all of its pictures,
six at a time.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.wcs import WCS
from cdshealpix.nested import healpix_to_lonlat

from surveyflow.catalog.parquet import parquet_bytes
from surveyflow.catalog.schema import CATALOG_SCHEMA, span_29

ROWS_A_FILE = 25_000
ORDER, FIRST_CELL, N_FIELDS = 6, 20_000, 40
MOSAIC_SIDE = 3000
MODEL = "merger/F00/F814W@0123456789ab"


def write_stub(root: Path, n_rows: int) -> Path:
    """Write a catalog of random numbers with one revision, and its mosaic."""
    folder = root / "releases" / "stub-r1"
    (folder / "dataset").mkdir(parents=True)
    rng = np.random.default_rng(1)
    cells = [FIRST_CELL + number for number in range(-(-n_rows // ROWS_A_FILE))]
    for number, cell in enumerate(cells):
        path = folder / "dataset" / f"Norder={ORDER}" / f"Dir={cell // 10_000 * 10_000}" / f"Npix={cell}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        first = number * ROWS_A_FILE
        path.write_bytes(parquet_bytes(_rows(rng, cell, first, min(ROWS_A_FILE, n_rows - first))))
    (folder / "partition_info.csv").write_text("\n".join(["Norder,Npix", *(f"{ORDER},{cell}" for cell in cells)]) + "\n")
    pq.write_metadata(CATALOG_SCHEMA, folder / "dataset" / "_common_metadata")
    (folder / "manifest.json").write_text(json.dumps(_manifest(_mosaic(root / "mosaic.fits", rng), n_rows)))
    (root / "latest").symlink_to("releases/stub-r1")
    return root


def _rows(rng: np.random.Generator, cell: int, first: int, n: int) -> pa.Table:
    places = np.sort(rng.integers(*span_29(ORDER, cell), n))
    lon, lat = healpix_to_lonlat(places, 29)
    p_pm = rng.beta(1.2, 2.2, n)
    field = f"F{cell % N_FIELDS:02d}"
    words = {"field": field, "instrument": "F814W", "status": "ok", "model_id": MODEL, "weights_origin": "simulated"}
    values = {
        name: pa.array([word]).take(pa.array(np.zeros(n, np.int64))) for name, word in (words | {"unit_key": "0" * 64}).items()
    }
    values |= {"_healpix_29": places, "source_id": np.arange(first, first + n), "ra": lon.deg, "dec": lat.deg}
    values |= {"redshift": rng.uniform(0.5, 3, n), "flags": rng.choice([0, 0, 0, 2, 6], n), "valid_fraction": np.ones(n)}
    values |= {"x_pix": rng.uniform(100, MOSAIC_SIDE - 100, n), "y_pix": rng.uniform(100, MOSAIC_SIDE - 100, n)}
    values |= {"p_pm_mean": p_pm, "p_sf_mean": 1 - p_pm, "f_pm": p_pm, "p_pm_std": rng.uniform(0, 0.3, n)}
    values |= {"p_contaminated_mean": rng.random(n), "coverage_pct_mean": rng.uniform(0, 40, n), "flux_pp_mean": rng.random(n)}
    values |= {"n_draws": np.full(n, 1000), "n_members": np.full(n, 1), "seed": np.full(n, 7)}
    arrays = [_missing(n, one.type) if one.name not in values else _cast(values[one.name], one.type) for one in CATALOG_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=CATALOG_SCHEMA)


def _missing(n: int, kind: pa.DataType) -> pa.Array:
    """Nulls as a catalog writes them: a missing list is one of nulls."""
    if not pa.types.is_fixed_size_list(kind):
        return pa.nulls(n, kind)
    return pa.FixedSizeListArray.from_arrays(pa.nulls(n * kind.list_size, kind.value_type), type=kind)


def _cast(values: object, kind: pa.DataType) -> pa.Array:
    return (values if isinstance(values, pa.Array) else pa.array(values)).cast(kind, safe=False)


def _mosaic(path: Path, rng: np.random.Generator) -> Path:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.2], [MOSAIC_SIDE / 2] * 2
    wcs.wcs.cd = np.diag([-0.03, 0.03]) / 3600
    fits.PrimaryHDU(rng.normal(0, 1e-3, (MOSAIC_SIDE, MOSAIC_SIDE)).astype(np.float32), wcs.to_header()).writeto(path)
    return path


def _manifest(mosaic: Path, n_rows: int) -> dict[str, object]:
    entry = {"instrument": "F814W", "kind": "science", "path": str(mosaic), "size": mosaic.stat().st_size}
    about = {"revision": "stub-r1", "release": "stub", "survey": "stub", "created": "2026-11-28T00:00:00+00:00"}
    inputs = [entry | {"field": f"F{number:02d}"} for number in range(N_FIELDS)]
    return about | {"rows": n_rows, "status": {"ok": n_rows}, "files": {}, "inputs": inputs, "models": [], "workflow": {}}


class Reader:
    """A browser without a screen, which knows the server's process."""

    def __init__(self, address: str, server: int) -> None:
        self._server = psutil.Process(server)
        self.host = address.split("/")[2]
        self.cookie = self._ask("/?" + address.partition("?")[2]).getheader("set-cookie").split(";")[0]

    def _ask(self, path: str, cookie: str = ""):
        connection = HTTPConnection(self.host, timeout=600)
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    def processor_seconds(self) -> float:
        """Processor time of the server until now."""
        spent = self._server.cpu_times()
        return spent.user + spent.system

    def get(self, path: str) -> bytes:
        answer = self._ask(path, self.cookie)
        assert answer.status == 200, (path, answer.status, answer.content[:300])
        return answer.content

    def sheet(self, path: str) -> int:
        """A page with its pictures; their number."""
        images = re.findall(r'<img src="([^"]+)"', self.get(path).decode())
        with ThreadPoolExecutor(6) as pool:
            return len(list(pool.map(self.get, map(html.unescape, images))))


@contextmanager
def reading(root: Path) -> Iterator[Reader]:
    """The command, until the block is over."""
    command = [sys.executable, "-m", "surveyflow", "browse", str(root), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield Reader(server.stdout.readline().strip(), server.pid)
        finally:
            server.kill()


def pages(n_rows: int) -> dict[str, Callable[[Reader, int], object]]:
    """What is measured: each takes a reader and the number of the round."""

    def address(path: str, **query: object) -> str:
        return f"{path}?{urlencode(query)}"

    def galaxy(reader: Reader, number: int, path: str = "/galaxy") -> bytes:
        source = n_rows * (number + 1) // 13
        return reader.get(address(path, field=f"F{(FIRST_CELL + source // ROWS_A_FILE) % N_FIELDS:02d}", id=source))

    def plot(reader: Reader, number: int) -> bytes:
        ends = {"x0": 0.5, "x1": 3, "y0": 0, "y1": 1}
        return reader.get(address("/cells.json", x="redshift", y="p_pm_mean", where=f"redshift > 0.6{number}", **ends))

    return {
        "first page": lambda reader, _: reader.get("/"),
        "filter": lambda reader, number: reader.get(address("/", where=f"0.5 <= z < 1.5{number} and p_pm_mean > 0.6")),
        "sort": lambda reader, number: reader.get(address("/", sort=("p_pm_mean", "redshift", "coverage_pct_mean")[number % 3])),
        "filter and sort": lambda reader, number: reader.get(
            address("/", where=f"z < 2.{number} and flags & OUT_OF_DOMAIN == 0", sort="p_pm_mean")
        ),
        "sheet of 60 cutouts": lambda reader, number: reader.sheet(address("/", n=60, sort="p_pm_mean", page=number + 1)),
        "galaxy": galaxy,
        "galaxies like it, by columns": lambda reader, number: galaxy(reader, number, "/alike"),
        "plot of two columns": plot,
    }


def measure(reader: Reader, n_rows: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor times of each page, seconds."""
    found = {}
    for name, ask in pages(n_rows).items():
        found[name] = []
        for number in range(rounds):
            start, spent = time.perf_counter(), reader.processor_seconds()
            ask(reader, number)
            found[name].append((time.perf_counter() - start, reader.processor_seconds() - spent))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the stub is, or is written and kept; a temporary folder if left out")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        root = asked.folder or Path(temporary, "stub")
        if not (root / "latest").is_symlink():
            write_stub(root, asked.rows)
        with reading(root) as reader:
            found = measure(reader, asked.rows, asked.rounds)
    print(f"| page, {asked.rows:,} rows | median, s | longest, s | processor, s |\n|---|---|---|---|")
    for name, times in found.items():
        wall, spent = zip(*times, strict=True)
        print(f"| {name} | {statistics.median(wall):.2f} | {max(wall):.2f} | {statistics.median(spent):.2f} |", flush=True)


if __name__ == "__main__":
    main()
