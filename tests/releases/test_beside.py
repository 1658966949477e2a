"""The margin and the alternatives of a revision appear with it, are verified with it, and go with it."""

import json
import os

import pyarrow as pa
import pytest

from catalog_rows import make_rows
from surveyflow.catalog import dataset
from surveyflow.catalog.collection import COLLECTION
from surveyflow.errors import CatalogError
from surveyflow.output.prepared import ALTERNATIVES, MARGINS, withdraw_prepared
from surveyflow.output.units import write_unit
from surveyflow.releases import publish as releases
from surveyflow.releases.alternatives import open_alternatives
from surveyflow.releases.beside import alternatives_folder, building_beside, margin_folder
from surveyflow.releases.comparison import compare
from surveyflow.releases.inventory import take_inventory
from surveyflow.releases.pruning import prune
from surveyflow.releases.publish import Alternatives, publish, read_manifest
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch):
    """Many files for few rows."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write = dataset.write_dataset
    monkeypatch.setattr(releases, "write_dataset", lambda *args, **options: write(*args, max_rows=20, **options))


def publish_rows(root, n_rows=100):
    """A revision in which a unit holds alternatives."""
    rows = make_rows(40, seed=5, radius_deg=0.02)
    place = rows.column_names.index("instrument")
    further = rows.set_column(place, rows.field(place), pa.array(40 * ["F814W"]))
    unit = write_unit(root, 64 * "a", "EGS/alternatives/F814W/0", {}, further, seconds=0.0, worker="test")
    return publish(root, "v1", [], make_rows(n_rows, radius_deg=0.02), {}, alternatives=Alternatives([unit]))


def margin_named_by(revision):
    """The margin that the collection names, as HATS readers find it."""
    lines = (revision.path / COLLECTION / "collection.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if "=" in line)
    assert properties["default_margin"] == properties["all_margins"]
    return (revision.path / COLLECTION / properties["default_margin"]).resolve()


def margins(root):
    return beside(root)[MARGINS]


def beside(root):
    return {place: sorted(path.name for path in (root / place).iterdir()) for place in (MARGINS, ALTERNATIVES)}


BOTH = pytest.mark.parametrize("folder_of", [margin_folder, alternatives_folder])


def test_the_collection_of_a_revision_names_its_margin_and_the_manifest_lists_it(tmp_path):
    first, second = publish_rows(tmp_path), publish_rows(tmp_path)
    for revision in (first, second):
        assert margin_named_by(revision) == margin_folder(revision.path).resolve()
        listed = read_manifest(revision.path)["margin"]
        assert listed["rows"] > 0
        assert listed["threshold_arcsec"] == 5.0
    assert margins(tmp_path) == ["v1-r1", "v1-r2"]
    assert not list(first.path.rglob(f"{MARGINS}*"))


def test_no_file_in_a_revision_s_folder_is_that_of_another_catalog(tmp_path):
    """Strict validation by `hats` takes every file with the name of a partition for the catalog's own."""
    revision = publish_rows(tmp_path)
    partitions = {str(path) for path in read_manifest(revision.path)["files"] if "Npix=" in path}
    assert {str(path.relative_to(revision.path)) for path in revision.path.rglob("Norder*/Dir*/Npix*")} == partitions
    assert all(path.startswith("dataset/") for path in partitions)


@BOTH
def test_what_lies_beside_a_revision_is_sealed_and_shared_with_the_next(tmp_path, folder_of):
    first, second = publish_rows(tmp_path), publish_rows(tmp_path)
    one = next(folder_of(second.path).rglob("Npix=*"))
    assert one.samefile(folder_of(first.path) / one.relative_to(folder_of(second.path)))
    assert not one.stat().st_mode & 0o222


def test_the_link_in_a_revision_leads_to_its_alternatives(tmp_path):
    for revision in (publish_rows(tmp_path), publish_rows(tmp_path)):
        link = revision.path / ALTERNATIVES
        assert not link.readlink().is_absolute()
        assert link.resolve() == alternatives_folder(revision.path).resolve()
        assert open_alternatives(tmp_path, revision.name).count_rows() == 40


def test_verifying_a_revision_finds_a_link_that_leads_elsewhere(tmp_path):
    first, second = publish_rows(tmp_path), publish_rows(tmp_path)
    link = second.path / ALTERNATIVES
    link.unlink()
    link.symlink_to(alternatives_folder(first.path), target_is_directory=True)
    with pytest.raises(CatalogError, match=f"{ALTERNATIVES} is not a link to .*{second.name}"):
        check_revision(second.path)


def test_a_revision_with_alternatives_in_its_own_folder_can_be_used_as_ever(tmp_path):
    """As the first revisions had them."""
    revision = publish_rows(tmp_path)
    (revision.path / ALTERNATIVES).unlink()
    alternatives_folder(revision.path).rename(revision.path / ALTERNATIVES)
    path = revision.path / "manifest.json"
    manifest = read_manifest(revision.path)
    moved = manifest["alternatives"].pop("files")
    manifest["files"] |= {f"{ALTERNATIVES}/{name}": entry for name, entry in moved.items()}
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))
    assert check_revision(revision.path) == len(manifest["files"]) + len(manifest["margin"]["files"])
    assert open_alternatives(tmp_path).count_rows() == 40
    changes = compare(tmp_path, revision.name, publish_rows(tmp_path).name).alternatives
    assert changes.as_json() == {"added": 0, "removed": 0, "changed": 0, "unchanged": 40}
    old, new = (next((tmp_path / "releases" / name / ALTERNATIVES).resolve().rglob("Npix=*")) for name in ("v1-r1", "v1-r2"))
    assert old.samefile(new)
    assert roll_back(tmp_path).after.name == revision.name
    assert prune(tmp_path, keep=1).kept == ("v1-r1", "v1-r2")


@BOTH
@pytest.mark.parametrize("damage", ["changed", "missing", "additional"])
def test_verifying_a_revision_finds_damage_of_what_lies_beside_it(tmp_path, damage, folder_of):
    revision = publish_rows(tmp_path)
    assert check_revision(revision.path) == check_revision(tmp_path / "latest")
    path = next(folder_of(revision.path).rglob("Npix=*"))
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


def test_a_pruned_revision_takes_along_what_lies_beside_it(tmp_path):
    for n_rows in (60, 80, 100):
        publish_rows(tmp_path, n_rows)
    size = sum(one.n_new_bytes for one in take_inventory(tmp_path).revisions)
    pruning = prune(tmp_path, keep=1)
    assert beside(tmp_path) == {MARGINS: ["v1-r3"], ALTERNATIVES: ["v1-r3"]}
    assert size - pruning.n_bytes <= sum(one.n_bytes for one in take_inventory(tmp_path).revisions)


def test_what_belongs_to_no_revision_is_removed_by_the_next_publication(tmp_path):
    publish_rows(tmp_path)
    for name in ("v1-r2", "v0-r1", ".building-0123"):
        for place in (MARGINS, ALTERNATIVES):
            (tmp_path / place / name / "dataset").mkdir(parents=True)
    publish_rows(tmp_path)
    assert beside(tmp_path) == {MARGINS: ["v1-r1", "v1-r2"], ALTERNATIVES: ["v1-r1", "v1-r2"]}


def test_whoever_lost_the_lock_cannot_move_anything_into_place(tmp_path):
    revision = tmp_path / "releases" / "v1-r1"
    with building_beside(tmp_path) as built:
        built.margin.mkdir()
        built.alternatives.mkdir()
        withdraw_prepared(tmp_path)
        built.move_into_place(revision)
    assert not margin_folder(revision).exists()
    assert not alternatives_folder(revision).exists()
    publish_rows(tmp_path)
    assert beside(tmp_path) == {MARGINS: ["v1-r1"], ALTERNATIVES: ["v1-r1"]}, "and what was withdrawn is removed"


def test_a_strange_file_beside_the_margins_does_not_stop_a_publication(tmp_path):
    (tmp_path / MARGINS).mkdir()
    (tmp_path / MARGINS / ".DS_Store").touch()
    publish_rows(tmp_path)
    assert margins(tmp_path) == [".DS_Store", "v1-r1"]
