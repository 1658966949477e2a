"""Work lists appear complete or not at all, and stale ones are swept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from surveyflow.output.list_folders import building_lists, lists_folder, move_lists, sweep_lists


def test_lists_are_built_beside_a_root_that_does_not_exist_and_vanish_unless_they_are_taken_over(tmp_path):
    root = tmp_path / "catalog"
    with building_lists(root, "aa") as folder:
        (folder / "index.json").write_text("{}")
        assert folder.parent == tmp_path
        assert not root.exists()
    assert not list(tmp_path.iterdir())

    with building_lists(root, "aa") as folder:
        (folder / "index.json").write_text("{}")
        home = move_lists(folder, root, "aa")
    assert [path.name for path in home.iterdir()] == ["index.json"]
    assert home == lists_folder(root, "aa")


def test_lists_whose_building_fails_leave_nothing_in_the_output_folder(tmp_path):
    def build():
        with building_lists(tmp_path, "aa") as folder:
            (folder / "000-list-000000.arrow").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build()
    assert not list((tmp_path / "lists").iterdir())


def test_new_lists_take_the_place_of_damaged_ones(tmp_path):
    home = lists_folder(tmp_path, "aa")
    home.mkdir(parents=True)
    (home / "old").touch()
    with building_lists(tmp_path, "aa") as folder:
        (folder / "new").touch()
        move_lists(folder, tmp_path, "aa")
    assert [path.name for path in home.iterdir()] == ["new"]
    assert [path.name for path in home.parent.iterdir()] == ["aa"]


def test_lists_of_other_inputs_are_kept_for_a_day_and_those_of_dead_builders_not_at_all(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    used, recent, old = (lists_folder(tmp_path, name) for name in ("used", "recent", "old"))
    abandoned = old.with_name(f".x.{socket.gethostname()}.{dead.stdout.strip()}.0123abcd.tmp")
    for folder in (used, recent, old, abandoned):
        folder.mkdir(parents=True)
        (folder / "index.json").touch()
    for folder in (used, old):
        os.utime(folder, (time.time() - 90_000,) * 2)
    sweep_lists(tmp_path, "used")
    assert {path.name for path in used.parent.iterdir()} == {"used", "recent"}
