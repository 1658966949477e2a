"""A run on a machine of its own: a process with another host name and another clock that holds the locks of output folders.

    python leaseholder.py HOST CLOCK_OFFSET_S LEASE_S STEP FOLDER [STEP FOLDER ...]

For each folder it prints ``held`` when it has the lock. Then it prints ``ready`` and waits for a line on its standard input: with
the step ``move`` between the check of its lease and the rename of a complete revision; with ``swap`` between the check and the
swap of ``latest``; with ``late`` before it publishes at all; with ``hold`` before it ends. Last it prints ``ended``, or the error
with its exit code.
"""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from surveyflow.errors import SurveyflowError
from surveyflow.output import holders
from surveyflow.output.lock import RunLock


def say(word):
    print(word, flush=True)


def wait():
    say("ready")
    sys.stdin.readline()


def waiting_before(rename, prefix):
    """A function that renames, but waits first if the name has this prefix."""

    def rename_later(path, target):
        if Path(path).name.startswith(prefix):
            wait()
        return rename(path, target)

    return rename_later


@contextmanager
def interrupted(step):
    """Make a publisher wait at this step."""
    rename, replace = os.rename, os.replace
    if step == "late":
        wait()
    if step == "move":
        os.rename = waiting_before(rename, ".building-")
    if step == "swap":
        os.replace = waiting_before(replace, ".latest.")
    yield
    os.rename, os.replace = rename, replace


def publish_rows(lock, root):
    from catalog_rows import make_rows
    from surveyflow.releases.publish import publish

    publish(root, "v1", [], make_rows(3), {}, guard=lock.check)


def work(host, lease_s, step, root):
    try:
        with RunLock(root, f"run-{host}", heartbeat_s=lease_s / 10, lease_s=lease_s) as lock:
            say("held")
            if step == "hold":
                wait()
            else:
                with interrupted(step):
                    publish_rows(lock, root)
        say("ended")
    except SurveyflowError as error:
        say(f"{type(error).__name__} {error.exit_code}: {error}")


def main(host, offset_s, lease_s, *steps):
    clock = time.time
    time.time = lambda: clock() + float(offset_s)
    holders.this_host = lambda: host
    for step, folder in zip(steps[::2], steps[1::2], strict=True):
        work(host, float(lease_s), step, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
