"""The simulation of a set of records: in parallel, shard by shard; complete shards are kept.

Processes draw blocks of examples. This process writes them in order, so that the same file gives the same shards, whatever the
number of processes.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from surveyflow.errors import InputError, RecordError
from surveyflow.execution.child_processes import check_guard, child_environment, refuse_to_start_again
from surveyflow.files.durable import explained
from surveyflow.models.quiet_tensorflow import import_tensorflow
from surveyflow.settings.simulation import SimulationTable
from surveyflow.simulation.examples import Example
from surveyflow.simulation.nuisances import DRAWN
from surveyflow.training.records.drawing import draw_examples, prepare, simulation_settings
from surveyflow.training.records.record_index import (
    RecordIndex,
    Shard,
    find_index,
    settings_digest,
    shard_name,
    whole_shards,
    write_index,
)
from surveyflow.values import remedies

_log = logging.getLogger(__name__)

UNIT = "electron/s"
BLOCK = 32
"""Number of examples that a process draws at a time."""

_BLOCKS_AHEAD = 3
_BYTES_BESIDE_THE_IMAGE = 500
_LEAST_SHARDS = 8
"""A set of several blocks has at least so many shards, so that stopping a simulation loses little of it."""


@dataclass(frozen=True, slots=True)
class SimulationProgress:
    """The progress of a simulation.

    Parameters
    ----------
    done, total
        Number of examples of this run that are drawn and written, and of all that it has to write.
    kept
        Number of examples in shards that were complete already.
    """

    done: int
    total: int
    kept: int


Listener = Callable[[SimulationProgress], None]


def simulate(simulation: SimulationTable, *, n_processes: int | None = None, listener: Listener | None = None) -> RecordIndex:
    """Write a set of records, or the part of it that is missing.

    Parameters
    ----------
    simulation
        What to simulate, and where to write it.
    n_processes
        Number of processes that draw; as many as there are cores if left out. With 1, this process draws.
    listener
        Called before the first example and after every block.

    Returns
    -------
    The index of the complete set.

    Raises
    ------
    InputError
        If TensorFlow, or galsim, photutils or h5py, of the extra ``train``, are needed and not installed, or if stamps or the
        background's mosaic cannot be used.
    RecordError
        If the folder holds records of other settings.
    OutputError
        If the folder cannot be written, or its disk is full.
    """
    _check_tensorflow()
    prepare(simulation)
    folder = simulation.output
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    index = _resumed(folder, _planned(simulation))
    missing = [number for number in range(index.n_shards) if shard_name(number, index.n_shards) not in _names(index)]
    kept = sum(shard.n for shard in index.shards)
    told = _Teller(listener, index.n - kept, kept)
    with _drawn_blocks(simulation, [_indices(simulation, number, index.n_shards) for number in missing], n_processes) as blocks:
        for number, examples in zip(missing, blocks, strict=True):
            shard = _write(folder / shard_name(number, index.n_shards), map(told.passing, examples), index.provenance)
            index = replace(index, shards=tuple(sorted((*index.shards, shard), key=lambda each: each.name)))
            write_index(folder, index)
            _log.info("shard=%s n=%d bytes=%d", shard.name, shard.n, shard.bytes)
    return index


def _planned(simulation: SimulationTable) -> RecordIndex:
    settings = simulation_settings(simulation)
    return RecordIndex(
        settings=settings,
        digest=settings_digest(settings),
        field=simulation.field,
        instrument=simulation.instrument,
        band=simulation.band.name,
        pixel_scale_arcsec=simulation.band.pixel_scale_arcsec,
        size=simulation.size,
        unit=UNIT,
        n=simulation.n,
        n_shards=_n_shards(simulation),
    )


def _n_shards(simulation: SimulationTable) -> int:
    bytes_a_record = 4 * simulation.size**2 + _BYTES_BESIDE_THE_IMAGE
    by_size = round(simulation.n * bytes_a_record / (simulation.shard_mb * 1e6))
    return min(max(by_size, min(_LEAST_SHARDS, simulation.n // BLOCK), 1), simulation.n)


def _resumed(folder: Path, planned: RecordIndex) -> RecordIndex:
    """The plan, with the shards that are complete already."""
    found = find_index(folder)
    if found is None:
        write_index(folder, planned)
        return planned
    if found.digest != planned.digest:
        raise RecordError(
            f"{folder} holds records of other settings ({', '.join(_differing(planned.settings, found.settings))}). "
            f"Name another `output`, or remove the folder."
        )
    return replace(planned, n_shards=found.n_shards, shards=whole_shards(folder, found.shards))


def _differing(settings: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    return [key for key in {**settings, **others} if settings.get(key) != others.get(key)]


def _names(index: RecordIndex) -> set[str]:
    return {shard.name for shard in index.shards}


def _indices(simulation: SimulationTable, number: int, n_shards: int) -> range:
    """The examples of a shard; sizes differ by one at most."""
    edges = [simulation.first + simulation.n * edge // n_shards for edge in (number, number + 1)]
    return range(*edges)


def _write(path: Path, examples: Iterator[Example], provenance: str) -> Shard:
    # TensorFlow takes seconds to import, so it is imported only when there is something to write.
    import_tensorflow()
    from surveyflow.training.records.shards import serialised, write_shard

    labels: list[int] = []
    drawn: list[Mapping[str, float]] = []

    def records() -> Iterator[bytes]:
        for example in examples:
            labels.append(example.label)
            drawn.append(example.drawn)
            yield serialised(example, provenance)

    return replace(write_shard(path, records()), n_post_mergers=sum(labels), nuisances=_ranges(drawn))


def _ranges(drawn: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each nuisance that all examples have, to six digits."""
    values = {name: [one[name] for one in drawn if name in one] for name in DRAWN}
    return {
        name: (float(f"{min(of_name):.6g}"), float(f"{max(of_name):.6g}"))
        for name, of_name in values.items()
        if len(of_name) == len(drawn)
    }


def _check_tensorflow() -> None:
    """Refuse to simulate what could not be written."""
    if find_spec("tensorflow") is None:
        raise InputError(f"Records need TensorFlow, which is not installed: `{remedies.install('cpu')}`.")


class _Teller:
    """Counts examples as they pass, and reports every block to the listener."""

    def __init__(self, listener: Listener | None, total: int, kept: int) -> None:
        self._listener = listener
        self._done, self._total, self._kept = 0, total, kept
        self._tell()

    def passing(self, example: Example) -> Example:
        self._done += 1
        if self._done % BLOCK == 0 or self._done == self._total:
            self._tell()
        return example

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener(SimulationProgress(self._done, self._total, self._kept))


@contextmanager
def _drawn_blocks(
    simulation: SimulationTable, shards: list[range], n_processes: int | None
) -> Iterator[Iterator[Iterator[Example]]]:
    """The examples of each shard, which other processes draw ahead of their use."""
    n_processes = n_processes or os.cpu_count() or 1
    draw = partial(draw_examples, simulation)
    blocks = [shard[start : start + BLOCK] for shard in shards for start in range(0, len(shard), BLOCK)]
    if n_processes == 1 or len(blocks) <= 1:
        yield _by_shard(map(draw, blocks), shards)
        return
    with started_pool(min(n_processes, len(blocks))) as pool:
        yield _by_shard(_ahead(pool, draw, blocks, _BLOCKS_AHEAD * n_processes), shards)


@contextmanager
def started_pool(n_processes: int) -> Iterator[Executor]:
    """Start processes that end with the block, or with this process.

    Raises
    ------
    ClusterError
        If the script that began all this has no guard.
    """
    refuse_to_start_again()
    with tempfile.TemporaryDirectory(prefix="surveyflow-") as folder, child_environment(mark := Path(folder, "unguarded"), {}):
        pool = ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"), initializer=_attach_to_parent)
        try:
            yield pool
        except BrokenProcessPool:
            check_guard(mark)
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _by_shard(blocks: Iterator[list[Example]], shards: list[range]) -> Iterator[Iterator[Example]]:
    examples = (example for block in blocks for example in block)
    return ((next(examples) for _ in shard) for shard in shards)


def _ahead(pool: Executor, draw: Callable[[range], list[Example]], blocks: list[range], n_ahead: int) -> Iterator[list[Example]]:
    """Yield blocks in order; only a limited number is drawn or waiting, so that memory suffices."""
    coming = iter(blocks)
    waiting = deque(pool.submit(draw, block) for block in islice(coming, n_ahead))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(draw, block) for block in islice(coming, 1))


def _attach_to_parent() -> None:
    """Leave interrupts to the process that writes, and end with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
