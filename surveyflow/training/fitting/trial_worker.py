"""What a worker does with a trial: it trains for some epochs, and says how good the network became."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surveyflow.settings.training import load_training
from surveyflow.training.fitting.fit import fit
from surveyflow.training.fitting.tuning import TrialSettings, objective_of, with_settings
from surveyflow.values.jobs import Job


class TrialWorker:
    """Trains a network with the settings that it is given; nothing is written.

    Parameters
    ----------
    context
        ``file``: path of the training file, with a ``[tuning]``.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._training = load_training(context["file"])

    def do(self, job: Job) -> float:
        """Do one trial.

        Parameters
        ----------
        job
            Its payload holds ``settings``, those of `surveyflow.training.fitting.tuning.TrialSettings`.

        Returns
        -------
        The objective that the best epoch reached on the validation records.
        """
        training = with_settings(self._training, TrialSettings.read(job.payload["settings"]))
        epochs = self._training.tuning.epochs if self._training.tuning else training.optimisation.epochs
        short = training.optimisation.model_copy(update={"epochs": epochs})
        trained = fit(training.model_copy(update={"optimisation": short}))
        return float(trained.best[objective_of(self._training)])

    def close(self) -> None:
        """Nothing is kept between trials."""
