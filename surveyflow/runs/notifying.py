"""Telling the outside world that a revision was published: the workflow's ``[publish] notify`` command."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

logger = logging.getLogger(__name__)

_MOST_SHOWN = 500


def notify(command: str, facts: Mapping[str, str], timeout_s: float) -> bool:
    """Run a command, to its end or the end of its time; whatever becomes of it is logged and never raised.

    Parameters
    ----------
    command
        Parted into words as a shell would, and given to no shell.
    facts
        Added to its environment.
    timeout_s
        Seconds after which it is ended, with all that it started in its own process group.

    Returns
    -------
    Whether it succeeded.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            shlex.split(command),
            env={**os.environ, **facts},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        logger.warning("notify=%r could not be started: %s. The revision is published all the same.", command, error)
        return False
    with process:
        try:
            written, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            logger.warning("notify=%r was ended after %g s. The revision is published all the same.", command, timeout_s)
            return False
    words = written.decode(errors="replace").strip()[-_MOST_SHOWN:]
    if process.returncode:
        what = "notify=%r ended with %d: %s. The revision is published all the same."
        logger.warning(what, command, process.returncode, words or "it wrote nothing")
    else:
        logger.info("notify=%r succeeded: %s", command, words)
    return process.returncode == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
