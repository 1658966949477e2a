"""A worker whose trials take no time: a hill in the space of settings, with pits where it fails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from surveyflow.training.trial_orders import TryTrial
from surveyflow.values.jobs import Job, Worker

FACTORY = "trial_workers:HillWorker"


@dataclass(frozen=True, slots=True)
class HillSettings:
    """The file that a `HillWorker` writes the numbers of its trials to, and the trials that fail."""

    log: Path
    fails: tuple[int, ...] = ()


class HillWorker:
    """Best at dropout 0.3, a learning rate of 0.003 and the wider network; writes down what it was asked."""

    def __init__(self, settings: HillSettings) -> None:
        self._log = settings.log
        self._fails = settings.fails

    def do(self, job: Job) -> float:
        if not isinstance(job.order, TryTrial):
            raise TypeError(f"a hill cannot do {job.order}")
        with self._log.open("a") as log:
            log.write(f"{job.order.number}\n")
        if job.order.number in self._fails:
            raise ValueError("the loss is NaN")
        settings = job.order.settings
        height = 1 - (settings.dropout - 0.3) ** 2 - 0.1 * (math.log10(settings.learning_rate) + 2.5) ** 2
        return height - (0.2 if settings.filters[0] < 16 else 0.0)

    def close(self) -> None:
        """Nothing is held."""


_: type[Worker] = HillWorker
