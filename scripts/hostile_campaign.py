"""A test campaign of hostile inputs: broken files, settings, models and state, each given to the command line.

    python scripts/hostile_campaign.py --inputs 1500 --seed 1 --json outcomes.json
    python scripts/hostile_campaign.py --family "fits astrometry" --number 17 --seed 1

Inputs have a name and a number, such as ``fits astrometry 17``, and the same seed makes the same inputs. Each breaks one thing
in a copy of a tiny survey with a published catalog, and runs the command line in a forked process. It must end within 10 seconds
with one of the documented exit codes, print neither a traceback nor control characters, need less than 2 GiB, and leave a
complete catalog. Whatever becomes a catalog must have every row, and the numbers of the unbroken survey where nothing was broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from hostile.families import FAMILIES
from hostile.judging import Campaign, Outcome, inputs


def main() -> int:
    """Read the command line, run the campaign and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--inputs", type=int, default=60, help="number of inputs, spread evenly over the families")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="only this family; may be repeated")
    parser.add_argument("--number", type=int, help="only this input of the family, with all that it prints")
    parser.add_argument("--json", type=Path, help="file for the outcome of every input")
    arguments = parser.parse_args()
    named = (
        [(arguments.family[0], arguments.number)]
        if arguments.number is not None
        else inputs(arguments.inputs, arguments.family or ())
    )
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), arguments.seed)
        outcomes = [_told(campaign.attempt(*name), arguments.number is not None) for name in named]
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    sys.stdout.write(table(outcomes))
    return int(any(outcome.faults for outcome in outcomes))


def table(outcomes: list[Outcome]) -> str:
    """One line for each family, and one for all."""
    by_family = defaultdict(list)
    for outcome in outcomes:
        by_family[outcome.family].append(outcome)
    lines = [_line(name, of_family) for name, of_family in by_family.items()]
    head = f"{'family':34} {'inputs':>6} {'accepted':>8} {'refused':>7} {'other':>5} {'faults':>6} {'slowest':>8} {'largest':>8}"
    return "\n".join([head, *lines, _line("all", outcomes)]) + "\n"


def _line(name: str, outcomes: list[Outcome]) -> str:
    accepted = sum(set(outcome.codes) <= {0} for outcome in outcomes)
    refused = sum(2 in outcome.codes for outcome in outcomes)
    faults = sum(bool(outcome.faults) for outcome in outcomes)
    slowest, largest = max(outcome.seconds for outcome in outcomes), max(outcome.peak_mb for outcome in outcomes)
    counts = f"{len(outcomes):6} {accepted:8} {refused:7} {len(outcomes) - accepted - refused:5} {faults:6}"
    return f"{name:34} {counts} {slowest:6.1f} s {largest:5.0f} MB"


def _told(outcome: Outcome, completely: bool) -> Outcome:
    """Print an outcome with faults, or any with all of its text."""
    if outcome.faults or completely:
        commands = " && ".join(" ".join(command) for command in outcome.commands)
        text = outcome.text if completely else ascii(outcome.text[-400:])
        sys.stderr.write(f"{outcome.family} {outcome.number}: {outcome.faults} {outcome.codes} after {commands!r}\n{text}\n")
    return outcome


if __name__ == "__main__":
    sys.exit(main())
