"""Another user of the machine, who tries every door of a run.

    python tests/stranger.py USER

Reads one JSON object from standard input: ``sockets`` (address and port), ``unix_sockets`` and ``paths``. Becomes the user with
that number, tries them all, and prints a JSON list of those that let it in or showed anything, with how.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Security
from distributed.core import connect, rpc

PATIENCE_S = 3.0
"""Seconds for an answer: whoever opens answers at once."""

PAGES = ("/health", "/metrics", "/info/main/workers.html")
OPENED = Exception, asyncio.CancelledError


def become(user: int) -> None:
    """Give up all rights but those of another user, for good."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


async def try_socket(ip: str, port: int, own: Security) -> list[str]:
    """The ways in which a TCP socket let the stranger in, or showed anything."""
    connection = own.get_connection_args("client")
    with_own = own.get_connection_args("client")["ssl_context"]
    attempts = {
        "as a Dask client": ask(f"tcp://{ip}:{port}", {}),
        "as a Dask client with certificates of its own": ask(f"tls://{ip}:{port}", connection),
        "by listening": read(ip, port, None, b""),
        **{f"by http {page}": read(ip, port, None, request(page)) for page in PAGES},
        "by https": read(ip, port, trusting(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)), request("/health")),
        "by https with certificates of its own": read(ip, port, trusting(with_own), request("/health")),
    }
    found = await asyncio.gather(*attempts.values(), return_exceptions=True)
    return [f"{ip}:{port} {way}" for way, shown in zip(attempts, found, strict=True) if shown and not isinstance(shown, OPENED)]


async def ask(address: str, connection: dict[str, Any]) -> Any:
    """Ask a scheduler, a worker or a nanny who it is: whoever is answered may also send it programs."""
    async with asyncio.timeout(PATIENCE_S):
        comm = await connect(address, timeout=PATIENCE_S, **connection)
        await comm.close()
        async with rpc(address, connection_args=connection) as server:
            return await server.identity()


def request(page: str) -> bytes:
    return f"GET {page} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def trusting(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a context accept the certificate of any server."""
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def read(ip: str, port: int, context: ssl.SSLContext | None, sent: bytes) -> bytes:
    """What a socket says after something was sent to it."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(ip, port, ssl=context)
        writer.write(sent)
        await writer.drain()
        return await reader.read(1)


def shown_of(path: Path) -> Any:
    """Anything that a file, folder or socket of the file system shows."""
    if path.is_socket():
        return can_connect(str(path))
    return list(path.iterdir()) if path.is_dir() else path.open("rb").read(1)


def can_connect(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        return True


def opened(names: list[str], look: Callable[[str], Any]) -> Iterator[str]:
    for name in names:
        with suppress(OSError):
            if look(name):
                yield name


async def try_all(sockets: list[tuple[str, int]], own: Security) -> list[str]:
    tried = await asyncio.gather(*(try_socket(ip, port, own) for ip, port in sockets))
    return [way for ways in tried for way in ways]


def main() -> None:
    doors = json.load(sys.stdin)
    become(int(sys.argv[1]))
    tempfile.tempdir = tempfile.mkdtemp(dir="/tmp")
    found = asyncio.run(try_all(doors["sockets"], Security.temporary()))
    found += opened(doors["unix_sockets"], can_connect)
    found += opened(doors["paths"], lambda name: shown_of(Path(name)))
    Path(tempfile.tempdir).rmdir()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
