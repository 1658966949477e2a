"""The check of the stretch on which models were trained, with real cutouts of a workflow's sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from surveyflow.errors import InputError
from surveyflow.models.normalisation import StretchVerdict, stretch_evidence
from surveyflow.models.store import ModelStore, read_weights
from surveyflow.planning.units import LocatedSources
from surveyflow.runs.preflight import OpenedField, OpenedSurvey
from surveyflow.sky.scattered import cut_from_all
from surveyflow.tasks.card import ModelCard
from surveyflow.values.images import CutoutStack

FEWEST_CUTOUTS = 20


@dataclass(frozen=True, slots=True)
class StretchCheck:
    """The evidence for the preparation of a model's training images, beside that of its card.

    Parameters
    ----------
    card
        The model's card.
    n_cutouts
        Number of real cutouts that were used.
    verdict
        The evidence from them.
    """

    card: ModelCard
    n_cutouts: int
    verdict: StretchVerdict

    @property
    def agrees(self) -> bool:
        """Whether the card's stretch and softening are among those that agree with the network."""
        stretch, softening = self.card.stretch, self.card.softening
        alike = (one for one in self.verdict.candidates if one.stretch is stretch)
        return any(one.softening == softening or not stretch.softened for one in alike)


def check_stretches(survey: OpenedSurvey, n_cutouts: int, softenings: Sequence[float], seed: int = 0) -> Iterator[StretchCheck]:
    """Run real cutouts through the first convolution of every model of a survey, under each stretch.

    Parameters
    ----------
    survey
        The opened inputs.
    n_cutouts
        Number of fully covered sources to use, chosen at random among those routed to the model, of some 20,000 of each list.
    softenings
        Softenings to try beside the card's, in the mosaics' unit.
    seed
        Seed of the choice of sources.

    Raises
    ------
    InputError
        If a model has too few fully covered sources.
    """
    store = ModelStore(survey.workflow.models.store, survey.workflow.models.named_members)
    for name, opened in survey.fields.items():
        for instrument, card in opened.all_cards:
            stack = _real_cutouts(survey.lists.facts[name].sample, opened, instrument, n_cutouts, np.random.default_rng(seed))
            if len(stack) < FEWEST_CUTOUTS:
                raise InputError(
                    f"{name}/{instrument}: only {len(stack)} of its sources have fully covered cutouts, but the statistics need "
                    f"at least {FEWEST_CUTOUTS}. Use a workflow with more sources in this field."
                )
            trials = sorted({card.softening, *softenings})
            for folder, one in store.placed(card):
                weights = read_weights(folder, one)
                yield StretchCheck(one, len(stack), stretch_evidence(weights, stack, trials, one.architecture))


def _real_cutouts(
    located: LocatedSources, opened: OpenedField, instrument: str, n_cutouts: int, rng: np.random.Generator
) -> CutoutStack:
    members = located.take((located.instrument == instrument) & (located.status == ""))
    # Some of the chosen sources will not be fully covered.
    chosen = members.take(rng.permutation(len(members))[: 2 * n_cutouts])
    size = opened.cards[instrument].architecture.input_size
    stack = cut_from_all(opened.mosaics[instrument].mosaics, chosen.mosaic, chosen.x_pix, chosen.y_pix, size)
    return stack.take(np.flatnonzero(stack.valid_fraction == 1)[:n_cutouts])
