"""Functions on surveys and their runs: validate, plan, run, demo, status, doctor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from surveyflow.errors import InputError
from surveyflow.execution.child_processes import refuse_to_start_again
from surveyflow.inputs.discovery import ReleaseChoice
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.measuring.worker import FACTORY
from surveyflow.output.digest_cache import forget_digests
from surveyflow.output.heartbeats import SILENT_AFTER_S, Heartbeat, read_heartbeats
from surveyflow.output.lock import Lease, find_lease
from surveyflow.output.run_folders import RunStatus, last_run
from surveyflow.output.run_states import RunCondition, RunState, condition_of
from surveyflow.planning.expectations import Expectation
from surveyflow.planning.plan import Plan
from surveyflow.releases.holds import Hold, waiting
from surveyflow.releases.publish import Revision, latest
from surveyflow.runs.announcements import announcing_failure, choose_and_announce
from surveyflow.runs.decide import expected_of, make_plan
from surveyflow.runs.execute import LateExecutor, Listener, Reporter, spreading
from surveyflow.runs.newest_release import choose_release
from surveyflow.runs.preflight import OpenedSurvey, check_engine, core_caution, open_survey, precision_caution
from surveyflow.runs.rerun import check_inputs, check_plan
from surveyflow.runs.run import RunResult, run_survey
from surveyflow.settings.workflow import Workflow, is_manifest, load_workflow, read_manifest_file
from surveyflow.sites.kind import Profile
from surveyflow.sites.opening import open_executor
from surveyflow.sites.profiles import BUILT_IN, load_profile
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.tasks.card import ModelCard
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.registry import BESIDE
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName, Precision
from surveyflow.values.jobs import Doing, EngineChoice, in_this_process
from surveyflow.values.notebooks import TableList, notebook_table

if TYPE_CHECKING:
    from surveyflow.runs.doctor import WorkerReport
    from surveyflow.simulation.survey import SurveySpec


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ValidSurvey:
    """The inputs of a workflow after they were checked.

    Parameters
    ----------
    name, release
        Name and release of the survey.
    sources
        Number of sources by field.
    mosaics
        Rows and columns of the mosaics by ``FIELD/INSTRUMENT``, or ``FIELD/INSTRUMENT/MOSAIC`` if there are several.
    models
        Ids of the merger models by ``FIELD/INSTRUMENT``.
    models_beside
        Ids of the models of every other task, such as ``contamination``, by the task's name and ``FIELD/INSTRUMENT``.
    warnings
        What the user should know, although it does not prevent a run.
    expected
        Sources on mosaics, rows by status and hours of work, of each field and instrument.
    """

    name: str
    release: str
    sources: dict[str, int]
    mosaics: dict[str, tuple[int, int]]
    models: dict[str, str]
    models_beside: dict[str, dict[str, str]]
    warnings: tuple[str, ...]
    expected: tuple[Expectation, ...] = ()

    @property
    def contamination_models(self) -> dict[str, str]:
        """Ids of the contamination models by ``FIELD/INSTRUMENT``."""
        return self.models_beside[CONTAMINATION.name]

    def as_json(self) -> dict[str, Any]:
        """The object that ``validate --json`` prints: the models of each other task are called ``TASK_models``."""
        stated = asdict(self)
        beside = {f"{task}_models": ids for task, ids in stated.pop("models_beside").items()}
        warnings = stated.pop("warnings")
        return stated | beside | {"warnings": warnings}

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


@dataclass(frozen=True, slots=True)
class SurveyStatus:
    """The state of an output folder.

    Parameters
    ----------
    root
        The folder.
    published
        Its latest revision; None before the first one.
    last_run
        What its newest run reported last.
    condition
        What that run is doing, and what to do about it.
    workers
        The last reports of its workers; workers that have ended properly are not among them.
    lock
        The lease on the folder; None if nobody holds it.
    held
        The revisions that wait to be accepted, the oldest first.
    """

    root: Path
    published: Revision | None
    last_run: RunStatus
    condition: RunCondition
    workers: tuple[Heartbeat, ...] = ()
    lock: Lease | None = None
    held: tuple[Hold, ...] = ()

    @property
    def at_work(self) -> bool:
        """Whether that run holds the folder and shows signs of life."""
        return self.condition.state is RunState.RUNNING

    def as_json(self, now: float) -> dict[str, Any]:
        """The object that ``status --json`` prints.

        Parameters
        ----------
        now
            The time, seconds since 1970: workers that have not written for long are ``silent``.
        """
        progress = self.last_run.progress
        rates = {"cutouts_per_second": progress.cutouts_per_second, "seconds_left": progress.seconds_left}
        workers = [asdict(heartbeat) | {"silent": heartbeat.is_silent(now)} for heartbeat in self.workers]
        stated = asdict(replace(self, lock=None, held=()))
        state = {"at_work": self.at_work, **stated.pop("condition")}
        held = [hold.as_json() for hold in self.held]
        lock = self.lock.as_json() if self.lock else None
        return stated | state | {"rates": rates, "workers": workers, "lock": lock, "held": held}

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json(time.time()))


def find_release(workflow: str | Path) -> ReleaseChoice:
    """Find the newest release of which every file that a workflow names exists and is complete and at rest.

    Parameters
    ----------
    workflow
        Path of a workflow file with ``{release}`` in its paths.

    Returns
    -------
    Its name, and the newer releases that were skipped, with the reasons.

    Raises
    ------
    WorkflowError
        If there is no such release; the error holds every reason.
    """
    return choose_release(Path(workflow))


def validate(workflow: str | Path, *, release: str | None = None) -> ValidSurvey:
    """Check a workflow and everything that it names, without changing anything.

    Parameters
    ----------
    workflow
        Path of the workflow file, or of a published revision's ``manifest.json``.
    release
        Name of the release, used instead of the workflow's own; ``latest`` for the newest complete one.

    Raises
    ------
    WorkflowError
        If anything cannot be used; the error holds every problem found.
    """
    with open_inputs(workflow, release, log_warnings=False) as (survey, _):
        fields = survey.fields
        return ValidSurvey(
            name=survey.workflow.survey.name,
            release=survey.workflow.survey.release,
            sources={name: facts.n_sources for name, facts in survey.lists.facts.items()},
            mosaics=_shapes(survey),
            models=_model_ids({name: field.cards for name, field in fields.items()}),
            models_beside={
                task.name: _model_ids({name: field.cards_beside[task.name] for name, field in fields.items()}) for task in BESIDE
            },
            warnings=survey.warnings + survey.notices,
            expected=expected_of(survey),
        )


def plan(
    workflow: str | Path,
    *,
    release: str | None = None,
    profile: str | Path | None = None,
    precision: str = Precision.FLOAT32,
    reread: bool = False,
    listeners: Sequence[Listener] = (),
) -> Plan:
    """Return what a run would do, and why; pixels that were never read before are read.

    Parameters
    ----------
    workflow, release
        As in `validate`.
    profile
        Name or path of the profile that says where to read the pixels; the built-in ``local`` if left out.
    precision
        Precision of the models' trunks: see `surveyflow.values.codes.Precision`.
    reread
        Whether to read every pixel, also of files that seem unchanged.
    listeners
        Called with every `Progress`.

    Raises
    ------
    WorkflowError
        If anything cannot be used.
    """
    refuse_to_start_again()
    chosen = load_profile(profile or "local")
    with open_inputs(workflow, release, reading=_reading(chosen, listeners)) as (survey, original), ExitStack() as stack:
        if reread:
            forget_digests(survey.workflow.output.root)
        executor = LateExecutor(
            stack, lambda: _executor(survey.workflow, chosen), in_this_process=isinstance(chosen, SerialProfile)
        )
        planned = make_plan(survey, executor, Reporter(listeners), Precision(precision))
        if original is not None:
            check_plan(original, survey, planned)
        return replace(planned, expected=expected_of(survey, planned))


def run(
    workflow: str | Path,
    *,
    release: str | None = None,
    output: str | Path | None = None,
    profile: str | Path | None = None,
    client: Any = None,
    engine: str = EngineName.AUTO,
    precision: str = Precision.FLOAT32,
    reread: bool = False,
    moved: Mapping[str, str] = MappingProxyType({}),
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """Turn a survey into a published catalog; finished work is kept.

    Parameters
    ----------
    workflow, release
        As in `validate`. A manifest is run only if its tables can be made again: its inputs and models must be as they were.
    output
        Folder for the results, used instead of the workflow's own.
    profile
        Name or path of the profile that says where to run; the built-in ``local`` if left out.
    client
        A ``distributed.Client`` to use instead of the profile's cluster; it is not closed.
    engine
        Name of an engine: see `surveyflow.values.codes.EngineName`.
    precision
        Precision of the models' trunks: see `surveyflow.values.codes.Precision`.
    reread
        Whether to read every pixel, also of files that seem unchanged.
    moved
        For a manifest whose files were moved since: where the paths of folders begin now, by where they began.
    listeners
        Called with every `Progress`.

    Raises
    ------
    WorkflowError
        If anything cannot be used; nothing was changed.
    InputError
        If there is no such engine or precision; nothing was changed.
    ModelError
        If the engine cannot run the models on this machine; nothing was changed.
    InputsChanged
        If a file changed while it was read; nothing was published.
    LockHeld
        If another run works on the same output.
    """
    refuse_to_start_again()
    file, folder = Path(workflow), Path(output).absolute() if output is not None else None
    with announcing_failure(file, folder):
        chosen = load_profile(profile or "local")
        choice = EngineChoice(EngineName(engine), Precision(precision))
        found = choose_and_announce(file, folder) if release == "latest" else None
        reading = _reading(chosen, listeners, client)
        with open_inputs(file, found.release if found else release, folder, moved, reading=reading) as (survey, original):
            check_engine(choice, survey.cards.values())
            if chosen.kind in BUILT_IN:
                for caution in filter(None, (precision_caution(choice.precision), core_caution(choice, survey.cards.values()))):
                    logger.warning("%s", caution)
            if reread:
                forget_digests(survey.workflow.output.root)
            return run_survey(
                survey, chosen, client=client, engine=choice, listeners=listeners, original=original, discovery=found
            )


def demo(
    folder: str | Path,
    *,
    spec: SurveySpec | None = None,
    models: str | Path | None = None,
    profile: str | Path | None = None,
    engine: str = EngineName.AUTO,
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """Simulate a small survey and run it, with models that were trained on such simulations.

    Parameters
    ----------
    folder
        Folder to write to: absent, empty, or an earlier demo's, which may have failed.
    spec
        Size and seed of the survey.
    models
        The model store. Without it, the package's models are copied beside the workflow, as ``models``, unless a store of that
        name is there.
    profile, engine, listeners
        As in `run`.

    Raises
    ------
    InputError
        If the folder holds something else.
    """
    refuse_to_start_again()
    from surveyflow.runs.demo import PACKAGED_MODELS, is_unfinished, make_demonstration

    folder = Path(folder)
    workflow = folder / "workflow.toml"
    begun = is_unfinished(folder)
    if begun or not workflow.exists():
        if not begun and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and does not hold a demo. Name a new folder: `{remedies.demo('DIR')}`.")
        make_demonstration(folder, spec, Path(models or PACKAGED_MODELS))
    return run(workflow, profile=profile, engine=engine, listeners=listeners)


def init(
    folder: str | Path, *, output: str | Path | None = None, models: str | Path | None = None, seed: int | None = None
) -> Path:
    """Write a commented workflow for the mosaics and catalogs of a folder; nothing is asked, and nothing is overwritten.

    Parameters
    ----------
    folder
        The folder; folders in it are searched, too.
    output
        The new workflow file; ``workflow.toml`` in the folder if it is left out.
    models
        The model store. Without it, the package's models are copied beside the workflow, as ``models``, unless a store of that
        name is there.
    seed
        The seed of the draws, 0 to 4294967295. Without it, the workflow lacks one, and is refused until the user sets it.

    Returns
    -------
    The workflow file.

    Raises
    ------
    InputError
        If the file exists, or the folder holds no mosaic with a source list that a model can measure.
    OutputError
        If the file or the models cannot be written.
    """
    from surveyflow.runs.demo import PACKAGED_MODELS
    from surveyflow.runs.draft import draft

    if seed is not None and not 0 <= seed < 2**32:
        raise InputError(f"the seed is {seed}, expected a whole number from 0 to {2**32 - 1}. Choose another.")
    folder = Path(folder)
    file = folder / "workflow.toml" if output is None else Path(output)
    draft(folder, file, Path(models or PACKAGED_MODELS).absolute(), seed, copy=models is None)
    return file


def doctor(profile: str | Path | None = None) -> list[WorkerReport]:
    """Find what this machine or a profile's workers offer, and what is missing.

    Parameters
    ----------
    profile
        Name or path of a profile whose workers are checked and compared with this machine; None for this machine alone.

    Returns
    -------
    One entry for each worker, or a single one for this machine.

    Raises
    ------
    ProfileError
        If there is no such profile, or it cannot be used.
    ClusterError
        If no scheduler answers, no worker comes, or the profile's workers exist only while jobs run.
    """
    refuse_to_start_again()
    from surveyflow.runs.doctor import check_this_machine, check_workers

    return TableList([check_this_machine()] if profile is None else check_workers(profile), _checked)


def status(root: str | Path) -> SurveyStatus:
    """Return what is published in an output folder, how far its newest run has come, and what its workers do.

    All of it is read from files, so it works on any machine that sees the folder. If the run is a job of Slurm and Slurm's
    commands are installed, Slurm is asked whether the job still exists.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    InputError
        If it holds no runs.
    CatalogError
        If something that is not a lock has the lock's name, if ``latest`` is not a link to a revision, or if the file of
        decisions is damaged.
    """
    root = Path(root)
    newest = last_run(root)
    if newest is None:
        raise InputError(f"{root} holds no runs. Name the [output] root of a workflow that was run.")
    lease = find_lease(root)
    workers = read_heartbeats(root, since=newest.started - SILENT_AFTER_S)  # their clocks may differ from the driver's
    return SurveyStatus(
        root, latest(root), newest, condition_of(root, newest, lease), tuple(workers), lease, tuple(waiting(root))
    )


def _shapes(survey: OpenedSurvey) -> dict[str, tuple[int, int]]:
    """Rows and columns of every mosaic."""
    return {
        "/".join(filter(None, (name, instrument, label))): mosaic.shape
        for name, field in survey.fields.items()
        for instrument, mosaics in field.mosaics.items()
        for label, mosaic in zip(mosaics.labels, mosaics.mosaics, strict=True)
    }


def _model_ids(cards: Mapping[str, Mapping[str, ModelCard]]) -> dict[str, str]:
    """Model ids by ``FIELD/INSTRUMENT``, of cards by field and instrument."""
    return {f"{name}/{instrument}": card.model_id for name, own in cards.items() for instrument, card in own.items()}


Reading = Callable[[Workflow], AbstractContextManager[Doing]]
"""Has the source lists of a workflow read."""


@contextmanager
def _read_here(_: Workflow) -> Iterator[Doing]:
    yield in_this_process


def _reading(profile: Profile, listeners: Sequence[Listener], client: Any = None) -> Reading:
    """Have long source lists read by the workers of a profile, or of a client."""
    here = client is None and isinstance(profile, SerialProfile)
    return lambda workflow: spreading(lambda: _executor(workflow, profile, client), in_this_process=here, listeners=listeners)


@contextmanager
def _executor(workflow: Workflow, profile: Profile, client: Any = None) -> Iterator[Any]:
    settings = WorkerSettings(str(workflow.output.root), EngineChoice(), profile.limits.models_in_memory)
    with open_executor(profile, FACTORY, settings, client=client) as executor:
        yield executor


@contextmanager
def open_inputs(
    workflow: str | Path,
    release: str | None = None,
    output: str | Path | None = None,
    moved: Mapping[str, str] = MappingProxyType({}),
    *,
    log_warnings: bool = True,
    reading: Reading = _read_here,
) -> Iterator[tuple[OpenedSurvey, dict[str, Any] | None]]:
    """Open and check the inputs of a workflow, or those of a revision that is to be made again.

    Parameters
    ----------
    workflow, release, output, moved
        As in `run`.
    log_warnings
        Whether the survey's warnings are logged, because the caller returns them to nobody.
    reading
        Has the source lists read; by default, this process does it.

    Yields
    ------
    The opened inputs, and the manifest if one was given instead of a workflow file, else None.
    """
    file = Path(workflow)
    name = choose_release(file).release if release == "latest" else release
    loaded = load_workflow(file, name, moved)
    if output is not None:
        moved_output = loaded.output.model_copy(update={"root": Path(output).absolute()})
        loaded = loaded.model_copy(update={"output": moved_output})
    original = read_manifest_file(file) if is_manifest(file) else None
    with ExitStack() as stack:
        with reading(loaded) as do:
            survey = stack.enter_context(open_survey(loaded, do))
        if original is not None:
            check_inputs(original, survey)
        if log_warnings:
            survey.log_warnings()
        yield survey, original


def _checked(report: WorkerReport) -> dict[str, object]:
    checks = [{"check": check.name, "good": check.good, "found": check.found} for check in report.checks]
    return {"worker": report.worker, "host": report.host, "pool": report.pool, "checks": checks}
