"""Bytes and time of cutouts scattered over a mosaic behind a web server on the same machine.

``python benchmarks/remote.py`` writes a mosaic, serves it with a delay before every answer, as a distant server would, and
cuts the same stamps with `surveyflow.cutouts` and with astropy's ``section`` over fsspec. Astrocut's cutouts of remote files are
built on the latter; its users set blocks of 10 kB or 1 MB. "Needed" counts the bytes of the stamps' own pixels.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

import surveyflow
from surveyflow.values.arrays import Float64Array

SIZE = 128


@contextmanager
def serving(file: Path, delay_s: float) -> Iterator[tuple[str, Counter[str]]]:
    """Serve one file by ranges."""
    counts: Counter[str] = Counter()
    lock, descriptor, size = threading.Lock(), os.open(file, os.O_RDONLY), file.stat().st_size

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_HEAD(self) -> None:
            self._answer(0, size, send=False)

        def do_GET(self) -> None:
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            self._answer(int(first), min(int(last or size - 1) + 1, size), send=True)

        def _answer(self, start: int, stop: int, *, send: bool) -> None:
            # Count before answering: the client may be done before this thread goes on.
            with lock:
                counts["requests"] += 1
                counts["bytes"] += stop - start if send else 0
            time.sleep(delay_s)
            self.send_response(206 if "Range" in self.headers else 200)
            headers = {"Accept-Ranges": "bytes", "ETag": '"1"', "Content-Length": str(stop - start)}
            for name, value in (headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}).items():
                self.send_header(name, value)
            self.end_headers()
            if send:
                self.wfile.write(os.pread(descriptor, stop - start, start))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{file.name}", counts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        os.close(descriptor)


def write_mosaic(path: Path, side: int) -> fits.Header:
    """Write a square mosaic of noise at 30 mas."""
    step = 0.03 / 3600
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 1.0, "CRPIX2": 1.0}
    header = fits.Header({**cards, "CD1_1": -step, "CD2_2": step})
    fits.writeto(path, np.random.default_rng(1).normal(size=(side, side)).astype(np.float32), header)
    return header


def by_astropy(address: str, x: Float64Array, y: Float64Array, block_bytes: int) -> None:
    """Cut with astropy over fsspec."""
    options = {"block_size": block_bytes, "cache_type": "bytes"}
    with fits.open(address, use_fsspec=True, fsspec_kwargs=options) as hdus:
        for x0, y0 in zip((x - SIZE / 2).astype(int), (y - SIZE / 2).astype(int), strict=True):
            _ = hdus[0].section[y0 : y0 + SIZE, x0 : x0 + SIZE]


def measure(side: int, n_cutouts: int, n_astropy: int, delay_s: float) -> dict[str, tuple[int, float, float, int]]:
    """Number of cutouts, seconds, megabytes and requests, by way of cutting."""
    x, y = np.random.default_rng(2).uniform(SIZE, side - SIZE, (2, n_cutouts))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mosaic.fits")
        ra, dec = WCS(write_mosaic(file, side)).wcs_pix2world(x, y, 0)
        ways: dict[str, tuple[int, Callable[[str], object]]] = {
            "surveyflow.cutouts": (n_cutouts, lambda address: surveyflow.cutouts(address, ra, dec, SIZE)),
            "astropy, blocks of 10 kB": (n_astropy, lambda address: by_astropy(address, x[:n_astropy], y[:n_astropy], 10_000)),
            "astropy, blocks of 1 MB": (n_astropy, lambda address: by_astropy(address, x[:n_astropy], y[:n_astropy], 10**6)),
        }
        return {name: (n, *_measured(file, delay_s, cut)) for name, (n, cut) in ways.items()}


def _measured(file: Path, delay_s: float, cut: Callable[[str], object]) -> tuple[float, float, int]:
    with serving(file, delay_s) as (address, counts):
        start = time.perf_counter()
        cut(address)
        return time.perf_counter() - start, counts["bytes"] / 1e6, counts["requests"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=10_000, help="pixels")
    parser.add_argument("--cutouts", type=int, default=1000)
    parser.add_argument("--astropy-cutouts", type=int, default=50, help="they are cut one after the other, so fewer are timed")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds before every answer")
    options = parser.parse_args()
    found = measure(options.side, options.cutouts, options.astropy_cutouts, options.delay)
    print(f"needed: {SIZE * SIZE * 4 / 1e6:.3f} MB a cutout")
    for name, (n, seconds, megabytes, requests) in found.items():
        print(f"{name:26} {n:5} cutouts  {seconds / n:8.3f} s  {megabytes / n:8.3f} MB  {requests / n:7.1f} requests a cutout")


if __name__ == "__main__":
    main()
