"""Pruning frees space and never takes what a reader, a kept revision or an unfinished run needs."""

import json
import os
import shutil
import time

import pytest

from catalog_rows import make_rows
from surveyflow.errors import CatalogError, CatalogNotFound, InputError, LockHeld, OutputError
from surveyflow.output.lock import RunLock
from surveyflow.output.units import draws_path, read_receipt, unit_path, write_unit
from surveyflow.releases.pruning import plan_pruning, prune
from surveyflow.releases.publish import latest, list_revisions, publish, read_manifest
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def key(number):
    return f"{number:064x}"


def make_unit(root, number):
    rows = make_rows(20, first_id=1 + 20 * number)
    return write_unit(root, key(number), f"EGS/F814W/{number}", {}, rows, seconds=1.0, worker="test")


def publish_units(root, *numbers):
    receipts = [make_unit(root, number) for number in numbers]
    keys = [{"name": receipt.name, "key": receipt.key, "rows": 20} for receipt in receipts]
    created = f"2026-11-22T13:{len(list_revisions(root)):02d}:00+00:00"
    return publish(root, "v1", receipts, None, {"created": created, "unit_keys": keys})


@pytest.fixture
def root(tmp_path):
    """Four revisions; each replaces one unit, and unit 0 is in all."""
    for number in (1, 2, 3, 4):
        publish_units(tmp_path, 0, number)
        age(tmp_path)
    return tmp_path


def age(root):
    """Let everything that is there be an hour old, and keep its order."""
    for path in [*root.glob("units/*/*"), *root.glob("releases/*/manifest.json")]:
        state = path.stat()
        os.utime(path, (state.st_atime - 3600, state.st_mtime - 3600))


def names(root):
    return [revision.name for revision in list_revisions(root)]


def units(root):
    return {number for number in range(9) if read_receipt(root, key(number))}


def size(root):
    found = [*root.glob("releases/**/*"), *root.glob("units/**/*"), *root.glob("margins/**/*")]
    files = {path.stat().st_ino: path.stat().st_size for path in found if path.is_file() and not path.is_symlink()}
    return sum(files.values())


def test_planning_changes_nothing_and_says_what_pruning_then_does(root):
    before = size(root)
    planned = plan_pruning(root, 2)
    assert (size(root), len(names(root))) == (before, 4)
    assert prune(root, 2) == planned
    assert planned.as_json() == {
        "revisions": ["v1-r1", "v1-r2"],
        "kept": ["v1-r3", "v1-r4"],
        "units": 2,
        "bytes": before - size(root),
    }


def test_kept_revisions_are_complete_and_have_their_units(root):
    prune(root, 2)
    assert names(root) == ["v1-r3", "v1-r4"]
    assert units(root) == {0, 3, 4}
    for revision in list_revisions(root):
        check_revision(revision.path)
    assert list((root / "releases").glob(".*")) == []


def test_pruning_again_finds_nothing(root):
    prune(root, 1)
    again = prune(root, 1)
    assert (again.revisions, again.units, again.n_bytes) == ((), {}, 0)


def test_the_revision_that_readers_get_is_kept_however_old(root):
    roll_back(root, "v1-r1")
    prune(root, 1)
    assert names(root) == ["v1-r1", "v1-r4"]
    assert latest(root).name == "v1-r1"
    assert units(root) == {0, 1, 4}


def test_units_of_an_unfinished_run_are_kept_and_forgotten_ones_are_not(root):
    make_unit(root, 7)
    old = unit_path(root, key(2))
    assert plan_pruning(root, 3).units.keys() == {key(1)}
    prune(root, 1)
    assert not old.exists()
    assert units(root) == {0, 4, 7}


def test_files_without_receipt_go_too_once_they_are_old(root):
    path = draws_path(root, key(8))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"PAR1")
    assert key(8) not in plan_pruning(root, 4).units
    os.utime(path, (time.time() - 90_000,) * 2)
    prune(root, 4)
    assert not path.exists()


def test_space_that_is_shared_with_a_kept_revision_is_not_counted_as_freed(tmp_path):
    for _ in range(2):
        publish_units(tmp_path, 0)
    first = list_revisions(tmp_path)[0].path
    shared = sum(path.stat().st_size for path in first.rglob("*.parquet"))
    assert shared > 0
    everything = sum(path.stat().st_size for path in first.rglob("*") if path.is_file())
    assert 0 < plan_pruning(tmp_path, 1).n_bytes < everything - shared + 1


def test_what_a_killed_pruner_left_is_removed_by_the_next_publish_and_the_next_pruning(root):
    for finish in (lambda: publish_units(root, 0, 5), lambda: prune(root, 9)):
        ruin = root / "releases" / ".pruned-v1-r0"
        ruin.mkdir()
        (ruin / "manifest.json").write_text("{}")
        finish()
        assert not ruin.exists()


def test_a_pruner_that_is_stopped_anywhere_leaves_complete_revisions(root, monkeypatch):
    rmtree = "surveyflow.releases.pruning.shutil.rmtree"
    with monkeypatch.context() as patch:
        patch.setattr(rmtree, lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OutputError, match="Input/output error"):
            prune(root, 2)
    assert names(root) == ["v1-r2", "v1-r3", "v1-r4"]
    for revision in list_revisions(root):
        check_revision(revision.path)
    prune(root, 2)
    assert names(root) == ["v1-r3", "v1-r4"]


def test_the_number_of_a_removed_revision_is_never_used_again(root):
    roll_back(root, "v1-r1")
    prune(root, 1)
    shutil.rmtree(root / "releases" / "v1-r4")
    assert publish_units(root, 0, 5).name == "v1-r5"
    prune(root, 1)
    assert publish_units(root, 0, 6).name == "v1-r6"


def test_a_pruner_that_is_stopped_at_its_first_removal_has_recorded_the_numbers(root, monkeypatch):
    monkeypatch.setattr(
        "surveyflow.releases.pruning._remove_revision", lambda revision, guard: (_ for _ in ()).throw(OSError(5, "I/O"))
    )
    with pytest.raises(OutputError):
        prune(root, 2)
    assert json.loads((root / "revision_numbers.json").read_bytes()) == {"v1": 4}


@pytest.mark.parametrize("content", [b"", b"[]", b'{"v1": "many"}', b'{"v1": null}', b"\xff"])
def test_a_damaged_file_of_numbers_stops_publishing_rather_than_reuse_a_number(root, content):
    (root / "revision_numbers.json").write_bytes(content)
    with pytest.raises(CatalogError, match=r"revision_numbers\.json is damaged: .* Write it anew"):
        publish_units(root, 0, 5)
    assert names(root) == ["v1-r1", "v1-r2", "v1-r3", "v1-r4"]


def test_a_run_is_not_disturbed(root):
    with RunLock(root, "the-run"), pytest.raises(LockHeld, match="the-run"):
        prune(root, 1)
    assert len(names(root)) == 4


def test_at_least_one_revision_is_kept(root):
    with pytest.raises(InputError, match="found keep = 0, expected at least 1"):
        plan_pruning(root, 0)


def test_a_folder_without_catalog_stays_as_it_is(tmp_path):
    with pytest.raises(CatalogNotFound):
        prune(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_units_of_a_kept_revision_stay_whatever_their_age(root):
    assert {unit["key"] for unit in read_manifest(latest(root).path)["unit_keys"]} == {key(0), key(4)}
    for path in root.glob("units/*/*"):
        os.utime(path, (0, 0))
    prune(root, 1)
    assert units(root) == {0, 4}
