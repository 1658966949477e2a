"""What a revision says, in numbers."""

import numpy as np
import pyarrow as pa
import pytest

from catalog_rows import Table
from revisions import field_rows
from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.dataset import write_dataset
from surveyflow.errors import CatalogError
from surveyflow.reports import summary
from surveyflow.values.codes import Flag


@pytest.fixture
def rows():
    return {name: field_rows(name, 150, seed) for seed, name in enumerate(("COSMOS", "EGS"))}


@pytest.fixture
def dataset(make_revision, rows):
    return summary.open_dataset(make_revision(*rows.values()))


def frame_of(rows):
    return [row for table in rows.values() for row in table.to_pylist()]


def test_every_source_is_counted_once_under_its_field_instrument_and_status(dataset, rows):
    counts = {
        (field, instrument): by_status for field, instrument, by_status in summary.status_counts(summary.read_sources(dataset))
    }
    for row in frame_of(rows):
        counts[row["field"], row["instrument"] or ""][row["status"]] -= 1
    assert {n for by_status in counts.values() for n in by_status.values()} == {0}


def test_sources_without_an_instrument_come_last_in_their_field(dataset):
    pairs = [(field, instrument) for field, instrument, _ in summary.status_counts(summary.read_sources(dataset))]
    bands = ["F125W_F160W", "F814W", ""]
    assert pairs == [(field, band) for field in ("COSMOS", "EGS") for band in bands]


def test_statuses_that_never_occur_are_left_out(make_revision):
    only_ok = field_rows("EGS", 12, status=np.full(12, "ok", dtype=object))
    (_, _, counts), *_ = summary.status_counts(summary.read_sources(summary.open_dataset(make_revision(only_ok))))
    assert list(counts) == ["ok"]


def test_flags_are_counted_bit_by_bit(make_revision):
    flags = np.array([0, Flag.EDGE, Flag.EDGE | Flag.CONSTANT_IMAGE, Flag.EDGE])
    status = np.array(["ok", "ok", "ok", "bad_pixels"], dtype=object)
    sources = summary.read_sources(summary.open_dataset(make_revision(field_rows("EGS", 4, flags=flags, status=status))))
    counts = {count.flag: (count.n_rows, count.n_ok) for count in sources.flags}
    assert set(counts) == set(Flag)
    assert (counts[Flag.EDGE], counts[Flag.CONSTANT_IMAGE], counts[Flag.NO_MOSAIC]) == ((3, 2), (1, 1), (0, 0))


def test_stacked_posteriors_are_the_sum_of_the_histograms_of_the_results(dataset, rows):
    expected = {}
    for row in frame_of(rows):
        if row["status"] == "ok":
            key = row["field"], row["instrument"]
            expected[key] = expected.get(key, 0) + np.array(row["p_pm_hist"], dtype=int)
    found = summary.stacked_posteriors(dataset)
    assert list(found) == sorted(expected)
    for key, counts in found.items():
        np.testing.assert_array_equal(counts, expected[key])


def shown(dataset, **options):
    groups = summary.choose_galaxies(dataset, summary.read_sources(dataset), **options)
    return {group.title: [(row["field"], row["source_id"]) for row in group.rows] for group in groups}


def test_the_gallery_shows_both_ends_and_the_middle_of_all_results_flagged_or_not(dataset, rows):
    results = [row for row in frame_of(rows) if row["status"] == "ok"]
    assert any(row["flags"] for row in results)
    by_mean = sorted(results, key=lambda row: (-row["p_pm_mean"], row["field"], row["source_id"]))
    keys = [(row["field"], row["source_id"]) for row in by_mean]
    groups = shown(dataset, size=5)
    assert groups["Most probable post-mergers"] == keys[:5]
    assert groups["Least probable post-mergers"] == keys[:-6:-1]
    middle = min(abs(row["p_pm_mean"] - 0.5) for row in by_mean[5:-5])
    first = by_mean[keys.index(groups["Undecided"][0])]
    assert abs(first["p_pm_mean"] - 0.5) == middle


def test_random_galaxies_do_not_depend_on_the_order_of_the_rows(make_revision):
    one = field_rows("EGS", 200, 4)
    orders = [one, one.take(np.random.default_rng(1).permutation(200))]
    chosen = [shown(summary.open_dataset(make_revision(rows)))["At random"] for rows in orders]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == summary.GALLERY_SIZE


def test_contaminated_galaxies_are_those_with_a_probable_neighbour(make_revision):
    rows = field_rows("EGS", 60, status=np.full(60, "ok", dtype=object))
    place = rows.schema.get_field_index("p_contaminated_mean")
    values = pa.array(np.where(np.arange(60) < 3, 0.9, 0.3).astype(np.float32))
    dataset = summary.open_dataset(make_revision(rows.set_column(place, rows.schema.field(place), values)))
    ids = [row["source_id"] for row in rows.slice(0, 3).to_pylist()]
    groups = shown(dataset, size=3)
    shown_elsewhere = {key for title, keys in groups.items() if title != "Contaminated" for key in keys}
    assert set(groups["Contaminated"]) == {("EGS", source_id) for source_id in ids} - shown_elsewhere


def test_the_same_id_in_two_fields_is_two_galaxies(make_revision):
    ok = np.full(1, "ok", dtype=object)
    revision = make_revision(*(field_rows(name, 1, seed, status=ok, flags=0) for seed, name in enumerate(("COSMOS", "EGS"))))
    groups = shown(summary.open_dataset(revision))
    assert {field for keys in groups.values() for field, _ in keys} == {"COSMOS", "EGS"}


@pytest.mark.parametrize(("n_ok", "sizes"), [(0, []), (1, [1]), (5, [3, 2]), (40, [8, 8, 8, 8])])
def test_no_galaxy_is_shown_twice(make_revision, n_ok, sizes):
    status = np.array(["ok"] * n_ok + ["no_redshift"], dtype=object)
    groups = shown(summary.open_dataset(make_revision(field_rows("EGS", n_ok + 1, status=status, flags=0))))
    assert list(map(len, groups.values())) == sizes
    keys = [key for group in groups.values() for key in group]
    assert len(set(keys)) == len(keys)


def test_only_the_columns_that_the_page_needs_are_read(dataset):
    sources = summary.read_sources(dataset)
    assert "p_pm_hist" not in sources.rows.columns
    assert sources.rows.memory_usage().sum() < 60 * len(sources.rows) + 10_000


@pytest.fixture
def few_are_drawn(monkeypatch):
    monkeypatch.setattr(summary, "MOST_SOURCES", 60)
    monkeypatch.setattr(summary, "_FEWEST_OF_GROUP", 15)


def test_of_many_sources_all_are_counted_and_some_of_each_group_drawn(dataset, monkeypatch, request):
    every = summary.read_sources(dataset)
    assert not every.are_drawn
    request.getfixturevalue("few_are_drawn")
    some = summary.read_sources(dataset)
    assert some.are_drawn
    assert (some.counts, some.flags, some.weights_origins) == (every.counts, every.flags, every.weights_origins)
    assert (some.n_rows, some.n_ok) == (300, sum(summary.is_ok(every.rows)))
    assert 40 < len(some.rows) < 200
    groups = every.rows.groupby(["field", "instrument"], observed=True).size()
    drawn = some.rows.groupby(["field", "instrument"], observed=True).size()
    assert set(drawn.index) == set(groups.index)
    rows = set(zip(every.rows["field"], every.rows["source_id"], strict=True))
    assert set(zip(some.rows["field"], some.rows["source_id"], strict=True)) < rows


def test_a_gallery_of_many_sources_shows_the_ends_of_all_of_them(dataset, monkeypatch, request):
    every = shown(dataset, size=4)
    request.getfixturevalue("few_are_drawn")
    monkeypatch.setattr(summary, "GALLERY_SIZE", 4)
    some = shown(dataset, size=4)
    assert list(some) == list(every)
    assert {title: keys for title, keys in some.items() if title != "At random"} == {
        title: keys for title, keys in every.items() if title != "At random"
    }
    drawn = summary.read_sources(dataset).rows
    assert set(some["At random"]) <= set(zip(drawn["field"], drawn["source_id"], strict=True))


def test_a_folder_without_a_dataset_is_named(tmp_path):
    with pytest.raises(CatalogError, match=r"no-such-revision is not a revision"):
        summary.open_dataset(tmp_path / "no-such-revision")


def in_range(rows, **columns):
    """Rows of sources with p(z), with other values in some columns."""
    values = {"p_range": np.linspace(0.1, 0.9, len(rows)).astype(np.float32), **columns}
    for name, value in values.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.array(value, rows.schema.field(place).type))
    return rows


def written(folder, rows, max_rows):
    write_catalog_files(folder, "x", write_dataset(folder, [Table(rows)], max_rows=max_rows))
    return rows.to_pandas()


@pytest.mark.parametrize(("own_size", "further_size"), [(20, 200), (200, 20)])
def test_further_rows_are_compared_with_those_of_the_same_source_however_the_sky_is_divided(tmp_path, own_size, further_size):
    status = np.array(["ok", "ok", "bad_pixels"] * 40, dtype=object)
    rows = pa.concat_tables([field_rows(name, 120, seed, status=status) for seed, name in enumerate(("COSMOS", "EGS"))])
    own = written(tmp_path / "own", in_range(rows.slice(0, 200)), own_size)
    chosen = rows.slice(20).filter(pa.compute.equal(rows.slice(20)["status"], "ok"))
    swapped = {"p_pm_mean": chosen["p_sf_mean"].to_pylist(), "p_sf_mean": chosen["p_pm_mean"].to_pylist()}
    further = written(tmp_path / "further", in_range(chosen, instrument=["F277W"] * len(chosen), **swapped), further_size)
    found = summary.further_rows(tmp_path / "own", tmp_path / "further")
    assert [(each.field, each.instrument) for each in found] == [("COSMOS", "F277W"), ("EGS", "F277W")]
    for each in found:
        theirs = further[further["field"] == each.field]
        both = theirs.merge(own[own["status"] == "ok"], on=["field", "source_id"])
        differ = (both["p_pm_mean_x"] > both["p_sf_mean_x"]) != (both["p_pm_mean_y"] > both["p_sf_mean_y"])
        assert (each.n_rows, each.n_ok, each.n_compared) == (len(theirs), len(theirs), len(both))
        assert 0 < each.n_other_class == differ.sum()
        assert each.share_mean == pytest.approx(theirs["p_range"].mean())
