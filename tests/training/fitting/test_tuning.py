"""The search for settings."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import replace

import pytest

from fake_executors import Killed, KilledExecutor
from surveyflow.errors import InputError
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.sites.opening import open_executor
from surveyflow.sites.serial.profile import SerialExecutor
from surveyflow.training.fitting.tuning import Search, SearchSpace, best, search
from trial_workers import FACTORY, HillSettings

SPACE = SearchSpace(
    filters=((8, 16, 32), (16, 32, 64)),
    kernel_sizes=((7, 5, 3), (11, 9, 7)),
    dense=((64, 64), (128, 128)),
    dropout=(0.1, 0.7),
    learning_rate=(1e-4, 1e-1),
)
WANTED = Search(SPACE, trials=8, at_once=1, seed=5, conditions={"objective": "upsilon", "epochs": 3})


def tried(wanted, folder, told=lambda _: None, fails=()):
    with closing(SerialExecutor(FACTORY, HillSettings(folder.with_suffix(".log"), fails))) as executor:
        return search(wanted, folder, executor, told)


def numbers_asked(folder):
    return [int(line) for line in (folder.parent / f"{folder.name}.log").read_text().split()]


def killed_after(n_trials):
    count = itertools.count(1)

    def told(trial):
        if next(count) == n_trials:
            raise Killed

    return told


def test_the_search_finds_the_hill(tmp_path):
    found = best(tried(replace(WANTED, trials=20), tmp_path / "search"))
    assert found.settings.filters == (16, 32, 64)
    assert found.settings.dropout == pytest.approx(0.3, abs=0.2)
    assert found.objective > 0.95


def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path):
    undisturbed = tried(WANTED, tmp_path / "undisturbed")
    with pytest.raises(Killed):
        tried(WANTED, tmp_path / "killed", told=killed_after(3))
    with pytest.raises(Killed):
        search(WANTED, tmp_path / "killed", KilledExecutor())
    assert tried(WANTED, tmp_path / "killed") == undisturbed
    assert numbers_asked(tmp_path / "killed") == list(range(8))


def test_a_finished_search_asks_nothing_and_a_longer_one_only_the_rest(tmp_path):
    before = tried(WANTED, tmp_path / "search")
    assert tried(WANTED, tmp_path / "search") == before
    longer = tried(replace(WANTED, trials=10), tmp_path / "search")
    assert longer[:8] == before
    assert numbers_asked(tmp_path / "search") == list(range(10))


def test_a_trial_that_fails_is_reported_and_never_the_best(tmp_path):
    trials = tried(WANTED, tmp_path / "search", fails=(0, 3))
    assert [trial.number for trial in trials if trial.objective is None] == [0, 3]
    assert "the loss is NaN" in trials[3].error
    assert best(trials).number not in {0, 3}


def test_a_search_in_which_all_fail_ends_with_the_reason(tmp_path):
    with pytest.raises(InputError, match=r"no trial succeeded; the first: .*the loss is NaN"):
        tried(replace(WANTED, trials=2), tmp_path / "search", fails=(0, 1))


@pytest.mark.parametrize(
    "change", [{"seed": 6}, {"conditions": {"objective": "r2", "epochs": 3}}, {"space": replace(SPACE, dropout=(0.2, 0.7))}]
)
def test_another_search_in_the_same_folder_is_refused(tmp_path, change):
    tried(replace(WANTED, trials=1), tmp_path / "search")
    with pytest.raises(InputError, match="holds a search with other settings"):
        tried(replace(WANTED, **change), tmp_path / "search")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"filters": ()}, "at least one choice"),
        ({"kernel_sizes": ((7, 5),)}, "one number of blocks"),
        ({"dropout": (0.5, 1.0)}, "dropout must be a range"),
        ({"learning_rate": (0.0, 0.1)}, "learning_rate must be a range"),
    ],
)
def test_impossible_spaces_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        replace(SPACE, **change)


@pytest.mark.slow
def test_trials_run_on_dask_workers(tmp_path):
    with open_executor(LocalProfile(workers=2), FACTORY, HillSettings(tmp_path / "log")) as executor:
        trials = search(replace(WANTED, trials=6, at_once=2), tmp_path / "search", executor)
    assert [trial.number for trial in trials] == list(range(6))
    assert all(trial.objective is not None for trial in trials)
