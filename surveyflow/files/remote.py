"""Files at addresses, open for reading by ranges, or copied whole."""

from __future__ import annotations

import io
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

from surveyflow.files.addresses import Address
from surveyflow.files.http_files import HttpFiles
from surveyflow.files.object_stores import ObjectStores
from surveyflow.files.transfers import RemoteState, Transport, Unreachable, Unsteady, persistently

REQUESTS_AT_ONCE = 16
"""Number of ranges that a process asks for at the same time."""
BLOCK_BYTES = 2**15
"""Size of the blocks in which headers are read: few headers are longer, and nothing beside them is needed."""
_BLOCKS_KEPT = 64
_LARGEST_REQUEST = 2**23
_GAPS_SHARE = 0.3
"""The smallest gaps between ranges are read along, up to this share of the bytes that are wanted."""

Extent = tuple[int, int]
"""First byte, and the byte after the last."""


def state_at(address: Address) -> RemoteState:
    """Ask the server for the present state of a file, persistently.

    Raises
    ------
    Unreachable
        If it cannot be asked, or there is no such file.
    ModuleNotFoundError
        If the library for this kind of address is not installed.
    """
    return persistently(_transport(address.scheme).state, address)


class RemoteFile(io.RawIOBase):
    """A file at an address, open for reading from one thread at a time.

    Parameters
    ----------
    address
        The file.
    state
        Its state; whatever is read belongs to this state, or is refused.
    """

    def __init__(self, address: Address, state: RemoteState) -> None:
        super().__init__()
        self.address, self.state = address, state
        self._transport = _transport(address.scheme)
        self._place = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._held: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        """Size, bytes."""
        return self.state.size or 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence])
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as many bytes as are asked for, or all until the end."""
        stop = self.size if size is None or size < 0 else min(self._place + size, self.size)
        content = self._between(self._place, stop) if stop > self._place else b""
        self._place += len(content)
        return content

    def read_extents(self, extents: Sequence[Extent]) -> list[bytes]:
        """Read several ranges at the same time; ranges with small gaps between them are read as one.

        Parameters
        ----------
        extents
            Ranges inside the file, ordered and without overlap.

        Raises
        ------
        Unreachable
            If one cannot be read, or the file was replaced.
        """
        if any(not 0 <= start < stop <= self.size for start, stop in extents):
            raise Unreachable(f"it ends at byte {self.size:,}, before what its header describes. Fetch it again")
        joined = list(_joined(extents))
        content = dict(zip(joined, _pool().map(self._piece, joined), strict=True))
        persistently(self._transport.check_unchanged, self.address, self.state)
        pieces = ((first, memoryview(content[first, last]), inside) for first, last, inside in _inside(joined, extents))
        return [bytes(piece[start - first : stop - first]) for first, piece, inside in pieces for start, stop in inside]

    @contextmanager
    def holding(self, extents: Sequence[Extent]) -> Iterator[None]:
        """Read several ranges at the same time, and give them to `read` while the block lasts."""
        pieces = self.read_extents(extents)
        before = self._held
        self._held = [*before, *((start, piece) for (start, _), piece in zip(extents, pieces, strict=True))]
        try:
            yield
        finally:
            self._held = before

    def hold(self, extent: Extent) -> bytes:
        """Read a range, and give it to `read` from now on."""
        (piece,) = self.read_extents([extent])
        self._held = [*self._held, (extent[0], piece)]
        return piece

    def _between(self, start: int, stop: int) -> bytes:
        for first, piece in self._held:
            if first <= start and stop <= first + len(piece):
                return piece[start - first : stop - first]
        if stop - start > BLOCK_BYTES:
            return b"".join(self.read_extents(list(_divided(start, stop))))
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        content = b"".join(self._block(number) for number in range(first, last + 1))
        return content[start - first * BLOCK_BYTES : stop - first * BLOCK_BYTES]

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * BLOCK_BYTES
            self._blocks[number] = self._piece((start, min(start + BLOCK_BYTES, self.size)))
        self._blocks.move_to_end(number)
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return self._blocks[number]

    def _piece(self, extent: Extent) -> bytes:
        return persistently(self._transport.read, self.address, *extent, self.state)


def open_at(address: Address) -> RemoteFile:
    """Open a file at an address for reading by ranges.

    Raises
    ------
    Unreachable
        If there is no such file, the server cannot send parts of it, or a replacement of it would not be noticed.
    ModuleNotFoundError
        If the library for this kind of address is not installed.
    """
    state = state_at(address)
    if not state.by_ranges or state.size is None:
        raise Unreachable("the server sends only whole files. Download it, and name the local file")
    if not state.dated:
        raise Unreachable("the server states neither ETag nor date, so that nobody would notice a replacement. Download it")
    return RemoteFile(address, state)


def copy_from(address: Address, state: RemoteState, part: Path, came: Callable[[int], None] = lambda _: None) -> None:
    """Copy a file, or the rest of it if some of it was copied before, to a local file.

    Parameters
    ----------
    address
        The file.
    state
        Its state on the server; the copy is of this state.
    part
        The local file. What it holds was copied from a file in the same state.
    came
        Called with the size of each piece, bytes.

    Raises
    ------
    Unreachable
        If it cannot be copied; what came is kept.
    """
    persistently(_continue, address, state, part, came)


def _continue(address: Address, state: RemoteState, part: Path, came: Callable[[int], None]) -> None:
    """Make one attempt; the next one goes on where it ended."""
    with part.open("ab") as target:
        done = target.tell()
        if done and (not state.by_ranges or not state.dated or (state.size is not None and done > state.size)):
            target.truncate(0)
            done = 0
        if done == state.size:
            return
        for piece in _transport(address.scheme).stream(address, done, state):
            target.write(piece)
            came(len(piece))
        if state.size is not None and target.tell() != state.size:
            raise Unsteady(f"{target.tell():,} of {state.size:,} bytes came")


@cache
def _transport(scheme: str) -> Transport:
    return HttpFiles() if scheme in {"http", "https"} else ObjectStores()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="surveyflow-remote")


def _joined(extents: Sequence[Extent]) -> Iterator[Extent]:
    """Join ranges whose gaps are small, up to the size of the largest request."""
    largest = _largest_gap(extents)
    first, last = -1, -1
    for start, stop in extents:
        if first >= 0 and start - last <= largest and stop - first <= _LARGEST_REQUEST:
            last = stop
            continue
        if first >= 0:
            yield first, last
        first, last = start, stop
    if first >= 0:
        yield first, last


def _largest_gap(extents: Sequence[Extent]) -> int:
    """The largest size of gaps that are read along: all gaps up to it are a small share of the bytes that are wanted."""
    left = _GAPS_SHARE * sum(stop - start for start, stop in extents)
    gaps = Counter(after[0] - before[1] for before, after in pairwise(extents))
    largest = 0
    for gap in sorted(gaps):
        left -= gap * gaps[gap]
        if left < 0:
            break
        largest = gap
    return largest


def _inside(joined: Iterable[Extent], extents: Sequence[Extent]) -> Iterator[tuple[int, int, list[Extent]]]:
    """Each joined range, with the ranges that it was joined from."""
    position = 0
    for first, last in joined:
        inside = []
        while position < len(extents) and extents[position][1] <= last:
            inside.append(extents[position])
            position += 1
        yield first, last, inside


def _divided(start: int, stop: int) -> Iterator[Extent]:
    for place in range(start, stop, _LARGEST_REQUEST):
        yield place, min(place + _LARGEST_REQUEST, stop)
