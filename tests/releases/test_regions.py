"""Two catalogs are read piece by piece: each row once, both rows of a source together, at most a partition of each at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from catalog_rows import Table, make_rows
from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.dataset import write_dataset
from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.releases.regions import reader, regions_of

COLUMNS = pa.schema([CATALOG_SCHEMA.field(name) for name in ("_healpix_29", "field", "source_id")])


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory):
    """Catalogs of the same part of the sky in larger and smaller cells, of another part, and without rows."""
    rows = make_rows(300, radius_deg=0.05)
    tables = {
        "coarse": (rows.slice(0, 250), 200),
        "fine": (rows.slice(50), 20),
        "elsewhere": (make_rows(60, field="UDS", centre_deg=(34.4, -5.2)), 20),
        "none": (rows.slice(0, 0), 20),
    }
    folders = {}
    for name, (table, max_rows) in tables.items():
        folders[name] = tmp_path_factory.mktemp(name)
        dataset = write_dataset(folders[name], [Table(table)], max_rows=max_rows)
        write_catalog_files(folders[name], name, dataset)
    return {name: (folders[name], set(tables[name][0]["source_id"].to_pylist()), tables[name][1]) for name in tables}


@pytest.mark.parametrize("old", ["coarse", "fine", "elsewhere", "none"])
@pytest.mark.parametrize("new", ["coarse", "fine", "elsewhere", "none"])
def test_every_row_is_in_one_piece_and_those_of_a_place_are_in_the_same(catalogs, old, new):
    sides = [catalogs[old], catalogs[new]]
    read = [reader(folder, COLUMNS) for folder, *_ in sides]
    found, ranges = ([], []), []
    for region in regions_of(sides[0][0], sides[1][0]):
        for tables in region.pieces(*read):
            assert sum(map(len, tables)) > 0
            for side, table, ids in zip(sides, tables, found, strict=True):
                assert table.schema.equals(COLUMNS)
                assert len(table) <= side[2]
                ids.extend(table["source_id"].to_pylist())
            ranges.append([set(table["_healpix_29"].to_pylist()) for table in tables])
    assert [sorted(ids) for ids in found] == [sorted(ids) for _, ids, _ in sides]
    if "elsewhere" not in (old, new):
        both = sides[0][1] & sides[1][1]
        assert sum(len(one & two) for one, two in ranges) == len(both)


def test_a_file_is_read_once(catalogs):
    calls = []

    def counting(folder):
        read = reader(folder, COLUMNS)
        return lambda path: [calls.append(path), read(path)][1]

    folders = [catalogs[name][0] for name in ("coarse", "fine")]
    for region in regions_of(*folders):
        list(region.pieces(*map(counting, folders)))
    named = [path for path in calls if path is not None]
    files = [path.relative_to(folder) for folder in folders for path in folder.rglob("Npix=*")]
    assert sorted(named) == sorted(files)
    assert np.unique([str(path) for path in named]).size <= len(files)
