"""The statistics of partitions are those of their rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from catalog_rows import Table, make_rows
from surveyflow.catalog import statistics
from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.dataset import write_dataset
from surveyflow.catalog.statistics import STATISTICS


@pytest.fixture(params=[1, 64])
def catalog(tmp_path, monkeypatch, request):
    """A catalog of several tasks, and its statistics."""
    monkeypatch.setattr(statistics, "_PIECES_AT_A_TIME", request.param)
    dataset = write_dataset(tmp_path, [Table(make_rows(300, radius_deg=0.02))], max_rows=20)
    write_catalog_files(tmp_path, "demo", dataset)
    assert len(dataset.statistics) > 1
    return tmp_path, dataset, pq.read_table(tmp_path / STATISTICS)


def test_every_partition_has_the_limits_and_nulls_of_each_of_its_columns(catalog):
    folder, dataset, found = catalog
    assert found.select(["Norder", "Npix", "row_group_index"]).to_pylist() == [
        {"Norder": each.order, "Npix": each.pixel, "row_group_index": 0} for each in dataset.partitions
    ]
    for partition, stated in zip(dataset.partitions, found.to_pylist(), strict=True):
        rows = pq.read_table(folder / partition.path, partitioning=None)
        for name in rows.column_names:
            values = pc.list_flatten(rows[name]) if pa.types.is_fixed_size_list(rows[name].type) else rows[name]
            limits = pc.min_max(values).as_py()
            own = {key.split("::")[1]: value for key, value in stated.items() if key.startswith(f"{name}::")}
            assert (own["min_value"], own["max_value"]) == (limits["min"], limits["max"]), name
            assert (own["null_count"], own["row_count"]) == (values.null_count, len(values)), name
            assert own["disk_bytes"] > 0
            assert own["memory_bytes"] > 0


def test_only_the_catalog_is_left(catalog):
    folder, *_ = catalog
    assert not list(folder.rglob(".*"))


def test_equal_statistics_share_the_file_of_the_earlier_catalog(catalog, tmp_path):
    folder, *_ = catalog
    second = tmp_path / "second"
    dataset = write_dataset(second, [Table(make_rows(300, radius_deg=0.02))], max_rows=20, before=folder)
    write_catalog_files(second, "demo", dataset, before=folder)
    assert (second / STATISTICS).samefile(folder / STATISTICS)


def test_hats_reads_them(catalog):
    hats = pytest.importorskip("hats", reason="hats is not installed: pip install hats")
    folder, dataset, found = catalog
    frame = hats.read_hats(folder).per_partition_statistics(include_columns=["ra"])
    assert len(frame) == len(dataset.partitions)
    np.testing.assert_array_equal(frame["ra: min_value"], found["ra::min_value"].to_numpy())


def test_a_catalog_without_rows_has_none(tmp_path):
    write_catalog_files(tmp_path, "demo", write_dataset(tmp_path, []))
    assert not (tmp_path / STATISTICS).exists()
