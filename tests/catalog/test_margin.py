"""The margin of a HATS catalog: no pair is lost at the border of a file, wherever the other catalog has its own."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_rows import Table, make_rows
from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.dataset import write_dataset
from surveyflow.catalog.division import partition_sky
from surveyflow.catalog.margin import MARGIN_ARCSEC, Cover, KeptBorders, write_margin
from surveyflow.catalog.schema import healpix_29


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A dense field over many partitions."""
    folder = tmp_path_factory.mktemp("margin") / "catalog"
    return folder, write_with_borders(folder, make_rows(600, radius_deg=0.02)), folder.with_name("borders")


def write_with_borders(folder, rows):
    """Write a catalog, and keep the rows near borders in a folder beside it."""
    borders = partial(KeptBorders.of, folder=folder.with_name("borders"))
    dataset = write_dataset(folder, [Table(rows)], max_rows=40, borders=borders)
    write_catalog_files(folder, "demo", dataset)
    return dataset


def test_a_cover_holds_every_cell_of_the_sky_once_and_every_partition():
    partitions = partition_sky(healpix_29(np.array([10.0, 10.001, 200.0]), np.array([0.0, 0.0, 80.0])), max_rows=1)
    cells = Cover.of(partitions).cells
    spans = [cell.span for cell in cells]
    assert spans[0][0] == 0
    assert spans[-1][1] == 12 * 4**29
    assert all(low[1] == high[0] for low, high in pairwise(spans))
    assert set(partitions) < set(cells)
    assert len(Cover.of(()).cells) == 12


@settings(deadline=None, max_examples=20)
@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.sampled_from([-89.9, -41.81, -10.0, 0.0, 2.2, 41.81, 67.0, 89.9]),
    seed=st.integers(0, 1000),
)
def test_what_is_closer_to_a_position_than_the_margin_lies_in_its_cell_or_in_the_margin_of_its_cell(ra, dec, seed):
    rng = np.random.default_rng(seed)
    centre = SkyCoord(ra, dec, unit="deg")
    ours = centre.directional_offset_by(rng.uniform(0, 360, 200) * u.deg, 60 * np.sqrt(rng.random(200)) * u.arcsec)
    theirs = ours.directional_offset_by(rng.uniform(0, 360, 200) * u.deg, MARGIN_ARCSEC * rng.random(200) * u.arcsec)
    own, other = (np.array(healpix_29(points.ra.deg, points.dec.deg)) for points in (ours, theirs))
    cover = Cover.of(partition_sky(own, max_rows=20))
    home, wanted = (cover.owners(cells >> 30) for cells in (own, other))
    near = {
        (int(row), number)
        for place in np.unique(home)
        for number, close in cover.beyond(own[home == place])
        for row in np.flatnonzero(home == place)[close]
    }
    assert all(wanted[row] == home[row] or (row, wanted[row]) in near for row in range(200))


def test_the_margin_holds_rows_of_other_cells_near_the_border_and_no_others(catalog, tmp_path):
    folder, dataset, borders = catalog
    n_rows = write_margin(folder, tmp_path, "demo", dataset, borders)
    every = ds.dataset(folder / "dataset", format="parquet").to_table().to_pandas()
    cells = every["_healpix_29"].to_numpy()
    places = SkyCoord(every["ra"], every["dec"], unit="deg")
    files = {path.relative_to(tmp_path): pq.read_table(path, partitioning=None) for path in tmp_path.rglob("Npix=*")}
    for cell in Cover.of(dataset.partitions).cells:
        margin = files.pop(cell.path).to_pandas() if cell.path in files else every.iloc[:0]
        inside = (cells >= cell.span[0]) & (cells < cell.span[1])
        assert not set(margin["source_id"]) & set(every["source_id"][inside])
        if inside.any():
            _, separation, _ = places.match_to_catalog_sky(places[inside])
            close = set(every["source_id"][separation < MARGIN_ARCSEC * u.arcsec]) - set(every["source_id"][inside])
            assert close <= set(margin["source_id"])
            distant = set(every["source_id"][separation > 60 * u.arcsec])
            assert not distant & set(margin["source_id"])
    assert not files
    assert f"hats_nrows={n_rows}\n" in (tmp_path / "hats.properties").read_text()


def test_an_equal_margin_shares_the_files_of_the_earlier_one(catalog, tmp_path):
    folder, dataset, borders = catalog
    write_margin(folder, tmp_path / "a", "demo", dataset, borders)
    write_margin(folder, tmp_path / "b", "demo", dataset, borders, before=tmp_path / "a")
    files = sorted((tmp_path / "b" / "dataset").rglob("*.parquet"))
    assert files
    assert all(path.samefile(tmp_path / "a" / path.relative_to(tmp_path / "b")) for path in files)


def test_a_catalog_of_which_no_row_lies_near_a_border_has_an_empty_margin_and_one_without_rows_none(tmp_path):
    dataset = write_with_borders(tmp_path / "one", make_rows(20, centre_deg=(45.0, 0.5), radius_deg=0.01))
    assert write_margin(tmp_path / "one", tmp_path / "margin", "demo", dataset, tmp_path / "borders") == 0
    assert (tmp_path / "margin" / "partition_info.csv").read_text() == "Norder,Npix\n"
    empty = write_dataset(tmp_path / "none", [])
    assert write_margin(tmp_path / "none", tmp_path / "no_margin", "demo", empty, tmp_path / "borders") == 0
    assert not (tmp_path / "no_margin").exists()
