"""Which models a worker keeps ready."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from surveyflow.errors import UnitError
from surveyflow.models.engines.choice import ModelCache


@dataclass
class Shelf:
    """Counts what is loaded, and how many models the cache holds meanwhile."""

    cache: ModelCache | None = None

    def __post_init__(self):
        self.loaded = []
        self.held_meanwhile = []

    def load(self, folder):
        self.loaded.append(folder.name)
        self.held_meanwhile.append(len(self.cache))
        return SimpleNamespace(name=folder.name, card=SimpleNamespace(digest=f"card of {folder.name}"))


@pytest.fixture
def shelf():
    shelf = Shelf()
    shelf.cache = ModelCache(shelf.load, 2)
    return shelf


def get(shelf, *names):
    return [shelf.cache.get(name, f"card of {name}").name for name in names]


def test_a_model_is_loaded_once(shelf):
    assert get(shelf, "a", "b", "a", "b") == ["a", "b", "a", "b"]
    assert shelf.loaded == ["a", "b"]


def test_the_one_unused_for_longest_gives_way_before_another_is_loaded(shelf):
    get(shelf, "a", "b", "a", "c", "a", "b")

    assert shelf.loaded == ["a", "b", "c", "b"]
    assert len(shelf.cache) == 2
    assert max(shelf.held_meanwhile) == 1


def test_a_model_that_was_changed_is_refused_and_not_kept(shelf):
    with pytest.raises(UnitError, match="Run again"):
        shelf.cache.get("a", "another card")

    assert len(shelf.cache) == 0


def test_a_cache_of_nothing_is_none():
    with pytest.raises(ValueError, match="at least 1"):
        ModelCache(lambda _: None, 0)
