"""The verbs for published revisions: what they print, and their exit codes."""

import json
import re
import shlex
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from catalog_rows import make_rows
from surveyflow.commands.main import app
from surveyflow.commands.releases import _named
from surveyflow.errors import CatalogError
from surveyflow.releases.publish import latest, list_revisions, publish


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two revisions: the second has one source more and two less."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    rows = make_rows(60)
    ids = rows["source_id"].to_numpy()
    for number, some in enumerate((rows.filter(ids != 60), rows.filter(ids > 2))):
        publish(tmp_path, "v1", [], some, {"created": f"2026-11-22T13:0{number}:00+00:00"})
    return tmp_path


def call(*arguments, code=0):
    done = CliRunner().invoke(app, ["releases", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout


def call_json(*arguments, code=0):
    return json.loads(call(*arguments, "--json", code=code))


def test_list_marks_the_revision_that_readers_get(root):
    lines = call("list", root).splitlines()
    assert [line[:7] for line in lines[::2]] == ["  v1-r1", "* v1-r2"]
    assert "59 rows" in lines[0]
    assert all(re.fullmatch(r"    (\d+ \w+(, )?)+", line) for line in lines[1::2])
    assert max(map(len, lines)) <= 80
    assert [(entry["revision"], entry["rows"], entry["latest"]) for entry in call_json("list", root)] == [
        ("v1-r1", 59, False),
        ("v1-r2", 58, True),
    ]


def test_diff_says_what_was_added_and_removed_in_words_and_as_json(root):
    words = call("diff", root, "v1-r1", "v1-r2")
    assert "EGS 60" in words
    assert "EGS 1, EGS 2" in words
    assert max(map(len, words.splitlines())) <= 80
    found = call_json("diff", root, "v1-r1")
    assert found["rows"] == {"added": 1, "removed": 2, "changed": 0, "recomputed": 0, "unchanged": 57}
    assert found["sources"] == {"added": [["EGS", 60]], "removed": [["EGS", 1], ["EGS", 2]], "changed": []}


def test_diff_names_sources_as_their_lists_do():
    difference = SimpleNamespace(names={("EGS", 7): "gal-7"})
    assert _named(difference, (("EGS", 7), ("EGS", 8)), 3) == "EGS gal-7, EGS 8, ..."


def test_verify_reads_every_revision_and_ends_with_1_if_one_is_damaged(root):
    assert [entry["problems"] for entry in call_json("verify", root)] == [[], []]
    path = root / "releases" / "v1-r1" / "hats.properties"
    path.chmod(0o644)
    path.write_text("")
    assert "v1-r1            DAMAGED" in call("verify", root, code=1)
    assert [len(entry["problems"]) for entry in call_json("verify", root, code=1)] == [1, 0]
    assert [entry["revision"] for entry in call_json("verify", root, "--release", "v1-r2")] == ["v1-r2"]


def test_verify_names_a_manifest_that_cannot_be_read(root):
    path = root / "releases" / "v1-r1" / "manifest.json"
    path.chmod(0o644)
    path.write_text("{")
    first, second = call_json("verify", root, code=1)
    assert "manifest.json is damaged" in first["problems"][0]
    assert second["problems"] == []


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"rows": 59}'])
def test_a_damaged_manifest_of_an_old_revision_is_listed_and_hides_no_other(root, content):
    folder = root / "releases" / "v1-r1"
    (folder / "manifest.json").chmod(0o644)
    (folder / "manifest.json").write_text(content)
    sound, _, damaged = call("list", root).splitlines()
    assert sound.startswith("* v1-r2 ")
    assert damaged.startswith("  v1-r1            DAMAGED: ")
    assert damaged.endswith(f"remove its folder, {folder}.")
    assert [entry["revision"] for entry in call_json("list", root)] == ["v1-r2", "v1-r1"]
    assert "damaged" in call_json("list", root)[1]["damage"]


def test_a_damaged_manifest_of_the_latest_revision_is_answered_with_rollback(root):
    path = root / "releases" / "v1-r2" / "manifest.json"
    path.chmod(0o644)
    path.write_text('{"rows": 58, "status": {}}')
    with pytest.raises(CatalogError, match=r"is damaged \(it lacks files\)\. .*`surveyflow releases rollback"):
        latest(root)
    call("rollback", root)
    assert latest(root).name == "v1-r1"


def test_rollback_says_what_it_did_and_what_the_next_run_will_do(root):
    words = call("rollback", root)
    assert "latest is now v1-r1 (59 rows); it was v1-r2" in words
    assert "Runs with unchanged inputs do not publish again" in words
    assert call(*shlex.split(words.splitlines()[-1])[2:]).splitlines()[4].startswith("    HELD: It was rolled back by ")
    assert latest(root).name == "v1-r1"
    assert call_json("rollback", root, "--to", "v1-r2") == {"before": "v1-r1", "after": "v1-r2", "rows": 58}


def test_a_held_revision_is_listed_with_reasons_and_the_commands_that_end_it(root):
    publish(
        root, "v1", [], make_rows(50), {"created": "2026-11-22T13:09:00+00:00"}, judge=lambda folder: ["Few rows.", "No blue."]
    )
    assert [(entry["latest"], entry["held"]) for entry in call_json("list", root)][1:] == [
        (True, None),
        (False, "Few rows. No blue."),
    ]
    *_, first, second, compare, release = call("list", root).splitlines()
    assert (first, second) == ("    HELD: Few rows.", "    HELD: No blue.")
    for step in (compare, release):
        call(*shlex.split(step.split("`")[1])[2:])
    assert latest(root).name == "v1-r3"
    again = call_json("accept", root, "v1-r3")
    assert (again["before"], again["after"], again["decision"]["decision"]) == ("v1-r3", "v1-r3", "accepted")
    assert "latest is v1-r3 already: it was accepted by " in call("accept", root, "v1-r3")
    call("accept", root, code=1)


def test_prune_only_says_what_it_would_do_until_it_is_told_to(root):
    assert "would remove v1-r1" in call("prune", root, "--keep", 1)
    assert call_json("prune", root, "--keep", 1)["applied"] is False
    assert len(list_revisions(root)) == 2
    assert call_json("prune", root, "--keep", 1, "--apply")["revisions"] == ["v1-r1"]
    assert [revision.name for revision in list_revisions(root)] == ["v1-r2"]


def test_prune_cannot_be_told_to_keep_nothing(root):
    call("prune", root, "--keep", 0, "--apply", code=2)
    assert len(list_revisions(root)) == 2
