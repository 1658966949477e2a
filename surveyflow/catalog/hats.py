"""The HATS catalog: rows in one file for each HEALPix cell, with smaller cells where sources are dense.

The Hierarchical Adaptive Tiling Scheme (IVOA Note, HATS 1.0) keeps the rows of one cell of the sky in
``dataset/Norder=<order>/Dir=<pixel // 10000 * 10000>/Npix=<pixel>.parquet``; cells with many rows are split into their four
children. A partition's bytes depend only on its rows, so an unchanged partition shares its file with the previous revision.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy.io import fits

from surveyflow.catalog.parquet import RowFacts, described_schema, parquet_bytes
from surveyflow.catalog.schema import FINEST_ORDER, SORT_ORDER, cells_at, span_29
from surveyflow.files.durable import explained, link_or_copy
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, read_ordinary_file
from surveyflow.values.arrays import Int64Array

SKYMAP_ORDER = 10
"""The order of cells of 3.4 arcmin."""

ROWS_PER_PARTITION = 25_000
"""About 3 MB a file: a change in one part of the sky rewrites little, and a reader's worker takes one file at a time."""

FINEST_PARTITION_ORDER = 14
"""The order of cells of 13 arcsec, which are not split further."""

DEFAULT_COLUMNS = (
    *("field", "source_id", "source_name", "ra", "dec", "redshift", "instrument", "status", "flags", "weights_origin"),
    *("p_pm_mean", "p_pm_std", "p_pm_q16", "p_pm_q50", "p_pm_q84", "p_sf_mean", "f_pm"),
    *("p_contaminated_mean", "coverage_pct_mean", "_healpix_29"),
)
"""Columns that LSDB reads unless others are asked for."""


class RowSource(Protocol):
    """A source of catalog rows: a unit's file, or a table."""

    def cells(self) -> Int64Array:
        """(n,) int64: ``_healpix_29`` of every row."""
        ...

    def rows(self) -> pa.Table:
        """Every row."""
        ...


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


@dataclass(frozen=True, slots=True)
class Dataset:
    """The Parquet files that were written.

    Parameters
    ----------
    partitions
        The cells, in the order of ``_healpix_29``.
    digests
        SHA-256 of each Parquet file, by path relative to the catalog's folder.
    n_rows
        Number of rows in all files.
    n_bytes
        Size of all files, bytes.
    facts
        The facts of the rows.
    skymap
        Their distribution on the sky.
    """

    partitions: tuple[Partition, ...]
    digests: Mapping[str, str]
    n_rows: int
    n_bytes: int
    facts: RowFacts
    skymap: SkyMap


def partition_sky(cells_29: Int64Array, max_rows: int = ROWS_PER_PARTITION) -> tuple[Partition, ...]:
    """Choose the coarsest cells that hold at most ``max_rows`` rows each.

    Parameters
    ----------
    cells_29
        (n,) int64: ``_healpix_29`` of every row, in any order.
    max_rows
        Most rows in a cell, unless it is of the finest order.

    Returns
    -------
    Cells that are not empty, in the order of ``_healpix_29``; each row lies in exactly one.
    """
    ordered = np.sort(cells_29)
    pending = [Partition(0, int(pixel)) for pixel in np.unique(cells_at(0, ordered))[::-1]]
    chosen: list[Partition] = []
    while pending:
        cell = pending.pop()
        low, high = np.searchsorted(ordered, cell.span)
        if high - low > max_rows and cell.order < FINEST_PARTITION_ORDER:
            pending.extend(reversed(cell.children))
        elif high > low:
            chosen.append(cell)
    return tuple(chosen)


def write_dataset(
    folder: Path, sources: Sequence[RowSource], max_rows: int = ROWS_PER_PARTITION, before: Path | None = None
) -> Dataset:
    """Write the Parquet files of a catalog, with one partition in memory at a time; the caller makes the files durable.

    Parameters
    ----------
    folder
        The catalog's folder.
    sources
        The sources of rows.
    max_rows
        Most rows in a partition.
    before
        Folder of an earlier catalog, whose equal files are shared; None if there is none.
    """
    cells = [source.cells() for source in sources]
    all_cells = np.concatenate([np.empty(0, np.int64), *cells])
    partitions = partition_sky(all_cells, max_rows)
    facts, digests, n_bytes = RowFacts(), {}, 0
    for partition in partitions:
        rows = _rows_inside(partition, sources, cells)
        own_facts = RowFacts.of(rows)
        content = parquet_bytes(rows.replace_schema_metadata(described_schema(own_facts).metadata))
        put(folder, partition.path, content, before)
        digests[str(partition.path)] = hashlib.sha256(content).hexdigest()
        facts, n_bytes = facts | own_facts, n_bytes + len(content)
    return Dataset(partitions, digests, len(all_cells), n_bytes, facts, SkyMap.of(all_cells))


def write_catalog_files(
    folder: Path,
    name: str,
    dataset: Dataset,
    max_rows: int = ROWS_PER_PARTITION,
    before: Path | None = None,
    *,
    created: str = "",
) -> None:
    """Write the files that make a folder of Parquet files a HATS catalog: properties, list of partitions, sky map, schema.

    Parameters
    ----------
    folder
        The catalog's folder.
    name
        The catalog's name.
    dataset
        Its files.
    max_rows
        Most rows in a partition.
    before
        As in `write_dataset`.
    created
        Time of creation, ISO 8601; not stated if left out.
    """
    put(folder, Path("partition_info.csv"), partition_info(dataset.partitions), before)
    put(folder, Path("hats.properties"), properties_text("HATS catalog", _properties(name, dataset, max_rows, created)))
    put(folder, Path("skymap.fits"), dataset.skymap.to_fits(), before)
    sink = pa.BufferOutputStream()
    pq.write_metadata(described_schema(dataset.facts), sink)
    put(folder, Path("dataset", "_common_metadata"), bytes(sink.getvalue()), before)


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


def put(folder: Path, path: Path, content: bytes, before: Path | None = None) -> None:
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
        As in `write_dataset`.
    """
    with explained(folder / path):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if before is not None and _holds(before / path, content):
            link_or_copy(before / path, folder / path)
        else:
            (folder / path).write_bytes(content)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _rows_inside(partition: Partition, sources: Iterable[RowSource], cells: Iterable[Int64Array]) -> pa.Table:
    low, high = partition.span
    inside = (pc.field("_healpix_29") >= low) & (pc.field("_healpix_29") < high)
    parts = [
        source.rows().filter(inside)
        for source, own_cells in zip(sources, cells, strict=True)
        if ((own_cells >= low) & (own_cells < high)).any()
    ]
    return pa.concat_tables(parts).sort_by(SORT_ORDER)


def partition_info(partitions: Sequence[Partition]) -> bytes:
    """The content of ``partition_info.csv``."""
    return ("\n".join(["Norder,Npix", *(f"{cell.order},{cell.pixel}" for cell in partitions)]) + "\n").encode()


def properties_text(heading: str, properties: Mapping[str, object]) -> bytes:
    """The content of a file of properties."""
    return (f"#{heading}\n" + "".join(f"{key}={value}\n" for key, value in properties.items())).encode()


def _properties(name: str, dataset: Dataset, max_rows: int, created: str) -> Mapping[str, object]:
    return {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": dataset.n_rows,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": FINEST_ORDER,
        "hats_cols_default": " ".join(DEFAULT_COLUMNS),
        "hats_max_rows": max_rows,
        "hats_npix_suffix": ".parquet",
        "hats_order": max((cell.order for cell in dataset.partitions), default=0),
        "hats_skymap_order": SKYMAP_ORDER,
        "moc_sky_fraction": dataset.skymap.sky_fraction,
        "hats_estsize": dataset.n_bytes // 1024,
        "hats_builder": "surveyflow",
        **({"hats_creation_date": created} if created else {}),
        "hats_version": "v1.0",
        "surveyflow_weights_origin": " ".join(dataset.facts.weights_origins),
    }


@dataclass(frozen=True, slots=True)
class SkyMap:
    """The number of rows in each cell.

    Parameters
    ----------
    pixels
        (n,) int64: numbers of the cells of `SKYMAP_ORDER` that hold rows, increasing.
    counts
        (n,) int64: rows in each.
    """

    pixels: Int64Array
    counts: Int64Array

    @classmethod
    def of(cls, cells_29: Int64Array) -> SkyMap:
        """Count the rows in each cell.

        Parameters
        ----------
        cells_29
            (n,) int64: ``_healpix_29`` of every row, in any order.
        """
        pixels, counts = np.unique(cells_at(SKYMAP_ORDER, cells_29), return_counts=True)
        return cls(pixels, counts.astype(np.int64))

    @property
    def sky_fraction(self) -> float:
        """Share of the whole sky in the cells that hold rows."""
        return float(len(self.pixels) / (12 * 4**SKYMAP_ORDER))

    def to_fits(self) -> bytes:
        """Write the map as a FITS file: a table of PIXEL and VALUE."""
        columns = [fits.Column("PIXEL", "K", array=self.pixels), fits.Column("VALUE", "K", array=self.counts)]
        table = fits.BinTableHDU.from_columns(columns)
        table.header.update(
            PIXTYPE="HEALPIX",
            INDXSCHM="EXPLICIT",
            ORDERING="NESTED",
            COORDSYS="C",
            NSIDE=2**SKYMAP_ORDER,
            OBS_NPIX=len(self.pixels),
        )
        content = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(content)
        return content.getvalue()
