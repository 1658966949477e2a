"""The reference page of the catalog, made from the schema.

``python -m surveyflow.catalog.reference > docs/reference/catalog.md`` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from surveyflow.catalog.columns import COLUMNS, HISTOGRAM, CatalogColumn
from surveyflow.catalog.schema import SCHEMA_VERSION
from surveyflow.values.codes import Flag, Status, WeightsOrigin

_TEMPLATE = """\
# The catalog

Schema version {version}. This page is made from the schema: `python -m surveyflow.catalog.reference > docs/reference/catalog.md`.

The catalog has one row for every source of every source list, exactly once. The key is (`field`, `source_id`); source numbers
start again in every field. Rows are sorted by `_healpix_29`, `field`, `source_id`. Nothing drops a row: a source without a
result has a status that says why, and nulls.

## Columns

{columns}

Behind these columns stand those that the workflow [keeps from the source lists](../how-to/source-lists.md#keep-your-own-columns),
under the user's names. They belong to a revision, not to the schema: `kept_columns` in its manifest describes them, and so do the
files themselves.

Null means: a null in Arrow and Parquet, NaN or None in pandas, NaN or the word None in astropy. A histogram is null when each
of its 50 items is: a list that is null itself cannot be read by `astropy.table.Table.read`.

Standard deviations are those of the draws themselves (divisor T, not T - 1); quantiles interpolate linearly between draws;
bins of the histogram are half-open, but the last includes 1. `f_pm` counts votes and is not a probability; `p_pm` and `p_sf` are
independent outputs whose sum is not 1. Results with `weights_origin` other than `ferreira2022` are not those of Ferreira et al.
2022, and those of `untrained` weights mean nothing.

## Status

{statuses}

## Flags

`flags` is the sum of these bits.

{flags}

## Weights' origins

{origins}

## Files of a revision

| file | content |
|---|---|
| `hats.properties` | what makes the folder a HATS catalog: rows, positions, `surveyflow_weights_origin` |
| `partition_info.csv` | the cells of the sky that have a file: order and pixel |
| `dataset/Norder=k/Dir=d/Npix=p.parquet` | the rows of HEALPix cell p of order k (nested); d is p rounded down to 10,000 |
| `dataset/_common_metadata` | the schema, with the metadata of all rows together |
| `per_partition_statistics.parquet` | least and greatest value, nulls and bytes of each column in each cell, for LSDB |
| `skymap.fits` | number of rows in each cell of order 10, nested, with explicit cell numbers |
| `draws/FIELD/INSTRUMENT/TILE.parquet` | every draw of p_pm (`field`, `source_id`, `p_pm`), where the workflow keeps draws |
| `collection/` | a HATS collection: the catalog around it, `index_source_id`, the partitions of each id, and the margin |
| `../../margins/REVISION/` | the [margin](../explanation/publishing.md#choices): rows of other cells near the border of each |
| `alternatives` | link to `../../alternatives/REVISION/`, [further rows](../how-to/photometric-redshifts.md#the-alternatives) |
| [`manifest.json`](manifest.md) | inputs, models, workflow, versions, counts, failed units, size and SHA-256 of all other files |
| `report.html` | the report, made from the revision alone; missing where it could not be made |
| `report-of-REVISION.html` | the report of an earlier revision with the same results, to which `report.html` then has a link |

Each Parquet file carries, as key-value metadata:

| key | content |
|---|---|
| `surveyflow` | JSON: `schema_version`, and `weights_origin`, the list of origins of the weights that made these rows |
| `table_meta_yaml`, `table::len::*` | units, descriptions and UCDs as `astropy.table.Table.read` expects them |
| `IVOA.VOTable-Parquet.version`, `.content` | the same as a VOTable without data, for TOPCAT and similar tools |
"""


def reference_page() -> str:
    """Make the page, in Markdown."""
    return _TEMPLATE.format(
        version=SCHEMA_VERSION,
        columns=_table(("column", "type", "unit", "UCD", "meaning", "null"), map(_column_row, COLUMNS)),
        statuses=_table(("status", "meaning"), ((f"`{status}`", status.meaning) for status in Status)),
        flags=_table(("bit", "name", "meaning"), ((str(flag.value), f"`{flag.name}`", flag.meaning) for flag in Flag)),
        origins=_table(("origin", "meaning"), ((f"`{origin}`", origin.meaning) for origin in WeightsOrigin)),
    )


def _column_row(column: CatalogColumn) -> tuple[str, ...]:
    kind = "50 uint16" if column.type == HISTOGRAM else str(column.type)
    unit = "1" if column.unit == "" else column.unit or ""
    return f"`{column.name}`", kind, unit, column.ucd, column.description, column.when_null


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
