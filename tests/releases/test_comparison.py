"""Two revisions that differ in known ways, whatever the partitions: the difference says exactly that."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from catalog_rows import make_rows
from other_schemas import DUMMY, catalog_with
from surveyflow.catalog import dataset
from surveyflow.catalog.columns import COLUMNS
from surveyflow.catalog.schema import CATALOG_SCHEMA, healpix_29
from surveyflow.releases import comparison, regions
from surveyflow.releases import publish as releases
from surveyflow.releases.comparison import SOURCES_NAMED, compare
from surveyflow.releases.publish import publish, read_catalog
from surveyflow.releases.verify import CheckedCatalog

NOTHING = {"added": 0, "removed": 0, "changed": 0, "recomputed": 0}


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch):
    """Many files for few rows; durability and the checks of what is published are tested elsewhere."""
    monkeypatch.setattr(releases, "check_catalog", lambda *args, **options: CheckedCatalog({}, []))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write = dataset.write_dataset
    monkeypatch.setattr(releases, "write_dataset", lambda *args, **options: write(*args, max_rows=25, **options))


def put(rows, column, source_ids, values):
    """The rows with other values in one column of some sources."""
    old, ids = rows[column].to_pylist(), rows["source_id"].to_pylist()
    new = dict(zip(source_ids, np.broadcast_to(values, len(source_ids)).tolist(), strict=True))
    changed = [new.get(source_id, value) for source_id, value in zip(ids, old, strict=True)]
    place = CATALOG_SCHEMA.get_field_index(column)
    return rows.set_column(place, CATALOG_SCHEMA.field(place), pa.array(changed, CATALOG_SCHEMA.field(place).type))


def moved(rows, source_id, ra):
    """The rows with one source at another right ascension."""
    dec = dict(zip(rows["source_id"].to_pylist(), rows["dec"].to_pylist(), strict=True))[source_id]
    cell = int(healpix_29(np.array([ra]), np.array([dec]))[0])
    return put(put(rows, "ra", [source_id], ra), "_healpix_29", [source_id], cell)


def ok_ids(rows):
    return rows.filter(pc.equal(rows["status"], "ok"))["source_id"].to_pylist()


def difference(root, old, new):
    for rows in (old, new):
        publish(root, "v1", [], rows, {})
    return compare(root, "v1-r1", "v1-r2")


def counts(found):
    return {kind: n for kind, n in found.as_json()["rows"].items() if kind != "unchanged"}


ROWS = make_rows(150)


def test_equal_revisions_do_not_differ_and_their_files_are_not_read(tmp_path, monkeypatch):
    for _ in range(2):
        publish(tmp_path, "v1", [], ROWS, {})
    monkeypatch.setattr("pyarrow.parquet.read_table", None)
    found = compare(tmp_path, "v1-r1", "v1-r2")
    assert counts(found) == NOTHING
    assert found.n_unchanged == 150
    assert found.as_json()["columns"] == {}


def test_added_and_removed_sources_are_counted_and_named(tmp_path):
    found = difference(tmp_path, ROWS.filter(pc.field("source_id") > 2), ROWS.filter(pc.field("source_id") < 150))
    assert counts(found) == NOTHING | {"added": 2, "removed": 1}
    assert (found.added, found.removed) == ((("EGS", 1), ("EGS", 2)), (("EGS", 150),))
    assert found.n_unchanged == 147


def test_a_source_of_the_same_number_in_another_field_is_another_source(tmp_path):
    found = difference(tmp_path, ROWS, make_rows(150, field="UDS", centre_deg=(34.4, -5.2)))
    assert counts(found) == NOTHING | {"added": 150, "removed": 150}
    assert len(found.added) == SOURCES_NAMED


def test_sources_whose_ids_are_text_are_named_by_it(tmp_path):
    named = put(ROWS, "source_name", ROWS["source_id"].to_pylist()[:-1], [f"gal-{number}" for number in range(len(ROWS) - 1)])
    first, last = named["source_id"][0].as_py(), named["source_id"][-1].as_py()
    found = difference(tmp_path, named, put(named.slice(1), "flags", [last, *ok_ids(named)[-2:-1]], 8))
    assert found.names[("EGS", first)] == "gal-0"
    assert ("EGS", last) in found.changes.first
    assert ("EGS", last) not in found.names
    told = found.as_json()
    assert told["sources"]["removed"] == (("EGS", first),)
    assert {"field": "EGS", "source_id": first, "source_name": "gal-0"} in told["source_names"]


def test_changed_values_are_counted_by_column_and_null_equals_null(tmp_path):
    ids = ok_ids(ROWS)
    found = difference(tmp_path, ROWS, put(put(ROWS, "f_pm", ids[:5], 0.333), "seed", ids[3:9], 8))
    assert counts(found) == NOTHING | {"changed": 9}
    assert found.as_json()["columns"] == {"f_pm": 5, "seed": 6}
    assert set(found.changes.first) == {("EGS", source_id) for source_id in ids[:9]}


def test_changed_histogram_is_a_change(tmp_path):
    old = ROWS.filter(pc.equal(ROWS["status"], "ok"))
    histograms = [list(values) for values in old["p_pm_hist"].to_pylist()]
    histograms[7][3] += 1
    place = CATALOG_SCHEMA.get_field_index("p_pm_hist")
    new = old.set_column(place, CATALOG_SCHEMA.field(place), pa.array(histograms, CATALOG_SCHEMA.field(place).type))
    assert difference(tmp_path, old, new).as_json()["columns"] == {"p_pm_hist": 1}


def test_row_that_was_only_done_again_is_recomputed_and_not_changed(tmp_path):
    found = difference(tmp_path, ROWS, put(ROWS, "unit_key", [1, 2, 3], "1" * 64))
    assert counts(found) == NOTHING | {"recomputed": 3}


def test_status_that_changes_is_a_transition(tmp_path):
    lost = [row["source_id"] for row in ROWS.to_pylist() if row["status"] == "bad_pixels"][:4]
    found = difference(tmp_path, ROWS, put(ROWS, "status", lost, "no_coverage"))
    assert found.as_json()["status"] == [{"before": "bad_pixels", "after": "no_coverage", "rows": 4}]


def test_shifts_are_those_of_the_rows_that_are_ok_in_both(tmp_path):
    ids = ok_ids(ROWS)[:40]
    new = put(ROWS, "f_pm", ids, np.linspace(0, 1, 40))
    found = difference(tmp_path, ROWS, new).as_json()["shifts"]
    frame = ROWS.to_pandas().set_index("source_id").f_pm
    change = new.to_pandas().set_index("source_id").f_pm[ids] - frame[ids]
    assert found["f_pm"]["rows"] == np.count_nonzero(change)
    assert found["f_pm"]["mean"] == pytest.approx(change.mean(), abs=1e-6)
    assert found["f_pm"]["max"] == pytest.approx(change.max(), abs=0.00051)
    assert found["p_pm_mean"] == {"rows": 0}


@pytest.mark.parametrize("ra", [214.8001, 34.0])
def test_a_source_that_moved_within_a_cell_or_far_away_is_changed_not_replaced(tmp_path, ra):
    found = difference(tmp_path, ROWS, moved(ROWS, 17, ra))
    assert counts(found) == NOTHING | {"changed": 1}
    assert found.as_json()["columns"] == {"_healpix_29": 1, "ra": 1}
    assert found.changes.first == (("EGS", 17),)


def test_many_sources_that_moved_or_are_gone_are_compared_in_parts_with_the_same_result(tmp_path, monkeypatch):
    away = put(make_rows(90, radius_deg=0.01, centre_deg=(34.4, -5.2)), "flags", range(1, 31), 4096)
    whole = difference(tmp_path, make_rows(90), pa.concat_tables([away.slice(20), make_rows(40, first_id=500)])).as_json()
    assert whole["rows"] == {"added": 40, "removed": 20, "changed": 70, "recomputed": 0, "unchanged": 0}
    monkeypatch.setattr(comparison, "MOST_ROWS", 30)
    monkeypatch.setattr(regions, "MOST_ROWS", 10)
    files = []
    monkeypatch.setattr(comparison._Keys, "_file", lambda keys, *place: files.append(place) or f"{keys._path}-{place}")
    assert compare(tmp_path, "v1-r1", "v1-r2").as_json() == whole
    assert (15, 0) in files


def test_cells_that_were_split_are_compared_with_their_parent(tmp_path):
    """Half of the rows fit in coarser cells."""
    found = difference(tmp_path, ROWS.filter(pc.field("source_id") <= 60), ROWS)
    assert counts(found) == NOTHING | {"added": 90}
    assert found.n_unchanged == 60


def test_difference_agrees_with_pandas_for_random_changes(tmp_path):
    rng = np.random.default_rng(4)
    old = make_rows(200, seed=1)
    new = put(old, "flags", rng.choice(np.arange(1, 201), 30, replace=False).tolist(), 4096).filter(rng.random(200) < 0.9)
    new = pa.concat_tables([new, make_rows(25, first_id=201)])
    found = difference(tmp_path, old, new)
    frames = [read_catalog(tmp_path, release=name).set_index("source_id") for name in ("v1-r1", "v1-r2")]
    both = pd.Index.intersection(*[frame.index for frame in frames])
    changed = (frames[0]["flags"][both] != frames[1]["flags"][both]).sum()
    assert counts(found) == NOTHING | {"added": 25, "removed": 200 - len(both), "changed": changed}
    assert found.n_unchanged == len(both) - changed


def test_revisions_of_different_schemas_are_compared_in_the_columns_that_both_have(tmp_path):
    ids = ok_ids(ROWS)
    publish(tmp_path, "v1", [], ROWS, {})
    columns = [column if column.name != "n_draws" else replace(column, type=pa.int64()) for column in COLUMNS]
    columns = [*(column for column in columns if column.name != "vote_entropy"), DUMMY]
    changed = moved(put(ROWS, "seed", ids[:4], 8), ids[9], 215.0).drop_columns(["vote_entropy"])
    with catalog_with(columns):
        schema = pa.schema([column.field for column in columns])
        publish(tmp_path, "v1", [], changed.append_column(DUMMY.field, pa.array(np.arange(150.0))).cast(schema), {})
        found = compare(tmp_path, "v1-r1", "v1-r2")
        back = compare(tmp_path, "v1-r2", "v1-r1")

    assert found.as_json()["schema"] == {"added": ["dummy"], "removed": ["vote_entropy"], "retyped": ["n_draws"]}
    assert back.as_json()["schema"] == {"added": ["vote_entropy"], "removed": ["dummy"], "retyped": ["n_draws"]}
    assert counts(found) == counts(back) == NOTHING | {"changed": 5}
    assert found.as_json()["columns"] == {"_healpix_29": 1, "ra": 1, "seed": 4}
