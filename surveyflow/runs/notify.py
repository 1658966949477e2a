"""The run of the command that tells somebody what a run did: the workflow's ``[notify] command``."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO

logger = logging.getLogger(__name__)

_MOST_SHOWN = 500  # bytes
_PATIENCE_S = 5.0


def notify(command: str, facts: Mapping[str, str], timeout_s: float) -> bool:
    """Run a command until it ends or its time is up. Its failure is logged and never raised.

    Parameters
    ----------
    command
        The command; it is split into words as a shell would split it, but no shell runs it.
    facts
        Variables to add to its environment.
    timeout_s
        Seconds after which the command is ended, with every process of its process group. Processes that it leaves in the
        background are not waited for.

    Returns
    -------
    Whether it succeeded.
    """
    with tempfile.TemporaryFile() as output:  # a pipe would stay open as long as any process that the command started
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                shlex.split(command),
                env={**os.environ, **facts},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            logger.warning("notify=%r could not be started: %s. Nothing else depends on it.", command, error)
            return False
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            logger.warning("notify=%r was ended after %g s. Nothing else depends on it.", command, timeout_s)
            return False
        except BaseException:  # the run itself is ended; the command has its own session and would continue
            _end(process)
            raise
        return _log_end(command, status, _last_words(output))


def _log_end(command: str, status: int, words: str) -> bool:
    """Log how the command ended; return whether it succeeded."""
    if status:
        what = "notify=%r ended with %d: %s. Nothing else depends on it."
        logger.warning(what, command, status, words or "it wrote nothing")
    else:
        logger.info("notify=%r succeeded: %s", command, words)
    return status == 0


def _last_words(output: BinaryIO) -> str:
    n_bytes = output.seek(0, os.SEEK_END)
    output.seek(max(0, n_bytes - _MOST_SHOWN))
    return output.read(_MOST_SHOWN).decode(errors="replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # not even SIGKILL ends a process that waits for a dead file server
        process.wait(_PATIENCE_S)
