"""The draws of a jury: several models whose draws are taken together.

The T draws of a source are split over the M members as evenly as possible: draw i of the jury is draw i // M of member i % M,
in order of name. So a larger number of draws keeps the earlier ones, and the draws of a jury of one are those of its member.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surveyflow.models.domains import features_of_each
from surveyflow.models.engines.fft_engine import FftModel
from surveyflow.models.juries import jury_card
from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, PosteriorSummary, shares_of, summarise
from surveyflow.tasks.card import Member, Model, ModelCard
from surveyflow.tasks.domains import FeatureDomain, JuryDomain
from surveyflow.values.arrays import Float32Array, UInt64Array


class Jury:
    """A `surveyflow.tasks.card.Model` of several networks. Its features are those of its members side by side.

    Parameters
    ----------
    card
        Its card, as `jury_card` makes it.
    members
        The members' models, in order of name.
    """

    def __init__(self, card: ModelCard, members: Sequence[Model]) -> None:
        self._card = card
        self._members = tuple(members)

    @property
    def card(self) -> ModelCard:
        """The jury's card."""
        return self._card

    @property
    def members(self) -> dict[str, Model]:
        """The members' models by name, in order."""
        return {member.name: model for member, model in zip(self._card.members, self._members, strict=True)}

    @property
    def domain(self) -> JuryDomain | None:
        """The images that its members were trained on; None unless that is known of all of them."""
        domains = [member.domain for member in self._members]
        known = tuple(domain for domain in domains if isinstance(domain, FeatureDomain))
        return JuryDomain(known) if len(known) == len(domains) else None

    @property
    def engine(self) -> str:
        """The names of the engines that compute its members."""
        return "+".join(sorted({member.engine for member in self._members}))

    def features(self, cutouts: Float32Array) -> Float32Array:
        """(n, size, size) prepared cutouts -> (n, sum of the widths) float32: the members' features side by side."""
        return np.concatenate([member.features(cutouts) for member in self._members], axis=1)

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """(n, sum of the widths) features -> (n, n_draws, n_outputs) float32 in [0, 1].

        Raises
        ------
        ValueError
            If there are fewer draws than members.
        """
        shares = shares_of(n_draws, len(self._members))
        draws = np.empty((len(features), n_draws, self._card.architecture.n_outputs), np.float32)
        for number, (member, own, share) in enumerate(zip(self._members, self._split(features), shares, strict=True)):
            draws[:, number :: len(self._members)] = member.draw(own, source_keys, share, seed)
        return draws

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        """Summarise the draws of two outputs; see `surveyflow.measuring.sampling.SummarisingModel`.

        The FFT engine keeps no draws for it.

        Raises
        ------
        ValueError
            If there are fewer draws than members; and as `surveyflow.stats.posterior.summarise`.
        """
        if self._native is None:
            return summarise(self.draw(features, source_keys, n_draws, seed)[..., outputs], len(self._members))
        first, *others = self._native
        return first.summarise_with(others, self._split(features), source_keys, n_draws=n_draws, seed=seed, outputs=outputs)

    def summarise_amounts(
        self,
        features: Float32Array,
        source_keys: UInt64Array,
        n_draws: int,
        seed: int,
        amounts: Sequence[Sequence[AmountOutputs]],
    ) -> AmountStatistics | None:
        """Compute the statistics of amounts; see `surveyflow.measuring.sampling.SummarisingModel`.

        It is None unless the FFT engine computes all members.

        Raises
        ------
        ValueError
            As `FftModel.summarise_amounts_with`.
        """
        if self._native is None:
            return None
        first, *others = self._native
        parts = self._split(features)
        return first.summarise_amounts_with(others, parts, source_keys, n_draws=n_draws, seed=seed, amounts=amounts)

    @property
    def _native(self) -> list[FftModel] | None:
        """The members, if the FFT engine computes all of them."""
        native = [member for member in self._members if isinstance(member, FftModel)]
        return native if len(native) == len(self._members) else None

    def _split(self, features: Float32Array) -> list[Float32Array]:
        return features_of_each(features, [card.architecture for card in self._card.each])


def jury_of(folder: str, names: Sequence[str], models: Sequence[Model]) -> Jury:
    """Make a jury of models that are loaded.

    Parameters
    ----------
    folder
        The jury's folder, for messages.
    names
        Names of its members, in order.
    models
        The members' models.

    Raises
    ------
    ModelError
        If their cards contradict each other.
    """
    members = [Member(name, model.card) for name, model in zip(names, models, strict=True)]
    return Jury(jury_card(members, folder), models)
