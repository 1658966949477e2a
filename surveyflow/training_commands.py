"""The command line's verbs for what makes a model: simulate."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from surveyflow.training.record_index import RecordIndex

SimulationFile = Annotated[Path, typer.Argument(help="Simulation file (TOML).", metavar="C", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def simulate(
    file: SimulationFile,
    processes: Annotated[
        int | None, typer.Option(help="Processes that draw.", min=1, show_default="as many as there are cores")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate galaxies with known truth as records to train on; what is whole already is kept."""
    from surveyflow.inputs.simulation_file import load_simulation
    from surveyflow.terminal import counting_listener
    from surveyflow.training.simulating import simulate as simulate_records

    # TensorFlow, which writes the records, would tell of the processor's features.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    simulation = load_simulation(file)
    with counting_listener("simulating") as count:
        index = simulate_records(simulation, n_processes=processes, listener=lambda told: count(told.done, told.total))
    if as_json:
        typer.echo(json.dumps(_summary(simulation.output, index)))
    else:
        _print_records(simulation.output, index)


def _summary(folder: Path, index: RecordIndex) -> dict[str, Any]:
    return {"records": str(folder), "complete": index.complete} | asdict(index)


def _print_records(folder: Path, index: RecordIndex) -> None:
    typer.echo(f"records   {folder}")
    typer.echo(f"images    {index.n} of {index.size} x {index.size} pixels, {index.field} {index.instrument} ({index.band})")
    typer.echo(f"shards    {len(index.shards)}, {sum(shard.bytes for shard in index.shards) / 1e6:.1f} MB")
    typer.echo(f"digest    {index.digest}")
