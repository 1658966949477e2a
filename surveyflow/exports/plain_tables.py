"""A selection as text with commas, and as one Parquet file."""

from __future__ import annotations

from collections import Counter
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from astropy.io.misc import yaml
from astropy.table.meta import get_header_from_yaml

from surveyflow.catalog.frames import list_texts
from surveyflow.exports.selected import Selected
from surveyflow.values.codes import Flag, flags_text

_YAML, _VOTABLE = b"table_meta_yaml", b"IVOA."
_LONGEST_DERIVED = str(len(str(flags_text(sum(Flag))))).encode()
"""Characters of the longest text in a derived column: the names of all flags."""


def write_csv(selected: Selected, stream: BinaryIO) -> tuple[str, ...]:
    """Write a selection as CSV in UTF-8: a missing value is empty, and the items of a list are separated by blanks.

    Texts are written as they are, so that they can be joined with other tables.

    Parameters
    ----------
    selected
        The selection.
    stream
        The file.

    Returns
    -------
    A sentence on texts that spreadsheet programs would take for formulas, if there are any.

    Raises
    ------
    CatalogError
        If a file of the catalog is damaged.
    """
    n_formulas: Counter[str] = Counter()
    kinds = [(one.name, pa.string() if pa.types.is_fixed_size_list(one.type) else one.type) for one in selected.columns]
    with pacsv.CSVWriter(stream, pa.schema(kinds), write_options=pacsv.WriteOptions(quoting_style="needed")) as writer:
        for rows in selected.batches():
            writer.write_table(pa.table([_flat(rows[name]) for name, _ in kinds], schema=pa.schema(kinds)))
            n_formulas.update({name: _n_formulas(rows[name]) for name, kind in kinds if pa.types.is_string(kind)})
    return tuple(
        f"{number} texts of {name} begin as formulas do in spreadsheet programs, which may run them. Let such a program import "
        "the column as text, or open the file with another one."
        for name, number in n_formulas.items()
        if number
    )


def _n_formulas(column: pa.ChunkedArray) -> int:
    """How many texts a spreadsheet program would compute: they begin with =, @, + or -, and are not numbers."""
    if not pa.types.is_string(column.type):
        return 0
    begins = pc.match_substring_regex(column, r"^\s*[=@+-]")
    return int(pc.sum(pc.and_not(begins, pc.match_substring_regex(column, r"^\s*[+-]?[0-9.:]+$"))).as_py() or 0)


def write_parquet(selected: Selected, stream: BinaryIO) -> None:
    """Write a selection as one Parquet file, with the descriptions of its columns that the catalog's files have.

    Parameters
    ----------
    selected
        The selection.
    stream
        The file.

    Raises
    ------
    CatalogError
        If a file of the catalog is damaged.
    """
    schema = _schema(selected)
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for rows in selected.batches():
            writer.write_table(rows.cast(schema))


def _schema(selected: Selected) -> pa.Schema:
    """The columns with the revision's metadata, without what these say of other columns."""
    whole, about = selected.rows.schema, {f"surveyflow.{key}": text for key, text in selected.about.items()}
    metadata = dict(whole.metadata or {})
    if selected.names != whole.names:
        metadata = {key: value for key, value in metadata.items() if not key.startswith(_VOTABLE)}
        metadata |= {
            f"table::len::{one.name}".encode(): _LONGEST_DERIVED for one in selected.columns if one.name not in whole.names
        }
        metadata[_YAML] = _yaml_of(selected, metadata.get(_YAML, b"{datatype: []}").decode()).encode()
    fields = [whole.field(one.name) if one.name in whole.names else pa.field(one.name, one.type) for one in selected.columns]
    return pa.schema(fields, metadata=metadata | {key.encode(): text.encode() for key, text in about.items()})


def _yaml_of(selected: Selected, text: str) -> str:
    header = get_header_from_yaml(text.splitlines())
    entries = {entry["name"]: entry for entry in header["datatype"]}
    derived = {one.name: {"name": one.name, "datatype": "string", "description": one.description} for one in selected.columns}
    header["datatype"] = [entries.get(name, derived[name]) for name in selected.names]
    return str(yaml.dump(dict(header)))


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    return list_texts(column.combine_chunks()) if pa.types.is_fixed_size_list(column.type) else column
