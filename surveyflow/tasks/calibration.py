"""The map from the output of a merger model, or of a jury of them, to a probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from surveyflow.errors import ModelError
from surveyflow.stats.prevalence import LARGEST_OFFSET, STEEPEST, calibrated
from surveyflow.values.arrays import Float64Array

if TYPE_CHECKING:
    from surveyflow.tasks.card import ModelCard


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from ``p_pm_mean`` to the probability of a post-merger: see `surveyflow.stats.prevalence.fitted_calibration`.

    Parameters
    ----------
    members
        Digests of the weights of the models whose pooled mean the map was fitted to, ascending: of one model, or of a jury's.
    a, b, c
        The map; a and b are at least 0 and not both 0.
    share
        Share of post-mergers among the images that it was fitted to, in (0, 1): the probabilities hold at this share.
    n_images
        Number of these images.
    records
        Digests of the sets of records that they came from.
    """

    members: tuple[str, ...]
    a: float
    b: float
    c: float
    share: float
    n_images: int
    records: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.members or list(self.members) != sorted(set(self.members)):
            raise ValueError("members must be digests of weights, ascending, each once")
        if not (0 <= self.a <= STEEPEST and 0 <= self.b <= STEEPEST and self.a + self.b > 0):
            raise ValueError(f"a and b must lie between 0 and {STEEPEST:g} and not both be 0, unlike {self.a} and {self.b}")
        if not abs(self.c) <= LARGEST_OFFSET:
            raise ValueError(f"c must lie between -{LARGEST_OFFSET:g} and {LARGEST_OFFSET:g}, not {self.c}")
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie between 0 and 1, both excluded, not {self.share}")

    def probability(self, p_pm_mean: ArrayLike) -> Float64Array:
        """The probability of a post-merger, float64, where the share of post-mergers is ``share``."""
        return calibrated(p_pm_mean, self.a, self.b, self.c)


def calibration_of(cards: Sequence[ModelCard]) -> Calibration | None:
    """The map for the pooled mean of some models; None if their cards hold none for exactly these models.

    Parameters
    ----------
    cards
        Cards of all models in use: one, or the members of a jury.

    Raises
    ------
    ModelError
        If the cards hold different maps for these models, or only some of them hold it.
    """
    members = tuple(sorted(card.weights_digest for card in cards))
    maps = {one for card in cards for one in card.calibrations if one.members == members}
    holders = [card for card in cards if any(one.members == members for one in card.calibrations)]
    if len(maps) > 1 or (maps and len(holders) < len(cards)):
        raise ModelError(
            f"the cards of {', '.join(card.model_id for card in cards)} hold different [[calibration]] for these models, or some "
            "hold none. Calibrate all of them together again."
        )
    return next(iter(maps), None)


def absent_members(cards: Sequence[ModelCard]) -> tuple[str, ...]:
    """Digests of the weights of the models that a map was fitted to together with these, ascending.

    Empty if there is a map for exactly these models, or none for more. Of several maps, the one with the fewest others counts.

    Parameters
    ----------
    cards
        As for `calibration_of`.
    """
    here = {card.weights_digest for card in cards}
    fitted = [set(one.members) for card in cards for one in card.calibrations]
    others = sorted((sorted(members - here) for members in fitted if members > here), key=len)
    return tuple(others[0]) if others and here not in fitted else ()
