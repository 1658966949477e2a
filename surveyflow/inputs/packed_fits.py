"""Packed FITS files, unpacked into memory that is bounded by what their headers describe.

A few kilobytes of gzip can unpack to any size. So each header is unpacked and read first, then as many bytes of data as it
describes, and nothing that no header describes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from astropy.io import fits

MAX_UNPACKED_BYTES = 2**30
"""Size of the largest ``.gz`` that is unpacked in memory; every worker process holds its own copy."""

_BLOCK = 2880
_LONGEST_HEADER = 2**22
_MOST_BLOCKS_MORE = 100
_EXTENSION_MAGIC, _END = b"XTENSION", b"END     "


class NotUnpacked(ValueError):
    """A packed file is damaged or too large; the text says what is wrong and what to do."""


def unpack_fits(stream: BinaryIO) -> bytes:
    """Unpack a gzipped FITS file.

    Parameters
    ----------
    stream
        The packed file.

    Raises
    ------
    NotUnpacked
        If it is cut short or damaged, describes more than `MAX_UNPACKED_BYTES`, or unpacks to more than it describes.
    """
    content = bytearray()
    try:
        with gzip.open(stream) as packed:
            for n_bytes in _lengths_of_data(packed, content):
                content += packed.read(n_bytes)
            _check_end(packed)
    except (EOFError, OSError, zlib.error) as error:
        raise NotUnpacked(f"the gzip data are cut short or damaged ({error}). Fetch the file again.") from error
    return bytes(content)


def data_bytes(header: fits.Header) -> int:
    """Number of bytes of the data that a header describes, without padding."""
    lengths = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
    n_pixels = math.prod(lengths) if lengths else 0
    return abs(int(header["BITPIX"])) // 8 * int(header.get("GCOUNT", 1)) * (n_pixels + int(header.get("PCOUNT", 0)))


def _lengths_of_data(packed: gzip.GzipFile, content: bytearray) -> Iterator[int]:
    """Append each header to the content, then yield the length of its data; end where no header follows."""
    while (block := packed.read(_BLOCK)) and (not content or block.startswith(_EXTENSION_MAGIC)):
        n_bytes = data_bytes(_header(packed, block, content))
        if len(content) + n_bytes > MAX_UNPACKED_BYTES:
            raise NotUnpacked(
                f"more than {MAX_UNPACKED_BYTES:,} bytes when unpacked, which every worker would hold in memory. "
                f"Unpack it once (gunzip) and name the .fits file."
            )
        yield -(-n_bytes // _BLOCK) * _BLOCK


def _header(packed: gzip.GzipFile, block: bytes, content: bytearray) -> fits.Header:
    first = len(content)
    content += block
    while block and not any(block.startswith(_END, place) for place in range(0, len(block), 80)):
        block = packed.read(_BLOCK)
        content += block
        if len(content) - first > _LONGEST_HEADER:
            raise NotUnpacked(f"a header has no END within {_LONGEST_HEADER:,} bytes. Fetch the file again.")
    return fits.Header.fromstring(bytes(content[first:]).decode("latin-1"))


def _check_end(packed: gzip.GzipFile) -> None:
    """Read what little may follow; at its end, gzip compares the content with its checksum."""
    n_more = sum(len(packed.read(_BLOCK)) for _ in range(_MOST_BLOCKS_MORE))
    if packed.read(1):
        raise NotUnpacked(f"{n_more:,} bytes and more follow after what its headers describe. Fetch the file again.")
