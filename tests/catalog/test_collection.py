"""A HATS collection: the index finds every source."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalog_rows import Table, make_rows
from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.collection import COLLECTION, INDEX, index_parts, write_collection
from surveyflow.catalog.dataset import write_dataset
from surveyflow.catalog.hats import Partition

CREATED = "2026-11-28T12:00:00Z"


def write(folder, before=None, max_rows=40):
    dataset = write_dataset(folder, [Table(make_rows(300, radius_deg=0.02))], max_rows=max_rows, before=before)
    write_catalog_files(folder, "demo", dataset, created=CREATED)
    parts = index_parts(folder, dataset.partitions, before)
    tables = [pq.read_table(folder / part.partition.path, columns=["source_id"], partitioning=None) for part in parts]
    footers = [part.write(rows["source_id"].to_numpy()) for part, rows in zip(parts, tables, strict=True)]
    write_collection(folder, "demo", footers, CREATED, before, n_bytes=dataset.n_bytes)
    return dataset.partitions


def test_the_index_names_the_partition_of_every_source(tmp_path):
    partitions = write(tmp_path)
    index = pq.ParquetDataset(tmp_path / COLLECTION / INDEX / "dataset" / "index").read()
    footers = pq.read_metadata(tmp_path / COLLECTION / INDEX / "dataset" / "_metadata")
    assert (footers.num_rows, footers.num_row_groups) == (len(index), len(partitions))
    found = index.to_pandas()
    for partition in partitions:
        listed = found[(found["Norder"] == partition.order) & (found["Npix"] == partition.pixel)]
        rows = pq.read_table(tmp_path / partition.path, partitioning=None).to_pandas()
        assert set(listed["source_id"]) == set(rows["source_id"])
        assert (listed["Dir"] == partition.folder).all()


def test_an_equal_index_shares_the_files_of_the_earlier_one(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", tmp_path / "a")
    files = sorted((tmp_path / "b" / COLLECTION / INDEX / "dataset").rglob("*.parquet"))
    assert files
    assert all(path.samefile(tmp_path / "a" / path.relative_to(tmp_path / "b")) for path in files)


def test_the_index_has_each_id_once(tmp_path):
    (part,) = index_parts(tmp_path, [Partition(3, 7)])
    part.write(np.array([5, -1, 5, 2**62, -1]))
    assert pq.read_table(tmp_path / COLLECTION / INDEX / part.path)["source_id"].to_pylist() == [-1, 5, 2**62]


def test_the_collection_says_when_it_was_made_and_how_large_the_catalog_is(tmp_path):
    write(tmp_path)
    lines = (tmp_path / COLLECTION / "collection.properties").read_text().splitlines()
    size = sum(path.stat().st_size for path in (tmp_path / "dataset").rglob("Npix=*"))
    assert {f"hats_creation_date={CREATED}", f"hats_estsize={size // 1024}"} <= set(lines)


def test_a_catalog_without_rows_has_no_collection(tmp_path):
    write_collection(tmp_path / "none", "demo", [], CREATED)
    assert not (tmp_path / "none").exists()


def test_hats_finds_the_catalog_valid_and_the_index_finds_a_source(tmp_path):
    validation = pytest.importorskip("hats.io.validation", reason="hats is not installed: pip install lsdb")
    lsdb = pytest.importorskip("lsdb", reason="lsdb is not installed")
    write(tmp_path)
    assert validation.is_valid_catalog(tmp_path, strict=True)
    assert validation.is_valid_catalog(tmp_path / COLLECTION, strict=True)
    one = lsdb.open_catalog(tmp_path / COLLECTION).id_search(values={"source_id": 77}).compute()
    assert one["source_id"].tolist() == [77]
