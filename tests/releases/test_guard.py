"""A revision that is worse than the one before is held, with the reason; a legitimate change is not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from revisions import RevisionMaker, field_rows
from surveyflow.releases import guard, regions
from surveyflow.releases.guard import judge
from surveyflow.settings.workflow import Guard
from surveyflow.values.codes import Flag

N_SOURCES = 200
BEFORE = pa.concat_tables([field_rows("EGS", N_SOURCES), field_rows("COSMOS", N_SOURCES, seed=1)])


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a revision with the rows `BEFORE`."""
    return RevisionMaker(tmp_path_factory.mktemp("before"))(BEFORE)


@pytest.fixture
def held(tmp_path, published):
    """Publish rows after others; returns why the later revision would be held."""
    make = RevisionMaker(tmp_path)

    def after(new, old=BEFORE, limits=None):
        before = published if old is BEFORE else old and make(old)
        return judge(before, make(new), limits or Guard())

    return after


def changed(field, seed=0, share=1.0, **columns):
    """Rows of a field as they were, with other values in a share of the rows; the other field stays."""
    rows = field_rows(field, N_SOURCES, seed).sort_by("source_id")
    chosen = np.arange(N_SOURCES) < share * N_SOURCES
    values = {
        name: np.where(chosen, value, np.asarray(rows[name].to_pylist(), dtype=object if name == "status" else None))
        for name, value in columns.items()
    }
    other = field_rows("COSMOS", N_SOURCES, seed=1) if field == "EGS" else field_rows("EGS", N_SOURCES)
    return pa.concat_tables([field_rows(field, N_SOURCES, seed, **values), other])


def with_means(rows, change):
    """The rows with other values of p_pm_mean where there is one."""
    means = rows["p_pm_mean"].to_numpy()
    place = rows.schema.get_field_index("p_pm_mean")
    values = np.clip(change(means), 0, 1).astype(np.float32)
    return rows.set_column(place, rows.schema.field("p_pm_mean"), pa.array(values, mask=np.isnan(means)))


def test_the_same_rows_are_not_held(held):
    assert held(BEFORE) == ()


def test_a_field_that_lost_its_results_is_held_by_instrument_with_numbers_and_limit(held):
    reasons = held(changed("EGS", status="failed"))
    assert [reason.split(":")[0] for reason in reasons[:2]] == ["EGS F125W_F160W", "EGS F814W"]
    assert all(reason.startswith("EGS ") and "max_status_fraction" in reason for reason in reasons[2:])
    n_ok = sum(BEFORE.filter(pa.compute.equal(BEFORE["field"], "EGS"))["status"].to_numpy() == "ok")
    numbers = [int(word) for reason in reasons[:2] for word in reason.split()[2:3]]
    assert sum(numbers) == n_ok
    assert "(now" in reasons[0]
    assert "failed), 100.0 %; the limit is 5 % (max_lost_fraction)." in reasons[0]
    assert "no_redshift -> failed" in "".join(reasons)


@pytest.mark.parametrize(("share", "is_held"), [(0.02, False), (0.05, False), (0.3, True)])
def test_lost_results_count_beyond_the_limit_and_chance(held, share, is_held):
    assert bool(held(changed("EGS", share=share, status="no_coverage"))) == is_held


def test_one_lost_source_of_a_small_field_is_chance(held):
    small = field_rows("EGS", 12).sort_by("source_id")
    place = next(n for n, status in enumerate(small["status"].to_pylist()) if status == "ok")
    status = np.asarray(small["status"].to_pylist(), dtype=object)
    status[place] = "bad_pixels"
    assert held(field_rows("EGS", 12, status=status), small) == ()
    assert held(field_rows("EGS", 12, status=status), small, Guard(max_lost_fraction=0.0)) != ()


def test_small_losses_of_many_groups_are_found_together(held):
    """Two of about six in each: chance explains each of them, but not all."""

    def survey(lose):
        fields = []
        for number in range(12):
            status = np.where(np.arange(8) < (2 if lose else 0), "bad_pixels", "ok").astype(object)
            rows = field_rows(f"F{number}", 8, seed=number, centre=(10.0 + number, -5.0), status=status)
            fields.append(rows)
        return pa.concat_tables(fields)

    (reason,) = held(survey(lose=True), survey(lose=False))
    assert reason.startswith("All fields: 24 of 96 measured sources have lost their result (now 24 bad_pixels), 25.0 %")


def test_sources_that_are_added_and_a_new_field_are_no_reason(held):
    more = [BEFORE, field_rows("UDS", 50, status=np.full(50, "no_coverage", dtype=object))]
    assert held(pa.concat_tables(more)) == ()


def test_a_few_sources_that_leave_the_list_are_no_reason_and_a_truncated_list_is(held):
    assert held(BEFORE.slice(5)) == ()
    (reason, *_) = held(BEFORE.slice(50))
    assert "not in the catalog)" in reason
    assert "max_lost_fraction" in reason


def test_sources_that_are_not_in_their_place_are_looked_for_in_batches_with_the_same_result(tmp_path, published, monkeypatch):
    new = RevisionMaker(tmp_path)(pa.concat_tables([BEFORE.slice(50, 150), BEFORE.slice(250)]))
    whole = judge(published, new, Guard())
    assert "not in the catalog)" in whole[0]
    monkeypatch.setattr(regions, "MOST_ROWS", 7)
    batches, looked_for = [], guard._with_moved
    monkeypatch.setattr(guard, "_with_moved", lambda left, *rest: batches.append(len(left)) or looked_for(left, *rest))
    assert judge(published, new, Guard()) == whole
    assert batches == [50, 50]


def test_a_field_that_left_the_workflow_is_held(held):
    reasons = held(field_rows("EGS", N_SOURCES))
    assert len(reasons) == 2
    assert all(reason.startswith("COSMOS F") and "100.0 %" in reason for reason in reasons)


def test_results_that_are_gained_are_no_reason(held):
    status = np.asarray(field_rows("EGS", N_SOURCES).sort_by("source_id")["status"].to_pylist(), dtype=object)
    worse = changed("EGS", status=np.where(status == "ok", "no_model", status))
    assert held(BEFORE, worse) == ()


def test_a_flag_that_came_is_held_and_one_that_went_is_not(held):
    flagged = changed("EGS", flags=int(Flag.UNIT_DOMAIN | Flag.OUT_OF_DOMAIN))
    reasons = held(flagged)
    assert len(reasons) == 2
    assert all("have the new flag UNIT_DOMAIN, 100.0 %; the limit is 10 % (max_flag_fraction)." in reason for reason in reasons)
    assert held(BEFORE, flagged, Guard(max_flag_fraction=1.0)) == ()


def test_probabilities_that_moved_are_held_source_by_source(held):
    """As with pixels shifted against positions: the distribution is the same, but every source has another's result."""
    shuffled = with_means(BEFORE, lambda means: 1 - means)
    reasons = held(shuffled)
    assert "sources measured in both have moved in p_pm_mean by more than 0.1" in reasons[0]
    assert all("max_moved_fraction" in reason or "max_distance" in reason for reason in reasons)


def test_a_shift_too_small_for_single_sources_is_found_in_the_distribution(held):
    reasons = held(with_means(BEFORE, lambda means: means + 0.09), limits=Guard(max_distance=0.0))
    assert reasons
    assert all("the distribution of p_pm_mean" in reason and "(max_distance)" in reason for reason in reasons)
    assert held(with_means(BEFORE, lambda means: means + 0.005)) == ()


def with_contamination(rows, known):
    """The rows with p_contaminated_mean where there is a result, in a share of the rows."""
    has = (rows["p_pm_mean"].is_valid().to_numpy()) & (np.arange(len(rows)) < known * len(rows))
    place = rows.schema.get_field_index("p_contaminated_mean")
    return rows.set_column(place, rows.schema.field(place), pa.array(np.full(len(rows), 0.4, np.float32), mask=~has))


def test_results_of_a_model_beside_that_were_lost_are_held(held):
    before = with_contamination(BEFORE, 1.0)
    reasons = held(with_contamination(BEFORE, 0.5), before)
    assert reasons
    assert all("sources have lost their contamination result, " in reason for reason in reasons)
    assert held(before, with_contamination(BEFORE, 0.5)) == ()


def test_a_first_revision_without_a_result_is_held(held):
    nothing = field_rows("EGS", 30, status=np.full(30, "failed", dtype=object))
    assert held(nothing, None) == ("None of the 30 sources has a result (30 failed).",)
    assert held(nothing.slice(0, 0), None) == ("None of the 0 sources has a result (the lists are empty).",)
    assert held(field_rows("EGS", 30), None) == ()


def test_a_revision_that_cannot_be_compared_is_held(tmp_path):
    make = RevisionMaker(tmp_path)
    before, after = make(BEFORE), make(BEFORE)
    path = next(before.rglob("Npix=*.parquet"))
    path.unlink()
    path.write_bytes(b"PAR1")
    (reason,) = judge(before, after, Guard())
    assert reason.startswith("v1.0-r1, which readers have, cannot be read")
