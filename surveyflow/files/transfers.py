"""What every kind of server has in common: the state of a file on it, why reading fails, and how often it is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from surveyflow.files.addresses import Address

ATTEMPTS = 6
"""A request is tried so often before it counts as failed."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""Limits of the waiting times between attempts, seconds; they grow and are random, or are what the server wishes."""
MOST_BYTES = 2**50
"""Size of the largest file that is believed."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class RemoteState:
    """The state of a file on a server, which shows whether it has changed.

    Parameters
    ----------
    size
        Size, bytes; None if the server does not state it.
    modified_ns
        Time of the last change according to the server, nanoseconds since 1970; 0 if it does not state it.
    tag
        The server's name for the content (ETag); empty if it gives none. One with ``W/`` does not stand for every byte.
    by_ranges
        Whether the server sends parts of the file.
    """

    size: int | None
    modified_ns: int
    tag: str
    by_ranges: bool

    @property
    def dated(self) -> bool:
        """Whether a replacement of the file by another of the same size would be noticed."""
        return bool(self.tag or self.modified_ns)


class Unreachable(OSError):
    """A file on a server cannot be read; the text says why, and what to do."""


class Replaced(Unreachable):
    """A file on a server is no longer the one that was opened."""


class Unsteady(Unreachable):
    """A request failed in a way that may pass.

    Parameters
    ----------
    message
        What happened.
    wait_s
        Seconds that the server asks to wait; None if it does not say.
    """

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Transport(Protocol):
    """A kind of server. Its methods may be called from several threads, and each makes one attempt."""

    def state(self, address: Address) -> RemoteState:
        """Ask for the present state of a file."""
        ...

    def read(self, address: Address, start: int, stop: int, expected: RemoteState) -> bytes:
        """Read the bytes ``start <= n < stop`` of a file, and no others."""
        ...

    def stream(self, address: Address, start: int, expected: RemoteState) -> Iterator[bytes]:
        """Read a file from a byte to its end, piece by piece."""
        ...

    def check_unchanged(self, address: Address, expected: RemoteState) -> None:
        """Refuse a file that was replaced while it was read, unless `read` has noticed by itself."""
        ...


def persistently(attempt: Callable[..., Value], *arguments: Any) -> Value:
    """Return what an attempt returns; try again, with growing pauses, as long as it fails in a way that may pass.

    Raises
    ------
    Unreachable
        If it fails in another way, or every time.
    """
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

    retrying = Retrying(retry=retry_if_exception_type(Unsteady), stop=stop_after_attempt(ATTEMPTS), wait=_pause, reraise=True)
    try:
        return retrying(attempt, *arguments)
    except Unsteady as error:
        raise Unreachable(f"{error}, {ATTEMPTS} times in a row. Try again later") from None


def _pause(state: Any) -> float:
    from tenacity import wait_random_exponential

    wished = state.outcome.exception().wait_s
    own = wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)(state)
    return own if wished is None else min(max(wished, 0.0), LONGEST_WAIT_S)
