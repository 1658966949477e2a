"""The digests of the tiles' windows, which show whether pixels have changed: from the cache, or computed by the workers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaics import Mosaic
from surveyflow.measuring.orders import DigestWindow, PlannedMosaic
from surveyflow.output.digest_cache import DigestCache
from surveyflow.output.run_folders import Phase
from surveyflow.planning.units import WorkUnit
from surveyflow.runs.execute import LateExecutor
from surveyflow.runs.preflight import OpenedSurvey
from surveyflow.runs.progress import Reporter
from surveyflow.values.images import Box
from surveyflow.values.jobs import Job

SECONDS_BETWEEN_SAVES = 60.0
"""A run that is killed while it reads a large mosaic loses at most this time, seconds."""


@dataclass(frozen=True, slots=True)
class _Window:
    """The window of one unit."""

    name: str
    box: Box
    mosaic: Mosaic
    stated_unit: str | None
    cache: DigestCache

    @property
    def job(self) -> Job:
        return Job(self.name, DigestWindow(PlannedMosaic.of(self.mosaic, self.stated_unit), self.box))


def window_digests(
    survey: OpenedSurvey, units: Sequence[WorkUnit], executor: LateExecutor, reporter: Reporter
) -> dict[str, Mapping[str, str]]:
    """Digest every tile's window, by unit name: ``science`` and ``weight``.

    Parameters
    ----------
    survey
        The opened inputs.
    units
        All units; those without a tile are skipped.
    executor
        Reads the windows that are not in the cache.
    reporter
        Receives the progress of the reading.

    Raises
    ------
    MosaicError
        If pixels cannot be read, or a file changes meanwhile.
    """
    windows = {window.name: window for window in _windows(survey, units)}
    known = {name: digests for name, window in windows.items() if (digests := window.cache.get(window.box))}
    jobs = [window.job for name, window in windows.items() if name not in known]
    if not jobs:
        return known
    saved = time.monotonic()
    try:
        for result in reporter.follow(Phase.DIGEST, jobs, executor.run(jobs)):
            if result.error is not None:
                raise MosaicError(f"The pixels of {result.job.name} could not be read: {result.error}")
            window = windows[result.job.name]
            window.cache.put(window.box, result.value)
            known[window.name] = result.value
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                _save(windows.values())
                saved = time.monotonic()
    finally:
        _save(windows.values())
    return known


def remembered_digests(survey: OpenedSurvey, units: Sequence[WorkUnit]) -> dict[str, Mapping[str, str]]:
    """Return the digests of the tiles' windows, by unit name, as far as they are in the cache.

    Parameters
    ----------
    survey
        The opened inputs.
    units
        All units; those without a tile are skipped.
    """
    return {window.name: digests for window in _windows(survey, units) if (digests := window.cache.get(window.box))}


def _save(windows: Iterable[_Window]) -> None:
    for cache in {id(window.cache): window.cache for window in windows}.values():
        cache.save()


def _windows(survey: OpenedSurvey, units: Sequence[WorkUnit]) -> list[_Window]:
    caches: dict[tuple[str, str], DigestCache] = {}
    windows = []
    for unit in units:
        if unit.instrument is None or unit.tile is None:
            continue
        opened = survey.fields[unit.field]
        mosaic = opened.mosaics[unit.instrument]
        mosaic_name = (unit.field, unit.instrument)
        if mosaic_name not in caches:
            caches[mosaic_name] = DigestCache(survey.workflow.output.root, _identity(mosaic))
        windows.append(_Window(unit.name, unit.tile.window, mosaic, opened.stated_units[unit.instrument], caches[mosaic_name]))
    return windows


def _identity(mosaic: Mosaic) -> list[list[Any]]:
    """What a mosaic's cached digests are valid for: its files, the image in each, and their state."""
    images = mosaic.images.values()
    return [[image.location, image.file.size, image.file.mtime_ns, image.file.inode] for image in images]
