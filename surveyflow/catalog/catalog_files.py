"""The files that make a folder of Parquet files a HATS catalog: properties, list of partitions, sky map, schema, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.dataset import Dataset
from surveyflow.catalog.division import ROWS_PER_PARTITION
from surveyflow.catalog.hats import DEFAULT_COLUMNS, partition_info, properties_text, put
from surveyflow.catalog.parquet import described_schema
from surveyflow.catalog.schema import FINEST_ORDER
from surveyflow.catalog.skymap import SKYMAP_ORDER
from surveyflow.catalog.statistics import STATISTICS, combined_statistics


def write_catalog_files(
    folder: Path,
    name: str,
    dataset: Dataset,
    max_rows: int = ROWS_PER_PARTITION,
    before: Path | None = None,
    *,
    created: str = "",
) -> None:
    """Write the files that make a folder of Parquet files a HATS catalog, and list its partitions and their statistics.

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
        As in `surveyflow.catalog.dataset.write_dataset`.
    created
        Time of creation, ISO 8601; not stated if left out.
    """
    put(folder, Path("partition_info.csv"), partition_info(dataset.partitions), before)
    put(folder, Path("hats.properties"), properties_text("HATS catalog", _properties(name, dataset, max_rows, created)))
    put(folder, Path("skymap.fits"), dataset.skymap.to_fits(), before)
    sink = pa.BufferOutputStream()
    pq.write_metadata(described_schema(dataset.facts), sink)
    put(folder, Path("dataset", "_common_metadata"), bytes(sink.getvalue()), before)
    if dataset.statistics:
        put(folder, Path(STATISTICS), combined_statistics(dataset.statistics), before)


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
