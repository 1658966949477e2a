"""How a Parquet file says what its columns mean: for astropy, and for the tools of the Virtual Observatory."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.compute as pc
from astropy import units as u
from astropy.io.votable.tree import Field, Resource, TableElement, VOTableFile
from astropy.table import Column, Table
from astropy.table.meta import get_yaml_from_table

from surveyflow.catalog.columns import COLUMNS, HISTOGRAM, CatalogColumn
from surveyflow.catalog.schema import HISTOGRAM_BINS, SCHEMA_VERSION

_LENGTH_OF_NONE = len(str(None))
"""Astropy reads a null string as the word None."""

_PERCENT = "%"
"""Valid in a VOTable, but astropy warns of it when it reads one; the column's name says it, too."""

_VOTABLE_TYPES = {
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "unicodeChar",
}


def described(table: pa.Table) -> pa.Table:
    """Attach the columns' meaning to catalog rows, and what these rows' weights are.

    The metadata depends on the rows alone, so equal rows make equal files.

    Parameters
    ----------
    table
        Rows of the catalog's schema.

    Returns
    -------
    table
        The rows, with the metadata keys ``surveyflow``, ``table_meta_yaml``, ``table::len::*`` and
        ``IVOA.VOTable-Parquet.*``.
    """
    return table.replace_schema_metadata(file_metadata(weights_origins(table), _string_lengths(table)))


def weights_origins(table: pa.Table) -> list[str]:
    """Where the weights behind these rows came from, sorted; empty if no row has a result."""
    return sorted(pc.unique(table["weights_origin"].drop_null()).to_pylist())


def file_metadata(origins: list[str], string_lengths: dict[str, int]) -> dict[str, str]:
    """Parquet key-value metadata of a file of the catalog.

    Parameters
    ----------
    origins
        Where the weights came from.
    string_lengths
        Length of the longest string of each string column.
    """
    facts = {"schema_version": SCHEMA_VERSION, "weights_origin": origins}
    return {
        "surveyflow": json.dumps(facts),
        "table_meta_yaml": _astropy_yaml(facts),
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": _votable(origins),
    } | {f"table::len::{name}": str(length) for name, length in string_lengths.items()}


def _string_lengths(table: pa.Table) -> dict[str, int]:
    names = [column.name for column in COLUMNS if column.type == pa.string()]
    return {name: max(_LENGTH_OF_NONE, pc.max(pc.utf8_length(table[name])).as_py() or 0) for name in names}


def _astropy_yaml(facts: dict[str, object]) -> str:
    """What astropy's own Parquet writer would say of these columns."""
    return "\n".join(get_yaml_from_table(Table([_astropy_column(column) for column in COLUMNS], meta=facts)))


def _astropy_column(column: CatalogColumn) -> Column:
    is_list = column.type == HISTOGRAM
    kind = column.type.value_type if is_list else column.type
    return Column(
        name=column.name,
        dtype="U1" if kind == pa.string() else kind.to_pandas_dtype(),
        shape=(HISTOGRAM_BINS,) if is_list else (),
        unit=None if column.unit is None else u.Unit(column.unit),
        description=column.description,
        meta={"ucd": column.ucd},
    )


def _votable(origins: list[str]) -> str:
    """A VOTable without data, as the IVOA Note "Parquet in the VO" 1.0 asks for."""
    votable = VOTableFile(version="1.4")
    resource, table = Resource(), TableElement(votable, name="surveyflow")
    table.description = f"Merger probability distributions by surveyflow; weights: {', '.join(origins) or 'none'}."
    table.fields.extend([_votable_field(votable, column) for column in COLUMNS])
    resource.tables.append(table)
    votable.resources.append(resource)
    content = io.BytesIO()
    votable.to_xml(content)
    return content.getvalue().decode()


def _votable_field(votable: VOTableFile, column: CatalogColumn) -> Field:
    is_list, is_string = column.type == HISTOGRAM, column.type == pa.string()
    field = Field(
        votable,
        name=column.name,
        datatype="int" if is_list else _VOTABLE_TYPES[column.type],
        arraysize=str(HISTOGRAM_BINS) if is_list else "*" if is_string else None,
        unit=None if column.unit in ("", _PERCENT) else column.unit,
        ucd=column.ucd,
    )
    field.description = column.description
    return field
