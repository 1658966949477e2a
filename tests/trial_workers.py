"""A worker whose trials take no time: a hill in the space of settings, with pits where it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surveyflow.values.jobs import Job

FACTORY = "trial_workers:HillWorker"


class HillWorker:
    """Best at dropout 0.3, a learning rate of 0.003 and the wider network; writes down what it was asked."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._log = Path(context["log"])
        self._fails = set(context.get("fails", ()))

    def do(self, job: Job) -> float:
        with self._log.open("a") as log:
            log.write(f"{job.payload['number']}\n")
        if job.payload["number"] in self._fails:
            raise ValueError("the loss is NaN")
        settings = job.payload["settings"]
        height = 1 - (settings["dropout"] - 0.3) ** 2 - 0.1 * (math.log10(settings["learning_rate"]) + 2.5) ** 2
        return height - (0.2 if settings["filters"][0] < 16 else 0.0)

    def close(self) -> None:
        """Nothing is held."""
