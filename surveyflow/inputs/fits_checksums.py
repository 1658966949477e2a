"""The check of a FITS file's length, and of its DATASUM and CHECKSUM if it has them.

The checksum is the ones' complement sum of big-endian 32-bit words (FITS Standard 4.0, Appendix J). That of an HDU's data is
DATASUM; that of a complete HDU with a correct CHECKSUM is all ones.
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from astropy.io import fits

_ALL_ONES = 2**32 - 1
_CHUNK_BYTES = 2**22
_GZIP_MAGIC, _FITS_MAGIC, _EXTENSION_MAGIC = b"\x1f\x8b", b"SIMPLE", b"XTENSION"


@dataclass(frozen=True, slots=True)
class _Claim:
    """The checksums that one HDU's header states, and the HDU's position in the unpacked file; its data are padded to the end."""

    name: str
    datasum: str | None
    checksum: str | None
    header_byte: int
    data_byte: int
    n_data_bytes: int
    end_byte: int


def damage_of_fits(path: Path) -> str | None:
    """Describe what is wrong with a file's length or checksums.

    Parameters
    ----------
    path
        Any file. HDUs with a DATASUM or CHECKSUM are read, 4 MB at a time; a gzipped FITS file is read completely. Of other
        HDUs of a plain file, only the length is compared.

    Returns
    -------
    What does not agree, in words, or why the file cannot be read; None if nothing is wrong or there is nothing to compare.
    """
    try:
        with _unpacked(path) as stream:
            if stream is None:
                return None
            claims = _claims(stream)
            _check_length(stream, claims)
            wrong = next((wrong for claim in claims if (wrong := _wrong(stream, claim))), None)
            _read_to_the_end(stream)
            return wrong
    except (OSError, EOFError, ValueError, TypeError, KeyError, zlib.error, fits.VerifyError) as error:
        return f"it cannot be read ({error})"


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO | None]:
    """Open the file's FITS content; None if it is not FITS."""
    with path.open("rb") as packed:
        magic = packed.read(len(_FITS_MAGIC))
        packed.seek(0)
        if magic.startswith(_GZIP_MAGIC):
            with gzip.open(packed) as stream:
                is_fits = stream.read(len(_FITS_MAGIC)) == _FITS_MAGIC
                stream.seek(0)
                yield cast(BinaryIO, stream) if is_fits else None
        else:
            yield packed if magic == _FITS_MAGIC else None


def _claims(stream: BinaryIO) -> list[_Claim]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of the headers are reported when the file is opened to be used
        hdus = fits.open(stream, memmap=False, disable_image_compression=True)  # not closed: that would close the stream
        return [_claim(number, hdu) for number, hdu in enumerate(hdus)]


def _claim(number: int, hdu: Any) -> _Claim:
    place = hdu.fileinfo()
    datasum, checksum = (str(hdu.header.get(key, "")).strip() or None for key in ("DATASUM", "CHECKSUM"))
    data_byte = place["datLoc"]
    return _Claim(f"HDU {number}", datasum, checksum, place["hdrLoc"], data_byte, hdu.size, data_byte + place["datSpan"])


def _check_length(stream: BinaryIO, claims: Sequence[_Claim]) -> None:
    """Check that a plain file is as long as its headers say, without padding; a gzipped file is read to its end later.

    Raises
    ------
    EOFError
        If it is shorter, or ends within a header. A file that was cut exactly before an HDU cannot be recognised.
    """
    if isinstance(stream, gzip.GzipFile):
        return
    last, n_bytes = claims[-1], stream.seek(0, io.SEEK_END)
    if n_bytes < last.data_byte + last.n_data_bytes:
        raise EOFError(f"it ends at byte {n_bytes}, its headers need {last.data_byte + last.n_data_bytes}")
    stream.seek(last.end_byte)
    rest = stream.read(len(_EXTENSION_MAGIC))
    if rest and _EXTENSION_MAGIC.startswith(rest):
        raise EOFError(f"it ends at byte {n_bytes}, within the header that begins at byte {last.end_byte}")


def _wrong(stream: BinaryIO, claim: _Claim) -> str | None:
    if claim.datasum is None and claim.checksum is None:
        return None
    data = _sum_of(stream, claim.data_byte, claim.end_byte)
    if claim.datasum is not None and claim.datasum != str(data):
        return f"the data of {claim.name} have the checksum {data}, but DATASUM says {claim.datasum}"
    header = _sum_of(stream, claim.header_byte, claim.data_byte)
    if claim.checksum is not None and _folded(data + header) != _ALL_ONES:
        return f"{claim.name} does not agree with its CHECKSUM"
    return None


def _sum_of(stream: BinaryIO, start_byte: int, end_byte: int) -> int:
    """Ones' complement sum of the big-endian 32-bit words of a part of a file.

    Raises
    ------
    EOFError
        If the file ends before that part does.
    """
    stream.seek(start_byte)
    total = 0
    for position in range(start_byte, end_byte, _CHUNK_BYTES):
        wanted = min(_CHUNK_BYTES, end_byte - position)
        chunk = stream.read(wanted)
        if len(chunk) != wanted:
            raise EOFError(f"it ends at byte {position + len(chunk)}, its headers need {end_byte}")
        total += int(np.frombuffer(chunk, ">u4").sum(dtype=np.uint64))
    return _folded(total)


def _read_to_the_end(stream: BinaryIO) -> None:
    """Read the rest, so that gzip compares the content with the checksum at its end; a plain file has none."""
    if isinstance(stream, gzip.GzipFile):
        while stream.read(_CHUNK_BYTES):
            pass


def _folded(total: int) -> int:
    """Add the carries back until 32 bits are left."""
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total
