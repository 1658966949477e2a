"""Telling the outside world that a revision was published: the workflow's ``[publish] notify`` command."""

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
    """Run a command, to its end or the end of its time; whatever becomes of it is logged and never raised.

    Parameters
    ----------
    command
        Parted into words as a shell would, and given to no shell.
    facts
        Added to its environment.
    timeout_s
        Seconds after which it is ended, with all that it started in its own process group. What it leaves in the background
        is not waited for.

    Returns
    -------
    Whether it succeeded.
    """
    with tempfile.TemporaryFile() as output:  # a pipe would stay open for as long as anything that the command started
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
            logger.warning("notify=%r could not be started: %s. The revision is published all the same.", command, error)
            return False
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            logger.warning("notify=%r was ended after %g s. The revision is published all the same.", command, timeout_s)
            return False
        except BaseException:  # the run itself is ended: the command stands in a session of its own and would go on
            _end(process)
            raise
        return _told(command, status, _last_words(output))


def _told(command: str, status: int, words: str) -> bool:
    """Log how the command ended; whether that was well."""
    if status:
        what = "notify=%r ended with %d: %s. The revision is published all the same."
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
    with suppress(subprocess.TimeoutExpired):  # not even SIGKILL ends what waits for a dead file server
        process.wait(_PATIENCE_S)
