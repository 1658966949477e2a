"""The display of progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from surveyflow.commands.printing import plain, terminal
from surveyflow.output.run_folders import Phase, Progress

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress_listener(console: Console | None = None) -> Iterator[Callable[[Progress], None]]:
    """Show progress on stderr while the block lasts.

    Parameters
    ----------
    console
        Console to print to; stderr if left out.

    Yields
    ------
    A function to be called with every `Progress`.
    """
    console = console or Console(file=terminal(sys.stderr), markup=False)
    if not console.is_terminal:
        yield PlainLines(console)
        return
    columns = (TextColumn("{task.description:16}"), BarColumn(), TextColumn("{task.fields[told]}", markup=False))
    with Bars(*columns, console=console) as bars:
        yield _Bar(bars)


@contextmanager
def counting_listener(word: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how many things are done while the block lasts.

    Parameters
    ----------
    word
        The activity: ``simulating``.
    console
        Console to print to; stderr if left out.

    Yields
    ------
    A function to be called with the number of things that are done, and of all things.
    """
    console = console or Console(file=terminal(sys.stderr), markup=False)
    if not console.is_terminal:
        yield _PlainCount(word, console)
        return
    with Bars(*Bars.get_default_columns(), MofNCompleteColumn(), console=console) as bars:
        task = bars.add_task(word, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class _PlainCount:
    """Prints a line at the beginning and the end, and every few seconds between."""

    def __init__(self, word: str, console: Console) -> None:
        self._word = word
        self._console = console
        self._begun = time.monotonic()
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done in {0, total} or now >= self._next:
            self._next = now + SECONDS_BETWEEN_LINES
            rate = f", {done / (now - self._begun):.0f}/s" if done and now > self._begun else ""
            self._console.print(f"{self._word}: {done}/{total}{rate}", highlight=False, soft_wrap=True)


class PlainLines:
    """Prints a line when a phase begins and ends, and every few seconds between.

    Parameters
    ----------
    console
        Console to print to.
    clock
        Returns seconds, monotonic.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.phase is Phase.WORKERS:
            self._console.print(f"workers: {plain(progress.message)}", highlight=False, soft_wrap=True)
        if progress.phase is Phase.WORKERS or progress.phase.is_last:
            return
        at_an_end = progress.done in {0, progress.total}
        if at_an_end or self._clock() >= self._next:
            self._next = self._clock() + SECONDS_BETWEEN_LINES
            self._console.print(f"{progress.phase.meaning}: {plain(progress.describe())}", highlight=False, soft_wrap=True)


class _Bar:
    """Moves a bar for each phase."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.phase is Phase.WORKERS:
            self._bars.console.print(f"workers: {plain(progress.message)}", highlight=False, soft_wrap=True)
        if progress.phase is Phase.WORKERS or progress.phase.is_last:
            return
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bars.add_task(progress.phase.meaning, total=progress.total or None, told="")
        task, told = self._tasks[progress.phase], plain(progress.describe())
        self._bars.update(task, completed=progress.done, total=progress.total or None, told=told)
