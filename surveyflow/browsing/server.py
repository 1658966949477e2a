"""The server of one reader: its socket on the loopback interface, its token, and how the reader's browser is opened."""

from __future__ import annotations

import html
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import uvicorn
from starlette.types import ASGIApp

from surveyflow.browsing.entrance import TOKEN, Entrance
from surveyflow.errors import InputError
from surveyflow.files.durable import write_new

HOST = "127.0.0.1"
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens, and the address with its token.

    Parameters
    ----------
    socket
        The socket.
    token
        A text that cannot be guessed.
    """

    socket: socket.socket
    token: str

    @property
    def port(self) -> int:
        """The port."""
        return int(self.socket.getsockname()[1])

    def address(self, path: str = "/", search: str | None = None) -> str:
        """The address of a page, with the token, and with what is searched for."""
        query = {TOKEN: self.token} | ({} if search is None else {"q": search})
        return f"http://{HOST}:{self.port}{path}?{urlencode(query)}"


def listen(port: int) -> Listening:
    """Open the socket.

    Parameters
    ----------
    port
        The port; 0 for a free one.

    Raises
    ------
    InputError
        If the port is out of range, taken, or may not be used.
    """
    if not 0 <= port <= 65_535:
        raise InputError(f"--port is {port}, expected 0 (a free one) to 65535. Choose another.")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(f"port {port} cannot be used: {error.strerror}. Choose another with --port, or leave it out.") from error
    return Listening(listener, secrets.token_urlsafe(_TOKEN_BYTES))


def serve(app: ASGIApp, listening: Listening) -> None:
    """Answer requests until the process is interrupted.

    Parameters
    ----------
    app
        The application, which sees requests with the token only.
    listening
        The socket and the token.
    """
    entrance = Entrance(app, listening.token, listening.port)
    config = uvicorn.Config(entrance, log_level="warning", access_log=False, server_header=False, lifespan="off", ws="none")
    uvicorn.Server(config).run(sockets=[listening.socket])


@contextmanager
def opened_in_browser(address: str) -> Iterator[None]:
    """Open an address in the reader's browser, whose command line, which every user can read, does not show the token.

    Parameters
    ----------
    address
        The address with its token. It is in a file that only the reader can read, as long as the block lasts.
    """
    with tempfile.TemporaryDirectory(prefix="surveyflow-browse-") as folder:
        page = Path(folder, "open.html")
        text = f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={html.escape(address)}">'
        write_new(page, text.encode())
        webbrowser.open(page.as_uri())
        yield
