"""The work list of a run: the sources of its units in one Arrow file, a record batch for each unit.

Workers read it. A job carries only the file's path and a number, never the sources themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from surveyflow.files.durable import explained
from surveyflow.values.sources import SOURCE_COLUMNS, UnitSources

_TYPES = {
    "field": pa.string(),
    "instrument": pa.string(),
    **{name: pa.from_numpy_dtype(column.dtype) for name, column in SOURCE_COLUMNS.items()},
    "x_pix": pa.float64(),
    "y_pix": pa.float64(),
    "status": pa.string(),
    "flags": pa.int32(),
}
_SCHEMA = pa.schema(list(_TYPES.items()))


def write_worklist(path: Path, units: Sequence[UnitSources]) -> None:
    """Write the sources of every unit, in order.

    Parameters
    ----------
    path
        A file that does not exist yet.
    units
        The units' sources; each unit holds at least one.
    """
    with explained(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for sources in units:
            writer.write_batch(_batch(sources))


def read_worklist(path: Path, number: int) -> UnitSources:
    """Read the sources of one unit.

    Parameters
    ----------
    path
        A file written by `write_worklist`.
    number
        The unit's index in the file, from 0.
    """
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(number)
        values = {name: batch.column(name).to_numpy(zero_copy_only=False).copy() for name in _TYPES}
    field = str(values.pop("field")[0])
    words = {name: values.pop(name).astype(np.str_) for name in ("instrument", "status")}
    return UnitSources(field=field, **values, **words)


def _batch(sources: UnitSources) -> pa.RecordBatch:
    columns = {name: getattr(sources, name) for name in _TYPES} | {"field": np.full(len(sources), sources.field)}
    return pa.record_batch({name: pa.array(columns[name], kind) for name, kind in _TYPES.items()}, schema=_SCHEMA)
