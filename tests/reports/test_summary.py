"""What a revision says, in numbers."""

import numpy as np
import pytest

from revisions import field_rows
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
    counts = {count.flag: (count.n_rows, count.n_ok) for count in summary.flag_counts(sources)}
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


def test_extremes_are_the_unflagged_results_at_both_ends(dataset, rows):
    unflagged = [row for row in frame_of(rows) if row["status"] == "ok" and not row["flags"]]
    by_mean = sorted(unflagged, key=lambda row: (-row["p_pm_mean"], row["field"], row["source_id"]))
    extremes = summary.find_extremes(dataset, summary.read_sources(dataset), size=5)
    keys = [(row["field"], row["source_id"]) for row in by_mean]
    assert [(row["field"], row["source_id"]) for row in extremes.most] == keys[:5]
    assert [(row["field"], row["source_id"]) for row in extremes.least] == keys[:-6:-1]
    assert extremes.n_candidates == len(unflagged)
    assert extremes.most[0]["p_pm_hist"] == by_mean[0]["p_pm_hist"]


def test_the_same_id_in_two_fields_is_two_galaxies(make_revision):
    ok = np.full(1, "ok", dtype=object)
    revision = make_revision(*(field_rows(name, 1, seed, status=ok, flags=0) for seed, name in enumerate(("COSMOS", "EGS"))))
    dataset = summary.open_dataset(revision)
    extremes = summary.find_extremes(dataset, summary.read_sources(dataset))
    assert {row["field"] for row in [*extremes.most, *extremes.least]} == {"COSMOS", "EGS"}


@pytest.mark.parametrize(("n_ok", "n_most", "n_least"), [(0, 0, 0), (1, 1, 0), (5, 3, 2), (30, 12, 12)])
def test_no_galaxy_is_at_both_ends(make_revision, n_ok, n_most, n_least):
    status = np.array(["ok"] * n_ok + ["no_redshift"], dtype=object)
    dataset = summary.open_dataset(make_revision(field_rows("EGS", n_ok + 1, status=status, flags=0)))
    extremes = summary.find_extremes(dataset, summary.read_sources(dataset))
    assert (len(extremes.most), len(extremes.least)) == (n_most, n_least)
    assert not {row["source_id"] for row in extremes.most} & {row["source_id"] for row in extremes.least}


def test_only_the_columns_that_the_page_needs_are_read(dataset):
    sources = summary.read_sources(dataset)
    assert "p_pm_hist" not in sources.columns
    assert sources.memory_usage().sum() < 60 * len(sources) + 10_000


def test_a_folder_without_a_dataset_is_named(tmp_path):
    with pytest.raises(CatalogError, match=r"no-such-revision is not a revision"):
        summary.open_dataset(tmp_path / "no-such-revision")
