"""The margin of a revision appears with it, is verified with it, and goes with it."""

import os

import pytest

from catalog_rows import make_rows
from surveyflow.catalog import hats
from surveyflow.catalog.collection import COLLECTION
from surveyflow.errors import CatalogError
from surveyflow.output.prepared import MARGINS, withdraw_prepared
from surveyflow.releases import publish as releases
from surveyflow.releases.inventory import take_inventory
from surveyflow.releases.margins import building_beside, margin_folder, move_margin_into_place
from surveyflow.releases.pruning import prune
from surveyflow.releases.publish import publish, read_manifest
from surveyflow.releases.verify import check_revision


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch):
    """Many files for few rows."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write = hats.write_dataset
    monkeypatch.setattr(releases, "write_dataset", lambda *args, **options: write(*args, max_rows=20, **options))


def publish_rows(root, n_rows=100):
    return publish(root, "v1", [], make_rows(n_rows, radius_deg=0.02), {})


def margin_named_by(revision):
    """The margin that the collection names, as HATS readers find it."""
    lines = (revision.path / COLLECTION / "collection.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if "=" in line)
    assert properties["default_margin"] == properties["all_margins"]
    return (revision.path / COLLECTION / properties["default_margin"]).resolve()


def margins(root):
    return sorted(path.name for path in (root / MARGINS).iterdir())


def test_the_collection_of_a_revision_names_its_margin_and_the_manifest_lists_it(tmp_path):
    first, second = publish_rows(tmp_path), publish_rows(tmp_path)
    for revision in (first, second):
        assert margin_named_by(revision) == margin_folder(revision.path).resolve()
        listed = read_manifest(revision.path)["margin"]
        assert listed["rows"] > 0
        assert listed["threshold_arcsec"] == 5.0
    assert margins(tmp_path) == ["v1-r1", "v1-r2"]
    assert not list(first.path.rglob(f"{MARGINS}*"))
    one = next(margin_folder(second.path).rglob("Npix=*"))
    assert one.samefile(margin_folder(first.path) / one.relative_to(margin_folder(second.path)))
    assert not one.stat().st_mode & 0o222


@pytest.mark.parametrize("damage", ["changed", "missing", "additional"])
def test_verifying_a_revision_finds_damage_of_its_margin(tmp_path, damage):
    revision = publish_rows(tmp_path)
    assert check_revision(revision.path) == check_revision(tmp_path / "latest")
    path = next(margin_folder(revision.path).rglob("Npix=*"))
    path.chmod(0o644)
    if damage == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif damage == "missing":
        path.unlink()
    else:
        path = path.with_name("Npix=0.parquet")
        path.touch()
    with pytest.raises(CatalogError, match=path.name):
        check_revision(revision.path)


def test_a_pruned_revision_takes_its_margin_along(tmp_path):
    for n_rows in (60, 80, 100):
        publish_rows(tmp_path, n_rows)
    size = sum(one.n_new_bytes for one in take_inventory(tmp_path).revisions)
    pruning = prune(tmp_path, keep=1)
    assert margins(tmp_path) == ["v1-r3"]
    assert size - pruning.n_bytes <= sum(one.n_bytes for one in take_inventory(tmp_path).revisions)


def test_margins_without_a_revision_are_removed_by_the_next_publication(tmp_path):
    publish_rows(tmp_path)
    for name in ("v1-r2", "v0-r1", ".building-0123"):
        (tmp_path / MARGINS / name / "dataset").mkdir(parents=True)
    publish_rows(tmp_path)
    assert margins(tmp_path) == ["v1-r1", "v1-r2"]


def test_whoever_lost_the_lock_cannot_move_a_margin_into_place(tmp_path):
    revision = tmp_path / "releases" / "v1-r1"
    with building_beside(tmp_path) as beside:
        beside.margin.mkdir()
        withdraw_prepared(tmp_path)
        move_margin_into_place(beside.margin, revision)
    assert not margin_folder(revision).exists()
    publish_rows(tmp_path)
    assert margins(tmp_path) == ["v1-r1"], "and what was withdrawn is removed"


def test_a_strange_file_beside_the_margins_does_not_stop_a_publication(tmp_path):
    (tmp_path / MARGINS).mkdir()
    (tmp_path / MARGINS / ".DS_Store").touch()
    publish_rows(tmp_path)
    assert margins(tmp_path) == [".DS_Store", "v1-r1"]
