"""Publish a hundred revisions, killing every third publisher at a random call, while a reader polls ``latest``.

Then publish revisions that are held, accept them and roll them back, and kill whoever does so before each of its calls.

Run by ``test_publish.py`` in a process of its own, since it forks. Prints what the reader saw as JSON.
"""

import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from catalog_rows import make_rows
from surveyflow.output.units import sweep, write_unit
from surveyflow.releases.holds import accept, waiting
from surveyflow.releases.publish import latest, list_revisions, open_catalog, publish, read_manifest
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_digests

N_PUBLISHES = 100
CALLS = ("open", "fsync", "link", "unlink", "mkdir", "rename", "replace", "symlink", "chmod")


def receipts(root):
    tables = [make_rows(8, first_id=1 + 8 * number) for number in range(2)]
    return [write_unit(root, f"{i:064x}", f"EGS/F814W/{i}", {}, table, seconds=0, worker="") for i, table in enumerate(tables)]


def publish_extra(root, units, number, held=()):
    extra = make_rows(1 + number, field="UDS")
    created = f"2026-11-22T13:00:00.{number:03d}+00:00"
    return publish(root, "v1.0", units, extra, {"number": number, "created": created}, judge=lambda folder: held)


def be_killed(do, step):
    """Do something in a process of its own, killed before one of its calls; whether it lived to the end."""
    pid = os.fork()
    if pid == 0:
        die_before(step)
        do()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def die_before(step):
    countdown = itertools.count()

    def wrapped(call):
        def counted(*args, **kwargs):
            if next(countdown) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


def poll(root, end):
    """Read ``latest`` over and over; every revision must be whole."""
    seen = set()
    while not end.exists():
        revision = latest(root)
        manifest = read_manifest(revision.path)
        assert open_catalog(root, revision.name).count_rows() == manifest["rows"] == 17 + manifest["number"]
        if revision.name not in seen:
            check_digests(revision.path, {path: entry["sha256"] for path, entry in manifest["files"].items()})
        seen.add(revision.name)
        time.sleep(0.01)
    return len(seen)


def decide_under_fire(root, units):
    """Accept a held revision and roll it back, killed before every call: each time the old state or the new one is left.

    Returns the numbers of verbs that were killed before and after readers got the other revision.
    """
    before = latest(root).name
    held = publish_extra(root, units, N_PUBLISHES, ["It is held."]).name
    assert (latest(root).name, [hold.revision.name for hold in waiting(root)]) == (before, [held])
    killed, ended, step = Counter(), False, 0
    while not ended:
        accepted = be_killed(partial(accept, root, held), step)
        killed[f"accept, {'new' if latest(root).name == held else 'old'}"] += not accepted
        assert latest(root).name == held or waiting(root)[-1].revision.name == held
        accept(root, held)
        assert (latest(root).name, waiting(root)) == (held, [])
        rolled_back = be_killed(partial(roll_back, root, before), step)
        killed[f"rollback, {'new' if latest(root).name == before else 'old'}"] += not rolled_back
        assert latest(root).name == held or [hold.rolled_back for hold in waiting(root)] == [True]
        if latest(root).name == held:
            roll_back(root, before)
        ended, step = accepted and rolled_back, step + 1
    return killed


def start_reader(root, end, report):
    pid = os.fork()
    if pid == 0:
        report.write_text(str(poll(root, end)))
        os._exit(0)
    return pid


def main(folder):
    os.fsync = lambda descriptor: None
    root, end, report = folder / "root", folder / "end", folder / "report"
    units = receipts(root)
    publish_extra(root, units, 0)
    reader = start_reader(root, end, report)
    n_killed = 0
    rng = np.random.default_rng(5)
    for number in range(1, N_PUBLISHES):
        if number % 3 == 0:
            before, held = latest(root), ["It is held."] if number % 6 == 0 else []
            n_killed += not be_killed(partial(publish_extra, root, units, number, held), step=int(rng.integers(0, 60)))
            assert not held or latest(root) == before
        else:
            publish_extra(root, units, number)
    publish_extra(root, units, N_PUBLISHES)
    decided = decide_under_fire(root, units)
    end.touch()
    reader_status = os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1])
    publish_extra(root, units, N_PUBLISHES)
    sweep(root)
    print(
        json.dumps(
            {
                "killed": n_killed,
                "decided": decided,
                "reader_status": reader_status,
                "seen": int(report.read_text()),
                "latest_rows": latest(root).n_rows,
                "revisions": len(list_revisions(root)),
                "hidden": [path.name for path in [*root.iterdir(), *(root / "releases").iterdir()] if path.name.startswith(".")],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
