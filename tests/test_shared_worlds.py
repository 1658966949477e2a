"""A world is made once for all processes of a test run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared_worlds import SharedWorlds


def test_whoever_comes_first_makes_it_and_the_others_wait(tmp_path):
    made, all_are_there = [], threading.Barrier(4)

    def make(folder):
        made.append(folder)
        (folder / "survey.fits").write_text("pixels")
        return {"survey": folder / "survey.fits"}

    def ask(_):
        all_are_there.wait()
        return SharedWorlds(tmp_path / "worlds").get("survey", make)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len(made) == 1
    assert found == [{"survey": made[0] / "survey.fits"}] * 4


def test_what_could_not_be_finished_is_made_anew(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise ZeroDivisionError

    worlds = SharedWorlds(tmp_path)
    with pytest.raises(ZeroDivisionError):
        worlds.get("survey", fail)
    assert worlds.get("survey", lambda folder: list(folder.iterdir())) == []
