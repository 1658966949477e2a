"""The runs of hostile inputs, each in a process of its own with limits, and the judgement of what became of them."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from hostile.families import FAMILIES
from hostile.world import Attempt, World, make_world, run_here
from surveyflow.releases.revisions import latest, read_catalog
from surveyflow.releases.verify import judge

MOST_S = 10.0
MOST_BYTES = 2 * 2**30
ADDRESS_SPACE = 12 * 2**30
"""Virtual memory that a process may map; an allocation beyond it fails, so that the machine is not endangered."""
BUSY = 4
"""Factor by which a busy machine may lengthen the time that a process is given."""
CODES = {0, 1, 2, 3, 4}
DEVICES = ("/dev/null", "/dev/zero")
"""Names that inputs hold, or that programs need; whoever runs the campaign as root could lose them."""
NOBODY = 65_534
_PREPARED_S, _JUDGED_S = 60.0, 60.0
_FOREIGN = re.compile(r"Traceback|Unexpected \w+|Unforeseen|\b(Type|Index|Key|Attribute|Assertion|UnboundLocal|Recursion)Error\b")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass
class Outcome:
    """What became of one input.

    Parameters
    ----------
    family, number
        Its name.
    commands, codes
        What was run, and the exit codes.
    seconds, peak_mb
        Duration without the time spent waiting for a processor, and peak resident memory.
    faults
        What is wrong, in words; empty if nothing is.
    text
        What was printed.
    tries
        How often it was run: a slow one is run once more, because the machine may be busy.
    modules
        Modules that the run loaded, for the unbroken world.
    """

    family: str = ""
    number: int = 0
    commands: list[list[str]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: float = 0.0
    faults: list[str] = field(default_factory=list)
    text: str = ""
    tries: int = 1
    modules: list[str] = field(default_factory=list)


class Campaign:
    """A world that is copied and broken for every input.

    Parameters
    ----------
    folder
        An empty folder.
    seed
        Decides everything that is random.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        folder.chmod(0o755)
        made = self._in_child(lambda report: _publish_base(folder / "base", report), 300.0)
        if made.faults or made.codes != [0]:
            raise AssertionError(f"the unbroken world cannot be run: {made}")
        for module in made.modules:  # a forked process has them already
            with suppress(ImportError):
                import_module(module)

    def attempt(self, family: str, number: int) -> Outcome:
        """Break the world, run it and judge it."""
        outcome = self._once(family, number)
        if outcome.seconds > MOST_S:
            outcome = self._once(family, number)
            outcome.tries = 2
        if outcome.seconds > MOST_S:
            outcome.faults.append(f"took more than {MOST_S:g} s")
        return outcome

    def _once(self, family: str, number: int) -> Outcome:
        world = World(self._folder / "world", np.random.default_rng([self._seed, zlib.crc32(family.encode()), number]))
        shutil.rmtree(world.folder, ignore_errors=True)
        shutil.copytree(self._folder / "base", world.folder, symlinks=True)
        outcome = self._in_child(lambda report: _try(world, family, report), BUSY * MOST_S)
        outcome.family, outcome.number = family, number
        return outcome

    def _in_child(self, action: Callable[[Callable[[], None]], Outcome], most_s: float) -> Outcome:
        """Run an action in a forked process, which reports when its preparations have ended, and its commands."""
        result, printed = self._folder / "result.json", self._folder / "printed"
        result.unlink(missing_ok=True)
        printed.unlink(missing_ok=True)
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            _live(action, result, printed, write_end)
        os.close(write_end)
        try:
            fault = _watched(read_end, most_s)
        finally:
            os.close(read_end)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if fault is None and result.exists():
            return Outcome(**json.loads(result.read_text()))
        text = printed.read_text(errors="replace") if printed.exists() else ""
        slow = fault == "slow"
        return Outcome(seconds=most_s + 1 if slow else 0.0, faults=[] if slow else [f"{fault or 'died'} ({status})"], text=text)


def inputs(n_inputs: int, families: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """Names and numbers of inputs, spread evenly over families."""
    names = list(families or FAMILIES)
    for count in range(n_inputs):
        yield names[count % len(names)], count // len(names)


def _watched(read_end: int, most_s: float) -> str | None:
    """Wait for a child's three reports; what is wrong if one does not come."""
    waits = {"not prepared": _PREPARED_S + most_s, "slow": most_s, "not judged": _JUDGED_S}
    for fault, seconds in waits.items():
        ready, _, _ = select.select([read_end], [], [], seconds)
        if not ready:
            return fault
        if not os.read(read_end, 1):
            return "died"
    return None


def _live(action: Callable[[Callable[[], None]], Outcome], result: Path, printed: Path, write_end: int) -> None:
    """The life of a child: it never returns."""
    try:
        os.setsid()
        sink = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)
        os.environ["PRINTED"] = str(printed)
        outcome = action(lambda: os.write(write_end, b"."))
        unfinished = result.with_suffix(".part")
        unfinished.write_text(json.dumps(asdict(outcome)))
        unfinished.rename(result)
        os.write(write_end, b".")
    except BaseException:  # noqa: BLE001 - whatever it is must not run on in the parent's code
        traceback.print_exc()
    finally:
        time.sleep(0.05 if not result.exists() else 0)
        os._exit(0)


def _publish_base(folder: Path, report: Callable[[], None]) -> Outcome:
    folder.mkdir()
    make_world(folder)
    os.chdir(folder)
    report()
    code = run_here(["run", "workflow.toml", "--profile", "serial", "--engine", "fft"])
    report()
    return Outcome(codes=[code], modules=sorted(name for name in sys.modules if name.isascii() and not name.startswith("_")))


def _try(world: World, family: str, report: Callable[[], None]) -> Outcome:
    before = _published(world)
    attempt = FAMILIES[family](world)
    os.chdir(world.folder)
    outcome = Outcome(commands=[list(command) for command in attempt.commands])
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, resource.RLIM_INFINITY))
    report()
    start = time.monotonic() - _waited_s()
    outcome.codes = _run_all(attempt)
    threading._shutdown()
    outcome.seconds = time.monotonic() - _waited_s() - start if attempt.environment is None else _worked_s()
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    outcome.peak_mb = max(usage) / 1024
    sys.stdout.flush()
    report()
    outcome.text = Path(os.environ["PRINTED"]).read_bytes().decode(errors="backslashreplace")
    outcome.faults = [*_faults(outcome), *_faults_of_catalog(world, attempt, outcome, before)]
    return outcome


def _waited_s() -> float:
    """How long this process has waited for a processor, seconds; of a process of its own, only its work is counted."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def _worked_s() -> float:
    """How long processes that this one started have computed, seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run_all(attempt: Attempt) -> list[int]:
    if attempt.environment is not None:
        return [_run_apart(command, attempt.environment) for command in attempt.commands]
    if attempt.as_nobody:
        os.setgroups([])
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        return [run_here(command) for command in attempt.commands]
    finally:
        os.setresuid(0, 0, 0) if attempt.as_nobody else None


def _run_apart(command: Sequence[str], environment: dict[str, str]) -> int:
    program = [sys.executable, "-m", "surveyflow", *command]
    return subprocess.run(program, env=os.environ | environment, check=False, timeout=60).returncode


def _faults(outcome: Outcome) -> Iterator[str]:
    if not set(outcome.codes) <= CODES:
        yield f"exit codes {outcome.codes}"
    if found := _FOREIGN.search(outcome.text):
        yield f"printed {found[0]!r}"
    if found := _CONTROLS.search(outcome.text):
        yield f"printed the control character {found[0]!r}"
    if outcome.peak_mb * 2**20 > MOST_BYTES:
        yield f"used {outcome.peak_mb:.0f} MB"
    yield from (f"replaced the device {device}" for device in DEVICES if not Path(device).is_char_device())


Published = dict[str, pd.DataFrame]


def _published(world: World) -> Published:
    """The table of what is published, by name of the revision."""
    revision = latest(world.root)
    assert revision is not None
    return {revision.name: read_catalog(world.root).sort_values("source_id")}


def _faults_of_catalog(world: World, attempt: Attempt, outcome: Outcome, before: Published) -> Iterator[str]:
    if attempt.root_is_broken:
        return
    (name, table), revision = next(iter(before.items())), latest(world.root)
    if revision is None:
        yield "latest is gone"
        return
    yield from (
        f"{verdict.revision}: {problem}"
        for verdict in map(judge, (world.root / "releases").iterdir())
        for problem in verdict.problems
    )
    if revision.name == name or 0 not in {*outcome.codes}.union({0} if 3 in outcome.codes else ()):
        return
    new = read_catalog(world.root).sort_values("source_id")
    if attempt.rows is not None and len(new) != attempt.rows:
        yield f"{len(new)} rows were published, expected {attempt.rows}"
    yield from _other_results(table, new, attempt.unspoilt)


def _other_results(before: pd.DataFrame, after: pd.DataFrame, ids: Sequence[int]) -> Iterator[str]:
    if not ids:
        return
    columns = [column for column in before if column not in ("unit_key", "flags", "weight_median")]
    one, other = (table[table["source_id"].isin(ids)][columns].reset_index(drop=True) for table in (before, after))
    try:
        pd.testing.assert_frame_equal(one, other, check_dtype=False)
    except AssertionError as error:
        yield f"other results for unspoilt sources: {' '.join(str(error).split())[:300]}"
