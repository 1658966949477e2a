"""The worker that does the trials of a search: it trains for some epochs, and returns the objective that was reached."""

from __future__ import annotations

from surveyflow.settings.training import load_training
from surveyflow.training.fitting.fit import fit
from surveyflow.training.fitting.tuning import objective_of, with_settings
from surveyflow.training.trial_orders import TrainingFile, TryTrial
from surveyflow.values.jobs import Job


class TrialWorker:
    """A worker that trains a network with the settings of a trial, and writes nothing.

    Parameters
    ----------
    file
        The training file.
    """

    def __init__(self, file: TrainingFile) -> None:
        self._training = load_training(file.path)

    def do(self, job: Job) -> float:
        """Do one trial.

        Parameters
        ----------
        job
            Its order is a `surveyflow.training.trial_orders.TryTrial`.

        Returns
        -------
        The objective that the best epoch reached on the validation records.

        Raises
        ------
        TypeError
            If the order is of another kind.
        """
        if not isinstance(job.order, TryTrial):
            raise TypeError(f"{job.name}: a worker for trials cannot do {job.order}")
        training = with_settings(self._training, job.order.settings)
        epochs = self._training.tuning.epochs if self._training.tuning else training.optimisation.epochs
        short = training.optimisation.model_copy(update={"epochs": epochs})
        trained = fit(training.model_copy(update={"optimisation": short}))
        return float(trained.best[objective_of(self._training)])

    def close(self) -> None:
        """Do nothing: a trial leaves nothing open."""
