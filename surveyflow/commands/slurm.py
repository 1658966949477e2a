"""The command line's verbs for batch jobs: render, submit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from surveyflow.commands.options import JsonOption, PrecisionOption, print_json
from surveyflow.values.codes import Precision

app = typer.Typer(
    name="slurm",
    help="Run a workflow as batch jobs of a Slurm machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


WorkflowFile = Annotated[Path, typer.Argument(help="Workflow file (TOML).", metavar="WORKFLOW", show_default=False)]
ProfileOption = Annotated[Path, typer.Option(help="Profile file (TOML) of kind slurm.", show_default=False)]


@app.command()
def render(
    workflow: WorkflowFile,
    profile: ProfileOption,
    precision: PrecisionOption = Precision.FLOAT32,
    as_json: JsonOption = False,
) -> None:
    """Print exactly what would be submitted, and change nothing."""
    from surveyflow import api

    submission = api.render_slurm(workflow, profile, precision=precision)
    if as_json:
        print_json({"folder": str(submission.folder), "files": dict(submission.files)})
    else:
        typer.echo(str(submission), nl=False)


@app.command()
def submit(
    workflow: WorkflowFile,
    profile: ProfileOption,
    precision: PrecisionOption = Precision.FLOAT32,
    as_json: JsonOption = False,
) -> None:
    """Check the workflow, and put its jobs into the queue; submitted again, they continue where they were."""
    from surveyflow import api

    jobs = api.submit_slurm(workflow, profile, precision=precision)
    if as_json:
        print_json(asdict(jobs))
        return
    typer.echo(f"head    {jobs.head}  scheduler and driver")
    for name, job in jobs.pools.items():
        typer.echo(f"pool    {job}  {name}")
    if jobs.routing:
        typer.echo(jobs.routing)
    typer.echo(f"folder  {jobs.folder}  logs, certificates, and in the end result.json")
