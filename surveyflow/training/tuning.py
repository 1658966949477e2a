"""Which settings train the best network? Found by trying some, and choosing the next by how the earlier ones did.

The search is Optuna's tree-structured Parzen estimator (Bergstra et al. 2011). Every trial stands in a journal in the search's
folder before it begins, and its result when it ends: a search that was stopped goes on where it was. The sampler is seeded anew
for each batch of trials from the search's seed and the batch's first number, so that a search that is stopped between batches, or
in one, proposes what an undisturbed one would have proposed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surveyflow.errors import InputError
from surveyflow.types import Executor, Job

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

JOURNAL = "trials.journal"
"""In the search's folder: every trial, as Optuna writes it."""
VERB = "trial"
"""What a worker is asked to do; it returns the objective."""

_STUDY = "search"
_IDENTITY = "identity"
_ERROR = "error"


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """What one trial trains with.

    Parameters
    ----------
    filters, kernel_sizes, dense
        Of the architecture.
    dropout
        Rate of the Monte Carlo dropout.
    learning_rate
        Its highest.
    """

    filters: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    dense: tuple[int, ...]
    dropout: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """What is searched.

    Parameters
    ----------
    filters, kernel_sizes, dense
        Choices, at least one of each; filters and kernel sizes of one length.
    dropout
        Lowest and highest, within [0, 1).
    learning_rate
        Lowest and highest, above 0; searched by its logarithm.
    """

    filters: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    dense: tuple[tuple[int, ...], ...]
    dropout: tuple[float, float]
    learning_rate: tuple[float, float]

    def __post_init__(self) -> None:
        if not (self.filters and self.kernel_sizes and self.dense):
            raise ValueError("filters, kernel_sizes and dense must each have at least one choice")
        lengths = {len(choice) for choice in (*self.filters, *self.kernel_sizes)}
        if len(lengths) != 1:
            raise ValueError(f"filters and kernel_sizes must be of one number of blocks, not of {sorted(lengths)}")
        if not 0 <= self.dropout[0] <= self.dropout[1] < 1:
            raise ValueError(f"dropout must be a range within [0, 1), not {self.dropout}")
        if not 0 < self.learning_rate[0] <= self.learning_rate[1]:
            raise ValueError(f"learning_rate must be a range above 0, not {self.learning_rate}")


@dataclass(frozen=True, slots=True)
class Search:
    """A search for good settings.

    Parameters
    ----------
    space
        What is searched.
    trials
        How many settings are tried, in all.
    at_once
        How many are proposed, and tried, together: as many as there are workers.
    seed
        Of the proposals.
    conditions
        Whatever else decides a trial's result (objective, epochs, data), as JSON's plain values: trials of other conditions
        cannot be compared.
    """

    space: SearchSpace
    trials: int
    at_once: int
    seed: int
    conditions: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """SHA-256 over all that decides which trials are made and what they give; not over how many there are."""
        told = {"space": asdict(self.space), "at_once": self.at_once, "seed": self.seed, "conditions": dict(self.conditions)}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that has ended.

    Parameters
    ----------
    number
        From 0.
    settings
        What was tried.
    objective
        What it reached; None if it failed.
    error
        Why it failed; None if it did not.
    """

    number: int
    settings: TrialSettings
    objective: float | None
    error: str | None = None


def search(
    wanted: Search, folder: Path, executor: Executor, told: Callable[[Trial], None] = lambda _: None
) -> list[Trial]:
    """Try settings until there are as many trials as wanted; those of an earlier search in the folder count.

    Parameters
    ----------
    wanted
        The search.
    folder
        Where its journal is; made where it does not exist.
    executor
        Does jobs of the verb ``trial``, whose payload holds ``number`` and ``settings`` and which return the objective.
    told
        Called with each trial as it ends.

    Returns
    -------
    Every trial, by number.

    Raises
    ------
    InputError
        If the folder holds a search of other settings, Optuna is not installed, or every trial failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(folder, wanted)
    while batch := _unfinished(study) or _proposed(study, wanted):
        _try(study, batch, wanted.space, executor, told)
    trials = _trials(study, wanted.space)
    if all(trial.objective is None for trial in trials):
        first = trials[0].error if trials else "no trial was asked for"
        raise InputError(f"{folder}: no trial succeeded; the first: {first}. Correct the settings, and name another folder.")
    return trials


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest objective, the first of equals; at least one must have succeeded."""
    succeeded = [trial for trial in trials if trial.objective is not None]
    return max(succeeded, key=lambda trial: (trial.objective or 0.0, -trial.number))


def _study(folder: Path, wanted: Search) -> Study:
    """The folder's study, which must be of the search that is wanted."""
    optuna = _optuna()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL)))
    study: Study = optuna.create_study(study_name=_STUDY, storage=storage, direction="maximize", load_if_exists=True)
    known = study.user_attrs.get(_IDENTITY)
    if known is None:
        study.set_user_attr(_IDENTITY, wanted.identity)
    elif known != wanted.identity:
        raise InputError(
            f"{folder} holds a search with other settings than now: space, seed, at_once, objective, epochs or data differ. "
            "Name another folder, or put the settings back; only the number of trials may grow."
        )
    return study


def _unfinished(study: Study) -> list[FrozenTrial]:
    """Trials that were begun and never ended: their searcher was killed."""
    optuna = _optuna()
    return list(study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]))


def _proposed(study: Study, wanted: Search) -> list[FrozenTrial]:
    """The next batch of settings; empty once there are enough."""
    optuna = _optuna()
    first = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=_batch_seed(wanted.seed, first))
    distributions = _distributions(wanted.space)
    numbers = range(first, min(first + wanted.at_once, wanted.trials))
    for _ in numbers:
        study.ask(distributions)
    return _unfinished(study)


def _batch_seed(seed: int, first: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {first}".encode()).digest()[:4], "little")


def _try(
    study: Study, batch: Sequence[FrozenTrial], space: SearchSpace, executor: Executor, told: Callable[[Trial], None]
) -> None:
    optuna = _optuna()
    of_name = {f"trial-{trial.number:04d}": trial for trial in batch}
    complete = {name: trial for name, trial in of_name.items() if set(trial.params) == set(_distributions(space))}
    for trial in (trial for name, trial in of_name.items() if name not in complete):
        _fail(study, trial, "the search was killed while this trial was proposed")
    for result in executor.run([_job(name, trial, space) for name, trial in complete.items()]):
        trial = of_name[result.job.name]
        if result.error is None:
            study.tell(trial.number, float(result.value))
        else:
            _fail(study, trial, result.error)
        told(_ended(study.get_trials(deepcopy=False)[trial.number], space))
    if left := _unfinished(study):
        raise InputError(f"trial {left[0].number} could not be run: {result.error if complete else 'no worker'}. Run again.")
    logger.debug("event=batch_tried trials=%s", ",".join(of_name))
    del optuna


def _job(name: str, trial: FrozenTrial, space: SearchSpace) -> Job:
    return Job(name, VERB, {"number": trial.number, "settings": asdict(_settings(trial.params, space))})
