import hashlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_rows import Table, make_rows
from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.dataset import _batches, write_dataset
from surveyflow.catalog.division import FINEST_PARTITION_ORDER, partition_sky
from surveyflow.catalog.hats import Partition, read_partitions
from surveyflow.catalog.schema import cells_at

cell_lists = st.lists(st.integers(0, 12 * 4**29 - 1) | st.integers(5 * 4**29, 5 * 4**29 + 4**18), max_size=80).map(
    lambda cells: np.array(cells, dtype=np.int64)
)


def rows_in(partition, cells):
    low, high = partition.span
    return np.count_nonzero((cells >= low) & (cells < high))


@settings(deadline=None)
@given(cells=cell_lists, max_rows=st.integers(1, 30))
def test_each_row_lies_in_exactly_one_partition_that_is_not_too_large(cells, max_rows):
    partitions = partition_sky(cells, max_rows)
    counts = [rows_in(partition, cells) for partition in partitions]
    assert sum(counts) == len(cells)
    for partition, count in zip(partitions, counts, strict=True):
        assert count > 0
        assert count <= max_rows or partition.order == FINEST_PARTITION_ORDER


@settings(deadline=None)
@given(cells=cell_lists, max_rows=st.integers(1, 30))
def test_partitions_are_as_coarse_as_they_may_be(cells, max_rows):
    for partition in partition_sky(cells, max_rows):
        if partition.order:
            assert rows_in(Partition(partition.order - 1, partition.pixel // 4), cells) > max_rows


@settings(deadline=None)
@given(cells=cell_lists, max_rows=st.integers(1, 30))
def test_partitions_follow_the_order_of_the_sky(cells, max_rows):
    spans = [partition.span for partition in partition_sky(cells, max_rows)]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_rows_far_away_do_not_change_a_partition():
    here = make_rows(300)["_healpix_29"].to_numpy()
    there = make_rows(50, centre_deg=(34.4, -5.2))["_healpix_29"].to_numpy()
    alone = partition_sky(here, 100)
    assert set(alone) <= set(partition_sky(np.concatenate([here, there]), 100))


def test_a_partition_s_path_is_what_hats_prescribes():
    assert str(Partition(8, 182_808).path) == "dataset/Norder=8/Dir=180000/Npix=182808.parquet"
    assert str(Partition(0, 6).path) == "dataset/Norder=0/Dir=0/Npix=6.parquet"


def test_every_row_is_written_once_and_sorted(tmp_path):
    tables = [make_rows(120, first_id=1), make_rows(120, first_id=121), make_rows(10, field="UDS", centre_deg=(34.4, -5.2))]
    dataset = write_dataset(tmp_path, [Table(table) for table in tables], max_rows=50)
    parts = [pq.read_table(tmp_path / partition.path, partitioning=None) for partition in dataset.partitions]
    expected = pa.concat_tables(tables).sort_by([(name, "ascending") for name in ("_healpix_29", "field", "source_id")])
    assert pa.concat_tables(parts).equals(expected)
    assert dataset.n_rows == 250
    assert max(map(len, parts)) <= 50
    for partition, part in zip(dataset.partitions, parts, strict=True):
        assert (cells_at(partition.order, part["_healpix_29"].to_numpy()) == partition.pixel).all()


def test_a_source_of_rows_is_read_only_for_the_partitions_that_it_reaches(tmp_path):
    near, far = Table(make_rows(200)), Table(make_rows(10, field="UDS", centre_deg=(34.4, -5.2), radius_deg=0.001))
    dataset = write_dataset(tmp_path, [near, far], max_rows=10)
    assert far.n_reads == 1
    assert 1 < near.n_reads <= len(dataset.partitions) // 8 + 1


@settings(deadline=None)
@given(needed=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True), max_size=60))
def test_tasks_share_partitions_out_in_order_and_are_neither_too_small_nor_too_large(needed):
    batches = list(_batches([np.array(sorted(each)) for each in needed]))
    assert [number for batch in batches for number in range(len(needed))[batch]] == list(range(len(needed)))
    sizes = [batch.stop - batch.start for batch in batches]
    assert all(8 <= size <= 16 for size in sizes[:-1])
    assert sum(sizes[-1:]) <= 16


def test_a_task_ends_where_its_sources_of_rows_end():
    fields = 11 * [np.array([0, 1])] + 9 * [np.array([2])] + 10 * [np.array([3, 4])]
    assert list(_batches(fields)) == [slice(0, 11), slice(11, 20), slice(20, 30)]


def test_bytes_of_a_partition_do_not_depend_on_how_its_rows_came(tmp_path):
    rows = make_rows(100)
    halves = [Table(rows.take(np.arange(start, 100, 2))) for start in (1, 0)]
    assert write_dataset(tmp_path / "a", [Table(rows)]).digests == write_dataset(tmp_path / "b", halves).digests


def test_digests_and_sizes_are_those_of_the_files(tmp_path):
    dataset = write_dataset(tmp_path, [Table(make_rows(100))], max_rows=30)
    contents = {str(partition.path): (tmp_path / partition.path).read_bytes() for partition in dataset.partitions}
    assert dataset.digests == {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    assert dataset.n_bytes == sum(map(len, contents.values()))


def test_the_catalog_files_describe_the_dataset(tmp_path):
    dataset = write_dataset(tmp_path, [Table(make_rows(100))], max_rows=30)
    write_catalog_files(tmp_path, "demo_v1.0-r1", dataset, max_rows=30)
    properties = dict(line.split("=") for line in (tmp_path / "hats.properties").read_text().splitlines()[1:])
    assert properties["obs_collection"] == "demo_v1.0-r1"
    assert properties["hats_nrows"] == "100"
    assert properties["hats_max_rows"] == "30"
    assert properties["surveyflow_weights_origin"] == "untrained"
    assert read_partitions(tmp_path) == dataset.partitions
    schema = pq.read_schema(tmp_path / "dataset" / "_common_metadata")
    assert schema.equals(pq.read_schema(tmp_path / dataset.partitions[0].path))
    assert b"table_meta_yaml" in schema.metadata


def test_a_catalog_without_rows_has_no_partitions(tmp_path):
    dataset = write_dataset(tmp_path, [])
    write_catalog_files(tmp_path, "demo", dataset)
    assert read_partitions(tmp_path) == ()


def test_an_equal_partition_is_the_same_file_and_a_changed_one_is_not(tmp_path):
    near, far = make_rows(200), make_rows(10, field="UDS", centre_deg=(34.4, -5.2), radius_deg=0.001)
    first = write_dataset(tmp_path / "a", [Table(near), Table(far)], max_rows=50)
    second = write_dataset(tmp_path / "b", [Table(near), Table(far.slice(1))], max_rows=50, before=tmp_path / "a")
    assert second.partitions == first.partitions
    shared = [(tmp_path / "a" / cell.path).samefile(tmp_path / "b" / cell.path) for cell in first.partitions]
    assert shared.count(False) == 1
    assert first.digests.items() - second.digests.items() == {
        (path, digest) for path, digest in first.digests.items() if path == str(first.partitions[shared.index(False)].path)
    }


def test_a_damaged_file_of_the_earlier_catalog_is_not_shared(tmp_path):
    rows = Table(make_rows(40))
    first = write_dataset(tmp_path / "a", [rows])
    path = tmp_path / "a" / first.partitions[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    second = write_dataset(tmp_path / "b", [rows], before=tmp_path / "a")
    assert hashlib.sha256((tmp_path / "b" / second.partitions[0].path).read_bytes()).hexdigest() in first.digests.values()


def test_the_skymap_counts_the_rows_of_every_cell(tmp_path):
    rows = pa.concat_tables([make_rows(300), make_rows(20, field="UDS", centre_deg=(34.4, -5.2))])
    write_catalog_files(tmp_path, "demo", write_dataset(tmp_path, [Table(rows)]))
    with fits.open(tmp_path / "skymap.fits") as hdus:
        found = dict(zip(hdus[1].data["PIXEL"].tolist(), hdus[1].data["VALUE"].tolist(), strict=True))
        header = hdus[1].header
    expected = Counter((rows["_healpix_29"].to_numpy() // 4 ** (29 - 10)).tolist())
    assert found == expected
    assert len(found) > 2
    assert (header["INDXSCHM"], header["ORDERING"], header["NSIDE"]) == ("EXPLICIT", "NESTED", 1024)
    assert "hats_skymap_order=10\n" in (tmp_path / "hats.properties").read_text()
