"""The recipes of galaxies, by name, and the one that is used if none is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from surveyflow.simulation.encounters import OrbitsRecipe
from surveyflow.simulation.galaxies import ContrastedRecipe, Galaxy
from surveyflow.simulation.matched import MatchedRecipe
from surveyflow.values.codes import Code


class Recipe(Protocol):
    """A way to draw a galaxy of one kind."""

    def galaxy(self, rng: np.random.Generator, kind: str, radius_arcsec: float) -> Galaxy:
        """Draw a galaxy.

        Parameters
        ----------
        rng
            Random numbers for all its properties except kind and radius.
        kind
            ``star_forming`` or ``post_merger``.
        radius_arcsec
            Effective radius of its disc, along the major axis.
        """
        ...


class Galaxies(Code):
    """The galaxies that are simulated."""

    CONTRASTED = "contrasted", "the kinds differ in structure, and also in size, asymmetry and number of clumps"
    MATCHED = "matched", "the kinds differ in structure, and in no single number"
    ORBITS = "orbits", "particles on restricted N-body orbits: a check of models that were trained on others"

    @property
    def recipe(self) -> Recipe:
        """The recipe, with its defaults."""
        return _RECIPES[self]()


_RECIPES: dict[Galaxies, Callable[[], Recipe]] = {
    Galaxies.CONTRASTED: ContrastedRecipe,
    Galaxies.MATCHED: MatchedRecipe,
    Galaxies.ORBITS: OrbitsRecipe,
}

DEFAULT_GALAXIES = Galaxies.MATCHED
"""The galaxies of the simulated survey, and of simulation files that name none. The packaged models were trained on them."""
