import pytest

from catalog_rows import make_rows
from surveyflow.errors import CatalogError, CatalogNotFound, InputError, LockHeld
from surveyflow.output.lock import RunLock
from surveyflow.releases.publish import latest, list_revisions, publish, read_catalog
from surveyflow.releases.rollback import roll_back


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def root(tmp_path):
    """Three revisions of two releases, published out of the order of their names."""
    for number, release in enumerate(("v2", "v1", "v2")):
        publish(tmp_path, release, [], make_rows(10 + number), {"created": f"2026-11-22T13:0{number}:00+00:00"})
    return tmp_path


def test_readers_get_the_revision_published_before(root):
    done = roll_back(root)
    assert (done.before, done.after.name) == ("v2-r2", "v1-r1")
    assert latest(root).name == "v1-r1"
    assert len(read_catalog(root)) == 11
    assert (roll_back(root).after.name, latest(root).name) == ("v2-r1", "v2-r1")


def test_nothing_is_removed_so_a_rollback_can_be_undone(root):
    roll_back(root, "v2-r1")
    assert [revision.name for revision in list_revisions(root)] == ["v1-r1", "v2-r1", "v2-r2"]
    assert roll_back(root, "v2").after.name == "v2-r2"


def test_there_is_no_revision_before_the_first(root):
    roll_back(root, "v2-r1")
    with pytest.raises(CatalogNotFound, match="no revision older than v2-r1"):
        roll_back(root)


def test_the_present_revision_is_refused(root):
    with pytest.raises(InputError, match="names v2-r2 already"):
        roll_back(root, "v2")


def test_an_unknown_revision_is_refused_and_no_lock_is_left(root):
    with pytest.raises(CatalogNotFound, match="no release or revision v3"):
        roll_back(root, "v3")
    assert latest(root).name == "v2-r2"
    assert not (root / "run.lock").exists()


def test_a_damaged_revision_is_refused(root):
    path = next((root / "releases/v1-r1/dataset").rglob("*.parquet"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CatalogError, match="changed or damaged"):
        roll_back(root, "v1")
    assert latest(root).name == "v2-r2"


def test_a_present_revision_whose_manifest_is_unreadable_is_rolled_back(root):
    path = root / "releases/v2-r2/manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:100])
    done = roll_back(root)
    assert (done.before, latest(root).name) == ("v2-r2", "v1-r1")


def test_a_broken_link_is_repaired(root):
    (root / "latest").unlink()
    (root / "latest").symlink_to("releases/v9-r1")
    done = roll_back(root, "v1")
    assert (done.before, latest(root).name) == ("v9-r1", "v1-r1")


def test_a_run_is_not_disturbed(root):
    with RunLock(root, "the-run"), pytest.raises(LockHeld, match="the-run"):
        roll_back(root)
    assert latest(root).name == "v2-r2"


def test_a_folder_without_catalog_stays_as_it_is(tmp_path):
    with pytest.raises(CatalogNotFound):
        roll_back(tmp_path)
    assert list(tmp_path.iterdir()) == []
