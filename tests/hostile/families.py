"""The families of hostile inputs: each breaks one thing in a world, and says what to run."""

from __future__ import annotations

from collections.abc import Callable

from hostile.world import Attempt, World

Family = Callable[[World], Attempt]
FAMILIES: dict[str, Family] = {}


def family(function: Callable[[World], Attempt | None]) -> Callable[[World], Attempt | None]:
    """Register a family under the name of its function; one that returns nothing is a run."""
    FAMILIES[function.__name__.replace("_", " ").strip()] = lambda world: function(world) or Attempt()
    return function


from hostile import images, lists, models, settings, state  # noqa: E402, F401 - they register their families
