"""Draws are written beside their unit's rows, vouched for by its receipt, and published without taking space again."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from catalog_rows import make_rows
from surveyflow.catalog.draws import build_draws
from surveyflow.errors import CatalogError, CatalogNotFound, InputError
from surveyflow.output.units import draws_path, read_receipt, unit_path, write_unit
from surveyflow.releases.draws import open_draws, read_draws
from surveyflow.releases.publish import latest, publish, read_manifest
from surveyflow.values.codes import WeightsOrigin

N_DRAWS = 30


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    """Durability is tested elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def make_draws(rows, seed=0, field="EGS"):
    ok = rows.filter(rows["status"].to_numpy(zero_copy_only=False) == "ok")
    p_pm = np.random.default_rng(seed).random((len(ok), N_DRAWS), np.float32)
    return build_draws(field, ok["source_id"].to_numpy(), p_pm, WeightsOrigin.UNTRAINED)


def write(root, number=0, draws="own"):
    rows = make_rows(40, first_id=1 + 40 * number)
    draws = make_draws(rows, number) if draws == "own" else draws
    return write_unit(root, f"{number:064x}", f"EGS/F814W/{number}", {}, rows, seconds=1.0, worker="test", draws=draws)


def by_source(table):
    return dict(zip(table["source_id"].to_pylist(), table["p_pm"].to_pylist(), strict=True))


def test_published_draws_are_those_that_the_units_wrote(tmp_path):
    publish(tmp_path, "v1.0", [write(tmp_path, 0), write(tmp_path, 1)], None, {})
    found = open_draws(tmp_path).to_table()
    assert found.column_names == ["field", "source_id", "p_pm"]
    expected = [make_draws(make_rows(40, first_id=1 + 40 * number), number) for number in (0, 1)]
    assert by_source(found) == by_source(expected[0]) | by_source(expected[1])
    assert found["p_pm"].type.list_size == N_DRAWS


def test_draws_stand_beside_their_rows_also_where_two_fields_have_the_same_ids(tmp_path):
    tables = {field: make_rows(40, field, seed) for seed, field in enumerate(("EGS", "UDS"))}
    draws = {field: make_draws(rows, seed, field) for seed, (field, rows) in enumerate(tables.items())}
    receipts = [
        write_unit(tmp_path, f"{n:064x}", f"{field}/F814W/0", {}, tables[field], seconds=0.0, worker="", draws=draws[field])
        for n, field in enumerate(tables)
    ]
    publish(tmp_path, "v1.0", receipts, None, {})
    found = read_draws(tmp_path, ["p_pm_mean"], "source_id < 30")
    assert set(found.rows["field"]) == {"EGS", "UDS"}
    expected = {(field, key): p_pm for field, table in draws.items() for key, p_pm in by_source(table).items() if key < 30}
    assert list(found.rows.columns) == ["field", "source_id", "p_pm_mean"]
    assert len(found.rows) == len(expected)
    for key, p_pm in zip(found.rows[["field", "source_id"]].itertuples(index=False, name=None), found.p_pm, strict=True):
        np.testing.assert_array_equal(p_pm, expected[key])
    with pytest.raises(InputError, match=r"Write columns=\['redshift'\]"):
        read_draws(tmp_path, "redshift")


def test_published_draws_are_the_unit_s_own_file(tmp_path):
    receipt = write(tmp_path)
    first = publish(tmp_path, "v1.0", [receipt], None, {})
    second = publish(tmp_path, "v1.0", [receipt], None, {})
    for revision in (first, second):
        assert (revision.path / "draws/EGS/F814W/0.parquet").samefile(draws_path(tmp_path, receipt.key))


def test_the_manifest_lists_the_draws_with_their_digests(tmp_path):
    receipt = write(tmp_path)
    manifest = read_manifest(publish(tmp_path, "v1.0", [receipt], None, {}).path)
    assert manifest["files"]["draws/EGS/F814W/0.parquet"]["sha256"] == receipt.draws_digest


def test_draws_say_where_their_weights_came_from(tmp_path):
    publish(tmp_path, "v1.0", [write(tmp_path)], None, {})
    assert json.loads(open_draws(tmp_path).schema.metadata[b"surveyflow"])["weights_origin"] == ["untrained"]


def test_astropy_reads_draws_without_warning(tmp_path):
    receipt = write(tmp_path)
    table = Table.read(draws_path(tmp_path, receipt.key))
    assert table["p_pm"].shape == (receipt.status_counts["ok"], N_DRAWS)


def test_without_draws_there_is_no_dataset_and_the_error_says_how_to_keep_them(tmp_path):
    publish(tmp_path, "v1.0", [write(tmp_path, draws=None)], None, {})
    assert not (latest(tmp_path).path / "draws").exists()
    with pytest.raises(CatalogNotFound, match=r"has no draws\. Set `keep_draws = true`"):
        open_draws(tmp_path)


def test_a_unit_without_measured_sources_has_an_empty_file_of_draws(tmp_path):
    rows = make_rows(40)
    rows = rows.filter(rows["status"].to_numpy(zero_copy_only=False) != "ok")
    receipt = write_unit(tmp_path, "0" * 64, "EGS/F814W/0", {}, rows, seconds=1.0, worker="", draws=make_draws(rows))
    publish(tmp_path, "v1.0", [receipt], None, {})
    assert open_draws(tmp_path).count_rows() == 0


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-9]), lambda path: path.unlink()])
def test_a_unit_whose_draws_are_damaged_is_not_done_and_is_made_again(tmp_path, damage):
    receipt = write(tmp_path)
    damage(draws_path(tmp_path, receipt.key))
    assert read_receipt(tmp_path, receipt.key) is None
    assert write(tmp_path) == receipt
    assert read_receipt(tmp_path, receipt.key, verify=True) == receipt


def test_rows_left_without_a_receipt_do_not_prevent_draws(tmp_path):
    write(tmp_path, draws=None)
    unit_path(tmp_path, "0" * 64).with_suffix(".json").unlink()
    assert write(tmp_path).draws_digest is not None
    assert draws_path(tmp_path, "0" * 64).exists()


def test_draws_that_differ_from_the_unit_s_are_refused_by_name(tmp_path):
    receipt = write(tmp_path)
    path = draws_path(tmp_path, receipt.key)
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(CatalogError, match=r"\(unit EGS/F814W/0\) .*differs from its digest\. Run again"):
        publish(tmp_path, "v1.0", [receipt], None, {})
    assert latest(tmp_path) is None
