"""Servers of files on this machine, with the faults that servers have."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Fault = Callable[["Answering", int], bool]
"""Gets the request and its number, from 0, for its path; returns whether it has answered."""


@dataclass
class FileServer:
    """A folder behind HTTP, with ranges, ETags and conditional requests."""

    folder: Path
    address: str = ""
    fault: Fault | None = None
    ranges: bool = True
    etags: bool = True
    dates: bool = True
    requests: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, str]] = field(default_factory=list)
    n_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        self.requests.clear()
        self.asked.clear()
        self.n_bytes = 0


class Answering(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    served: FileServer
    timeout = 30
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.served.lock:
            number = self.served.requests[path]
            self.served.requests[path] += 1
            self.served.asked.append((self.path, self.headers.get("Range", "")))
        if self.served.fault is None or not self.served.fault(self, number):
            self.send_file()

    def send_file(self, **changes: str) -> None:
        file = self.served.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if not file.is_file():
            self.send_status(404)
            return
        content, status = file.read_bytes(), file.stat()
        headers = {}
        if self.served.etags:
            headers["ETag"] = _etag(file, status.st_mtime_ns, status.st_size)
        if self.served.dates:
            headers["Last-Modified"] = formatdate(status.st_mtime, usegmt=True)
        first, last = self.wanted(len(content), headers.get("ETag"))
        if first >= len(content) and first:
            self.send_status(416)
            return
        part = content[first : last + 1]
        whole = len(part) == len(content) and "Range" not in self.headers
        if not whole and self.served.ranges:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.send(200 if whole or not self.served.ranges else 206, part, headers | changes)

    def wanted(self, size: int, etag: str | None) -> tuple[int, int]:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or not self.served.ranges or self.headers.get("If-Range", etag) != etag:
            return 0, size - 1
        return int(asked[1]), min(int(asked[2] or size - 1), size - 1)

    def send(self, status: int, content: bytes, headers: dict[str, str], sent: bytes | None = None) -> None:
        """Answer; ``sent`` is what comes in place of the content that the headers describe."""
        body = content if sent is None else sent
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        with self.served.lock:
            self.served.n_bytes += len(body)
        self.wfile.write(body)
        if len(body) != len(content):
            self.close_connection = True

    def send_status(self, status: int, **headers: str) -> None:
        self.send(status, b"", {name.replace("_", "-"): value for name, value in headers.items()})


@cache
def _etag(file: Path, mtime_ns: int, size: int) -> str:
    return f'"{hashlib.md5(file.read_bytes()).hexdigest()}"'


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Serve a folder on a free port of this machine."""
    served = FileServer(folder)
    handler = type("Handler", (Answering,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    served.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def overloaded(times: int) -> Fault:
    """The first requests for each file are answered by 503."""

    def fault(request: Answering, number: int) -> bool:
        if number < times:
            request.send_status(503, Retry_After="0")
        return number < times

    return fault


def cut_short(times: int) -> Fault:
    """The first requests for each file get half of what the headers say."""

    def fault(request: Answering, number: int) -> bool:
        if number >= times:
            return False
        sending = request.send

        def send(status: int, content: bytes, headers: dict[str, str]) -> None:
            sending(status, content, headers, sent=content[: len(content) // 2])

        request.send = send  # type: ignore[method-assign,assignment]
        return False

    return fault


def troubled(every: int) -> Fault:
    """Of every so many requests for a file, one is answered by 503, one by 429, and one by half of what the headers say."""
    refusals, cutting = {0: 503, 1: 429}, cut_short(every)

    def fault(request: Answering, number: int) -> bool:
        place = number % every
        if place in refusals:
            request.send_status(refusals[place], Retry_After="0")
        return place in refusals or (place == 2 and cutting(request, 0))

    return fault


def throttled(seconds: float) -> Fault:
    """Every answer takes a while."""

    def fault(request: Answering, number: int) -> bool:
        time.sleep(seconds)
        return False

    return fault
