"""A worker that is real but for its model: everything is read, cut, summarised and written, nothing is learnt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surveyflow.measuring.worker import SurveyWorker
from surveyflow.models.store import read_card
from surveyflow.tasks.card import Architecture, ModelCard
from surveyflow.values.jobs import Job

TINY = Architecture(filters=(2,), kernel_sizes=(3,), dense=(2,))


@dataclass(frozen=True)
class StubModel:
    """Not a network: its feature is the mean of the prepared cutout, and its draws are numbers seeded by the source's key."""

    card: ModelCard
    engine = "stub"

    def features(self, cutouts):
        return cutouts.mean(axis=(1, 2), dtype=np.float64)[:, None].astype(np.float32)

    def draw(self, features, source_keys, n_draws, seed):
        n_outputs = self.card.architecture.n_outputs
        spread = [np.random.default_rng([seed, int(key)]).random((n_draws, n_outputs)) for key in source_keys]
        draws = 0.5 * features[:, None, :] + 0.5 * np.reshape(spread, (len(features), n_draws, n_outputs))
        return np.clip(draws, 0, 1).astype(np.float32)


class StubWorker(SurveyWorker):
    """Samples `StubModel` instead of a network."""

    def _model(self, folder: str, card_digest: str) -> Any:
        return StubModel(read_card(Path(folder)))


class SlowWorker(StubWorker):
    """A `StubWorker` that takes its time for a unit, so that it can be disturbed at it."""

    def do(self, job: Job) -> Any:
        if job.verb == "unit":
            time.sleep(0.2)
        return super().do(job)


class _Trouble:
    """Cannot do the units whose name holds a word of the file ``trouble`` in the output folder."""

    def do(self, job: Job) -> Any:
        words = (self._root / "trouble").read_text().split()
        if job.verb == "unit" and any(word in job.name for word in words):
            raise ValueError("the sky fell")
        return super().do(job)


class TroubledWorker(_Trouble, StubWorker):
    """A `StubWorker` with some units that it cannot do."""


class TroubledSurveyWorker(_Trouble, SurveyWorker):
    """A worker that is real, but for some units that it cannot do."""
