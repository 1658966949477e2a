"""A test campaign that kills processes at random moments and checks that nothing is lost, duplicated or half published.

    python scripts/kill_campaign.py --target runs=300 --target releases=600 --target trainings=40 --seed 1 --json kills.json

Targets are complete runs of a simulated survey (``runs``), the same with a local cluster, of which any process may be the victim
(``cluster``), runs that lose a worker and must finish (``workers``), the verbs on published revisions (``releases``), trainings
with their checkpoints (``trainings``), and batch jobs on a Slurm of our own that lose a worker, a node or a job and must finish
(``slurm``, needs Slurm and root). A stub computes in the place of the network; what the receipts say of it is checked after every
kill. So are the published revisions: intact, and equal to those of undisturbed processes.

A kill counts as landed if it ended its process; those that came too late are counted apart. The exit code is 0 only if
everything was equal every time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT)]

TARGETS = {
    "runs": ("kills.runs", "Runs"),
    "cluster": ("kills.runs", "LocalRuns"),
    "workers": ("kills.workers", "Workers"),
    "releases": ("kills.releases", "Releases"),
    "trainings": ("kills.trainings", "Trainings"),
    "slurm": ("kills.slurm", "SlurmNodes"),
}


def carry_out(name: str, n_kills: int, seed: int) -> dict[str, Any]:
    """Kill until the requested number has landed, then finish undisturbed.

    Returns
    -------
    The counts of the target.
    """
    module, kind = TARGETS[name]
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(getattr(importlib.import_module(module), kind)(Path(folder), seed)) as target,
    ):
        tally = target.tally
        while tally.landed.total() < n_kills:
            target.kill_once()
            tally.seconds = time.monotonic() - start
            sys.stderr.write(f"\r{name}: {tally.landed.total()} landed, {tally.too_late} too late, {tally.completed} completed ")
        target.finish()
    sys.stderr.write("\n")
    return dict(tally.as_json())


def table(results: dict[str, dict[str, Any]]) -> str:
    """The counts as a Markdown table."""
    lines = ["| target | landed | too late | completed and compared | seconds | during |", "|---|---|---|---|---|---|"]
    for name, found in results.items():
        during = ", ".join(f"{count} {phase}" for phase, count in found["during"].items())
        numbers = " | ".join(str(found[key]) for key in ("landed", "too_late", "completed", "seconds"))
        lines.append(f"| {name} | {numbers} | {during} |")
    return "\n".join(lines)


def _target(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in TARGETS or not number.isdigit():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected one of {', '.join(TARGETS)}, as in runs=100")
    return name, int(number)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--target", type=_target, action="append", required=True, help="target and number of kills: runs=100")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the counts; written after every target")
    arguments = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for name, n_kills in arguments.target:
        results[name] = carry_out(name, n_kills, arguments.seed)
        if arguments.json:
            arguments.json.write_text(json.dumps({"seed": arguments.seed, "targets": results}, indent=1))
    sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()
