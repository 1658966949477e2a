"""Whether a FITS file is as long as its headers say, and has the sums that they tell: DATASUM and CHECKSUM, where it has any.

The sum is the ones' complement sum of big-endian 32-bit words (FITS Standard 4.0, Appendix J): of an HDU's data it is DATASUM,
and that of a whole HDU with a true CHECKSUM is all ones.
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
    """What one HDU's header says of its sums, and where the HDU lies in the unpacked file; its data are padded up to the end."""

    name: str
    datasum: str | None
    checksum: str | None
    header_byte: int
    data_byte: int
    n_data_bytes: int
    end_byte: int


def damage_of_fits(path: Path) -> str | None:
    """Say what is wrong with a file's length or sums.

    Parameters
    ----------
    path
        Any file; what has a DATASUM or CHECKSUM is read, 4 MB at a time, and all of a FITS file within gzip. Of the rest of a
        plain file, only the length is compared.

    Returns
    -------
    In words, what does not agree, or why the file cannot be read; None if nothing is wrong or there is nothing to compare.
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
    """The file's FITS content; None where it is not FITS."""
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
        warnings.simplefilter("ignore")  # what is odd in the headers is told when the file is opened to be used
        hdus = fits.open(stream, memmap=False, disable_image_compression=True)  # not closed: that would close the stream
        return [_claim(number, hdu) for number, hdu in enumerate(hdus)]


def _claim(number: int, hdu: Any) -> _Claim:
    place = hdu.fileinfo()
    datasum, checksum = (str(hdu.header.get(key, "")).strip() or None for key in ("DATASUM", "CHECKSUM"))
    data_byte = place["datLoc"]
    return _Claim(f"HDU {number}", datasum, checksum, place["hdrLoc"], data_byte, hdu.size, data_byte + place["datSpan"])


def _check_length(stream: BinaryIO, claims: Sequence[_Claim]) -> None:
    """See that a plain file is as long as its headers say, padding apart; of one within gzip, the end is read.

    Raises
    ------
    EOFError
        If it is shorter, or ends within a header. A file that was cut just before an HDU is as good as any.
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
        return f"its data in {claim.name} have the sum {data}, but DATASUM says {claim.datasum}"
    header = _sum_of(stream, claim.header_byte, claim.data_byte)
    if claim.checksum is not None and _folded(data + header) != _ALL_ONES:
        return f"{claim.name} does not agree with its CHECKSUM"
    return None


def _sum_of(stream: BinaryIO, start_byte: int, end_byte: int) -> int:
    """Ones' complement sum of the big-endian 32-bit words of a part of a file.

    Raises
    ------
    EOFError
        If the file ends before.
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
    """Let gzip compare what is left with its own sum, which stands at the end; a plain file has none."""
    if isinstance(stream, gzip.GzipFile):
        while stream.read(_CHUNK_BYTES):
            pass


def _folded(total: int) -> int:
    """Bring the carries round until 32 bits are left."""
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total
