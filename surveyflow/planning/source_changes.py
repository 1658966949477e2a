"""The changes of a unit's sources since its earlier rows were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from surveyflow.values.arrays import BoolArray, Float64Array
from surveyflow.values.sources import SOURCE_COLUMNS, UnitSources

COMPARED_COLUMNS = [*(column.catalog_name for column in SOURCE_COLUMNS.values()), "x_pix", "y_pix", "status"]
"""Columns of the earlier rows that `compare_sources` needs."""

_VALUES = {name: column for name, column in SOURCE_COLUMNS.items() if name not in {"source_id", "ra_deg", "dec_deg"}}


@dataclass(frozen=True, slots=True)
class SourceChanges:
    """Numbers of sources by kind of change; a source that moved and got another redshift counts twice.

    Parameters
    ----------
    added, removed
        Number of sources that only the later, or only the earlier, unit has.
    moved
        Number of sources whose sky position changed.
    values
        Number of sources for which a value in the source list changed, by the value's key in the workflow: ``redshift``.
    placed
        Number of sources at the same sky position whose position on the mosaic changed, or whose status as far as it does not
        depend on pixels.
    """

    added: int
    removed: int
    moved: int
    values: Mapping[str, int]
    placed: int

    def in_words(self) -> str:
        """``3 sources added, 1 source removed``; empty if the sources themselves are the same."""
        return ", ".join(self._phrases())

    def as_json(self) -> dict[str, int]:
        """The numbers as JSON values: ``added``, ``removed``, ``moved``, ``redshifts``, ``placed``."""
        values = {f"{key}s": number for key, number in self.values.items()}
        return {"added": self.added, "removed": self.removed, "moved": self.moved, **values, "placed": self.placed}

    def _phrases(self) -> Iterator[str]:
        for number, what in ((self.added, "added"), (self.removed, "removed"), (self.moved, "moved")):
            if number:
                yield f"{number} source{'s' * (number > 1)} {what}"
        for key, number in self.values.items():
            if number:
                yield f"{number} {key}{'s' * (number > 1)} changed"


def compare_sources(rows: pa.Table, sources: UnitSources) -> SourceChanges:
    """Compare a unit's sources with earlier rows of the unit of the same name.

    Parameters
    ----------
    rows
        The earlier rows, with `COMPARED_COLUMNS`.
    sources
        The present sources.
    """
    _, old, new = np.intersect1d(rows["source_id"].to_numpy(), sources.source_id, return_indices=True)
    earlier, now = rows.take(old), sources.take(new)

    moved = _differs(earlier["ra"], now.ra_deg) | _differs(earlier["dec"], now.dec_deg)
    settled = (now.status != "") & (earlier["status"].to_numpy(zero_copy_only=False).astype(np.str_) != now.status)
    placed = _differs(earlier["x_pix"], now.x_pix) | _differs(earlier["y_pix"], now.y_pix) | settled
    return SourceChanges(
        added=len(sources) - len(new),
        removed=len(rows) - len(old),
        moved=int(moved.sum()),
        values={
            column.key: int(_differs(earlier[column.catalog_name], getattr(now, name)).sum()) for name, column in _VALUES.items()
        },
        placed=int((placed & ~moved).sum()),
    )


def _differs(column: pa.ChunkedArray, values: Float64Array) -> BoolArray:
    """(n,) bool: whether values differ; a null equals NaN."""
    earlier: Float64Array = column.to_numpy()
    differs: BoolArray = (earlier != values) & ~(np.isnan(earlier) & np.isnan(values))
    return differs
