"""The package as it would be if the catalog had other columns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pytest

from surveyflow.catalog import parquet as metadata
from surveyflow.catalog import schema
from surveyflow.catalog.columns import COLUMNS, CatalogColumn, Null

DUMMY = CatalogColumn("dummy", pa.float64(), "meta.note", "A column for tests.", Null.NO_UNIT, "")


@contextmanager
def catalog_with(columns: Sequence[CatalogColumn]) -> Iterator[str]:
    """Replace the catalog's columns in every module that holds them; yields the version of their schema."""
    version = schema.schema_version(columns)
    others = {
        "COLUMNS": (COLUMNS, tuple(columns)),
        "CATALOG_SCHEMA": (schema.CATALOG_SCHEMA, pa.schema([column.field for column in columns])),
        "SCHEMA_VERSION": (schema.SCHEMA_VERSION, version),
        "UNIT_SCHEMA_VERSION": (schema.UNIT_SCHEMA_VERSION, version),
    }
    modules = [module for name, module in sys.modules.items() if name.startswith("surveyflow.")]
    with pytest.MonkeyPatch.context() as patch:
        for name, (old, new) in others.items():
            for module in modules:
                if vars(module).get(name) is old:
                    patch.setattr(module, name, new)
        _forget_descriptions()
        yield version
    _forget_descriptions()


def _forget_descriptions() -> None:
    metadata._astropy_yaml.cache_clear()
    metadata._votable_with_marks.cache_clear()
