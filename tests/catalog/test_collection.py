"""A HATS collection: the index finds every source."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from catalog_rows import Table, make_rows
from surveyflow.catalog.collection import COLLECTION, INDEX, write_collection
from surveyflow.catalog.hats import write_catalog_files, write_dataset

CREATED = "2026-11-28T12:00:00Z"


def write(folder, before=None, max_rows=40):
    dataset = write_dataset(folder, [Table(make_rows(300, radius_deg=0.02))], max_rows=max_rows, before=before)
    write_catalog_files(folder, "demo", dataset, created=CREATED)
    write_collection(folder, "demo", dataset.partitions, CREATED, before)
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


def test_a_catalog_without_rows_has_no_collection(tmp_path):
    write_collection(tmp_path / "none", "demo", (), CREATED)
    assert not (tmp_path / "none").exists()


def test_hats_finds_the_catalog_valid_and_the_index_finds_a_source(tmp_path):
    validation = pytest.importorskip("hats.io.validation", reason="hats is not installed: pip install lsdb")
    lsdb = pytest.importorskip("lsdb", reason="lsdb is not installed")
    write(tmp_path)
    assert validation.is_valid_catalog(tmp_path, strict=True)
    assert validation.is_valid_catalog(tmp_path / COLLECTION, strict=True)
    one = lsdb.open_catalog(tmp_path / COLLECTION).id_search(values={"source_id": 77}).compute()
    assert one["source_id"].tolist() == [77]
