"""The HATS catalog: rows in one file for each HEALPix cell, with smaller cells where sources are dense.

The Hierarchical Adaptive Tiling Scheme (IVOA Note, HATS 1.0) keeps the rows of one cell of the sky in
``dataset/Norder=<order>/Dir=<pixel // 10000 * 10000>/Npix=<pixel>.parquet``; cells with many rows are split into their four
children. A partition's bytes depend only on its rows, so an unchanged partition shares its file with the previous revision.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surveyflow.catalog.schema import span_29
from surveyflow.files.durable import explained, link_or_copy
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, read_ordinary_file

DEFAULT_COLUMNS = (
    *("field", "source_id", "source_name", "ra", "dec", "redshift", "instrument", "status", "flags", "weights_origin"),
    *("p_pm_mean", "p_pm_std", "p_pm_q16", "p_pm_q50", "p_pm_q84", "p_sf_mean", "f_pm"),
    *("p_contaminated_mean", "coverage_pct_mean", "_healpix_29"),
)
"""Columns that LSDB reads unless others are asked for."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A cell of the sky whose rows lie in one file.

    Parameters
    ----------
    order, pixel
        HEALPix order, and number in the nested scheme.
    """

    order: int
    pixel: int

    @property
    def path(self) -> Path:
        """Path of the file, relative to the catalog's folder."""
        return Path("dataset", f"Norder={self.order}", f"Dir={self.folder}", f"Npix={self.pixel}.parquet")

    @property
    def folder(self) -> int:
        """Number of the folder that holds the file."""
        return self.pixel // 10_000 * 10_000

    @property
    def span(self) -> tuple[int, int]:
        """The half-open range of ``_healpix_29`` inside the cell."""
        return span_29(self.order, self.pixel)

    @property
    def children(self) -> tuple[Partition, ...]:
        """The four cells of the next order inside the cell."""
        return tuple(Partition(self.order + 1, 4 * self.pixel + quarter) for quarter in range(4))


def read_partitions(folder: Path) -> tuple[Partition, ...]:
    """Read the list of partitions of a HATS catalog, in the order of ``_healpix_29``.

    Parameters
    ----------
    folder
        The catalog's folder.
    """
    lines = read_ordinary_file(folder / "partition_info.csv", MOST_BYTES_OF_LISTS).decode().split()[1:]
    cells = [Partition(*map(int, line.split(","))) for line in lines]
    return tuple(sorted(cells, key=lambda cell: cell.span))


def put(folder: Path, path: Path, content: bytes, before: Path | None = None, scratch: Path | None = None) -> None:
    """Write a file of a catalog, or share that of an earlier catalog if it is equal.

    Parameters
    ----------
    folder
        The catalog's folder.
    path
        The file's path relative to it.
    content
        Its bytes.
    before
        Folder of an earlier catalog, whose equal files are shared; None if there is none.
    scratch
        A folder on the same file system. The file is prepared there, and gets its name when it is complete: a worker that was
        given up may still be writing it when another does.
    """
    own = (scratch or (folder / path).parent) / f".{path.name}.{secrets.token_hex(8)}"
    with explained(folder / path):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if before is not None and _holds(before / path, content):
            link_or_copy(before / path, own)
        else:
            own.write_bytes(content)
        own.replace(folder / path)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def partition_info(partitions: Sequence[Partition]) -> bytes:
    """The content of ``partition_info.csv``."""
    return ("\n".join(["Norder,Npix", *(f"{cell.order},{cell.pixel}" for cell in partitions)]) + "\n").encode()


def properties_text(heading: str, properties: Mapping[str, object]) -> bytes:
    """The content of a file of properties."""
    return (f"#{heading}\n" + "".join(f"{key}={value}\n" for key, value in properties.items())).encode()
