"""Kill a writer of one unit with SIGKILL before each of its calls of the operating system, and look at what is left.

Run by ``test_units.py`` in a process of its own, since it forks. Prints the number of kills as JSON.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

from catalog_rows import make_rows
from surveyflow.files.durable import file_digest
from surveyflow.output.units import read_receipt, read_unit, sweep, unit_path, write_unit

KEY = "ab" * 32
STEPS = ("open", "write", "fsync", "link", "unlink", "mkdir", "close")
ROWS = make_rows(60)


def write(root):
    return write_unit(root, KEY, "EGS/F814W/y000x000", {"seed": "7"}, ROWS, seconds=1.0, worker="test")


def die_before(step):
    """Let this process be killed before one of its calls; a write is done by half first."""
    countdown = itertools.count()

    def wrapped(name, call):
        def counted(*args, **kwargs):
            if next(countdown) == step:
                if name == "write":
                    call(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in STEPS:
        setattr(os, name, wrapped(name, getattr(os, name)))


def survives(root, step):
    pid = os.fork()
    if pid == 0:
        die_before(step)
        write(root)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def check(root, whole):
    path = unit_path(root, KEY)
    if path.exists():
        assert path.read_bytes() == whole, "a partial file has its final name"
    if path.with_suffix(".json").exists():
        assert path.exists(), "a receipt without its file"
        assert read_receipt(root, KEY, verify=True).digest == file_digest(path)


def check_next_run(root, whole):
    assert write(root) == read_receipt(root, KEY, verify=True)
    assert unit_path(root, KEY).read_bytes() == whole
    assert read_unit(root, KEY).equals(ROWS)
    sweep(root, older_than_s=-1)
    assert sorted(path.suffix for path in root.rglob("*") if path.is_file()) == [".json", ".parquet"]


def main(folder):
    write(folder / "undisturbed")
    whole = unit_path(folder / "undisturbed", KEY).read_bytes()
    for step in itertools.count():
        root = folder / str(step)
        root.mkdir()
        alive = survives(root, step)
        check(root, whole)
        check_next_run(root, whole)
        if alive:
            print(json.dumps(step))
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
