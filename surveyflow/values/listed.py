"""What a source list says beyond the columns that are measured with: the columns that a catalog keeps from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from surveyflow.values.sources import SourceList


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A column of a source list that is copied into the catalog.

    Parameters
    ----------
    name
        Its name in the catalog.
    values
        (n,) Arrow array of bool, an integer or floating-point type, or string; null where the list gives no value.
    unit
        Its unit as astropy writes it; None if the list states none, or one that astropy does not know.
    description
        The list's words for what it holds; empty if there are none.
    """

    name: str
    values: pa.Array
    unit: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class ListedSources:
    """The content of one field's source list.

    Parameters
    ----------
    sources
        Its sources.
    kept
        The columns that the catalog keeps, by their names in the catalog, in the order of the workflow; as long as ``sources``.
    """

    sources: SourceList
    kept: Mapping[str, KeptColumn] = field(default_factory=dict)
