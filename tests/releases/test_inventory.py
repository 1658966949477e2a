"""What revisions take on disk: ten of a little-changed survey cost little more than one."""

import os

import pytest

from catalog_rows import make_rows
from surveyflow.catalog import dataset
from surveyflow.errors import CatalogNotFound
from surveyflow.files.durable import file_digest
from surveyflow.releases import publish as releases
from surveyflow.releases.beside import folders_of
from surveyflow.releases.inventory import take_inventory
from surveyflow.releases.publish import list_revisions, publish
from surveyflow.releases.verify import CheckedCatalog


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch):
    """Many files for few rows; durability and the checks of what is published are tested elsewhere."""
    monkeypatch.setattr(releases, "check_catalog", lambda *args, **options: CheckedCatalog({}, []))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write = dataset.write_dataset
    monkeypatch.setattr(releases, "write_dataset", lambda *args, **options: write(*args, max_rows=50, **options))


def publish_rows(root, n_rows):
    return publish(root, "v1", [], make_rows(n_rows), {})


def blocks(folder):
    """Disk blocks of all files below a folder, each file counted once."""
    states = {path.stat().st_ino: path.stat().st_blocks for path in folder.rglob("*") if path.is_file()}
    return sum(states.values())


def test_ten_revisions_of_a_little_changed_survey_cost_little_more_than_one(tmp_path):
    rows = make_rows(700)
    publish(tmp_path, "v1", [], rows, {})
    one = blocks(tmp_path / "releases")
    files = {path: file_digest(path) for path in (tmp_path / "releases").rglob("*") if path.is_file()}
    for number in range(1, 10):
        publish(tmp_path, "v1", [], rows.filter(rows["source_id"].to_numpy() != number), {})
    assert len(list_revisions(tmp_path)) == 10
    assert blocks(tmp_path / "releases") < 2 * one
    assert {path: file_digest(path) for path in files} == files


def test_sharing_does_not_touch_the_files_of_earlier_revisions(tmp_path):
    first = publish_rows(tmp_path, 300)

    def states():
        files = [path for path in first.path.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mode, path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = states()
    publish(tmp_path, "v1", [], make_rows(300), {})
    assert states() == before


def test_without_hard_links_revisions_are_copied(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    first, second = (publish_rows(tmp_path, 300) for _ in range(2))
    for path in first.path.glob("dataset/**/*.parquet"):
        twin = second.path / path.relative_to(first.path)
        assert not twin.samefile(path)
        assert file_digest(twin) == file_digest(path)


def test_an_inventory_distinguishes_new_from_shared_and_marks_the_latest(tmp_path):
    for _ in range(2):
        publish_rows(tmp_path, 300)
    first, second = take_inventory(tmp_path).revisions
    assert first.n_new_bytes == first.n_bytes
    folders = folders_of(second.revision.path)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    shared = sum(path.stat().st_size for path in files if path.stat().st_nlink > 1)
    assert second.n_new_bytes == second.n_bytes - shared
    assert (first.is_latest, second.is_latest) == (False, True)
    assert second.as_json()["rows"] == 300


def test_a_folder_without_revisions_is_refused(tmp_path):
    with pytest.raises(CatalogNotFound, match="holds no revisions"):
        take_inventory(tmp_path)
