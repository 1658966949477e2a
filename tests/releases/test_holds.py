"""A held revision is complete and named, and readers get it only when somebody accepts it."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from catalog_rows import make_rows
from surveyflow.errors import CatalogError, CatalogNotFound, InputError, LockHeld
from surveyflow.output.lock import RunLock
from surveyflow.releases.decisions import DECISIONS, Decision, read_decisions, record
from surveyflow.releases.holds import accept, holds, waiting
from surveyflow.releases.inventory import take_inventory
from surveyflow.releases.layout import check_layout
from surveyflow.releases.pruning import prune
from surveyflow.releases.publish import latest, list_revisions, publish, read_catalog, read_manifest
from surveyflow.releases.revisions import find
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision

REASON = "EGS F814W: 36 of 36 measured sources have lost their result."


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def publish_next(root, *reasons, release="v1"):
    number = len(list_revisions(root))
    about = {"created": f"2026-11-22T13:{number:02d}:00+00:00"}
    return publish(root, release, [], make_rows(10 + number), about, judge=lambda folder: reasons)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    publish_next(root)
    publish_next(root, REASON)
    return root


@pytest.fixture
def root(published, tmp_path):
    """A revision that readers have, and a later one that is held."""
    return shutil.copytree(published, tmp_path / "root", symlinks=True)


def test_a_held_revision_is_complete_and_latest_stays(root):
    held = root / "releases" / "v1-r2"
    assert latest(root).name == "v1-r1"
    assert check_revision(held) > 0
    assert read_manifest(held)["held"] == [REASON]
    assert [(hold.revision.name, hold.reasons, hold.waits) for hold in waiting(root)] == [("v1-r2", (REASON,), True)]


def test_readers_get_it_only_by_its_own_name(root):
    assert [len(read_catalog(root, release=name)) for name in ("latest", "v1", "v1-r1", "v1-r2")] == [10, 10, 10, 11]
    publish_next(root, REASON, release="v2")
    with pytest.raises(CatalogNotFound, match=r"v2-r1 is held\. .* `surveyflow releases accept \S+ v2-r1`"):
        find(root, "v2")


@pytest.mark.parametrize("release", [None, "v1", "v1-r2"])
def test_accepting_gives_it_to_readers_and_records_who_did_so(root, release):
    done = accept(root, release)
    assert (done.before, done.after.name, latest(root).name) == ("v1-r1", "v1-r2", "v1-r2")
    decision = read_decisions(root)["v1-r2"]
    assert decision == done.decision
    assert decision.decision == "accepted"
    assert "@" in decision.by
    assert waiting(root) == []
    assert take_inventory(root).as_json()[-1]["decision"] == decision.model_dump()
    assert len(read_catalog(root, release="v1")) == 11


def test_accepting_again_changes_nothing(root):
    first = accept(root, "v1-r2")
    again = accept(root, "v1-r2")
    assert (again.before, again.after, again.decision) == ("v1-r2", first.after, first.decision)


def test_what_is_not_held_is_refused_with_what_to_do(root):
    with pytest.raises(InputError, match=r"v1-r1 is not held\. .*`surveyflow releases rollback .* --to v1-r1"):
        accept(root, "v1-r1")
    with pytest.raises(CatalogNotFound, match="no release or revision v3"):
        accept(root, "v3")
    publish_next(root)
    with pytest.raises(InputError, match=r"v1-r2 was held, and readers were given a later revision since"):
        accept(root, "v1-r2")
    with pytest.raises(InputError, match="has no held revision to accept"):
        accept(root)
    assert latest(root).name == "v1-r3"
    assert not (root / "run.lock").exists()


def test_a_damaged_revision_is_not_accepted_and_the_remedy_says_what_to_remove(root):
    path = next((root / "releases/v1-r2/dataset").rglob("*.parquet"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CatalogError, match=r"changed or damaged[\s\S]*Remove it: `rm -r \S*/releases/v1-r2"):
        accept(root)
    assert (latest(root).name, read_decisions(root)) == ("v1-r1", {})


def test_a_run_is_not_disturbed(root):
    with RunLock(root, "the-run"), pytest.raises(LockHeld, match="the-run"):
        accept(root)
    assert latest(root).name == "v1-r1"


def test_a_first_revision_that_is_held_can_be_accepted(tmp_path):
    publish_next(tmp_path, "None of the 10 sources has a result.")
    assert latest(tmp_path) is None
    with pytest.raises(CatalogNotFound, match=r"readers were given none of v1-r1\. .*`surveyflow releases list"):
        read_catalog(tmp_path)
    done = accept(tmp_path)
    assert (done.before, latest(tmp_path).name) == (None, "v1-r1")


def test_a_folder_without_catalog_stays_as_it_is(tmp_path):
    with pytest.raises(CatalogNotFound):
        accept(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_rolled_back_is_held_and_can_be_accepted_or_returned_to(root):
    publish_next(root)
    assert roll_back(root).after.name == "v1-r1"  # v1-r2 was never given to readers
    (*_, hold) = waiting(root)
    assert (hold.revision.name, hold.rolled_back) == ("v1-r3", True)
    assert hold.reason.startswith("It was rolled back by ")
    assert len(read_catalog(root, release="v1")) == 10
    accept(root, "v1-r3")
    assert (latest(root).name, waiting(root)) == ("v1-r3", [])
    roll_back(root)
    assert roll_back(root, "v1-r3").after.name == "v1-r3"
    assert waiting(root) == []


def test_a_rollback_gives_readers_no_revision_that_they_never_had(root):
    with pytest.raises(InputError, match=r"v1-r2 is held: .* `surveyflow releases accept \S+ v1-r2`"):
        roll_back(root, "v1-r2")
    with pytest.raises(InputError, match="names v1-r1 already"):
        roll_back(root, "v1")


def test_an_acceptance_that_was_interrupted_is_listed_and_done_again(root):
    record(root, {"v1-r2": Decision.now("accepted")})
    assert "interrupted" in waiting(root)[0].reason
    accept(root)
    assert (latest(root).name, waiting(root)) == ("v1-r2", [])


def test_pruning_keeps_what_somebody_may_still_decide_about(root):
    for reasons in ((), (), (REASON,), (REASON,)):
        publish_next(root, *reasons)
    roll_back(root)
    pruning = prune(root, 1)
    assert list(pruning.kept) == ["v1-r3", "v1-r4", "v1-r6"]
    assert [revision.name for revision in pruning.revisions] == ["v1-r1", "v1-r2", "v1-r5"]
    assert [hold.revision.name for hold in waiting(root)] == ["v1-r4", "v1-r6"]


def test_a_held_revision_that_was_passed_over_no_longer_waits(root):
    publish_next(root)
    assert [(hold.revision.name, hold.waits) for hold in holds(root)] == [("v1-r2", False)]
    listed = {entry["revision"]: entry for entry in take_inventory(root).as_json()}
    assert (listed["v1-r2"]["held"], listed["v1-r2"]["held_reasons"]) == (None, [REASON])
    assert list(prune(root, 2).kept) == ["v1-r2", "v1-r3"]


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "large": lambda path: path.write_bytes(b" " * 2**21),
    "not text": lambda path: path.write_bytes(b"\xff"),
    "list": lambda path: path.write_bytes(b"[]"),
    "wrong word": lambda path: path.write_bytes(b'{"v1-r2": {"decision": "perhaps", "by": "a", "at": "b"}}'),
    "wrong type": lambda path: path.write_bytes(b'{"v1-r2": {"decision": "accepted", "by": 7, "at": "b"}}'),
    "escape codes": lambda path: path.write_bytes(b'{"v1-r2": {"decision": "accepted", "by": "\\u001b[31m", "at": "b"}}'),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "broken link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_decisions_is_explained_with_a_remedy_that_works(root, damage):
    DAMAGES[damage](root / DECISIONS)
    for verb in (check_layout, accept, roll_back, waiting, take_inventory):
        with pytest.raises(CatalogError, match=r"decisions\.json is damaged \(.*\)\. .* mv '") as refused:
            verb(root)
    assert str(refused.value).isprintable()
    assert len(read_catalog(root)) == 10
    command = str(refused.value).split("move it away: ")[1].split("; then")[0]
    assert os.system(command) == 0
    assert waiting(root)[0].reasons == (REASON,)


@pytest.mark.parametrize("held", ['"no"', "[3]", "{}"])
def test_a_manifest_whose_reasons_are_of_another_type_is_damaged(root, held):
    path = root / "releases" / "v1-r2" / "manifest.json"
    manifest = json.loads(path.read_bytes())
    path.chmod(0o644)
    path.write_text(json.dumps(manifest | {"held": json.loads(held) or 3}))
    with pytest.raises(CatalogError, match="held is not a list of sentences"):
        find(root, "v1-r2")
    assert latest(root).name == "v1-r1"


IN_THE_WAY = {
    "latest is a folder": (lambda root: (root / "latest").mkdir(), "latest is a folder"),
    "latest is a file": (lambda root: (root / "latest").write_text(""), "latest is a file"),
    "latest leads elsewhere": (lambda root: (root / "latest").symlink_to("/tmp"), "latest points to /tmp"),
    "latest leads to itself": (lambda root: (root / "latest").symlink_to("latest"), "latest points to latest"),
    "numbers are a folder": (lambda root: (root / "revision_numbers.json").mkdir(), "revision_numbers.json is damaged"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_what_is_in_the_way_is_named_and_the_remedy_works(root, what):
    put, words = IN_THE_WAY[what]
    if "latest" in what:
        (root / "latest").unlink()
    put(root)
    with pytest.raises(CatalogError, match=words) as refused:
        check_layout(root)
    if "latest" in what:
        commands = [part.split(": ")[1] for part in str(refused.value).removesuffix(".").split(". ")[1:]]
        assert os.system("; ".join(f"cd {root}; {command}" for command in commands)) == 0
        assert latest(root).name == "v1-r1"


@pytest.mark.parametrize("put", [lambda path: path.write_text(""), lambda path: path.symlink_to("nowhere")])
def test_something_else_in_the_place_of_the_releases_is_named(tmp_path, put):
    check_layout(tmp_path)
    put(tmp_path / "releases")
    with pytest.raises(CatalogError, match=r"expected the folder of the revisions\. Move it away: mv '.*'; then run again"):
        check_layout(tmp_path)


def test_an_absolute_link_to_a_revision_is_a_link_to_it(root):
    (root / "latest").unlink()
    (root / "latest").symlink_to(root / "releases" / "v1-r1")
    assert latest(root).name == "v1-r1"


def test_a_folder_of_a_revision_s_name_is_not_in_the_way_of_the_next(root):
    (root / "releases" / "v1-r3").mkdir()
    (root / "releases" / "v1-r3" / "notes").write_text("mine")
    assert publish_next(root).name == "v1-r4"
