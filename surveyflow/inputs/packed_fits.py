"""FITS files that are larger than their headers describe, packed or not, and the unpacking of packed ones.

A few kilobytes of gzip can unpack to any size. So each header is unpacked and read first, then as many bytes of data as it
describes, and nothing that no header describes.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from astropy.io import fits

from surveyflow.files.remote import RemoteFile

Stream = BinaryIO | RemoteFile
"""A FITS file that is open, on this machine or at an address."""
MAX_UNPACKED_BYTES = 2**30
"""Size of the largest ``.gz`` that is unpacked in memory; every worker process holds its own copy."""

_BLOCK = 2880
_LONGEST_HEADER = 2**22
_MOST_BLOCKS_MORE = 100
_SIZE, _WHOLE = re.compile(r"BITPIX|NAXIS\d{0,3}|[PG]COUNT"), re.compile(r"[+-]?\d{1,18}")
_EXTENSION_MAGIC, _END = b"XTENSION", b"END     "


class NotUnpacked(ValueError):
    """A file is damaged or too large; the text says what is wrong and what to do."""


def unpack_fits(stream: Stream) -> bytes:
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


def check_end(stream: Stream, n_bytes: int) -> None:
    """Check that little follows after the last header and its data, since astropy would search all of it for another header.

    Parameters
    ----------
    stream
        A FITS file that is not packed; its position does not change.
    n_bytes
        Its size.

    Raises
    ------
    NotUnpacked
        If a header has no end, or much follows that no header describes.
    """
    place, before = 0, stream.tell()
    while place < n_bytes:
        stream.seek(place)
        block, content = stream.read(_BLOCK), bytearray()
        if place and not block.startswith(_EXTENSION_MAGIC):
            break
        n_bytes_of_data = _padded_bytes(_header(stream, block, content))
        place += len(content) + n_bytes_of_data
    stream.seek(before)
    if n_bytes - place > _MOST_BLOCKS_MORE * _BLOCK:
        raise NotUnpacked(f"{n_bytes - place:,} bytes follow after what its headers describe. Fetch the file again.")


def data_bytes(header: fits.Header) -> int:
    """Number of bytes of the data that a header describes, without padding."""
    lengths = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
    return abs(int(header["BITPIX"])) // 8 * (math.prod(lengths) + int(header.get("PCOUNT", 0)))


def _padded_bytes(sizes: Mapping[str, int]) -> int:
    """Number of bytes of the data that a header describes, with padding."""
    lengths = [sizes.get(f"NAXIS{axis}", 0) for axis in range(1, min(sizes.get("NAXIS", 0), 999) + 1)]
    n_values = math.prod(lengths) if lengths else 0
    n_bytes = abs(sizes.get("BITPIX", 0)) // 8 * abs(sizes.get("GCOUNT", 1)) * max(0, n_values + sizes.get("PCOUNT", 0))
    return -(-n_bytes // _BLOCK) * _BLOCK


def _lengths_of_data(packed: gzip.GzipFile, content: bytearray) -> Iterator[int]:
    """Append each header to the content, then yield the length of its data; end where no header follows."""
    while (block := packed.read(_BLOCK)) and (not content or block.startswith(_EXTENSION_MAGIC)):
        n_bytes = _padded_bytes(_header(packed, block, content))
        if len(content) + n_bytes > MAX_UNPACKED_BYTES:
            raise NotUnpacked(
                f"more than {MAX_UNPACKED_BYTES:,} bytes when unpacked, which every worker would hold in memory. "
                f"Unpack it once (gunzip) and name the .fits file."
            )
        yield n_bytes


def _header(stream: Stream | gzip.GzipFile, block: bytes, content: bytearray) -> dict[str, int]:
    first = len(content)
    content += block
    while block and not any(block.startswith(_END, place) for place in range(0, len(block), 80)):
        block = stream.read(_BLOCK)
        content += block
        if len(content) - first > _LONGEST_HEADER:
            raise NotUnpacked(f"a header has no END within {_LONGEST_HEADER:,} bytes. Fetch the file again.")
    return _sizes(bytes(content[first:]))


def _sizes(header: bytes) -> dict[str, int]:
    """The whole numbers in a header's cards of sizes. Other cards may break the rules."""
    cards = (header[place : place + 80].decode("latin-1") for place in range(0, len(header), 80))
    stated = ((card[:8].strip(), card[10:].partition("/")[0].strip()) for card in cards if _SIZE.fullmatch(card[:8].strip()))
    return {key: int(value) for key, value in stated if _WHOLE.fullmatch(value)}


def _check_end(packed: gzip.GzipFile) -> None:
    """Read what little may follow; at its end, gzip compares the content with its checksum."""
    n_more = sum(len(packed.read(_BLOCK)) for _ in range(_MOST_BLOCKS_MORE))
    if packed.read(1):
        raise NotUnpacked(f"{n_more:,} bytes and more follow after what its headers describe. Fetch the file again.")
