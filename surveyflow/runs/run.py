"""The steps of a run, in order."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.errors import SourceListError, UnitDamaged, UnitError
from surveyflow.files.durable import explained, remove_any
from surveyflow.inputs.discovery import ReleaseChoice
from surveyflow.inputs.remote_images import KEPT_PIXELS
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.measuring.unit import settled_rows
from surveyflow.measuring.worker import FACTORY
from surveyflow.output.heartbeats import sweep_heartbeats
from surveyflow.output.list_folders import sweep_lists
from surveyflow.output.lock import RunLock
from surveyflow.output.run_folders import Phase, Progress, RunFolder, new_run_id, old_runs, remove_runs
from surveyflow.output.units import sweep
from surveyflow.planning.plan import Decision, Plan
from surveyflow.planning.units import is_alternative
from surveyflow.releases.guard import judge
from surveyflow.releases.layout import check_layout
from surveyflow.releases.publish import Alternatives, Revision, latest, open_catalog, publish, read_manifest
from surveyflow.releases.revisions import file_by_file, revision_names
from surveyflow.runs.announcements import announce_result, announcing_missing_workers
from surveyflow.runs.decide import make_plan, remembering, revision_with, with_all_keys
from surveyflow.runs.execute import LateExecutor, Listener, PlanOutcome, Reporter, carry_out, damaged_units, repair
from surveyflow.runs.manifest import describe_run
from surveyflow.runs.preflight import OpenedSurvey, check_constant
from surveyflow.runs.rerun import check_plan
from surveyflow.settings.workflow import to_toml
from surveyflow.sites.kind import Profile
from surveyflow.sites.opening import open_executor
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.codes import Flag, Precision, Status
from surveyflow.values.jobs import EngineChoice, Executor, in_this_process
from surveyflow.values.notebooks import notebook_table

ROWS_PUBLISHED_ALONE = 1_000_000
"""Most rows that a run publishes itself if it has no workers yet, rather than start a cluster for it."""
MOST_REPAIRS = 3
"""How often a run does units again whose files turn out to be damaged when they are published."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Parameters
    ----------
    revision
        Name of the published revision.
    path
        Its folder.
    root
        The output folder.
    units
        Number of units done, kept, dropped and failed.
    rows
        Number of rows in the revision.
    status
        Number of rows by status.
    failed_units
        Errors of the units that failed, by unit name.
    published
        False if nothing had changed, so that the revision is that of an earlier run.
    held
        The reasons for which readers do not get the revision before somebody accepts it; empty if they have it.
    flags
        Number of rows with each flag, by name; flags that no row has are left out.
    weights_origin
        The origins of the weights that the results were computed with.
    repaired_units
        What was wrong with the files of units that were done again because of it, by unit name.
    discovery
        How the release was chosen; None if it was named.
    """

    revision: str
    path: Path
    root: Path
    units: Mapping[str, int]
    rows: int
    status: Mapping[str, int]
    failed_units: Mapping[str, str] = field(default_factory=dict)
    published: bool = True
    held: tuple[str, ...] = ()
    flags: Mapping[str, int] = field(default_factory=dict)
    weights_origin: tuple[str, ...] = ()
    repaired_units: Mapping[str, str] = field(default_factory=dict)
    discovery: ReleaseChoice | None = None

    @property
    def exit_code(self) -> int:
        """0 if complete, 3 if some units failed or the revision is held, otherwise 5 if a newer release is broken."""
        if self.failed_units or self.held:
            return 3
        return 5 if self.discovery and self.discovery.broken else 0

    def as_json(self) -> dict[str, Any]:
        """The object that ``run --json`` ends with."""
        return {
            "revision": self.revision,
            "root": str(self.root),
            "path": str(self.path),
            "units": dict(self.units),
            "rows": self.rows,
            "status": dict(self.status),
            "failed_units": dict(self.failed_units),
            "published": self.published,
            "held": " ".join(self.held) or None,
            "held_reasons": list(self.held),
            "flags": dict(self.flags),
            "weights_origin": list(self.weights_origin),
            "repaired_units": dict(self.repaired_units),
        } | ({"discovery": self.discovery.as_json()} if self.discovery else {})

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


def run_survey(
    survey: OpenedSurvey,
    profile: Profile,
    *,
    client: Any = None,
    listeners: Sequence[Listener] = (),
    engine: EngineChoice = EngineChoice(),  # noqa: B008 - frozen
    factory: str = FACTORY,
    original: Mapping[str, Any] | None = None,
    discovery: ReleaseChoice | None = None,
) -> RunResult:
    """Make the plan, do its units, and publish.

    Parameters
    ----------
    survey
        The opened inputs.
    profile
        The profile of the cluster.
    client
        A Dask client to use instead of the profile's cluster.
    listeners
        Called with every `Progress`.
    engine
        The engine and precision that compute the models.
    factory
        The function that makes a worker, as ``package.module:callable``.
    original
        Manifest of the revision that is to be made again; None for an ordinary run.
    discovery
        How the release was chosen; None if it was named.

    Raises
    ------
    LockHeld
        If another run works on the same output.
    InputsChanged
        If a file changed while it was read; nothing is published then.
    WorkflowError
        If the original's tables cannot be made from the present inputs; nothing is published then.
    OutputError
        If the output cannot be written; nothing is published then.
    UnitError
        If no unit could be finished; nothing is published then.
    CatalogError
        If something else is in the place of the releases or of ``latest``, or a file there is damaged; nothing is published then.
    """
    start = time.monotonic()
    root = survey.workflow.output.root
    check_layout(root)
    latest(root)  # a broken one is refused now, not after hours of work
    folder = RunFolder(root, new_run_id())
    with ExitStack() as logs:
        with RunLock(root, folder.run_id) as lock, ExitStack() as stack:
            folder.create(to_toml(survey.workflow))
            survey.keep_pixels()
            survey = survey.with_lists_in_root()
            logs.enter_context(folder.logging())
            for notice in survey.warnings + survey.notices:
                logger.info("notice=%r", notice)
            sweep(root)
            sweep_heartbeats(root)
            sweep_lists(root, survey.key)
            _sweep_runs(root, survey.workflow.output.keep_runs_days)
            reporter = Reporter([*listeners, folder.record])
            settings = WorkerSettings(str(root), engine, profile.limits.models_in_memory)
            hear = stack.enter_context(announcing_missing_workers(survey.workflow.notify, root, reporter.report_workers))
            executor = LateExecutor(
                stack,
                lambda: _noted(open_executor(profile, factory, settings, client=client, on_message=hear), folder),
                in_this_process=client is None and isinstance(profile, SerialProfile),
            )
            with _reporting_the_end(reporter):
                plan = make_plan(survey, executor, reporter, engine.precision, measuring=original is None)
                if original is not None:
                    check_plan(original, survey, plan)
                run = _Run(survey, plan, folder, reporter, lock, start, engine.precision)
                unchanged = _nothing_to_do(run)
                if unchanged:
                    folder.note_unchanged()
                result = replace(unchanged or _work_and_publish(run, executor), discovery=discovery)
                if not result.failed_units:
                    remove_any(root / KEPT_PIXELS)
        if result.published:  # only after the lock is released: the command may prune, or start another run
            announce_result(survey.workflow.notify, result)
    return result


def _sweep_runs(root: Path, days: int) -> None:
    """Remove the folders of old runs, except those of which a revision still exists."""
    if old := old_runs(root, days):
        made = {read_manifest(root / "releases" / name).get("run_id") for name in revision_names(root)}
        remove_runs(root, [name for name in old if name not in made])


def _result(root: Path, revision: Revision, units: Mapping[str, int], **more: Any) -> RunResult:
    """The result of a run, with the flags and origins of its rows."""
    counts: Counter[str] = Counter()
    origins: set[str] = set()
    for file in file_by_file(open_catalog(root, revision.name)):
        rows = file.to_table(columns=["flags", "weights_origin"], use_threads=False)
        flags = rows["flags"].to_numpy()
        counts.update({flag.name: int(np.count_nonzero(flags & flag)) for flag in Flag if flag.name})
        origins.update(pc.unique(rows["weights_origin"]).drop_null().to_pylist())
    return RunResult(
        revision=revision.name,
        path=revision.path,
        root=root,
        units=units,
        rows=revision.n_rows,
        status=revision.status_counts,
        flags={flag.name: counts[flag.name] for flag in Flag if flag.name and counts[flag.name]},
        weights_origin=tuple(sorted(origins)),
        **more,
    )


@contextmanager
def _noted(opening: AbstractContextManager[Executor], folder: RunFolder) -> Iterator[Executor]:
    """Open an executor, and record the address of its dashboard."""
    with opening as executor:
        folder.note_dashboard(executor.dashboard)
        yield executor


@contextmanager
def _reporting_the_end(reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        reporter.report(Progress(Phase.STOPPED, message=str(error) or type(error).__name__))
        raise
    reporter.report(Progress(Phase.DONE))


@dataclass(frozen=True, slots=True)
class _Run:
    """A run with its plan."""

    survey: OpenedSurvey
    plan: Plan
    folder: RunFolder
    reporter: Reporter
    lock: RunLock
    start: float
    precision: Precision

    @property
    def root(self) -> Path:
        return self.survey.workflow.output.root


def _nothing_to_do(run: _Run) -> RunResult | None:
    """The result of a run that finds everything published already; None if there is something to do."""
    kept = run.plan.having(Decision.KEEP)
    if len(kept) < len(run.plan.units):
        return None
    units = PlanOutcome(kept=(), done=(), failures={}, n_dropped=0).counts | {"kept": len(kept)}
    return _already_published(run, {planned.key for planned in kept}, {}, units)


def _already_published(
    run: _Run, keys: Collection[str], failures: Mapping[str, str], units: Mapping[str, int]
) -> RunResult | None:
    """The result if readers have these units already, or a held revision has them; None if no revision has."""
    hold = revision_with(run.survey, run.plan, keys, failures)
    if hold is None:
        return None
    return _result(run.root, hold.revision, units, failed_units=failures, published=False, held=hold.reasons)


def _work_and_publish(run: _Run, executor: LateExecutor) -> RunResult:
    with remembering(run.survey, run.plan) as note:
        outcome = carry_out(run.survey, run.plan, executor, run.reporter, note)
    plan, outcome = with_all_keys(run.survey, run.plan, outcome, executor, run.reporter, precision=run.precision)
    run = replace(run, plan=plan)
    for _ in range(MOST_REPAIRS):
        try:
            return _finish(run, outcome, executor)
        except UnitDamaged as error:
            damaged = {error.key: str(error)} | damaged_units(run.root, outcome.receipts)
            again = run.plan.doing_again(damaged)
            done = repair(run.survey, again, executor, run.reporter)
            outcome = outcome.after(done, damaged)
    return _finish(run, outcome, executor)


def _finish(run: _Run, outcome: PlanOutcome, executor: LateExecutor) -> RunResult:
    check_constant(run.survey.files)
    run.lock.check()
    if outcome.failures and not outcome.receipts:
        name, error = next(iter(outcome.failures.items()))
        raise UnitError(
            f"None of the {len(outcome.failures)} units could be finished, so nothing was published. "
            f"The first to fail was {name}: {error}"
        )
    keys = {receipt.key for receipt in outcome.receipts}
    if same := _already_published(run, keys, outcome.failures, outcome.counts):
        return same
    run.reporter.report(Progress(Phase.PUBLISH, message=run.survey.workflow.survey.release))
    revision = _publish(run, outcome, executor)
    repaired, held = outcome.repaired, revision.held
    return _result(run.root, revision, outcome.counts, failed_units=outcome.failures, repaired_units=repaired, held=held)


def _publish(run: _Run, outcome: PlanOutcome, executor: LateExecutor) -> Revision:
    from surveyflow.reports.page import REPORT, write_report

    if not run.survey.lists.kept_is_intact():
        folder = run.survey.lists.folder
        remove_any(folder)
        raise SourceListError(f"{folder} was damaged, so nothing was published. Run again: the lists are read again.")
    manifest = describe_run(run.survey, run.plan, outcome, run.folder.run_id, time.monotonic() - run.start)
    check_constant(run.survey.files)  # the manifest has digests of the source lists, read again just now
    current = latest(run.root)
    before = None if current is None else current.path
    main = [receipt for receipt in outcome.receipts if not is_alternative(receipt.name)]
    further = [receipt for receipt in outcome.receipts if is_alternative(receipt.name)]
    # On NFS, a mapped file that is removed stays under another name, and its folder cannot be removed.
    with TemporaryDirectory(dir=run.folder.path, ignore_cleanup_errors=True) as scratch:
        failed = _failed_rows(run, outcome, Path(scratch, "failed.arrow"))
        beside = _failed_rows(run, outcome, Path(scratch, "alternatives.arrow"), alternative=True)
        return publish(
            run.root,
            run.survey.workflow.survey.release,
            main,
            failed,
            manifest,
            kept=run.survey.lists.kept,
            alternatives=Alternatives(further, beside, run.survey.lists.kept_beside),
            decorate=lambda building: write_report(building, building / REPORT, before),
            judge=lambda building: judge(before, building, run.survey.workflow.publish.guard),
            guard=run.lock.check,
            do=executor.carry_out if executor.is_open or run.survey.n_sources > ROWS_PUBLISHED_ALONE else in_this_process,
        )


def _failed_rows(run: _Run, outcome: PlanOutcome, path: Path, *, alternative: bool = False) -> pa.Table | None:
    """Rows of the sources whose units failed: they stay in the catalog, or in the alternatives, without results.

    They are in a file, with a batch for each unit, and mapped into memory: half of a survey may have failed.
    """
    every = (planned.unit for planned in run.plan.units if planned.unit and planned.name in outcome.failures)
    failed = [unit for unit in every if is_alternative(unit.name) == alternative]
    if not failed:
        return None
    with explained(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, CATALOG_SCHEMA) as file:
        for unit in failed:
            file.write_table(settled_rows(run.survey.lists.sources_of(unit), None, Status.FAILED))
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
