"""The start of other Python processes: their environment, and the refusal of scripts that each of them would run again.

A new process imports the script that began all this (`multiprocessing`). If the script does its work without a guard, each
process would do it again, start processes of its own, and so on. Such a process ends at once, without a word, and leaves a mark.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from surveyflow.errors import ClusterError

MARK_VARIABLE = "SURVEYFLOW_UNGUARDED"
"""Environment variable of processes that surveyflow starts: the file that one of them makes if it would do all the work again."""

_HOME = Path(__file__).parents[2]
"""The folder from which this package is imported: that of a checkout stays on the path."""


def refuse_to_start_again() -> None:
    """End this process if it is one that surveyflow is just starting: the script that it imports has no guard."""
    mark = os.environ.get(MARK_VARIABLE)
    if mark and getattr(multiprocessing.current_process(), "_inheriting", False):
        Path(mark).touch()
        os._exit(1)


def check_guard(mark: Path) -> None:
    """Explain why processes did not start, if they left the mark.

    Raises
    ------
    ClusterError
        If they did.
    """
    if mark.exists():
        raise ClusterError(
            "the script that called surveyflow would run again from its first line in each process that it starts. Put what the "
            'script does under `if __name__ == "__main__":`.'
        ) from None


@contextmanager
def child_environment(mark: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Set the environment of processes that start meanwhile, then restore this one's.

    They import nothing from the working folder, where a user's ``select.py`` may lie: neither on their own account
    (``PYTHONSAFEPATH``), nor because this process would, whose path they take over.

    Parameters
    ----------
    mark
        The file that tells `check_guard` of a script without a guard.
    variables
        Further environment variables.
    """
    before = dict(os.environ)
    hidden = [""] if "" in sys.path and Path.cwd() != _HOME else []
    os.environ.update({**variables, MARK_VARIABLE: str(mark), "PYTHONSAFEPATH": "1"})
    sys.path[:] = [place for place in sys.path if place not in hidden]
    try:
        yield
    finally:
        sys.path[:0] = hidden
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
