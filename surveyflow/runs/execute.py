"""The execution of a plan: its units become jobs, their results become receipts, and listeners hear of the progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from sys import intern
from typing import Any

from surveyflow.errors import ClusterError, OutputError, SurveyflowError
from surveyflow.measuring.orders import KeyedUnit, MeasureUnit, PlannedModel, PlannedMosaic, TileMeasurement
from surveyflow.models.store import ModelStore
from surveyflow.output.run_folders import Phase, Progress
from surveyflow.output.units import find_unit, remove_unit
from surveyflow.planning.plan import Decision, KeyParts, Plan, PlannedUnit
from surveyflow.runs.preflight import OpenedSurvey, check_constant
from surveyflow.tasks.card import ModelCard
from surveyflow.values.images import Tile
from surveyflow.values.jobs import Doing, Executor, Job, JobResult, Receipt, Task
from surveyflow.values.made import Made

Listener = Callable[[Progress], None]
Following = Callable[[Iterator[JobResult]], Iterator[JobResult]]
_LOST = "its receipt is missing"


class Reporter:
    """Reports the progress of each phase to listeners.

    Parameters
    ----------
    listeners
        Called with every `Progress`.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)

    def report(self, progress: Progress) -> None:
        """Report one event."""
        for listener in self.listeners:
            listener(progress)

    def report_workers(self, message: str) -> None:
        """Report a sentence about the workers."""
        self.report(Progress(Phase.WORKERS, message=message))

    def follow(self, phase: Phase, n_jobs: int, results: Iterator[JobResult], cutouts: int = 0) -> Iterator[JobResult]:
        """Pass results through and report each.

        Parameters
        ----------
        phase
            The phase.
        n_jobs
            Number of its jobs.
        results
            Their results, as they end.
        cutouts
            Number of cutouts of all jobs, one for each of their sources; 0 if these jobs make none.
        """
        start, cutouts_done, failed = time.monotonic(), 0, 0
        self.report(Progress(phase, total=n_jobs, cutouts_total=cutouts))
        for done, result in enumerate(results, start=1):
            failed += result.error is not None
            cutouts_done += result.job.n_sources if cutouts else 0
            message = result.error or result.job.name
            seconds = time.monotonic() - start
            self.report(Progress(phase, done, n_jobs, cutouts_done, cutouts, failed, seconds, message))
            yield result


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """The outcome of a plan.

    Parameters
    ----------
    kept, done
        Receipts of the units that had results already, and of those done now.
    failures
        Errors of the units that failed, by unit name.
    n_dropped
        Number of the last revision's units that have no sources any more.
    repaired
        What was wrong with the files of units that were done again because of it, by unit name.
    keyed
        All parts of the keys of units that had no key before their pixels were read, by unit name.
    """

    kept: tuple[Receipt, ...]
    done: tuple[Receipt, ...]
    failures: Mapping[str, str]
    n_dropped: int
    repaired: Mapping[str, str] = field(default_factory=dict)
    keyed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """Receipts of all units that have results."""
        return self.kept + self.done

    @property
    def counts(self) -> dict[str, int]:
        """Number of units done, kept, dropped and failed."""
        return {
            "done": len(self.done),
            "kept": len(self.kept),
            "dropped": self.n_dropped,
            "failed": len(self.failures),
        }

    def after(self, repair: PlanOutcome, damaged: Collection[str]) -> PlanOutcome:
        """The outcome after the units with the given keys were done again."""
        return PlanOutcome(
            tuple(receipt for receipt in self.kept if receipt.key not in damaged),
            tuple(receipt for receipt in self.done if receipt.key not in damaged) + repair.done,
            {**self.failures, **repair.failures},
            self.n_dropped,
            {**self.repaired, **repair.repaired},
        )


class LateExecutor:
    """An executor that is opened with the first job, so that a run with nothing to do starts no cluster.

    Parameters
    ----------
    stack
        Closes the executor in the end.
    opener
        Opens the executor.
    in_this_process
        Whether its worker is this process.
    """

    def __init__(
        self, stack: ExitStack, opener: Callable[[], AbstractContextManager[Executor]], *, in_this_process: bool = False
    ) -> None:
        self.in_this_process = in_this_process
        self._stack = stack
        self._opener = opener
        self._executor: Executor | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job, as they end.

        Raises
        ------
        OutputError
            If a job could not write its result; the other jobs could not, either.
        """
        if not jobs:
            return
        if self._executor is None:
            self._executor = self._stack.enter_context(self._opener())
        for result in self._executor.run(jobs):
            if result.fatal:
                raise OutputError(f"{result.error} Nothing was published; run again to continue.")
            yield result

    @property
    def is_open(self) -> bool:
        """Whether any job was done."""
        return self._executor is not None

    def carry_out(self, tasks: Sequence[Task], follow: Following = iter) -> list[Any]:
        """Have tasks carried out by workers, and return their results in the order of the tasks.

        Parameters
        ----------
        tasks
            The tasks.
        follow
            Passes their results through as they end.

        Raises
        ------
        SurveyflowError
            The error of surveyflow that ended a task.
        ClusterError
            If a task failed for another reason.
        OutputError
            If a task could not write its files.
        """
        jobs = _jobs_of(tasks)
        values = {result.job.name: _value(result) for result in follow(self.run(jobs))}
        return [values[job.name] for job in jobs]


def _jobs_of(tasks: Sequence[Task]) -> list[Job]:
    return [Job(f"{task.verb} {number}", task) for number, task in enumerate(tasks)]


FEWEST_SPREAD = 5
"""Number of tasks from which workers carry them out, and not the process that reads source lists: a million sources."""


@contextmanager
def spreading(
    opener: Callable[[], AbstractContextManager[Executor]], *, in_this_process: bool, listeners: Sequence[Listener] = ()
) -> Iterator[Doing]:
    """Have tasks carried out by workers if there are many, while the block lasts; a few are not worth starting a cluster.

    Parameters
    ----------
    opener
        Opens the executor.
    in_this_process
        Whether its worker is this process.
    listeners
        Called with the progress of tasks if there are many; they are parts of source lists.

    Yields
    ------
    What has the tasks carried out.
    """
    with ExitStack() as stack:
        executor = LateExecutor(stack, opener, in_this_process=in_this_process)

        def do(tasks: Sequence[Task]) -> list[Any]:
            are_many = len(tasks) >= FEWEST_SPREAD
            follow = partial(Reporter(listeners if are_many else ()).follow, Phase.LISTS, len(tasks))
            if in_this_process or not (are_many or executor.is_open):
                here = (JobResult(job, task.carry_out()) for job, task in zip(_jobs_of(tasks), tasks, strict=True))
                return [result.value for result in follow(here)]
            return executor.carry_out(tasks, follow)

        yield do


def _value(result: JobResult) -> Any:
    """What a task returned."""
    if result.error is not None:
        raise ClusterError(f"{result.job.name} failed: {result.error}. Nothing was published; run again to continue.")
    if isinstance(result.value, SurveyflowError):
        raise result.value
    return result.value


def _forget(name: str, parts: Mapping[str, str]) -> None:
    """Remember nothing."""


def carry_out(
    survey: OpenedSurvey,
    plan: Plan,
    executor: LateExecutor,
    reporter: Reporter,
    note: Callable[[str, Mapping[str, str]], None] = _forget,
) -> PlanOutcome:
    """Do the units that a plan asks for. Those whose pixels cannot be read fail; nothing is tried with them.

    Parameters
    ----------
    survey
        The opened inputs.
    plan
        The plan.
    executor
        Runs the jobs.
    reporter
        Receives the progress of the units.
    note
        Called with the name of each unit that had no key, and the parts of the key that it has now.

    Raises
    ------
    InputsChanged
        If a unit fails and an input file has changed, since nothing could be published then.
    OutputError
        If results cannot be written.
    """
    kept, lost = _kept(survey.workflow.output.root, plan)
    todo = {planned.name: planned for planned in (*plan.having(Decision.DO), *plan.doing_again(lost).units) if planned.unit}
    hopeless = _jobs(survey, [planned for planned in todo.values() if planned.unreadable])
    jobs = _jobs(survey, [planned for planned in todo.values() if not planned.unreadable])
    results = chain((JobResult(job, error=todo[job.name].reason) for job in hopeless), executor.run(jobs))
    n_sources = sum(planned.n_sources for planned in todo.values())
    tally = _Tally(kept, {planned.name: planned.damage for planned in todo.values() if planned.damage})
    for result in reporter.follow(Phase.UNITS, len(todo), results, n_sources):
        planned = todo[result.job.name]
        tally.add(result, planned)
        if result.error is not None and not planned.unreadable:
            check_constant(survey.files)
        if planned.name in tally.keyed:
            note(planned.name, tally.keyed[planned.name])
    return tally.outcome(plan.counts[Decision.DROP])


def _kept(root: Path, plan: Plan) -> tuple[list[Receipt], dict[str, str]]:
    """Receipts of the units that have results, and what is wrong with those that had, by key."""
    receipts, lost = [], {}
    for planned in plan.having(Decision.KEEP):
        found = find_unit(root, planned.key)
        if found.receipt is None:
            lost[planned.key] = found.damage or _LOST
        else:
            receipts.append(_as_planned(found.receipt, planned))
    return receipts, lost


def _as_planned(receipt: Receipt, planned: PlannedUnit) -> Receipt:
    """The receipt of a planned unit with the words that the plan and other receipts have, so that each is in memory once."""
    return replace(
        receipt,
        key=planned.key or receipt.key,
        name=planned.name if receipt.name == planned.name else receipt.name,
        parts=planned.parts if planned.key else KeyParts.of({**receipt.parts, **planned.parts}),
        status_counts={intern(status): number for status, number in receipt.status_counts.items()},
        worker=intern(receipt.worker),
        engine=intern(receipt.engine),
        framework=intern(receipt.framework),
    )


def _jobs(survey: OpenedSurvey, todo: Iterable[PlannedUnit]) -> Sequence[Job]:
    """The jobs of units, which are made when they are submitted."""
    units = [(planned, planned.unit) for planned in todo if planned.unit is not None]
    lists = survey.lists.folder.relative_to(survey.workflow.output.root)
    of_mosaic = cache(partial(_measurement, survey))

    def make(number: int) -> Job:
        planned, unit = units[number]
        measurement = None if unit.tile is None else of_mosaic(unit.field, unit.instrument, unit.mosaic)(unit.tile)
        order = MeasureUnit(planned.key, dict(planned.parts), str(lists / unit.worklist), unit.number, measurement)
        return Job(planned.name, order, model_group=unit.model_group, n_sources=planned.n_sources)

    return Made(len(units), make)


@dataclass(frozen=True, slots=True)
class _Tally:
    """What has become of units so far."""

    kept: list[Receipt]
    repaired: dict[str, str]
    done: list[Receipt] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    keyed: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def add(self, result: JobResult, planned: PlannedUnit) -> None:
        """Count the result of a unit."""
        name, value = planned.name, result.value
        if result.error is not None:
            logger.error("unit=%s failed: %s", name, result.error)
            self.failures[name] = result.error
            return
        receipt = _as_planned(value.receipt if isinstance(value, KeyedUnit) else value, planned)
        logger.info("unit=%s rows=%d seconds=%.2f", name, receipt.n_rows, receipt.seconds)
        was_done = isinstance(value, KeyedUnit) and value.was_done
        (self.kept if was_done else self.done).append(receipt)
        if isinstance(value, KeyedUnit):
            self.keyed[name] = receipt.parts
            self.repaired.update({name: value.damage} if value.damage else {})

    def outcome(self, n_dropped: int) -> PlanOutcome:
        """What has become of all units."""
        return PlanOutcome(tuple(self.kept), tuple(self.done), self.failures, n_dropped, self.repaired, self.keyed)


def repair(survey: OpenedSurvey, damaged: Plan, executor: LateExecutor, reporter: Reporter) -> PlanOutcome:
    """Remove the files of damaged units and do these units again.

    Parameters
    ----------
    survey
        The opened inputs.
    damaged
        The damaged units.
    executor
        Runs the jobs.
    reporter
        Receives the progress of the units.
    """
    for unit in damaged.units:
        logger.warning("unit=%s is damaged and is done again: %s", unit.name, unit.damage)
        remove_unit(survey.workflow.output.root, unit.key)
    return carry_out(survey, damaged, executor, reporter)


def damaged_units(root: Path, receipts: Iterable[Receipt]) -> dict[str, str]:
    """Compare the files of units with their digests.

    Parameters
    ----------
    root
        The output folder.
    receipts
        The units' receipts.

    Returns
    -------
    What is wrong with each damaged unit, by key.
    """
    found = ((receipt.key, find_unit(root, receipt.key, verify=True)) for receipt in receipts)
    return {key: unit.damage or _LOST for key, unit in found if unit.receipt is None}


def _measurement(survey: OpenedSurvey, field: str, instrument: str, mosaic: int) -> Callable[[Tile], TileMeasurement]:
    """How the tiles of a mosaic are measured."""
    opened = survey.fields[field]
    models = survey.workflow.models
    store, card = ModelStore(models.store, models.named_members), opened.cards[instrument]
    planned_mosaic = PlannedMosaic.of(opened.mosaics[instrument].mosaics[mosaic])
    planned_models = tuple(_planned(store, one) for one in (card, *opened.beside(instrument).values()))
    return lambda tile: TileMeasurement(
        planned_mosaic,
        tile,
        card.architecture.input_size,
        planned_models,
        survey.workflow.sampling.settings(),
        survey.workflow.quality.min_valid_fraction,
        survey.workflow.science.prevalence,
    )


def _planned(store: ModelStore, card: ModelCard) -> PlannedModel:
    each = tuple(PlannedModel(str(folder), one.digest) for folder, one in store.placed(card))
    return PlannedModel(str(store.folder(card.key)), card.digest, each if card.members else ())
