"""A HATS collection: the margin holds every row near a border, and the index finds every source."""

from __future__ import annotations

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_rows import Table, make_rows
from surveyflow.catalog.collection import (
    COLLECTION,
    INDEX,
    MARGIN,
    MARGIN_ARCSEC,
    MARGIN_ORDER,
    cells_near_borders,
    write_collection,
)
from surveyflow.catalog.hats import partition_sky, write_catalog_files, write_dataset
from surveyflow.catalog.healpix import cells_at, healpix_29

CREATED = "2026-11-28T12:00:00Z"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A dense field over many partitions."""
    folder = tmp_path_factory.mktemp("collection")
    dataset = write_dataset(folder, [Table(make_rows(600, radius_deg=0.02))], max_rows=40)
    write_catalog_files(folder, "demo", dataset, created=CREATED)
    write_collection(folder, "demo", dataset.partitions, CREATED)
    return folder, dataset.partitions


def rows_of(path):
    return pq.read_table(path, partitioning=None).to_pandas()


@settings(deadline=None, max_examples=30)
@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.sampled_from([-89.9, -41.81, -10.0, 0.0, 2.2, 41.81, 67.0, 89.9]),
    seed=st.integers(0, 1000),
)
def test_pairs_closer_than_the_margin_lie_in_a_partition_or_in_its_margin(ra, dec, seed):
    rng = np.random.default_rng(seed)
    centre = SkyCoord(ra, dec, unit="deg")
    first = centre.directional_offset_by(rng.uniform(0, 360, 200) * u.deg, 60 * np.sqrt(rng.random(200)) * u.arcsec)
    second = first.directional_offset_by(rng.uniform(0, 360, 200) * u.deg, MARGIN_ARCSEC * rng.random(200) * u.arcsec)
    cells = [healpix_29(points.ra.deg, points.dec.deg) for points in (first, second)]
    partitions = partition_sky(np.concatenate(cells), max_rows=20)
    near = cells_near_borders(np.concatenate(cells), partitions)
    for here, there in zip(*cells, strict=True):
        (home,) = [number for number, one in enumerate(partitions) if one.span[0] <= here < one.span[1]]
        low, high = partitions[home].span
        assert low <= there < high or cells_at(MARGIN_ORDER, np.array([there]))[0] in near[home]


def test_the_margin_holds_rows_of_other_partitions_near_the_border_and_no_others(catalog):
    folder, partitions = catalog
    every = ds.dataset(folder / "dataset", format="parquet").to_table().to_pandas()
    places = SkyCoord(every["ra"], every["dec"], unit="deg")
    n_margin = 0
    for partition in partitions:
        own = rows_of(folder / partition.path)
        path = folder / COLLECTION / MARGIN / partition.path
        margin = rows_of(path) if path.exists() else own.iloc[:0]
        n_margin += len(margin)
        assert not set(margin["source_id"]) & set(own["source_id"])
        home = SkyCoord(own["ra"], own["dec"], unit="deg")
        _, separation, _ = places.match_to_catalog_sky(home)
        close = set(every["source_id"][separation < MARGIN_ARCSEC * u.arcsec]) - set(own["source_id"])
        assert close <= set(margin["source_id"])
    assert 0 < n_margin < len(every) * len(partitions) / 2


def test_the_index_names_the_partition_of_every_source(catalog):
    folder, partitions = catalog
    index = pq.ParquetDataset(folder / COLLECTION / INDEX / "dataset" / "index").read().to_pandas()
    assert pq.read_metadata(folder / COLLECTION / INDEX / "dataset" / "_metadata").num_rows == len(index)
    for partition in partitions:
        listed = index[(index["Norder"] == partition.order) & (index["Npix"] == partition.pixel)]
        assert set(listed["source_id"]) == set(rows_of(folder / partition.path)["source_id"])
        assert (listed["Dir"] == partition.folder).all()


def test_an_equal_margin_shares_the_files_of_the_earlier_one(tmp_path):
    rows = Table(make_rows(300, radius_deg=0.02))
    for name, before in (("a", None), ("b", tmp_path / "a")):
        dataset = write_dataset(tmp_path / name, [rows], max_rows=40, before=before)
        write_catalog_files(tmp_path / name, "demo", dataset)
        write_collection(tmp_path / name, "demo", dataset.partitions, CREATED, before)
    files = sorted((tmp_path / "b" / COLLECTION / MARGIN / "dataset").rglob("*.parquet"))
    assert files
    assert all(path.samefile(tmp_path / "a" / path.relative_to(tmp_path / "b")) for path in files)


def test_a_catalog_of_one_partition_has_no_margin_and_an_empty_one_no_collection(tmp_path):
    dataset = write_dataset(tmp_path / "one", [Table(make_rows(20))])
    write_catalog_files(tmp_path / "one", "demo", dataset)
    write_collection(tmp_path / "one", "demo", dataset.partitions, CREATED)
    text = (tmp_path / "one" / COLLECTION / "collection.properties").read_text()
    assert "margin" not in text
    assert f"all_indexes=source_id {INDEX}" in text
    write_collection(tmp_path / "none", "demo", (), CREATED)
    assert not (tmp_path / "none").exists()
