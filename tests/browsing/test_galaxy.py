"""The page of a galaxy: draws by member of the jury, and what changed since readers had another revision."""

import json

import numpy as np
import pyarrow.dataset as ds
import pytest

from revisions import RevisionMaker, field_rows
from surveyflow.browsing import galaxy
from surveyflow.browsing.galaxy import Before, histograms, links
from surveyflow.browsing.rows import BrowsedRows
from surveyflow.catalog.draws import build_draws
from surveyflow.catalog.parquet import draws_bytes
from surveyflow.errors import CatalogNotFound
from surveyflow.values.codes import WeightsOrigin

JURY = {"members": [{"name": name, "weights_digest": "ab"} for name in ("one", "two", "three")]}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Draws of three members of which each always gives another value, in two fields with the same ids."""
    draws = np.resize(np.float32([0.05, 0.55, 0.95]), (5, 100))
    for field, shift in (("EGS", 0.0), ("COSMOS", 0.01)):
        path = tmp_path / "draws" / field / "F814W" / "y000x000.parquet"
        path.parent.mkdir(parents=True)
        path.write_bytes(draws_bytes(build_draws(field, np.arange(5), draws + np.float32(shift), WeightsOrigin.UNTRAINED)))
    files = sorted(map(str, (tmp_path / "draws").rglob("*.parquet")))
    monkeypatch.setattr(galaxy, "open_draws", lambda *_: ds.dataset(files))
    return draws


def row(field="EGS"):
    return {"field": field, "source_id": 3, "p_pm_hist": [2] * 50, "p_pm_mean": 0.5}


def test_each_member_has_the_draws_that_it_made(kept, tmp_path):
    whole, *members = histograms(tmp_path, "r1", row(), JURY)
    assert (whole.n_draws, whole.mean) == (100, 0.5)
    assert [one.title for one in members] == ["Member one", "Member two", "Member three"]
    assert [one.n_draws for one in members] == [34, 33, 33]
    assert [one.mean for one in members] == pytest.approx([0.05, 0.55, 0.95])
    assert [one.counts.index(one.n_draws) for one in members] == [2, 27, 47]
    others = histograms(tmp_path, "r1", row("COSMOS"), JURY)[1:]
    assert [one.mean for one in others] == pytest.approx([0.06, 0.56, 0.96])


def test_without_kept_draws_or_a_jury_there_is_one_histogram(kept, tmp_path, monkeypatch):
    assert len(histograms(tmp_path, "r1", row(), {"members": JURY["members"][:1]})) == 1
    assert len(histograms(tmp_path, "r1", row(), None)) == 1
    assert histograms(tmp_path, "r1", row() | {"p_pm_hist": [None] * 50}, JURY) == []

    def none_kept(*_):
        raise CatalogNotFound("no draws")

    monkeypatch.setattr(galaxy, "open_draws", none_kept)
    assert len(histograms(tmp_path, "r1", row(), JURY)) == 1


def test_changes_are_those_since_the_revision_that_readers_had(tmp_path):
    make = RevisionMaker(tmp_path)
    make(field_rows("EGS", 20, 5))
    manifest = make(field_rows("EGS", 20, 6)) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"held": ["too few rows"]}))
    make(field_rows("EGS", 20, 5, flags=np.full(20, 2)))
    root = tmp_path / "catalog"
    rows = BrowsedRows(root, "v1.0-r3")
    found = Before(root, "v1.0-r3").changes(rows.row("EGS", 4), rows.schema)
    assert (found.revision, found.is_new) == ("v1.0-r1", False)
    assert [(one.column, one.after) for one in found.changed if one.column == "flags"] == [("flags", 2)]
    assert {one.column for one in found.changed} == {"flags"}
    assert Before(root, "v1.0-r1").changes(rows.row("EGS", 4), rows.schema).revision is None


def test_links_hold_the_position_and_nothing_else_of_the_galaxy():
    addresses = [link.address for link in links(214.8, -0.5)]
    assert all(address.startswith("https://") and "214.8" in address and "0.5" in address for address in addresses)
