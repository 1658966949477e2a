"""The plan of a run: units, the digests of their pixels and their keys, compared with the receipts on disk."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from surveyflow.catalog.schema import UNIT_SCHEMA_VERSION
from surveyflow.errors import SurveyflowError, UnitError
from surveyflow.execution.jobs import describe
from surveyflow.inputs.mosaics import Mosaic
from surveyflow.measuring.orders import DigestWindow, PlannedMosaic
from surveyflow.measuring.unit import ALGORITHM_VERSION
from surveyflow.output.digest_cache import DigestCache
from surveyflow.output.run_folders import Phase
from surveyflow.output.units import ReceiptsOnDisk, find_unit, read_receipt, read_unit
from surveyflow.planning.expectations import Expectation, expectations, seconds_each
from surveyflow.planning.plan import (
    NOT_READ,
    Decision,
    KeyParts,
    Plan,
    decide,
    is_read,
    key_parts,
    pixels_of,
    unit_key,
    without_pixels,
)
from surveyflow.planning.source_changes import COMPARED_COLUMNS, SourceChanges, compare_sources
from surveyflow.planning.units import WorkUnit
from surveyflow.releases.holds import Hold, waiting
from surveyflow.releases.publish import latest, read_manifest
from surveyflow.runs.execute import LateExecutor, PlanOutcome, Reporter
from surveyflow.runs.preflight import OpenedSurvey, check_constant
from surveyflow.values.codes import Precision
from surveyflow.values.images import Box
from surveyflow.values.jobs import Job, JobResult, Receipt
from surveyflow.values.made import Made

DIGESTED_HERE_BYTES = 2**29
"""Pixels up to this size are digested by the process that plans: it holds the files open, and workers would open them again."""
SECONDS_BETWEEN_SAVES = 60.0
"""A run that is killed while it reads a large mosaic loses at most this time, seconds."""
_UNREADABLE = {"science": "unreadable", "weight": "unreadable"}
"""What stands for the digests of a window that cannot be read. No result has such a key, so the next run tries the unit again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Window:
    """The window of one unit."""

    name: str
    box: Box
    mosaic: Mosaic
    cache: DigestCache
    by_tag: Mapping[str, str] | None

    @property
    def place(self) -> tuple[int, Box]:
        """What windows of the same pixels have in common."""
        return id(self.cache), self.box

    @property
    def digests(self) -> Mapping[str, str] | None:
        """Its digests, if they are known without reading pixels."""
        return self.by_tag or self.cache.get(self.box)

    @property
    def job(self) -> Job:
        return Job(self.name, DigestWindow(PlannedMosaic.of(self.mosaic), self.box))

    @property
    def n_bytes(self) -> int:
        height, width = self.box.clipped(self.mosaic.shape).shape
        return len(self.mosaic.images) * height * width * np.dtype(np.float32).itemsize

    def digested(self) -> JobResult:
        """Digest the window in this process."""
        try:
            digests = self.mosaic.digests(self.box)
            PlannedMosaic.of(self.mosaic).check_unchanged()
        except SurveyflowError as error:
            return JobResult(self.job, error=describe(error))
        return JobResult(self.job, digests)


@dataclass(frozen=True, slots=True)
class WindowDigests:
    """The digests of the windows of a survey's tiles.

    Parameters
    ----------
    known
        Digests by unit name: ``science`` and ``weight``.
    unreadable
        Why the pixels of the other windows cannot be read, in words, by unit name.
    """

    known: Mapping[str, Mapping[str, str]]
    unreadable: Mapping[str, str]

    def of(self, unit: WorkUnit) -> Mapping[str, str] | None:
        """The digests of a unit's window, or what stands for them if it cannot be read; None for a unit without a tile."""
        return _UNREADABLE if unit.name in self.unreadable else self.known.get(unit.name)


def window_digests(of_units: Sequence[_Window], executor: LateExecutor, reporter: Reporter) -> WindowDigests:
    """Digest the windows of units. One that cannot be read is named with the reason; the others are digested.

    Parameters
    ----------
    of_units
        The windows.
    executor
        Reads the windows that are not in the cache, unless they are small or the executor's workers are this process.
    reporter
        Receives the progress of the reading.

    Raises
    ------
    InputsChanged
        If a window cannot be read, and a file of its mosaic has changed.
    """
    windows = {window.name: window for window in of_units}
    unknown = {window.place: window for window in windows.values() if window.digests is None}
    to_read = list(unknown.values())  # each window once, whatever the number of units that need it
    unreadable: dict[tuple[int, Box], str] = {}
    if not to_read:
        return WindowDigests(_known(windows.values()), {})
    here = executor.in_this_process or sum(window.n_bytes for window in to_read) <= DIGESTED_HERE_BYTES
    jobs = Made(len(to_read), lambda number: to_read[number].job)
    results = (window.digested() for window in to_read) if here else executor.run(jobs)
    saving = _Saving([window.cache for window in windows.values()])
    try:
        for result in reporter.follow(Phase.DIGEST, len(to_read), results):
            window = windows[result.job.name]
            if result.error is None:
                window.cache.put(window.box, result.value)
            else:
                logger.error("unit=%s its pixels cannot be read: %s", window.name, result.error)
                check_constant(window.mosaic.files)
                unreadable[window.place] = result.error
            saving.now_and_then()
    finally:
        saving.save()
    reasons = {name: unreadable[window.place] for name, window in windows.items() if window.place in unreadable}
    return WindowDigests(_known(windows.values()), reasons)


def remembered_digests(survey: OpenedSurvey, units: Sequence[WorkUnit]) -> dict[str, Mapping[str, str]]:
    """Return the digests of the tiles' windows, by unit name, as far as they are in the cache.

    Parameters
    ----------
    survey
        The opened inputs.
    units
        All units; those without a tile are skipped.
    """
    return _known(_windows(survey, units))


def _known(windows: Iterable[_Window]) -> dict[str, Mapping[str, str]]:
    return {window.name: digests for window in windows if (digests := window.digests)}


class _Saving:
    """Saves caches once a minute."""

    def __init__(self, caches: Iterable[DigestCache]) -> None:
        self._caches = {id(cache): cache for cache in caches}
        self._saved = time.monotonic()

    def now_and_then(self) -> None:
        """Save if the last time is a minute ago."""
        if time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        for cache in self._caches.values():
            cache.save()
        self._saved = time.monotonic()


def _windows(survey: OpenedSurvey, units: Sequence[WorkUnit]) -> list[_Window]:
    caches: dict[tuple[str, str, int], DigestCache] = {}
    windows = []
    for unit in units:
        if unit.instrument is None or unit.tile is None:
            continue
        mosaics = survey.fields[unit.field].mosaics[unit.instrument]
        mosaic, place = mosaics.mosaics[unit.mosaic], (unit.field, unit.instrument, unit.mosaic)
        if place not in caches:
            caches[place] = DigestCache(survey.workflow.output.root, _identity(mosaic))
        by_tag = mosaic.digests_by_tag(unit.tile.window) if survey.workflow.remote.digest == "etag" else None
        windows.append(_Window(unit.name, unit.tile.window, mosaic, caches[place], by_tag))
    return windows


def _identity(mosaic: Mosaic) -> list[list[Any]]:
    """What a mosaic's cached digests are valid for: its files, the image in each, and their state."""
    images = mosaic.images.values()
    files = [[image.location, image.file.size, image.file.mtime_ns, image.file.inode or image.file.tag] for image in images]
    return [*files, [mosaic.treatment]] if mosaic.treatment else files  # a window of other pixels has other digests


def make_plan(
    survey: OpenedSurvey,
    executor: LateExecutor,
    reporter: Reporter,
    precision: Precision = Precision.FLOAT32,
    *,
    measuring: bool = False,
) -> Plan:
    """Decide what to do with every unit of a survey.

    Parameters
    ----------
    survey
        The opened inputs.
    executor
        Reads the windows that are not in the digest cache.
    reporter
        Receives the progress of the reading.
    precision
        Precision of the models' trunks.
    measuring
        Whether the units are done next. Then windows are left to those who measure them, if no result is known that could have
        their pixels; these units have no key before that.
    """
    units, root = survey.lists.units, survey.workflow.output.root
    published, windows = published_receipts(root), _windows(survey, units)
    unread = _unread(survey, windows, published, precision) if measuring else frozenset()
    digests = window_digests([window for window in windows if window.name not in unread], executor, reporter)
    pixels = ((unit, NOT_READ if unit.name in unread else digests.of(unit)) for unit in units)
    keyed = [(unit, _parts(survey, unit, of_unit, precision)) for unit, of_unit in pixels]
    finished, damaged = _results_on_disk(root, (unit_key(parts) for unit, parts in keyed if is_read(unit, parts)))
    pending = [(unit, parts) for unit, parts in keyed if unit_key(parts) not in finished]
    plan = decide(keyed, finished, published, _source_changes(survey, pending, published), damaged, unreadable=digests.unreadable)
    return replace(plan, kept_changed=_kept_digest(root) not in (None, survey.kept_digest))


def _results_on_disk(root: Path, keys: Iterable[str]) -> tuple[set[str], dict[str, str]]:
    """The keys of the units whose results are on disk, and what is wrong with results that are damaged, by key."""
    finished, damaged = set(), {}
    for key in keys:
        found = find_unit(root, key)
        if found.receipt is not None:
            finished.add(key)
        elif found.damage:
            damaged[key] = found.damage
    return finished, damaged


def _unread(
    survey: OpenedSurvey, windows: Sequence[_Window], published: Mapping[str, Receipt], precision: Precision
) -> frozenset[str]:
    """Names of the units whose pixels nobody has read, and of which no published result has the other parts of the key.

    A window that several units need is read once for all of them, so these units are not among them.
    """
    needed = Counter(window.place for window in windows)
    alone = {window.name for window in windows if needed[window.place] == 1 and window.digests is None}

    def is_new(unit: WorkUnit) -> bool:
        previous = published.get(unit.name)
        return previous is None or without_pixels(previous.parts) != _parts(survey, unit, NOT_READ, precision)

    return frozenset(unit.name for unit in survey.lists.units if unit.name in alone and is_new(unit))


@contextmanager
def remembering(survey: OpenedSurvey, plan: Plan) -> Iterator[Callable[[str, Mapping[str, str]], None]]:
    """Remember the digests of windows that are read while they are measured.

    Parameters
    ----------
    survey
        The opened inputs.
    plan
        Every unit.

    Yields
    ------
    What notes the parts of the key of a unit, by its name. They are written once a minute, and when the block ends.
    """
    units = [planned.unit for planned in plan.without_key if planned.unit is not None]
    windows = {window.name: window for window in _windows(survey, units)}
    cached = _Saving([window.cache for window in windows.values()])

    def note(name: str, parts: Mapping[str, str]) -> None:
        windows[name].cache.put(windows[name].box, pixels_of(parts))
        cached.now_and_then()

    try:
        yield note
    finally:
        cached.save()


def with_all_keys(
    survey: OpenedSurvey, plan: Plan, outcome: PlanOutcome, executor: LateExecutor, reporter: Reporter, *, precision: Precision
) -> tuple[Plan, PlanOutcome]:
    """Complete the keys of a plan once its units are done. The windows of those that failed are digested for it.

    Parameters
    ----------
    survey
        The opened inputs.
    plan
        Every unit; some may have no key.
    outcome
        What became of them.
    executor, reporter, precision
        As for `make_plan`.

    Returns
    -------
    plan
        Every unit with its key.
    outcome
        The same outcome; of a unit whose pixels cannot be read, it says so.
    """
    lacking = plan.without_key
    failed = [planned.unit for planned in lacking if planned.unit is not None and planned.name not in outcome.keyed]
    digests = window_digests(_windows(survey, failed), executor, reporter)
    found = {unit.name: _parts(survey, unit, digests.of(unit), precision) for unit in failed}
    complete = plan.with_keys({**outcome.keyed, **found}, digests.unreadable)
    reasons = {planned.name: planned.reason for planned in complete.units if planned.name in digests.unreadable}
    return complete, replace(outcome, failures={**outcome.failures, **reasons})


def revision_with(survey: OpenedSurvey, plan: Plan, keys: Collection[str], failures: Collection[str]) -> Hold | None:
    """Find a revision that holds what a run would publish: the one that readers have, without reasons, or one that is held.

    Parameters
    ----------
    survey
        The opened inputs.
    plan
        Every unit.
    keys
        Keys of the units that have results.
    failures
        Names of the units that failed.
    """
    failed = {planned.key for planned in plan.units if planned.unit and planned.name in failures}
    content = survey.workflow.survey.release, survey.kept_digest, set(keys), failed
    return next((hold for hold in _candidates(survey.workflow.output.root) if _content(hold) == content), None)


def unchanged(survey: OpenedSurvey, precision: Precision) -> Hold | None:
    """Find the revision that holds everything already, as far as that is known without reading pixels.

    Parameters
    ----------
    survey
        The opened inputs.
    precision
        Precision of the models' trunks.

    Returns
    -------
    The revision, with the reasons if it is held; None if there is something to do, or pixels must be read to know.
    """
    windows = _windows(survey, survey.lists.units)
    if any(window.cache.get(window.box) is None for window in windows):
        return None
    with ExitStack() as stack:
        plan = make_plan(survey, LateExecutor(stack, _no_executor), Reporter(()), precision)
    kept = plan.having(Decision.KEEP)
    return revision_with(survey, plan, {planned.key for planned in kept}, ()) if len(kept) == len(plan.units) else None


def _no_executor() -> NoReturn:
    raise AssertionError("nothing is read if every window is in the cache")


def _candidates(root: Path) -> Iterator[Hold]:
    """The latest revision, without reasons, and then those that are held, the newest first; these are read only if needed."""
    current = latest(root)
    if current is not None:
        yield Hold(current, ())
    yield from reversed(waiting(root))


def _content(hold: Hold) -> tuple[str, str, set[str], set[str]]:
    """What a revision was made of: the release, the kept columns, and the keys of its units, finished and failed."""
    manifest = read_manifest(hold.revision.path)
    finished, failed = ({unit.get("key", "") for unit in manifest.get(entry, ())} for entry in ("unit_keys", "failed_units"))
    return manifest.get("release", ""), manifest.get("kept_digest", ""), finished, failed


def work_by_model_group(survey: OpenedSurvey, precision: Precision = Precision.FLOAT32) -> dict[str, int]:
    """Count the sources to be measured in each model group, as far as that is known without reading pixels.

    Parameters
    ----------
    survey
        The opened inputs.
    precision
        Precision of the models' trunks.

    Returns
    -------
    Number of sources by ``FIELD/INSTRUMENT``; units whose results are known to be on disk do not count.
    """
    units = [unit for unit in survey.lists.units if unit.tile is not None]
    digests = remembered_digests(survey, units)
    root = survey.workflow.output.root
    work: Counter[str] = Counter()
    for unit in units:
        known = digests.get(unit.name)
        if known is None or read_receipt(root, unit_key(_parts(survey, unit, known, precision))) is None:
            work[unit.model_group] += unit.n_sources
    return dict(work)


def expected_of(survey: OpenedSurvey, plan: Plan | None = None) -> tuple[Expectation, ...]:
    """Count what is expected of each field and instrument.

    Parameters
    ----------
    survey
        The opened inputs.
    plan
        A plan, so that hours are those of the units to be done; without it, they are those of all sources to measure.
    """
    receipts = published_receipts(survey.workflow.output.root)
    found: list[Expectation] = []
    for name, opened in survey.fields.items():
        of_field = (receipts.get(unit) for unit in receipts if unit.split("/")[0] == name)
        own = (receipt for receipt in of_field if receipt is not None and receipt.engine)
        models = {key: [card, *opened.beside(key).values()] for key, card in opened.cards.items()}
        counts = {key: len(mosaics.mosaics) for key, mosaics in opened.mosaics.items()}
        to_do = None if plan is None else plan.sources_to_measure(name)
        found += expectations(name, survey.lists.facts[name].places, counts, seconds_each(own, models), to_do)
    return tuple(found)


def published_receipts(root: Path) -> ReceiptsOnDisk:
    """The receipts of the last published revision's units, by unit name; none without a revision."""
    revision = latest(root)
    units = () if revision is None else read_manifest(revision.path)["unit_keys"]
    return ReceiptsOnDisk(root, {unit["name"]: unit["key"] for unit in units})


def _kept_digest(root: Path) -> str | None:
    """Digest of the last published revision's kept columns; None without a revision."""
    revision = latest(root)
    return None if revision is None else str(read_manifest(revision.path).get("kept_digest", ""))


def _source_changes(
    survey: OpenedSurvey, pending: Iterable[tuple[WorkUnit, Mapping[str, str]]], published: Mapping[str, Receipt]
) -> dict[str, SourceChanges]:
    """The changes of the sources of units to be done since their published rows, if there are any."""
    changes, root = {}, survey.workflow.output.root
    for unit, parts in pending:
        previous = published.get(unit.name)
        if previous is not None and previous.parts.get("sources") != parts["sources"]:
            with suppress(OSError, pa.ArrowException, UnitError):  # a damaged file costs the plan its numbers, not the run
                rows = read_unit(root, previous.key, COMPARED_COLUMNS)
                changes[unit.name] = compare_sources(rows, survey.lists.sources_of(unit))
    return changes


def _parts(survey: OpenedSurvey, unit: WorkUnit, digests: Mapping[str, str] | None, precision: Precision) -> KeyParts:
    if unit.instrument is None:
        return key_parts(unit, schema_version=UNIT_SCHEMA_VERSION)
    opened = survey.fields[unit.field]
    mosaic = opened.mosaics[unit.instrument].mosaics[unit.mosaic]
    return key_parts(
        unit,
        schema_version=UNIT_SCHEMA_VERSION,
        pixel_digests=digests,
        mosaic_unit=mosaic.unit,
        mosaic_filter=mosaic.filter,
        psf_fwhm_arcsec=mosaic.stated.psf_fwhm_arcsec,
        treatment=mosaic.treatment,
        algorithm_version=ALGORITHM_VERSION,
        card=opened.cards[unit.instrument],
        beside=opened.beside(unit.instrument),
        sampling=survey.workflow.sampling.settings(),
        min_valid_fraction=survey.workflow.quality.min_valid_fraction,
        prevalence=survey.workflow.science.prevalence,
        precision=precision,
    )
