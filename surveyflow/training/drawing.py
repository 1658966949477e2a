"""How is one example drawn? From the settings and its index, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from surveyflow.inputs.simulation_file import SimulationTable
from surveyflow.simulate.examples import Example, example_of
from surveyflow.simulate.scenes import Stamp, stamp

RECIPE_VERSION = 1
"""Changes whenever the same settings would give other pixels."""


def draw_examples(simulation: SimulationTable, indices: Iterable[int]) -> list[Example]:
    """Draw the examples of these indices.

    Raises
    ------
    InputError
        When galsim or photutils, of the extra ``train``, are not installed.
    """
    return [example_of(index, _stamp(simulation, index)) for index in indices]


def prepare(simulation: SimulationTable) -> None:
    """See that examples can be drawn, before any process is started.

    Raises
    ------
    InputError
        When galsim or photutils, of the extra ``train``, are not installed.
    """
    draw_examples(simulation, [simulation.first])


def _stamp(simulation: SimulationTable, index: int) -> Stamp:
    return stamp(
        simulation.seed,
        index,
        simulation.band,
        simulation.depth,
        size=simulation.size,
        recipe=simulation.recipe.recipe(),
        neighbours=simulation.neighbours,
        magnitudes=simulation.magnitudes,
        redshifts=simulation.redshift_range,
        depth_range=simulation.depth_range,
    )
