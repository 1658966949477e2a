"""The search for the settings that train the best network: trials, each chosen by the results of earlier ones.

The search is Optuna's tree-structured Parzen estimator (Bergstra et al. 2011). Every trial is recorded in a journal in the
search's folder before it begins, and its result when it ends: a search that was stopped continues where it was. For each batch of
trials, the sampler gets a new seed from the search's seed and the batch's first number. So a search that is stopped between
batches, or within one, proposes what an undisturbed search would have proposed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import tomlkit

from surveyflow.errors import InputError
from surveyflow.files.durable import write_over
from surveyflow.settings.training import SpaceTable, Training
from surveyflow.sites.kind import Profile
from surveyflow.sites.opening import open_executor
from surveyflow.training.records.record_index import read_index
from surveyflow.training.trial_orders import TrainingFile, TrialSettings, TryTrial
from surveyflow.values import remedies
from surveyflow.values.jobs import Executor, Job
from surveyflow.values.notebooks import notebook_table

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

FACTORY = "surveyflow.training.fitting.trial_worker:TrialWorker"
"""The name by which an executor finds the worker for trials."""
BEST_FILE = "best.toml"
"""Name, in the search's folder, of the training file of the best trial."""
JOURNAL = "trials.journal"
"""Name, in the search's folder, of the journal of every trial, which Optuna writes."""

_CHOICES = ("filters", "kernel_sizes", "dense")
_RANGES = ("dropout", "learning_rate")
_STUDY = "search"
_IDENTITY = "identity"
_ERROR = "error"


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The settings that are searched.

    Parameters
    ----------
    filters, kernel_sizes, dense
        Choices, at least one of each; all lists of filters and kernel sizes have the same length.
    dropout
        Lowest and highest value, within [0, 1).
    learning_rate
        Lowest and highest value, above 0; searched in the logarithm.
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

    @classmethod
    def of(cls, table: SpaceTable) -> Self:
        """The space that a training file describes."""
        return cls(**table.model_dump())


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the best settings.

    Parameters
    ----------
    space
        The settings that are searched.
    trials
        Number of settings to try in all.
    at_once
        Number of settings that are proposed and tried together: as many as there are workers.
    seed
        Seed of the proposals.
    conditions
        Everything else that decides a trial's result (objective, epochs, data), as JSON's plain values: trials under other
        cannot be compared.
    """

    space: SearchSpace
    trials: int
    at_once: int
    seed: int
    conditions: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """SHA-256 over everything that decides the trials and their results; the number of trials is not part of it."""
        told = {"space": asdict(self.space), "at_once": self.at_once, "seed": self.seed, "conditions": dict(self.conditions)}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that has ended.

    Parameters
    ----------
    number
        Number of the trial, from 0.
    settings
        The settings that were tried; None if the search was killed while it was proposed.
    objective
        The objective that was reached; None if the trial failed.
    error
        The reason if the trial failed; None otherwise.
    """

    number: int
    settings: TrialSettings | None
    objective: float | None
    error: str | None = None


def search(wanted: Search, folder: Path, executor: Executor, listener: Callable[[Trial], None] = lambda _: None) -> list[Trial]:
    """Try settings until there are as many trials as wanted; those of an earlier search in the folder count.

    Parameters
    ----------
    wanted
        The search.
    folder
        Folder of its journal; it is made if it does not exist.
    executor
        Carries `surveyflow.training.trial_orders.TryTrial` to workers, which return the objective.
    listener
        Called with each trial as it ends.

    Returns
    -------
    Every trial, by number.

    Raises
    ------
    InputError
        If the folder holds a search with other settings, Optuna is not installed, or every trial failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(folder, wanted)
    while batch := _unfinished(study) or _proposed(study, wanted):
        _try(study, batch, executor, listener)
    trials = _trials(study)
    if all(trial.objective is None for trial in trials):
        first = trials[0].error if trials else "no trial was asked for"
        raise InputError(f"{folder}: no trial succeeded; the first: {first}. Correct the settings, and name another folder.")
    return trials


@dataclass(frozen=True, slots=True)
class Tuned:
    """A search that has ended.

    Parameters
    ----------
    trials
        Every trial, by number.
    best
        The best of them.
    file
        The training file with the best trial's settings.
    """

    trials: tuple[Trial, ...]
    best: Trial
    file: Path

    def _repr_html_(self) -> str:
        trials = [{"number": one.number, "objective": one.objective, "error": one.error} for one in self.trials]
        return notebook_table({"file": self.file, "best": self.best.number, "trials": trials})


def search_of(training: Training) -> Search:
    """The search that a training file describes.

    Raises
    ------
    InputError
        If the file has no ``[tuning]``, or its records cannot be used.
    """
    table = training.tuning
    if table is None:
        raise InputError("the training file has no [tuning]. Add the table, with `folder`, `epochs` and `seed`.")
    records = [read_index(folder).digest for folder in (*training.data.train, *training.data.validation)]
    conditions = training.learning_settings() | {"objective": objective_of(training), "epochs": table.epochs, "records": records}
    return Search(SearchSpace.of(table.space), table.trials, table.at_once, table.seed, conditions)


def objective_of(training: Training) -> str:
    """Name of the validation score that a search maximises."""
    named = training.tuning and training.tuning.objective
    return named or training.model.known_task.objectives[0]


def with_settings(training: Training, settings: TrialSettings) -> Training:
    """The training file with the settings that a trial tried.

    Raises
    ------
    ValueError
        If the settings describe no network.
    """
    architecture = replace(
        training.architecture,
        filters=settings.filters,
        kernel_sizes=settings.kernel_sizes,
        dense=settings.dense,
        dropout=settings.dropout,
    )
    optimisation = training.optimisation.model_copy(update={"learning_rate": settings.learning_rate})
    return training.model_copy(update={"architecture": architecture, "optimisation": optimisation})


def tune(training: Training, file: Path, profile: Profile, listener: Callable[[Trial], None] = lambda _: None) -> Tuned:
    """Search as a training file says, and write the best settings as another training file.

    Parameters
    ----------
    training
        The training file, as it was read.
    file
        Its path; the workers read the file, too.
    profile
        The profile that says where trials run.
    listener
        Called with each trial as it ends.

    Returns
    -------
    Every trial, and the path of the best one's training file; that of the journal's folder is ``best.toml``.

    Raises
    ------
    InputError
        As `search_of` and `search`.
    """
    wanted = search_of(training)
    folder = training.tuning.folder if training.tuning else file.parent
    with open_executor(profile, FACTORY, TrainingFile(str(file.absolute()))) as executor:
        trials = search(wanted, folder, executor, listener)
    settings = best(trials).settings
    path = folder / BEST_FILE
    if settings is not None:
        write_over(path, best_document(training, settings, folder).encode())
    return Tuned(tuple(trials), best(trials), path)


def best_document(training: Training, settings: TrialSettings, folder: Path) -> str:
    """A training file with a trial's settings, ready to train, in TOML; its paths are absolute."""
    output = training.output.model_copy(update={"run": folder / "best-run"})
    chosen = with_settings(training, settings).model_copy(update={"output": output})
    return tomlkit.dumps(chosen.document())


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest objective, the first of equals; at least one must have succeeded."""
    succeeded = [trial for trial in trials if trial.objective is not None]
    return max(succeeded, key=lambda trial: (trial.objective or 0.0, -trial.number))


def _study(folder: Path, wanted: Search) -> Study:
    """Open the folder's study, which must belong to the wanted search."""
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
    """End the trials that began and never ended because their search was killed."""
    optuna = _optuna()
    return list(study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]))


def _proposed(study: Study, wanted: Search) -> list[FrozenTrial]:
    """Propose the next batch of settings; it is empty if there are enough trials."""
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


def _try(study: Study, batch: Sequence[FrozenTrial], executor: Executor, listener: Callable[[Trial], None]) -> None:
    """Try a batch, and record how each of its trials ended."""
    jobs = {f"trial-{trial.number:04d}": trial for trial in batch if _settings_known(trial)}
    for trial in batch:
        if not _settings_known(trial):
            _end(study, trial.number, "the search was killed while this trial was proposed")
    for result in executor.run([_job(name, trial) for name, trial in jobs.items()]):
        number = jobs[result.job.name].number
        _end(study, number, result.error, result.value)
        listener(_ended(study, study.get_trials(deepcopy=False)[number]))
    if left := _unfinished(study):
        raise InputError(f"trial {left[0].number} could not be run: the workers are gone, or the disk is full. Run again.")


def _settings_known(trial: FrozenTrial) -> bool:
    return {*_CHOICES, *_RANGES} <= set(trial.params)


def _end(study: Study, number: int, error: str | None, objective: float | None = None) -> None:
    """Record what a trial reached, or why it failed; a result that is not a number counts as a failure, too."""
    optuna = _optuna()
    if error is None and objective is not None and math.isfinite(objective):
        study.tell(number, float(objective))
        return
    reason = error or f"the objective was {objective}"
    study.set_user_attr(f"{_ERROR}-{number}", reason)
    study.tell(number, state=optuna.trial.TrialState.FAIL)


def _job(name: str, trial: FrozenTrial) -> Job:
    return Job(name, TryTrial(trial.number, _settings(trial.params)))


def _trials(study: Study) -> list[Trial]:
    return [_ended(study, trial) for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _ended(study: Study, trial: FrozenTrial) -> Trial:
    settings = _settings(trial.params) if _settings_known(trial) else None
    return Trial(trial.number, settings, trial.value, study.user_attrs.get(f"{_ERROR}-{trial.number}"))


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    of = _optuna().distributions
    choices = {name: of.CategoricalDistribution([_word(choice) for choice in getattr(space, name)]) for name in _CHOICES}
    return choices | {
        "dropout": of.FloatDistribution(*space.dropout),
        "learning_rate": of.FloatDistribution(*space.learning_rate, log=True),
    }


def _word(numbers: Sequence[int]) -> str:
    """A choice in the form of the journal: ``16-32-64``."""
    return "-".join(map(str, numbers))


def _settings(params: Mapping[str, Any]) -> TrialSettings:
    choices = {name: tuple(map(int, params[name].split("-"))) for name in _CHOICES}
    return TrialSettings(**choices, dropout=params["dropout"], learning_rate=params["learning_rate"])


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise InputError(f"The search needs Optuna, which is not installed: `{remedies.install('train')}`.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
