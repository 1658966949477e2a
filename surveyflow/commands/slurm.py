"""The command line's verbs for batch jobs: render, submit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from surveyflow.commands.options import PrecisionOption
from surveyflow.values.codes import Precision

app = typer.Typer(
    name="slurm",
    help="Run a workflow as batch jobs of a Slurm machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


WorkflowFile = Annotated[Path, typer.Argument(help="Workflow file (TOML).", metavar="WORKFLOW", show_default=False)]
ProfileOption = Annotated[Path, typer.Option(help="Profile file (TOML) of kind slurm.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command()
def render(
    workflow: WorkflowFile,
    profile: ProfileOption,
    precision: PrecisionOption = Precision.FLOAT32,
    as_json: JsonOption = False,
) -> None:
    """Print exactly what would be submitted, and change nothing."""
    from surveyflow.runs.render_jobs import prepare_submission

    submission = prepare_submission(workflow, profile, precision=precision)
    if as_json:
        typer.echo(json.dumps({"folder": str(submission.folder), "files": dict(submission.files)}))
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
    from surveyflow.runs.render_jobs import prepare_submission
    from surveyflow.sites.slurm.submit import submit as submit_jobs

    submission = prepare_submission(workflow, profile, precision=precision)
    api.validate(workflow)
    jobs = submit_jobs(submission)
    if as_json:
        typer.echo(json.dumps({"folder": str(submission.folder)} | asdict(jobs)))
        return
    typer.echo(f"head    {jobs.head}  scheduler and driver")
    for name, job in jobs.pools.items():
        typer.echo(f"pool    {job}  {name}")
    if submission.routing:
        typer.echo(submission.routing)
    typer.echo(f"folder  {submission.folder}  logs, certificates, result.json in the end")
